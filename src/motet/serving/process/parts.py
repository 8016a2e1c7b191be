"""The parts of one process of a server, put together as its configuration says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motet.errors import MotetError
from motet.facade import Graph
from motet.graph.check import CheckedGraph
from motet.serving.batching.response_cache import ResponseCache
from motet.serving.config.cache import ResponseCacheConfig
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.config.pool import PoolConfig
from motet.serving.config.server import ServeConfig
from motet.serving.http.front import Front
from motet.serving.http.infer import InferRoutes
from motet.serving.middleware.middleware import Middleware
from motet.serving.observability.incidents import say_failed
from motet.serving.observability.observability import Observability, Watched
from motet.serving.process.repository_sync import RepositorySync
from motet.serving.repository.changes import RepositoryChanges
from motet.serving.repository.entry import RepositoryEntry, as_declared
from motet.serving.repository.repository import ModelRepository
from motet.system.run_folders import RunFolder

if TYPE_CHECKING:
    from motet.serving.admission import Admission, AdmissionConfig
    from motet.serving.experiments.experiments import Experiments
    from motet.serving.http.asgi import App, Message
    from motet.serving.sinks import Sinks
    from motet.system.line_writer import LineWriter

__all__ = ["ServerParts"]

CLOSE_S = 10.0
NOW = ("queued_rows", "spool_bytes")
"""What is known of a sink that goes up and down."""


class ServerParts:
    """What a process of a server is made of, beside its sockets.

    Args:
        graphs: the graphs, or their files.
        config: how the server is set up.
        folder: what the processes of the server share; None makes one that ends with this process.

    Attributes:
        repository: what is served.
        observability: metrics, logs and traces.
        middleware: what every request passes.
        front: what the connections over HTTP share.

    Raises:
        MotetError: when the configuration is wrong, or does not fit the graphs.
    """

    def __init__(self, graphs: Sequence[Graph | str], config: ServeConfig, folder: str | None) -> None:
        self._own_folder = None
        if folder is None:
            self._own_folder = RunFolder("motet-serve-")
            folder = self._own_folder.path
        self._folder = folder
        self._app: App | None = None
        self._admission: Admission | None = None
        self._audit: LineWriter | None = None
        self._audit_dropped = 0
        """Entries that logs of earlier configurations have lost."""
        self._sinks: Sinks | None = None
        pool = PoolConfig.read(config.pool, "pool")
        changes = RepositoryChanges(folder) if config.processes > 1 else None
        self.repository = ModelRepository(
            config.limits,
            threads=config.threads,
            prepare=self._prepare,
            not_ready=self._not_ready,
            places=pool.places,
            pool=pool.pool,
            played=self._played,
            told=changes,
        )
        self._experiments = self._made_experiments(config)
        for graph in (*graphs, *config.graphs):
            self.repository.add(graph)
        self.observability = Observability(
            _observability_config(config),
            Path(self._folder) / "observability",
            lambda: self.repository.things,
            lambda: self.front,
            lambda: self.repository,
        )
        self.observability.check_drift([name for name, each in self.repository.served.items() if each.kind == "graph"])
        self.middleware = Middleware(self.repository, config, self.observability)
        self._use(config, *self._made_admission(_admission_config(config)))
        if config.sinks:
            self._sinks = self._made_sinks(config)
        self.observability.watch(self._sink_numbers)
        self.observability.watch(self._admission_numbers)
        if self._experiments is not None:
            self.observability.watch(self._experiments.numbers)
        self._sync = None if changes is None else RepositorySync(changes, self.repository)
        routes = InferRoutes(self.repository, self.middleware)
        self.front = Front(self._answer_rest, routes, config.limits, self.middleware)
        self.repository.changed.append(self.front.forget_routes)

    def _made_admission(self, read: AdmissionConfig | None) -> tuple[Admission | None, LineWriter | None]:
        """What lets in, the one there is where there is one, and a log of its own; nothing is changed by it.

        Raises:
            MotetError: when one cannot be made.
        """
        if read is None:
            return None, None
        from motet.serving.admission import Admission, audit_log

        audit = None if read.audit is None else audit_log(read.audit)
        try:
            return self._admission or Admission(read, folder=Path(self._folder) / "admission"), audit
        except BaseException:
            if audit is not None:
                audit.close()
            raise

    def _use(self, config: ServeConfig, admission: Admission | None, audit: LineWriter | None) -> None:
        """Set up what can be set up anew while the server runs."""
        self._cache = None if config.cache is None else ResponseCacheConfig.read(config.cache, "cache")
        self._config, self._admission, self._audit = config, admission, audit
        self.middleware.use(config, admission, audit)

    def _made_sinks(self, config: ServeConfig) -> Sinks:
        from motet.serving.sinks import Sinks, read_sinks

        read = read_sinks(config.sinks, "sinks")
        self._kept_models = {name for each in read for name in each.graphs}
        sinks = Sinks(read, folder=config.folder or ".")
        sinks.check([name for name, each in self.repository.served.items() if each.name == name])
        return sinks

    def _made_experiments(self, config: ServeConfig) -> Experiments | None:
        if config.experiments is None:
            return None
        from motet.serving.config.experiments import ExperimentsConfig
        from motet.serving.experiments.experiments import Experiments

        read = ExperimentsConfig.read(config.experiments, "experiments")
        return Experiments(read, Path(config.folder or "."), self.repository.play_anew)

    def _played(self, served: RepositoryEntry) -> CheckedGraph:
        """What is played of a graph; in the thread that loads."""
        if self._experiments is None or served.kind != "graph":
            return as_declared(served)
        return self._experiments.played(served.name, served.graph.checked)

    def _admission_numbers(self) -> Iterator[Watched]:
        if lost := self._audit_dropped + (0 if self._audit is None else self._audit.num_dropped):
            yield "counter", "motet_log_lines_dropped", {"log": "audit"}, lost
        if self._admission is not None and self._admission.config.redis is not None:
            yield "counter", "motet_rates_uncounted", {}, self._admission.num_uncounted

    def _sink_numbers(self) -> Iterator[Watched]:
        kept = {} if self._sinks is None else dict(self._sinks.counts())
        if self._experiments is not None:
            kept |= self._experiments.sink_counts()
        for name, counts in kept.items():
            for count, value in counts.items():
                yield "gauge" if count in NOW else "counter", f"motet_sink_{count}", {"sink": name}, value

    async def _prepare(self, served: RepositoryEntry) -> None:
        """Attach what counts and keeps answers to a batcher that was made."""
        batcher = served.batcher
        assert batcher is not None
        if served.kind == "graph":
            self.observability.loaded(served.name, batcher.executor.checked)
        batcher.responder.listener = self.observability.listener(served.name)
        if self._sinks is not None and (served.kind == "graph" or served.name in self._kept_models):
            await self._sinks.open(served.name, served.signature, served.digest)
            if self._sinks.wants(served.name):
                from motet.serving.sinks import SinkHook

                batcher.responder.hook = SinkHook(self._sinks, served.name)
        if self._experiments is not None and served.kind == "graph":
            await self._experiments.open(served.name)
            batcher.responder.hook = self._experiments.hook(served.name, batcher.responder.hook)
        config = self._cache
        if config is not None and (not config.graphs or served.name in config.graphs):
            batcher.responder.cache = ResponseCache(config.max_bytes, config.ttl_s) if config.max_bytes else None

    def _not_ready(self, served: RepositoryEntry, error: MotetError) -> None:
        self.observability.listener(served.name).metrics.rejected("not_ready")
        say_failed(served.name, error)

    def numbers(self, served: RepositoryEntry) -> Mapping[str, Any]:
        """The statistics of what is served, as Triton's clients ask for them."""
        return self.observability.statistics(served.name)

    async def _answer_rest(self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        """Answer what no inference route does; made when it is first asked, so that a server starts without it."""
        if self._app is None:
            from motet.serving.rest import AppParts, create_app

            admission = self._admission
            parts = AppParts(
                secured=() if admission is None else ("key", "bearer"),
                required=admission is not None and not admission.config.anonymous,
                status=self.observability.now,
                metrics=self.observability.exposition,
                numbers=self.numbers,
                samples=self._config.samples,
                experiments=self._experiments,
            )
            self._app = create_app(self.repository, self.middleware, parts)
        await self._app(scope, receive, send)

    def start(self) -> None:
        """Begin what works beside requests."""
        self.observability.start()
        if self._sync is not None:
            self._sync.start()
        if self._experiments is not None:
            self._experiments.start()

    async def reload(self, config: ServeConfig) -> None:
        """Take over another configuration.

        Raises:
            MotetError: when it is wrong; what there was stays.
        """
        before, audit, read = self._admission, self._audit, _admission_config(config)
        if config.cache is not None:
            ResponseCacheConfig.read(config.cache, "cache")
        if read is not None and (before is None or read.keys != before.config.keys):
            read.check_keys()
        admission, made = self._made_admission(read)
        try:
            self.observability.take(_observability_config(config))
            if before is not None and read is not None:
                await before.reload(read)
        except MotetError:
            self.observability.take(_observability_config(self._config))
            if made is not None:
                await asyncio.to_thread(made.close)
            if admission is not None and admission is not before:
                await admission.close()
            raise
        self._use(config, admission, made)
        self._app = None
        if before is not None and read is None:
            await before.close()
        if audit is not None:
            await asyncio.to_thread(audit.close)
            self._audit_dropped += audit.num_dropped

    async def close(self) -> None:
        """Finish what works beside requests, within its own bounds, and give everything back."""
        if self._sync is not None:
            self._sync.close()
        if self._sinks is not None:
            await self._sinks.close(CLOSE_S)
        if self._experiments is not None:
            await self._experiments.close(CLOSE_S)
        if self._admission is not None:
            await self._admission.close()
        if self._audit is not None:
            await asyncio.to_thread(self._audit.close)
        await asyncio.to_thread(self.observability.close)
        if self._own_folder is not None:
            self._own_folder.close()
        self.repository.close()


def _observability_config(config: ServeConfig) -> ObservabilityConfig:
    return ObservabilityConfig.read(config.observability, "observability", config.folder)


def _admission_config(config: ServeConfig) -> AdmissionConfig | None:
    if config.admission is None:
        return None
    from motet.serving.admission import AdmissionConfig

    return AdmissionConfig.read(config.admission, "admission", config.folder)
