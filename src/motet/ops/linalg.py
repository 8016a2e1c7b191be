"""Functions over vectors and matrices, row by row: similarity, distance, kernels, neighbours, principal components.

    of a vector    `[n]` a row, or `[..., n]`, along the last axis: `dot`, `norm`, `cosine_similarity`, ...
    of a matrix    vectors `[n, d]` a row, as many as a row has: `pairwise_distances`, `pairwise_kernels`, `nearest_neighbours`,
                   `pca`, `matmul`; of rows by key, see `Keyed`

Results are float64 where an input is, else float32. Sums are taken in the order that a row's shape alone gives, so its bits do
not depend on its neighbours, as those of a matrix product may. One matrix is a column of one row: `pairwise_distances([x])[0]`.

Pairs are worked with numpy, or by programs that JAX compiles where it is installed and the matrices are large enough for these
to be faster; they agree within 1e-4 of the squared distance for float32 and 1e-10 for float64, and near vectors do not lose their
distance to cancellation. `backend` says which it is to be, where that must be known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from motet.batch import Array, Column, Indices, Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows, floats, sum_last
from motet.ops._kinds import float_of, is_any, last_axis, refuse
from motet.ops._linalg_types import (
    distances_type,
    kernel_settings,
    kernels_type,
    matmul_type,
    nearest_type,
    pca_type,
    transform_type,
)  # fmt: skip
from motet.ops._metrics import DISTANCES
from motet.ops._nearest import smallest
from motet.ops._pairs import all_pairs, checked_backend, checked_metric, dtype_of, stack_blocks
from motet.ops._pca import principal
from motet.ops._scaling import are_far, scaled
from motet.ops._stacks import MOST_VALUES, Results, matrices, stacks
from motet.types import ANY, ColumnType, returns

__all__ = [
    "Keyed",
    "Neighbours",
    "PrincipalComponents",
    "centre",
    "cosine_similarity",
    "dot",
    "euclidean_distance",
    "l2_normalise",
    "matmul",
    "nearest_neighbours",
    "norm",
    "pairwise_distances",
    "pairwise_kernels",
    "pca",
    "pca_transform",
]


class Neighbours(NamedTuple):
    """The nearest of each vector, nearest first.

    Attributes:
        indices: their places among a row's vectors, int64, shape `[rows, n, k]`.
        distances: how far they are, same shape.
    """

    indices: Column
    distances: Column


class PrincipalComponents(NamedTuple):
    """The principal components of each row's vectors.

    Attributes:
        transformed: the vectors in them, shape `[rows, n, k]`.
        components: the components, of length 1, that of most variance first, shape `[rows, k, d]`.
        mean: the mean of the vectors, shape `[rows, d]`.
        variances: the variance along each component, by `n - 1`, shape `[rows, k]`.
    """

    transformed: Column
    components: Array
    mean: Array
    variances: Array


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
    return _length(floats(vector, "norm"))


def _length(values: Array) -> Array:
    squares = sum_last(values * values)
    lengths = np.asarray(np.sqrt(squares))
    if (far := are_far(squares)).any():
        near_one, by = scaled(values[far])
        lengths[far] = np.ldexp(np.sqrt(sum_last(near_one * near_one)), by)
    return lengths


def _sized(values: Array) -> Array:
    """Vectors in the same direction, of a size at which products of two can be worked."""
    if (far := are_far(sum_last(values * values))).any():
        values = values.copy()
        values[far], _ = scaled(values[far])
    return values


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
    left, right = _sized(left), _sized(right)
    lengths = _length(left) * _length(right)
    cosine = sum_last(left * right) / np.where(lengths == 0, lengths.dtype.type(1), lengths)
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
    return _length(left - right)


@returns(lambda vector: _alone("l2_normalise", vector))
@_quiet
def l2_normalise(vector: Rows) -> Array:
    """Vectors of length 1 in the same direction: `a / norm(a)`; all zeros stay zeros.

    >>> l2_normalise(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    values = _sized(floats(vector, "l2_normalise"))
    lengths = _length(values)
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


@returns(distances_type)
def pairwise_distances(
    first: Rows, second: Rows | None = None, *, metric: str = "euclidean", backend: str = "auto"
) -> Column:
    """How far each vector of a row is from each of another matrix of the row, or from each of its own.

    Near vectors keep their distance: it errs by at most 1e-5 of itself for float32, and 1e-10 for float64, however near they are
    and wherever they lie; of vectors whose squares float64 can hold. A vector's distance from itself is 0.

    Args:
        first: shape `[rows, n, d]`.
        second: shape `[rows, m, d]`; `first` where it is not given.
        metric: `euclidean`, `sqeuclidean` (its square), `cosine` (1 less `cosine_similarity`), `manhattan` (the sum of
            differences) or `chebyshev` (the largest).
        backend: `auto`, `numpy` or `jax`.

    Returns:
        Shape `[rows, n, m]`; NaN where a vector is not finite.

    >>> pairwise_distances([np.array([[0.0, 0.0], [3.0, 4.0]])])[0].tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    kind = checked_metric("pairwise_distances", metric, DISTANCES)
    return all_pairs(
        "pairwise_distances", kind, _given(first, second), {}, checked_backend("pairwise_distances", backend)
    )


def _given(first: Rows, second: Rows | None) -> tuple[Rows, ...]:
    return (first,) if second is None else (first, second)


@returns(kernels_type)
def pairwise_kernels(
    first: Rows,
    second: Rows | None = None,
    *,
    metric: str = "rbf",
    gamma: float | None = None,
    coef0: float | None = None,
    degree: float | None = None,
    backend: str = "auto",
) -> Column:
    """A kernel of each vector of a row and each of another matrix of the row, or each of its own.

    Args:
        first: shape `[rows, n, d]`.
        second: shape `[rows, m, d]`; `first` where it is not given.
        metric: `rbf`, `exp(-gamma |x - y|^2)`; `laplacian`, `exp(-gamma sum |x - y|)`; `linear`, `x . y`; `polynomial`,
            `(gamma x . y + coef0) ^ degree`; `sigmoid`, `tanh(gamma x . y + coef0)`; or `cosine`, `x . y / (|x| |y|)`.
        gamma: above 0; `1 / d` where it is not given.
        coef0: 1 where it is not given.
        degree: 3 where it is not given.
        backend: `auto`, `numpy` or `jax`.

    Returns:
        Shape `[rows, n, m]`; NaN where a vector is not finite.

    >>> pairwise_kernels([np.array([[0.0], [1.0]])], gamma=2.0)[0].round(3).tolist()
    [[1.0, 0.135], [0.135, 1.0]]
    """
    kind, settings = kernel_settings(metric, gamma, coef0, degree)
    return all_pairs(
        "pairwise_kernels", kind, _given(first, second), settings, checked_backend("pairwise_kernels", backend)
    )


@returns(nearest_type)
def nearest_neighbours(
    first: Rows, second: Rows | None = None, *, k: int = 1, metric: str = "euclidean", backend: str = "auto"
) -> Neighbours:
    """The `k` nearest of a row's other vectors, for each of its vectors: all pairs are looked at, a block at a time.

    Args:
        first: whose neighbours are looked for, shape `[rows, n, d]`.
        second: among which, shape `[rows, m, d]`; where it is not given among `first`, each without itself.
        k: how many; all where there are fewer.
        metric: as in `pairwise_distances`.
        backend: `auto`, `numpy` or `jax`.

    Returns:
        `indices`, int64, and `distances`, both of shape `[rows, n, min(k, m)]`; the lowest index of equals first, and NaN last.

    >>> near = nearest_neighbours([np.array([[0.0], [5.0], [1.0]])], k=1)
    >>> near.indices[0].tolist(), near.distances[0].tolist()
    ([[2], [2], [0]], [[1.0], [4.0], [1.0]])
    """
    nearest_type(ANY, None if second is None else ANY, k, metric, backend)
    given = matrices("nearest_neighbours", *_given(first, second))
    alone = int(second is None)
    shapes = np.array(
        [(len(x), max(0, min(k, len(y) - alone))) for x, y in zip(given[0], given[-1], strict=True)], np.int64
    ).reshape(-1, 2)
    dense = all(isinstance(column, np.ndarray) for column in given)
    indices, distances = Results(shapes, np.dtype(np.int64), dense), Results(shapes, dtype_of(given), dense)
    for stack in stacks(*given):
        most = min(k, max(0, stack.arrays[-1].shape[1] - alone))
        found = [
            smallest(values, most, stack.lengths[-1], start if alone else None)
            for start, values in stack_blocks(DISTANCES[metric], stack, {}, backend, MOST_VALUES)
        ]
        indices.put(stack.rows, np.concatenate([places for places, _ in found], axis=1))
        distances.put(stack.rows, np.concatenate([values for _, values in found], axis=1))
    empty = (given[0].shape[1], max(0, min(k, given[-1].shape[1] - alone))) if dense else (0, 0)  # type: ignore[union-attr]
    return Neighbours(indices.column(empty), distances.column(empty))


@returns(matmul_type)
def matmul(first: Rows, second: Rows) -> Column:
    """The product of each row's two matrices.

    Args:
        first: shape `[rows, n, d]`.
        second: shape `[rows, d, m]`.

    Returns:
        Shape `[rows, n, m]`.

    >>> matmul([np.array([[1.0, 2.0]])], [np.array([[3.0], [4.0]])])[0].tolist()
    [[11.0]]
    """
    left, right = matrices("matmul", first, second, same_width=False)
    for row, (one, other) in enumerate(zip(left, right, strict=True)):
        if one.shape[1] != other.shape[0]:
            raise InputError(
                f"the matrices of row {row} do not fit: {list(one.shape)} and {list(other.shape)}", where="matmul"
            )
    with np.errstate(all="ignore"):
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return np.asarray(np.matmul(left, right))
        found = [np.matmul(one, other) for one, other in zip(left, right, strict=True)]
    return Ragged.from_rows(found, dtype_of((left, right)), 2)


@returns(pca_type)
def pca(vectors: Rows, *, components: int) -> PrincipalComponents:
    """The principal components of each row's vectors, and the vectors in them.

    They are the eigenvectors of the covariance, in the precision of the vectors, so variances err by some 1e-6 of the first one
    for float32. Signs are scikit-learn's: of each component the value that is largest without its sign is positive. Components
    beyond the rank of the vectors are zeros.

    Args:
        vectors: shape `[rows, n, d]`, of finite numbers.
        components: how many, `k`; at most `n` and `d`.

    Returns:
        `transformed`, shape `[rows, n, k]`; `components`, `[rows, k, d]`; `mean`, `[rows, d]`; `variances`, `[rows, k]`.

    >>> found = pca([np.array([[0.0, 0.0], [3.0, 4.0]])], components=1)
    >>> found.components[0].round(2).tolist(), found.transformed[0].round(2).tolist()
    ([[0.6, 0.8]], [[-2.5], [2.5]])
    """
    pca_type(ANY, components)
    (given,) = matrices("pca", vectors)
    for row, matrix in enumerate(given):
        if len(matrix) < max(2, components) or matrix.shape[1] < components:
            raise InputError(
                f"row {row} has {len(matrix)} vectors of {matrix.shape[1]} values, too few for {components} components",
                where="pca",
                hint="it takes at least 2 vectors, and as many vectors and values as components",
            )
        if not np.isfinite([matrix.min(), matrix.max()]).all():
            raise InputError(f"row {row} has a vector that is not finite", where="pca")
    dtype, width = dtype_of((given,)), given.shape[2] if isinstance(given, np.ndarray) else 0
    if not len(given):
        count = given.shape[1] if isinstance(given, np.ndarray) else 0
        shapes = (count, components), (components, width), (width,), (components,)
        return PrincipalComponents(*(np.zeros((0, *shape), dtype) for shape in shapes))
    widths = {matrix.shape[1] for matrix in given}
    if len(widths) > 1:
        raise InputError(f"rows differ in the length of their vectors: {sorted(widths)[:3]}", where="pca")
    mean, found, variances, transformed = principal(list(given), components)
    column = np.stack(transformed) if isinstance(given, np.ndarray) else Ragged.from_rows(transformed, dtype, 2)
    return PrincipalComponents(column, found, mean, variances)


@returns(transform_type)
def pca_transform(vectors: Rows, mean: Rows, components: Rows) -> Column:
    """Other vectors in the components that `pca` found: `(x - mean) . components`.

    Args:
        vectors: shape `[rows, n, d]`.
        mean: shape `[rows, d]`.
        components: shape `[rows, k, d]`.

    Returns:
        Shape `[rows, n, k]`.

    >>> pca_transform([np.array([[3.0, 4.0]])], np.array([[1.5, 2.0]]), np.array([[[0.6, 0.8]]]))[0].round(3).tolist()
    [[2.5]]
    """
    middles = floats(mean, "pca_transform")[:, None]
    given, middle, directions = matrices("pca_transform", vectors, middles, components)
    if isinstance(given, np.ndarray) and isinstance(directions, np.ndarray):
        return np.asarray(np.matmul(given - middle, directions.swapaxes(1, 2)))
    found = [(x - away) @ axes.T for x, away, axes in zip(given, middle, directions, strict=True)]
    return Ragged.from_rows(found, dtype_of((given,)), 2)


class Keyed:
    """Rows by key: apart into one row a key, with all its values, and what comes of these back to the rows.

    Args:
        keys: what says which rows belong together, texts or whole numbers, shape `[rows]`.

    Attributes:
        keys: the keys, each once, sorted, shape `[keys]`.

    >>> by_user = Keyed(np.array(["ann", "bob", "ann"]))
    >>> groups = by_user.apart(np.array([[0.0], [9.0], [2.0]]))
    >>> by_user.keys.tolist(), by_user.together(nearest_neighbours(groups, k=1).distances)
    (['ann', 'bob'], [array([2.]), array([], dtype=float64), array([2.])])
    """

    keys: Array

    def __init__(self, keys: Array) -> None:
        self.keys, self._of, counts = np.unique(np.asarray(keys), return_inverse=True, return_counts=True)
        self._order: Indices = np.argsort(self._of, kind="stable")
        self._ends: Indices = np.cumsum(counts)

    def apart(self, column: Column) -> Ragged:
        """One row a key: the values of its rows, in their order; shape `[keys, n, ...]`, `n` as many as the key has rows.

        Args:
            column: one value or array a row, all of one shape, shape `[rows, ...]`.
        """
        if len(column) != len(self._order):
            raise InputError(f"there are {len(column)} values for {len(self._order)} rows", where="Keyed.apart")
        values = np.asarray(column)[self._order]
        return Ragged.from_rows(np.split(values, self._ends[:-1]) if len(self._ends) else [], values.dtype, values.ndim)

    def together(self, groups: Column) -> list[Array]:
        """The inverse: of what each key has a value for each of its rows, one a row, in the order of the rows.

        Args:
            groups: shape `[keys, n, ...]`, `n` as many as the key has rows.
        """
        values = [value for group in groups for value in group]
        if len(values) != len(self._order):
            raise InputError(f"there are {len(values)} values for {len(self._order)} rows", where="Keyed.together")
        found: list[Any] = [None] * len(values)
        for row, value in zip(self._order.tolist(), values, strict=True):
            found[row] = value
        return found
