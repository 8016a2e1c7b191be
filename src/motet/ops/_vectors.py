"""What the functions of `motet.ops.linalg` over vectors share: the types they give, the forms they take, and lengths."""

from __future__ import annotations

import numpy as np

from motet.batch import Array
from motet.errors import InputError
from motet.ops._arrays import Rows, exact_floats, sum_last
from motet.ops._kinds import exact_float_of, is_any, last_axis, refuse
from motet.ops._scaling import are_far, scaled
from motet.types import ANY, ColumnType

quiet = np.errstate(over="ignore", invalid="ignore")
"""A row that is not finite, or too large, says so by its NaN or infinity."""


def pair_type(function: str, first: ColumnType, second: ColumnType) -> ColumnType:
    last_axis(function, first)
    last_axis(function, second)
    if is_any(first, second):
        return ANY
    if first.shape != second.shape:
        refuse(function, "two columns of one shape", first, second)
    return ColumnType(exact_float_of(first, second), first.shape[:-1])


def vector_type(function: str, vector: ColumnType, reduces: bool = False) -> ColumnType:
    last_axis(function, vector)
    return ANY if is_any(vector) else ColumnType(exact_float_of(vector), vector.shape[:-1] if reduces else vector.shape)


def two(function: str, first: Rows, second: Rows) -> tuple[Array, Array]:
    left, right = exact_floats(first, function), exact_floats(second, function)
    if left.shape != right.shape:
        raise InputError(
            f"the columns differ in shape: {list(left.shape)} and {list(right.shape)}",
            where=function,
            hint="both need as many rows, and vectors as long",
        )
    dtype = np.result_type(left, right)
    return left.astype(dtype, copy=False), right.astype(dtype, copy=False)


def length(values: Array) -> Array:
    """The length of vectors along the last axis, shape `[..., n]` to `[...]`."""
    squares = sum_last(values * values)
    lengths = np.asarray(np.sqrt(squares))
    if (far := are_far(squares)).any():
        near_one, by = scaled(values[far])
        lengths[far] = np.ldexp(np.sqrt(sum_last(near_one * near_one)), by)
    return lengths


def sized(values: Array) -> Array:
    """Vectors in the same direction, of a size at which products of two can be worked."""
    if (far := are_far(sum_last(values * values))).any():
        values = values.copy()
        values[far], _ = scaled(values[far])
    return values
