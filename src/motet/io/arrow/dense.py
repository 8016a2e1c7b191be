"""Columns of one shape without a copy: what nearly every batch of a bulk run takes."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from motet.batch import Array, objects
from motet.io.arrow.buffers import numbers
from motet.io.arrow.layout import is_binary, is_list, is_tensor, is_view, number_name
from motet.numbers import Converted, convert, from_objects, may_convert
from motet.types import ColumnType

__all__ = ["converted", "dense", "list_parts", "raw_parts"]


def dense(array: pa.Array, kind: ColumnType) -> Array | None:
    """The rows as one array, shape `[rows, *kind.shape]`, None where they need a closer look.

    Args:
        array: stored rows, of any type.
        kind: a type of numbers without varying axes.

    Returns:
        A view of Arrow's memory, read-only, where alignment and dtype allow; None where a row is null, differs in
        size, or the type is another.
    """
    if array.null_count or is_view(array.type):
        return None
    data_type, shape = array.type, (len(array), *kind.least_shape)
    if not kind.shape:
        flat = _widened(array, kind)
    elif is_binary(data_type):
        flat = _raw(array, kind, math.prod(shape))
    elif is_tensor(data_type):
        same = tuple(data_type.shape) == shape[1:] and data_type.permutation is None
        flat = _listed(array.storage, kind, math.prod(shape)) if same else None
    elif is_list(data_type):
        flat = _listed(array, kind, math.prod(shape))
    else:
        return None
    return flat.reshape(shape) if flat is not None and flat.size == math.prod(shape) else None


def _raw(array: pa.Array, kind: ColumnType, size: int) -> Array | None:
    offsets, data = raw_parts(array)
    dtype = kind.numpy_dtype
    if len(data) != size * dtype.itemsize or not _uniform(offsets):
        return None
    flat = data.view(dtype)
    if not flat.flags.aligned:
        return flat.copy()
    flat.flags.writeable = False  # it is the caller's table
    return flat


def _listed(array: pa.Array, kind: ColumnType, size: int) -> Array | None:
    offsets, values = list_parts(array)
    if len(values) != size or not _uniform(offsets) or values.null_count:
        return None
    return _widened(values, kind)


def _uniform(offsets: Array) -> bool:
    steps = offsets[1:] - offsets[:-1]
    return not len(steps) or bool((steps == steps[0]).all())


def _widened(array: pa.Array, kind: ColumnType) -> Array | None:
    stored = number_name(array.type)
    if stored is None or not may_convert(stored, kind.dtype):
        return None
    found = convert(numbers(array), kind.numpy_dtype)
    return found.values if found.lost is None and found.missing is None else None


def converted(array: pa.Array, kind: ColumnType) -> Converted:
    """Stored numbers without nulls as those of a type; decimals are numbers that were written."""
    if pa.types.is_decimal(array.type):
        return from_objects(objects(array.to_pylist()), kind.numpy_dtype)
    return convert(numbers(array), kind.numpy_dtype)


def raw_parts(array: pa.Array) -> tuple[Array, Array]:
    """Where each row of a binary array begins and ends, shape `[rows + 1]`, from 0; and the bytes of all rows."""
    rows, data_type = len(array), array.type
    buffers = array.buffers()
    if pa.types.is_fixed_size_binary(data_type):
        width = data_type.byte_width
        return np.arange(rows + 1) * width, _bytes(buffers[1], array.offset * width, rows * width)
    if not rows:
        return np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    wide = np.dtype(
        np.int64 if pa.types.is_large_binary(data_type) or pa.types.is_large_string(data_type) else np.int32
    )
    offsets = np.frombuffer(buffers[1], wide, rows + 1, array.offset * wide.itemsize)
    first, last = int(offsets[0]), int(offsets[-1])
    return (offsets - first if first else offsets), _bytes(buffers[2], first, last - first)


def _bytes(buffer: pa.Buffer | None, start: int, size: int) -> Array:
    if buffer is None or not size:
        return np.empty(0, dtype=np.uint8)
    return np.frombuffer(buffer, np.uint8, size, start)


def list_parts(array: pa.Array) -> tuple[Array, pa.Array]:
    """Where each row of a list array begins and ends, shape `[rows + 1]`, from 0; and the values of all rows."""
    rows = len(array)
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return np.arange(rows + 1) * size, array.values.slice(array.offset * size, rows * size)
    if not rows:
        return np.zeros(1, dtype=np.int64), array.values.slice(0, 0)
    offsets = numbers(array.offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    return (offsets - first if first else offsets), array.values.slice(first, last - first)
