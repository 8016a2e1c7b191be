"""Which nodes of a graph are kept, and which are played again for each setting."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from motet.errors import UnknownNameError
from motet.graph.check import CheckedGraph
from motet.nodes.cascade import Cascade
from motet.nodes.ensemble import Ensemble

__all__ = ["KeptNode", "ReplayParts", "column_named", "replay_parts"]

KeptNode = Cascade | Ensemble
"""Nodes of which every member's answers are kept."""


@dataclass(frozen=True)
class ReplayParts:
    """A graph in parts.

    Attributes:
        before: nodes that are played once, in order.
        kept: the cascades and ensembles that depend on no other one, as they are played here: waiting for all members.
        after: nodes behind them, which are played again for each setting, in order.
        passed: the columns from before that those behind need, by full name.
        wanted: the columns that are asked for, by full name.
    """

    before: tuple[str, ...]
    kept: Mapping[str, KeptNode]
    after: tuple[str, ...]
    passed: tuple[str, ...]
    wanted: tuple[str, ...]


def column_named(checked: CheckedGraph, name: str, where: str) -> str:
    """The full name of an output of a graph, or of one of its columns.

    Raises:
        UnknownNameError: when there is no such output or column.
    """
    reference = checked.graph.outputs.get(name, name)
    full = checked.canonical.get(reference, reference)
    if full not in checked.columns:
        raise UnknownNameError("output", name, [*checked.graph.outputs, *checked.columns], where=where)
    return full


def replay_parts(checked: CheckedGraph, wanted: Sequence[str]) -> ReplayParts:
    """Take a graph apart.

    Args:
        checked: the graph.
        wanted: the columns that are asked for, by full name; what none of them needs is left out.
    """
    graph = checked.graph
    needs = {name: _needs(checked, name) for name in checked.order}
    asked = {name for column in wanted for name in _upstream(column.split(".")[0], needs)}
    order = [name for name in checked.order if name in asked]
    several = {name for name in order if isinstance(graph.nodes[name], KeptNode)}
    kept = {
        name: _patient(graph.nodes[name]) for name in order if name in several and not _above(name, needs) & several
    }
    after = tuple(name for name in order if _above(name, needs) & set(kept))
    before = tuple(name for name in order if name not in kept and name not in after)
    columns = {checked.canonical[reference] for name in after for reference in graph.nodes[name].references()}
    passed = tuple(sorted(each for each in {*columns, *wanted} if each.split(".")[0] not in {*kept, *after}))
    return ReplayParts(before, kept, after, passed, tuple(wanted))


def _needs(checked: CheckedGraph, name: str) -> set[str]:
    """The nodes whose columns a node takes."""
    found = {checked.canonical[reference].split(".")[0] for reference in checked.graph.nodes[name].references()}
    return found & set(checked.order)


def _upstream(name: str, needs: Mapping[str, Collection[str]]) -> set[str]:
    """A node, and those it depends on; nothing for an input."""
    if name not in needs:
        return set()
    return {name}.union(*(_upstream(each, needs) for each in needs[name]))


def _above(name: str, needs: Mapping[str, Collection[str]]) -> set[str]:
    return _upstream(name, needs) - {name}


def _patient(node: object) -> KeptNode:
    """A node that waits for its members however long they take."""
    assert isinstance(node, KeptNode)
    return replace(node, within_ms=None) if isinstance(node, Ensemble) else node
