"""What each arm comes to beside the control: its metric, its guardrails, and what follows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from motet.batch import Array
from motet.numbers import Mask
from motet.planning.experiments.arms import ArmSums, Pair
from motet.planning.experiments.experiment import Experiment
from motet.planning.experiments.standing import ArmComparison, ArmStanding, GuardrailState, SegmentComparison
from motet.planning.experiments.units import ExposedUnits
from motet.planning.intervals import Interval

__all__ = ["Comparer"]

MOST_SEGMENTS = 20
"""Values of a column that are looked at, the most frequent first."""

GUARDED = 1000.0
"""The units by which the boundaries of guardrails are lowest."""


@dataclass(frozen=True)
class Comparer:
    """Compares the arms of an experiment with its control.

    Attributes:
        experiment: what is compared.
        units: what was seen of it.
        alpha: the share of experiments without a difference that may find one, at any of all looks, among all arms together.
        knows_failures: whether it is known which rows failed.
    """

    experiment: Experiment
    units: ExposedUnits
    alpha: float
    knows_failures: bool

    @property
    def arm_alpha(self) -> float:
        """The part of `alpha` that each comparison with the control has."""
        return self.alpha / len(self.experiment.treatments)

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, else -1."""
        return 1 if self.experiment.metric.more_is_better else -1

    def values(self) -> ArmSums:
        """Sums of the metric."""
        return self._sums(self.units.value, rate=self.experiment.metric.kind == "rate")

    def _sums(self, values: Array, *, rate: bool, of: Mask | None = None) -> ArmSums:
        shape = (len(self.experiment.periods), len(self.experiment.arms))
        found = values if of is None else np.where(of, values, np.nan)
        return ArmSums.of(found, self.units.arm, self.units.period, shape, rate=rate)

    def standings(self, comparisons: Sequence[ArmComparison]) -> Iterator[ArmStanding]:
        """Each arm by itself."""
        values, failed = self.values(), self._sums(self.units.failed, rate=True)
        planned = min([each.planned for each in comparisons], default=math.inf)
        weights = self.experiment.weights
        for place, name in enumerate(self.experiment.arms):
            mine = self.units.arm == place
            seconds = self.units.seconds[mine & ~np.isnan(self.units.seconds)]
            size = planned * max(self._share(name), 0.01)
            errors = failed.alone(place, size, self.alpha)
            yield ArmStanding(
                name, int(self.units.exposures[mine].sum()), int(mine.sum()), int(self.units.outcomes[mine].sum()),
                values.alone(place, size, self.alpha), weights[name] / sum(weights.values()),
                float(mine.mean()) if len(mine) else math.nan,
                errors if self.knows_failures else Interval(math.nan, math.nan, math.nan),
                float(np.exp(seconds.mean())) if len(seconds) else math.nan,
            )  # fmt: skip

    def comparisons(self) -> Iterator[ArmComparison]:
        """Each arm but the control beside it."""
        values, metric = self.values(), self.experiment.metric
        for name in self.experiment.treatments:
            pair = self._pair(values, name)
            share, part = self._shares(name, pair)
            planned = float(pair.planned(metric.effect, share, self.arm_alpha))
            factor = pair.factor(planned, self.arm_alpha)
            difference, lift = _difference(pair, factor), _lift(pair, factor)
            verdict = self._verdict(difference, lift)
            more = 0.0
            if verdict == "undecided":
                more = pair.more(metric.effect, planned, share, self.arm_alpha, sign=self.sign) / part
            guardrails = list(self._guardrails(name))
            yield ArmComparison(name, difference, lift, verdict, planned / part, more, guardrails)

    def _pair(self, sums: ArmSums, name: str) -> Pair:
        arms = self.experiment.arms
        return sums.pair(arms.index(name), arms.index(self.experiment.control))

    def _share(self, name: str) -> float:
        """The share of units that an arm will get; what it got, where that is none."""
        now = self.experiment.periods[-1].share(name)
        seen = self.units.arm == self.experiment.arms.index(name)
        return now or (float(seen.mean()) if len(seen) else 0.0)

    def _shares(self, name: str, pair: Pair) -> tuple[float, float]:
        """Of the units of an arm and the control the share of the arm, and of all units that of both."""
        arm, control = self._share(name), self._share(self.experiment.control)
        both = arm + control
        return (arm / both if both else float(pair.share)), min(both, 1.0) or 1.0

    def _verdict(self, difference: Interval, lift: Interval) -> Literal["better", "worse", "no gain", "undecided"]:
        low, high = (difference.low, difference.high) if self.sign > 0 else (-difference.high, -difference.low)
        most = lift.high if self.sign > 0 else -lift.low
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
        return "no gain" if most < self.experiment.metric.effect else "undecided"

    def _guardrails(self, name: str) -> Iterator[GuardrailState]:
        """The guardrails of an arm, at boundaries that are low early: harm is to be seen long before the metric is decided."""
        bounds = self.experiment.metric.guardrails
        if bounds.errors is not None:
            pair = self._pair(self._sums(self.units.failed, rate=True), name)
            found = _difference(pair, pair.factor(GUARDED, self.arm_alpha))
            yield _state("errors", bounds.errors, found if self.knows_failures else _UNKNOWN)
        if bounds.seconds is not None:
            pair = self._pair(self._sums(self.units.seconds, rate=False), name)
            logs = _difference(pair, pair.factor(GUARDED, self.arm_alpha))
            factor = Interval(*(math.exp(min(each, 700.0)) for each in (logs.value, logs.low, logs.high)))
            yield _state("seconds", bounds.seconds, factor)

    def segments(self, columns: Mapping[str, Array]) -> Iterator[SegmentComparison]:
        """Each arm beside the control among units of one value of a column, at intervals that hold for all of them together.

        Args:
            columns: for each column the value of each of the exposures; a unit is of the value of its first.
        """
        named = {name: _texts(values[self.units.first]) for name, values in columns.items()}
        chosen = [(name, value, mask) for name, values in named.items() for value, mask in _frequent(values)]
        count = len(chosen) * len(self.experiment.treatments)
        for name, value, mask in chosen:
            sums = self._sums(self.units.value, rate=self.experiment.metric.kind == "rate", of=mask)
            for arm in self.experiment.treatments:
                pair = self._pair(sums, arm)
                share, _ = self._shares(arm, pair)
                alpha = self.alpha / count
                planned = pair.planned(self.experiment.metric.effect, share, alpha)
                found = _lift(pair, pair.factor(planned, alpha))
                yield SegmentComparison(name, value, arm, int(pair.units), found)


_UNKNOWN = Interval(math.nan, math.nan, math.nan)


def _state(name: str, bound: float, value: Interval) -> GuardrailState:
    state: Literal["holds", "broken", "open"] = (
        "holds" if value.high < bound else "broken" if value.low > bound else "open"
    )
    return GuardrailState(name, bound, value, state)


def _difference(pair: Pair, factor: Any) -> Interval:
    low, high = pair.difference(factor)
    return Interval(float(pair.arm.value - pair.control.value), float(low), float(high))


def _lift(pair: Pair, factor: Any) -> Interval:
    low, high = pair.lift(factor)
    away, base = float(pair.arm.value - pair.control.value), abs(float(pair.control.value))
    value = away / base if base else math.nan
    return Interval(value, float(low), float(high))


def _texts(values: Array) -> Array:
    return np.array(["none" if each is None or each != each else str(each) for each in values.tolist()], dtype=object)


def _frequent(values: Array) -> list[tuple[str, Mask]]:
    if not len(values):
        return []
    known, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts.astype(np.int64), kind="stable")[:MOST_SEGMENTS]
    return [(str(known[place]), np.asarray(values == known[place])) for place in order]
