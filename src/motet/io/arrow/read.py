"""Arrow to columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Column, Indices, column_type, concat_columns, empty_column, objects, take_rows
from motet.errors import InputError
from motet.io.arrow.buffers import numbers
from motet.io.arrow.dense import converted, dense
from motet.io.arrow.image import decode_among, decode_images, holds_pictures
from motet.io.arrow.layout import (
    check_fits,
    is_binary,
    is_file_struct,
    is_view,
    may_be_files,
    natural_kind,
)
from motet.io.arrow.nested import nested, plain
from motet.numbers import refusal
from motet.reading import constant_column
from motet.types import ANY, ColumnType

__all__ = ["to_column"]


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
    anything = kind.dtype == "any"
    if anything:
        kind = natural_kind(whole.type)
    whole = plain(whole)
    elsewhere: dict[int, str] = {}
    if files and is_file_struct(whole.type):
        whole, elsewhere = _files(whole)
        image = True
    nulls = np.flatnonzero(numbers(whole.is_null())) if whole.null_count else np.empty(0, np.int64)
    nulls = np.setdiff1d(nulls, list(elsewhere)) if elsewhere else nulls
    column, bad, nulls = _read(whole, kind, image, nulls)
    bad |= elsewhere
    wanted = ANY if anything and len(nulls) else kind
    if not len(nulls) or not (default is not None or (nullable and _holds_nulls(wanted))):
        return column, dict(sorted((bad | dict.fromkeys(nulls.tolist(), "is null")).items()))
    if wanted != kind:
        column = objects(column.tolist() if isinstance(column, np.ndarray) and column.ndim == 1 else list(column))
    good = np.setdiff1d(np.arange(len(whole)), np.concatenate([nulls, np.array(list(bad), np.int64)]))
    order = np.argsort(np.concatenate([good, nulls]), kind="stable")
    filled = concat_columns([column, _constant(default, wanted, len(nulls), name)])
    return take_rows(filled, order), dict(sorted(bad.items()))


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


def _read(array: pa.Array, kind: ColumnType, image: bool, nulls: Indices) -> tuple[Column, dict[int, str], Indices]:
    """The rows of a type that can fit, why some do not, and which are missing: the nulls, and NaN among whole numbers."""
    if pa.types.is_null(array.type):
        return empty_column(kind), {}, nulls
    if kind.shape:
        column, bad = _arrays(array, kind, image)
        return column, {row: why for row, why in bad.items() if row not in set(nulls.tolist())}, nulls
    present = array.drop_null() if array.null_count else array  # drop_null imports pyarrow.compute: 50 ms
    if kind.is_object:
        return objects(present.to_pylist()), {}, nulls
    found = converted(present, kind)
    if found.lost is None and found.missing is None:
        return found.values, {}, nulls
    places = np.setdiff1d(np.arange(len(array)), nulls)
    lost, missing = (np.zeros(len(places), bool) if each is None else each for each in (found.lost, found.missing))
    bad = {row: refusal(array[row].as_py(), kind) for row in places[lost].tolist()}
    return found.values[~(lost | missing)], bad, np.concatenate([nulls, places[missing]])


def _arrays(array: pa.Array, kind: ColumnType, image: bool) -> tuple[Column, dict[int, str]]:
    if image and not kind.is_object:
        return decode_images(array.to_pylist(), kind)
    if may_be_files(array.type, kind):
        if kind.shape.count(None) > 1:  # bytes alone do not tell such a shape
            return decode_images(array.to_pylist(), kind)
        if holds_pictures(array):
            return decode_among(array, kind)
    return nested(array, kind)


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


def _holds_nulls(kind: ColumnType) -> bool:
    return not kind.shape if kind.is_object else kind.dtype.startswith("float") and not kind.varies


def _constant(value: Any, kind: ColumnType, rows: int, name: str) -> Column:
    """Rows of a default, which must be of the type.

    Raises:
        InputError: when it is not.
    """
    try:
        column = constant_column(value, kind, rows)
        if kind.accepts(column_type(column)) or kind.is_object:
            return column
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"the default {value!r} is no {kind}", where=f"column {name!r}", hint="give one of that type")
