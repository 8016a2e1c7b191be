"""A tuning as a page: one file with everything in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from motet.planning.charts import Point, metric_by_cost
from motet.planning.intervals import Interval
from motet.planning.page import header, html_table, section, whole_page
from motet.planning.wording import shown_cost, shown_interval, shown_number

if TYPE_CHECKING:
    from motet.planning.tuning import Tuning

__all__ = ["page"]


def page(found: Tuning) -> str:
    """A tuning as HTML."""
    return whole_page(f"Motet: {found.graph}, tuned", [_head(found), _standings(found), _front(found), _changes(found)])


def _head(found: Tuning) -> str:
    tiles = [
        (shown_number(found.after.metric.value), f"{found.metric}; before {shown_number(found.before.metric.value)}"),
        (_cost(found, found.after.cost), f"a row; before {_cost(found, found.before.cost)}"),
        (f"{found.rows[1]:,}", "held-out rows, by which nothing was chosen"),
    ]
    lead = f"{found.of} against {found.label!r}, for {found.goal}; settings were chosen by {found.rows[0]:,} rows of {found.source}."
    return header(f"{found.graph}, tuned", lead, tiles)


def _standings(found: Tuning) -> str:
    lead = f"After less before, on the same rows: {shown_interval(found.gain)}."
    points = [
        Point(each.name, each.metric, _cost(found, each.cost), each.cost, each.name == "after")
        for each in (found.before, found.after, *found.members)
    ]
    return section(
        "Before and after", lead, metric_by_cost(points, found.metric) + html_table(*found.standings_table())
    )


def _front(found: Tuning) -> str:
    points = [
        Point("", Interval(each.held_out, math.nan, math.nan), _cost(found, each.cost), each.cost)
        for each in found.front
    ]
    lead = f"Settings that no other one beats in both cost and {found.metric}, at what they have on held-out rows."
    return section(
        "From cheap to good",
        lead,
        metric_by_cost(points, found.metric) + html_table(*found.front_table()) if points else "",
    )


def _changes(found: Tuning) -> str:
    rows = [[node, key, str(value)] for node, each in found.changes.items() for key, value in each.items()]
    lead = " ".join(found.warnings) or "All else of the graph is as it was."
    return section(
        "What is set", lead, html_table(["node", "key", "value"], rows) if rows else "<p>Nothing is better.</p>"
    )


def _cost(found: Tuning, cost: float) -> str:
    return shown_cost(cost, priced=found.priced)
