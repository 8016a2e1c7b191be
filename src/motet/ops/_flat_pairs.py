"""All pairs of small matrices that differ in their number of vectors: one behind the other, without padding.

What is worked of vectors or of pairs is worked of all matrices at once; the product of each two matrices alone is its own. It has
the squared lengths in it already: `[x, |x|^2, 1] . [-2 y, 1, |y|^2]`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from motet.batch import Array, Indices
from motet.ops._metrics import Metric
from motet.ops._near import NEAR, squared_lengths, unit
from motet.ops._scaling import least_limit
from motet.ops._stacks import Matrices

_MOST_PAIRS = 1 << 18
"""How many pairs are worked at once, where a matrix has not more: what stays in the cache of a core."""
_MOST_VALUES = 1 << 20
"""How many values their vectors may have."""


class FlatAnswers(NamedTuple):
    """What is said of some rows.

    Attributes:
        rows: which rows, rising, shape `[g]`.
        values: all pairs of each, one row behind the other.
        again: rows that must be worked otherwise: they have vectors that are near, or too long for their precision.
    """

    rows: Indices
    values: Array
    again: Indices


def flat_pairs(
    metric: Metric, first: Matrices, second: Matrices, rows: Indices, same: bool, by: Mapping[str, Any]
) -> Iterator[FlatAnswers]:
    """All pairs of rows, some rows at a time.

    Args:
        metric: by squared distances.
        first: matrices `[n, d]`.
        second: matrices `[m, d]`.
        rows: those that are worked, which have vectors in both.
        same: whether second is first.
        by: what the metric takes else; None is `1 / d`.
    """
    by_width: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        by_width[first[row].shape[1]].append(row)
    for width, some in by_width.items():
        settings = {name: 1 / width if value is None else value for name, value in by.items()}
        for chosen in _cut(first, second, some):
            yield _answers(
                metric, [first[row] for row in chosen], [second[row] for row in chosen], chosen, same, settings
            )


def _cut(first: Matrices, second: Matrices, rows: Sequence[int]) -> Iterator[list[int]]:
    chosen: list[int] = []
    pairs = values = 0
    for row in rows:
        pairs += len(first[row]) * len(second[row])
        values += first[row].size + second[row].size
        if chosen and (pairs > _MOST_PAIRS or values > _MOST_VALUES):
            yield chosen
            chosen, pairs, values = [], len(first[row]) * len(second[row]), first[row].size + second[row].size
        chosen.append(row)
    yield chosen


def _answers(
    metric: Metric, first: list[Array], second: list[Array], rows: list[int], same: bool, by: Mapping[str, Any]
) -> FlatAnswers:
    x, y = np.concatenate(first), None if same else np.concatenate(second)
    counts = np.array([(len(one), len(other)) for one, other in zip(first, second, strict=True)])
    ends = np.zeros((len(rows) + 1, 3), np.int64)
    np.cumsum(np.column_stack((counts, counts.prod(axis=1))), axis=0, out=ends[1:])
    if metric.unit:
        x, y = unit(x), None if y is None else unit(y)
    of_x = squared_lengths(x)
    of_y = of_x if y is None else squared_lengths(y)
    found = _products(_left(x, of_x), _right(x if y is None else y, of_y), counts, ends)
    if same:
        found[own := _own(counts[:, 0], ends[:, 2])] = np.inf
    again = _again(found, of_x, of_y, ends, metric.unit)
    if same:
        found[own] = of_x * 0
    values = found if metric.finish is None else np.asarray(metric.finish(np, found, by))
    return FlatAnswers(np.array(rows), values, np.array(rows)[again])


def _left(x: Array, lengths: Array) -> Array:
    found = np.empty((len(x), x.shape[1] + 2), x.dtype)
    found[:, :-2] = x
    found[:, -2], found[:, -1] = lengths, 1
    return found


def _right(y: Array, lengths: Array) -> Array:
    found = np.empty((y.shape[1] + 2, len(y)), y.dtype)  # a product of small matrices is fastest so
    np.multiply(y.T, y.dtype.type(-2), out=found[:-2])
    found[-2], found[-1] = 1, lengths
    return found


def _products(left: Array, right: Array, counts: Indices, ends: Indices) -> Array:
    found = np.empty(ends[-1, 2], left.dtype)
    for (n, m), (x, y, at), (x_end, y_end, end) in zip(
        counts.tolist(), ends[:-1].tolist(), ends[1:].tolist(), strict=True
    ):
        others = right[:, y:y_end]
        if n == 1 or m == 1:  # products with one vector are rounded by how far values stand apart in memory
            others = np.ascontiguousarray(others)
        np.matmul(left[x:x_end], others, out=found[at:end].reshape(n, m))
    return found


def _own(sizes: Indices, ends: Indices) -> Indices:
    """Where the pairs of vectors with themselves stand."""
    starts = np.repeat(ends[:-1], sizes)
    place = np.arange(len(starts)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(starts + place * (np.repeat(sizes, sizes) + 1))


def _again(found: Array, of_x: Array, of_y: Array, ends: Indices, is_unit: bool) -> Array:
    """Matrices with near vectors, or with some that are not finite or, of length 1, have none; shape `[g]`."""
    starts = ends[:-1]
    longest = (np.maximum.reduceat(of, starts[:, axis]) for axis, of in enumerate((of_x, of_y)))
    limits = np.maximum(sum(longest) * found.dtype.type(NEAR), least_limit(found.dtype))
    is_far = np.minimum.reduceat(found, starts[:, 2]) > limits
    if is_unit:
        for axis, of in enumerate((of_x, of_y)):
            is_far &= np.minimum.reduceat(of, starts[:, axis]) > 0
    return np.asarray(~(is_far & (limits < np.inf)))
