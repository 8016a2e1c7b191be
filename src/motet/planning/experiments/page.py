"""The report of an experiment as a page: one file with everything in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from motet.planning.charts import Point, interval_chart
from motet.planning.experiments.wording import (
    arms_table,
    comparisons_table,
    guardrail_rows,
    segments_table,
    shown_ratio,
)
from motet.planning.intervals import Interval
from motet.planning.page import header, html_table, section, whole_page

if TYPE_CHECKING:
    from motet.planning.experiments.report import ExperimentReport

__all__ = ["report_page", "report_sections"]


def report_page(found: ExperimentReport) -> str:
    """A report as HTML."""
    return whole_page(f"Motet: {found.graph}, {found.node}", report_sections(found))


def report_sections(found: ExperimentReport) -> list[str]:
    """The parts of the page."""
    return [_head(found), _arms(found), _comparisons(found), _guardrails(found), _segments(found), _foot(found)]


def _head(found: ExperimentReport) -> str:
    tiles = [
        (f"{found.units:,}", "units"),
        (f"{found.rows:,}", "exposures"),
        (shown_ratio(found.ratio), "of the split"),
    ]
    return header(f"{found.metric} in {found.graph}, {found.node}", found.sentence, tiles)


def _arms(found: ExperimentReport) -> str:
    points = [Point(each.name, each.metric, strong=each.name == found.control) for each in found.arms]
    share = f"{1 - found.alpha:.0%}"
    lead = (
        f"{found.metric} of each arm: the mean over units ({found.unit}), however often each was asked. Intervals hold with {share} "
        "at all looks together, so this page may be looked at every day."
    )
    return section("The arms", lead, interval_chart(points, found.metric) + html_table(*arms_table(found)))


def _comparisons(found: ExperimentReport) -> str:
    points = [Point(each.arm, each.lift, strong=each.arm == found.arm) for each in found.comparisons]
    points = [each for each in points if not math.isnan(each.metric.low)]
    lead = (
        f"How much higher or lower {found.metric} is than with {found.control}, as a part of it. An interval that leaves out 0 "
        "decides."
    )
    chart = (
        interval_chart([*points, Point("no difference", Interval(0.0, math.nan, math.nan))], "relative")
        if points
        else ""
    )
    return section(f"Beside {found.control}", lead, chart + html_table(*comparisons_table(found)))


def _guardrails(found: ExperimentReport) -> str:
    rows: Sequence[Sequence[str]] = list(guardrail_rows(found))
    lead = "What may not become worse, whatever the metric gains. Open ones need more units."
    return section("Guardrails", lead, html_table(["arm", "guardrail", "state", "value"], rows) if rows else "")


def _segments(found: ExperimentReport) -> str:
    lead = "To look where to look next, not to decide by. Intervals hold for all segments together."
    return section("Segments", lead, html_table(*segments_table(found)) if found.segments else "")


def _foot(found: ExperimentReport) -> str:
    said = "<br>".join(map(escape, found.notes))
    return f"<footer><p>{said}</p><p>Made by motet experiment report.</p></footer>\n"
