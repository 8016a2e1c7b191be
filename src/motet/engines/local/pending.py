"""What is done since the last piece of the journal."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa

from motet.engines.local.journal import Journal, Piece
from motet.errors import Failure

__all__ = ["Pending"]

COMMIT_SECONDS = 2.0
COMMIT_BYTES = 64 << 20
"""A piece is committed when it is this old or this big."""


class Pending:
    """Batches that are done and not yet committed.

    Args:
        first: the first one.
    """

    def __init__(self, first: int) -> None:
        self._first = self._end = first
        self._clear()

    def _clear(self) -> None:
        self._answers: list[pa.RecordBatch] = []
        self._failures: list[Failure] = []
        self._rows = self._bytes = 0
        self._since = time.monotonic()

    def add(self, end: int, rows: int, answers: pa.RecordBatch | None, failures: Sequence[Failure]) -> None:
        """Add the batch before `end`: its rows, what of them was answered, and what was not."""
        if answers is not None:
            self._answers.append(answers)
            self._bytes += answers.nbytes
        self._failures += failures
        self._rows += rows
        self._end = end

    def due(self) -> bool:
        """Whether it is time to commit."""
        return self._bytes >= COMMIT_BYTES or time.monotonic() - self._since >= COMMIT_SECONDS

    def commit(self, journal: Journal) -> None:
        """Make a piece of them that counts."""
        if not self._rows:
            return
        journal.commit(Piece(self._first, self._end, self._rows, len(self._failures)), self._answers, self._failures)
        self._first = self._end
        self._clear()
