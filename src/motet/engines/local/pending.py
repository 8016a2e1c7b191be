"""What is done since the last piece of the journal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from motet.engines.local.journal import JournalPiece, PieceJournal
from motet.errors import Failure

__all__ = ["Pending"]

COMMIT_SECONDS = 2.0
COMMIT_BYTES = 64 << 20
"""A piece is committed when it is this old or this big."""


@dataclass
class _Batch:
    """A batch that is done: its number, its rows, what of them was answered, and what was not."""

    index: int
    rows: int
    answers: pa.RecordBatch | None
    failures: Sequence[Failure]


class Pending:
    """Batches that are done and not yet committed.

    A signal may come between any two instructions: what is known is always one list, which a piece is made of.
    """

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._whole = self._bytes = 0
        self._since = time.monotonic()

    def add(
        self, index: int, rows: int, answers: pa.RecordBatch | None, failures: Sequence[Failure], *, last: bool
    ) -> None:
        """Add a batch.

        Args:
            index: its number.
            rows: its rows.
            answers: what of them was answered.
            failures: what was not.
            last: whether it is the last of those that were played together.
        """
        self._batches.append(_Batch(index, rows, answers, failures))
        self._bytes += 0 if answers is None else answers.nbytes
        if last:
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
            answers = [each.answers for each in batches if each.answers is not None]
            failures = [failure for each in batches for failure in each.failures]
            rows = sum(each.rows for each in batches)
            journal.commit(
                JournalPiece(batches[0].index, batches[-1].index + 1, rows, len(failures)), answers, failures
            )
        self._batches = []
        self._whole = self._bytes = 0
        self._since = time.monotonic()
