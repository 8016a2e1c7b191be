"""A graph as a Mermaid flowchart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from motet.graph.check import CheckedGraph
from motet.graph.draw.parts import OUTPUT, Box, picture

__all__ = ["box_around", "draw_mermaid"]

_SHAPES = {"input": ("([", "])"), "output": ("([", "])"), "map": ("[", "]"), "model": ("[[", "]]")}
_CLASSES = {
    "input": "fill:#e8f0fe,stroke:#4a78c2,color:#111", "output": "fill:#e6f4ea,stroke:#3d8b57,color:#111",
    "map": "fill:#f5f5f5,stroke:#777,color:#111", "model": "fill:#fff4e0,stroke:#c98a1b,color:#111",
    "ensemble": "fill:#fdeaf3,stroke:#b8437f,color:#111", "route": "fill:#efe9fd,stroke:#6f4fc4,color:#111",
    "cascade": "fill:#e3f6f8,stroke:#2a8c9a,color:#111", "shard": "fill:#fbeae5,stroke:#b5532f,color:#111",
    "member": "fill:#fff,stroke:#999,color:#111",
}  # fmt: skip
_BREAK = "<br/>"


def draw_mermaid(checked: CheckedGraph) -> str:
    """Draw a graph as Mermaid's `flowchart LR`: nodes of several members are boxes around them."""
    drawn = picture(checked)
    lines = ["flowchart LR"]
    for box in drawn.boxes:
        lines += [f"  {line}" for line in _box(box)]
    for edge in drawn.edges:
        lines.append(f'  {_id(edge.source)} -- "{_escape(edge.type)}" --> {_id(edge.target)}')
    named: dict[str, list[str]] = {}
    for box in drawn.boxes:
        named.setdefault(box.kind, []).append(_id(box.name))
        named.setdefault("member", []).extend(_members(box))
    used = [kind for kind in _CLASSES if named.get(kind)]
    lines += [f"  classDef {kind} {_CLASSES[kind]}" for kind in used]
    lines += [f"  class {','.join(named[kind])} {kind}" for kind in used]
    return "\n".join(lines)


def box_around(title: str, name: str, nodes: Iterable[str]) -> list[str]:
    """The lines of a box around nodes of a drawing."""
    return [f"  subgraph {name}[{_label([title])}]", *(f"    {_id(node)}" for node in nodes), "  end"]


def _box(box: Box) -> list[str]:
    about = [each for each in (box.does, ", ".join(box.settings)) if each]
    if box.kind in ("input", "output"):
        about = [box.gives[""], *box.settings]
        return [_shape(_id(box.name), box.kind, [box.title, *about])]
    head = f"{box.title}: {box.kind}"
    members = _members(box)
    if not members:
        return [_shape(_id(box.name), box.kind, [head, *about, *(chip.uses for chip in box.chips)])]
    title = _label([", ".join([head, *about])])  # of several lines Mermaid hides all but the first
    lines = [f"subgraph {_id(box.name)}[{title}]", "  direction TB"]
    for name, chip in zip(members, box.chips, strict=True):
        lines.append("  " + _shape(name, "member", [chip.label, chip.note]))
    link = '-- "not sure" -->' if box.kind == "cascade" else "~~~"
    return [*lines, *(f"  {one} {link} {other}" for one, other in pairwise(members)), "end"]


def _members(box: Box) -> list[str]:
    """The ids of the members that are drawn: a single one is named in its node."""
    return [f"{_id(box.name)}_{place}" for place in range(len(box.chips))] if len(box.chips) > 1 else []


def _shape(name: str, kind: str, texts: list[str]) -> str:
    first, last = _SHAPES.get(kind, ("[", "]"))
    return f"{name}{first}{_label(texts)}{last}"


def _label(texts: list[str]) -> str:
    return f'"{_BREAK.join(_escape(text) for text in texts if text)}"'


def _id(name: str) -> str:
    """A name that Mermaid takes for an id, different for different names; `end` alone would end a subgraph."""
    plain = re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):x}_", name.removeprefix(OUTPUT))
    return ("out_" if name.startswith(OUTPUT) else "n_") + plain


def _escape(text: str) -> str:
    """Mermaid's own way to write what would mean something to it, to Markdown or to HTML: `#number;`."""
    return re.sub(r"""[^\w\s.,:/=+()\[\]?%…·'-]|(?<=\d)\.(?=\s)""", lambda match: f"#{ord(match[0])};", text)
