"""A graph as a tree for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from motet.graph.check import CheckedGraph
from motet.graph.draw.parts import OUTPUT, Box, Chip, picture

__all__ = ["draw_text"]


def draw_text(checked: CheckedGraph) -> str:
    """Draw a graph as text: inputs, nodes in the order of play with their members, outputs; graphs inside follow."""
    lines = _graph(checked, picture(checked).name)
    for name, inner in checked.graphs.items():
        lines += ["", *_graph(inner, f"{name} (a graph inside {checked.graph.name})")]
    return "\n".join(lines)


def _graph(checked: CheckedGraph, title: str) -> list[str]:
    drawn = picture(checked)
    takes: dict[str, list[str]] = {}
    for edge in drawn.edges:
        takes.setdefault(edge.target, []).append(edge.column)
    lines = [title]
    for place, box in enumerate(drawn.boxes):
        last = place == len(drawn.boxes) - 1
        first, rest = ("└─ ", "   ") if last else ("├─ ", "│  ")
        body = _box(box, takes.get(box.name, []))
        lines += [first + body[0], *(rest + line for line in body[1:])]
    return lines


def _box(box: Box, takes: Sequence[str]) -> list[str]:
    if box.kind == "input":
        return [f"{box.name}: {box.gives['']}  (input)"]
    if box.kind == "output":
        return [f"{box.name.removeprefix(OUTPUT)}: {box.gives['']}  (output) ← {box.title}"]
    lines = [f"{box.name}  [{box.kind}] ← {', '.join(takes) or 'nothing'}"]
    if box.title:
        lines.append(f"   {box.title}")
    lines += _members(box.chips)
    gives = ", ".join(f"{box.name}{'.' if name else ''}{name}: {kind}" for name, kind in box.gives.items())
    return [*lines, f"   → {gives}"]


def _members(chips: Sequence[Chip]) -> list[str]:
    names = max((len(chip.name) for chip in chips), default=0)
    notes = max((len(chip.note) for chip in chips), default=0)
    lines = []
    for place, chip in enumerate(chips):
        note = f"{chip.note.ljust(notes)}  " if notes else ""
        lines.append(f"   {'└' if place == len(chips) - 1 else '├'}─ {chip.name.ljust(names)}  {note}{chip.uses}")
    return lines
