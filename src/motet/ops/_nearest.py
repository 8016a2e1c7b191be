"""The nearest of all pairs: the smallest `k` of each row, the lowest place of equals first."""

from __future__ import annotations

import numpy as np

from motet.batch import Array, Indices


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
