"""What each node of a graph is given, gives, and needs of its models: looked up before the first batch."""

from __future__ import annotations

from motet.graph.check import CheckedGraph, outer_outputs
from motet.graph.node import Node
from motet.runtime.host import Host
from motet.runtime.shadows import Shadow
from motet.runtime.stats import GraphState, NodeStats
from motet.runtime.turns import NodeStep

__all__ = ["plan"]


def plan(checked: CheckedGraph, host: Host, state: GraphState, path: str, *, keep_all: bool) -> list[NodeStep]:
    """The turns of a graph's nodes, in order: what each is given and must give, and what nobody needs after it.

    Args:
        checked: the graph.
        host: is told which outputs of its models are needed; where it is of a bulk run every member is on the way of the answer.
        state: is given a place for each node, and for each member that is not.
        path: the graphs it stands in.
        keep_all: whether every column is needed.
    """
    graph, canonical = checked.graph, checked.canonical
    steps: list[NodeStep] = []
    needed = {checked.canonical[reference] for reference in checked.graph.outputs.values()}
    for name in reversed(checked.order):
        node = graph.nodes[name]
        columns = tuple((reference, canonical[reference]) for reference in node.references())
        drops = tuple({column for _, column in columns} - needed)
        gives = frozenset(column for column in needed if column.split(".")[0] == name)
        needed |= {column for _, column in columns}
        shadows = node.shadows(gives) if host.run is None and not keep_all else frozenset()
        asides = tuple(member for member in node.members if member.name in shadows)
        played = node.beside(shadows) if asides else node
        for member in asides:
            state.shadows.setdefault((f"{path}{name}", member.name), Shadow())
        needs = _needs(node, gives, checked, host, keep_all=keep_all)
        steps.append(NodeStep(name, node, columns, drops, f"{path}{name}", gives, needs, played, asides))
        state.stats.setdefault(f"{path}{name}", NodeStats())
    steps.reverse()
    for step in steps:
        state.stats[step.path] = state.stats.pop(step.path)
    return steps


def _needs(
    node: Node, gives: frozenset[str], checked: CheckedGraph, host: Host, *, keep_all: bool
) -> dict[str, tuple[str, ...]]:
    """The outputs of its models that a node needs, where it does not need all, of which the host is told."""
    models = {member.uses: checked.graph.models.get(member.uses) for member in node.members}
    outputs = {
        uses: tuple(outer_outputs(model, checked.signatures[uses]))
        for uses, model in models.items()
        if model is not None
    }
    if keep_all:
        return {}
    needs = node.needs(outputs, gives)
    found: dict[str, tuple[str, ...]] = {}
    for uses, every in outputs.items():
        some = tuple(output for output in every if output in needs[uses])
        model = checked.graph.models[uses]
        if model.after or len(some) == len(every):
            host.need(model, checked.graph.folder, None)
        else:
            host.need(model, checked.graph.folder, some)
            found[uses] = some
    return found
