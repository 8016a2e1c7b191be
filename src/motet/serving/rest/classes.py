"""What the page may call the places of columns: the names of classes, where the graph itself says whose they are.

Names come from the types of columns, which carry a model's labels, and from `motet.ops.scores.label`, which names the
positions that `top1`, `topk` or `argmax` found in a column. Nothing is named for having as many places as there are names.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from motet.graph.check import CheckedGraph
from motet.graph.function import Function
from motet.graph.node import Node
from motet.types import is_keeping_labels

__all__ = ["Classes", "classes_of"]

Labels = tuple[str, ...]
_SCORES = "motet.ops.scores."
_FINDERS = {f"{_SCORES}{name}": output for name, output in (("top1", "index"), ("topk", "indices"), ("argmax", ""))}
"""What finds positions in its input, and the output that they are."""
_SAME_PLACES = ("average", "weighted_average", "majority_vote", "max", "median", None)
"""How members are combined so that each has the places of the whole; None for those that are chosen from."""


@dataclass
class Classes:
    """Names by full column name.

    Attributes:
        places: of the places of a column's last axis.
        positions: of the numbers that a column holds.
    """

    places: dict[str, Labels] = field(default_factory=dict)
    positions: dict[str, Labels] = field(default_factory=dict)


def classes_of(checked: CheckedGraph) -> Classes:
    """The names that a graph says, for its columns and those of its members."""
    found = Classes({column: kind.labels for column, kind in checked.columns.items() if kind.labels})
    nodes = checked.graph.nodes
    for name in reversed(checked.order):
        function = _function(nodes[name])
        if function is None:
            _tell_members(nodes[name], checked.columns, found)
        else:
            _tell_input(name, function, nodes[name], checked, found)
    for name in checked.order:
        function = _function(nodes[name])
        if function is not None and function.path in _FINDERS:
            labels = found.places.get(checked.canonical[nodes[name].inputs.columns[0]])
            if labels:
                found.positions[_full(name, _FINDERS[function.path])] = labels
    return found


def _full(node: str, output: str) -> str:
    return f"{node}.{output}" if output else node


def _function(node: Node) -> Function | None:
    function = getattr(node, "function", None)
    return function if isinstance(function, Function) and node.inputs.columns else None


def _tell_input(name: str, function: Function, node: Node, checked: CheckedGraph, found: Classes) -> None:
    """Tell the first input of a function what is known of what it gives."""
    column = checked.canonical[node.inputs.columns[0]]
    if function.path == f"{_SCORES}label":
        labels = function.keywords.get("labels")
        if isinstance(labels, (list, tuple)):
            found.positions.setdefault(column, tuple(labels))
    elif function.path in _FINDERS:
        labels = found.positions.get(_full(name, _FINDERS[function.path]))
        if labels:
            found.places.setdefault(column, labels)
    elif name in found.places and is_keeping_labels(function.resolve()):
        found.places.setdefault(column, found.places[name])


def _tell_members(node: Node, columns: Container[str], found: Classes) -> None:
    """Tell members, whose answers have the places of the whole."""
    combine = getattr(node, "combine", None)
    if combine not in _SAME_PLACES:
        return
    for column in list(found.places):
        owner, _, output = column.partition(".")
        if owner == node.name and "." not in output:
            for member in node.members:
                inner = f"{owner}.{member.name}.{member.output or output}"
                if inner in columns or combine is None:
                    found.places.setdefault(inner, found.places[column])
