"""The bounds of histograms, and quantiles from them.

Times are counted in fine buckets, six a decade from 50 µs to 100 s, so that quantiles are right within some percent;
Prometheus is given only the bounds that are 1, 2.5 or 5 times a power of ten. As in Prometheus a bound belongs to the
bucket that it ends, and the last bucket has no end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Array

__all__ = ["ROWS", "SECONDS", "SHOWN_SECONDS", "coarse", "quantile"]

_STEPS = (1.0, 1.5, 2.5, 3.5, 5.0, 7.5)
SECONDS: tuple[float, ...] = (
    5e-05, 7.5e-05, *(float(f"{step}e{power}") for power in range(-4, 2) for step in _STEPS), 100.0,
)  # fmt: skip
"""Bounds that times are counted by, in seconds."""
SHOWN_SECONDS = tuple(bound for bound in SECONDS if f"{bound:e}".split("e")[0] in ("1.000000", "2.500000", "5.000000"))
"""Those of them that Prometheus is given."""
ROWS: tuple[float, ...] = tuple(float(1 << power) for power in range(15))
"""Bounds that the rows of a batch are counted by: 1, 2, 4, ... 16,384."""


def coarse(counts: Array, bounds: Sequence[float], shown: Sequence[float]) -> Array:
    """How many values were at most each of `shown`, and how many there were in all, shape `[len(shown) + 1]`.

    Args:
        counts: how many were counted in each bucket of `bounds`, shape `[len(bounds) + 1]`.
        shown: some of `bounds`.
    """
    places = [*np.searchsorted(bounds, shown).tolist(), len(bounds)]
    return np.cumsum(counts)[places]


def quantile(counts: Array, bounds: Sequence[float], part: float) -> float | None:
    """The value that this part of all values is at most, interpolated within its bucket; None where there are no values.

    Args:
        counts: how many were counted in each bucket, shape `[len(bounds) + 1]`.
        part: from 0 to 1; 0.99 for p99.
    """
    below = np.cumsum(counts)
    if not below[-1] > 0:
        return None
    wanted = part * below[-1]
    place = int(np.searchsorted(below, wanted))
    if place >= len(bounds):
        return bounds[-1]
    low, before = (bounds[place - 1], below[place - 1]) if place else (0.0, 0.0)
    within = (wanted - before) / counts[place] if counts[place] else 0.0
    return float(low + (bounds[place] - low) * within)
