"""What an experiment is: the arms of a split, their control, and how the split was over time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf

import numpy as np

from motet.batch import Indices
from motet.errors import InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.experiment import ExperimentMetric
from motet.graph.graph import GraphSpec
from motet.graph.model import Model
from motet.models.locate import PINNED
from motet.nodes.route import Route
from motet.planning.metrics import Floats

__all__ = ["Experiment", "SplitPeriod", "experiment_of", "experiments_of"]


@dataclass(frozen=True)
class SplitPeriod:
    """A time through which the weights of a split stayed.

    Attributes:
        since: when it began, in seconds since 1970 (UTC); `-inf` for the first.
        weights: how much each arm counted, by name; at least 0, one of them more.
    """

    since: float
    weights: Mapping[str, float]

    def share(self, arm: str) -> float:
        """The share of units that meet an arm, 0 to 1."""
        return self.weights.get(arm, 0.0) / sum(self.weights.values())


@dataclass(frozen=True)
class Experiment:
    """Arms of a split that are compared by a metric.

    Attributes:
        graph: the name of the graph.
        node: the name of its route; `outer.inner` for one of a graph inside.
        unit: the column that the split goes by; its values are the units that are compared.
        arms: the names of the arms, as the split has them.
        control: the arm that the others are compared with.
        metric: what they are compared by.
        periods: the split as it was over time, the earliest first; at least one.
        salt: names the split.
        missing: the arm of rows without a unit; they count for nothing. None where such rows fail.
        versions: what the arms' models in a store were pinned to, `NAME@NUMBER`, by arm; of arms that have such.
    """

    graph: str
    node: str
    unit: str
    arms: tuple[str, ...]
    control: str
    metric: ExperimentMetric
    periods: tuple[SplitPeriod, ...]
    salt: str = ""
    missing: str | None = None
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, graph: str, route: Route, node: str = "", versions: Mapping[str, Sequence[str]] | None = None
    ) -> Experiment:
        """The experiment that a route declares.

        Args:
            graph: the name of the graph.
            route: a route by split with a metric.
            node: its name, where that is not the route's own.
            versions: of the arms' models in a store.
        """
        assert route.metric is not None
        assert route.by is not None
        arms = tuple(route.split)
        first = SplitPeriod(-inf, dict(route.split))
        return cls(
            graph, node or route.name, route.by, arms, route.metric.control or arms[0], route.metric, (first,),
            route.salt or "", route.missing, versions or {},
        )  # fmt: skip

    @cached_property
    def epoch(self) -> str:
        """Names what is compared as the graph declares it: arms, their shares, the control, the unit and the metric.

        Where any of them is declared otherwise, or a store has another version of an arm, what was seen before is of another
        experiment. What was decided since (`promote`, `ramp`) is no other one: these are its periods.
        """
        first, metric = self.periods[0], self.metric
        said = [
            self.unit, self.salt, self.control, {arm: f"{first.share(arm):.9f}" for arm in self.arms},
            metric.name, metric.kind, metric.better, metric.missing_is_zero,
        ]  # fmt: skip
        said += [self.versions] if self.versions else []
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms that are compared with the control."""
        return tuple(arm for arm in self.arms if arm != self.control)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights now."""
        return self.periods[-1].weights

    def since(self, time: float, weights: Mapping[str, float]) -> Experiment:
        """The experiment with another split from a time on, which is not before the last period began.

        Raises:
            InputError: when it is, or the weights are not of these arms.
        """
        if time < self.periods[-1].since:
            raise InputError(f"a split from {time:g} on comes before one from {self.periods[-1].since:g} on")
        if set(weights) != set(self.arms):
            raise InputError(f"expected weights of {', '.join(self.arms)}; got {', '.join(weights)}", where=self.node)
        return replace(self, periods=(*self.periods, SplitPeriod(time, dict(weights))))

    def period_of(self, times: Floats) -> Indices:
        """The place in `periods` of each time, in seconds since 1970; of an unknown one (NaN) the last."""
        starts = np.array([each.since for each in self.periods[1:]])
        return np.asarray(np.searchsorted(starts, np.nan_to_num(times, nan=inf), side="right"), dtype=np.int64)


def experiments_of(graph: CheckedGraph | GraphSpec, inside: str = "") -> list[Experiment]:
    """The experiments of a graph, those of graphs inside it as `outer.inner`."""
    whole = graph.graph if isinstance(graph, CheckedGraph) else graph
    return list(_found(whole, whole.name, inside, whole.models))


def _found(graph: GraphSpec, name: str, inside: str, models: Mapping[str, Model]) -> Sequence[Experiment]:
    prefix = f"{inside}." if inside else ""
    own = [
        Experiment.of(name, node, f"{prefix}{each}", _arm_versions(node, graph, models))
        for each, node in graph.nodes.items()
        if isinstance(node, Route) and node.metric is not None
    ]
    within = [
        each
        for inner, part in graph.graphs.items()
        for each in _found(part, name, f"{prefix}{inner}", {**models, **part.models})
    ]
    return [*own, *within]


def _arm_versions(route: Route, graph: GraphSpec, models: Mapping[str, Model]) -> dict[str, Sequence[str]]:
    """What the models of each arm are pinned to; arms without a model of a store are left out."""
    found = {each.name: sorted(set(_pinned(each.uses, graph, models))) for each in route.players}
    return {arm: versions for arm, versions in found.items() if versions}


def _pinned(uses: str, graph: GraphSpec, models: Mapping[str, Model]) -> Iterator[str]:
    """The versions, `NAME@NUMBER`, of a model, or of the models that a graph inside asks."""
    inner = graph.graphs.get(uses)
    if inner is not None:
        for node in inner.nodes.values():
            for member in node.members:
                yield from _pinned(member.uses, inner, {**models, **inner.models})
    elif (model := models.get(uses)) is not None and model.uri.startswith(PINNED):
        yield model.uri.rpartition("#")[2]


def experiment_of(graph: CheckedGraph | GraphSpec, node: str | None = None) -> Experiment:
    """The experiment of a graph.

    Args:
        graph: the graph.
        node: which route; may be left out where there is one experiment.

    Raises:
        InputError: when there is none, or several and no node is named.
        UnknownNameError: when the node is none of them.
    """
    found = {each.node: each for each in experiments_of(graph)}
    name = graph.graph.name if isinstance(graph, CheckedGraph) else graph.name
    if not found:
        hint = "write metric: NAME beside split: and by: of a route"
        raise InputError("the graph has no experiment", where=f"graph {name!r}", hint=hint)
    if node is not None:
        if node not in found:
            raise UnknownNameError("experiment", node, list(found), where=f"graph {name!r}")
        return found[node]
    if len(found) > 1:
        raise InputError(f"there are several experiments: {', '.join(found)}", where=f"graph {name!r}", hint="name one")
    return next(iter(found.values()))
