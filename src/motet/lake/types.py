"""What rows must be to be held by a table, in types of its own that keep every value; and which rows are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pyarrow as pa

from motet.errors import InputError

__all__ = ["check_filled", "common", "fitting", "stored_schema", "stored_type", "unfit_rows"]

Leaf = Callable[[pa.DataType], "pa.DataType | None"]
_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
}


def stored_type(kind: pa.DataType, leaf: Leaf) -> pa.DataType | None:
    """The type that values of a type are kept as; None where some cannot be.

    Args:
        kind: the type.
        leaf: the same of types that hold no others.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return stored_type(kind.storage_type, leaf)
    if pa.types.is_map(kind):
        key, item = stored_type(kind.key_type, leaf), stored_type(kind.item_type, leaf)
        return None if key is None or item is None else pa.map_(key, item)
    if pa.types.is_struct(kind):
        found = {each.name: stored_type(each.type, leaf) for each in kind}
        return None if None in found.values() or not found else pa.struct(list(found.items()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = stored_type(kind.value_type, leaf)
        return None if item is None else pa.list_(pa.field("element", item))
    return leaf(kind)


def common(kind: pa.DataType) -> pa.DataType | None:
    """What lakes keep of types that hold no others: signed numbers, decimals, texts, bytes, days and times to the microsecond."""
    kind = _WIDER.get(kind, kind)
    if pa.types.is_timestamp(kind):  # zones that are no UTC are the same instants there
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_date(kind):
        return pa.date32()
    tests = (
        pa.types.is_signed_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_binary,
        pa.types.is_decimal128,
    )
    return kind if any(test(kind) for test in tests) else None


def stored_schema(
    rows: pa.Schema,
    there: pa.Schema | None,
    stored: Callable[[pa.DataType], pa.DataType | None],
    database: str,
    where: str,
) -> pa.Schema:
    """The schema that rows are given to a table in.

    Args:
        rows: theirs.
        there: the table's; None where it is made for them.
        stored: see `LakeTable.stored`.
        database, where: what messages call the kind of the table, and it.

    Raises:
        InputError: when a column cannot be held, is not in the table, or is of another type there.
    """
    fields = [pa.field(each.name, _held(each, stored, database, where)) for each in rows]
    if there is None:
        return pa.schema(fields)
    hint = "write to another table, or make the columns what they are there"
    for each in fields:
        if each.name not in there.names:
            what = f"column {each.name!r} is not in the table, which has {', '.join(there.names)}"
            raise InputError(what, where=where, hint=hint)
        kind = there.field(each.name).type
        if not _fits(each.type, kind):
            what = f"column {each.name!r} is {kind} in the table, and {each.type} in the rows"
            raise InputError(what, where=where, hint=hint)
    return pa.schema([pa.field(each.name, each.type, each.nullable) for each in there])


def check_filled(rows: pa.Schema, there: pa.Schema, where: str) -> None:
    """See that rows have every column of a table that may not be null.

    Raises:
        InputError: naming one that they have not.
    """
    for each in there:
        if each.name not in rows.names and not each.nullable:
            raise InputError(f"column {each.name!r} of the table may not be null, and the rows have none", where=where)


def _held(
    column: pa.Field, stored: Callable[[pa.DataType], pa.DataType | None], database: str, where: str
) -> pa.DataType:
    kind = stored(column.type)
    if kind is None:
        hint = f"leave it out: --drop {column.name} where it is the source's, or write to a file"
        raise InputError(
            f"{database} cannot hold column {column.name!r}, which is {column.type}", where=where, hint=hint
        )
    return kind


def _fits(kind: pa.DataType, there: pa.DataType) -> bool:
    """Whether every value of a type is the same value in that of a table."""
    same = partial(stored_type, leaf=lambda each: _WIDER.get(each, each))
    if same(kind) == same(there):
        return True
    if pa.types.is_integer(kind) and pa.types.is_integer(there):
        return bool(kind.bit_width <= there.bit_width)
    if pa.types.is_floating(kind) and pa.types.is_floating(there):
        return bool(kind.bit_width <= there.bit_width)
    if pa.types.is_decimal(kind) and pa.types.is_decimal(there):
        return bool(kind.scale <= there.scale and kind.precision - kind.scale <= there.precision - there.scale)
    return False


def fitting(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows as a table has them: its columns in its order and types, null where the rows have none.

    Raises:
        pyarrow.ArrowException: when a value is none of these types.
    """
    columns = [
        _cast(batch.column(each.name), each.type)
        if each.name in batch.schema.names
        else pa.nulls(len(batch), each.type)
        for each in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    plain = column.storage if isinstance(column, pa.ExtensionArray) else column
    if pa.types.is_fixed_size_list(plain.type):  # whose nulls have values behind them
        plain = plain.cast(pa.list_(plain.type.value_type))
    return plain.cast(kind)


def unfit_rows(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> Mapping[int, str]:
    """By row why a table cannot hold it: a time that is no whole microsecond, or nothing where something must be."""
    found: dict[int, str] = {}
    for each in schema:
        if each.name not in batch.schema.names:
            continue
        column = batch.column(each.name)
        for row in _nulls_inside(column, each.type):
            found.setdefault(row, f"column {each.name!r} has nulls in a list, which it may not have in {where}")
        if not each.nullable and column.null_count:
            for row, is_null in enumerate(column.is_null().to_pylist()):
                if is_null:
                    found.setdefault(row, f"column {each.name!r} is null, which it may not be in {where}")
        try:
            _cast(column, each.type)
        except (pa.ArrowException, OverflowError):
            for row in range(len(column)):
                try:
                    _cast(column.slice(row, 1), each.type)
                except (pa.ArrowException, OverflowError) as error:
                    found.setdefault(row, f"column {each.name!r} cannot be {each.type}: {error}")
    return found


def _nulls_inside(column: pa.Array, kind: pa.DataType) -> list[int]:
    """The rows whose list has nulls, where a table takes none in it."""
    if not pa.types.is_list(kind) or kind.value_field.nullable:
        return []
    plain = column.storage if isinstance(column, pa.ExtensionArray) else column
    if not plain.flatten().null_count:
        return []
    return [row for row, value in enumerate(plain.to_pylist()) if value is not None and None in value]
