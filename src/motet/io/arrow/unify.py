"""Which type holds the values of others, told from the types alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from motet.io.arrow.layout import is_binary, is_list, is_string, list_length, number_name
from motet.numbers import widens

__all__ = ["decoded_type", "unified_fields", "unified_type", "with_children", "with_fields"]

_UNITS = ("s", "ms", "us", "ns")


def decoded_type(data_type: Any) -> pa.DataType:
    """The type of the same values without what is told batch by batch, or laid out otherwise, at any depth.

    Dictionaries and run-ends become the type of their values, views the types that are no views. An extension stays, but
    where its storage is one of these.
    """
    kinds = pa.types
    if kinds.is_dictionary(data_type) or kinds.is_run_end_encoded(data_type):
        return decoded_type(data_type.value_type)
    if kinds.is_string_view(data_type) or kinds.is_binary_view(data_type):
        return pa.string() if kinds.is_string_view(data_type) else pa.binary()
    if isinstance(data_type, pa.BaseExtensionType):
        storage = decoded_type(data_type.storage_type)
        return data_type if storage == data_type.storage_type else storage
    return with_children(data_type, decoded_type)


def with_children(data_type: Any, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """The type with the types that it holds (of a list's values, a struct's fields, a map's keys and items) changed."""

    return with_fields(data_type, lambda field: field.with_type(change(field.type)))


def with_fields(data_type: pa.DataType, change: Callable[[pa.Field], pa.Field | None]) -> pa.DataType:
    """The type with the fields that it holds changed; a struct goes without those of which None is made."""
    kinds = pa.types
    if kinds.is_map(data_type):
        return pa.map_(change(data_type.key_field), change(data_type.item_field), data_type.keys_sorted)
    if kinds.is_struct(data_type):
        return pa.struct([made for field in data_type if (made := change(field)) is not None])
    if is_list(data_type):
        large = kinds.is_large_list(data_type) or kinds.is_large_list_view(data_type)
        return _list(change(data_type.value_field), large, list_length(data_type))
    return data_type


def _list(child: pa.Field, large: bool, length: int | None) -> pa.DataType:
    if length is not None:
        return pa.list_(child, length)
    return pa.large_list(child) if large else pa.list_(child)


def unified_type(one: Any, other: Any) -> pa.DataType | None:
    """The narrowest type that holds the values of two decoded types unchanged, None where there is none.

    Numbers, decimals, times and lists widen; null is any type; zones that differ become UTC, the same instants; structs
    have the fields of both. Text and numbers, whole numbers of 64 bits and floats, dates and timestamps have none. A time
    of a finer unit has less range, so that values are looked at when they are converted.
    """
    kinds = pa.types
    if one == other or kinds.is_null(other):
        return one
    if kinds.is_null(one):
        return other
    if isinstance(one, pa.BaseExtensionType) or isinstance(other, pa.BaseExtensionType):
        return unified_type(_storage(one), _storage(other))
    for both, unify in _RULES:
        if both(one) and both(other):
            return unify(one, other)
    return None


def _storage(data_type: Any) -> pa.DataType:
    return data_type.storage_type if isinstance(data_type, pa.BaseExtensionType) else data_type


def _numbers(one: Any, other: Any) -> pa.DataType | None:
    first, second = number_name(one) or "", number_name(other) or ""
    if "bool" in (first, second):
        return None
    wide = np.result_type(np.dtype(first), np.dtype(second))
    return pa.from_numpy_dtype(wide) if widens(first, wide) and widens(second, wide) else None


def _binaries(one: Any, other: Any) -> pa.DataType:
    return pa.large_binary() if pa.large_binary() in (one, other) else pa.binary()


def _finer(one: Any, other: Any) -> str:
    return _UNITS[max(_UNITS.index(one.unit), _UNITS.index(other.unit))]


def _timestamps(one: Any, other: Any) -> pa.DataType | None:
    if (one.tz is None) != (other.tz is None):
        return None
    return pa.timestamp(_finer(one, other), one.tz if one.tz == other.tz else "UTC")


def _times(one: Any, other: Any) -> pa.DataType:
    unit = _finer(one, other)
    return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)


def _decimals(one: Any, other: Any) -> pa.DataType | None:
    scale = max(one.scale, other.scale)
    digits = scale + max(one.precision - one.scale, other.precision - other.scale)
    narrow = digits <= 38 and max(one.bit_width, other.bit_width) <= 128
    return pa.decimal128(digits, scale) if narrow else pa.decimal256(digits, scale) if digits <= 76 else None


def _lists(one: Any, other: Any) -> pa.DataType | None:
    child = _field(one.value_field, other.value_field)
    if child is None:
        return None
    length = list_length(one) if list_length(one) == list_length(other) else None
    return _list(child, any(map(pa.types.is_large_list, (one, other))), length)


def _maps(one: Any, other: Any) -> pa.DataType | None:
    key, item = _field(one.key_field, other.key_field), _field(one.item_field, other.item_field)
    return None if key is None or item is None else pa.map_(key, item, one.keys_sorted and other.keys_sorted)


def _structs(one: Any, other: Any) -> pa.DataType | None:
    fields = list(unified_fields([one, other]).values())
    return None if any(field is None for field in fields) else pa.struct(fields)


def unified_fields(schemas: Sequence[Any]) -> dict[str, pa.Field | None]:
    """The fields that any of these schemas or structs has, in the order in which they come, None where types cannot unify."""
    found: dict[str, pa.Field | None] = {}
    for name in dict.fromkeys(field.name for schema in schemas for field in schema):
        there = [schema.field(name) for schema in schemas if schema.get_field_index(name) >= 0]
        field: pa.Field | None = there[0] if there else None  # a name that a struct has twice is not found
        for each in there[1:]:
            field = field and _field(field, each)
        found[name] = field.with_nullable(True) if field and len(there) < len(schemas) else field
    return found


def _field(one: pa.Field, other: pa.Field) -> pa.Field | None:
    """One field for both: what either may be null may be null, and only metadata that both have stays."""
    data_type = unified_type(one.type, other.type)
    if data_type is None:
        return None
    shared = dict((one.metadata or {}).items() & (other.metadata or {}).items())
    return pa.field(one.name, data_type, one.nullable or other.nullable, shared)


_RULES: Any = (
    (lambda kind: number_name(kind) is not None, _numbers),
    (is_string, lambda one, other: pa.large_string()),
    (is_binary, _binaries),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_time, _times),
    (pa.types.is_duration, lambda one, other: pa.duration(_finer(one, other))),
    (pa.types.is_date, lambda one, other: pa.date64()),
    (pa.types.is_decimal, _decimals),
    (is_list, _lists),
    (pa.types.is_map, _maps),
    (pa.types.is_struct, _structs),
)
"""How two types of one kind unify; those that are equal have been seen to."""
