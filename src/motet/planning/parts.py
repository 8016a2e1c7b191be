"""Which nodes of a graph are kept, and which are played again for each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from motet.errors import InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.nodes.cascade import Cascade
from motet.nodes.ensemble import Ensemble
from motet.types import ColumnType

__all__ = ["KeptNode", "ReplayParts", "column_named", "nodes_above", "output_named", "replay_parts", "score_columns"]

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
    above = nodes_above(checked)
    ends = {column.split(".")[0] for column in wanted} & set(above)
    asked = ends.union(*(above[name] for name in ends))
    order = [name for name in checked.order if name in asked]
    several = {name for name in order if isinstance(graph.nodes[name], KeptNode)}
    kept = {name: _patient(graph.nodes[name]) for name in order if name in several and not above[name] & several}
    after = tuple(name for name in order if above[name] & set(kept))
    before = tuple(name for name in order if name not in kept and name not in after)
    columns = {checked.canonical[reference] for name in after for reference in graph.nodes[name].references()}
    passed = tuple(sorted(each for each in {*columns, *wanted} if each.split(".")[0] not in {*kept, *after}))
    return ReplayParts(before, kept, after, passed, tuple(wanted))


def nodes_above(checked: CheckedGraph) -> dict[str, set[str]]:
    """For each node, in order, the nodes that it depends on."""
    above: dict[str, set[str]] = {}
    for name in checked.order:
        taken = {checked.canonical[reference].split(".")[0] for reference in checked.graph.nodes[name].references()}
        own = taken & set(above)
        above[name] = own.union(*(above[each] for each in own))
    return above


def _patient(node: object) -> KeptNode:
    """A node that waits for its members however long they take."""
    assert isinstance(node, KeptNode)
    return replace(node, within_ms=None) if isinstance(node, Ensemble) else node


def score_columns(checked: CheckedGraph, column: str) -> dict[str, ColumnType]:
    """Columns that may hold the scores of the answer: those of cascades, ensembles, routes and models before it."""
    graph, own = checked.graph, column.split(".")[0]
    reachable = {own, *nodes_above(checked).get(own, ())}
    found: dict[str, ColumnType] = {}
    for full, kind in checked.columns.items():
        name, _, output = full.partition(".")
        single = name in reachable and "." not in output and name in graph.nodes and graph.nodes[name].members
        if single and kind.dtype.startswith("float") and len(kind.shape) == 1:
            found[full] = kind
    return found


def output_named(checked: CheckedGraph, of: str | None, label: str | None = None) -> str:
    """The output that is compared with labels."""
    outputs = list(checked.graph.outputs)
    if of is not None:
        return of
    if len(outputs) == 1:
        return outputs[0]
    if label in outputs:
        return label
    raise InputError(
        f"the graph has several outputs ({', '.join(outputs)})",
        where="of",
        hint="say which one labels are for: --of OUTPUT",
    )
