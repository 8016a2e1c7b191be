"""A metric over time as an SVG image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from motet.metrics_log import MetricSeries

__all__ = ["draw_curves"]

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 340.0, 150.0, 62.0, 22.0, 18.0
MOST_POINTS = 400
_Point = tuple[float, float]


def draw_curves(title: str, curves: Sequence[MetricSeries | None]) -> str:
    """Draw one curve, or two over the same axes, None for one that is missing; where a value is no number it is interrupted.

    The image has `data-metric`, each curve `data-points`, the number of points that were logged.
    """
    points = [_finite(each) if each is not None else [] for each in curves]
    known = [point for parts in points for part in parts for point in part]
    size = f'width="{WIDTH:.0f}" height="{HEIGHT:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" {size} data-metric="{escape(title)}">'
    last = ", ".join(f"{each.last:.4g}" if each is not None else "-" for each in curves)
    parts = [head, f'<text class="name" x="4" y="14">{escape(title[:30])} · {last}</text>']
    if known:
        low, high = (tuple(pick(each[axis] for each in known) for axis in (0, 1)) for pick in (min, max))
        parts += _axes(low, high)
        for place, (series, lines) in enumerate(zip(curves, points, strict=True)):
            count = len(series.values) if series is not None else 0
            parts += [_line(line, low, high, place, count) for line in lines]
    else:
        parts.append(f'<text class="dim" x="4" y="{TOP + 20}">no finite value</text>')
    return "".join([*parts, "</svg>"])


def _finite(series: MetricSeries) -> list[list[_Point]]:
    """The stretches of a curve that have numbers, of which few points are left that keep its lows and highs."""
    stretches: list[list[_Point]] = [[]]
    for point in zip(series.numbers, series.values, strict=True):
        if math.isfinite(point[1]):
            stretches[-1].append(point)
        elif stretches[-1]:
            stretches.append([])
    most = max(MOST_POINTS // len(stretches), 2)
    return [_fewer(each, most) for each in stretches[:MOST_POINTS] if each]


def _fewer(points: list[_Point], most: int) -> list[_Point]:
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    found = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        found += sorted({min(part, key=lambda each: each[1]), max(part, key=lambda each: each[1])})
    return [*found, points[-1]]


def _axes(low: tuple[float, ...], high: tuple[float, ...]) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - 8
    return [
        f'<path class="edge" d="M{LEFT},{TOP}V{bottom}H{right}"/>',
        f'<text class="dim" x="4" y="{TOP + 8}">{high[1]:.4g}</text><text class="dim" x="4" y="{bottom}">{low[1]:.4g}</text>',
        f'<text class="dim" x="{LEFT}" y="{HEIGHT - 4}">{low[0]:g}</text>',
        f'<text class="dim" x="{right}" y="{HEIGHT - 4}" text-anchor="end">{high[0]:g}</text>',
    ]


def _line(points: list[_Point], low: tuple[float, ...], high: tuple[float, ...], place: int, count: int) -> str:
    def at(point: _Point) -> str:
        spans = [(high[axis] - low[axis]) or 1.0 for axis in (0, 1)]
        x = LEFT + (point[0] - low[0]) / spans[0] * (WIDTH - 8 - LEFT)
        y = HEIGHT - BOTTOM - (point[1] - low[1]) / spans[1] * (HEIGHT - BOTTOM - TOP)
        return f"{x:.1f},{y:.1f}"

    kind = f"curve c{place % 2}"
    if len(points) == 1:
        x, _, y = at(points[0]).partition(",")
        return f'<circle class="{kind}" cx="{x}" cy="{y}" r="2.5" data-points="{count}"/>'
    return f'<polyline class="{kind}" points="{" ".join(map(at, points))}" data-points="{count}"/>'
