"""How far a number may be off, since only some rows were seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Indices

__all__ = ["Interval", "num_resamples", "percentiles", "resamples", "wilson"]

Z = 1.959963984540054
"""The 97.5th percentile of the normal distribution: intervals hold 95 %."""
MOST_RESAMPLES, FEWEST_RESAMPLES, MOST_DRAWS = 200, 50, 40_000_000


@dataclass(frozen=True)
class Interval:
    """A number, and between what it is with 95 % confidence.

    Attributes:
        value: of the rows that were seen; NaN where it could not be computed.
        low, high: the interval.
    """

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """As JSON has it: null for NaN."""
        found = {"value": self.value, "low": self.low, "high": self.high}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}


def wilson(right: int, count: int) -> Interval:
    """The interval of a share: E. B. Wilson, Probable inference, JASA 22 (1927), without correction for continuity."""
    if not count:
        return Interval(math.nan, math.nan, math.nan)
    share, spread = right / count, Z * Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return Interval(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def num_resamples(rows: int) -> int:
    """How many resamples of so many rows are drawn."""
    return max(FEWEST_RESAMPLES, min(MOST_RESAMPLES, MOST_DRAWS // max(1, rows)))


def resamples(rows: int, units: Indices | None, seed: int = 0) -> Iterator[Indices]:
    """Rows drawn with replacement, as often as `num_resamples` says: B. Efron, Bootstrap methods, Annals of Statistics 7 (1979).

    Args:
        rows: how many there are.
        units: for each row its unit, from 0, where whole units (users, documents) are drawn; None draws rows.
        seed: of the draws: the same ones for the same seed.
    """
    random = np.random.default_rng(seed)
    if units is None:
        for _ in range(num_resamples(rows)):
            yield random.integers(0, rows, rows)
        return
    order = np.argsort(units, kind="stable")
    counts = np.bincount(units)
    members = np.split(order, np.cumsum(counts)[:-1])
    for _ in range(num_resamples(rows)):
        chosen = random.integers(0, len(members), len(members))
        yield np.concatenate([members[place] for place in chosen])


def percentiles(value: float, drawn: Sequence[float] | npt.NDArray[np.float64]) -> Interval:
    """The interval that holds 95 % of what resamples gave."""
    found = np.asarray(drawn, dtype=np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(found, (2.5, 97.5))
    return Interval(value, float(low), float(high))


def bootstrapped(compute: Callable[[Indices], Sequence[float]], rows: int, units: Indices | None) -> list[list[float]]:
    """What several numbers are in each resample: for each number a list.

    Args:
        compute: the numbers of some rows.
        rows, units: see `resamples`.
    """
    drawn: list[Any] = [compute(indices) for indices in resamples(rows, units)]
    return [list(each) for each in zip(*drawn, strict=True)]
