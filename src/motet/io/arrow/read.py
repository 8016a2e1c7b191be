"""Arrow to columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.batch import Column, Ragged, objects
from motet.errors import InputError
from motet.io.arrow.buffers import numbers
from motet.io.arrow.dense import dense
from motet.io.arrow.image import decode_among, decode_images, holds_pictures
from motet.io.arrow.layout import (
    check_fits,
    is_binary,
    is_file_struct,
    is_list,
    is_string,
    is_tensor,
    is_view,
    may_be_files,
    number_name,
    plain_type,
    tensor_shape,
)
from motet.io.arrow.nested import nested, plain
from motet.types import ColumnType

__all__ = ["natural_kind", "to_column"]

Indices = npt.NDArray[np.int64]


def to_column(
    array: pa.Array | pa.ChunkedArray,
    kind: ColumnType,
    *,
    name: str = "",
    default: Any = None,
    nullable: bool = False,
    image: bool = False,
) -> tuple[Column, dict[int, str]]:
    """The rows that fit, in order, and by position why the others do not.

    Args:
        array: one stored column.
        kind: what the graph wants. `any` takes what the stored type naturally is.
        name: the column's name, for messages.
        default: what a null row becomes; None leaves it bad.
        nullable: whether a null row becomes None (strings, bytes, any) or NaN (floats); other numbers stay bad.
        image: whether the column holds encoded images (see `is_image`), decoded where `kind` is an array.

    Returns:
        The column of all rows that are not bad, and the bad rows' positions with messages such as `is null` or
        `has 783 bytes, uint8[28,28] needs 784`. Numbers may be a read-only view of Arrow's memory.

    Raises:
        TypeMismatchError: when no row can fit, because of the stored type.
        InputError: when `default` does not fit `kind`.
    """
    whole = _one_chunk(array)
    files = may_be_files(whole.type, kind)
    if len(whole) and not (image or (files and _has_files(whole)) or kind.is_object or kind.varies):
        quick = dense(whole, kind)
        if quick is not None:
            return quick, {}
    check_fits(whole.type, kind, name, image=image)
    if kind.dtype == "any":
        kind = natural_kind(whole.type)
    whole = plain(whole)
    elsewhere: dict[int, str] = {}
    if files and is_file_struct(whole.type):
        whole, elsewhere = _files(whole)
        image = True
    nulls = np.flatnonzero(numbers(whole.is_null())) if whole.null_count else np.empty(0, np.int64)
    nulls = np.setdiff1d(nulls, list(elsewhere)) if elsewhere else nulls
    column, bad = _read(whole, kind, image)
    bad |= elsewhere
    bad.update(dict.fromkeys(nulls.tolist(), "is null"))
    fill = _fill(kind, default, nullable, name) if len(nulls) else None
    if fill is not None:
        bad = {row: reason for row, reason in bad.items() if reason != "is null"}
        good = np.setdiff1d(np.arange(len(whole)), np.concatenate([nulls, np.array(list(bad), np.int64)]))
        column = _filled(column, good, nulls, fill[0])
    return column, dict(sorted(bad.items()))


def natural_kind(data_type: pa.DataType) -> ColumnType:
    """The column type that a stored type is by itself; `any` for what has none (structs, dates, decimals)."""
    data_type = plain_type(data_type)
    if is_tensor(data_type):
        return ColumnType(number_name(data_type.value_type) or "any", tensor_shape(data_type))
    if is_list(data_type):
        child = natural_kind(data_type.value_type)
        return ColumnType(child.dtype, (None, *child.shape)) if child.dtype != "any" else child
    if is_string(data_type):
        return ColumnType("string")
    return ColumnType("bytes" if is_binary(data_type) else number_name(data_type) or "any")


def _one_chunk(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    whole = array.combine_chunks()
    if not isinstance(whole, pa.ChunkedArray):
        return whole
    if whole.num_chunks > 1:
        raise InputError("a batch of this column is larger than Arrow's 2 GiB", hint="ask for fewer rows a batch")
    return whole.chunk(0) if whole.num_chunks else pa.array([], array.type)


def _read(array: pa.Array, kind: ColumnType, image: bool) -> tuple[Column, dict[int, str]]:
    """The rows of a type that can fit, and why some do not; whether nulls are among these is left open."""
    if pa.types.is_null(array.type):
        return _no_rows(kind), {}
    if image and kind.shape and not kind.is_object:
        return decode_images(array.to_pylist(), kind)
    if may_be_files(array.type, kind):
        if kind.shape.count(None) > 1:  # bytes alone do not tell such a shape
            return decode_images(array.to_pylist(), kind)
        if holds_pictures(array):
            return decode_among(array, kind)
    if kind.shape:
        return nested(array, kind)
    present = array.drop_null() if array.null_count else array  # drop_null imports pyarrow.compute: 50 ms
    if kind.is_object:
        return objects(present.to_pylist()), {}
    return numbers(present).astype(kind.numpy_dtype, copy=False), {}


def _files(array: pa.StructArray) -> tuple[pa.Array, dict[int, str]]:
    """The content of each row's file; and by position what is said of rows that name a file and do not hold it."""
    fields = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    content = plain(fields["bytes"])
    if "path" not in fields or not content.null_count:
        return content, {}
    paths = fields["path"]
    rows = np.flatnonzero(numbers(content.is_null()) & numbers(paths.is_valid())).tolist()
    return content, {row: f"has no bytes, only the path {paths[row].as_py()!r}" for row in rows}


def _has_files(array: pa.Array) -> bool:
    """Whether rows of a type that may hold files need a closer look."""
    return not is_binary(array.type) or is_view(array.type) or holds_pictures(array)


def _no_rows(kind: ColumnType) -> Column:
    if kind.varies:
        return Ragged.from_rows([], kind.numpy_dtype, len(kind.shape))
    return np.empty((0, *(axis or 0 for axis in kind.shape)), kind.numpy_dtype)


def _fill(kind: ColumnType, default: Any, nullable: bool, name: str) -> tuple[Any] | None:
    """What a null row becomes, in a tuple since it may be None; None where it stays bad."""
    if default is not None:
        return (_default(kind, default, name),)
    if not nullable:
        return None
    if kind.is_object and not kind.shape:
        return (None,)
    if kind.dtype.startswith("float") and not kind.varies:
        return (np.full(tuple(axis or 0 for axis in kind.shape), np.nan, kind.numpy_dtype),)
    return None


def _default(kind: ColumnType, default: Any, name: str) -> Any:
    if kind.is_object and not kind.shape:
        return default
    shape = tuple(axis or 0 for axis in kind.shape)
    try:
        value = np.asarray(default, dtype=kind.numpy_dtype)
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is not None and not value.ndim and not kind.varies:
        return np.full(shape, value)
    if value is None or not kind.accepts(ColumnType(kind.dtype, value.shape)):
        raise InputError(
            f"the default {default!r} is no {kind}", where=f"column {name!r}", hint="give one of that type"
        )
    return value


def _filled(column: Column, good: Indices, nulls: Indices, fill: Any) -> Column:
    """The column with `fill` put in at the nulls; `good` and `nulls` are positions in the source."""
    order = np.argsort(np.concatenate([good, nulls]), kind="stable")
    if isinstance(column, Ragged):
        rows = [*column.rows(), *([fill] * len(nulls))]
        return Ragged.from_rows([rows[position] for position in order], column.dtype, column.shapes.shape[1])
    added = np.empty((len(nulls), *column.shape[1:]), column.dtype)
    added[...] = fill
    return np.concatenate([column, added])[order]
