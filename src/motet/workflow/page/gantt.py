"""When the steps of a run ran, as an SVG image: a bar each, on one axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from motet.workflow.page.dag import seconds_told
from motet.workflow.record.runs import StepRow

__all__ = ["MOST_BARS", "draw_gantt"]

MOST_BARS = 200
ROW, WIDTH, LABELS, TOP, CHAR = 22.0, 720.0, 190.0, 26.0, 7.3
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)


def draw_gantt(steps: Sequence[StepRow]) -> str:
    """Draw when steps ran, the first 200 by their beginning; empty where none did."""
    ran = sorted((each for each in steps if each.started), key=lambda each: each.started)
    shown = ran[:MOST_BARS]
    if not shown:
        return ""
    begin = shown[0].started
    whole = max(max(each.started + each.seconds for each in shown) - begin, 1e-4)
    scale = WIDTH / whole
    height = TOP + ROW * len(shown) + 8
    total = LABELS + WIDTH + 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total:.0f} {height:.0f}" width="{total:.0f}" height="{height:.0f}">'
    ]
    step = next((each for each in _TICKS if whole / each <= 8), whole / 8)
    for number in range(int(whole / step) + 1):
        x = LABELS + number * step * scale
        parts.append(f'<path class="grid" d="M{x:.1f},{TOP - 6} V{height - 6:.1f}"/>')
        told = seconds_told(number * step) if number else "0"
        parts.append(f'<text class="dim" x="{x:.1f}" y="{TOP - 11}" text-anchor="middle">{told}</text>')
    for place, each in enumerate(shown):
        parts.append(_bar(each, place, LABELS + (each.started - begin) * scale, max(each.seconds * scale, 2.0)))
    return "".join([*parts, "</svg>"])


def _bar(step: StepRow, place: int, x: float, width: float) -> str:
    y = TOP + ROW * place
    longest = int(LABELS / CHAR) - 2
    name = step.id if len(step.id) <= longest else step.id[: longest - 1] + "…"
    tip = escape("\n".join(filter(None, (f"{step.id}: {step.state}, {seconds_told(step.seconds)}", step.why))))
    return (
        f'<g><title>{tip}</title><text class="name" x="{LABELS - 10}" y="{y + 15:.1f}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="box {step.state.replace(" ", "-")}" x="{x:.1f}" y="{y + 3:.1f}" width="{width:.1f}" height="{ROW - 6}" rx="3"/>'
        f'<text class="dim" x="{x + width + 6:.1f}" y="{y + 15:.1f}">{seconds_told(step.seconds)}</text></g>'
    )
