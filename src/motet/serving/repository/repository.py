"""The repository: what is served, by name; what becomes ready and what goes, and when; draining.

A graph is served under its name. Each of its models is served too, under its own name where no other graph has a model
of that name, and under `GRAPH.MODEL` in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial

from motet.errors import (
    ForbiddenError,
    GraphError,
    InputError,
    ModelLoadError,
    MotetError,
    NotFoundError,
    NotReadyError,
    StoreError,
    known_names,
)
from motet.facade import Graph, load
from motet.graph.check import CheckedGraph
from motet.graph.pool import Places
from motet.runtime.host import ModelRuntime
from motet.runtime.residency.cache import ResidencyCache
from motet.runtime.resources.pool import Pool
from motet.serving.batching.graph_batcher import GraphBatcher
from motet.serving.batching.request import Request
from motet.serving.config.limits import Limits
from motet.serving.repository.autoscaler import Autoscaler
from motet.serving.repository.changes import RepositoryChanges
from motet.serving.repository.entry import STOPS, UNLOADED, RepositoryEntry, State, as_declared, hosted, models_of
from motet.serving.repository.loader import Loader
from motet.serving.repository.placeholder import awaited
from motet.system.limits import num_cores
from motet.tracebacks import summary

__all__ = ["ModelRepository"]


class ModelRepository:
    """Serves graphs. Everything here happens in the thread of one event loop.

    While it is `stopping` it is not ready, and goes on to play what was accepted; while it is `draining` it plays
    nothing new.

    Args:
        limits: bounds.
        threads: how many batches may be played in threads at the same time; None is one a core.
        prepare: is shown every batcher that was made and loaded, before it is used; in the event loop.
        not_ready: is told of every request that is refused since what it asks for is not ready; in the event loop.
        places: what the models of all graphs share; None where graphs say it, or each model stays.
        pool: lends what replicas need that become more, and is told what the server uses; None lends as many as may be.
        played: what is played of a graph; in the thread that loads.
        told: tells the other processes of the server what is loaded, unloaded and scaled here; None where there are none.

    Attributes:
        changed, rested: called when other things may be served under the names, and when `busy` may be over.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        threads: int | None = None,
        prepare: Callable[[RepositoryEntry], Awaitable[None]] | None = None,
        not_ready: Callable[[RepositoryEntry, MotetError], None] = lambda served, error: None,
        places: Places | None = None,
        pool: Pool | None = None,
        played: Callable[[RepositoryEntry], CheckedGraph] = as_declared,
        told: RepositoryChanges | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self._prepared, self._not_ready, self._told = prepare, not_ready, told
        self._loader = Loader(self.loop, lambda: self._limits, threads or num_cores(), places, played)
        self._autoscaler = Autoscaler(self.loop, self._hosted_models, self._waiting_for, pool)
        self.pool = pool
        self._names: dict[str, RepositoryEntry] = {}
        self._graphs: dict[str, RepositoryEntry] = {}
        self.stopping = self.draining = False
        self._changing, self._begun = asyncio.Lock(), False
        self.changed: list[Callable[[], None]] = []
        self.rested: list[Callable[[], None]] = []
        self.started = time.time()

    @property
    def limits(self) -> Limits:
        """Bounds of requests, queues and batches; what is set here holds from then on, for what is served already too."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        for served in self._names.values():
            if served.batcher is not None:
                served.batcher.limits = limits

    @property
    def served(self) -> Mapping[str, RepositoryEntry]:
        """What is served, by name: graphs, and their models."""
        return self._names

    @property
    def things(self) -> list[RepositoryEntry]:
        """What is served, each once."""
        return [each for graph in self._graphs.values() for each in (graph, *graph.models)]

    @property
    def ready(self) -> bool:
        """Whether every graph that is not unloaded on purpose can be called."""
        wanted = [each for each in self._graphs.values() if each.reason != UNLOADED]
        return not (self.stopping or self.draining) and all(each.state == "READY" for each in wanted)

    @property
    def busy(self) -> bool:
        """Whether models are loaded, for the first time or anew, or given back, or the server ends: it may hold the process."""
        return self.stopping or not self._begun or self._changing.locked() or self._loader.residency.swapping

    def rest(self) -> None:
        """Say that it may rest now, to whoever looks whether it is `busy`."""
        for each in self.rested:
            each()

    def add(self, graph: Graph | str | os.PathLike[str]) -> RepositoryEntry:
        """Add a graph, or the file of one; `load` makes it ready. One whose models a store does not have yet waits for them.

        Raises:
            GraphError: when the file is wrong, or another graph has its name.
        """
        path = "" if isinstance(graph, Graph) else os.fspath(graph)
        waits: StoreError | None = None
        try:
            made = graph if isinstance(graph, Graph) else load(path)
        except StoreError as error:  # which a watch may see mended: see `store_watcher.py`
            made, waits = awaited(path), error
        if made.name in self._graphs:
            raise GraphError(f"two graphs are called {made.name!r}", where=path or "serve", hint="rename one")
        served = RepositoryEntry(made.name, "graph", "motet_graph", made, path=path)
        if waits:
            served.state, served.reason, served.error = "UNAVAILABLE", str(waits), type(waits).__name__
        else:
            served.models = models_of(served, self._loader.resolver)
        self._graphs[made.name] = served
        self._register()
        return served

    def _register(self) -> None:
        """Names of everything: graphs first, then models under their own names where only one graph has them."""
        names: dict[str, RepositoryEntry] = dict(self._graphs)
        models = [model for graph in self._graphs.values() for model in graph.models]
        short = [model.name.partition(".")[2] for model in models]
        for model, name in zip(models, short, strict=True):
            names[model.name] = model
            if short.count(name) == 1:
                names.setdefault(name, model)
        self._names = names
        for changed in self.changed:
            changed()

    def find(self, name: str, version: str = "") -> RepositoryEntry:
        """What is served under a name.

        Raises:
            NotFoundError: when nothing is; lists what is, or the versions.
        """
        found = self._names.get(name)
        if found is None:
            raise NotFoundError(f"no model {name!r} is served; {known_names(name, list(self._names))}")
        if version and version not in found.versions:
            raise NotFoundError(f"model {name!r} has no version {version!r}; it has {', '.join(found.versions)}")
        return found

    def find_loaded(self, name: str, version: str = "") -> RepositoryEntry:
        """The same, but nothing that was unloaded.

        Raises:
            NotFoundError: when nothing is, or it was unloaded.
        """
        found = self.find(name, version)
        if found.unloaded:
            raise NotFoundError(f"{name!r} is unloaded", hint="load it first")
        return found

    @property
    def loaded_names(self) -> list[str]:
        """The names of what is served, but for what was unloaded."""
        return [name for name, served in self._names.items() if not served.unloaded]

    def submit(self, served: RepositoryEntry, request: Request) -> None:
        """Play a request. It is called back once, here and now where it is refused."""
        if served.state != "READY":
            served = self._instead(served)
        batcher = served.batcher
        if batcher is None or served.state != "READY" or self.draining:
            why = STOPS if self.draining else served.told
            request.settled = True
            error = NotReadyError(f"{served.name} is not ready: {why}", retry_after_s=1)
            self._not_ready(served, error)
            request.failed(error)
            return
        if batcher.responder.cache is None or not batcher.responder.answer_again(request, served.digest):
            batcher.submit(request)

    def _instead(self, served: RepositoryEntry) -> RepositoryEntry:
        """What is in the place of something that was found a while ago, if it takes and gives the same."""
        found = self._names.get(served.name, served)
        return found if found.signature == served.signature and found.inputs == served.inputs else served

    async def load_all(self) -> None:
        """Load every graph that was not unloaded on purpose; one that cannot be loaded says why in its `reason`."""
        for name in list(self._graphs):
            async with self._changing:
                if self._graphs[name].reason != UNLOADED:
                    with contextlib.suppress(MotetError):  # its state says so, and why
                        await self._load(self._graphs[name])
        self._begun = True
        self.rest()

    @contextlib.asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """One at a time loads or gives back; before the next request is played it is known that the process rests again."""
        try:
            async with self._changing:
                yield
        finally:
            self.rest()

    async def load(self, name: str, *, tell: bool = True) -> RepositoryEntry:
        """Load a graph, or load it anew from its file; requests go on with what there was until it is ready.

        Args:
            name: of the graph, or of one of its models.
            tell: whether the other processes of the server are to do so too.

        Raises:
            NotFoundError: when there is no such graph.
            MotetError: when it cannot be loaded; what there was stays.
        """
        async with self._change():
            served = self.find(name)
            graph = await self._load(served.parent or served)
        if tell and self._told is not None:
            self._told.switched(graph.name, True)
        return self.find(name)

    async def play_anew(self, name: str) -> None:
        """Play a graph from now on as `played` says now; nothing is read or loaded, and one that is not loaded waits for that.

        Raises:
            MotetError: when it cannot be; what there was stays.
        """
        async with self._change():
            graph = self._graphs.get(name)
            if graph is not None and graph.batcher is not None:
                await self._load(graph, anew=False)

    async def _load(self, graph: RepositoryEntry, *, anew: bool = True) -> RepositoryEntry:
        again = graph.batcher is not None
        try:
            fresh = await self._loader.load(graph, anew=anew)
            if self._prepared is not None and fresh.batcher is not None:
                for each in (fresh, *fresh.models):
                    await self._prepared(each)
        except Exception as error:
            if not isinstance(error, MotetError):
                error = ModelLoadError(summary(error), where=f"graph {graph.name!r}")
            if not again:
                for each in (graph, *graph.models):
                    each.batcher = None
                self._set(graph, "UNAVAILABLE", str(error), type(error).__name__)
            await self._loader.keep(self.things)
            raise error from error.__cause__
        self._graphs[graph.name] = fresh
        self._set(fresh, "READY", "")
        self._autoscaler.start()
        self._rivals()
        self._register()
        if fresh is not graph:
            self._set(graph, "UNAVAILABLE", "replaced")
            await self._retire(graph)
        return fresh

    async def unload(self, name: str, *, tell: bool = True) -> None:
        """Take a graph off line: requests that were accepted finish, and the memory of models nobody else has is given back.

        Args:
            name: of the graph.
            tell: whether the other processes of the server are to do so too.

        Raises:
            NotFoundError: when there is no such graph.
            ForbiddenError: when it is a model of a graph.
        """
        async with self._change():
            served = self.find(name)
            if served.parent is not None:
                raise ForbiddenError(
                    f"{name!r} belongs to graph {served.parent.name!r}", hint=f"unload {served.parent.name!r}"
                )
            self._set(served, "UNLOADING", "")
            await self._retire(served)
            self._set(served, "UNAVAILABLE", UNLOADED)
            self._rivals()
        if tell and self._told is not None:
            self._told.switched(served.name, False)

    async def scale(self, name: str, count: int, *, tell: bool = True) -> None:
        """Have so many local replicas of a model, in each process of the server; more are started without waiting for them.

        Args:
            name: of the model; a graph's where the graph has one model.
            count: how many. Those that go finish their calls first; with 0 the next call starts one.
            tell: whether the other processes of the server are to do so too.

        Raises:
            NotFoundError: when there is no such model.
            NotReadyError: when its graph is not loaded.
            InputError: when it cannot have so many.
        """
        served = self.find(name)
        models = hosted(served)
        if not models and served.batcher is not None:
            raise InputError(f"{name!r} has no model that can be scaled", hint="those under max_loaded come and go")
        if not models:
            raise NotReadyError(f"{name} is not loaded", hint=f"load {served.parent.name if served.parent else name!r}")
        if len(models) > 1:
            names = [each.name for each in served.models]
            raise InputError(f"{name!r} has {len(models)} models", hint=f"name one of them: {', '.join(names)}")
        models[0].scale(count)
        if tell and self._told is not None:
            self._told.scaled(served.name, count)

    async def _retire(self, served: RepositoryEntry) -> None:
        """Let what was accepted finish, and give back what nobody else has; what is not played in time goes to what is there now."""
        retired = {each.batcher: each for each in (served, *served.models) if each.batcher is not None}
        batchers = list(retired)
        for batcher in batchers:
            batcher.close()
        await self._until_idle(batchers, self.limits.drain_timeout_s)
        for batcher, each in retired.items():
            batcher.end(partial(self.submit, each))
        await self._loader.end_shadows(batchers)
        for each in (served, *served.models):
            each.batcher = None
        await self._loader.keep(self.things)

    def _hosted_models(self) -> list[ModelRuntime]:
        return list({id(model): model for each in self.things for model in hosted(each)}.values())

    def _waiting_for(self, model: ModelRuntime) -> int:
        """Rows that wait for a model: at its batcher, and in the batchers that have it."""
        batchers = {each.batcher for each in self.things if each.batcher is not None and model in each.batcher.models}
        return self._loader.calls.waiting_rows(model) + sum(batcher.waiting_rows for batcher in batchers)

    @property
    def residency(self) -> ResidencyCache[ModelRuntime]:
        """The models that share places."""
        return self._loader.residency

    async def _until_idle(self, batchers: Sequence[GraphBatcher], timeout_s: float) -> bool:
        end = self.loop.time() + timeout_s
        while not all(batcher.idle for batcher in batchers):
            if self.loop.time() >= end:
                return False
            await asyncio.sleep(0.005)
        return True

    def _set(self, graph: RepositoryEntry, state: State, reason: str, error: str = "") -> None:
        for each in (graph, *graph.models):
            each.state, each.reason, each.error = state, reason, error

    def _rivals(self) -> None:
        """Which graphs share models: their batches are put together when both have rows."""
        batchers = {
            graph.batcher: {id(model) for model in hosted(graph)} for graph in self._graphs.values() if graph.batcher
        }
        for batcher, models in batchers.items():
            batcher.rivals = [other for other, theirs in batchers.items() if other is not batcher and models & theirs]

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Be not ready, and wait for the requests that were accepted; whether all were answered in time."""
        self.draining = True
        batchers = [each.batcher for graph in self._graphs.values() for each in (graph, *graph.models) if each.batcher]
        return await self._until_idle(batchers, self.limits.drain_timeout_s if timeout_s is None else timeout_s)

    def close(self) -> None:
        """Give everything back; nothing is served after it."""
        for each in self.things:
            if each.batcher is not None:
                each.batcher.end()
        self._autoscaler.close()
        self._loader.close([each.batcher for each in self.things if each.batcher is not None])
