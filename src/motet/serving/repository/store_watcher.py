"""Watches the stores of the models that are served: what an alias is moved to is loaded, and takes the place of what was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from motet.errors import MotetError, StoreError
from motet.graph.check import CheckedGraph
from motet.graph.graph import GraphSpec
from motet.graph.keyed import KEY, keyed_name
from motet.graph.model import Model
from motet.models.locate import STORE
from motet.runtime.stored import StoredModels, number_of
from motet.serving.repository.entry import GOES_ON, UNLOADED, RepositoryEntry
from motet.serving.repository.repository import ModelRepository

__all__ = ["StoreWatcher", "has_stored"]

_LOG = logging.getLogger("motet.serving")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""How long a version that could not be loaded, or a store that could not be reached, is left alone; doubled each time."""


@dataclass
class _Pause:
    """What went wrong with a graph, and until when it is left alone."""

    numbers: Mapping[str, int]
    until: float
    pause_s: float


class StoreWatcher:
    """Asks the stores, again and again, where their aliases point.

    Args:
        repository: serves the graphs.
        interval_s: from one look to the next.
    """

    def __init__(self, repository: ModelRepository, interval_s: float) -> None:
        self._repository, self._interval_s = repository, interval_s
        self._stored = StoredModels()
        self._pauses: dict[str, _Pause] = {}

    async def run(self) -> None:
        """Watch until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 (what is served goes on; the next look may do better)
                _LOG.exception("the stores could not be watched")

    async def look(self) -> None:
        """Look once, and load what has changed; what cannot be loaded is tried again later."""
        for served in self._repository.things:
            if served.kind == "graph" and served.reason != UNLOADED and has_stored(served.graph):
                await self._look(served)

    async def _look(self, served: RepositoryEntry) -> None:
        loop, known = self._repository.loop, self._pauses.get(served.name)
        waits = known is not None and loop.time() < known.until
        numbers: Mapping[str, int] = {}
        try:
            if waits and known is not None and not known.numbers:
                return
            numbers = await loop.run_in_executor(None, self._moved, served)
            if served.unloaded or served.state == "UNLOADING":
                return  # meanwhile: somebody wants it to stay so
            if not numbers:
                self._all_well(served)
            elif not (waits and known is not None and known.numbers == numbers):
                await self._repository.load(served.name, tell=False)
                self._pauses.pop(served.name, None)
                _LOG.info("%s plays %s", served.name, ", ".join(map(_told, numbers.items())))
        except MotetError as error:
            again = known is not None and known.numbers == numbers
            pause_s = min(2 * known.pause_s, LONGEST_PAUSE_S) if again and known is not None else FIRST_PAUSE_S
            self._pauses[served.name] = _Pause(numbers, loop.time() + pause_s, pause_s)
            if served.state == "READY":
                served.reason, served.error = f"{GOES_ON}: {error}", type(error).__name__
            if not again:
                what = "cannot be asked" if isinstance(error, StoreError) and not numbers else "cannot be loaded"
                _LOG.error("%s goes on with what it has: a store's model %s: %s", served.name, what, error)

    def _all_well(self, served: RepositoryEntry) -> None:
        if self._pauses.pop(served.name, None) is not None and served.state == "READY":
            served.reason = served.error = ""

    def _moved(self, served: RepositoryEntry) -> Mapping[str, int]:
        """The models that mean another version than the one that is served, and its number; 0 for one that was withdrawn."""
        return {
            name: number
            for name, number, pinned in _stored(served.graph, served.graph.checked, self._stored)
            if number is not None and number != (0 if pinned is None else number_of(pinned.uri))
        }


def _told(moved: tuple[str, int]) -> str:
    name, number = moved
    return f"{name}@{number}" if number else f"no {name} any more"


def has_stored(graph: GraphSpec) -> bool:
    """Whether a model of the graph, or of one inside it, is in a store."""
    return any(model.uri.startswith(STORE) for model in graph.models.values()) or any(
        map(has_stored, graph.graphs.values())
    )


def _stored(
    graph: GraphSpec, checked: CheckedGraph, stored: StoredModels
) -> Iterator[tuple[str, int | None, Model | None]]:
    """Each model of a store: its name, the number of the version that it means now, and what it was pinned to.

    Of models by key these are the keys that have one now, and those that had one when the graph was checked.
    """
    for name, model in graph.models.items():
        if not model.uri.startswith(STORE):
            continue
        if KEY not in model.uri:
            yield name, stored.number(model, graph.folder), checked.graph.models.get(name)
            continue
        numbers: dict[str, int | None] = {**stored.key_numbers(model, graph.folder)}
        for key in checked.keys.get(name, ()):
            if key not in numbers:
                numbers[key] = stored.number(replace(model, uri=model.uri.replace(KEY, key)), graph.folder)
        for key, number in numbers.items():
            own = keyed_name(name, key)
            yield own, number, checked.graph.models.get(own)
    for name, inner in graph.graphs.items():
        yield from _stored(inner, checked.graphs[name], stored)
