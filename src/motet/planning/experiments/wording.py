"""What an experiment says, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from motet.planning.experiments.experiment import Experiment
from motet.planning.experiments.standing import ArmComparison, GuardrailState, RatioCheck
from motet.planning.intervals import Interval
from motet.planning.wording import shown_interval, table

if TYPE_CHECKING:
    from motet.planning.experiments.report import ExperimentReport

__all__ = [
    "Conclusion",
    "arms_table",
    "comparisons_table",
    "decided",
    "report_lines",
    "segments_table",
    "shown_lift",
    "shown_ratio",
]


class Conclusion(NamedTuple):
    """What to do: `promote` an arm, `keep` the control, or nothing yet; about how many more units it takes; and why."""

    what: Literal["promote", "keep", "undecided"]
    arm: str
    more: float
    sentence: str


def decided(experiment: Experiment, comparisons: Sequence[ArmComparison], ratio: RatioCheck) -> Conclusion:
    """What follows from comparisons."""
    if ratio.broken:
        what = f"units do not meet the arms as the split says ({shown_ratio(ratio)}), so nothing can be concluded"
        return Conclusion("undecided", "", math.inf, f"Undecided: {what}. Find out why first.")
    sign = 1 if experiment.metric.more_is_better else -1
    good = [each for each in comparisons if each.verdict == "better" and not each.broken]
    if good:
        best = max(good, key=lambda each: sign * each.difference.value)
        return Conclusion("promote", best.arm, 0.0, f"Promote {best.arm}: {_why(experiment, best)}.{_still_open(best)}")
    left = [each for each in comparisons if each.verdict == "undecided" and not each.broken]
    if not left:
        reasons = "; ".join(_why(experiment, each) for each in comparisons)
        return Conclusion("keep", experiment.control, 0.0, f"Keep {experiment.control}: {reasons}.")
    more = max(each.more for each in left)
    reasons = "; ".join(_why(experiment, each) for each in left)
    size = (
        f"about {_about(more)} more units are needed"
        if math.isfinite(more)
        else "how many units it takes is not known yet"
    )
    return Conclusion("undecided", "", more, f"Undecided: {reasons}; {size}.")


def _why(experiment: Experiment, each: ArmComparison) -> str:
    """What an arm comes to, in a sentence."""
    name, control = experiment.metric.name, experiment.control
    if each.broken:
        state = next(one for one in each.guardrails if one.state == "broken")
        return f"{each.arm} breaks the guardrail of {state.name}, {_shown_guardrail(state)}"
    if each.verdict in ("better", "worse"):
        way = "higher" if each.difference.value > 0 else "lower"
        if math.isnan(each.lift.low):
            found = each.difference
            return f"{name} is {way} with {each.arm} than with {control}, by {shown_interval(found)}"
        low, high = sorted((abs(each.lift.low), abs(each.lift.high)))
        return (
            f"{name} is {abs(each.lift.value):.1%} {way} with {each.arm} than with {control} ({low:.1%} to {high:.1%})"
        )
    if each.verdict == "no gain":
        most = each.lift.high if experiment.metric.more_is_better else -each.lift.low
        said = f"at most {most:.1%}" if most > 0 else "nothing"
        return f"{each.arm} gains {said} of {name}, less than the {experiment.metric.effect:.1%} that is worth finding"
    if math.isnan(each.lift.low):
        return f"too little is known of {each.arm}"
    ends = [f"{abs(value):.1%} {'lower' if value < 0 else 'higher'}" for value in (each.lift.low, each.lift.high)]
    return f"{name} is between {' and '.join(ends)} with {each.arm} than with {control}"


def _still_open(each: ArmComparison) -> str:
    names = [one.name for one in each.guardrails if one.state == "open"]
    return f" It is not known yet whether it keeps the guardrail of {' and '.join(names)}." if names else ""


def _about(units: float) -> str:
    """A number of units in two digits."""
    digits = max(0, math.floor(math.log10(max(units, 1.0))) - 1)
    return f"{math.ceil(units / 10**digits) * 10**digits:,}"


def _shown_guardrail(state: GuardrailState) -> str:
    if math.isnan(state.value.value):
        return "not known"
    if state.name == "seconds":
        found = f"{state.value.value:.2f} times the control's ({state.value.low:.2f} to {state.value.high:.2f})"
        return f"{found}, bound {state.bound:g}"
    return f"{state.value.value:+.2%} ({state.value.low:+.2%} to {state.value.high:+.2%}), bound {state.bound:+.2%}"


def shown_lift(found: Interval) -> str:
    """A relative difference and its interval."""
    if math.isnan(found.value):
        return "-"
    return f"{found.value:+.1%}" + ("" if math.isnan(found.low) else f" ({found.low:+.1%} to {found.high:+.1%})")


def shown_ratio(ratio: RatioCheck) -> str:
    """The check of the split in a few words."""
    return "p < 0.0001" if ratio.probability < 1e-4 else f"p = {ratio.probability:.2g}"


def arms_table(found: ExperimentReport) -> tuple[list[str], list[list[str]]]:
    """The arms: names of columns, and rows of texts."""
    head = ["arm", "split", "units", "of all", "exposures", "outcomes", found.metric, "errors", "seconds"]
    rows = [
        [
            f"{each.name} (control)" if each.name == found.control else each.name, f"{each.weight:.1%}", f"{each.units:,}",
            "-" if math.isnan(each.share) else f"{each.share:.1%}", f"{each.exposures:,}", f"{each.outcomes:,}",
            shown_interval(each.metric), "-" if math.isnan(each.errors.value) else f"{each.errors.value:.2%}",
            "-" if math.isnan(each.seconds) else f"{each.seconds:.3g}",
        ]
        for each in found.arms
    ]  # fmt: skip
    return head, rows


def comparisons_table(found: ExperimentReport) -> tuple[list[str], list[list[str]]]:
    """The arms beside the control: names of columns, and rows of texts."""
    head = [f"beside {found.control}", "difference", "relative", "verdict", "planned units", "about more"]
    rows = [
        [
            each.arm,
            shown_interval(each.difference),
            shown_lift(each.lift),
            each.verdict,
            _size(each.planned),
            _size(each.more),
        ]
        for each in found.comparisons
    ]
    return head, rows


def _size(units: float) -> str:
    return "-" if not math.isfinite(units) or units == 0 else _about(units)


def guardrail_rows(found: ExperimentReport) -> Iterator[list[str]]:
    """The guardrails of each arm as texts: arm, guardrail, state, value."""
    for each in found.comparisons:
        for state in each.guardrails:
            yield [each.arm, state.name, state.state, _shown_guardrail(state)]


def segments_table(found: ExperimentReport) -> tuple[list[str], list[list[str]]]:
    """Segments: names of columns, and rows of texts."""
    rows = [[f"{e.column} = {e.value}", e.arm, f"{e.units:,}", shown_lift(e.lift)] for e in found.segments]
    return ["segment", "arm", "units", "relative"], rows


def report_lines(found: ExperimentReport) -> list[str]:
    """A report as lines."""
    counts = f"{found.units:,} units ({found.unit}) in {found.rows:,} exposures"
    lines = [
        found.sentence,
        "",
        f"{found.graph}, {found.node}: {found.metric} of {counts}",
        "",
        *table(*arms_table(found)),
    ]
    lines += ["", *table(*comparisons_table(found))]
    lines.append(f"The split {'is broken' if found.ratio.broken else 'is as declared'} ({shown_ratio(found.ratio)}).")
    lines += [f"Guardrail of {name} for {arm}: {state}, {value}." for arm, name, state, value in guardrail_rows(found)]
    if found.segments:
        lines += ["", *table(*segments_table(found)), "Segments are to look where to look next, not to decide by."]
    return lines + [f"note: {note}" for note in found.notes]
