"""Files whose columns have other names than those of their table, which maps one to the other, as Delta Lake does.

https://github.com/delta-io/delta/blob/master/PROTOCOL.md#column-mapping
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from motet.batch import Indices
from motet.io.arrow.layout import is_list
from motet.io.arrow.unify import with_children, with_fields
from motet.io.splits import Split
from motet.io.stream import Seen, Stream

__all__ = ["RenamedColumns", "plain_schema"]

_NAME, _ID = b"delta.columnMapping.physicalName", b"delta.columnMapping.id"
_STORED_ID = b"PARQUET:field_id"
_PREFIX = b"delta."
_DROPPED = "motet.dropped\0"
"""Before the name of what the table has not, or not any more."""
Key = Callable[[pa.Field], bytes]


class RenamedColumns(Stream):
    """A file in the names that its table has for its columns, without those that the table does not have.

    Args:
        source: the file.
        table: the schema of the table, whose fields say what files call them.
        by_id: whether files are read by the numbers of columns, else by their names there.
    """

    def __init__(self, source: Stream, table: pa.Schema, *, by_id: bool) -> None:
        told, stored = (_ID, _stored_id) if by_id else (_NAME, _stored_name)
        fields = [_renamed(field, list(table), told, stored) for field in source.schema]
        kept = [place for place, field in enumerate(fields) if not field.name.startswith(_DROPPED)] or [0]
        self._source, self.description = source, source.description
        self._stored = {fields[place].name: source.schema.names[place] for place in kept}
        self._viewed = {fields[place].name: fields[place].type for place in kept}
        self.schema = pa.schema([pa.field(name, _without(kind)) for name, kind in self._viewed.items()])

    @property
    def num_rows(self) -> int | None:
        """Those of the file."""
        return self._source.num_rows

    def fingerprint(self) -> str:
        """That of the file."""
        return self._source.fingerprint()

    def files(self) -> Sequence[Seen]:
        """See `Stream.files`."""
        return self._source.files()

    def stored_row_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.stored_row_bytes`."""
        return self._source.stored_row_bytes([self._stored[name] for name in columns])

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `Stream.splits`."""
        return [replace(each, source=self._of(each.source)) for each in self._source.splits(target_bytes)]

    def _of(self, source: Stream) -> RenamedColumns:
        """The same of a part of the file."""
        part = object.__new__(RenamedColumns)
        part.__dict__.update(self.__dict__, _source=source)
        return part

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        return self._named(columns, partial(self._source.pieces, skip=skip, rows=rows))

    def pieces_at(self, positions: Indices, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces_at`."""
        return self._named(columns, lambda names: self._source.pieces_at(positions, names, rows))

    def _named(
        self, columns: Sequence[str], read: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    ) -> Iterator[pa.RecordBatch]:
        """What is read of the columns of the file that have these names."""
        fields = [self.schema.field(name) for name in columns]
        for piece in read([self._stored[name] for name in columns]):
            arrays = [
                array if array.type == field.type else array.view(self._viewed[field.name]).cast(field.type)
                for field, array in zip(fields, piece.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, piece.schema.metadata))


def _stored_name(field: pa.Field) -> bytes:
    return str(field.name).encode()


def _stored_id(field: pa.Field) -> bytes:
    return bytes((field.metadata or {}).get(_STORED_ID, b""))


def _renamed(stored: pa.Field, wanted: Sequence[pa.Field], told: bytes, key: Key) -> pa.Field:
    """A field of a file as its table calls it; by a name that no column has where the table has it not."""
    own = key(stored)
    found = next((each for each in wanted if (each.metadata or {}).get(told) == own), None)
    if found is None:
        return pa.field(f"{_DROPPED}{stored.name}", stored.type)
    return pa.field(found.name, _kind(stored.type, found.type, told, key))


def _kind(stored: pa.DataType, wanted: pa.DataType, told: bytes, key: Key) -> pa.DataType:
    """The type of a file with the names that the table has for what is inside."""
    inside = partial(_kind, told=told, key=key)
    if pa.types.is_struct(stored) and pa.types.is_struct(wanted):
        return pa.struct([_renamed(each, list(wanted), told, key) for each in stored])
    if pa.types.is_map(stored) and pa.types.is_map(wanted):
        return pa.map_(inside(stored.key_type, wanted.key_type), inside(stored.item_type, wanted.item_type))
    if is_list(stored) and is_list(wanted):
        return with_children(stored, lambda values: inside(values, wanted.value_type))
    return stored


def _without(kind: pa.DataType) -> pa.DataType:
    """A type without what the table has not."""
    return with_fields(
        kind, lambda field: None if field.name.startswith(_DROPPED) else field.with_type(_without(field.type))
    )


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema without what a table says of how files call its columns."""
    return pa.schema([_plain(field) for field in schema], schema.metadata)


def _plain(field: pa.Field) -> pa.Field:
    kept = {name: said for name, said in (field.metadata or {}).items() if not name.startswith(_PREFIX)}
    return pa.field(field.name, with_fields(field.type, _plain), field.nullable, kept or None)
