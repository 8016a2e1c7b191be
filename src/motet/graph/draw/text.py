"""A graph as a tree for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from motet.graph.check import CheckedGraph
from motet.graph.draw.parts import Box, Chip, picture

__all__ = ["draw_text"]

WIDTH = 80
NARROWEST = 40
"""Graphs deep inside others are not drawn narrower than this."""


def draw_text(checked: CheckedGraph) -> str:
    """Draw a graph as text: inputs, nodes in the order of play with their members, outputs.

    A graph that is a member stands under it, indented, the first time that it is used.
    """
    return "\n".join([checked.graph.name, *_tree(checked, WIDTH)])


def _tree(checked: CheckedGraph, width: int) -> list[str]:
    drawn = picture(checked)
    takes: dict[str, list[str]] = {}
    for edge in drawn.edges:
        takes.setdefault(edge.target, []).append(edge.column)
    shown: set[str] = set()
    parts = [_box(checked, box, takes.get(box.name, []), shown, width - 3) for box in drawn.boxes]
    return _branches(parts)


def _branches(parts: Sequence[Sequence[str]]) -> list[str]:
    """Parts of some lines each as branches of a tree."""
    lines: list[str] = []
    for place, part in enumerate(parts):
        first, rest = ("└─ ", "   ") if place == len(parts) - 1 else ("├─ ", "│  ")
        lines += [first + part[0], *((rest + line).rstrip() for line in part[1:])]
    return lines


def _box(checked: CheckedGraph, box: Box, takes: Sequence[str], shown: set[str], width: int) -> list[str]:
    if box.kind == "input":
        return [f"{box.title}: {box.gives['']}  (input)", *_filled("   ", box.settings, width)]
    if box.kind == "output":
        return [f"{box.title}: {box.gives['']}  (output) ← {box.does}"]
    lines = _filled(f"{box.title}  [{box.kind}] ← ", takes or ["nothing"], width)
    lines += _filled("   ", [box.does] if box.does else [], width)
    lines += _filled("   ", box.settings, width)
    lines += [f"   {line}" for line in _members(checked, box.chips, shown, width - 3)]
    return lines + _filled("   → ", box.columns or ["nothing"], width)


def _filled(start: str, items: Sequence[str], width: int) -> list[str]:
    """Items behind a start, as many a line as fit."""
    lines: list[str] = []
    line = start
    for place, item in enumerate(items):
        text = item + ("," if place < len(items) - 1 else "")
        if line.strip() and line != start and len(line) + 1 + len(text) > width:
            lines.append(line)
            line = " " * min(len(start), NARROWEST // 2)
        line += text if line in (start, " " * len(line)) else f" {text}"
    return [*lines, line] if items else []


def _members(checked: CheckedGraph, chips: Sequence[Chip], shown: set[str], width: int) -> list[str]:
    names = max((len(chip.name) for chip in chips), default=0)
    notes = min(max((len(chip.note) for chip in chips), default=0), 2 * width // 3)
    parts = []
    for chip in chips:
        line = f"{chip.name.ljust(names)}  {chip.note.ljust(notes)}{'  ' if notes else ''}"
        parts.append([line + _uses(chip, shown, width - 3 - len(line)), *_inside(checked, chip, shown, width - 3)])
    return _branches(parts)


def _uses(chip: Chip, shown: set[str], room: int) -> str:
    """Where a member's model is, the end of it where all is too long; or the graph that it is."""
    if not chip.uri:
        return f"graph {chip.uses}{', see above' if chip.uses in shown else ''}"
    room = max(room, 16)
    return chip.uri if len(chip.uri) <= room else "…" + chip.uri[1 - room :]


def _inside(checked: CheckedGraph, chip: Chip, shown: set[str], width: int) -> list[str]:
    """The graph that a member is, the first time."""
    if chip.uri or chip.uses in shown:
        return []
    shown.add(chip.uses)
    return _tree(checked.graphs[chip.uses], max(width, NARROWEST))
