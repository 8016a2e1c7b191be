"""How the rows of a run are read, a batch or a window at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from motet.engines.local.selection import Ids, Selection
from motet.errors import InputError
from motet.io import Source
from motet.io.stream import Stream, rechunk
from motet.io.take import take_batch

__all__ = ["ReadItem", "RunRows", "count_rows"]

READ_ROWS = 8_192
"""Rows that are read at a time where they are only counted."""

MOST_BYTES = 64 << 20
"""The most bytes of what is read as one, however many rows were asked for. Where batches end depends on it, and a run that goes on
goes on behind a batch: it may change."""


@dataclass
class ReadItem:
    """What was read together: a batch, or several; `index` is the first one's."""

    index: int
    ids: Ids
    read: pa.RecordBatch

    def num_bytes(self) -> int:
        """Bytes of what was read."""
        return int(self.read.nbytes)

    def part(self, index: int, rows: slice) -> ReadItem:
        """Some of its rows, as an item whose first batch has this number."""
        return ReadItem(index, self.ids[rows], self.read.slice(rows.start, rows.stop - rows.start))


class RunRows:
    """The rows of a run.

    Args:
        source: where they are.
        columns: what is read of them.
        selection: which of them are played.
        failed: those that failed in an earlier run, which alone are played; None for all.

    Raises:
        InputError: when the rows of the source must be counted for that, and it can be read only once.
    """

    def __init__(self, source: Source, columns: Sequence[str], selection: Selection, failed: Ids | None = None) -> None:
        self._source, self._columns, self._selection = source, columns, selection
        self._failed = failed
        rows = count_rows(source, columns) if selection.needs_count else source.num_rows
        self.chosen = selection.of(rows, failed)

    @property
    def total(self) -> int | None:
        """How many there are, or at most; None where that is not known."""
        total = self.chosen.total
        return self.chosen.limit if total is None else total

    def expected(self, played: int) -> int | None:
        """How many there must have been, as the source counts them; None where nothing else than reading them tells.

        Args:
            played: how many there were. A source that was not read to its end, since no more rows were wanted, is not asked.
        """
        limit = self.chosen.limit
        if self.chosen.positions is not None or played == limit:
            return self.total
        if not isinstance(self._source, Stream):
            there, ended = self._source.num_rows, True
        else:
            there, ended = self._source.count(), self._source.was_read
        if there is None:
            return limit if limit is not None and (played > limit or not ended) else None
        return self._selection.of(there, self._failed).total

    def said(self) -> dict[str, Any]:
        """What tells the rows from others of the source."""
        failed = None if self._failed is None else hashlib.sha256(self._failed.tobytes()).hexdigest()[:32]
        return {**self._selection.said(), "only_failed": failed}

    def spread(self, count: int) -> tuple[pa.RecordBatch, Ids] | None:
        """A few rows from all over those of the run, with their ids; None where they cannot be read beside the run."""
        if not self._source.reads_again:
            return None
        total = self.chosen.total
        if total is None:
            total = sum(len(item.ids) for item in self.read(READ_ROWS))
        if not total:
            return None
        ids = self.chosen.at(np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64)))
        return next(self._source.batches_at(ids, count, self._columns)), ids

    def read(self, batch_rows: int, together: int = 1, *, first: int = 0, skip: int = 0) -> Iterator[ReadItem]:
        """Read from a batch on. One of more than one row holds `MOST_BYTES` at most, and fewer rows for that.

        Args:
            batch_rows: the most rows of a batch.
            together: how many batches are read as one.
            first: the first batch.
            skip: rows that the batches before it have.
        """
        index, size = first, batch_rows * together
        for ids, read in self._limited(skip, self._batches(skip, size)):
            yield ReadItem(index, ids, read)
            index += -(-len(ids) // batch_rows)

    def _limited(
        self, skip: int, batches: Iterator[tuple[Ids, pa.RecordBatch]]
    ) -> Iterator[tuple[Ids, pa.RecordBatch]]:
        """The batches as far as they are within the limit."""
        limit = self.chosen.limit
        left = None if limit is None else limit - skip
        while left is None or left > 0:
            found = next(batches, None)
            if found is None:
                return
            ids, read = found
            yield ids[:left], read if left is None else read.slice(0, left)
            left = None if left is None else left - len(ids)

    def _batches(self, skip: int, size: int) -> Iterator[tuple[Ids, pa.RecordBatch]]:
        """Batches of so many rows behind the first ones, with their ids."""
        chosen = self.chosen
        if chosen.positions is not None:
            positions = chosen.positions[skip:]
            batches = self._read(size, positions=positions) if len(positions) else iter(())
            start = 0
            for read in batches:
                yield positions[start : start + len(read)], read
                start += len(read)
        elif chosen.part is None:
            yield from self._stretch(chosen.start + skip, size)
        else:
            yield from self._sampled(skip, size)

    def _stretch(self, start: int, size: int) -> Iterator[tuple[Ids, pa.RecordBatch]]:
        """All rows from one on, as far as those that were chosen go."""
        stop = self.chosen.stop
        if stop is not None and start >= stop:
            return
        for read in self._read(size, skip=start):
            read = read if stop is None else read.slice(0, stop - start)
            yield np.arange(start, start + len(read)), read
            start += len(read)
            if stop is not None and start >= stop:
                return

    def _read(self, size: int, *, skip: int = 0, positions: Ids | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of the source, of so many rows, or fewer that hold no more than may be."""
        source, columns = self._source, self._columns
        if isinstance(source, Stream):
            if positions is None:
                return source.batches(size, columns, skip, MOST_BYTES)
            return source.batches_at(positions, size, columns, MOST_BYTES)
        whole = (
            source.batches(size, columns, skip) if positions is None else source.batches_at(positions, size, columns)
        )
        return rechunk(whole, size, most_bytes=MOST_BYTES)

    def _sampled(self, skip: int, size: int) -> Iterator[tuple[Ids, pa.RecordBatch]]:
        """The rows of a sample behind its first ones."""
        part = self.chosen.part
        assert part is not None
        start = self.chosen.start
        if skip:
            last = self.chosen.at(np.array([skip - 1]))
            if not len(last):  # the last batch, of fewer rows, is behind
                return
            start = int(last[0]) + 1
        waiting: list[Ids] = []

        def picked() -> Iterator[pa.RecordBatch]:
            for ids, read in self._stretch(start, size):
                places = np.flatnonzero(part.has(ids))
                if len(places):
                    waiting.append(ids[places])
                    yield take_batch(read, places)

        for read in rechunk(picked(), size, most_bytes=MOST_BYTES):
            ids = np.concatenate(waiting)
            waiting[:] = [ids[len(read) :]]
            yield ids[: len(read)], read


def count_rows(source: Source, columns: Sequence[str]) -> int:
    """How many rows a source has; one that does not know is read for it.

    Raises:
        InputError: when it can be read only once.
    """
    if source.num_rows is not None:
        return source.num_rows
    if not source.reads_again:
        raise InputError(
            "must be read to know how many rows it has, and can be read once",
            where=source.description,
            hint="write it to a file first, or take a part of it: --sample 1%",
        )
    return sum(len(batch) for batch in source.batches(READ_ROWS, columns[:1]))
