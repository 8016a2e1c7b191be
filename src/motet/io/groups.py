"""One row a key: the rows of a source that agree in some columns, gathered into list columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motet.batch import Indices
from motet.errors import InputError, RunError, UnknownNameError
from motet.io.faults import split_faults
from motet.io.marks import drop_rows, mark
from motet.io.stream import Seen, Stream, join
from motet.io.take import take_batch
from motet.system.limits import at_most

if TYPE_CHECKING:
    from motet.io.source import Source

__all__ = ["GROUP_MEMORY_BYTES", "GroupedSource"]

GROUP_MEMORY_BYTES = 1 << 30
"""The most bytes that a source which is not sorted, or a single group, may hold."""

_READ_ROWS = 8192


class GroupedSource(Stream):
    """Rows that agree in their keys become one row: the keys as they are, every other column a list, in order.

    Keys come in ascending order. A source that is sorted by them is streamed, holding a group at a time; whether it
    is, one pass over the keys tells. Any other must fit into `GROUP_MEMORY_BYTES`, or a quarter of the
    memory that there is, and is sorted there.

    Args:
        source: what to group.
        keys: names of columns, numbers, strings or times, without nulls or NaN.

    Raises:
        UnknownNameError: when a key is no column.
        InputError: when the source is neither sorted nor small enough, a row of it cannot be read, or a key has no order.
    """

    def __init__(self, source: Source, keys: Sequence[str]) -> None:
        for key in keys:
            if key not in source.schema.names:
                raise UnknownNameError("column", key, source.schema.names, where=f"group_by of {source.description}")
            kind = source.schema.field(key).type
            if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
                raise InputError(
                    f"key {key!r} is {kind}, which has no order", where=f"group_by of {source.description}"
                )
        self._source, self._keys = source, list(keys)
        self._most_bytes = at_most(GROUP_MEMORY_BYTES, part=4)
        self.description = f"{source.description} grouped by {', '.join(keys)}"
        self.reads_again = source.reads_again
        self.in_memory = isinstance(source, Stream) and source.in_memory
        self.left_out, self.reads = (source.left_out, source.reads) if isinstance(source, Stream) else ("", ())
        self.schema = pa.schema([_grouped_field(field, field.name in keys) for field in source.schema])
        self._sorted = source.reads_again and self._is_sorted()

    def fingerprint(self) -> str:
        """The source's own, and the keys."""
        return hashlib.sha256(f"{self._source.fingerprint()}\0{self._keys}".encode()).hexdigest()

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        names = [*self._keys, *(name for name in columns if name not in self._keys)]
        ordered = self._read(names) if self._sorted else self._sort(names)
        yield from drop_rows((piece.select(list(columns)) for piece in self._gathered(ordered)), skip)

    def row_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.row_bytes`; how large groups are only reading them tells."""
        return 0.0

    def files(self) -> Sequence[Seen]:
        """See `Stream.files`."""
        return self._source.files() if isinstance(self._source, Stream) else ()

    def _gathered(self, ordered: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        groups = rows = 0
        for piece in self._whole(ordered):
            found = self._gather(piece)
            yield mark(found, groups)
            groups, rows = groups + len(found), rows + len(piece)
        there = self._source.count() if isinstance(self._source, Stream) else self._source.num_rows
        if there is not None and rows != there:
            raise RunError(f"has {there:,} rows, and {rows:,} were grouped", where=self.description)
        self._counted = groups

    def _read(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in self._source.batches(_READ_ROWS, names):
            batch, faults = split_faults(batch)
            for row, reason in faults.items():
                raise InputError(
                    f"row {start + row} cannot be read, and its group is not known: {reason}", where=self.description
                )
            for key in self._keys:
                if missing := _missing(batch.column(key)):
                    raise InputError(
                        f"key {key!r} is {missing} in a row", where=self.description, hint="drop such rows first"
                    )
            start += len(batch)
            yield batch

    def _is_sorted(self) -> bool:
        last: list[pa.RecordBatch] = []
        for batch in self._read(self._keys):
            if not _ascends(join([*last, batch]), self._keys):
                return False
            last = [batch.slice(len(batch) - 1)]
        return True

    def _sort(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in self._read(names):
            held.append(batch)
            size += batch.nbytes
            if size > self._most_bytes:
                raise InputError(
                    f"is not known to be sorted by {', '.join(self._keys)}, "
                    f"and is larger than {self._most_bytes >> 20} MiB",
                    where=self.description,
                    hint="sort it by the keys first, and give it as Parquet or Arrow files",
                )
        if held:
            batch = join(held)
            order = pc.sort_indices(batch, [(key, "ascending") for key in self._keys])
            yield take_batch(batch, order.to_numpy().astype(np.int64))

    def _whole(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pieces that end where a group does; what is held between two is of one group."""
        held: list[pa.RecordBatch] = []
        for batch in batches:
            if held and not self._continues(held[-1], batch):
                yield join(held)
                held = []
            cut = int(_starts(batch, self._keys)[-1])
            if cut:
                yield join([*held, batch.slice(0, cut)])
                held = []
            held.append(batch.slice(cut))
            if sum(part.nbytes for part in held) > self._most_bytes:
                raise InputError(f"one group holds more than {self._most_bytes >> 20} MiB", where=self.description)
        if held:
            yield join(held)

    def _continues(self, before: pa.RecordBatch, after: pa.RecordBatch) -> bool:
        return len(_starts(join([before.slice(len(before) - 1), after.slice(0, 1)]), self._keys)) == 1

    def _gather(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        starts = _starts(batch, self._keys)
        offsets = pa.array(np.append(starts, len(batch)), pa.int32())
        columns = []
        for name in batch.schema.names:
            column = batch.column(name)
            grouped = column.take(pa.array(starts)) if name in self._keys else pa.ListArray.from_arrays(offsets, column)
            columns.append(grouped)
        return pa.RecordBatch.from_arrays(
            columns, schema=pa.schema([self.schema.field(name) for name in batch.schema.names])
        )


def _missing(key: pa.Array) -> str:
    """What is among the values of a key that is no key; empty where all are."""
    if key.null_count:
        return "null"
    return "NaN" if pa.types.is_floating(key.type) and pc.any(pc.is_nan(key)).as_py() else ""


def _grouped_field(field: pa.Field, is_key: bool) -> pa.Field:
    return field.remove_metadata() if is_key else pa.field(field.name, pa.list_(field.type))


def _column(batch: pa.RecordBatch, key: str, start: int, stop: int) -> pa.Array:
    return batch.column(key).slice(start, stop - start)


def _starts(batch: pa.RecordBatch, keys: Sequence[str]) -> Indices:
    """Where a row begins whose keys differ from those of the row before it; the first row always does."""
    rows = len(batch)
    differs = np.ones(rows, bool)
    differs[1:] = False
    for key in keys:
        changed = pc.not_equal(_column(batch, key, 1, rows), _column(batch, key, 0, rows - 1))
        differs[1:] |= changed.to_numpy(zero_copy_only=False)
    return np.flatnonzero(differs)


def _ascends(batch: pa.RecordBatch, keys: Sequence[str]) -> bool:
    """Whether no row's keys are less than those of the row before it."""
    rows = len(batch)
    tied = np.ones(rows - 1, bool)
    for key in keys:
        before, after = _column(batch, key, 0, rows - 1), _column(batch, key, 1, rows)
        if (tied & pc.less(after, before).to_numpy(zero_copy_only=False)).any():
            return False
        tied &= pc.equal(after, before).to_numpy(zero_copy_only=False)
    return True
