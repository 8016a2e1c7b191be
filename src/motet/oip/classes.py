"""Triton's classification extension: instead of scores, the best classes of each row."""

from __future__ import annotations

import numpy as np

from motet.batch import Array, objects
from motet.errors import InputError

__all__ = ["best_classes"]


def best_classes(scores: Array, count: int, where: str) -> Array:
    """The best classes of each row as texts `SCORE:CLASS`, best first, shape `[rows, min(count, classes)]`.

    Args:
        scores: shape `[rows, classes]`.
        count: how many classes are wanted, at least 1.
        where: which output, for messages.

    Raises:
        InputError: when these are no scores of classes, or `count` is less than 1.
    """
    if scores.ndim != 2 or scores.dtype.kind not in "iuf":
        shape = ["rows", *scores.shape[1:]]
        raise InputError(
            f"classification takes numbers of shape [rows, classes]; got {scores.dtype} {shape}", where=where
        )
    if count < 1:
        raise InputError(f"classification must be at least 1; got {count}", where=where)
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :count]
    form = "{:f}:{}" if scores.dtype.kind == "f" else "{}:{}"
    chosen = np.take_along_axis(scores, best, axis=1)
    texts = [form.format(score, place) for score, place in zip(chosen.flat, best.flat, strict=True)]
    return objects(texts).reshape(best.shape)
