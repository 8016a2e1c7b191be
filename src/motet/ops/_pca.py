"""Principal components of one matrix, by the eigenvectors of the smaller of its two matrices of products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Array
from motet.ops._compiled import compiled_principal, is_worth_pca


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
