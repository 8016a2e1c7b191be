"""The models of what a process serves: loaded, made ready to be played in batchers, and given back when nobody has them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from motet.facade import Graph, load
from motet.graph.check import CheckedGraph
from motet.graph.pool import Places
from motet.runtime.batcher import LoopCalls
from motet.runtime.executor import Executor
from motet.runtime.host import Host, ModelRuntime
from motet.runtime.residency.cache import ResidencyCache
from motet.runtime.resolve import ModelResolver, model_key
from motet.runtime.shares import ThreadShares
from motet.runtime.sizes import RememberedSizes
from motet.serving.batching.graph_batcher import GraphBatcher
from motet.serving.batching.placement import ActiveGraphs
from motet.serving.config.limits import Limits
from motet.serving.repository.entry import RepositoryEntry, as_declared, hosted, models_of

__all__ = ["Loader"]

SHADOWS_S = 2.0
"""How long calls of members that do not count are waited for at the end."""
REMOTE_THREADS = 128
"""Threads that wait for models in other processes and on other machines, beyond one a model; each begins when it is needed."""


class Loader:
    """Has the models of a process, and the threads that load and play them.

    Args:
        loop: in whose thread everything but `load`'s work happens.
        limits: tells the bounds of a batcher that is made.
        at_once: how many batches may be played in threads at the same time, beyond one a graph or model.
        places: what the models of all graphs share; None where graphs say it, or each model stays.
        played: what is played of a graph.

    Attributes:
        calls: makes the models' calls of batches that are played as tasks.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Callable[[], Limits],
        at_once: int,
        places: Places | None,
        played: Callable[[RepositoryEntry], CheckedGraph] = as_declared,
    ) -> None:
        self._loop, self._limits, self._at_once, self._played = loop, limits, at_once, played
        self._threads = ThreadShares(at_once, "motet-play")
        self._remote = ThreadShares(REMOTE_THREADS, "motet-remote")
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="motet-load")
        self.calls = LoopCalls(loop, self._threads, self._remote, at_once)
        self._active = ActiveGraphs()
        self._host = Host(places=places)
        self._host.dropped.append(self._let_go)
        self._remembered = RememberedSizes()

    @property
    def resolver(self) -> ModelResolver:
        """Finds the models' files and signatures."""
        return self._host.resolver

    @property
    def residency(self) -> ResidencyCache[ModelRuntime]:
        """The models that share places."""
        return self._host.residency

    async def load(self, graph: RepositoryEntry, *, anew: bool = True) -> RepositoryEntry:
        """A graph with its models in memory, read again from its file where it was tried before.

        Models whose files changed are loaded beside those that answer now.

        Args:
            graph: what is there.
            anew: whether it is read again; else it is the same graph with the same models, and other batchers.

        Raises:
            MotetError: when it cannot be loaded.
        """
        return await self._loop.run_in_executor(self._loading, self._prepare, graph, anew)

    def _prepare(self, graph: RepositoryEntry, anew: bool) -> RepositoryEntry:
        """What `load` does, in the loading thread."""
        if not anew:
            fresh = RepositoryEntry(graph.name, "graph", "motet_graph", graph.graph, path=graph.path)
            fresh.models = models_of(fresh, self._host.resolver)
        elif graph.state != "LOADING" and (graph.path or graph.graph.checked.graph is not graph.graph):
            read = load(graph.path) if graph.path else graph.graph.anew()
            fresh = RepositoryEntry(graph.name, "graph", "motet_graph", read, path=graph.path)
            self._host.resolver.forget(fresh.graph.models.values())
            fresh.models = models_of(fresh, self._host.resolver)
        elif graph.batcher is not None:
            self._revive(graph.batcher)
            return graph
        else:
            fresh = graph
        self._host.expect(self._sizes(fresh.graph))
        batchers = [self._batcher(each) for each in (fresh, *fresh.models)]
        for batcher in batchers:
            batcher.load()
            self._revive(batcher)
        for each, batcher in zip((fresh, *fresh.models), batchers, strict=True):
            each.batcher = batcher
        return fresh

    def _revive(self, batcher: GraphBatcher) -> None:
        """Try replicas again that were given up."""
        for model in batcher.models:
            model.replicas.revive()

    def _sizes(self, graph: Graph) -> dict[str, int]:
        found: dict[str, int] = {}
        for model in graph.checked.graph.models.values():
            key = model_key(model, self._host.resolver.locate(model, graph.folder))
            size = self._remembered.get(key)
            if size is not None:
                found[key] = size
        return found

    def _batcher(self, served: RepositoryEntry) -> GraphBatcher:
        executor = Executor(self._played(served), self._host)
        return GraphBatcher(
            served.name, executor, self._loop, self._threads, self.calls, self._limits(), self._at_once, self._active
        )

    async def keep(self, things: Sequence[RepositoryEntry]) -> None:
        """Give back the models that none of these has, in the loading thread: processes may take a while to end."""
        in_use = {id(model) for each in things for model in hosted(each)}
        lazy = [key for each in things if each.batcher is not None for key in each.batcher.executor.lazy_keys]
        await self._loop.run_in_executor(self._loading, self._host.keep_lazy, lazy)
        residency = self._host.residency
        unused = [model for model in self._host.models if id(model) not in in_use and not residency.has(model)]
        for model in unused:
            self.calls.drop(model)
            del model
        while unused:  # emptied in the thread, which would hold what it is given for a moment longer
            await self._loop.run_in_executor(self._loading, lambda: self._host.drop(unused.pop()))

    def _let_go(self, model: ModelRuntime) -> None:
        """A model that shares its place was let go, in whatever thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.calls.drop, model)

    async def end_shadows(self, batchers: Sequence[GraphBatcher]) -> None:
        """Drop what waits for members that do not count, and wait a while for what is under way, in the loading thread."""
        await self._loop.run_in_executor(self._loading, _end_shadows, batchers)

    def close(self, batchers: Sequence[GraphBatcher]) -> None:
        """Give all models and threads back, and wait a while for members that do not count in these batchers."""
        _end_shadows(batchers)
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown()
        self._remote.shutdown()
        self._host.close()


def _end_shadows(batchers: Sequence[GraphBatcher]) -> None:
    until = time.monotonic() + SHADOWS_S
    for batcher in batchers:  # what waits goes everywhere first
        batcher.executor.close_shadows()
    for batcher in batchers:
        batcher.executor.close_shadows(until - time.monotonic())
