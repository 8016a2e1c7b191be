"""Rows put together to groups whose ends depend on the rows alone, and not on how they arrived."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.io.sizes import fixed_width, row_sizes, width_of

__all__ = ["Cutter"]


class Cutter:
    """Cuts batches into groups: of so many rows, or fewer where these would hold more than so many bytes.

    Args:
        rows: the most rows of a group.
        size: the most bytes of a group of more than one row; None for any.
        take: is given the batches of each group.

    Attributes:
        rows: rows that were added.
    """

    def __init__(self, rows: int, size: int | None, take: Callable[[Sequence[pa.RecordBatch]], None]) -> None:
        self._most_rows, self._most_bytes, self._take = rows, size, take
        self._held: list[pa.RecordBatch] = []
        self._rows = self.rows = 0
        self._bytes: float = 0
        self._is_exact = True
        self._schema: pa.Schema | None = None
        self._width: int | None = None
        self._is_plain = False

    @property
    def held(self) -> int:
        """Rows of the group that has not ended."""
        return self._rows

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        if self._most_bytes is None:
            for start, stop in self._by_rows(len(batch)):
                self._hold(batch.slice(start, stop - start), 0)
        elif self._fits(batch, most := self._at_most(batch), self._most_bytes):
            self._is_exact = self._is_exact and self._width is not None
            self._hold(batch, most)
        else:
            width = self._width
            sizes = np.cumsum(row_sizes(batch)) if width is None else np.arange(1, len(batch) + 1) * width
            self._add(batch, sizes, self._most_bytes)

    def _at_most(self, batch: pa.RecordBatch) -> float:
        """The most bytes that the rows of a batch hold, as `row_sizes` counts them: at most 8 times what Arrow takes for plain
        columns; infinite for others. Most batches have the columns of the one before."""
        schema = batch.schema
        if self._schema is None or not schema.equals(self._schema):
            self._schema, self._width, self._is_plain = schema, fixed_width(schema), all(map(_is_plain, schema.types))
        if self._width is not None:
            return len(batch) * self._width
        return 8 * int(batch.nbytes) + len(batch) if self._is_plain else math.inf

    def _by_rows(self, rows: int) -> Iterator[tuple[int, int]]:
        """Where groups begin and end in so many rows, whatever these hold."""
        start = 0
        while start < rows:
            stop = min(rows, start + self._most_rows - self._rows)
            yield start, stop
            start = stop

    def _add(self, batch: pa.RecordBatch, sizes: Indices, most_bytes: int) -> None:
        if not self._is_exact:
            self._bytes, self._is_exact = sum(int(row_sizes(each).sum()) for each in self._held), True
        start = 0
        while start < len(batch):
            before = int(sizes[start - 1]) if start else 0
            full = int(np.searchsorted(sizes, before + most_bytes - self._bytes, side="right"))
            if full <= start and self._rows:  # not even one row goes into this group
                self.flush()
                continue
            stop = min(len(batch), start + self._most_rows - self._rows, max(full, start + 1))
            self._hold(batch.slice(start, stop - start), int(sizes[stop - 1]) - before)
            start = stop

    def _fits(self, batch: pa.RecordBatch, most: float, most_bytes: int) -> bool:
        """Whether a batch of so many bytes at most surely goes into the group that is held."""
        return self._rows + len(batch) <= self._most_rows and self._bytes + most < most_bytes

    def _hold(self, part: pa.RecordBatch, size: float) -> None:
        self._held.append(part)
        self._rows, self._bytes, self.rows = self._rows + len(part), self._bytes + size, self.rows + len(part)
        if self._rows >= self._most_rows or (self._most_bytes is not None and self._bytes >= self._most_bytes):
            self.flush()

    def flush(self) -> None:
        """Let the group that is held end here."""
        held, self._held, self._rows, self._bytes, self._is_exact = self._held, [], 0, 0, True
        if held:
            self._take(held)


def _is_plain(data_type: Any) -> bool:
    return pa.types.is_string(data_type) or pa.types.is_binary(data_type) or width_of(data_type) is not None
