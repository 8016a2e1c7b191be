"""Batches in the types of a schema: what a source gives piece by piece, and what its parts have in common."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

from motet.errors import InputError
from motet.io.arrow.buffers import numbers, of_numbers
from motet.io.arrow.dense import converted
from motet.io.arrow.fit import fit
from motet.io.arrow.layout import number_name
from motet.io.arrow.unify import decoded_type, unified_type
from motet.io.faults import ERROR_COLUMN, with_errors
from motet.numbers import may_convert, refusal
from motet.types import ColumnType

__all__ = ["UNREADABLE", "check_readable", "decoded_schema", "fitted", "may_fit"]

UNREADABLE = b"motet.unreadable"
"""What the field of a column that cannot be read carries, which is no matter unless somebody wants it: why, after its name."""


def decoded_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that a source of this stored schema has: see `decoded_type`."""
    return pa.schema([field.with_type(decoded_type(field.type)) for field in schema], schema.metadata)


def check_readable(schema: pa.Schema, name: str, where: str) -> None:
    """Refuse a column that cannot be read, or of whose name there are several.

    Raises:
        InputError: naming the column, and why.
    """
    if (count := schema.names.count(name)) > 1:
        raise InputError(f"there are {count} columns {name!r}", where=where, hint="rename them")
    reason = (schema.field(name).metadata or {}).get(UNREADABLE)
    if reason is not None:
        raise InputError(
            f"column {name!r} {reason.decode()}",
            where=where,
            hint=f"leave it out with --drop {name} (drop=[{name!r}]) where the graph does not take it, or give it "
            "one type throughout",
        )


def may_fit(stored: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of a stored type may be of another, unchanged, by their types; numbers are looked at row by row."""
    stored = decoded_type(stored)
    first, second = number_name(stored), number_name(wanted)
    if first is not None and second is not None:
        return may_convert(first, second)
    if pa.types.is_decimal(stored) and second not in (None, "bool"):
        return True
    return bool(unified_type(wanted, stored) == wanted)


def fitted(batch: pa.RecordBatch, schema: pa.Schema, where: str, declared: Collection[str] = ()) -> pa.RecordBatch:
    """The batch with the columns of a schema, in its types; nulls where it has none.

    Args:
        batch: columns that are, in these types, the same values: see `may_fit`.
        schema: what is wanted.
        where: what the batch is of, for messages.
        declared: names of columns whose types were asked for: a number that is not the same one in such a type is the
            fault of its row (see `motet.io.faults`), and of the whole input in any other.

    Raises:
        InputError: when a column holds something that its new type cannot.
    """
    if batch.schema.equals(schema):
        return batch
    reasons: dict[int, str] = {}
    columns = [_column(batch, field, where, reasons, field.name in declared) for field in schema]
    made = pa.RecordBatch.from_arrays(columns, schema=schema) if columns else batch.select([])
    place = batch.schema.get_field_index(ERROR_COLUMN)
    known = batch.column(place) if place >= 0 else None
    if not reasons:
        return made if known is None else with_errors(made, known)
    texts = known.to_pylist() if known is not None else [None] * len(batch)
    return with_errors(made, pa.array([texts[row] or reasons.get(row) for row in range(len(batch))], pa.string()))


def _column(batch: pa.RecordBatch, field: pa.Field, where: str, reasons: dict[int, str], declared: bool) -> pa.Array:
    place = batch.schema.get_field_index(field.name)
    if place < 0:
        return pa.nulls(len(batch), field.type)
    array = batch.column(place)
    if array.type == field.type:
        return array
    if not may_fit(array.type, field.type):
        raise InputError(
            f"column {field.name!r} is {array.type} here, and {field.type} in what came before",
            where=where,
            hint="give it one type throughout, or leave it out with drop",
        )
    if number_name(field.type) and not pa.types.is_null(array.type):
        found: dict[int, str] = {}
        made = _converted(fit(array, decoded_type(array.type)), field, found)
        if found and not declared:
            raise InputError(
                next(iter(found.values())), where=where, hint="give it one type throughout, or leave it out with drop"
            )
        reasons.update(found)
        return made
    try:
        return fit(array, field.type)
    except pa.ArrowInvalid as error:
        raise InputError(f"column {field.name!r} cannot be {field.type}: {error}", where=where) from None


def _converted(array: pa.Array, field: pa.Field, reasons: dict[int, str]) -> pa.Array:
    """Numbers, and decimals, in another type of numbers; those that are lost are null, with the reason."""
    nulls = numbers(array.is_null())
    kind = ColumnType(number_name(field.type) or "any")
    none = pa.scalar(0, pa.int8()).cast(array.type) if array.null_count else None
    values, lost, missing = converted(array if none is None else array.fill_null(none), kind)
    for row in np.flatnonzero(lost).tolist() if lost is not None else []:
        reasons.setdefault(row, f"column {field.name!r} {refusal(array[row].as_py(), kind)}")
    gone: Any = nulls
    for mask in (lost, missing):
        gone = gone | mask if mask is not None else gone
    return pa.array(values, field.type, mask=gone) if gone.any() else of_numbers(values)
