"""Values of drivers in types of Arrow: what a column holds, told by its first values, and which rows have a value that does not fit."""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

__all__ = ["batch_of", "inferred_schema"]

_UNFIT = (pa.ArrowException, ValueError, TypeError, ArithmeticError)


def inferred_schema(
    names: Sequence[str], rows: Sequence[Sequence[Any]], declared: Mapping[str, pa.DataType]
) -> pa.Schema:
    """The columns of rows.

    Args:
        names: of the columns.
        rows: the first ones, each with a value for each column; there may be none.
        declared: the types of columns that are known without them.
    """
    seen = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    return pa.schema([(name, declared.get(name) or _shown(seen[name])) for name in names])


def _shown(values: Sequence[Any]) -> pa.DataType:
    """The type of the first values of a column of which none is declared; of none, or several, text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.float64()
    plain = {
        int: pa.int64(), float: pa.float64(), bytes: pa.binary(), bool: pa.bool_(), datetime.date: pa.date32(),
        datetime.datetime: pa.timestamp("us"),
    }  # fmt: skip
    if kinds == {datetime.datetime} and any(value is not None and value.tzinfo is not None for value in values):
        return pa.timestamp("us", "UTC")
    return plain.get(kinds.pop(), pa.string()) if len(kinds) == 1 else pa.string()


def batch_of(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Rows as a batch of a schema, null where a value does not fit, and by row why one does not.

    Args:
        rows: each with a value for each column.
        schema: the columns.
    """
    wrong: dict[int, str] = {}
    arrays = [_array(values, field, wrong) for values, field in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema), wrong


def _array(values: Sequence[Any], field: pa.Field, wrong: dict[int, str]) -> pa.Array:
    """A column; where a value does not fit, null, and the reason in `wrong`."""
    read = _reader(field.type)
    try:
        return pa.array([None if value is None else read(value) for value in values], field.type)
    except _UNFIT:
        found = [_one(value, read, field, place, wrong) for place, value in enumerate(values)]
        return pa.array(found, field.type)


def _one(value: Any, read: Callable[[Any], Any], field: pa.Field, place: int, wrong: dict[int, str]) -> Any:
    try:
        return None if value is None else pa.scalar(read(value), field.type).as_py()
    except _UNFIT:
        wrong.setdefault(place, f"column {field.name!r} holds {value!r:.80}, which is no {field.type}")
        return None


def _reader(kind: pa.DataType) -> Callable[[Any], Any]:
    """What makes of a value of the driver one of Arrow's type."""
    if pa.types.is_string(kind):
        return _text
    if pa.types.is_boolean(kind):
        return _truth
    if pa.types.is_floating(kind):
        return _real
    if pa.types.is_date(kind):
        return _day
    if pa.types.is_timestamp(kind):
        return _moment
    if pa.types.is_fixed_size_list(kind):
        return lambda value: json.loads(value) if isinstance(value, str) else value
    if pa.types.is_integer(kind):
        return _whole
    if pa.types.is_decimal(kind):
        return lambda value: value if isinstance(value, decimal.Decimal) else decimal.Decimal(str(value))
    return lambda value: value


def _real(value: Any) -> float:
    found = float(value)
    if isinstance(value, int) and int(found) != value:  # whose last digits a float has not
        raise ValueError(value)
    if isinstance(value, str) and "_" in value:  # which Python leaves out
        raise ValueError(value)
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes are no text")
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _truth(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError(value)
    return bool(value)


def _day(value: Any) -> datetime.date:
    found = datetime.date.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(found, datetime.date):  # a number, which may be of days, seconds or anything
        raise TypeError(value)
    return found


def _moment(value: Any) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(found, datetime.datetime):
        raise TypeError(value)
    return found


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value
