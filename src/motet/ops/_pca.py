"""Principal components of one matrix, by the eigenvectors of the smaller of its two matrices of products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Array
from motet.ops._compiled import compiled_eigenvectors, is_worth_pca


def principal(matrices: Sequence[Array], k: int) -> tuple[Array, Array, Array, list[Array]]:
    """The first `k` principal components of matrices `[n, d]` of one `d`, each of at least 2 vectors, and of finite numbers.

    Of more values than vectors, those are found in the products of vectors, `[n, n]`; else in those of values, `[d, d]`. Each
    component's value that is largest without its sign is positive, as scikit-learn has it; components beyond the rank, whose
    variance is a rounding of the first one's, are zeros.

    Returns:
        Means, shape `[g, d]`; components, `[g, k, d]`; their variances, `[g, k]`; and the vectors in them, `[n, k]` each.
    """
    dtype, d = matrices[0].dtype, matrices[0].shape[1]
    means = np.stack([matrix.mean(axis=0, dtype=np.float64) for matrix in matrices]).astype(dtype)
    centred = [matrix - mean for matrix, mean in zip(matrices, means, strict=True)]
    components, variances = np.zeros((len(matrices), k, d), dtype), np.zeros((len(matrices), k), dtype)
    by_size: dict[tuple[int, bool], list[int]] = {}
    for place, matrix in enumerate(centred):
        by_size.setdefault((min(len(matrix), d), is_worth_pca(len(matrix), d)), []).append(place)
    for (size, is_compiled), places in by_size.items():
        values, vectors = _eigenvectors([centred[place] for place in places], size, is_compiled)
        for place, value, vector in zip(places, values[:, : -k - 1 : -1], vectors[:, :, : -k - 1 : -1], strict=True):
            found = vector.T if size == d else (centred[place].T @ vector).T
            variances[place] = np.maximum(value, 0) / (len(centred[place]) - 1)
            components[place] = _directions(found, value, size, is_scaled=size != d)
    return means, components, variances, [m @ c.T for m, c in zip(centred, components, strict=True)]


def _eigenvectors(matrices: Sequence[Array], size: int, is_compiled: bool) -> tuple[Array, Array]:
    """Of the smaller products of centred matrices, `[size, size]`: values `[g, size]`, rising, and vectors `[g, size, size]`."""
    d = matrices[0].shape[1]
    if is_compiled:
        found = [compiled_eigenvectors(matrix) for matrix in matrices]
        return np.stack([values for values, _ in found]), np.stack([vectors for _, vectors in found])
    values, vectors = np.linalg.eigh(np.stack([m.T @ m if size == d else m @ m.T for m in matrices]))
    return np.asarray(values), np.asarray(vectors)


def _directions(found: Array, values: Array, size: int, is_scaled: bool) -> Array:
    """Components of length 1 and known sign, or zeros; `found` has them in rows, of any length where they are scaled."""
    is_real = values > values[0] * size * np.finfo(values.dtype).eps
    lengths = np.sqrt(np.vecdot(found, found)) if is_scaled else np.ones(len(found), found.dtype)
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1)[:, 0]
    by = np.where(is_real, np.sign(largest) / np.where(is_real, lengths, 1), 0)
    return np.asarray(found * by[:, None].astype(found.dtype))
