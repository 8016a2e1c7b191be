"""How far two spreads of counts are apart, and how far chance alone would bring them.

Tests hold these to scipy's `chi2`, `chi2_contingency`, `kstwobign` and `ks_2samp`; scipy itself is not needed.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = [
    "chi2_quantile", "chi2_sf", "kolmogorov_sf", "ks_distance", "ks_p_value", "psi", "psi_by_chance", "psi_scale", "same_spread",
    "total_variation",
]  # fmt: skip

Counts = npt.NDArray[np.float64]
FEWEST = 5.0
"""The fewest rows that chi-squared's approximation wants to be expected in each cell: Cochran, Biometrics 10 (1954)."""


def chi2_sf(x: float, df: int) -> float:
    """The probability that a chi-squared variable of `df` degrees of freedom is more than `x`.

    A finite sum for whole degrees: Abramowitz and Stegun, 26.4.4 and 26.4.5.
    """
    if df < 1 or x <= 0:
        return 1.0
    half = x / 2
    term, total, start = (math.exp(-half), 0.0, 0.0) if df % 2 == 0 else (0.0, math.erfc(math.sqrt(half)), 0.5)
    if df % 2:
        term = math.exp(-half) * math.sqrt(half) / math.gamma(1.5)
    for step in range(df // 2):
        total += term
        term *= half / (step + 1 + start)
    return min(1.0, total)


@lru_cache(maxsize=1024)
def chi2_quantile(part: float, df: int) -> float:
    """The value that a chi-squared variable stays below with this probability, by halving."""
    low, high = 0.0, df + 20.0 * math.sqrt(2.0 * df) + 100.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if chi2_sf(middle, df) > 1 - part else (low, middle)
    return high


def psi(reference: Counts, now: Counts) -> float:
    """The population stability index of two arrays of counts `[cells]`: the sum of (q - p) ln(q / p) over shares p and q.

    Half a row is added to each cell that has one at all, so that an empty one gives no infinity. It is Jeffreys'
    divergence; Siddiqi, Credit Risk Scorecards (2006), takes 0.1 for a change and 0.25 for a large one.
    """
    seen = (reference + now) > 0
    if not seen.any() or not reference.sum() or not now.sum():
        return 0.0
    p, q = ((each[seen] + 0.5) / (each.sum() + 0.5 * seen.sum()) for each in (reference, now))
    return float(((q - p) * np.log(q / p)).sum())


def psi_scale(reference_rows: float, rows: float) -> float:
    """What chi-squared is multiplied by to be spread as the index is without drift: 1/n + 1/m.

    Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation 14 (2020).
    """
    return float(1 / max(rows, 1.0) + 1 / max(reference_rows, 1.0))


def psi_by_chance(reference: Counts, now: Counts, part: float = 0.95) -> float:
    """What the index stays below with this probability where there is no drift."""
    df = int(((reference + now) > 0).sum()) - 1
    return chi2_quantile(part, df) * psi_scale(reference.sum(), now.sum()) if df > 0 else 0.0


def total_variation(reference: Counts, now: Counts) -> float:
    """Half the sum of the differences of shares: the share of rows that went elsewhere, 0 to 1."""
    if not reference.sum() or not now.sum():
        return 0.0
    return float(np.abs(reference / reference.sum() - now / now.sum()).sum() / 2)


def same_spread(reference: Counts, now: Counts, *, ordered: bool) -> float:
    """The probability of counts at least so far apart where both are drawn from one spread: Pearson's chi-squared test.

    Cells of which fewer than five rows are expected are put together: with the next where cells are in order, else in one.

    Returns:
        The p-value; 1 where too few rows are there to tell.
    """
    table = np.stack([reference, now])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not (table.sum(axis=1) > 0).all():
        return 1.0
    smaller = table.sum(axis=0) * (table.sum(axis=1).min() / table.sum())
    table = _pooled(table, smaller, ordered=ordered)
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return chi2_sf(float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1)


def _pooled(table: Counts, smaller: Counts, *, ordered: bool) -> Counts:
    """The cells of a table `[2, cells]`, put together until at least five rows are expected in each."""
    order = np.arange(len(smaller)) if ordered else np.argsort(smaller, kind="stable")
    groups: list[list[int]] = [[]]
    expected = 0.0
    for place in order.tolist():
        if expected >= FEWEST:
            groups.append([])
            expected = 0.0
        groups[-1].append(place)
        expected += smaller[place]
    if expected < FEWEST and len(groups) > 1:
        last = groups.pop()
        groups[-1] += last
    return np.stack([table[:, group].sum(axis=1) for group in groups], axis=1)


def ks_distance(reference: Counts, now: Counts) -> float:
    """The largest difference of two cumulative spreads, at the edges of their bins: at most that between all values."""
    if not reference.sum() or not now.sum():
        return 0.0
    return float(np.abs(np.cumsum(reference) / reference.sum() - np.cumsum(now) / now.sum()).max())


def ks_p_value(distance: float, reference_rows: float, rows: float) -> float:
    """The probability of a distance at least as large where both are drawn from one spread, by the limit of many rows.

    What is computed at edges of bins alone is at most the distance, so that this is at least its probability.
    """
    if not reference_rows or not rows:
        return 1.0
    return kolmogorov_sf(distance * math.sqrt(reference_rows * rows / (reference_rows + rows)))


def kolmogorov_sf(x: float) -> float:
    """The probability that Kolmogorov's variable is more than `x`: Kolmogorov, Giornale dell'Istituto Italiano degli Attuari 4 (1933)."""
    if x < 0.2:
        return 1.0
    # from 0.2 the 31st term is less than 1e-33
    total = sum((1 if k % 2 else -1) * math.exp(-2 * k * k * x * x) for k in range(1, 31))
    return min(1.0, max(0.0, 2 * total))
