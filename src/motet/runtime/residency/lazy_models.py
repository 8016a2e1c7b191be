"""The models of a graph that are loaded when rows come for them, and how they are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from motet.batch import Column, empty_column
from motet.errors import ModelLoadError, MotetError
from motet.graph.check import CheckedGraph, outer_outputs
from motet.graph.model import Model
from motet.graph.node import Answer, Fault
from motet.graph.pool import MAX_SWAP_WAIT_MS, Places
from motet.nodes.route import Route
from motet.runtime.host import Host, LazyKey, ModelRuntime
from motet.tracebacks import describe

__all__ = ["LazyModels", "lazy_names", "share_places"]


def share_places(checked: CheckedGraph, host: Host) -> None:
    """Have the models of a graph share places where it says so: at nodes, in graphs inside, for the whole graph, or the host.

    Args:
        checked: the graph.
        host: what holds its models.
    """
    for inner in checked.graphs.values():
        share_places(inner, host)
    every = (*checked.graph.models, *checked.graphs)
    whole = () if host.places is None else (_Share(every, host.places, "the server"),)
    for share in (*_shares(checked), *whole):
        host.share(_models_of(checked, share), share.places, share.name)


def lazy_names(checked: CheckedGraph) -> frozenset[str]:
    """The models of a graph, without those inside, that come and go as the graph says; a server may say it of more."""
    return frozenset(
        name
        for share in _shares(checked)
        if not share.places.hold(len(_models_of(checked, share)))
        for name in share.uses
    )


class _Share(NamedTuple):
    """Models of a graph, and graphs inside it, that share places; `name` says who they are, for messages."""

    uses: tuple[str, ...]
    places: Places
    name: str


def _shares(checked: CheckedGraph) -> Iterator[_Share]:
    """What shares places as a graph says: at a node, or all of it."""
    graph = checked.graph
    for node in graph.nodes.values():
        max_loaded = getattr(node, "max_loaded", None)
        if max_loaded is not None:
            uses = tuple(dict.fromkeys(member.uses for member in node.members))
            places = Places(max_loaded, 0, getattr(node, "max_swap_wait_ms", None) or MAX_SWAP_WAIT_MS)
            yield _Share(uses, places, f"node {node.name!r} of graph {graph.name!r}")
    if graph.pool is not None:
        yield _Share((*graph.models, *checked.graphs), graph.pool, f"graph {graph.name!r}")


def _models_of(checked: CheckedGraph, share: _Share) -> list[tuple[Model, str]]:
    """All models that share places, those of graphs inside too, each with its folder."""
    return [each for name in share.uses for each in _models(checked, name)]


def _models(checked: CheckedGraph, name: str) -> Iterator[tuple[Model, str]]:
    """A model of a graph, or all models of a graph inside it, each with its folder."""
    if name in checked.graphs:
        inner = checked.graphs[name]
        for each in (*inner.graph.models, *inner.graphs):
            yield from _models(inner, each)
    else:
        yield checked.graph.models[name], checked.graph.folder


class LazyModels:
    """Those models of a graph that are lazy.

    Args:
        checked: the graph.
        host: holds them.
    """

    def __init__(self, checked: CheckedGraph, host: Host) -> None:
        self._checked, self._residency = checked, host.residency
        found = {name: host.lazy_key(model, checked.graph.folder) for name, model in checked.graph.models.items()}
        self.keys: Mapping[str, LazyKey] = {name: key for name, key in found.items() if key is not None}

    def keyed(self) -> Callable[[Mapping[str, Column]], frozenset[str]] | None:
        """Tells of the inputs of the graph which models rows have to wait for; None where only playing tells.

        Lazy models of other nodes are not looked at: what shares a batch is only a matter of speed.
        """
        for node in self._checked.graph.nodes.values():
            if not isinstance(node, Route) or node.key is None or node.key not in self._checked.graph.inputs:
                continue
            if any(arm.uses in self.keys for arm in node.players):
                return partial(self._missing, node, node.key)
        return None

    def _missing(self, node: Route, key: str, columns: Mapping[str, Column]) -> frozenset[str]:
        keys = columns[key]
        assert isinstance(keys, np.ndarray)
        is_in = self._residency.is_in
        return frozenset(name for name in node.uses_of(keys) if name in self.keys and not is_in(self.keys[name]))

    def load_residents(self) -> None:
        """Load those that stay.

        Raises:
            ModelLoadError: when one cannot be loaded.
        """
        for name, key in self.keys.items():
            if self._checked.graph.models[name].resident:
                self._residency.load(key)

    async def call(
        self, name: str, columns: Any, rows: int, calls: Any, held: ModelRuntime | Exception | None, member: str
    ) -> tuple[Answer, str]:
        """Play rows through a model, loaded if it is not.

        Args:
            name: of the model.
            columns, rows: what it is given.
            calls: how calls are made that may wait; None makes them at once, in the thread that asks.
            held: the model, or why it cannot be loaded, where the caller has it already.
            member: what it is called as; rows of a member fail alone where it cannot be loaded.

        Returns:
            the answer, and the model's version.

        Raises:
            ModelLoadError: when it cannot be loaded, and is no member.
        """
        key, residency = self.keys[name], self._residency
        if isinstance(held, Exception):
            return self._not_loaded(name, rows, held, member)
        if held is not None:
            return held.play(columns, rows), held.located.version
        try:
            model = residency.borrow(key, rows) if calls is None else await residency.borrow_async(key, rows)
        except Exception as error:  # noqa: BLE001 (frameworks may raise anything)
            return self._not_loaded(name, rows, error, member)
        try:
            answer = model.play(columns, rows) if calls is None else await calls.model(model, columns, rows)
            return answer, model.located.version
        finally:
            residency.give_back(key)

    def _not_loaded(self, name: str, rows: int, error: Exception, member: str) -> tuple[Answer, str]:
        if not member:
            if isinstance(error, MotetError):
                raise error
            raise ModelLoadError(describe(error), where=f"model {name!r}") from error
        model, version = self._checked.graph.models[name], self.keys[name].version.partition(":")[0]
        message = f"model {name!r} cannot be loaded: {describe(error)}"
        outputs = outer_outputs(model, self._checked.signatures[name])
        faults = tuple(Fault(row, "ModelLoadError", message, name, version) for row in range(rows))
        return Answer({each: empty_column(kind) for each, kind in outputs.items()}, faults, np.arange(0)), version

    async def in_turn(
        self,
        calls: Sequence[Awaitable[Answer]],
        uses: Sequence[tuple[str, int]],
        held: dict[str, ModelRuntime | Exception],
    ) -> list[Answer]:
        """Make calls in the order in which their models can be had; those of others come last.

        Args:
            calls: the calls, each of which takes its model out of `held`.
            uses: for each the model or graph that it calls, and its rows.
            held: is given the model of the call that is being made.
        """
        wanted = {place: (self.keys[name], rows) for place, (name, rows) in enumerate(uses) if name in self.keys}
        answers: dict[int, Answer] = {}
        try:
            for place, model in self._residency.in_turn(wanted):
                held[uses[place][0]] = model
                answers[place] = await calls[place]
                held.clear()
            for place in range(len(calls)):
                if place not in answers:
                    answers[place] = await calls[place]
        finally:
            held.clear()
            for place, call in enumerate(calls):
                if place not in answers and isinstance(call, Coroutine):
                    call.close()
        return [answers[place] for place in range(len(calls))]
