"""Squared distances by products of matrices, without what these lose of vectors that are near each other.

`|x|^2 + |y|^2 - 2 x.y` errs by a few roundings of `|x|^2 + |y|^2`, which may be more than the distance. So vectors that have
another at less than `NEAR` of that are worked again: in float64, around one in the middle of the others; and pairs that are near even
there by their differences. What is left of the error is `few roundings / NEAR` of the squared distance, some 1e-5 of it for
float32 and 1e-11 for float64.
"""

from __future__ import annotations

import numpy as np

from motet.batch import Array

NEAR = 2.0**-6
"""Squared distances of less than this part of both squared lengths are worked again."""
_NEAR_AGAIN = {"float32": 2.0**-24, "float64": 2.0**-14}
"""The same in float64, by the precision of what was given: what is less is worked by differences."""
_PAIRS = 1 << 20
"""How many differences are held at once."""


def squared_lengths(vectors: Array) -> Array:
    """Shape `[..., n, d]` to `[..., n]`."""
    return np.asarray(np.vecdot(vectors, vectors))


def unit(vectors: Array) -> Array:
    """Vectors of length 1; all zeros stay zeros."""
    lengths = np.sqrt(squared_lengths(vectors))
    return np.asarray(vectors / np.where(lengths == 0, lengths.dtype.type(1), lengths)[..., None])


def squared(x: Array, y: Array, at: int | None, is_unit: bool) -> tuple[Array, Array]:
    """Squared distances, near ones not yet right.

    Args:
        x: shape `[g, n, d]`.
        y: shape `[g, m, d]`.
        at: where x are some of y, the place of the first in it; the distance of each to itself is 0. None where they are not.
        is_unit: whether vectors are brought to length 1 first; those that have none are 2 from all.

    Returns:
        Shape `[g, n, m]`, and for which vectors of x they must be worked again, shape `[g, n]`.
    """
    if is_unit:
        x, y = unit(x), unit(y)
    of_x = squared_lengths(x)
    of_y = squared_lengths(y)
    turned = np.empty((len(y), y.shape[2], y.shape[1]), y.dtype)  # a product of small matrices is fastest so
    np.multiply(y.swapaxes(1, 2), y.dtype.type(-2), out=turned)
    found = np.matmul(x, turned)
    found += of_x[..., None]
    found += of_y[..., None, :]
    diagonal = None if at is None else np.einsum("gnn->gn", found[:, :, at : at + x.shape[1]])
    if diagonal is not None:
        diagonal[...] = np.inf
    near = _near(found, of_x, of_y)
    if is_unit:
        _apart(found, of_x, of_y)
    if diagonal is not None:
        diagonal[...] = of_x * 0  # NaN where a vector is not finite
    return found, near


def _near(found: Array, of_x: Array, of_y: Array) -> Array:
    """Which vectors have another near them, shape `[g, n]`; matrices none of whose vectors have are told at once."""
    part = found.dtype.type(NEAR)
    most = np.fmax.reduce(of_y, axis=-1)
    least = np.fmin.reduce(found.reshape(len(found), -1), axis=1)
    near = np.zeros(of_x.shape, bool)
    some = np.flatnonzero(least <= (np.fmax.reduce(of_x, axis=-1) + most) * part)
    if len(some):
        near[some] = np.fmin.reduce(found[some], axis=-1) <= (of_x[some] + most[some, None]) * part
    return near


def _apart(found: Array, of_x: Array, of_y: Array) -> None:
    """Vectors without a length are at a right angle to all."""
    if not (of_x.all() and of_y.all()):
        found[of_x == 0] = 2
        found.swapaxes(1, 2)[of_y == 0] = 2


def squared_again(x: Array, y: Array, of: Array | None, is_unit: bool) -> Array:
    """Squared distances of some vectors to all others, near ones too.

    Args:
        x: shape `[n, d]`.
        y: shape `[m, d]`.
        of: where y is what x is taken from, the place of each x in it, shape `[n]`; those distances are 0.
        is_unit: as in `squared`.

    Returns:
        float64, shape `[n, m]`.
    """
    limit = _NEAR_AGAIN[x.dtype.name]
    x, y = x.astype(np.float64), y.astype(np.float64)
    if is_unit:
        x, y = unit(x), unit(y)
    middle = _middle(y)
    there, others = x - middle, y - middle
    both = squared_lengths(there)[:, None] + squared_lengths(others)
    found = there @ others.T
    found *= -2
    found += both
    both *= limit
    _by_difference(found, np.nonzero(found <= both), x, y)
    if is_unit:
        _apart(found[None], squared_lengths(x)[None], squared_lengths(y)[None])
    if of is not None:
        found[np.arange(len(x)), of] = squared_lengths(x) * 0
    return np.asarray(found)


def _middle(vectors: Array) -> Array:
    """The one of the vectors that is nearest to their mean: what is whole numbers stays so, and so do equal distances."""
    finite = vectors[np.isfinite(vectors).all(axis=1)]
    if not len(finite):
        return np.zeros(vectors.shape[1])
    return np.asarray(finite[squared_lengths(finite - finite.mean(axis=0)).argmin()])


def _by_difference(found: Array, pairs: tuple[Array, ...], x: Array, y: Array) -> None:
    rows, others = pairs
    step = max(1, _PAIRS // x.shape[1])
    for first in range(0, len(rows), step):
        some = slice(first, first + step)
        difference = x[rows[some]] - y[others[some]]
        found[rows[some], others[some]] = squared_lengths(difference)
