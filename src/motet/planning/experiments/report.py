"""What an experiment says: its arms, whether one is better, and what to do now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from motet.errors import InputError
from motet.planning.experiments.compare import Comparer
from motet.planning.experiments.experiment import Experiment
from motet.planning.experiments.exposures import Exposures
from motet.planning.experiments.ratio import check_ratio
from motet.planning.experiments.standing import ArmComparison, ArmStanding, RatioCheck, SegmentComparison
from motet.planning.experiments.units import ExposedUnits, units_of
from motet.planning.experiments.wording import decided, report_lines
from motet.planning.wording import plain

__all__ = ["ALPHA", "ExperimentReport", "report_of"]

ALPHA = 0.05
"""The share of experiments without a difference in which one may be found, at any of all looks together."""


@dataclass(frozen=True)
class ExperimentReport:
    """What an experiment says, whenever it is looked at.

    Attributes:
        graph, node: whose experiment it is.
        metric: what arms are compared by.
        unit: the column whose values are the units.
        control: the arm that others are compared with.
        rows: exposures, also those that count for nothing.
        units: units that count.
        arms: each by itself.
        comparisons: each arm but the control beside it.
        ratio: whether units met arms as the split says.
        segments: arms beside the control by values of columns; to look where to look next, not to decide by.
        decision: `promote` an arm, `keep` the control, or `undecided`.
        arm: the arm that is promoted or kept; empty where it is undecided.
        more: about how many more units it takes; 0 where it is decided, infinite where that is not known.
        sentence: the decision, and why.
        alpha: the share of experiments without a difference in which one may be found.
        notes: what counts for nothing, and what is not known.
    """

    graph: str
    node: str
    metric: str
    unit: str
    control: str
    rows: int
    units: int
    arms: Sequence[ArmStanding]
    comparisons: Sequence[ArmComparison]
    ratio: RatioCheck
    segments: Sequence[SegmentComparison]
    decision: Literal["promote", "keep", "undecided"]
    arm: str
    more: float
    sentence: str
    alpha: float
    notes: Sequence[str] = ()

    def to_json(self) -> str:
        """The report as JSON; what is not known is null."""
        return json.dumps(plain(asdict(self)), indent=2)

    def html(self) -> str:
        """The report as a page that needs no other file."""
        from motet.planning.experiments.page import report_page

        return report_page(self)

    def __str__(self) -> str:
        return "\n".join(report_lines(self))

    def comparison(self, arm: str) -> ArmComparison:
        """An arm beside the control, by its name."""
        return next(each for each in self.comparisons if each.arm == arm)


def report_of(
    experiment: Experiment,
    exposures: Exposures,
    *,
    alpha: float = ALPHA,
    knows_failures: bool = True,
    notes: Sequence[str] = (),
) -> ExperimentReport:
    """Say what an experiment came to so far. It may be asked as often as one likes.

    Args:
        experiment: what is compared.
        exposures: what was seen of it; rows in any order.
        alpha: the share of experiments without a difference in which one may be found, at any of all looks; above 0, below 1.
        knows_failures: whether exposures say which rows failed; else guardrails of errors stay open.
        notes: what else is to be said.

    Raises:
        InputError: when exposures are of other arms, or an outcome or `alpha` cannot be.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha must be above 0 and below 1; got {alpha!r}", where="alpha")
    units = units_of(experiment, exposures)
    comparer = Comparer(experiment, units, alpha, knows_failures)
    comparisons = list(comparer.comparisons())
    ratio = check_ratio(experiment, units)
    decision = decided(experiment, comparisons, ratio)
    wanted = {name: exposures.segments[name] for name in experiment.metric.segments if name in exposures.segments}
    return ExperimentReport(
        experiment.graph, experiment.node, experiment.metric.name, experiment.unit, experiment.control, len(exposures),
        len(units), list(comparer.standings(comparisons)), comparisons, ratio, list(comparer.segments(wanted)),
        decision.what, decision.arm, decision.more, decision.sentence, alpha,
        [*notes, *_notes(experiment, units, ratio)],
    )  # fmt: skip


def _notes(experiment: Experiment, units: ExposedUnits, ratio: RatioCheck) -> list[str]:
    """What counts for nothing."""
    said = {
        f"exposures without {experiment.unit!r} or without an arm count for nothing": units.nobody,
        "units were seen in several arms although the split stayed; they are left out": units.in_two,
        "units met another arm when the split changed; they count in their first, until then": units.moved,
        "units met an arm that had no weight then": ratio.outside,
    }
    return [f"{count:,} {what}" for what, count in said.items() if count]
