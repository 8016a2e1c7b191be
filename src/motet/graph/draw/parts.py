"""What is drawn of a graph, whatever the form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motet.errors import GraphError
from motet.graph.check import CheckedGraph
from motet.graph.node import Node
from motet.types import ColumnType

__all__ = ["OUTPUT", "Box", "Chip", "Edge", "Picture", "columns_of", "picture"]

_VALUE_LENGTH = 40


@dataclass(frozen=True)
class Chip:
    """A member of a node.

    Attributes:
        name: its name.
        note: its weight, share, keys, condition or threshold; empty where it has none.
        uses: the model's URI, or the graph.
        graph: the name of the graph that it is, empty for a model.
    """

    name: str
    note: str
    uses: str
    graph: str


@dataclass(frozen=True)
class Box:
    """An input, a node, or an output.

    Attributes:
        name: its name.
        kind: `input`, `output`, or the kind of the node.
        title: what it does, in short.
        chips: its members.
        gives: the types of its columns, by the part of their names behind the node's.
    """

    name: str
    kind: str
    title: str
    chips: tuple[Chip, ...]
    gives: Mapping[str, str]


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


OUTPUT = "output:"
"""Stands before the names of outputs, which may be those of nodes."""


def picture(checked: CheckedGraph) -> Picture:
    """What is drawn of a graph."""
    graph = checked.graph
    boxes = [Box(name, "input", "", (), {"": str(each.type)}) for name, each in graph.inputs.items()]
    edges: list[Edge] = []
    for name in checked.order:
        node = graph.nodes[name]
        boxes.append(Box(name, node.kind, _title(node), _chips(checked, node), _gives(checked, name)))
        edges += [_edge(checked, reference, name) for reference in node.references()]
    for name, reference in graph.outputs.items():
        kind = str(checked.signature.outputs[name])
        boxes.append(Box(OUTPUT + name, "output", reference, (), {"": kind}))
        edges.append(_edge(checked, reference, OUTPUT + name))
    return Picture(graph.name, tuple(boxes), tuple(edges))


def _edge(checked: CheckedGraph, reference: str, target: str) -> Edge:
    full = checked.canonical[reference]
    return Edge(reference.split(".")[0], target, reference, str(checked.columns[full]))


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


def _title(node: Node) -> str:
    function = getattr(node, "function", None)
    if function is not None:
        keywords = ", ".join(f"{key}={_short(value)}" for key, value in function.keywords.items())
        return f"{function}" + (f" ({keywords})" if keywords else "")
    return ", ".join(f"{key}: {_short(value)}" for key, value in _options(node).items())


def _options(node: Node) -> dict[str, Any]:
    """What a node says of itself besides its members and what is shown with them."""
    try:
        written = node.write()
    except GraphError:  # a function that no file can name: drawn all the same
        return {}
    shown_with_members = (node.kind, "weights", "split", "when", "until")
    return {key: value for key, value in written.items() if key not in shown_with_members}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _VALUE_LENGTH else text[: _VALUE_LENGTH - 1] + "…"


def _chips(checked: CheckedGraph, node: Node) -> tuple[Chip, ...]:
    graph = checked.graph
    chips = []
    for place, member in enumerate(node.members):
        model = graph.models.get(member.uses)
        uses = model.uri if model else f"graph {member.uses}"
        chips.append(Chip(member.name, _note(node, place, member.name), uses, "" if model else member.uses))
    return tuple(chips)


def _note(node: Node, place: int, name: str) -> str:
    weights = getattr(node, "weights", ())
    if weights and any(weight != 1 for weight in weights):
        return f"weight {weights[place]:g}" if weights[place] else "shadow"
    split = getattr(node, "split", None)
    if split:
        return f"{split[name] / sum(split.values()):.4g} of the rows"
    when = getattr(node, "when", None)
    if when:
        return f"when {when[name]}" if name in when else "otherwise"
    confidence = getattr(node, "confidence", ())
    if confidence:
        return f"until {confidence[place]:g}" if place < len(confidence) else "in any case"
    return ""
