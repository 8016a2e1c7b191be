"""What is in memory already: tables, dicts of arrays, batches, and iterables of any of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Batch, objects, unmasked
from motet.errors import InputError
from motet.io.arrow import arrow_type, from_column
from motet.io.faults import ERROR_COLUMN, with_errors
from motet.io.fitted import UNREADABLE, check_readable, decoded_schema, fitted, may_fit
from motet.io.frames import as_stored, as_table, index_of, is_frame, single_columns
from motet.io.marks import drop_rows, mark, mark_all
from motet.io.stream import Stream
from motet.numbers import is_missing
from motet.reading import as_given, read_column
from motet.tracebacks import summary
from motet.types import ANY, ColumnType

__all__ = ["IterableSource", "TableSource", "as_record_batch", "table_of"]

_HASH_ROWS = 65_536
_AHEAD = 8
"""The most batches of an iterable that are looked at for the type of a column that has nothing but nulls."""


class TableSource(Stream):
    """A table. Its fingerprint is a digest of its content."""

    in_memory = True

    def __init__(self, table: pa.Table, description: str = "a table") -> None:
        self._table, self.description = table, description
        self.schema = _without_errors(decoded_schema(table.schema))

    @property
    def num_rows(self) -> int:
        """Rows in the table."""
        return int(self._table.num_rows)

    def fingerprint(self) -> str:
        """A digest of the content, however the table is chunked."""
        digest = hashlib.sha256()
        with pa.ipc.new_stream(pa.PythonFile(_Hashing(digest.update), mode="w"), self.schema) as out:
            for batch in self.batches(_HASH_ROWS):
                out.write_batch(batch.select(self.schema.names))  # without why rows could not be read
        return digest.hexdigest()

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        errors = [ERROR_COLUMN] if ERROR_COLUMN in self._table.column_names else []
        yield from mark_all(self._table.select([*columns, *errors]).slice(skip).to_batches(), skip)


class IterableSource(Stream):
    """An iterable of record batches, tables, dicts of arrays or `Batch`es.

    The first is taken when the source is made, to learn the columns, and a few more where one has nothing but nulls;
    numbers, and columns of nothing but nulls, have their declared type. Later ones may lack columns (nulls), and be of any
    type whose values are the same in the first one's. An iterator can be read once; a list, or any object whose `iter`
    starts anew, as often as one likes.

    Args:
        items: the iterable.
        description: what it is, for messages.
        types: declared column types.
    """

    in_memory = True

    def __init__(
        self,
        items: Iterable[Any],
        description: str = "an iterable",
        types: Mapping[str, ColumnType] | None = None,
    ) -> None:
        self.description = description
        self._items = items
        self._iterator: Iterator[Any] | None = iter(items)
        self.reads_again = self._iterator is not items
        self._ahead: list[Any] = []
        self._types = types or {}
        schema: pa.Schema | None = None
        for item in self._told(self._iterator):
            self._ahead.append(item)
            schema = self._seen(schema, as_record_batch(item, description, self._types).schema)
            if len(self._ahead) == _AHEAD or not any(map(_is_empty, schema)):
                break
        if schema is None:
            raise InputError("holds nothing, not even columns", where=description, hint="give at least one batch")
        self.schema = schema

    def _seen(self, known: pa.Schema | None, later: pa.Schema) -> pa.Schema:
        """The columns of the first batch; those that have nothing but nulls so far as a later one has them."""
        found = _without_errors(decoded_schema(later))
        if known is not None:
            fields = (found.field(old.name) if _is_empty(old) and old.name in found.names else old for old in known)
            found = pa.schema(fields, known.metadata)
        return pa.schema([_declared(field, self._types.get(field.name)) for field in found], found.metadata)

    def fingerprint(self) -> str:
        """Raises InputError: what an iterable gives next time, nobody knows."""
        raise InputError(
            "has no identity, so a run over it cannot be resumed",
            where=self.description,
            hint="write it to a file first, or run without resuming",
        )

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`.

        Raises:
            InputError: when an iterator is read again, it raises, or an item has columns that the first has not.
        """
        yield from drop_rows(self._batches(columns), skip)

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        rows = 0
        for item in self._walk():
            batch = self._checked(item, columns)
            yield mark(batch, rows)
            rows += len(batch)
        self._counted = rows

    def _walk(self) -> Iterator[Any]:
        if self.reads_again:
            yield from self._told(iter(self._items))
            return
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            raise InputError("was read already, and an iterator can be read once", where=self.description)
        while self._ahead:
            yield self._ahead.pop(0)
        yield from self._told(iterator)

    def _told(self, items: Iterator[Any]) -> Iterator[Any]:
        """The items; what the iterator raises ends the run, and is told as what it is."""
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except Exception as error:
                raise InputError(
                    f"raised {summary(error)}",
                    where=self.description,
                    hint="it is read in a thread of its own; a connection of sqlite3 needs check_same_thread=False",
                ) from error
            yield item

    def _checked(self, item: Any, columns: Sequence[str]) -> pa.RecordBatch:
        batch = as_record_batch(item, self.description, self._types)
        new = [name for name in batch.schema.names if name not in (*self.schema.names, ERROR_COLUMN)]
        if new:
            raise InputError(
                f"gives the columns {', '.join(new)}, which its first batch has not",
                where=self.description,
                hint="give the first batch every column",
            )
        for name in columns:
            if name in batch.schema.names:
                check_readable(batch.schema, name, self.description)
        schema = pa.schema([self.schema.field(name) for name in columns], self.schema.metadata)
        return fitted(batch, schema, self.description, self._types)


def as_record_batch(item: Any, where: str = "", types: Mapping[str, ColumnType] | None = None) -> pa.RecordBatch:
    """A record batch of a table, a frame, a dict of arrays or a `Batch`.

    Args:
        item: any of these.
        where: what it is of, for messages.
        types: declared column types. Python's objects in a dict are read as these; rows that are none have a reason (see
            `motet.io.faults`).

    Raises:
        InputError: when it is none of these, or its columns differ in length.
    """
    if isinstance(item, pa.RecordBatch):
        return item
    if is_frame(item) and not isinstance(item, pa.Table):
        item = table_of(item, types)
    if isinstance(item, pa.Table):
        whole = item.combine_chunks().to_batches()
        return whole[0] if whole else pa.RecordBatch.from_pylist([], schema=item.schema)
    if isinstance(item, Mapping):
        return _of_columns(item, types or {})
    if isinstance(item, Batch):
        arrays = [from_column(column, name=name) for name, column in item.columns.items()]
        return pa.RecordBatch.from_arrays(arrays, names=list(item.columns))
    raise InputError(
        f"gives {type(item).__name__}, which holds no rows",
        where=where,
        hint="give record batches, tables, frames, dicts of arrays, or motet batches",
    )


def table_of(frame: Any, types: Mapping[str, ColumnType] | None = None) -> pa.Table:
    """The columns of a frame, one by one where Arrow does not take them together.

    Of objects of several kinds those of a declared type are read row by row, as in a dict. What Arrow has no type for
    cannot be read, which matters only where somebody wants it (see `UNREADABLE`).

    Args:
        frame: see `is_frame`.
        types: declared column types.

    Raises:
        InputError: when it is no frame.
    """
    try:
        return as_table(frame)
    except InputError:
        columns = single_columns(frame)
        if columns is None:
            raise
    arrays: list[Any] = []
    fields: list[pa.Field] = []
    bad: list[pa.Array] = []
    for name, alone, values in columns:
        try:
            array = as_table(alone).column(0)
            field = pa.field(name, array.type)
        except InputError:
            array, field, reasons = _of_objects(name, list(values), types or {})
            bad += reasons
        arrays.append(array)
        fields.append(field)
    index = index_of(frame)
    arrays, fields = [*arrays, *index.columns], [*fields, *index.schema]
    if bad:
        import pyarrow.compute as pc

        arrays, fields = [*arrays, pc.coalesce(*bad)], [*fields, pa.field(ERROR_COLUMN, pa.string())]
    return pa.table(arrays, pa.schema(fields, index.schema.metadata))


def _of_objects(
    name: str, values: list[Any], types: Mapping[str, ColumnType]
) -> tuple[pa.Array, pa.Field, list[pa.Array]]:
    """A column of Python's objects, its field, and why rows are none of its declared type, where some are not."""
    try:
        batch = _of_columns({name: objects(values)}, types)
    except InputError as error:
        reason = f"cannot be read: it {error.what}"
        return pa.nulls(len(values)), pa.field(name, pa.null(), metadata={UNREADABLE: reason.encode()}), []
    found = batch.column(0)
    return found, pa.field(name, found.type), [batch.column(place) for place in range(1, batch.num_columns)]


def _of_columns(columns: Mapping[Any, Any], types: Mapping[str, ColumnType]) -> pa.RecordBatch:
    given: dict[str, Any] = {}
    for name, values in columns.items():
        stored = as_stored(values)
        given[str(name)] = as_given(values, types.get(str(name), ANY)) if stored is None else stored
    for name, column in given.items():
        if isinstance(column, np.ndarray) and not column.ndim:
            raise InputError(
                f"is one value, {columns.get(name)!r}; a batch has an array of them",
                where=f"column {name!r}",
                hint="a list of rows is a table: pyarrow.Table.from_pylist(rows)",
            )
    rows = len(Batch(given))  # as many in each
    arrays: list[pa.Array] = []
    reasons: dict[int, str] = {}
    for (name, column), values in zip(given.items(), columns.values(), strict=True):
        kind, written = types.get(name, ANY), isinstance(values, (list, tuple))
        if isinstance(column, (pa.Array, pa.ChunkedArray)):
            arrays.append(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
            continue
        if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
            column = unmasked(values).astype(object)
        is_objects = isinstance(column, np.ndarray) and column.dtype == object
        if kind.dtype == "any" or not (written or is_objects):
            if is_objects and column.ndim == 1:
                column = objects([None if is_missing(value) else value for value in column])
            arrays.append(from_column(column, name=name))
            continue
        read, bad = read_column(column, kind, f"column {name!r}", written=written)
        array = from_column(read, kind, name=name)
        arrays.append(
            array.take(pa.array([None if row in bad else row for row in range(rows)], pa.int64())) if bad else array
        )
        reasons |= {row: why for row, why in bad.items() if why != f"column {name!r} is null"}
    batch = pa.RecordBatch.from_arrays(arrays, names=list(given))
    return with_errors(batch, pa.array(map(reasons.get, range(rows)), pa.string())) if reasons else batch


def _is_empty(field: pa.Field) -> bool:
    """Whether a column has shown nothing but nulls."""
    return bool(pa.types.is_null(field.type)) and UNREADABLE not in (field.metadata or {})


def _without_errors(schema: pa.Schema) -> pa.Schema:
    place = schema.get_field_index(ERROR_COLUMN)
    return schema.remove(place) if place >= 0 else schema


def _declared(field: pa.Field, kind: ColumnType | None) -> pa.Field:
    """The field, of its declared type where it shows none, or numbers: what comes later may have others."""
    found = arrow_type(kind) if kind is not None and not kind.shape else None
    return field.with_type(found) if found is not None and may_fit(field.type, found) else field


class _Hashing(io.RawIOBase):
    """A file that keeps nothing but a digest."""

    def __init__(self, update: Callable[[bytes], None]) -> None:
        super().__init__()
        self._update = update

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._update(data)
        return len(data)
