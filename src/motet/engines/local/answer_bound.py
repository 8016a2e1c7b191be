"""How many rows a batch has whose answers may be of any size: few at first, and more while their answers stay small."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from motet.engines.layout import held_rows
from motet.locks import new_lock

__all__ = ["AnswerBound"]

FIRST_ROWS = 256
"""Rows of the first batches."""
PART = 8
"""Later ones have this part of the rows that were answered, at most."""


class AnswerBound:
    """Bounds batches by the answers so far; in any thread.

    Args:
        applies: whether answers vary in size, and are the same whatever shares a batch; asked once, when rows are read.
    """

    def __init__(self, applies: Callable[[], bool]) -> None:
        self._asked = applies
        self._lock = new_lock()
        self._rows, self._row_bytes = 0, 0.0

    @cached_property
    def applies(self) -> bool:
        """Whether batches are bounded."""
        return self._asked()

    def took(self, rows: int, num_bytes: int) -> None:
        """Learn how large the answers of a batch are: the next rows' are thought to be as large."""
        with self._lock:
            self._rows += rows
            self._row_bytes = num_bytes / max(1, rows)

    def rows(self) -> int:
        """The most rows of the next batch."""
        return min(max(FIRST_ROWS, self._rows // PART), held_rows(self._row_bytes))

    def expected_bytes(self, rows: int) -> int:
        """Bytes of the answers of so many rows, as far as they are known."""
        return int(rows * self._row_bytes)
