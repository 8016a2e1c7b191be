"""Settings of cascades and ensembles, each tried on kept answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from motet.batch import Indices
from motet.errors import GraphError, InputError, ModelFailedError
from motet.graph.check import CheckedGraph, check
from motet.graph.node import Member
from motet.nodes.cascade import Cascade
from motet.nodes.ensemble import Ensemble
from motet.planning.evaluate import Evidence
from motet.planning.heat import temperatures_for
from motet.planning.parts import KeptNode
from motet.planning.standings import Marked
from motet.runtime.resolve import ModelResolver

__all__ = ["LEVELS", "Goal", "SettingSearch", "TriedSetting", "class_thresholds", "heats"]

LEVELS = {
    1: (0.0, 0.35, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 0.9999, 1.0),
    2: (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0),
    3: (0.0, 0.6, 0.8, 0.95, 1.0),
}  # fmt: skip
"""Thresholds that are tried first, by how many a cascade has."""
FEW_LEVELS = (0.0, 0.8, 1.0)
MOST_ORDERED = 4
"""Of a cascade of more members not every selection is tried, but pairs and all."""
SELECTED = 12
"""Members that are put into an ensemble one after another, each as often as it helps."""
AVERAGES = ("weighted_average", "majority_vote", "max", "median")


class Goal(NamedTuple):
    """What is wanted: the best metric; the least cost at a metric; or the best metric at a cost."""

    at_least: float | None = None
    at_most_cost: float | None = None


@dataclass(frozen=True)
class TriedSetting:
    """A setting of one node, and what it came to on the rows that settings are chosen by.

    Attributes:
        node: the node with this setting.
        metric: the metric.
        cost: of a row.
        failed: labelled rows that were not answered.
    """

    node: KeptNode
    metric: float
    cost: float
    failed: int


@dataclass
class SettingSearch:
    """Tries settings of one node, the others being as they are.

    Attributes:
        seen: what was kept.
        resolver: finds models, when graphs are checked.
        rows: places among the labelled rows by which settings are chosen.
        others: the other nodes with the settings that they have by now.
        tried: all that was tried, by what is decided in it.
    """

    seen: Evidence
    resolver: ModelResolver
    rows: Indices
    others: Mapping[str, KeptNode]
    tried: dict[object, TriedSetting | None] = field(default_factory=dict)
    _checked: dict[object, CheckedGraph | None] = field(default_factory=dict)

    def run(self, node: KeptNode, goal: Goal) -> list[TriedSetting]:
        """Try the settings of a node, and those near the ones that suit the goal; the first is how it is."""
        first = self.tried_as(node)
        if first is None:
            raise InputError(
                f"{self.seen.assessor.metrics[0].name} of the graph as it is cannot be computed", where="tune"
            )
        heat = temperatures_for(self.seen, node, self.others, self.rows)
        for each in [node, replace(node, temperature=heat)] if heat and heat != node.temperature else [node]:
            if isinstance(each, Cascade):
                self._cascades(each, goal)
            else:
                self._ensembles(each)
        return [first, *(each for each in self.tried.values() if each is not None and each is not first)]

    def tried_as(self, node: KeptNode) -> TriedSetting | None:
        """What a setting comes to; None where the graph would not be right with it, or answer other types or classes."""
        key = _key(node)
        if key not in self.tried:
            checked = self.checked_with(node)
            self.tried[key] = None if checked is None else self._try(node, checked)
        return self.tried[key]

    def _try(self, node: KeptNode, checked: CheckedGraph) -> TriedSetting | None:
        seen = self.seen
        ids = seen.assessor.labelled[self.rows]
        places = np.flatnonzero(np.isin(seen.recording.ids, ids))
        try:
            played = seen.replayer.play({**self.others, node.name: node}, places, checked)
        except ModelFailedError:
            return None  # it answers no row at all
        marked = seen.mark(played)
        value = seen.assessor.value(seen.assessor.metrics[0], marked, self.rows)
        failed = int((marked.places[self.rows] < 0).sum())
        return None if np.isnan(value) else TriedSetting(node, value, seen.cost(played), failed)

    def checked_with(self, node: KeptNode) -> CheckedGraph | None:
        """The graph with another setting of a node, where its outputs are of the same types and classes."""
        names = tuple(member.name for member in node.players)
        key = (names, getattr(node, "combine", None), _counting(node), bool(heats(node)), bool(class_thresholds(node)))
        if key not in self._checked:
            self._checked[key] = self._checked_anew(node)
        return self._checked[key]

    def _checked_anew(self, node: KeptNode) -> CheckedGraph | None:
        base = self.seen.recording.checked
        try:
            made = check(base.graph.changed(nodes={**base.graph.nodes, **self.others, node.name: node}), self.resolver)
        except GraphError:
            return None
        same = made.signature.outputs == base.signature.outputs and made.labels == base.labels
        own = {name for name in made.columns if name.startswith(f"{node.name}.") and name in base.columns}
        return made if same and all(made.columns[n].labels == base.columns[n].labels for n in own) else None

    def is_better(self, one: TriedSetting, other: TriedSetting, goal: Goal) -> bool:
        """Whether one setting suits a goal better than another."""
        return self._rank(one, goal) > self._rank(other, goal)

    def _rank(self, each: TriedSetting, goal: Goal) -> tuple[float, ...]:
        good = -each.metric if self.seen.assessor.metrics[0].lower_is_better else each.metric
        if goal.at_least is not None:
            reached = not self.seen.assessor.metrics[0].is_better(goal.at_least, each.metric)
            return (1.0, -each.cost, good) if reached else (0.0, good, -each.cost)
        if goal.at_most_cost is not None:
            return (1.0, good, -each.cost) if each.cost <= goal.at_most_cost else (0.0, -each.cost, good)
        return (1.0, good, -each.cost)

    def best(self, tried: Sequence[TriedSetting], goal: Goal) -> TriedSetting:
        """The setting that suits a goal best, of those that fail on no more rows than the first; of equal ones the first."""
        fit = [each for each in tried if each.failed <= tried[0].failed]
        return max(fit, key=lambda each: self._rank(each, goal))

    def _cascades(self, node: Cascade, goal: Goal) -> None:
        for players in _orders(node, self.seen.costs[node.name]):
            count = len(players) - 1
            made = replace(node, players=players)
            for sure in product(LEVELS.get(count, FEW_LEVELS), repeat=count):
                self.tried_as(replace(made, confidence=sure))
        for _ in range(3):
            found = [each for each in self.tried.values() if each is not None]
            for near in _near(self.best(found, goal).node):
                self.tried_as(near)

    def _ensembles(self, node: Ensemble) -> None:
        """Selections with equal weights, then members one after another: R. Caruana et al., Ensemble selection, ICML 2004."""
        for how in _combiners(node):
            members = [member.name for member in node.players]
            for size in range(1, len(members) + 1) if len(members) <= 5 else (1, len(members)):
                for chosen in combinations(members, size):
                    self.tried_as(_weighed(node, how, {name: float(name in chosen) for name in members}))
            if how in ("weighted_average", "majority_vote", "union"):
                self._select(node, how, members)

    def _select(self, node: Ensemble, how: str, members: Sequence[str]) -> None:
        counts: dict[str, float] = dict.fromkeys(members, 0.0)
        for _ in range(SELECTED):
            made = [{**counts, name: counts[name] + 1} for name in members]
            tried = [self.tried_as(_weighed(node, how, each)) for each in made]
            found = [(each, weights) for each, weights in zip(tried, made, strict=True) if each is not None]
            if not found:
                return
            counts = max(found, key=lambda pair: self._rank(pair[0], Goal()))[1]

    def marked(self, node: KeptNode) -> tuple[Marked, float]:
        """What all rows come to with a setting, and what each costs."""
        played = self.seen.replayer.play({**self.others, node.name: node}, None, self.checked_with(node))
        return self.seen.mark(played), self.seen.cost(played)


def _key(node: KeptNode) -> object:
    """What is decided in a setting."""
    names = tuple(member.name for member in node.players)
    if isinstance(node, Cascade):
        classes = tuple((name, tuple(sorted(each.items()))) for name, each in class_thresholds(node).items())
        return names, node.confidence, tuple(heats(node).items()), classes
    total = sum(node.weights)
    return (
        names,
        str(node.combine),
        tuple(round(weight / total, 9) for weight in node.weights),
        tuple(heats(node).items()),
    )


def heats(node: KeptNode) -> dict[str, float]:
    """The temperatures of the members that a node has."""
    return {member.name: node.temperature[member.name] for member in node.players if member.name in node.temperature}


def class_thresholds(node: KeptNode) -> dict[str, dict[str, float]]:
    """The thresholds of single classes of the members of a cascade that must be sure."""
    found = getattr(node, "by_class", {})
    return {member.name: dict(found[member.name]) for member in node.players[:-1] if member.name in found}


def _counting(node: KeptNode) -> tuple[bool, ...]:
    return tuple(weight > 0 for weight in node.weights) if isinstance(node, Ensemble) else ()


def _orders(node: Cascade, costs: Mapping[str, float]) -> Iterator[tuple[Member, ...]]:
    """Members of a cascade, cheapest first: selections of two and more; and all of them as they are."""
    yield node.players
    sizes = range(2, len(node.players) + 1) if len(node.players) <= MOST_ORDERED else (2, len(node.players))
    cheapest = sorted(node.players, key=lambda member: costs[member.name])
    for size in sizes:
        for chosen in combinations(cheapest, size):
            if chosen != node.players:
                yield chosen


def _near(node: KeptNode) -> Iterator[Cascade]:
    """Cascades with one threshold a little lower or higher: between it and the next of those that are tried first."""
    assert isinstance(node, Cascade)
    levels = LEVELS[1]
    for place, sure in enumerate(node.confidence):
        below = max((each for each in levels if each < sure), default=0.0)
        above = min((each for each in levels if each > sure), default=1.0)
        for other, part in product((below, above), (0.25, 0.5, 0.75)):
            value = round(sure + (other - sure) * part, 6)
            yield replace(node, confidence=(*node.confidence[:place], value, *node.confidence[place + 1 :]))


def _combiners(node: Ensemble) -> list[str]:
    """The combiners that may stand in for that of an ensemble, its own first."""
    if not isinstance(node.combine, str) or node.combine == "stack":
        return []
    own = "weighted_average" if node.combine == "average" else node.combine
    return [own, *(each for each in AVERAGES if each != own)] if own in AVERAGES else [own]


def _weighed(node: Ensemble, how: str, weights: Mapping[str, float]) -> Ensemble:
    """An ensemble of the members that count."""
    players = tuple(member for member in node.players if weights[member.name])
    total = sum(weights.values())
    share = tuple(round(weights[member.name] / total, 6) for member in players)
    equal = len(set(share)) == 1
    require = None if node.require is None else min(node.require, len(players))
    return replace(
        node, players=players, weights=(1.0,) * len(players) if equal else share, combine=how, require=require
    )
