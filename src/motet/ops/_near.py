"""Squared distances by products of matrices, without what these lose of vectors that are near each other.

`|x|^2 + |y|^2 - 2 x.y` errs by a few roundings of `|x|^2 + |y|^2`, which may be more than the distance. So pairs at less than
`NEAR` of that are worked again, in float64: by their differences where they are few; else around one vector in the middle of the
others, and by differences where they are near even there. What is left of the error is `few roundings / NEAR` of the squared
distance, some 1e-5 of it for float32 and 1e-11 for float64. Matrices with vectors whose squares are too large for their precision
are worked again as a whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from motet.batch import Array, Indices
from motet.ops._scaling import are_far, least_limit, scaled
from motet.ops._vectors import length

NEAR = 2.0**-6
"""Squared distances of less than this part of both squared lengths are worked again."""
_NEAR_AGAIN = {"float32": 2.0**-24, "float64": 2.0**-14}
"""The same in float64, by the precision of what was given: what is less is worked by differences."""
_PAIRS = 1 << 18
"""How many differences are held at once."""
_CROWDED = 8
"""Where more than one in so many of the pairs of the vectors that have others near them are near, all of theirs are worked again."""


class Near(NamedTuple):
    """What must be worked again.

    Attributes:
        pairs: the matrix, the first vector and the second one of each near pair, in this order, shape `[pairs]` each.
        whole: matrices all of whose pairs must be, shape `[matrices]`.
    """

    pairs: tuple[Indices, Indices, Indices]
    whole: Indices

    def __bool__(self) -> bool:
        return bool(len(self.pairs[0]) or len(self.whole))


def finite_lengths(vectors: Array) -> tuple[Array, Indices]:
    """Squared lengths, NaN for vectors that are not finite or too long; and the matrices that have finite ones too long.

    Args:
        vectors: shape `[g, n, d]`.

    Returns:
        Shape `[g, n]`, and places below `g`.
    """
    lengths = squared_lengths(vectors)
    endless = np.isinf(lengths)
    if not endless.any():
        return lengths, np.zeros(0, np.int64)
    lengths[endless] = np.nan
    places, rows = np.nonzero(endless)
    return lengths, np.unique(places[np.isfinite(vectors[places, rows]).all(axis=-1)])


def squared_lengths(vectors: Array) -> Array:
    """Shape `[..., n, d]` to `[..., n]`."""
    return np.asarray(np.vecdot(vectors, vectors))


def unit(vectors: Array) -> Array:
    """Vectors of length 1; all zeros stay zeros."""
    squares = squared_lengths(vectors)
    if (far := are_far(squares)).any():
        vectors = vectors.copy()
        vectors[far], _ = scaled(vectors[far])
        squares[far] = squared_lengths(vectors[far])
    lengths = np.sqrt(squares)
    return np.asarray(vectors / np.where(lengths == 0, lengths.dtype.type(1), lengths)[..., None])


def squared(x: Array, y: Array, at: int | None, is_unit: bool) -> tuple[Array, Near]:
    """Squared distances, near ones not yet right.

    Args:
        x: shape `[g, n, d]`.
        y: shape `[g, m, d]`.
        at: where x are some of y, the place of the first in it; the distance of each to itself is 0. None where they are not.
        is_unit: whether vectors are brought to length 1 first; those that have none are 2 from all.

    Returns:
        Shape `[g, n, m]`, and what must be worked again.
    """
    if is_unit:
        x, y = unit(x), unit(y)
    of_x, long_x = finite_lengths(x)
    of_y, long_y = finite_lengths(y)
    turned = np.empty((len(y), y.shape[2], y.shape[1]), y.dtype)  # a product of small matrices is fastest so
    np.multiply(y.swapaxes(1, 2), y.dtype.type(-2), out=turned)
    found = np.matmul(x, turned)
    found += of_x[..., None]
    found += of_y[..., None, :]
    diagonal = None if at is None else np.einsum("gnn->gn", found[:, :, at : at + x.shape[1]])
    if diagonal is not None:
        diagonal[...] = np.inf
    limits = near_limits(of_x, of_y)
    near = Near(pairs_below(found, _rows_below(found, limits), limits), np.union1d(long_x, long_y))
    if is_unit:
        _apart(found, of_x, of_y)
    if diagonal is not None:
        diagonal[...] = of_x * 0  # NaN where a vector is not finite
    return found, near


def near_limits(of_x: Array, of_y: Array) -> Array:
    """Below which squared distances the vectors of x are near one of y, by squared lengths `[g, n]` and `[g, m]`: `[g, n]`."""
    most = np.fmax.reduce(of_y, axis=-1, keepdims=True)
    return np.asarray(np.fmax((of_x + most) * of_x.dtype.type(NEAR), of_x.dtype.type(least_limit(of_x.dtype))))


def _rows_below(found: Array, limits: Array) -> tuple[Indices, Indices]:
    """Matrix and vector of those that have another near them; matrices none of whose vectors have are told at once."""
    least = np.fmin.reduce(found.reshape(len(found), -1), axis=1)
    some = np.flatnonzero(least <= np.fmax.reduce(limits, axis=-1))
    if not len(some):
        return some, some
    places, rows = np.nonzero(np.fmin.reduce(found[some], axis=-1) <= limits[some])
    return some[places], rows


def pairs_below(
    found: Array, rows: tuple[Indices, Indices], limits: Array, *, falls: bool = False
) -> tuple[Indices, Indices, Indices]:
    """The pairs that are near.

    Args:
        found: shape `[g, n, m]`.
        rows: matrix and vector of those that are looked at, shape `[rows]` each.
        limits: up to what a vector's pairs are near, shape `[g, n]`.
        falls: whether it is from what on instead.

    Returns:
        The matrix, the first vector and the second one of each, shape `[pairs]` each.
    """
    if not len(rows[0]):
        return rows[0], rows[0], rows[0]
    values, most = found[rows], limits[rows][:, None]
    which, others = np.divmod(np.flatnonzero(values >= most if falls else values <= most), found.shape[2])
    return rows[0][which], rows[1][which], others


def crowded(near: Near, m: int) -> tuple[list[tuple[int, Indices | None]], tuple[Indices, Indices, Indices]]:
    """Matrices in which so many pairs are near that all pairs of the vectors concerned are worked again, and the other pairs.

    Args:
        near: what must be worked again.
        m: how many pairs a vector has.

    Returns:
        Matrices and their vectors, None for all; and the pairs of the others.
    """
    places, rows, _ = near.pairs
    many: list[tuple[int, Indices | None]] = [(int(place), None) for place in near.whole]
    alone = ~np.isin(places, near.whole)
    for place, first, count in zip(*np.unique(places, return_index=True, return_counts=True), strict=True):
        mine = slice(first, first + count)
        if alone[first] and count * _CROWDED > m * len(vectors := np.unique(rows[mine])):
            many.append((int(place), vectors))
            alone[mine] = False
    return many, tuple(each[alone] for each in near.pairs)  # type: ignore[return-value]


def squared_of_pairs(x: Array, y: Array, pairs: tuple[Indices, Indices, Indices], is_unit: bool) -> Array:
    """Squared distances of some pairs, by their differences.

    Args:
        x: shape `[g, n, d]`.
        y: shape `[g, m, d]`.
        pairs: matrix, first and second vector.
        is_unit: as in `squared`.

    Returns:
        float64, shape `[pairs]`.
    """
    places, rows, others = pairs
    found = np.empty(len(places))
    step = max(1, _PAIRS // x.shape[2])
    for first in range(0, len(places), step):
        some = slice(first, first + step)
        one, other = (
            given.astype(np.float64) for given in (x[places[some], rows[some]], y[places[some], others[some]])
        )
        if is_unit:
            one, other = unit(one), unit(other)
        found[some] = squared_lengths(one - other)
        if is_unit:
            found[some][(squared_lengths(one) == 0) | (squared_lengths(other) == 0)] = 2
    return found


def lengths_of_pairs(x: Array, y: Array, pairs: tuple[Indices, Indices, Indices]) -> Array:
    """Distances of some pairs whose squares float64 does not hold: their differences are brought to another size first.

    Args:
        x: float64, shape `[g, n, d]`.
        y: float64, shape `[g, m, d]`.
        pairs: matrix, first and second vector.

    Returns:
        Shape `[pairs]`; NaN where a vector is not finite.
    """
    places, rows, others = pairs
    found = np.empty(len(places))
    step = max(1, _PAIRS // x.shape[2])
    for first in range(0, len(places), step):
        some = slice(first, first + step)
        one, other = x[places[some], rows[some]], y[places[some], others[some]]
        finite = np.isfinite(one).all(axis=-1) & np.isfinite(other).all(axis=-1)
        found[some] = np.where(finite, length(one - other), np.nan)
    return found


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
