"""What was decided of an experiment: which weights its arms have, who said so, and how a ramp goes on."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from motet.errors import InputError, UnknownNameError
from motet.planning.experiments.experiment import Experiment

__all__ = ["STEPS", "Decision", "latest", "next_step", "promoted", "ramped", "rolled_back", "stopped", "with_periods"]

STEPS = (1.0, 5.0, 25.0, 50.0, 100.0)
"""Percent that an arm of a ramp gets, step by step."""
MOST_UNITS = 1_000_000_000_000
"""Units that a step of a ramp may need; more than a database's whole number may be none."""
_TICK_S = 0.001


@dataclass(frozen=True)
class Decision:
    """From when on the arms of an experiment have which weights.

    Attributes:
        id: tells it apart; a step of a ramp has the same in whatever process takes it.
        time: when it was taken, in seconds since 1970; the last one of an experiment counts.
        graph, node: the experiment.
        action: `promote`, `stop`, `ramp`, `step` (of a ramp), or `rollback` (a guardrail broke).
        arm: whom it is for.
        weights: of the arms, by name.
        steps: percent that the arm of a ramp gets, step by step; empty for others.
        step: the place of the one that holds.
        every_s: how long a step lasts at least.
        units: how many units the arm has had in a step, at least, before the next.
        who: took it.
        why: in words.
    """

    id: str
    time: float
    graph: str
    node: str
    action: Literal["promote", "stop", "ramp", "step", "rollback"]
    arm: str
    weights: Mapping[str, float]
    steps: tuple[float, ...] = ()
    step: int = 0
    every_s: float = 0.0
    units: int = 0
    who: str = ""
    why: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether it is a ramp that is not at its end."""
        return self.step + 1 < len(self.steps)


def promoted(experiment: Experiment, arm: str, who: str) -> Decision:
    """One arm gets all.

    Raises:
        UnknownNameError: when there is no such arm.
    """
    weights = {each: float(each == _known(experiment, arm)) for each in experiment.arms}
    return _decision(experiment, "promote", arm, weights, who)


def stopped(experiment: Experiment, who: str) -> Decision:
    """The control gets all."""
    return replace(promoted(experiment, experiment.control, who), action="stop")


def ramped(
    experiment: Experiment,
    arm: str,
    who: str,
    steps: Sequence[float] = STEPS,
    every_s: float = 3600.0,
    units: int = 100,
) -> Decision:
    """An arm gets more and more, as long as guardrails hold; the others share the rest as they did.

    Args:
        experiment: as it is now.
        arm: which one; not the control.
        who: says so.
        steps: percent, step by step; each more than the one before, at most 100.
        every_s: how long a step lasts at least, in seconds.
        units: how many units the arm has had in a step, at least, before the next.

    Raises:
        UnknownNameError: when there is no such arm.
        InputError: when it is the control, or the steps do not grow.
    """
    if _known(experiment, arm) == experiment.control:
        hint = f"name one of {', '.join(experiment.treatments)}"
        raise InputError(f"{arm!r} is the control, which the others are compared with", where="ramp", hint=hint)
    grown = all(low < high for low, high in zip((0.0, *steps), steps, strict=False))
    if not steps or not grown or steps[-1] > 100:
        said = ",".join(f"{each:g}" for each in steps)
        raise InputError(f"steps are percent that grow, at most 100; got {said or 'none'}", hint="write 1,5,25,50,100")
    if every_s < 0 or not 0 <= units <= MOST_UNITS:
        what = f"a step lasts 0 s or more, and needs 0 to {MOST_UNITS:,} units; got {every_s:g} s, {units} units"
        raise InputError(what)
    made = _decision(experiment, "ramp", arm, _shared(experiment, arm, steps[0]), who)
    return replace(made, steps=tuple(map(float, steps)), every_s=every_s, units=units)


def next_step(experiment: Experiment, now: Decision) -> Decision:
    """The next step of a ramp; the same in every process that takes it."""
    step = now.step + 1
    ramp = now.id.partition("#")[0]
    weights = _shared(experiment, now.arm, now.steps[step])
    why = f"guardrails held at {now.steps[now.step]:g} %"
    return replace(now, id=f"{ramp}#{step}", time=_after(now), action="step", weights=weights, step=step, why=why)


def rolled_back(experiment: Experiment, now: Decision | None, why: str) -> Decision:
    """The control gets all since a guardrail broke; the same in every process that sees it."""
    made = stopped(experiment, "guardrail")
    after = f"{experiment.graph}.{experiment.node}" if now is None else now.id
    return replace(made, id=f"{after}#rollback", time=_after(now), action="rollback", why=why)


def latest(decisions: Iterable[Decision]) -> dict[tuple[str, str], Decision]:
    """The decision that counts, by graph and node."""
    ordered = sorted(decisions, key=lambda each: (each.time, each.id))
    return {(each.graph, each.node): each for each in ordered}


def with_periods(experiment: Experiment, decisions: Iterable[Decision]) -> Experiment:
    """An experiment with its split as it was over time; decisions of other arms than it has are passed over."""
    for each in sorted(decisions, key=lambda each: (each.time, each.id)):
        if set(each.weights) == set(experiment.arms):
            experiment = experiment.since(each.time, each.weights)
    return experiment


def _known(experiment: Experiment, arm: str) -> str:
    if arm not in experiment.arms:
        raise UnknownNameError("arm", arm, list(experiment.arms), where=f"{experiment.graph}.{experiment.node}")
    return arm


def _decision(
    experiment: Experiment, action: Literal["promote", "ramp"], arm: str, weights: Mapping[str, float], who: str
) -> Decision:
    last = experiment.periods[-1].since
    return Decision(
        secrets.token_hex(8), max(time.time(), last + _TICK_S), experiment.graph, experiment.node, action, arm, weights,
        who=who,
    )  # fmt: skip


def _after(decision: Decision | None) -> float:
    """Now, but not before what was decided by a machine whose clock is ahead."""
    return time.time() if decision is None else max(time.time(), decision.time + _TICK_S)


def _shared(experiment: Experiment, arm: str, percent: float) -> dict[str, float]:
    """Weights of which an arm has so many percent; the others share the rest as the graph declares, or the control has it."""
    declared = {each: weight for each, weight in experiment.periods[0].weights.items() if each != arm}
    total = sum(declared.values())
    if not total:
        declared, total = {each: float(each == experiment.control) for each in declared}, 1.0
    return {each: percent if each == arm else (100.0 - percent) * declared[each] / total for each in experiment.arms}
