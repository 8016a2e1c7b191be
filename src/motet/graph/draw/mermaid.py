"""A graph as a Mermaid flowchart."""

from __future__ import annotations

import re

from motet.graph.check import CheckedGraph
from motet.graph.draw.parts import OUTPUT, Box, picture

__all__ = ["draw_mermaid"]

_SHAPES = {"input": ("([", "])"), "output": ("([", "])"), "map": ("[", "]"), "model": ("[[", "]]")}
_CLASSES = {
    "input": "fill:#e8f0fe,stroke:#4a78c2,color:#111", "output": "fill:#e6f4ea,stroke:#3d8b57,color:#111",
    "map": "fill:#f5f5f5,stroke:#777,color:#111", "model": "fill:#fff4e0,stroke:#c98a1b,color:#111",
    "ensemble": "fill:#fdeaf3,stroke:#b8437f,color:#111", "route": "fill:#efe9fd,stroke:#6f4fc4,color:#111",
    "cascade": "fill:#e3f6f8,stroke:#2a8c9a,color:#111", "shard": "fill:#fbeae5,stroke:#b5532f,color:#111",
}  # fmt: skip


def draw_mermaid(checked: CheckedGraph) -> str:
    """Draw a graph as Mermaid's `flowchart LR`: nodes of several members are boxes around them."""
    drawn = picture(checked)
    lines = ["flowchart LR"]
    for box in drawn.boxes:
        lines += [f"  {line}" for line in _box(box)]
    for edge in drawn.edges:
        lines.append(f"  {_id(edge.source)} -- {_label(edge.type)} --> {_id(edge.target)}")
    used = [kind for kind in _CLASSES if any(box.kind == kind for box in drawn.boxes)]
    lines += [f"  classDef {kind} {_CLASSES[kind]}" for kind in used]
    lines += [f"  class {','.join(_id(box.name) for box in drawn.boxes if box.kind == kind)} {kind}" for kind in used]
    return "\n".join(lines)


def _box(box: Box) -> list[str]:
    name = box.name.removeprefix(OUTPUT)
    if len(box.chips) > 1:
        title = _label(f"{name}: {box.kind}" + (f"<br/>{_escape(box.title)}" if box.title else ""), raw=True)
        lines = [f"subgraph {_id(box.name)}[{title}]", "  direction TB"]
        for place, chip in enumerate(box.chips):
            note = f"<br/>{_escape(chip.note)}" if chip.note else ""
            lines.append(f"  {_id(box.name)}_{place}[{_label(_escape(chip.name) + note, raw=True)}]")
        return [*lines, "end"]
    first, last = _SHAPES.get(box.kind, ("[", "]"))
    detail = {"input": box.gives.get("", ""), "output": ""}.get(box.kind, box.title)
    kind = "" if box.kind in ("input", "output") else f": {box.kind}"
    uses = "".join(f"<br/>{_escape(chip.uses)}" for chip in box.chips)
    text = _escape(name) + kind + (f"<br/>{_escape(detail)}" if detail else "") + uses
    return [f"{_id(box.name)}{first}{_label(text, raw=True)}{last}"]


def _id(name: str) -> str:
    """A name that Mermaid takes for an id, different for different names; `end` alone would end a subgraph."""
    plain = re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):x}_", name.removeprefix(OUTPUT))
    return ("out_" if name.startswith(OUTPUT) else "n_") + plain


def _escape(text: str) -> str:
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("`", "&#96;")
    )


def _label(text: str, *, raw: bool = False) -> str:
    return f'"{text if raw else _escape(text)}"'
