"""Counts beside counts: how far a feature has drifted, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.planning.drift.features import DriftSample
from motet.planning.drift.reference import DriftReference, ReferenceColumn
from motet.planning.drift.statistics import (
    ks_distance,
    ks_p_value,
    psi,
    psi_by_chance,
    same_spread,
    total_variation,
)

__all__ = ["AT_MOST", "ColumnDrift", "Counted", "compare"]

AT_MOST = 0.2
"""The population stability index that is taken for drift."""
ALPHA = 0.01
"""How often some column of a graph may be said to have drifted where none has."""
MOST_BARS = 20
Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ColumnDrift:
    """How far a feature has drifted.

    Attributes:
        name: the feature.
        side: `input`, `output`, `members` or `rows`.
        kind: `numbers` or `categories`.
        rows: how many there are now; `reference_rows` how many there were.
        psi: the population stability index; `by_chance` is what it stays below in 95 % of cases without drift.
        p_value: the probability of counts so far apart by chance alone, of chi-squared.
        ks, ks_p_value: of numbers, the largest difference of cumulative spreads, and its probability by chance.
        total_variation: the share of rows that went elsewhere.
        missing, reference_missing: shares of missing values.
        unseen, reference_unseen: of categories, shares of those that are none of the reference's frequent ones.
        drifted: whether the index is more than its bound, and more than chance.
        bars: names of bins with their shares then and now, at most 20.
    """

    name: str
    side: str
    kind: str
    rows: int
    reference_rows: int
    psi: float
    by_chance: float
    p_value: float
    ks: float | None
    ks_p_value: float | None
    total_variation: float
    missing: float
    reference_missing: float
    unseen: float | None
    reference_unseen: float | None
    drifted: bool
    bars: Sequence[tuple[str, float, float]]

    @property
    def most_changed(self) -> str:
        """The bin whose share changed most, in words; empty without rows."""
        if not self.bars or not self.rows:
            return ""
        name, was, now = max(self.bars, key=lambda each: abs(each[2] - each[1]))
        return f"{name}: {was:.1%} -> {now:.1%}"


class Counted:
    """Counts of the features of a reference.

    Args:
        reference: as it fits the graph.
    """

    def __init__(self, reference: DriftReference) -> None:
        self.reference = reference
        self.counts: dict[str, Counts] = {}
        self.rows = self.failed = 0

    def add(self, sample: DriftSample) -> None:
        """Count rows."""
        self.rows += sample.answered + sample.failed
        self.failed += sample.failed
        for name, found in count(self.reference, sample).items():
            before = self.counts.get(name)
            self.counts[name] = found if before is None else before + found


def count(reference: DriftReference, sample: DriftSample) -> dict[str, Counts]:
    """Where the rows of a sample lie, by feature; a feature of which it has nothing is left out."""
    found: dict[str, Counts] = {}
    for each in reference.columns:
        told = each.feature.values(sample)
        if told is not None and len(told[0]):
            found[each.feature.name] = each.bins.count(told[0])
    return found


def compare(reference: DriftReference, counts: Mapping[str, Counts], at_most: float = AT_MOST) -> list[ColumnDrift]:
    """How far each feature has drifted of which there are counts."""
    known = [each for each in reference.columns if each.feature.name in counts]
    alpha = ALPHA / max(1, len(known))  # Bonferroni's: whatever columns have to do with each other
    return [_compared(each, counts[each.feature.name], at_most, alpha) for each in known]


def _compared(column: ReferenceColumn, now: Counts, at_most: float, alpha: float) -> ColumnDrift:
    had, bins = column.array, column.bins
    groups = bins.groups(had)
    then, lately = (np.bincount(groups, weights=each).astype(np.float64) for each in (had, now))
    index = psi(then, lately)
    p_value = same_spread(then, lately, ordered=bins.ordered)
    ks = ks_distance(had[:-1], now[:-1]) if bins.ordered else None
    ks_p = None if ks is None else ks_p_value(ks, had[:-1].sum(), now[:-1].sum())
    shares, shares_now = (each / max(1.0, each.sum()) for each in (had, now))
    unseen = None if bins.ordered else (float(shares_now[-2]), float(shares[-2]))
    return ColumnDrift(
        column.feature.name, column.feature.side, "numbers" if bins.ordered else "categories", int(now.sum()), int(had.sum()),
        index, psi_by_chance(then, lately), p_value, ks, ks_p, total_variation(then, lately), float(shares_now[-1]),
        float(shares[-1]), unseen and unseen[0], unseen and unseen[1], bool(index > at_most and p_value < alpha),
        _bars(column, groups, then, lately),
    )  # fmt: skip


def _bars(column: ReferenceColumn, groups: Any, then: Counts, lately: Counts) -> list[tuple[str, float, float]]:
    """Groups with their shares; of many categories those whose shares are largest or changed most."""
    total, total_now = max(1.0, then.sum()), max(1.0, lately.sum())
    bars = [
        (_group_name(column, np.flatnonzero(groups == group).tolist()), then[group] / total, lately[group] / total_now)
        for group in range(len(then))
        if then[group] or lately[group]
    ]
    if len(bars) > MOST_BARS:
        largest = sorted(bars, key=lambda each: -max(each[1], each[2]))[:MOST_BARS]
        bars = [each for each in bars if each in largest]
    return [(name, float(was), float(now)) for name, was, now in bars]


def _group_name(column: ReferenceColumn, cells: list[int]) -> str:
    first, last = column.bins.name(cells[0]), column.bins.name(cells[-1])
    if len(cells) == 1 or not column.bins.ordered:
        return first
    low = first.partition(" up to ")[0] if first.startswith("over") else ""
    high = last[last.find("up to") :] if "up to" in last else ""
    return f"{low} {high}".strip() or "any"
