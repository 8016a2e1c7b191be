"""Functions over vectors and matrices, row by row: similarity, distance, kernels, neighbours, principal components.

    of a vector    `[n]` a row, or `[..., n]`, along the last axis: `dot`, `norm`, `cosine_similarity`, ...
    of a matrix    vectors `[n, d]` a row, as many as a row has: `pairwise_distances`, `pairwise_kernels`, `nearest_neighbours`,
                   `pca`, `matmul`; of rows by key, see `Keyed`

Results are float64 where an input is, or has whole numbers of 32 bits or more, else float32; whole numbers beyond 2**53 are
refused. Sums are taken in the order that a row's shape alone gives, so its bits do
not depend on its neighbours, as those of a matrix product may. One matrix is a column of one row: `pairwise_distances([x])[0]`.

Pairs are worked with numpy, or by programs that JAX compiles where it is installed and the matrices are large enough for these
to be faster; they agree within 1e-4 of the squared distance for float32 and 1e-10 for float64, and near vectors do not lose their
distance to cancellation. `backend` says which it is to be, where that must be known.
"""

from __future__ import annotations

import numpy as np

from motet.batch import Array, Column
from motet.ops._arrays import Rows, exact_floats, sum_last
from motet.ops._keyed import Keyed
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
from motet.ops._nearest import Neighbours, nearest
from motet.ops._pairs import all_pairs, checked_backend, checked_metric
from motet.ops._pca import PrincipalComponents, components_of, in_components
from motet.ops._products import products
from motet.ops._vectors import length, pair_type, quiet, sized, two, vector_type
from motet.types import ANY, returns

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


@returns(lambda first, second: pair_type("dot", first, second))
@quiet
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
    left, right = two("dot", first, second)
    return sum_last(left * right)


@returns(lambda vector: vector_type("norm", vector, reduces=True))
@quiet
def norm(vector: Rows) -> Array:
    """The length of a vector: `sqrt(sum(a * a))`.

    >>> norm(np.array([[3.0, 4.0]])).tolist()
    [5.0]
    """
    return length(exact_floats(vector, "norm"))


@returns(lambda first, second: pair_type("cosine_similarity", first, second))
@quiet
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
    left, right = two("cosine_similarity", first, second)
    left, right = sized(left), sized(right)
    lengths = length(left) * length(right)
    cosine = sum_last(left * right) / np.where(lengths == 0, lengths.dtype.type(1), lengths)
    return np.asarray(np.clip(np.where(lengths == 0, lengths.dtype.type(0), cosine), -1, 1))


@returns(lambda first, second: pair_type("euclidean_distance", first, second))
@quiet
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
    left, right = two("euclidean_distance", first, second)
    return length(left - right)


@returns(lambda vector: vector_type("l2_normalise", vector))
@quiet
def l2_normalise(vector: Rows) -> Array:
    """Vectors of length 1 in the same direction: `a / norm(a)`; all zeros stay zeros.

    >>> l2_normalise(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    values = sized(exact_floats(vector, "l2_normalise"))
    lengths = length(values)
    return np.asarray(values / np.where(lengths == 0, lengths.dtype.type(1), lengths)[..., None])


@returns(lambda vector: vector_type("centre", vector))
@quiet
def centre(vector: Rows) -> Array:
    """Subtract from each vector the mean of its own values.

    >>> centre(np.array([[1.0, 2.0, 6.0]])).tolist()
    [[-2.0, -1.0, 3.0]]
    """
    values = exact_floats(vector, "centre")
    means = sum_last(values) / values.dtype.type(values.shape[-1])
    return np.asarray(values - means[..., None])


@returns(distances_type)
def pairwise_distances(
    first: Rows, second: Rows | None = None, *, metric: str = "euclidean", backend: str = "auto"
) -> Column:
    """How far each vector of a row is from each of another matrix of the row, or from each of its own.

    Near vectors keep their distance: it errs by at most 1e-5 of itself for float32, and 1e-10 for float64, however near they are
    and wherever they lie. A vector's distance from itself is 0.

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
    return nearest(_given(first, second), k, metric, backend)


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
    return products(first, second)


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
    return components_of(vectors, components)


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
    return in_components(vectors, mean, components)
