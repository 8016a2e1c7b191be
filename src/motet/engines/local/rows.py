"""Which rows of a source a run plays, and how they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.errors import InputError
from motet.io import Source, open_source

__all__ = ["Item", "Rows"]

READ_ROWS = 8_192
"""Rows that are read at a time where they are only counted."""


@dataclass
class Item:
    """What was read together: a batch, or several; `index` is the first one's."""

    index: int
    ids: npt.NDArray[np.int64]
    read: pa.RecordBatch


class Rows:
    """The rows of a run: all of a source, the first ones, or those that failed in an earlier run.

    Args:
        source: where they are.
        columns: what is read of them.
        limit: the most; None for all.
        only_failed: the file of the failures of a run, whose rows these are; None for all.

    Raises:
        InputError: when that file is none of failures, or names rows that are not in the source.
    """

    def __init__(self, source: Source, columns: Sequence[str], limit: int | None, only_failed: str | None) -> None:
        self._source, self._columns, self._limit = source, columns, limit
        self._positions = _failed_rows(only_failed, source.num_rows) if only_failed else None

    @property
    def total(self) -> int | None:
        """How many there are, None where that is not known."""
        total = self._source.num_rows if self._positions is None else len(self._positions)
        return total if self._limit is None else self._limit if total is None else min(total, self._limit)

    def digest(self) -> str:
        """What tells the chosen rows of a source from others; empty where none were chosen."""
        return "" if self._positions is None else hashlib.sha256(self._positions.tobytes()).hexdigest()[:32]

    def spread(self, count: int) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]] | None:
        """A few rows from all over those of the run, with their ids; None where they cannot be read beside the run."""
        if not self._source.reads_again:
            return None
        rows = range(
            self.total if self.total is not None else sum(len(item.ids) for item in self.read(0, READ_ROWS, 1))
        )
        if not rows:
            return None
        ids = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))
        ids = ids if self._positions is None else self._positions[ids]
        return next(self._source.batches_at(ids, count, self._columns)), ids

    def read(self, first: int, batch_rows: int, together: int) -> Iterator[Item]:
        """Read from a batch on.

        Args:
            first: that batch.
            batch_rows: rows of a batch.
            together: how many batches are read as one.
        """
        skip = first * batch_rows
        batch_rows *= together
        limit = self._limit
        if self._positions is not None:
            positions = self._positions[skip:limit]
            batches = self._source.batches_at(positions, batch_rows, self._columns) if len(positions) else iter(())
        else:
            batches = self._source.batches(batch_rows, self._columns, skip)
            positions = None
        done = 0
        for place, read in enumerate(batches):
            if limit is not None and skip + done + read.num_rows > limit:
                read = read.slice(0, limit - skip - done)
            ids = (
                np.arange(skip + done, skip + done + read.num_rows)
                if positions is None
                else positions[done : done + read.num_rows]
            )
            yield Item(first + place * together, ids, read)
            done += read.num_rows
            if limit is not None and skip + done >= limit:
                return


def _failed_rows(path: str, num_rows: int | None) -> npt.NDArray[np.int64]:
    """The rows that a file of failures names, each once and in order.

    Raises:
        InputError: when the file is none of failures, or names rows that are not in the source.
    """
    source = open_source(path)
    if "row" not in source.schema.names or not pa.types.is_integer(source.schema.field("row").type):
        raise InputError(
            f"{path} has no column 'row' of whole numbers; it has {', '.join(source.schema.names)}", where="only_failed"
        )
    found: Sequence[npt.NDArray[np.int64]] = [
        batch.column(0).to_numpy(zero_copy_only=False).astype(np.int64) for batch in source.batches(65_536, ["row"])
    ]
    rows = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    if len(rows) and (rows[0] < 0 or (num_rows is not None and rows[-1] >= num_rows)):
        raise InputError(
            f"{path} names row {rows[-1]}; the source has {num_rows} rows",
            where="only_failed",
            hint="is it of another input?",
        )
    return rows
