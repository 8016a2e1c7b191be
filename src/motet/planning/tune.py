"""Tune: thresholds, orders, weights and members of a graph, chosen by one half of labelled rows and reported on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack

import numpy as np

from motet.batch import Indices
from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.graph.graph import GraphSpec
from motet.graph.members import write_members
from motet.nodes.cascade import Cascade
from motet.planning.by_class import with_class_thresholds
from motet.planning.evaluate import EvaluateOptions, Evidence, gather
from motet.planning.intervals import Interval
from motet.planning.parts import KeptNode
from motet.planning.replay import alone
from motet.planning.search import Goal, SettingSearch, TriedSetting, class_thresholds, heats
from motet.planning.standings import Marked
from motet.planning.tuning import FrontPoint, TunedStanding, Tuning
from motet.planning.wording import shown_cost, shown_interval, shown_number
from motet.runtime.resolve import ModelResolver

__all__ = ["TuneOptions", "tune"]

MOST_ROWS = 20_000
"""Rows that settings are tried on."""
MOST_FRONT = 12
FEWEST_ROWS = 20


class TuneOptions(EvaluateOptions, total=False):
    """What `Graph.tune` takes beside a source and its label."""

    at_least: float | Literal["best"] | None
    at_most_cost: float | None


def tune(
    declared: GraphSpec,
    checked: CheckedGraph,
    resolver: ModelResolver,
    source: Any,
    label: str,
    *,
    at_least: float | Literal["best"] | None = None,
    at_most_cost: float | None = None,
    **options: Unpack[EvaluateOptions],
) -> Tuning:
    """Choose the settings of a graph's cascades and ensembles.

    Args:
        declared: the graph as it was declared.
        checked: the graph, checked.
        resolver: finds its models.
        source, label, options: see `evaluate`; settings are chosen by the first metric.
        at_least: the metric to reach as cheaply as possible; `best` is the best of the untuned graph and its single members.
        at_most_cost: what a row may cost: seconds, or in prices.

    Raises:
        InputError: when there is nothing to choose, or too few rows; and as for `evaluate`.
    """
    if at_least is not None and at_most_cost is not None:
        raise InputError("at_least and at_most_cost were both given", where="tune", hint="give one of them")
    if at_least not in (None, "best") and not (isinstance(at_least, (int, float)) and np.isfinite(at_least)):
        raise InputError(f"at_least must be a number or 'best'; got {at_least!r}", where="at_least")
    if at_most_cost is not None and not 0 <= at_most_cost < float("inf"):
        raise InputError(f"at_most_cost must be a number from 0; got {at_most_cost!r}", where="at_most_cost")
    seen = gather(checked, resolver, source, label, **options)
    try:
        return _tuned(seen, declared, resolver, label, at_least, at_most_cost)
    finally:
        seen.replayer.close()


def _tuned(
    seen: Evidence,
    declared: GraphSpec,
    resolver: ModelResolver,
    label: str,
    at_least: float | Literal["best"] | None,
    at_most_cost: float | None,
) -> Tuning:
    kept, metric = _tunable(seen), seen.assessor.metrics[0]
    chosen, held = _halves(seen)
    nodes: dict[str, KeptNode] = dict(seen.recording.parts.kept)
    warnings: list[str] = []
    front: list[FrontPoint] = []
    for name in kept:
        search = SettingSearch(seen, resolver, chosen, _others(nodes, name))
        goal = Goal(_target(search, nodes[name], at_least), at_most_cost)
        tried = search.run(nodes[name], goal)
        best = search.best(tried, goal)
        if isinstance(best.node, Cascade):
            refined = search.tried_as(with_class_thresholds(search, best.node, goal))
            if refined is not None and refined is not best and search.is_better(refined, best, goal):
                best, tried = refined, [*tried, refined]
        nodes[name] = best.node
        front = list(_front(search, tried, held))
        warnings += _missed(search, best, goal, seen)
    before, after, gain, members = _reported(seen, resolver, nodes, kept, held)
    own = seen.recording.parts.kept
    changes = {name: _settings(declared.nodes[name], nodes[name]) for name in kept if nodes[name] is not own[name]}
    changes = {name: each for name, each in changes.items() if each}
    if changes and metric.is_better(before.metric.value, after.metric.value):
        sure = (gain.low > 0) if metric.lower_is_better else (gain.high < 0)
        said = "surely" if sure else "perhaps by chance"
        warnings.append(f"on held-out rows {metric.name} is worse than before, {said}: by {shown_interval(gain)}")
    return Tuning(
        declared.name, seen.rows.description, label, seen.reader.of, metric.name, (len(chosen), len(held)),
        _goal(seen, at_least, at_most_cost), before, after, gain, members, changes,
        {name: settled(declared.nodes[name], nodes[name]) for name in changes}, front, seen.priced, metric.lower_is_better,
        warnings,
    )  # fmt: skip


def _reported(
    seen: Evidence, resolver: ModelResolver, nodes: Mapping[str, KeptNode], kept: Sequence[str], held: Indices
) -> tuple[TunedStanding, TunedStanding, Interval, list[TunedStanding]]:
    """The graph before and after, the gain, and, where one node is tuned, its members, on held-out rows."""
    own, last, metric = seen.recording.parts.kept, kept[-1], seen.assessor.metrics[0]
    search = SettingSearch(seen, resolver, held, _others(own, last))
    found = {
        "after": SettingSearch(seen, resolver, held, _others(nodes, last)).marked(nodes[last]),
        "before": search.marked(own[last]),
    }
    singles = _singles(search, own[last]) if len(kept) == 1 else {}
    every = [*found.items(), *singles.items()]
    measured = replace(seen.assessor, metrics=[metric]).measure([marked for _, (marked, _) in every], held)
    after, before, *members = [
        TunedStanding(name, metrics[metric.name], cost, int((marked.places[held] < 0).sum()))
        for (name, (marked, cost)), (metrics, _) in zip(every, measured, strict=True)
    ]
    return before, after, measured[1][1], members


def _others(nodes: Mapping[str, KeptNode], name: str) -> dict[str, KeptNode]:
    return {each: node for each, node in nodes.items() if each != name}


def _singles(search: SettingSearch, node: KeptNode) -> dict[str, tuple[Marked, float]]:
    """What each member of a node comes to alone, where it can answer alone, and what a row costs then."""
    found: dict[str, tuple[Marked, float]] = {}
    for member in node.players:
        single = alone(node, member.name)
        if single is not None:
            played = search.seen.replayer.play({**search.others, node.name: single})
            cost = search.seen.fixed_cost + search.seen.costs[node.name][member.name]
            found[member.name] = search.seen.mark(played), cost
    return found


def _tunable(seen: Evidence) -> list[str]:
    """The nodes whose settings are chosen: kept ones that no model stands behind."""
    parts, graph = seen.recording.parts, seen.recording.checked.graph
    behind = [name for name in parts.after if graph.nodes[name].members]
    if behind:
        what = f"models of {', '.join(behind)} stand behind the members, so each setting would need calls of them"
        raise InputError(what, where="tune", hint="tune the part before them as a graph of its own")
    if not parts.kept:
        raise InputError(
            "no cascade and no ensemble stands before the output", where="tune", hint="choose another output: --of"
        )
    return list(parts.kept)


def _halves(seen: Evidence) -> tuple[Indices, Indices]:
    """Places of labelled rows to choose by, and to report on; rows of one unit stay together."""
    labelled = seen.assessor.labelled
    units = np.arange(len(labelled)) if seen.assessor.units is None else seen.assessor.units[labelled]
    known = np.random.default_rng(0).permutation(np.unique(units))
    first = np.isin(units, known[: len(known) // 2])
    chosen, held = np.flatnonzero(first), np.flatnonzero(~first)
    if min(len(chosen), len(held)) < FEWEST_ROWS:
        what = f"{len(labelled)} labelled rows are too few: {len(chosen)} to choose by, {len(held)} to report on"
        raise InputError(what, where="tune", hint=f"give {2 * FEWEST_ROWS} or more")
    if len(chosen) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(1).choice(chosen, MOST_ROWS, replace=False))
    return chosen, held


def _target(search: SettingSearch, node: KeptNode, at_least: float | Literal["best"] | None) -> float | None:
    """The metric to reach."""
    if at_least != "best":
        return at_least
    assessor, metric, first = search.seen.assessor, search.seen.assessor.metrics[0], search.tried_as(node)
    values = [assessor.value(metric, marked, search.rows) for marked, _ in _singles(search, node).values()]
    values += [] if first is None else [first.metric]
    known = [value for value in values if not np.isnan(value)]
    return None if not known else min(known) if metric.lower_is_better else max(known)


def _front(search: SettingSearch, tried: Sequence[TriedSetting], held: Indices) -> Iterator[FrontPoint]:
    """Settings that no other one beats in metric and cost, from the cheapest on."""
    metric, found = search.seen.assessor.metrics[0], list[TriedSetting]()
    for each in sorted(tried, key=lambda one: (one.cost, one.metric if metric.lower_is_better else -one.metric)):
        if each.failed <= tried[0].failed and (not found or metric.is_better(each.metric, found[-1].metric)):
            found.append(each)
    places = np.unique(np.linspace(0, len(found) - 1, min(MOST_FRONT, len(found))).round().astype(np.int64))
    for place in places.tolist():
        point = found[place]
        marked, _ = search.marked(point.node)
        yield FrontPoint(_said(point.node), point.cost, point.metric, search.seen.assessor.value(metric, marked, held))


def _said(node: KeptNode) -> str:
    names = [member.name for member in node.players]
    heat = [f"{name} at {each:g}" for name, each in heats(node).items()]
    tempered = f"; temperature {', '.join(heat)}" if heat else ""
    if isinstance(node, Cascade):
        classes = class_thresholds(node)
        sure = [
            f"{name} ({', '.join([f'{each:g}', *(f'{one} {at:g}' for one, at in classes.get(name, {}).items())])})"
            for name, each in zip(names, node.confidence, strict=False)
        ]
        return " -> ".join([*sure, names[-1]]) + tempered
    weights = " + ".join(f"{weight:g} {name}" for weight, name in zip(node.weights, names, strict=True))
    return f"{node.combine}: {weights}{tempered}"


def _missed(search: SettingSearch, best: TriedSetting, goal: Goal, seen: Evidence) -> Iterator[str]:
    metric = seen.assessor.metrics[0]
    if goal.at_least is not None and metric.is_better(goal.at_least, best.metric):
        yield f"no setting reaches {metric.name} {shown_number(goal.at_least)}; the best has {shown_number(best.metric)}"
    if goal.at_most_cost is not None and best.cost > goal.at_most_cost:
        wanted, got = (shown_cost(each, priced=seen.priced) for each in (goal.at_most_cost, best.cost))
        yield f"no setting costs at most {wanted} a row; the cheapest costs {got}"


def _goal(seen: Evidence, at_least: float | Literal["best"] | None, at_most_cost: float | None) -> str:
    name = seen.assessor.metrics[0].name
    if at_least == "best":
        return f"the least cost at {name} as good as the best single member's"
    if at_least is not None:
        return f"the least cost at {name} {shown_number(at_least)}"
    return (
        f"the best {name}"
        if at_most_cost is None
        else f"the best {name} at {shown_cost(at_most_cost, priced=seen.priced)} a row"
    )


def settled(declared: Any, tuned: KeptNode) -> Any:
    """A node as it was declared, with the settings of a tuned one."""
    by_name = {member.name: member for member in declared.players}
    players = tuple(by_name[member.name] for member in tuned.players)
    if isinstance(tuned, Cascade):
        return replace(
            declared,
            players=players,
            confidence=tuned.confidence,
            temperature=heats(tuned),
            by_class=class_thresholds(tuned),
        )
    return replace(
        declared,
        players=players,
        combine=tuned.combine,
        weights=tuned.weights,
        require=tuned.require,
        temperature=heats(tuned),
    )


def _settings(declared: Any, tuned: KeptNode) -> Mapping[str, Any]:
    """The settings that are others now, as a graph file has them."""
    now = settled(declared, tuned)
    found: dict[str, Any] = {}
    if now.players != declared.players:
        found[declared.kind] = write_members(now.players)
    if now.temperature != declared.temperature:
        found["temperature"] = dict(now.temperature)
    if isinstance(tuned, Cascade):
        names = [member.name for member in now.players]
        others = now.players != declared.players or now.by_class != declared.by_class
        if others or now.confidence != declared.confidence:
            classes = {"by_class": now.by_class} if now.by_class else {}
            found["until"] = {"confidence": dict(zip(names, now.confidence, strict=False)), **classes}
        return found
    if now.combine != declared.combine:
        found["combine"] = now.combine
    if now.players != declared.players or now.weights != declared.weights:
        found["weights"] = list(now.weights)
    if now.require != declared.require:
        found["require"] = now.require
    return found
