"""Functions over vectors, row by row: similarity, distance, length.

A vector is `[n]` a row, or `[..., n]`: all look along the last axis. Results are float64 where an input is, else
float32. Sums are taken in the order that `n` alone gives, so a row's bits do not depend on its neighbours, as those of a
matrix product may.
"""

from __future__ import annotations

import numpy as np

from motet.batch import Array
from motet.errors import InputError
from motet.ops._arrays import Rows, floats, sum_last
from motet.ops._kinds import float_of, is_any, last_axis, refuse
from motet.types import ANY, ColumnType, returns

__all__ = ["centre", "cosine_similarity", "dot", "euclidean_distance", "l2_normalise", "norm"]


_quiet = np.errstate(over="ignore", invalid="ignore")
"""A row that is not finite, or too large, says so by its NaN or infinity."""


def _pair(function: str, first: ColumnType, second: ColumnType) -> ColumnType:
    last_axis(function, first)
    last_axis(function, second)
    if is_any(first, second):
        return ANY
    if first.shape != second.shape:
        refuse(function, "two columns of one shape", first, second)
    return ColumnType(float_of(first, second), first.shape[:-1])


def _alone(function: str, vector: ColumnType, reduces: bool = False) -> ColumnType:
    last_axis(function, vector)
    return ANY if is_any(vector) else ColumnType(float_of(vector), vector.shape[:-1] if reduces else vector.shape)


def _two(function: str, first: Rows, second: Rows) -> tuple[Array, Array]:
    left, right = floats(first, function), floats(second, function)
    if left.shape != right.shape:
        raise InputError(
            f"the columns differ in shape: {list(left.shape)} and {list(right.shape)}",
            where=function,
            hint="both need as many rows, and vectors as long",
        )
    dtype = np.result_type(left, right)
    return left.astype(dtype, copy=False), right.astype(dtype, copy=False)


@returns(lambda first, second: _pair("dot", first, second))
@_quiet
def dot(first: Rows, second: Rows) -> Array:
    """The product of two vectors: `sum(a * b)`.

    Args:
        first: shape `[rows, ..., n]`.
        second: the same shape.

    Returns:
        Shape `[rows, ...]`.

    >>> dot(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])).tolist()
    [11.0]
    """
    left, right = _two("dot", first, second)
    return sum_last(left * right)


@returns(lambda vector: _alone("norm", vector, reduces=True))
@_quiet
def norm(vector: Rows) -> Array:
    """The length of a vector: `sqrt(sum(a * a))`.

    >>> norm(np.array([[3.0, 4.0]])).tolist()
    [5.0]
    """
    values = floats(vector, "norm")
    return np.asarray(np.sqrt(sum_last(values * values)))


@returns(lambda first, second: _pair("cosine_similarity", first, second))
@_quiet
def cosine_similarity(first: Rows, second: Rows) -> Array:
    """The cosine of the angle between two vectors: `dot(a, b) / (norm(a) * norm(b))`, 0 where either is all zeros.

    Args:
        first: shape `[rows, ..., n]`.
        second: the same shape.

    Returns:
        From -1 to 1, shape `[rows, ...]`; NaN where a vector is not finite.

    >>> cosine_similarity(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 0.0]
    """
    left, right = _two("cosine_similarity", first, second)
    lengths = norm(left) * norm(right)
    cosine = dot(left, right) / np.where(lengths == 0, lengths.dtype.type(1), lengths)
    return np.asarray(np.clip(np.where(lengths == 0, lengths.dtype.type(0), cosine), -1, 1))


@returns(lambda first, second: _pair("euclidean_distance", first, second))
@_quiet
def euclidean_distance(first: Rows, second: Rows) -> Array:
    """How far two vectors are apart: `norm(a - b)`.

    Args:
        first: shape `[rows, ..., n]`.
        second: the same shape.

    Returns:
        Shape `[rows, ...]`.

    >>> euclidean_distance(np.array([[1.0, 1.0]]), np.array([[4.0, 5.0]])).tolist()
    [5.0]
    """
    left, right = _two("euclidean_distance", first, second)
    return norm(left - right)


@returns(lambda vector: _alone("l2_normalise", vector))
@_quiet
def l2_normalise(vector: Rows) -> Array:
    """Vectors of length 1 in the same direction: `a / norm(a)`; all zeros stay zeros.

    >>> l2_normalise(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    values = floats(vector, "l2_normalise")
    lengths = norm(values)
    return np.asarray(values / np.where(lengths == 0, lengths.dtype.type(1), lengths)[..., None])


@returns(lambda vector: _alone("centre", vector))
@_quiet
def centre(vector: Rows) -> Array:
    """Subtract from each vector the mean of its own values.

    >>> centre(np.array([[1.0, 2.0, 6.0]])).tolist()
    [[-2.0, -1.0, 3.0]]
    """
    values = floats(vector, "centre")
    means = sum_last(values) / values.dtype.type(values.shape[-1])
    return np.asarray(values - means[..., None])
