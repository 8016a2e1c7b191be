"""Statistics that may be looked at after every unit: their errors are bounded over all looks together, not at each.

The formulas take numbers or arrays of one shape, so that one call plays many experiments, or many looks at one.

    boundary      I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas: Time-uniform central limit theory and asymptotic
                  confidence sequences, Annals of Statistics 52 (2024), theorem 2.2 and its appendix on tuning
    lift          E. C. Fieller: Some problems in interval estimation, JRSS B 16 (1954), with that boundary
    log_evidence  M. Lindon, A. Malek: Anytime-valid inference for multinomial count data, NeurIPS 2022
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Bounds", "Means", "boundary", "difference", "lift", "log_evidence", "planned_units", "rounded", "spread"]

POWER_Z = 0.8416212335729143
"""The 80th percentile of the normal distribution: what is worth finding is found in 80 % within the planned size."""
CONCENTRATION = 1000.0
"""How near to the split the shares lie that the test of the ratio looks for: most within 3 percentage points of a half."""

UNPLANNED = 8192.0
"""The size that boundaries go by where none can be planned."""
MOST_PLANNED = 2.0**20
"""The largest size that boundaries go by: of a metric that is about 0 in the control any size may be planned, and boundaries that are
lowest after so many units would not show, before, what is plain to see."""


class Means(NamedTuple):
    """The mean of an arm: its value, and the variance of that mean."""

    value: Any
    variance: Any


class Bounds(NamedTuple):
    """Between what a number is; arrays, or numbers."""

    low: Any
    high: Any


def spread(units: Any, total: Any, squares: Any, *, rate: bool) -> Any:
    """The variance of units' values.

    Args:
        units: how many.
        total: the sum of their values.
        squares: the sum of the squares.
        rate: whether values are from 0 to 1: then one of each is put to them, for a rate of which nothing was seen yet is not
            known to be 0 (A. Agresti, B. A. Coull, American Statistician 52, 1998).
    """
    more = 1.0 if rate else 0.0
    count = np.asarray(units) + 2 * more
    mean = (total + more) / np.maximum(count, 1)
    return np.maximum((squares + more) / np.maximum(count, 1) - mean**2, 0.0) * count / np.maximum(count - 1, 1)


def tuning(planned: Any, alpha: float) -> Any:
    """The square of rho for which the boundary is lowest after so many units."""
    return (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / np.maximum(planned, 1)


def boundary(units: Any, planned: Any, alpha: float) -> Any:
    """How many standard errors a mean may be off, at all times together but for a share of `alpha`.

    Args:
        units: observations so far.
        planned: after how many it is to be lowest.
        alpha: of sequences the share that may leave it at any time.
    """
    grown = np.maximum(units, 1) * tuning(planned, alpha)
    return np.sqrt(2 * (grown + 1) / grown * (0.5 * np.log(grown + 1) - math.log(alpha)))


def difference(arm: Means, control: Means, factor: Any) -> Bounds:
    """Between what the difference of two means is, at so many standard errors."""
    value, half = arm.value - control.value, factor * np.sqrt(arm.variance + control.variance)
    return Bounds(value - half, value + half)


def lift(arm: Means, control: Means, factor: Any) -> Bounds:
    """Between what the relative difference `(arm - control) / |control|` is: all r at which `arm - (1 ± r) * control` may be 0 in the mean.

    It leaves 0 out where `difference` does, on the same side. Both ends are NaN where the control's mean may be 0 itself.
    """
    square = np.asarray(factor) ** 2
    a = control.value**2 - square * control.variance
    b = arm.value * control.value
    root = np.sqrt(np.maximum(b**2 - a * (arm.value**2 - square * arm.variance), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = (np.where(a > 0, (b + sign * root) / a - 1, np.nan) for sign in (-1, 1))
    below = control.value < 0
    return Bounds(np.where(below, -high, low), np.where(below, -low, high))


def planned_units(effect: Any, variance: Any, alpha: float) -> Any:
    """After how many units a difference is found in 80 %.

    Args:
        effect: the difference, above 0.
        variance: of the difference of means, times the units that it is of.
        alpha: as for `boundary`, which is lowest there, as far as boundaries go by such sizes.
    """
    size = ((boundary(1.0, 1.0, alpha) + POWER_Z) / effect) ** 2 * variance
    later = boundary(np.maximum(size, MOST_PLANNED), MOST_PLANNED, alpha)  # where more is planned than boundaries go by
    return ((later + POWER_Z) / effect) ** 2 * variance


def log_evidence(counts: Sequence[int], shares: Sequence[float], concentration: float = CONCENTRATION) -> float:
    """The logarithm of how much likelier units per arm are of other shares than of these: below `-log(alpha)` at all times, but for alpha.

    Args:
        counts: units of each arm.
        shares: of each arm, above 0; together 1.
        concentration: of the Dirichlet distribution around `shares` that the others are drawn from.
    """
    total = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        own = concentration * share
        total += math.lgamma(own + count) - math.lgamma(own) - count * math.log(share)
    return total


def rounded(planned: Any) -> Any:
    """Sizes that boundaries go by: powers of two, for boundaries hardly change with them, and so hardly with what sizes were planned by."""
    known = np.where(np.isfinite(planned), planned, UNPLANNED)
    return np.exp2(np.round(np.log2(np.clip(known, 1.0, MOST_PLANNED))))
