"""What a graph plays of its experiments: splits as they were decided last, and columns that say which arm each row met.

Of a graph inside, these columns are noted beside what it answers (`Call.noted`), for those who look on; whoever called it is not
given them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from motet.errors import GraphError
from motet.graph.check import CheckedGraph
from motet.nodes.route import Route
from motet.planning.experiments.experiment import Experiment, experiments_of

__all__ = ["FEEDBACK_ID", "ArmColumns", "columns_of", "played"]

FEEDBACK_ID = "feedback_id"
"""What answers call the id that feedback names."""
_HIDDEN = "experiment:"
"""Before the names of columns that are no answers; no output is called so."""


@dataclass(frozen=True)
class ArmColumns:
    """The hidden outputs of an experiment.

    Attributes:
        experiment: as its graph declares it.
        split: what the weights are now.
        arm, unit: columns that hold for each row its arm, and what the split goes by.
        segments: the columns of segments, by their names in the graph.
        inside: the graphs that its route stands in, the outermost first; empty for a route of the graph itself.
        asked: the input of the graph that is the unit; None where that is computed, or is not the same wherever a graph inside is asked.
    """

    experiment: Experiment
    split: Mapping[str, float]
    arm: str
    unit: str
    segments: Mapping[str, str]
    inside: tuple[str, ...] = ()
    asked: str | None = None

    @property
    def route(self) -> str:
        """The name of the route in its own graph."""
        return self.experiment.node.rpartition(".")[2]

    @property
    def path(self) -> str:
        """The path of the route, as calls and failures have it."""
        return "/".join((*self.inside, self.route))

    @property
    def outputs(self) -> Mapping[str, str]:
        """The columns of the route's graph that are given under hidden names."""
        return {
            self.arm: f"{self.route}.member", self.unit: self.experiment.unit,
            **{hidden: name for name, hidden in self.segments.items()},
        }  # fmt: skip


def columns_of(checked: CheckedGraph, splits: Mapping[str, Mapping[str, float]]) -> tuple[ArmColumns, ...]:
    """The experiments of a graph, and of the graphs inside that it asks, each with the split that is played.

    Args:
        checked: the graph.
        splits: weights that were decided since, by node; those that do not fit the node's arms are passed over.

    Raises:
        GraphError: when an output is called as ids of answers are.
    """
    found = []
    for each in experiments_of(checked):
        *inside, route = each.node.split(".")
        holders = _holders(checked, inside)
        if holders is None or route not in holders[-1].order:
            continue
        if FEEDBACK_ID in checked.graph.outputs:
            hint = "rename the output"
            raise GraphError(f"{FEEDBACK_ID!r} is what answers of experiments carry", where="outputs", hint=hint)
        split = splits.get(each.node, {})
        weights = split if set(split) == set(each.arms) else each.weights
        prefix = f"{_HIDDEN}{each.node}:"
        segments = {name: f"{prefix}segment:{name}" for name in each.metric.segments}
        asked = _asked(holders, inside, each.unit)
        found.append(ArmColumns(each, weights, f"{prefix}arm", f"{prefix}unit", segments, tuple(inside), asked))
    return tuple(found)


def _holders(checked: CheckedGraph, inside: Sequence[str]) -> list[CheckedGraph] | None:
    """The graphs on the way to one inside, itself the last; None where one of them is asked by no node that is needed."""
    holders = [checked]
    for name in inside:
        outer = holders[-1]
        if all(member.uses != name for node in outer.order for member in outer.graph.nodes[node].members):
            return None
        holders.append(outer.graphs[name])
    return holders


def _asked(holders: Sequence[CheckedGraph], inside: Sequence[str], column: str) -> str | None:
    """The input of the outermost graph that a column of the innermost one is."""
    for outer, inner, name in reversed(list(zip(holders, holders[1:], inside, strict=False))):
        if column not in inner.graph.inputs:
            return None
        place, given = list(inner.graph.inputs).index(column), set[str]()
        for node in (outer.graph.nodes[each] for each in outer.order):
            for member in node.members:
                if member.uses == name:
                    inputs = member.inputs or node.inputs
                    given.add(inputs.columns[inputs.names.index(column) if inputs.names else place])
        if len(given) != 1:
            return None
        column = given.pop()
    return column if column in holders[0].graph.inputs else None


def played(checked: CheckedGraph, columns: tuple[ArmColumns, ...]) -> CheckedGraph:
    """A graph with the splits of its experiments as they are now, which gives their columns beside its outputs."""
    return _played(checked, columns, ()) if columns else checked


def _played(checked: CheckedGraph, columns: Sequence[ArmColumns], inside: tuple[str, ...]) -> CheckedGraph:
    graph, canonical = checked.graph, dict(checked.canonical)
    nodes, outputs, depth = dict(graph.nodes), dict(graph.outputs), len(inside)
    within: dict[str, list[ArmColumns]] = {}
    for each in columns:
        if len(each.inside) > depth:
            within.setdefault(each.inside[depth], []).append(each)
            continue
        node = nodes[each.route]
        assert isinstance(node, Route)
        nodes[node.name] = replace(node, split={arm: each.split[arm] for arm in node.split})
        outputs |= each.outputs
        canonical[f"{node.name}.member"] = f"{node.name}.member"
    graphs = {
        name: _played(each, within[name], (*inside, name)) if name in within else each
        for name, each in checked.graphs.items()
    }
    changed = graph.changed(nodes=nodes, outputs=outputs, graphs={name: each.graph for name, each in graphs.items()})
    return replace(checked, graph=changed, canonical=canonical, graphs=graphs)
