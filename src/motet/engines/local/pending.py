"""What is done since the last piece of the journal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

import pyarrow as pa

from motet.engines.local.batches import BatchResult
from motet.engines.local.journal import JournalPiece, PieceJournal
from motet.errors import Failure

__all__ = ["Pending"]

COMMIT_SECONDS = 2.0
COMMIT_BYTES = 64 << 20
"""A piece is committed when it is this old or this big."""
_Batch = tuple[int, int, pa.RecordBatch | None, Sequence[Failure]]
"""A batch that is done: its number, its rows, what of them was answered, and what was not."""


class Pending:
    """Batches that are done and not yet committed.

    A signal may come between any two instructions: what is known is always one list, which a piece is made of.
    """

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._whole = self._bytes = 0
        self._since = time.monotonic()

    def add(self, result: BatchResult, answers: pa.RecordBatch | None) -> None:
        """Add a batch, with the answers as they were written."""
        self._batches.append((result.index, result.rows, answers, result.failures))
        self._bytes += 0 if answers is None else answers.nbytes
        if result.last:
            self._whole = len(self._batches)

    def due(self) -> bool:
        """Whether it is time to commit."""
        return self._bytes >= COMMIT_BYTES or time.monotonic() - self._since >= COMMIT_SECONDS

    def commit(self, journal: PieceJournal) -> None:
        """Make a piece of them that counts."""
        self._commit(journal, self._batches)

    def commit_whole(self, journal: PieceJournal) -> None:
        """Make a piece of those that a run can go on behind as if it had not stopped: what was played together stays so."""
        self._commit(journal, self._batches[: self._whole])

    def _commit(self, journal: PieceJournal, batches: list[_Batch]) -> None:
        if batches:
            indexes, rows, answers, failed = zip(*batches, strict=True)
            failures = [*chain(*failed)]
            piece = JournalPiece(indexes[0], indexes[-1] + 1, sum(rows), len(failures))
            journal.commit(piece, [each for each in answers if each is not None], failures)
        self._batches = []
        self._whole = self._bytes = 0
        self._since = time.monotonic()
