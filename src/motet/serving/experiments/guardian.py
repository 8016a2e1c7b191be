"""Ramps go on while guardrails hold, and a guardrail that breaks gives everything back to the control."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from motet.planning.experiments.experiment import Experiment
from motet.planning.experiments.report import ExperimentReport, report_of
from motet.serving.experiments.database import Epoch, ExperimentDatabase, begun
from motet.serving.experiments.decisions import Decision, next_step, rolled_back
from motet.serving.experiments.kept_exposures import kept_exposures

__all__ = ["LOOKS_BACK_S", "followed_up", "report_now"]

LOOKS_BACK_S = 7 * 86_400.0
"""How far back guardrails look, at most."""
MOST_EPOCHS = 5
"""How many earlier declarations a report lists, the last ones."""
MOST_EXPOSURES = 500_000
"""How many exposures they look at, at most, the last ones."""


def followed_up(
    database: ExperimentDatabase, experiment: Experiment, decisions: Sequence[Decision], now: float | None = None
) -> Decision | None:
    """What follows from what was seen since: a step of a ramp, a return to the control, or nothing.

    Only arms that get anything are looked at, and only where guardrails are declared or a ramp goes on. Guardrails are always valid:
    they may be looked at again and again, and one that is not clear yet does not break.

    Args:
        database: what was seen.
        experiment: as it is now.
        decisions: on it, the earliest first; a ramp of other arms than it has now does not go on.
        now: seconds since 1970; None asks the clock.
    """
    now = time.time() if now is None else now
    last = decisions[-1] if decisions else None
    bounds = experiment.metric.guardrails
    guarded = bounds.errors is not None or bounds.seconds is not None
    tried = [arm for arm in experiment.treatments if experiment.weights.get(arm, 0) > 0]
    ramp = last if last is not None and last.goes_on and set(last.weights) == set(experiment.arms) else None
    if not tried or not (guarded or ramp):
        return None
    exposures = kept_exposures(database, experiment, max(_began(decisions), now - LOOKS_BACK_S), MOST_EXPOSURES)
    if guarded:
        report = report_of(experiment, exposures)
        for arm in tried:
            if why := _broken(report, arm):
                return rolled_back(experiment, last, f"{arm}: {why}")
    if ramp is None or now < ramp.time + ramp.every_s:
        return None
    mine = (exposures.arm == experiment.arms.index(ramp.arm)) & (exposures.time >= ramp.time)
    return next_step(experiment, ramp) if len(np.unique(exposures.unit[mine])) >= ramp.units else None


def report_now(
    database: ExperimentDatabase, experiment: Experiment, since: float = 0.0, *, every: bool = False
) -> ExperimentReport:
    """What an experiment came to so far, of what a database has.

    Args:
        database: where servers keep it.
        experiment: as it is now.
        since: exposures from then on, in seconds since 1970.
        every: also those of the experiment as it was declared before, with other arms, weights or another metric.
    """
    epochs = [] if every else database.epochs(experiment.graph, experiment.node, since)
    exposures = kept_exposures(database, experiment, since, every=every, epochs=epochs)
    return report_of(experiment, exposures, notes=list(_earlier(epochs, experiment)))


def _earlier(epochs: Sequence[Epoch], experiment: Experiment) -> Iterator[str]:
    """What is left out since it is of the experiment as it was declared before."""
    now = begun(epochs, experiment.epoch)
    if unsaid := next((each for each in epochs if not each.name and each.first < now), None):
        yield (
            f"exposures from {_minute(unsaid.first)} to {_minute(min(unsaid.last, now))} UTC are left out of which an earlier version of "
            "Motet kept no declaration (--all takes them in)"
        )
    for each in [each for each in epochs if each.name not in ("", experiment.epoch)][-MOST_EPOCHS:]:
        yield (
            f"{each.rows:,} exposures from {_minute(each.first)} to {_minute(each.last)} UTC are left out: the arms, their weights, the "
            "unit or the metric were declared otherwise, or a store had other versions of the arms (--all takes them in)"
        )


def _minute(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def _began(decisions: Sequence[Decision]) -> float:
    """When what holds now was decided: of a ramp when it began."""
    if not decisions:
        return 0.0
    ramp = decisions[-1].id.partition("#")[0]
    return min(each.time for each in decisions if each.id.partition("#")[0] == ramp)


def _broken(report: ExperimentReport, arm: str) -> str:
    """Which guardrails an arm breaks, in words; empty for none."""
    found = [each for each in report.comparison(arm).guardrails if each.state == "broken"]
    told = {"errors": "its share of rows that fail is {:.3f} above the control's; at most {:g} is allowed",
            "seconds": "it takes {:.2f} times the control's seconds; at most {:g} are allowed"}  # fmt: skip
    return "; ".join(told[each.name].format(each.value.value, each.bound) for each in found)
