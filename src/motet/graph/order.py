"""In which order nodes are played, and which of them outputs need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from motet.errors import CycleError, UnknownNameError
from motet.graph.graph import GraphSpec

__all__ = ["needed_nodes", "order_of"]


def order_of(graph: GraphSpec) -> tuple[str, ...]:
    """All nodes, each behind those it needs.

    Raises:
        UnknownNameError: when a reference names neither an input nor a node.
        CycleError: when nodes wait for each other.
    """
    known = [*graph.inputs, *graph.nodes]
    needs: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        needs[name] = []
        for reference in node.references():
            _known(reference, known, node.where)
            first = reference.split(".")[0]
            if first in graph.nodes and first not in needs[name]:
                needs[name].append(first)
    for name, reference in graph.outputs.items():
        _known(reference, known, f"output {name!r}")
    return _sorted(needs)


def _known(reference: str, known: Sequence[str], where: str) -> None:
    if reference not in known and reference.split(".")[0] not in known:
        raise UnknownNameError("column", reference, known, where=where)


def _sorted(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    order: dict[str, None] = {}
    for root in needs:
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            name, done = stack.pop()
            if done:
                order[path.pop()] = None
            elif name in path:
                raise CycleError([*path[path.index(name) :], name])
            elif name not in order:
                path.append(name)
                stack.append((name, True))
                stack += [(need, False) for need in reversed(needs[name])]
    return tuple(order)


def needed_nodes(graph: GraphSpec, order: Sequence[str]) -> tuple[str, ...]:
    """Of nodes in order those that the outputs need."""
    wanted = {reference.split(".")[0] for reference in graph.outputs.values()}
    for name in reversed(order):
        if name in wanted:
            wanted |= {reference.split(".")[0] for reference in graph.nodes[name].references()}
    return tuple(name for name in order if name in wanted)
