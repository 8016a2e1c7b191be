"""The nearest of all pairs, a block of these at a time: the smallest `k` of each vector, the lowest place of equals first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from motet.batch import Array, Column, Indices
from motet.ops._arrays import Rows
from motet.ops._metrics import DISTANCES
from motet.ops._pairs import dtype_of, stack_blocks
from motet.ops._stacks import MOST_VALUES, Results, matrices, stacks


class Neighbours(NamedTuple):
    """The nearest of each vector, nearest first.

    Attributes:
        indices: their places among a row's vectors, int64, shape `[rows, n, k]`.
        distances: how far they are, same shape.
    """

    indices: Column
    distances: Column


def nearest(columns: tuple[Rows, ...], k: int, metric: str, backend: str) -> Neighbours:
    """The nearest of each vector of the first column's rows among those of the second, or among its others where there is one."""
    given = matrices("nearest_neighbours", *columns)
    alone = int(len(columns) == 1)
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


def smallest(values: Array, k: int, lengths: Indices, own: int | None) -> tuple[Array, Array]:
    """The places of the `k` smallest values of each row, smallest first; NaN counts as largest.

    Args:
        values: shape `[g, n, m]`.
        k: how many, at most `m`.
        lengths: how many of a row's values are real, shape `[g]`; what stands behind them is not taken.
        own: where the values are of vectors with themselves, the place of the first vector's own; it is not taken.

    Returns:
        int64, shape `[g, n, k]`, and the values. Where a row has fewer, what stands last means nothing.
    """
    order = np.where(np.isfinite(values), values, np.finfo(values.dtype).max)
    if (lengths < values.shape[2]).any():
        order[np.broadcast_to((np.arange(values.shape[2]) >= lengths[:, None])[:, None], values.shape)] = np.inf
    if own is not None:
        np.einsum("gnn->gn", order[:, :, own : own + values.shape[1]])[...] = np.inf
    places = _smallest(order.reshape(-1, order.shape[2]), k).reshape(*values.shape[:2], k)
    return places, np.take_along_axis(values, places, axis=2)


def _smallest(values: Array, k: int) -> Array:
    """Shape `[n, m]` to int64 `[n, k]`."""
    if k >= values.shape[1] // 4:
        return np.argsort(values, axis=1, kind="stable")[:, :k]
    last = np.partition(values, k - 1, axis=1)[:, k - 1 : k] if k else values[:, :0]
    places = np.empty((len(values), k), np.int64)
    is_candidate = values <= last
    counts = is_candidate.sum(axis=1)
    alone = counts == k
    chosen = np.nonzero(is_candidate[alone])[1].reshape(-1, k)  # in rising order, so that equals stay so
    sorted_ = np.argsort(np.take_along_axis(values[alone], chosen, axis=1), axis=1, kind="stable")
    places[alone] = np.take_along_axis(chosen, sorted_, axis=1)
    for row in np.flatnonzero(~alone):
        some = np.flatnonzero(is_candidate[row])
        places[row] = some[np.argsort(values[row, some], kind="stable")[:k]]
    return places
