"""Principal components of matrices, by the eigenvectors of the smaller of its two matrices of products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from motet.batch import Array, Column, Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows, exact_floats
from motet.ops._compiled import compiled_principal, is_worth_pca
from motet.ops._pairs import dtype_of
from motet.ops._stacks import matrices


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


def components_of(vectors: Rows, components: int) -> PrincipalComponents:
    """As `motet.ops.linalg.pca`."""
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


def in_components(vectors: Rows, mean: Rows, components: Rows) -> Column:
    """As `motet.ops.linalg.pca_transform`."""
    middles = exact_floats(mean, "pca_transform")[:, None]
    given, middle, directions = matrices("pca_transform", vectors, middles, components)
    if isinstance(given, np.ndarray) and isinstance(directions, np.ndarray):
        return np.asarray(np.matmul(given - middle, directions.swapaxes(1, 2)))
    found = [(x - away) @ axes.T for x, away, axes in zip(given, middle, directions, strict=True)]
    return Ragged.from_rows(found, dtype_of((given,)), 2)


def principal(matrices: Sequence[Array], k: int) -> tuple[Array, Array, Array, list[Array]]:
    """The first `k` principal components of matrices `[n, d]` of one `d`, each of at least 2 vectors, and of finite numbers.

    Of more values than vectors, those are found in the products of vectors, `[n, n]`; else in those of values, `[d, d]`. Each
    component's value that is largest without its sign is positive, as scikit-learn has it; components beyond the rank, whose
    variance is a rounding of the first one's, are zeros.

    Returns:
        Means, shape `[g, d]`; components, `[g, k, d]`; their variances, `[g, k]`; and the vectors in them, `[n, k]` each.
    """
    by = np.array([_scale(matrix) for matrix in matrices])
    if by.any():
        sized = [np.ldexp(matrix, -each) for matrix, each in zip(matrices, by, strict=True)]
        means, components, variances, transformed = principal(sized, k)
        with np.errstate(over="ignore", under="ignore"):
            known = [np.ldexp(found, each) for found, each in zip(transformed, by, strict=True)]
            return np.ldexp(means, by[:, None]), components, np.ldexp(variances, 2 * by[:, None]), known
    dtype, d = matrices[0].dtype, matrices[0].shape[1]
    means, components = np.zeros((len(matrices), d), dtype), np.zeros((len(matrices), k, d), dtype)
    variances, transformed = np.zeros((len(matrices), k), dtype), [np.zeros((0, k), dtype)] * len(matrices)
    by_size: dict[int, list[int]] = {}
    for place, matrix in enumerate(matrices):
        if is_worth_pca(len(matrix), d):
            found = compiled_principal(matrix, k)
            means[place], components[place], variances[place], transformed[place] = found
        else:
            by_size.setdefault(min(len(matrix), d), []).append(place)
    for size, places in by_size.items():
        some = [matrices[place] for place in places]
        means[places] = [matrix.mean(axis=0, dtype=np.float64) for matrix in some]
        centred = [matrix - mean for matrix, mean in zip(some, means[places], strict=True)]
        components[places], variances[places] = _of_size(centred, size, k)
        for place, matrix in zip(places, centred, strict=True):
            transformed[place] = matrix @ components[place].T
    return means, components, variances, transformed


_PLAIN = 24
"""Vectors whose largest value is within so many powers of two around 1 are worked as they are."""


def _scale(matrix: Array) -> int:
    """The power of two that vectors are divided by, since their squares might be too large or too small."""
    by = int(np.frexp(max(matrix.max(), -matrix.min()))[1])
    return by if abs(by) > _PLAIN else 0


def _of_size(centred: Sequence[Array], size: int, k: int) -> tuple[Array, Array]:
    """Components `[g, k, d]` and variances `[g, k]` of centred matrices, by the smaller of their products, `[size, size]`."""
    d = centred[0].shape[1]
    values, vectors = np.linalg.eigh(np.stack([m.T @ m if size == d else m @ m.T for m in centred]))
    found, variances = [], []
    for matrix, value, vector in zip(centred, values[:, : -k - 1 : -1], vectors[:, :, : -k - 1 : -1], strict=True):
        direction = vector.T if size == d else (matrix.T @ vector).T
        variances.append(np.maximum(value, 0) / (len(matrix) - 1))
        found.append(_directions(direction, value, size, is_scaled=size != d))
    return np.stack(found), np.stack(variances)


def _directions(found: Array, values: Array, size: int, is_scaled: bool) -> Array:
    """Components of length 1 and known sign, or zeros; `found` has them in rows, of any length where they are scaled."""
    is_real = values > values[0] * size * np.finfo(values.dtype).eps
    lengths = np.sqrt(np.vecdot(found, found)) if is_scaled else np.ones(len(found), found.dtype)
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1)[:, 0]
    by = np.where(is_real, np.sign(largest) / np.where(is_real, lengths, 1), 0)
    return np.asarray(found * by[:, None].astype(found.dtype))
