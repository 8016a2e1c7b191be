"""What is drawn of a graph, whatever the form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motet.errors import GraphError
from motet.graph.check import CheckedGraph
from motet.graph.function import Function
from motet.graph.input import Input
from motet.graph.node import Node
from motet.types import ColumnType

__all__ = ["OUTPUT", "Box", "Chip", "Edge", "Picture", "columns_of", "cut", "picture"]

VALUE_LENGTH = 40
"""Longer values of settings are cut."""
OUTPUT = "output:"
"""Stands before the names of outputs, which may be those of nodes."""


@dataclass(frozen=True)
class Chip:
    """A member of a node.

    Attributes:
        name: its name.
        note: its weight, share, condition or threshold; empty where it has none.
        uses: the name of the model or graph.
        uri: where the model is; empty for a graph.
    """

    name: str
    note: str
    uses: str
    uri: str

    @property
    def label(self) -> str:
        """Its name, and what it uses where that has another."""
        return self.name if self.name == self.uses else f"{self.name}: {self.uses}"


@dataclass(frozen=True)
class Box:
    """An input, a node, or an output.

    Attributes:
        name: its name; that of an output stands behind `OUTPUT`.
        kind: `input`, `output`, or the kind of the node.
        does: the function of a map node, or the column that an output shows.
        settings: what else it says of itself, in short.
        chips: its members.
        gives: the types of its columns, by the part of their names behind its own.
    """

    name: str
    kind: str
    does: str
    settings: tuple[str, ...]
    chips: tuple[Chip, ...]
    gives: Mapping[str, str]

    @property
    def title(self) -> str:
        """Its name as people know it."""
        return self.name.removeprefix(OUTPUT)

    @property
    def columns(self) -> list[str]:
        """Its columns with their types."""
        return [f"{self.title}{'.' if name else ''}{name}: {kind}" for name, kind in self.gives.items()]


@dataclass(frozen=True)
class Edge:
    """A column on its way.

    Attributes:
        source: the box that gives it.
        target: the box that takes it.
        column: its name, as the target has it.
        type: its type.
    """

    source: str
    target: str
    column: str
    type: str


@dataclass(frozen=True)
class Picture:
    """Boxes in an order in which each stands behind those it needs, and the edges between them."""

    name: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def picture(checked: CheckedGraph) -> Picture:
    """What is drawn of a graph."""
    graph = checked.graph
    boxes = [Box(name, "input", "", _default(each), (), {"": str(each.type)}) for name, each in graph.inputs.items()]
    edges: list[Edge] = []
    for name in checked.order:
        node = graph.nodes[name]
        does, settings = _about(node)
        boxes.append(Box(name, node.kind, does, settings, _chips(checked, node), _gives(checked, name)))
        edges += [_edge(checked, reference, name) for reference in node.references()]
    for name, reference in graph.outputs.items():
        kind = str(checked.signature.outputs[name])
        boxes.append(Box(OUTPUT + name, "output", reference, (), (), {"": kind}))
        edges.append(_edge(checked, reference, OUTPUT + name))
    return Picture(graph.name, tuple(boxes), tuple(edges))


def _edge(checked: CheckedGraph, reference: str, target: str) -> Edge:
    full = checked.canonical[reference]
    source = reference if reference in checked.graph.inputs else reference.split(".")[0]
    return Edge(source, target, reference, str(checked.columns[full]))


def columns_of(checked: CheckedGraph, name: str) -> dict[str, ColumnType]:
    """The main columns of a node by full name, and `node.member`; those of an ensemble's members are left out."""
    node = checked.graph.nodes[name]
    own = [f"{name}.{member.name}." for member in node.members] if node.kind == "ensemble" else []
    return {
        full: kind
        for full, kind in checked.columns.items()
        if (full == name or full.startswith(f"{name}.")) and not full.startswith(tuple(own))
    }


def _gives(checked: CheckedGraph, name: str) -> dict[str, str]:
    """The types of a node's main columns, by the part of their names behind the node's."""
    return {full.removeprefix(name).removeprefix("."): str(kind) for full, kind in columns_of(checked, name).items()}


def _default(each: Input) -> tuple[str, ...]:
    return (f"default: {_short(each.default)}",) if each.has_default else ()


def _about(node: Node) -> tuple[str, tuple[str, ...]]:
    """The function of a map node, and the settings of any node."""
    function = getattr(node, "function", None)
    if function is not None:
        return str(function), tuple(f"{key}={_short(value)}" for key, value in function.keywords.items())
    return "", tuple(f"{key}: {_short(value)}" for key, value in _options(node).items())


def _options(node: Node) -> dict[str, Any]:
    """What a node says of itself besides its members and what is shown with them."""
    try:
        written = node.write()
    except GraphError:  # a function that no file can name: drawn all the same
        written = {key: value for key in node.keys if (value := getattr(node, key, None)) is not None}
    shown_with_members = (node.kind, "weights", "split", "when", "until", "otherwise")
    return {key: value for key, value in written.items() if key not in shown_with_members and value != ()}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else str(value) if isinstance(value, Function) else repr(value)
    return cut(" ".join(text.split()), VALUE_LENGTH)


def cut(text: str, length: int) -> str:
    """A text of at most so many letters; one that is longer ends in three dots."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _chips(checked: CheckedGraph, node: Node) -> tuple[Chip, ...]:
    models = checked.graph.models
    return tuple(
        Chip(each.name, _note(node, place, each.name), each.uses, models[each.uses].uri if each.uses in models else "")
        for place, each in enumerate(node.members)
    )


def _note(node: Node, place: int, name: str) -> str:
    weights = getattr(node, "weights", ())
    if weights and any(weight != 1 for weight in weights):
        return f"weight {weights[place]:g}" if weights[place] else "does not count"
    split = getattr(node, "split", None)
    if split:
        return f"{100 * split.get(name, 0) / sum(split.values()):.4g} % of rows"
    when = getattr(node, "when", None)
    if when:
        return f"when {when[name]}" if name in when else "otherwise"
    confidence = getattr(node, "confidence", ())
    if confidence:
        classes = len(getattr(node, "by_class", {}).get(name, ()))
        others = f", {classes} classes otherwise" if classes else ""
        return f"if sure by {confidence[place]:g}{others}" if place < len(confidence) else "in any case"
    return ""
