"""The steps of a run as an SVG image: boxes in layers from left to right, coloured by what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from motet.graph.draw.layout import GAP_X, Spot, arrange, curve
from motet.workflow.record.runs import StepRow

__all__ = ["MOST_BOXES", "StepBox", "boxes_of", "draw_steps", "seconds_told"]

MOST_BOXES = 60
"""Runs of more steps are drawn by function."""
CHAR, LINE, PAD, ARROW, LONGEST = 7.3, 17.0, 11.0, 7.0, 30
_ORDER = ("failed", "running", "cancelled", "skipped", "waiting", "done", "resumed", "hit", "left out")


@dataclass(frozen=True)
class StepBox:
    """A step, or all steps of a function.

    Attributes:
        id: its name.
        state: what became of it; of several steps the one that matters most.
        lines: what is written in it.
        tip: what is said when it is pointed at.
        needs: the boxes that it waits for.
    """

    id: str
    state: str
    lines: tuple[str, ...]
    tip: str
    needs: tuple[str, ...]


def boxes_of(steps: Sequence[StepRow]) -> list[StepBox]:
    """The boxes of a run, in an order in which each stands behind those it needs."""
    if len(steps) <= MOST_BOXES:
        return [_of_step(each) for each in _sorted(steps)]
    groups: dict[str, list[StepRow]] = {}
    names = {each.id: each.function.partition(" ")[0] for each in steps}
    for each in _sorted(steps):
        groups.setdefault(names[each.id], []).append(each)
    needs = {
        name: {names[other] for each in rows for other in each.needs if other in names} - {name}
        for name, rows in groups.items()
    }
    boxes = [_of_group(name, rows, tuple(sorted(needs[name]))) for name, rows in groups.items()]
    return _without_loops(boxes)[:MOST_BOXES]


def _without_loops(boxes: list[StepBox]) -> list[StepBox]:
    """Boxes in order; what a group waits for in one that waits for it is left out."""
    found: list[StepBox] = []
    for box in boxes:
        known = {each.id for each in found}
        found.append(replace(box, needs=tuple(each for each in box.needs if each in known)))
    return found


def _sorted(steps: Sequence[StepRow]) -> list[StepRow]:
    """Steps behind those that they need, which is mostly the order in which they were called."""
    known = {each.id: each for each in steps}
    done: dict[str, StepRow] = {}
    for step in steps:
        way = [step]
        while way:
            missing = [known[name] for name in way[-1].needs if name in known and name not in done]
            if missing and len(way) <= len(known):
                way.append(missing[0])
            else:
                done.setdefault(way[-1].id, way.pop())
    return list(done.values())


def _of_step(step: StepRow) -> StepBox:
    timed = step.state in ("done", "hit", "failed", "running") and step.seconds
    lines = (step.id, f"{step.state} · {seconds_told(step.seconds)}" if timed else step.state)
    tip = "\n".join(filter(None, (step.function, step.why, step.error)))
    return StepBox(step.id, step.state, lines, tip, step.needs)


def _of_group(name: str, rows: Sequence[StepRow], needs: tuple[str, ...]) -> StepBox:
    counts = Counter(each.state for each in rows)
    state = min(counts, key=_ORDER.index)
    told = [f"{count:,} {each}" for each, count in sorted(counts.items(), key=lambda item: _ORDER.index(item[0]))]
    lines = (f"{name} × {len(rows):,}", ", ".join(told), seconds_told(sum(each.seconds for each in rows)))
    return StepBox(name, state, lines, rows[0].function, needs)


def draw_steps(boxes: Sequence[StepBox]) -> str:
    """Draw boxes and what they wait for; the group of each has `data-step` and `data-state`."""
    if not boxes:
        return ""
    known = {each.id for each in boxes}
    edges = [(name, box.id) for box in boxes for name in dict.fromkeys(box.needs) if name in known]
    sizes = {box.id: _size(box) for box in boxes}
    placed = arrange(sizes, edges, (), lambda place: GAP_X)
    size = f'width="{placed.width:.0f}" height="{placed.height:.0f}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {placed.width:.0f} {placed.height:.0f}" {size}>']
    parts += [_path(way) for way in placed.ways]
    parts += [_box(box, placed.spots[box.id]) for box in boxes]
    return "".join([*parts, "</svg>"])


def _size(box: StepBox) -> tuple[float, float]:
    return max(len(_cut(line)) for line in box.lines) * CHAR + 2 * PAD, 2 * PAD + LINE * len(box.lines) - 4


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _box(box: StepBox, spot: Spot) -> str:
    kind = box.state.replace(" ", "-")
    frame = f'x="{spot.x:.1f}" y="{spot.y:.1f}" width="{spot.width:.1f}" height="{spot.height:.1f}" rx="8"'
    parts = [f'<g data-step="{escape(box.id)}" data-state="{box.state}"><title>{escape(box.tip)}</title>']
    parts.append(f'<rect class="box {kind}" {frame}/>')
    for place, line in enumerate(box.lines):
        x, y = spot.x + PAD, spot.y + PAD + LINE * place + 9
        parts.append(f'<text class="{"dim" if place else "name"}" x="{x:.1f}" y="{y:.1f}">{escape(_cut(line))}</text>')
    return "".join([*parts, "</g>"])


def _path(way: Sequence[Spot]) -> str:
    path, x, y = curve(way, ARROW)
    return f'<path class="edge" d="{path}"/><path class="tip" d="M{x + ARROW:.1f},{y:.1f} l-8,-4 v8 z"/>'


def seconds_told(seconds: float) -> str:
    """A time in short: `3 ms`, `4.2 s`, `7.5 min`, `2.1 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
