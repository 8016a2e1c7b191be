"""An evaluation as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from motet.planning.intervals import Interval

if TYPE_CHECKING:
    from motet.planning.evaluation import Evaluation

__all__ = ["as_lines", "mistakes", "plain", "shown_cost", "shown_interval", "shown_number", "standings_table", "table"]

MOST_CLASSES = 20
"""Confusions of more classes are in the JSON alone."""
MOST_MISTAKES = 5


def shown_number(value: float) -> str:
    """A number in four digits."""
    return "-" if math.isnan(value) else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"


def shown_interval(found: Interval) -> str:
    """A number and its interval."""
    if math.isnan(found.low):
        return shown_number(found.value)
    return f"{shown_number(found.value)} ({shown_number(found.low)} to {shown_number(found.high)})"


def shown_cost(cost: float | None, *, priced: bool) -> str:
    """What a row costs."""
    if cost is None:
        return "-"
    return f"{cost:.4g}" if priced else f"{cost * 1e6:,.1f} us"


def standings_table(found: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The table of the graph and its members: names of columns, and rows of texts."""
    first = found.standings[0]
    metrics = list(first.metrics)
    calibrated = any(each.calibration for each in found.standings)
    head = [
        "",
        *metrics,
        "graph less it",
        *(["ECE"] if calibrated else []),
        "cost a row",
        "asked",
        "answered",
        "failed",
    ]
    rows = []
    for each in found.standings:
        numbers = [shown_interval(each.metrics[name]) if name in each.metrics else "-" for name in metrics]
        less = "" if each.difference is None else shown_interval(each.difference)
        ece = [shown_number(each.calibration.ece) if each.calibration else "-"] if calibrated else []
        cost = shown_cost(each.cost, priced=found.priced)
        rows.append(
            [each.name, *numbers, less, *ece, cost, f"{each.asked:.1%}", f"{each.answered:,}", f"{each.failed:,}"]
        )
    return head, rows


def mistakes(found: Evaluation) -> list[tuple[str, str, int]]:
    """The most frequent mistakes: what is right, what was answered, how often."""
    counts = [
        (found.classes[right], found.classes[said], count)
        for right, line in enumerate(found.confusion)
        for said, count in enumerate(line)
        if right != said and count
    ]
    return sorted(counts, key=lambda each: -each[2])[:MOST_MISTAKES]


def as_lines(found: Evaluation) -> list[str]:
    """An evaluation as lines."""
    lines = [found.summary]
    lines += [f"  {count:,} rows failed: {reason}" for reason, count in found.failures.items()]
    lines += ["", *table(*standings_table(found))]
    lines += [f"  {each.name}: {each.note}" for each in found.standings if each.note]
    if found.confusion and len(found.classes) <= MOST_CLASSES:
        head = ["right \\ answered", *found.classes]
        rows = [[name, *map(str, line)] for name, line in zip(found.classes, found.confusion, strict=True)]
        lines += ["", *table(head, rows)]
    elif found.confusion:
        lines += [
            "",
            "most frequent mistakes",
            *(f"  {one} taken for {other}: {n:,}" for one, other, n in mistakes(found)),
        ]
    if found.agreement:
        rows = [[f"{e.one}, {e.other}", f"{e.same:.1%}", f"{e.both_wrong:.1%}"] for e in found.agreement]
        lines += ["", *table(["members", "say the same", "both wrong"], rows)]
    if found.segments:
        members = list(found.segments[0].members)
        head = [str(found.by), "rows", "failed", next(iter(found.standings[0].metrics)), *members]
        rows = [
            [s.value, f"{s.rows:,}", f"{s.failed:,}", shown_interval(s.metric), *map(shown_number, s.members.values())]
            for s in found.segments
        ]
        lines += ["", *table(head, rows)]
    return lines + [f"note: {note}" for note in found.notes]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows below the names of their columns, the first column to the left, numbers to the right."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def plain(value: Any) -> Any:
    """A value as JSON has it: null for what is no finite number."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
