"""A graph cut into stages, which workers of different kinds play one after another: by what its models ask for, and by key.

Nodes whose models ask for the same memory and accelerators are played together, and with them what asks for nothing. A route by key
that chooses from more models than may be loaded is a stage of its own, before which rows are brought together by model. A stage is
a graph: what it is given are columns of the source, and what stages before it left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from motet.engines.needs import PLAIN, models_of, need_of, said
from motet.graph.check import CheckedGraph
from motet.graph.input import Input
from motet.io import arrow_type
from motet.nodes.route import Route
from motet.runtime.resources.need import Need
from motet.types import Signature

__all__ = ["LEFT", "Stage", "stages_of"]

LEFT = "motet:"
"""What the columns that stages leave each other are called with in front."""


@dataclass(frozen=True)
class Stage:
    """Nodes that are played together.

    Attributes:
        checked: the graph of these nodes alone.
        need: what a worker must have for it.
        grouped: the route by key that rows are brought together for; empty where they stay as they are.
    """

    checked: CheckedGraph
    need: Need
    grouped: str = ""

    def __str__(self) -> str:
        nodes = ", ".join(self.checked.order) or "no node"
        by = f"; rows are brought together by {self.route.key}" if self.grouped else ""
        return f"{nodes}: {said(self.need)}{by}"

    @property
    def route(self) -> Route:
        """The route by key."""
        found = self.checked.graph.nodes[self.grouped]
        assert isinstance(found, Route)
        return found


def stages_of(checked: CheckedGraph, *, one: bool = False) -> list[Stage]:
    """The stages of a graph, in the order of play; one, of the graph as it is, where nothing asks for more.

    A graph is not cut where a column would pass whose type nobody declared.

    Args:
        checked: the graph.
        one: whether it is not to be cut.
    """
    whole = [Stage(checked, need_of(checked))]
    cuts = _cuts(checked)
    if one or (len(cuts) == 1 and not cuts[0][0]):
        return whole
    if cuts[0][0]:
        cuts.insert(0, ("", []))  # what reads the source, and brings rows together
    if cuts[-1][0]:
        cuts.append(("", []))  # what puts them back in order
    try:
        return [_stage(checked, cuts, place) for place in range(len(cuts))]
    except _Undeclared:
        return whole


class _Undeclared(Exception):
    """A column would pass from stage to stage whose type nobody declared."""


def _cuts(checked: CheckedGraph) -> list[tuple[str, list[str]]]:
    """The nodes of each stage, and the route that it brings rows together for."""
    graph, left, done = checked.graph, list(checked.order), set(checked.graph.inputs)
    kinds = {name: _kind(checked, name) for name in left}
    keys = {name: _maker(checked, name) for name in left if kinds[name] == name}
    cuts: list[tuple[str, list[str]]] = []
    while left:
        kind, taken = None, list[str]()
        for name in left:
            behind = {checked.canonical[each].partition(".")[0] for each in graph.nodes[name].references()}
            fits = kinds[name] is None or (kind in (None, kinds[name]) and keys.get(name) not in taken)
            if behind <= done and fits:
                kind = kind or kinds[name]
                taken.append(name)
                done.add(name)
        cuts.append((kind if isinstance(kind, str) else "", taken))
        left = [name for name in left if name not in done]
    return cuts or [("", [])]


def _kind(checked: CheckedGraph, name: str) -> str | tuple[float, float] | None:
    """What tells the stage of a node: a route that has more models than places, or what is asked for; None for nothing."""
    node, need = checked.graph.nodes[name], need_of(checked, [name])
    if (
        isinstance(node, Route)
        and node.key is not None
        and len({each.uses for each in node.players}) > _places(checked, node)
    ):
        return name
    asked = need.memory_bytes, need.accelerator
    return asked if any(asked) else None


def _maker(checked: CheckedGraph, name: str) -> str:
    """The node, or the input, that gives a route its key."""
    node = checked.graph.nodes[name]
    assert isinstance(node, Route)
    return checked.canonical[node.key or ""].partition(".")[0]


def _places(checked: CheckedGraph, route: Route) -> float:
    """How many models of a route may be loaded at the same time."""
    pool, found = checked.graph.pool, [route.max_loaded or float("inf")]
    if pool is not None:
        found.append(pool.max_loaded or float("inf"))
        if pool.memory_bytes:
            sizes = sorted(
                (model.resources.memory_bytes for model, _ in models_of(checked, [route.name])), reverse=True
            )
            sums = [sum(sizes[: count + 1]) for count in range(len(sizes))]
            found.append(sum(each <= pool.memory_bytes for each in sums) or 1)
    return min(found)


def _stage(checked: CheckedGraph, cuts: Sequence[tuple[str, list[str]]], place: int) -> Stage:
    grouped, names = cuts[place]
    before = [name for _, nodes in cuts[:place] for name in nodes]
    last = place == len(cuts) - 1
    taken = _passing(checked, before, [name for _, nodes in cuts[place:] for name in nodes])
    given = _passing(checked, [*before, *names], [name for _, nodes in cuts[place + 1 :] for name in nodes])
    graph = checked.graph
    uses = {member.uses for name in names for member in graph.nodes[name].members}
    inputs = _inputs(checked, cuts, place) | {name: _input(checked, name) for name in taken}
    outputs = dict(graph.outputs) if last else {LEFT + name: name for name in given}
    columns = checked.columns
    types = {name: columns[checked.canonical[reference]] for name, reference in outputs.items()}
    if last:
        types = dict(checked.signature.outputs)
    part = graph.changed(
        inputs=inputs, outputs=outputs, nodes={name: graph.nodes[name] for name in names},
        models={name: each for name, each in graph.models.items() if name in uses},
        graphs={name: each for name, each in graph.graphs.items() if name in uses},
    )  # fmt: skip
    cut = replace(
        checked, graph=part, order=tuple(name for name in checked.order if name in names),
        graphs={name: each for name, each in checked.graphs.items() if name in uses},
        canonical={**checked.canonical, **{name: name for name in taken}},
        signature=Signature({name: each.type for name, each in inputs.items()}, types),
    )  # fmt: skip
    return Stage(cut, need_of(cut) if names else PLAIN, grouped)


def _passing(checked: CheckedGraph, before: Iterable[str], behind: Iterable[str]) -> list[str]:
    """The columns that nodes give which others, or the outputs of the graph, need.

    Raises:
        _Undeclared: when nobody declared the type of one.
    """
    made, graph = set(before), checked.graph
    wanted = [each for name in behind for each in graph.nodes[name].references()]
    full = dict.fromkeys(checked.canonical[each] for each in (*wanted, *graph.outputs.values()))
    found = [name for name in full if name not in graph.inputs and name.partition(".")[0] in made]
    if any(arrow_type(checked.columns[name]) is None for name in found):
        raise _Undeclared
    return found


def _inputs(checked: CheckedGraph, cuts: Sequence[tuple[str, list[str]]], place: int) -> dict[str, Input]:
    """The inputs of the graph that a stage takes: the first one all, so that rows that do not fit fail there."""
    graph = checked.graph
    if not place:
        return dict(graph.inputs)
    wanted = [each for _, nodes in cuts[place:] for name in nodes for each in graph.nodes[name].references()]
    full = {checked.canonical[each] for each in (*wanted, *graph.outputs.values())}
    return {name: each for name, each in graph.inputs.items() if name in full}


def _input(checked: CheckedGraph, name: str) -> Input:
    """A column that was left, as an input; what is missing in it stays so."""
    return Input(checked.columns[name], None, LEFT + name)
