"""Vectors whose squares are too large or too small for their precision, brought to a size at which they are not.

Scales are powers of two, so no digit changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from motet.batch import Array


def least_limit(dtype: np.dtype[Any]) -> float:
    """Squares below this have lost digits to numbers that are too small."""
    found = np.finfo(dtype)
    return float(found.tiny / found.eps)


def are_far(squares: Array) -> Array:
    """Which sums of squares are too small or too large to be right; zeros and NaN may be of such, and are told too."""
    return np.asarray(~((squares >= least_limit(squares.dtype)) & (squares < np.inf)))


def scaled(vectors: Array) -> tuple[Array, Array]:
    """Vectors in the same direction, whose largest value is from a half to 1; zeros and what is not finite stay so.

    Args:
        vectors: shape `[..., d]`.

    Returns:
        Shape `[..., d]`, and the power of two that each is to be multiplied with, shape `[...]`.
    """
    largest = np.abs(vectors).max(axis=-1)
    by = np.frexp(np.where(np.isfinite(largest), largest, 1))[1]
    return np.asarray(np.ldexp(vectors, -by[..., None])), by
