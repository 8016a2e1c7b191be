"""One observation a unit: what all exposures of a unit come to, for a unit that is asked often is still one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from motet.batch import Array, Indices
from motet.errors import InputError
from motet.nodes.split import is_missing_key
from motet.numbers import Mask
from motet.planning.experiments.experiment import Experiment
from motet.planning.experiments.exposures import Exposures
from motet.planning.metrics import Floats

__all__ = ["ExposedUnits", "units_of"]


@dataclass(frozen=True)
class ExposedUnits:
    """Units of an experiment, in the order in which they were first seen; columns are `[units]`.

    Attributes:
        arm: the place of its arm.
        period: the place of the period of the split in which it was first seen.
        first: the row of the exposures in which it was.
        exposures: rows that count.
        outcomes: outcomes that were told.
        value: the mean of its outcomes, with those that are missing as the metric says; NaN where it has none.
        seconds: the mean of the logarithms of the seconds that its answers took; NaN where they are not known.
        failed: the share of its rows that failed.
        rows: all exposures.
        nobody: exposures without a unit, or without an arm.
        in_two: units that were seen in two arms although the split stayed; they are left out.
        moved: units that were seen in two arms because the split changed; they count in the first, until they moved.
    """

    arm: Indices
    period: Indices
    first: Indices
    exposures: Indices
    outcomes: Indices
    value: Floats
    seconds: Floats
    failed: Floats
    rows: int
    nobody: int
    in_two: int
    moved: int

    def __len__(self) -> int:
        return len(self.arm)


def units_of(experiment: Experiment, exposures: Exposures) -> ExposedUnits:
    """Add up exposures per unit.

    Args:
        experiment: what they are of.
        exposures: rows in any order; those with times are put in order of time, others stay in theirs.

    Raises:
        InputError: when arms are others, or an outcome of a rate is not from 0 to 1.
    """
    if exposures.arms != experiment.arms:
        raise InputError(f"expected the arms {', '.join(experiment.arms)}; got {', '.join(exposures.arms)}")
    _check_outcomes(experiment, exposures.outcome)
    codes = _codes(exposures.unit)
    known = np.flatnonzero((codes >= 0) & (exposures.arm >= 0))
    order = known[np.argsort(exposures.time[known], kind="stable")]
    places, first, unit = np.unique(codes[order], return_index=True, return_inverse=True)
    arm, period = exposures.arm[order], experiment.period_of(exposures.time[order])
    stray = arm != arm[first][unit]  # in another arm than the unit's first
    count = len(places)
    wrong = np.bincount(unit[stray & (period == period[first][unit])], minlength=count) > 0
    strays = np.bincount(unit[stray], minlength=count) > 0
    start = np.full(count, len(order))
    np.minimum.at(start, unit[stray], np.flatnonzero(stray))
    counts = ~wrong[unit] & (np.arange(len(order)) < start[unit])
    kept = np.argsort(first, kind="stable")
    kept = kept[~wrong[kept]]
    sums = _Sums(unit[counts], order[counts], count)
    has_outcome = ~np.isnan(exposures.outcome)
    valued = (
        has_outcome | experiment.metric.missing_is_zero
    )  # what failed has no outcome, and counts as others without one
    return ExposedUnits(
        arm[first][kept], period[first][kept], order[first][kept], sums.count()[kept],
        sums.count(has_outcome)[kept], sums.mean(np.nan_to_num(exposures.outcome), valued)[kept],
        sums.mean(_logarithms(exposures.seconds), exposures.seconds > 0)[kept], sums.mean(exposures.failed.astype(float))[kept],
        len(exposures), len(exposures) - len(known), int(wrong.sum()), int((strays & ~wrong).sum()),
    )  # fmt: skip


@dataclass(frozen=True)
class _Sums:
    """Sums by unit over rows that count: `unit` of each, and its place `row` in the exposures."""

    unit: Indices
    row: Indices
    count_of_units: int

    def count(self, of: Mask | None = None) -> Indices:
        """Rows of each unit, of those that a mask holds for."""
        unit = self.unit if of is None else self.unit[of[self.row]]
        return np.bincount(unit, minlength=self.count_of_units).astype(np.int64)

    def mean(self, values: Floats, of: Mask | None = None) -> Floats:
        """The mean of each unit over those rows; NaN where it has none."""
        chosen = slice(None) if of is None else of[self.row]
        unit, row = self.unit[chosen], self.row[chosen]
        total = np.bincount(unit, weights=values[row], minlength=self.count_of_units)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / np.bincount(unit, minlength=self.count_of_units), dtype=np.float64)


def _codes(units: Array) -> Indices:
    """A number for each unit, -1 for none; equal ones have the same, as a split sees them (7 and 7.0, not "7")."""
    if units.dtype != object:
        codes = np.unique(units, return_inverse=True)[1].astype(np.int64)
        missing = np.isnan(units) if units.dtype.kind == "f" else units == "" if units.dtype.kind == "U" else None
        return codes if missing is None else np.where(missing, -1, codes)
    listed = units.tolist()
    known = {unit: -1 if is_missing_key(unit) else code for code, unit in enumerate(dict.fromkeys(listed))}
    return np.fromiter(map(known.__getitem__, listed), np.int64, len(listed))


def _logarithms(seconds: Floats) -> Floats:
    return np.log(np.where(seconds > 0, seconds, 1.0))


def _check_outcomes(experiment: Experiment, outcome: Floats) -> None:
    infinite = np.isinf(outcome)
    outside = infinite if experiment.metric.kind == "mean" else infinite | (outcome < 0) | (outcome > 1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        name, got = experiment.metric.name, outcome[row]
        hint = "" if infinite[row] else f"write metric: {{name: {name}, kind: mean}} for other numbers"
        what = (
            f"an outcome of {name!r} must be {'finite' if infinite[row] else 'from 0 to 1'}; got {got:g} in row {row}"
        )
        raise InputError(what, hint=hint)
