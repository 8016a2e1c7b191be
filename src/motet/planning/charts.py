"""Charts of an evaluation, as SVG that goes by the colours of its page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from motet.planning.calibration import Calibration
from motet.planning.intervals import Interval

__all__ = ["Point", "interval_chart", "metric_by_cost", "reliability", "shares_chart"]

WIDTH, ROW, LEFT = 720.0, 34.0, 150.0


class Point(NamedTuple):
    """What is drawn of the graph, a member or a setting; `strong` stands out."""

    name: str
    metric: Interval
    cost: str = ""
    cost_value: float | None = None
    strong: bool = False


def interval_chart(points: Sequence[Point], title: str) -> str:
    """For each a mark at its metric, with its interval as a line."""
    low, high = _range([value for each in points for value in (each.metric.low, each.metric.high, each.metric.value)])
    height = ROW * len(points) + 26

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - 70) * (value - low) / (high - low)

    parts = [_open(WIDTH, height, title)]
    for tick in _ticks(low, high):
        parts.append(f'<path class="grid" d="M{x(tick):.1f} 0V{height - 22:.1f}"/>')
        parts.append(
            f'<text class="soft" x="{x(tick):.1f}" y="{height - 6:.1f}" text-anchor="middle">{tick:.4g}</text>'
        )
    for place, each in enumerate(points):
        y, strong = ROW * place + ROW / 2, " strong" if each.strong else ""
        parts.append(f'<text class="{strong.strip()}" x="0" y="{y + 4:.1f}">{escape(each.name[:24])}</text>')
        if math.isnan(each.metric.value):
            continue
        if not math.isnan(each.metric.low):
            line = f"M{x(each.metric.low):.1f} {y:.1f}H{x(each.metric.high):.1f}"
            parts.append(f'<path class="mark{strong}" stroke-width="3" stroke-linecap="round" d="{line}"/>')
        parts.append(f'<circle class="mark{strong}" cx="{x(each.metric.value):.1f}" cy="{y:.1f}" r="6"/>')
        parts.append(f'<text x="{WIDTH:.0f}" y="{y + 4:.1f}" text-anchor="end">{each.metric.value:.4f}</text>')
    return "".join([*parts, "</svg>"])


def metric_by_cost(points: Sequence[Point], title: str) -> str:
    """Each at its cost, to the right, and its metric, upwards; the cost on a scale of powers where it goes over a decade."""
    known = [each for each in points if each.cost_value and not math.isnan(each.metric.value)]
    if len(known) < 2:
        return ""
    costs = [each.cost_value for each in known if each.cost_value]
    powers = max(costs) / min(costs) > 10
    scaled = [math.log10(each) if powers else each for each in costs]
    (left, right), (low, high) = _range(scaled), _range([each.metric.value for each in known])
    height = 260.0
    parts = [_open(WIDTH, height, title)]
    for tick in _ticks(low, high):
        y = _up(tick, low, high, height)
        parts.append(f'<path class="grid" d="M50 {y:.1f}H{WIDTH:.0f}"/>')
        parts.append(f'<text class="soft" x="0" y="{y + 4:.1f}">{tick:.4g}</text>')
    for number, (place, each) in enumerate(sorted(zip(scaled, known, strict=True), key=lambda pair: pair[0])):
        x = 70 + (WIDTH - 200) * (place - left) / (right - left)
        y, strong = _up(each.metric.value, low, high, height), " strong" if each.strong else ""
        parts.append(f'<circle class="mark{strong}" cx="{x:.1f}" cy="{y:.1f}" r="{7 if each.strong else 5}"/>')
        parts.append(
            f'<text class="{strong.strip()}" x="{x + 10:.1f}" y="{y + (16 if number % 2 else -8):.1f}">{escape(each.name)}'
        )
        parts.append(f'<tspan class="soft" dx="6">{escape(each.cost)}</tspan></text>')
    return "".join([*parts, "</svg>"])


def shares_chart(parts: Sequence[tuple[str, float, str, bool]], title: str) -> str:
    """For each a bar as long as its part of the longest.

    Args:
        parts: names, amounts, what is said of them, and whether they stand out.
        title: of the chart.
    """
    most = max((amount for _, amount, _, _ in parts), default=0.0) or 1.0
    drawn = [_open(WIDTH, ROW * len(parts), title)]
    for place, (name, amount, said, stands_out) in enumerate(parts):
        y, strong = ROW * place, " strong" if stands_out else ""
        width = max(1.0, (WIDTH - LEFT - 90) * amount / most)
        drawn.append(f'<text class="{strong.strip()}" x="0" y="{y + 21:.1f}">{escape(name[:24])}</text>')
        drawn.append(f'<rect class="mark{strong}" x="{LEFT}" y="{y + 8:.1f}" width="{width:.1f}" height="18" rx="3"/>')
        drawn.append(f'<text x="{LEFT + width + 8:.1f}" y="{y + 21:.1f}">{escape(said)}</text>')
    return "".join([*drawn, "</svg>"])


def reliability(found: Calibration, name: str) -> str:
    """How often answers are right, by how sure they were; on the line confidence can be taken at its word."""
    size = 220.0
    parts = [_open(size, size + 22, f"reliability of {name}")]
    parts.append(f'<path class="grid" d="M0 0H{size}V{size}H0Z"/>')
    for each in found.bins:
        x, width = size * each.low + 1, size * (each.high - each.low) - 2
        height = size * each.accuracy
        shade = 0.35 + 0.65 * math.sqrt(each.rows / max(one.rows for one in found.bins))
        said = f"{each.rows:,} rows: {each.confidence:.1%} sure, {each.accuracy:.1%} right"
        parts.append(
            f'<rect class="bar" opacity="{shade:.2f}" x="{x:.1f}" y="{size - height:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}"><title>{said}</title></rect>'
        )
    parts.append(f'<path class="ideal" d="M0 {size}L{size} 0"/>')
    parts.append(f'<text class="strong" x="0" y="{size + 18}">{escape(name)}</text>')
    parts.append(f'<text class="soft" x="{size}" y="{size + 18}" text-anchor="end">ECE {found.ece:.4f}</text>')
    return "".join([*parts, "</svg>"])


def _open(width: float, height: float, title: str) -> str:
    return f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}">'


def _up(value: float, low: float, high: float, height: float) -> float:
    return height - 20 - (height - 45) * (value - low) / (high - low)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the lowest to the highest number, with some room beside them."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = (high - low) * 0.06 or abs(high) * 0.06 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Three to eight round numbers from one number to another."""
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= next(each for each in (1, 2, 5, 10) if (high - low) / (step * each) <= 8)
    first = math.ceil(low / step)
    return [each * step for each in range(first, math.floor(high / step) + 1)]
