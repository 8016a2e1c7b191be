"""How many bytes each row of a batch holds, told from the rows alone and not from how they were batched."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.io.arrow.buffers import numbers
from motet.io.arrow.dense import list_parts, raw_parts
from motet.io.arrow.layout import is_binary, is_list, is_string, is_view
from motet.io.arrow.nested import plain

__all__ = ["fixed_width", "row_sizes", "width_of"]

Sizes = npt.NDArray[np.int64]


def fixed_width(schema: pa.Schema) -> int | None:
    """Bytes in each row of batches with these columns, as `row_sizes` counts them; None where rows may differ."""
    width = 1
    for data_type in schema.types:
        one = width_of(data_type)
        if one is None:
            return None
        width += one
    return width


def width_of(data_type: Any) -> int | None:
    """Bytes that each value of a type holds: of a number, a time, a tensor, a list of so many of these; None where they may differ."""
    if isinstance(data_type, pa.BaseExtensionType):
        return width_of(data_type.storage_type)
    if pa.types.is_primitive(data_type) or pa.types.is_boolean(data_type):
        return _width(data_type)
    if pa.types.is_fixed_size_list(data_type):
        inner = width_of(data_type.value_type)
        return None if inner is None else inner * int(data_type.list_size)
    return None


def row_sizes(batch: pa.RecordBatch) -> Sizes:
    """Bytes in each row of a batch, shape `[rows]`: values, without offsets and bitmaps; at least 1."""
    sizes = np.ones(len(batch), np.int64)
    for column in batch.columns:
        sizes += _sizes(column)
    return sizes


def _sizes(array: pa.Array) -> Sizes:
    """Bytes in each row, shape `[rows]`, or `[1]` where all rows hold the same."""
    width = width_of(array.type)
    if width is not None:
        return np.full(1, width, np.int64)
    if isinstance(array, pa.ExtensionArray):
        return _sizes(array.storage)
    array = plain(array)
    data_type: Any = array.type
    if is_string(data_type) or is_binary(data_type):
        return _lengths(array)
    if pa.types.is_struct(data_type):
        total = np.zeros(1, np.int64)
        for index in range(data_type.num_fields):
            total = total + _sizes(array.field(index))
        return total
    listed = is_list(data_type) or pa.types.is_map(data_type)
    return _listed(array) if listed else np.full(1, _width(data_type), np.int64)


def _lengths(array: pa.Array) -> Sizes:
    if array.null_count or is_view(array.type):
        import pyarrow.compute as pc

        return numbers(pc.fill_null(pc.binary_length(array), 0)).astype(np.int64)
    return np.diff(raw_parts(array)[0]).astype(np.int64)


def _listed(array: pa.Array) -> Sizes:
    offsets, values = list_parts(array)
    inner = _sizes(values)
    if len(inner) == 1:
        return np.diff(offsets).astype(np.int64) * inner
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(inner)])
    return np.asarray(ends[offsets[1:]] - ends[offsets[:-1]])


def _width(data_type: Any) -> int:
    try:
        return max(1, int(data_type.bit_width) // 8)
    except ValueError:
        return 16  # unions, whose rows are guessed
