"""Rows put together to groups whose ends depend on the rows alone, and not on how they arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
        self._rows = self._bytes = self.rows = 0
        self._schema: pa.Schema | None = None
        self._width: int | None = None

    @property
    def held(self) -> int:
        """Rows of the group that has not ended."""
        return self._rows

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        if self._most_bytes is None:
            for start, stop in self._by_rows(len(batch)):
                self._hold(batch.slice(start, stop - start), 0)
        elif (width := self._width_of(batch.schema)) is not None and self._fits(batch, width):
            self._hold(batch, len(batch) * width)
        elif not self._rows and len(batch) == self._most_rows and _is_small(batch, self._most_bytes):
            self._hold(batch, 0)  # it is a group, whatever its rows hold
        else:
            sizes = np.cumsum(row_sizes(batch)) if width is None else np.arange(1, len(batch) + 1) * width
            self._add(batch, sizes, self._most_bytes)

    def _width_of(self, schema: pa.Schema) -> int | None:
        """Bytes in each row of batches with these columns, None where rows differ; most have those of the batch before."""
        if self._schema is None or not schema.equals(self._schema):
            self._schema, self._width = schema, fixed_width(schema)
        return self._width

    def _by_rows(self, rows: int) -> Iterator[tuple[int, int]]:
        """Where groups begin and end in so many rows, whatever these hold."""
        start = 0
        while start < rows:
            stop = min(rows, start + self._most_rows - self._rows)
            yield start, stop
            start = stop

    def _add(self, batch: pa.RecordBatch, sizes: npt.NDArray[np.int64], most_bytes: int) -> None:
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

    def _fits(self, batch: pa.RecordBatch, width: int) -> bool:
        """Whether a batch of rows of one width goes into the group that is held."""
        assert self._most_bytes is not None
        return self._rows + len(batch) <= self._most_rows and self._bytes + len(batch) * width < self._most_bytes

    def _hold(self, part: pa.RecordBatch, size: int) -> None:
        self._held.append(part)
        self._rows, self._bytes, self.rows = self._rows + len(part), self._bytes + size, self.rows + len(part)
        if self._rows >= self._most_rows or (self._most_bytes is not None and self._bytes >= self._most_bytes):
            self.flush()

    def flush(self) -> None:
        """Let the group that is held end here."""
        held, self._held, self._rows, self._bytes = self._held, [], 0, 0
        if held:
            self._take(held)


def _is_small(batch: pa.RecordBatch, most_bytes: int) -> bool:
    """Whether all rows of a batch surely hold no more, as `row_sizes` counts them: at most 8 times what Arrow takes."""
    types = pa.types
    plain = all(
        types.is_string(each) or types.is_binary(each) or width_of(each) is not None for each in batch.schema.types
    )
    return plain and 8 * int(batch.nbytes) + len(batch) <= most_bytes
