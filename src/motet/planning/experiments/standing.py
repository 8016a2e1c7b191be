"""What the report of an experiment is made of: its arms, what each comes to beside the control, its guardrails and segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from motet.planning.intervals import Interval

__all__ = ["ArmComparison", "ArmStanding", "GuardrailState", "RatioCheck", "SegmentComparison"]


@dataclass(frozen=True)
class ArmStanding:
    """An arm.

    Attributes:
        name: its name.
        exposures: rows that count.
        units: units that count.
        outcomes: outcomes that were told of them.
        metric: the mean of the units' values.
        weight: the share of units that the split gives it now, 0 to 1.
        share: the share of units that met it.
        errors: the share of rows that failed, the mean over units.
        seconds: the geometric mean of what an answer took; NaN where that is not known.
    """

    name: str
    exposures: int
    units: int
    outcomes: int
    metric: Interval
    weight: float
    share: float
    errors: Interval
    seconds: float


@dataclass(frozen=True)
class GuardrailState:
    """Whether an arm keeps within a bound that is no goal.

    Attributes:
        name: `errors` or `seconds`.
        bound: how much larger than the control's the arm's share of failures may be, or how many times its seconds.
        value: the difference, or the factor; NaN where it is not known.
        state: `holds` or `broken` where the whole interval lies on that side of the bound; else `open`.
    """

    name: str
    bound: float
    value: Interval
    state: Literal["holds", "broken", "open"]


@dataclass(frozen=True)
class ArmComparison:
    """An arm beside the control.

    Attributes:
        arm: its name.
        difference: of the metric, the arm's less the control's.
        lift: the same as a part of the control's.
        verdict: `better`; `worse`, also of what gains less than is worth finding (`no gain`); else `undecided`.
        planned: units of the whole experiment after which a difference worth finding is found in 80 %; infinite where unknown.
        more: about how many more units of the whole experiment it takes to decide; 0 where it is decided.
        guardrails: those that are declared.
    """

    arm: str
    difference: Interval
    lift: Interval
    verdict: Literal["better", "worse", "no gain", "undecided"]
    planned: float
    more: float
    guardrails: Sequence[GuardrailState] = ()

    @property
    def broken(self) -> list[str]:
        """The guardrails that are broken."""
        return [each.name for each in self.guardrails if each.state == "broken"]


@dataclass(frozen=True)
class RatioCheck:
    """Whether units met arms as the split says.

    Attributes:
        probability: that units stray as far from the split by chance, at any of all looks together.
        broken: whether that is less than 1 %: then the arms' units differ in more than their arm, and nothing follows from them.
        outside: units that met an arm which had no weight; they count for nothing here.
    """

    probability: float
    broken: bool
    outside: int = 0


@dataclass(frozen=True)
class SegmentComparison:
    """An arm beside the control among units of one value of a column.

    Attributes:
        column, value: which units.
        arm: the arm.
        units: of the arm and of the control.
        lift: the relative difference, at intervals that hold for all segments together.
    """

    column: str
    value: str
    arm: str
    units: int
    lift: Interval
