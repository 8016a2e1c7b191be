"""The arms of an experiment as sums by period of the split, and what two of them differ by.

Arms are compared within periods, and periods put together with the weights of N. Mantel and W. Haenszel (Journal of the National
Cancer Institute 22, 1959): where the split changed, so did perhaps the units, and shares of arms would be shares of times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Indices
from motet.planning.experiments.sequential import (
    Bounds,
    Means,
    boundary,
    difference,
    lift,
    planned_units,
    rounded,
    spread,
)
from motet.planning.intervals import Interval
from motet.planning.metrics import Floats

__all__ = ["ArmSums", "Pair"]

FEWEST = 2
"""Units of an arm in a period, without which it tells nothing."""


@dataclass(frozen=True)
class ArmSums:
    """Units with a value, the sums of these and of their squares, shape `[periods, arms]` each; of many
    experiments at once with further axes before these.

    Attributes:
        units: how many.
        total: the sum of their values.
        squares: the sum of the squares.
        rate: whether values are from 0 to 1.
    """

    units: Floats
    total: Floats
    squares: Floats
    rate: bool

    @classmethod
    def of(cls, values: Floats, arm: Indices, period: Indices, shape: tuple[int, int], *, rate: bool) -> ArmSums:
        """Sums of one value a unit, without those that are NaN; `shape` is periods and arms."""
        known = ~np.isnan(values)
        cell, value = (period * shape[1] + arm)[known], values[known]

        def sums(weights: Floats | None) -> Floats:
            return np.bincount(cell, weights, shape[0] * shape[1]).astype(np.float64).reshape(shape)

        return cls(sums(None), sums(value), sums(value**2), rate)

    def alone(self, arm: int, planned: float, alpha: float) -> Interval:
        """The mean of an arm over all periods, and between what it is at all times together."""
        units, total, squares = (float(each[:, arm].sum()) for each in (self.units, self.total, self.squares))
        if units < FEWEST:
            return Interval(total / units if units else math.nan, math.nan, math.nan)
        error = math.sqrt(float(spread(units, total, squares, rate=self.rate)) / units)
        half = float(boundary(units, rounded(planned), alpha)) * error
        low, high = total / units - half, total / units + half
        return Interval(total / units, max(low, 0.0) if self.rate else low, min(high, 1.0) if self.rate else high)

    def pair(self, arm: int, control: int) -> Pair:
        """An arm beside the control, in the periods that both had units in."""
        n, total, squares = (each[..., np.array([arm, control])] for each in (self.units, self.total, self.squares))
        both = np.asarray((n >= FEWEST).all(axis=-1))
        weights = np.where(both, n.prod(axis=-1) / np.maximum(n.sum(axis=-1), 1), 0.0)
        with np.errstate(invalid="ignore"):
            weights = weights / weights.sum(axis=-1, keepdims=True)
        own = spread(n, total, squares, rate=self.rate)
        pooled = spread(n.sum(axis=-1), total.sum(axis=-1), squares.sum(axis=-1), rate=self.rate)
        # The larger of an arm's own spread and that of both: of few units of one arm all may look alike by chance.
        error = np.maximum(own, pooled[..., None]) / np.maximum(n, 1)
        means = (weights[..., None] * total / np.maximum(n, 1)).sum(axis=-2)
        variances = ((weights**2)[..., None] * error).sum(axis=-2)
        counted = np.where(both[..., None], n, 0).sum(axis=-2)
        seen = counted.sum(axis=-1)
        more = 1 if self.rate else 0  # as in `spread`: a rate of which nothing was seen yet is not known to be 0
        base = np.abs(total[..., 1].sum(axis=-1) + more) / np.maximum(n[..., 1].sum(axis=-1) + 2 * more, 1)
        return Pair(
            Means(means[..., 0], variances[..., 0]), Means(means[..., 1], variances[..., 1]), seen,
            counted[..., 0] / np.maximum(seen, 1), (weights * pooled).sum(axis=-1), base,
        )  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """An arm beside the control; numbers, or arrays of them where sums are of many experiments.

    Attributes:
        arm, control: their means; NaN where no period had units of both.
        units: of both.
        share: of them the share that met the arm.
        variance: of a unit's value.
        base: about the control's mean, without its sign: what relative differences are parts of where sizes are planned.
    """

    arm: Means
    control: Means
    units: Any
    share: Any
    variance: Any
    base: Any

    def planned(self, effect: float, share: Any, alpha: float) -> Any:
        """After how many units of both a relative difference is found in 80 %; infinite where that is not known.

        Args:
            effect: the relative difference.
            share: of the units the share that will meet the arm.
            alpha: of looks together the share that may be wrong.
        """
        wanted, share = effect * self.base, np.asarray(share, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            size = planned_units(wanted, self.variance * (1 / share + 1 / (1 - share)), alpha)
        known = (wanted > 0) & (share > 0) & (share < 1) & (self.variance > 0)
        return np.where(known, size, np.inf)

    def factor(self, planned: Any, alpha: float) -> Any:
        """How many standard errors the difference may be off."""
        return boundary(self.units, rounded(planned), alpha)

    def difference(self, factor: Any) -> Bounds:
        """Between what the arm less the control is."""
        return difference(self.arm, self.control, factor)

    def lift(self, factor: Any) -> Bounds:
        """Between what the arm's mean over the control's, less 1, is."""
        return lift(self.arm, self.control, factor)

    def more(self, effect: float, planned: float, share: float, alpha: float, *, sign: int) -> float:
        """About how many more units of both it takes to decide; infinite where that is not known.

        Until the planned size that is what is missing of it; behind it, until the interval would leave out either 0 or the
        effect, if the difference stays what it is.
        """
        if self.units < planned:
            return float(planned - self.units)
        wanted = effect * self.base
        gain = sign * (self.arm.value - self.control.value)
        room = max(gain, wanted - gain)
        each = self.variance * (1 / share + 1 / (1 - share)) if 0 < share < 1 else math.nan
        if not (room > 0 and each > 0):
            return math.inf
        sizes = self.units * np.geomspace(1.0, 1e6, 400)
        halves = boundary(sizes, rounded(planned), alpha) * np.sqrt(each / sizes)
        enough = np.flatnonzero(halves <= room)
        return float(sizes[enough[0]] - self.units) if len(enough) else math.inf
