"""Splits: parts of a source that workers read by themselves, wherever they are.

Files are cut where they can be entered: Parquet at row groups, Arrow files at record batches, text at rows that a pass over
it has counted. What cannot be entered is one split; small files are put together to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.errors import RunError

if TYPE_CHECKING:
    from motet.io.stream import Stream

__all__ = ["Anchor", "Split", "runs", "whole"]


@dataclass(frozen=True)
class Anchor:
    """Where a file of text can be entered: a row begins there.

    Attributes:
        byte: of the file.
        line: which it begins on, from 1.
        row: how many rows come before.
    """

    byte: int
    line: int
    row: int


@dataclass(frozen=True)
class Split:
    """A part of a source that a worker reads by itself. It pickles.

    Attributes:
        source: what its rows are read from; only as much of the source that was split as that takes.
        skip: rows of it that come before.
        rows: how many there are.
        first: the id of the first one: its position in the source that was split.
        bytes: how much there is to read, as far as that is known.
    """

    source: Stream
    skip: int
    rows: int
    first: int = 0
    bytes: int = 0

    def batches(
        self, rows: int, columns: Sequence[str] | None = None, most_bytes: int | None = None
    ) -> Iterator[tuple[Indices, pa.RecordBatch]]:
        """All rows, as `Stream.batches` gives them, with their ids.

        Raises:
            RunError: when there are fewer than there were.
        """
        left, first = self.rows, self.first
        batches = self.source.batches(min(rows, max(left, 1)), columns, self.skip, most_bytes)
        while left:
            read = next(batches, None)
            if read is None:
                raise RunError(f"rows from {first:,} on are not there any more", where=self.source.description)
            read = read.slice(0, left)
            yield np.arange(first, first + len(read)), read
            left, first = left - len(read), first + len(read)

    def batches_at(
        self, ids: Indices, rows: int, columns: Sequence[str] | None = None, most_bytes: int | None = None
    ) -> Iterator[tuple[Indices, pa.RecordBatch]]:
        """Those rows alone that have these ids, in ascending order, with them."""
        for read in self.source.batches_at(ids - self.first + self.skip, rows, columns, most_bytes):
            yield ids[: len(read)], read
            ids = ids[len(read) :]

    def path_of(self, row: int) -> str:
        """The file of a row, where a row is a file."""
        return str(self.source.path_of(row - self.first + self.skip))  # type: ignore[attr-defined]


def runs(sizes: Sequence[float], target: float) -> Iterator[slice]:
    """Neighbours that are `target` together at most; one that is larger stands alone."""
    start, held = 0, 0.0
    for index, size in enumerate(sizes):
        if index > start and held + size > target:
            yield slice(start, index)
            start, held = index, 0.0
        held += size
    if len(sizes):
        yield slice(start, len(sizes))


def whole(source: Stream, rows: int, size: float = 0, first: int = 0) -> list[Split]:
    """A source as one split; none of no rows."""
    return [Split(source, 0, rows, first, int(size))] if rows else []
