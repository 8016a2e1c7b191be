"""What all sources share: batches of an exact size out of whatever pieces a format gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.batch import Indices
from motet.errors import DataError, InputError, RunError, UnknownNameError
from motet.io.cutter import Cutter
from motet.io.faults import drop_empty_errors, with_errors
from motet.io.files import FoundFile, State, fingerprint_files, states_now
from motet.io.fitted import UNREADABLE, check_readable, fitted
from motet.io.marks import take_mark
from motet.io.splits import Split, whole
from motet.io.take import take_batch

__all__ = ["COUNTED_ROWS", "FileStream", "Seen", "Stream", "reading", "rechunk", "rows_to_read"]

Seen = tuple[FoundFile, State]
_READ_BYTES, _MOST_READ_BYTES = 2 << 20, 16 << 20
COUNTED_ROWS = 8_192
"""Rows that are read at a time where they are only counted."""
MEASURED_ROWS = 16
"""Rows that are read to see how large they are."""
_CHANGED = "put it back as it was and go on with --resume, or begin anew with --overwrite"
_LOST = "rows were lost while reading, which is a fault of the reader: nothing of this run can be trusted"


class Stream(ABC):
    """A source that gives pieces of any size; this class cuts them to batches.

    Pieces may be of other types than `schema` as long as these hold the same values (see `fitted`): what is told batch by
    batch, as the values of a dictionary, never leaves a source.

    Attributes:
        schema: names and types of the columns, without dictionaries, run-ends and views (`decoded_schema`).
        description: what it reads, for messages.
        reads_again: whether it can be read more than once.
        left_out: what of the place that it reads it does not: `2 files left out: .db, .heic`; empty for nothing.
        reads: the files that it reads; empty where it reads none.
        lacks: columns of the schema that are declared, and of which nothing is there.
        was_read: whether it was read to its end.
        text_bytes: bytes of the text that it is, where that is known without reading it.
        in_memory: whether its rows are in the memory of this process.
        pin: the option of an address by which it is read again as it is now, such as `version=3`; empty where there is none.
    """

    schema: pa.Schema
    description: str
    reads_again: bool = True
    left_out: str = ""
    reads: tuple[FoundFile, ...] = ()
    lacks: frozenset[str] = frozenset()
    was_read: bool = False
    text_bytes: int | None = None
    in_memory: bool = False
    pin: str = ""
    _counted: int | None = None
    """Rows that were met while all of it was read; see `count`."""

    @property
    def num_rows(self) -> int | None:
        """Rows in the source, None where only reading it all would tell."""
        return None

    @abstractmethod
    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """Record batches of any size, in order, without the first `skip` rows.

        Args:
            columns: names to read, in this order; they exist.
            skip: rows to leave out at the start.
            rows: the size that batches will be cut to, to choose a piece's size by.
        """

    def stop(self) -> None:
        """End a read that waits in another thread for what may never come."""
        for file in self.reads:
            if file.content is not None:
                file.content.stop()

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest that changes when the input does."""

    def count(self) -> int | None:
        """Rows in the source, by its metadata or by a count that was taken beside `pieces` while all of it was read.

        None where nothing else than `pieces` tells.
        """
        return self._counted if self.num_rows is None else self.num_rows

    def splits(self, target_bytes: int) -> list[Split]:
        """All rows in parts that workers read by themselves, in order; together they give what `batches` gives.

        Text, and what else does not know its rows, is read once for it.

        Args:
            target_bytes: what a part has at most, where the source can be entered so often; 1 or more.

        Raises:
            InputError: when only this process can read it.
        """
        if target_bytes < 1:
            raise InputError(f"target_bytes is {target_bytes}; it must be 1 or more")
        if self.in_memory or not self.reads_again:
            what = "is in the memory of this process" if self.in_memory else "can be read only once, here"
            raise InputError(
                f"{what}, and workers elsewhere read for themselves",
                where=self.description,
                hint="write it to a file that they reach first, or run with the engine local",
            )
        with reading(self.description):
            return self._splits(target_bytes)

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `splits`; one, for what cannot be entered."""
        rows = self.count()
        if rows is None:
            column = next(field.name for field in self.schema if UNREADABLE not in (field.metadata or {}))
            rows = sum(map(len, self.counted(self.pieces([column], 0, COUNTED_ROWS), 0)))
        return whole(self, rows, self.text_bytes or 0)

    def files(self) -> Sequence[Seen]:
        """The files that are read, each with the state that it had when the source was made; none of what is no file."""
        return ()

    def check_unchanged(self) -> None:
        """See that what is read is what it was when the source was made.

        Raises:
            DataError: naming the first file that was replaced, grew, was cut off or is gone.
        """
        found = self.files()
        for (file, state), now in zip(found, states_now([file for file, _ in found]), strict=True):
            check_same(file, state, now)

    def row_bytes(self, columns: Sequence[str]) -> float:
        """Bytes of a row in some columns, by their types, by what is known of the file, and by the first rows.

        Where rows differ it is a guess, and rather too large than too small; 0 where it cannot be known before reading.
        """
        sizes = {name: type_bytes(self.schema.field(name).type, 0) for name in columns}
        fixed, varying = sum(sizes.values()), [name for name, size in sizes.items() if not size]
        if varying and self.reads_again:
            with suppress(InputError), reading(self.description):  # what is wrong is told when it is read
                return fixed + self.varying_bytes(varying)
        return fixed

    @cached_property
    def _varying(self) -> dict[str, float]:
        """Bytes of a value in the first rows, by column: those that are played are among those that are read."""
        return {}

    def varying_bytes(self, columns: Sequence[str]) -> float:
        """Bytes of a row in columns whose rows differ, by what is known of the file and by the first rows."""
        new = [name for name in columns if name not in self._varying]
        first = next(self.pieces(new, 0, MEASURED_ROWS), None) if new else None
        if first:
            self._varying.update({name: first[name].nbytes / len(first) for name in new})
        return max(self.stored_row_bytes(columns), sum(self._varying.get(name, 0.0) for name in columns))

    def stored_row_bytes(self, columns: Sequence[str]) -> float:
        """Bytes of a row in some columns as the file's metadata have it, where rows are largest; 0 where it has none."""
        return 0.0

    def counted(self, pieces: Iterable[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
        """The pieces of this source without its first `skip` rows, seen to be all that there are.

        Raises:
            RunError: when they are not, or cannot be read to the end.
        """
        rows = skip
        with reading(self.description):
            for piece in pieces:
                plain, said = take_mark(piece)
                self._check_rows(rows, rows + len(plain), *(said or (rows, rows + len(plain))))
                rows += len(plain)
                yield plain
            there = self.count()
        self.was_read = True
        self._check_rows(rows, rows, rows, rows if there is None else max(skip, there))

    def _check_rows(self, start: int, stop: int, wanted_start: int, wanted_stop: int) -> None:
        if (start, stop) != (wanted_start, wanted_stop):
            self.check_unchanged()
            what = f"rows {wanted_start:,} to {wanted_stop:,} were expected, and {start:,} to {stop:,} were read"
            raise RunError(what, where=self.description, hint=_LOST)

    def batches(
        self, rows: int, columns: Sequence[str] | None = None, skip: int = 0, most_bytes: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Batches of exactly `rows` rows, the last one of fewer.

        Where they end depends on nothing but `rows`, `skip` and, of a batch of fewer rows that hold `most_bytes`, the rows.
        """
        names = self._names(columns)
        if rows < 1 or skip < 0:
            raise InputError(f"rows is {rows} and skip is {skip}; rows must be 1 or more, skip 0 or more")
        return self._cut(self.counted(self.pieces(names, skip, rows), skip), names, rows, most_bytes)

    def batches_at(
        self,
        positions: npt.ArrayLike,
        rows: int,
        columns: Sequence[str] | None = None,
        most_bytes: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the rows at these positions alone, in ascending order, `rows` at a time, or `most_bytes`."""
        names = self._names(columns)
        if rows < 1:
            raise InputError(f"rows is {rows}; it must be 1 or more")
        chosen = np.unique(np.asarray(positions, dtype=np.int64))
        if len(chosen) and chosen[0] < 0:
            raise InputError(f"row {chosen[0]} is before the first", where=self.description)
        return self._cut(self.pieces_at(chosen, names, rows), names, rows, most_bytes)

    def _cut(
        self, pieces: Iterator[pa.RecordBatch], names: Sequence[str], rows: int, most_bytes: int | None
    ) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([self.schema.field(name) for name in names])
        with reading(self.description):
            for batch in rechunk(pieces, rows, partial(fitted, schema=schema, where=self.description), most_bytes):
                yield drop_empty_errors(batch)

    def pieces_at(self, positions: Indices, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Pieces of the rows at these sorted positions; a source that can jump does better than reading it all."""
        if not len(positions):
            return
        first = start = int(positions[0])
        stop = int(positions[-1]) + 1
        for piece in self.counted(self.pieces(columns, start, rows), start):
            low, high = np.searchsorted(positions, [start, start + len(piece)])
            if high > low:
                yield take_batch(piece, positions[low:high] - start)
            start += len(piece)
            if start >= stop:
                return
        count = f"has {start} rows; " if start > first else ""  # not known where even the first is past the end
        raise InputError(f"{count}row {stop - 1} is past the end", where=self.description)

    def _names(self, columns: Sequence[str] | None) -> list[str]:
        names = list(self.schema.names if columns is None else columns)
        for name in names:
            if name not in self.schema.names:
                raise UnknownNameError("column", name, self.schema.names, where=self.description)
        if columns is not None and not names:
            raise InputError("no columns were named", where=self.description, hint="name at least one to read")
        for name in names:
            check_readable(self.schema, name, self.description)
        return names

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description})"


class FileStream(Stream):
    """A source that is one file.

    Args:
        file: the file.
    """

    def __init__(self, file: FoundFile) -> None:
        self._file, self.description = file, str(file)
        try:
            self._state = file.state_found() if file.is_regular else None
        except OSError as error:
            raise InputError(
                f"cannot be looked at: {error.strerror or error}",
                where=str(file),
                hint="a link must lead to a file; --input also takes files one by one, and patterns",
            ) from error

    def fingerprint(self) -> str:
        """See `fingerprint_files`."""
        return fingerprint_files([self._file])

    def files(self) -> Sequence[Seen]:
        """See `Stream.files`."""
        return [] if self._state is None else [(self._file, self._state)]

    def check_opened(self) -> None:
        """See that a file of this machine that is about to be opened is what it was; see `check_unchanged`."""
        if self._file.is_local:
            self.check_unchanged()


def check_same(file: FoundFile, state: State, now: State | Exception) -> None:
    """See that a file has the state that it had: its size, and its time of change or tag.

    Raises:
        DataError: when it has not.
    """
    if isinstance(now, Exception):
        raise DataError(f"is gone: {now}", where=str(file), hint=_CHANGED) from now
    if now[0] != state[0] or _other_stamp(now[1], state[1]):
        sizes = f"from {state[0]:,} to {now[0]:,} bytes" if now[0] != state[0] else f"at {now[0]:,} bytes"
        raise DataError(f"has changed since the run began, {sizes}", where=str(file), hint=_CHANGED)


def _other_stamp(one: str, other: str) -> bool:
    """Whether two stamps differ in what both of them say; a listing says less of an object than the object itself."""
    if "=" not in one or "=" not in other:
        return one != other
    first, second = (dict(each.partition("=")[::2] for each in stamp.split(";")) for stamp in (one, other))
    return any(first[key] != second[key] for key in first.keys() & second.keys())


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Tell what storage and Arrow raise meanwhile as an error of what is read.

    Raises:
        DataError: which names it.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot be read any further: {error}", where=where) from error


def rechunk(
    pieces: Iterable[pa.RecordBatch],
    rows: int,
    fit: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
    most_bytes: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Cut pieces of any size into batches of exactly `rows` rows, the last one of fewer, holding one batch's worth.

    A batch of more than one row that would hold more than `most_bytes` has fewer. What is cut goes through `fit` before it is
    joined.
    """
    full: deque[Sequence[pa.RecordBatch]] = deque()
    cutter = Cutter(rows, most_bytes, full.append)
    for piece in pieces:
        start = 0
        while start < len(piece):
            part = piece.slice(start, rows - cutter.held)
            cutter.add(part if fit is None else fit(part))
            start += len(part)
            while full:
                yield join(full.popleft())
    cutter.flush()
    while full:
        yield join(full.popleft())


def join(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of several, with an error column where one of them has it.

    Raises:
        InputError: when it would be larger than Arrow's 2 GiB a column.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.num_columns for part in parts}) > 1:
        parts = [with_errors(part) for part in parts]
    batches = pa.Table.from_batches(parts).combine_chunks().to_batches()
    if len(batches) != 1:
        raise InputError("a batch holds more than 2 GiB in a column", hint="ask for fewer rows a batch")
    return batches[0]


def rows_to_read(rows: int, row_bytes: float) -> int:
    """Rows to read at a time: a multiple of the batch, so that cutting copies nothing, within some 2 MiB; of a batch that
    is larger than 16 MiB a part."""
    fit = int(_READ_BYTES / max(row_bytes, 1.0))
    return rows * (fit // rows) if fit >= rows else max(1, min(rows, int(_MOST_READ_BYTES / row_bytes)))


def type_bytes(data_type: Any, unknown: int = 256) -> float:
    """Bytes of a value by its type alone; `unknown` where values differ."""
    if isinstance(data_type, pa.BaseExtensionType):
        return type_bytes(data_type.storage_type, unknown)
    if pa.types.is_fixed_size_list(data_type):
        return float(data_type.list_size) * type_bytes(data_type.value_type, unknown)
    try:
        return float(data_type.bit_width) / 8
    except ValueError:
        return unknown
