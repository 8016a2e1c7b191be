"""Columns to Arrow."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from motet.batch import Array, Column, Ragged, column_type
from motet.errors import InputError
from motet.io.arrow.buffers import of_numbers, of_texts
from motet.types import DTYPES, ColumnType

__all__ = ["arrow_type", "from_column"]

_OBJECTS = {"string": pa.string(), "bytes": pa.binary()}


def arrow_type(kind: ColumnType) -> pa.DataType | None:
    """The Arrow type that `from_column` stores a column type as; None for `any`, which is known when rows flow.

    Numbers of one shape are fixed-shape tensors; strings with axes, and shapes that vary or are empty, nested lists.
    """
    if kind.dtype == "any":
        return None
    leaf = _OBJECTS.get(kind.dtype) or pa.from_numpy_dtype(kind.numpy_dtype)
    if _is_tensor(kind):
        return pa.fixed_shape_tensor(leaf, list(kind.least_shape))
    for _ in kind.shape:
        leaf = pa.list_(leaf)
    return leaf


def from_column(column: Column, kind: ColumnType | None = None, *, name: str = "") -> pa.Array:
    """Store a column.

    Args:
        column: an array, shape `[rows, ...]`, or rows that differ in shape.
        kind: its declared type; None, or `any`, takes the type that the column shows.
        name: the column's name, for messages.

    Returns:
        An array of type `arrow_type(kind)`, without a copy where numbers allow.

    Raises:
        InputError: when the values are not of `kind`, or nothing that Arrow can store.
    """
    shown = column_type(column)
    if kind is None or kind.dtype == "any":
        kind = shown
    if kind.dtype == "any" or kind.dtype not in DTYPES:
        return _anything(column, name)
    if not _agrees(shown, kind, column):
        raise InputError(
            f"holds {shown}, declared is {kind}", where=f"column {name!r}", hint="convert it, or declare what it is"
        )
    if isinstance(column, Ragged) or not _is_tensor(kind):
        return _lists(column, kind, name)
    flat = of_numbers(np.ascontiguousarray(column).reshape(-1))
    if not kind.shape:
        return flat
    data_type = arrow_type(kind)
    assert data_type is not None
    storage = pa.FixedSizeListArray.from_arrays(flat, math.prod(kind.least_shape))
    return pa.ExtensionArray.from_storage(data_type, storage)


def _is_tensor(kind: ColumnType) -> bool:
    return bool(kind.shape) and not kind.varies and not kind.is_object and 0 not in kind.shape


def _agrees(shown: ColumnType, kind: ColumnType, column: Column) -> bool:
    if kind.is_object and shown.dtype == "any":  # all None, or no values: told by the declared type
        shown = ColumnType(kind.dtype, shown.shape if isinstance(column, Ragged) else tuple(column.shape[1:]))
    if shown.dtype != kind.dtype or len(shown.shape) != len(kind.shape):
        return False
    shapes = column.shapes if isinstance(column, Ragged) else np.array([column.shape[1:]], np.int64)
    return all(want is None or bool((shapes[:, axis] == want).all()) for axis, want in enumerate(kind.shape))


def _lists(column: Column, kind: ColumnType, name: str) -> pa.Array:
    """Nested lists, one level an axis, from the innermost out."""
    if not isinstance(column, Ragged):
        if not kind.shape:
            return _leaf(column, kind, name)
        column = Ragged.from_dense(column)
    start, stop = int(column.offsets[0]), int(column.offsets[-1])
    if max(stop - start, *column.shapes.shape) >= 2**31:
        raise InputError(
            "holds more values than one Arrow list can", where=f"column {name!r}", hint="use smaller batches"
        )
    array = _leaf(column.values[start:stop], kind, name)
    for axis in reversed(range(len(kind.shape))):
        outer = column.shapes[:, :axis].prod(axis=1)
        lengths = np.repeat(column.shapes[:, axis], outer)
        offsets = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        array = pa.ListArray.from_arrays(of_numbers(offsets), array)
    return array


def _leaf(values: Array, kind: ColumnType, name: str) -> pa.Array:
    if not kind.is_object:
        return of_numbers(values)
    try:
        return of_texts(values.tolist(), _OBJECTS[kind.dtype])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"holds something that is no {kind.dtype}: {error}", where=f"column {name!r}") from None


def _anything(column: Column, name: str) -> pa.Array:
    try:
        return pa.array(
            list(column) if isinstance(column, Ragged) else column.tolist() if column.dtype == object else column
        )
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(
            f"holds values that cannot be stored: {error}",
            where=f"column {name!r}",
            hint="return numbers, strings, bytes or lists of them, of one kind in a column",
        ) from None
