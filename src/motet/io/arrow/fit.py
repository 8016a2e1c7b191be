"""Arrays in another type that holds the same values: without dictionaries, run-ends and views, or wider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.io.arrow.buffers import numbers, of_numbers
from motet.io.arrow.dense import list_parts
from motet.io.arrow.layout import is_list, is_view

__all__ = ["fit"]


Leaf = Callable[[pa.Array, pa.DataType], pa.Array]


def _cast(array: pa.Array, data_type: pa.DataType) -> pa.Array:
    """Values that hold no others, in another type."""
    return fit(array.storage, data_type) if isinstance(array, pa.ExtensionArray) else array.cast(data_type)


def fit(array: pa.Array, data_type: pa.DataType, leaf: Leaf = _cast) -> pa.Array:
    """The same values in a type that `decoded_type` or `unified_type` gave for the array's own.

    Args:
        array: the values.
        data_type: that type.
        leaf: what converts values that hold no others, and extensions.

    Raises:
        ArrowInvalid: when a value is none of that type, as a time that is out of the range of a finer unit.
    """
    stored: Any = array.type
    kinds = pa.types
    if stored == data_type:
        return array
    if kinds.is_null(stored):
        return pa.nulls(len(array), data_type)
    if kinds.is_dictionary(stored):
        return fit(array.dictionary, data_type, leaf).take(array.indices)
    if kinds.is_run_end_encoded(stored):
        import pyarrow.compute as pc

        return fit(pc.run_end_decode(array), data_type, leaf)
    if is_list(stored):
        return _list(array, data_type, leaf)
    if kinds.is_map(stored):
        return _map(array, data_type, leaf)
    return _struct(array, data_type, leaf) if kinds.is_struct(stored) else leaf(array, data_type)


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _list(array: pa.Array, data_type: Any, leaf: Leaf) -> pa.Array:
    offsets, values = _view_parts(array) if is_view(array.type) else list_parts(array)
    child = fit(values, data_type.value_type, leaf)
    if pa.types.is_fixed_size_list(data_type):
        return pa.FixedSizeListArray.from_arrays(child, type=data_type, mask=_mask(array))
    large = pa.types.is_large_list(data_type)
    kind, width = (pa.LargeListArray, np.int64) if large else (pa.ListArray, np.int32)
    return kind.from_arrays(of_numbers(offsets.astype(width)), child, type=data_type, mask=_mask(array))


def _view_parts(array: pa.Array) -> tuple[Indices, pa.Array]:
    import pyarrow.compute as pc

    lengths = numbers(pc.fill_null(pc.list_value_length(array), 0))
    return np.append(0, np.cumsum(lengths, dtype=np.int64)), array.flatten()


def _map(array: pa.Array, data_type: Any, leaf: Leaf) -> pa.Array:
    offsets, entries = list_parts(array)
    keys = fit(entries.field(0), data_type.key_type, leaf)
    items = fit(entries.field(1), data_type.item_type, leaf)
    return pa.MapArray.from_arrays(of_numbers(offsets.astype(np.int32)), keys, items, data_type, mask=_mask(array))


def _struct(array: pa.Array, data_type: Any, leaf: Leaf) -> pa.Array:
    """Fields by name, nulls for those that are not there; by place where all are, since a struct may have a name twice."""
    fields, stored = list(data_type), [field.name for field in array.type]
    places = range(len(stored)) if stored == [field.name for field in fields] else [
        array.type.get_field_index(field.name) for field in fields
    ]  # fmt: skip
    children = [
        fit(array.field(place), field.type, leaf) if place >= 0 else pa.nulls(len(array), field.type)
        for place, field in zip(places, fields, strict=True)
    ]
    return pa.StructArray.from_arrays(children, fields=fields, mask=_mask(array))
