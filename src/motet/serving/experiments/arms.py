"""What a graph plays of its experiments: splits as they were decided last, and columns that say which arm each row met."""

from __future__ import annotations

from collections.abc import Mapping
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
    """

    experiment: Experiment
    split: Mapping[str, float]
    arm: str
    unit: str
    segments: Mapping[str, str]

    @property
    def outputs(self) -> Mapping[str, str]:
        """The columns of the graph that are given under hidden names."""
        node = self.experiment.node
        return {
            self.arm: f"{node}.member", self.unit: self.experiment.unit,
            **{hidden: name for name, hidden in self.segments.items()},
        }  # fmt: skip


def columns_of(checked: CheckedGraph, splits: Mapping[str, Mapping[str, float]]) -> tuple[ArmColumns, ...]:
    """The experiments of a graph, each with the split that is played; those of graphs inside it are none that are kept.

    Args:
        checked: the graph.
        splits: weights that were decided since, by node; those that do not fit the node's arms are passed over.

    Raises:
        GraphError: when an output is called as ids of answers are.
    """
    found = []
    for each in experiments_of(checked):
        if each.node not in checked.order:
            continue
        if FEEDBACK_ID in checked.graph.outputs:
            hint = "rename the output"
            raise GraphError(f"{FEEDBACK_ID!r} is what answers of experiments carry", where="outputs", hint=hint)
        split = splits.get(each.node, {})
        weights = split if set(split) == set(each.arms) else each.weights
        prefix = f"{_HIDDEN}{each.node}:"
        segments = {name: f"{prefix}segment:{name}" for name in each.metric.segments}
        found.append(ArmColumns(each, weights, f"{prefix}arm", f"{prefix}unit", segments))
    return tuple(found)


def played(checked: CheckedGraph, columns: tuple[ArmColumns, ...]) -> CheckedGraph:
    """A graph with the splits of its experiments as they are now, which gives their columns beside its outputs."""
    if not columns:
        return checked
    graph, canonical = checked.graph, dict(checked.canonical)
    nodes, outputs = dict(graph.nodes), dict(graph.outputs)
    for each in columns:
        node = nodes[each.experiment.node]
        assert isinstance(node, Route)
        nodes[node.name] = replace(node, split={arm: each.split[arm] for arm in node.split})
        outputs |= each.outputs
        canonical[f"{node.name}.member"] = f"{node.name}.member"
    return replace(checked, graph=graph.changed(nodes=nodes, outputs=outputs), canonical=canonical)
