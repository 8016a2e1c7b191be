"""Rows that are measured one by one: nested lists, rows that differ in shape, rows that do not fit.

A list level adds an axis; what is left at the bottom is numbers, strings, or a block (binary, a flat list, a tensor)
that holds the remaining axes in C order, of which one may follow from the block's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.batch import Array, Column, Indices, Ragged
from motet.io.arrow.buffers import numbers
from motet.io.arrow.dense import converted, list_parts, raw_parts
from motet.io.arrow.fit import fit
from motet.io.arrow.layout import is_binary, is_list, is_tensor, plain_type, tensor_shape
from motet.io.arrow.unify import decoded_type
from motet.numbers import refusal
from motet.types import ColumnType

__all__ = ["nested", "plain"]


@dataclass(slots=True)
class _Rows:
    """Rows measured: flat values, where each row begins and ends, its axes, and why a row does not fit."""

    values: Array
    offsets: Indices
    shapes: Indices
    faults: dict[int, str] = field(default_factory=dict)


_NO_OFFSETS = np.empty(0, np.int64)  # numbers and strings begin where they stand; whoever holds them has the offsets


def nested(array: pa.Array, kind: ColumnType) -> tuple[Column, dict[int, str]]:
    """The rows that fit, and by position why the others do not.

    Args:
        array: stored rows of a type that `check_fits` lets pass.
        kind: a type with axes.
    """
    rows = _measure(array, kind, kind.shape)
    _check_shapes(rows, kind)
    if rows.faults:
        rows = _without_faults(rows)
    values = rows.values.astype(kind.numpy_dtype, copy=False)
    if kind.varies:
        return Ragged(values, rows.offsets, rows.shapes), rows.faults
    return values.reshape(len(rows.shapes), *kind.least_shape), rows.faults


def _without_faults(rows: _Rows) -> _Rows:
    """The good rows alone, with the faults of the others. Arrow's `filter` is not used: see `motet.io.take`."""
    good, lengths = np.ones(len(rows.shapes), bool), np.diff(rows.offsets)
    good[list(rows.faults)] = False
    values = _kept(rows.values, rows.offsets, good)
    return _Rows(values, _offsets(lengths[good]), rows.shapes[good], rows.faults)


def _kept(values: Array, offsets: Array, good: npt.NDArray[np.bool_]) -> Array:
    """The values of the good rows, copied a run of rows at a time."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    bounds = offsets[edges].tolist()
    runs = [values[start:stop] for start, stop in zip(bounds[::2], bounds[1::2], strict=True)]
    return np.concatenate(runs) if runs else values[:0]


def plain(array: pa.Array) -> pa.Array:
    """The same rows without dictionaries, run-ends and views, and without extensions but for tensors."""
    array = fit(array, decoded_type(array.type))
    return plain(array.storage) if isinstance(array, pa.ExtensionArray) and not is_tensor(array.type) else array


def _check_shapes(rows: _Rows, kind: ColumnType) -> None:
    fixed = [axis for axis, size in enumerate(kind.shape) if size is not None]
    wanted = np.array([kind.shape[axis] for axis in fixed], dtype=np.int64)
    for row in np.flatnonzero((rows.shapes[:, fixed] != wanted).any(axis=1)).tolist():
        rows.faults.setdefault(row, f"is {kind}; got shape {rows.shapes[row].tolist()}")
    rows.faults = dict(sorted(rows.faults.items()))


def _measure(array: pa.Array, kind: ColumnType, axes: tuple[int | None, ...]) -> _Rows:
    array = plain(array)
    if pa.types.is_null(array.type):
        rows = _Rows(np.empty(0, kind.numpy_dtype), np.zeros(len(array) + 1, np.int64), _empty(len(array), axes))
    elif not axes:
        rows = _scalars(array, kind)
    elif is_tensor(array.type):
        rows = _tensors(array, kind)
    elif is_binary(array.type) and not kind.is_object:
        rows = _raw(array, kind, axes)
    elif len(axes) > 1 and not _has_inner_axes(array.type, kind):
        rows = _flat(array, kind, axes)
    else:
        rows = _listed(array, kind, axes)
    for row in _nulls(array):
        rows.faults[row] = "holds a null"
    return rows


def _has_inner_axes(data_type: pa.DataType, kind: ColumnType) -> bool:
    child = plain_type(data_type.value_type)
    return is_list(child) or is_tensor(child) or (is_binary(child) and not kind.is_object)


def _nulls(array: pa.Array) -> list[int]:
    return np.flatnonzero(numbers(array.is_null())).tolist() if array.null_count else []


def _scalars(array: pa.Array, kind: ColumnType) -> _Rows:
    shapes = np.empty((len(array), 0), np.int64)
    if kind.is_object:
        return _Rows(numbers(array), _NO_OFFSETS, shapes)
    found = converted(
        array.fill_null(False if pa.types.is_boolean(array.type) else 0) if array.null_count else array, kind
    )
    faults = {}
    for mask, why in ((found.lost, None), (found.missing, "holds a null")):
        for place in () if mask is None else np.flatnonzero(mask).tolist():
            faults[place] = why or refusal(array[place].as_py(), kind)
    return _Rows(found.values, _NO_OFFSETS, shapes, faults)


def _tensors(array: pa.Array, kind: ColumnType) -> _Rows:
    stored, order, rows = array.type.shape, array.type.permutation, len(array)
    offsets, values = list_parts(array.storage)
    inner = _measure(values, kind, ())
    flat = inner.values
    if order is not None:
        flat = flat.reshape(rows, *stored).transpose(0, *(axis + 1 for axis in order)).reshape(-1)
    shapes = np.tile(np.array(tensor_shape(array.type), np.int64), (rows, 1))
    return _Rows(flat, offsets, shapes, _raised(inner.faults, offsets))


def _raw(array: pa.Array, kind: ColumnType, axes: tuple[int | None, ...]) -> _Rows:
    """Bytes in C order; a row of a wrong size is left out, since it would set the others off their alignment."""
    dtype = kind.numpy_dtype
    offsets, data = raw_parts(array)
    lengths = np.diff(offsets)
    shapes, faults = _block_shapes(lengths, axes, dtype.itemsize, "bytes", kind)
    if faults:
        good = np.ones(len(lengths), bool)
        good[list(faults)] = False
        data, lengths = _kept(data, offsets, good), np.where(good, lengths, 0)
    values = data.view(dtype)
    return _Rows(values if values.flags.aligned else values.copy(), _offsets(lengths // dtype.itemsize), shapes, faults)


def _flat(array: pa.Array, kind: ColumnType, axes: tuple[int | None, ...]) -> _Rows:
    offsets, values = list_parts(array)
    shapes, faults = _block_shapes(np.diff(offsets), axes, 1, "values", kind)
    inner = _measure(values, kind, ())
    return _Rows(inner.values, offsets.astype(np.int64), shapes, {**_raised(inner.faults, offsets), **faults})


def _listed(array: pa.Array, kind: ColumnType, axes: tuple[int | None, ...]) -> _Rows:
    offsets, values = list_parts(array)
    offsets = offsets.astype(np.int64)
    inner, lengths = _measure(values, kind, axes[1:]), np.diff(offsets)
    if len(axes) == 1:
        return _Rows(inner.values, offsets, lengths[:, None], _raised(inner.faults, offsets))
    some = lengths > 0
    rest = _empty(len(array), axes[1:])
    rest[some] = inner.shapes[offsets[:-1][some]]
    faults: dict[int, str] = {}
    owners = np.repeat(np.arange(len(array)), lengths)
    for row in np.unique(owners[(inner.shapes != rest[owners]).any(axis=1)]).tolist():
        faults[row] = f"is not rectangular: its lists differ in length, {kind} needs one shape in a row"
    shapes = np.concatenate([lengths[:, None], rest], axis=1)
    return _Rows(inner.values, inner.offsets[offsets], shapes, {**faults, **_raised(inner.faults, offsets)})


def _raised(faults: dict[int, str], offsets: Array) -> dict[int, str]:
    """The faults of values as faults of the rows that hold them."""
    if not faults:
        return {}
    positions = list(faults)
    owners = np.searchsorted(offsets, positions, side="right") - 1
    return {owner: faults[position] for owner, position in zip(owners.tolist(), positions, strict=True)}


def _block_shapes(
    lengths: Array, axes: tuple[int | None, ...], unit: int, word: str, kind: ColumnType
) -> tuple[Indices, dict[int, str]]:
    """The axes of blocks of these many bytes or values, and why some have none."""
    block = unit * math.prod(axis for axis in axes if axis is not None)
    shapes = np.tile(np.array([axis or 0 for axis in axes], np.int64), (len(lengths), 1))
    if None in axes:
        wrong = lengths % block != 0 if block else lengths != 0
        shapes[:, axes.index(None)] = lengths // block if block else 0
        needs = f"{kind} needs a multiple of {block}"
    else:
        wrong, needs = lengths != block, f"{kind} needs {block}"
    return shapes, {row: f"has {lengths[row]} {word}, {needs}" for row in np.flatnonzero(wrong).tolist()}


def _empty(rows: int, axes: tuple[int | None, ...]) -> Indices:
    """The axes of rows without values: what varies is 0."""
    return np.tile(np.array([axis or 0 for axis in axes], np.int64), (rows, 1)).reshape(rows, len(axes))


def _offsets(lengths: Array) -> Indices:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
