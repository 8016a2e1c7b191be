"""What a process does for every request beside playing it: who may ask, what is counted, kept and written down.

Every part is there only where it is configured; without any of them a request costs no more than a look at an attribute.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motet.errors import MotetError
from motet.serving.batching.request import Reply, Request
from motet.serving.batching.response_cache import ResponseCache, ResponseCacheConfig
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.config.server import ServeConfig
from motet.serving.middleware.context import RequestContext, name_of
from motet.serving.middleware.entries import AppDesk, Desk
from motet.serving.observability.incidents import say_failed
from motet.serving.observability.observability import Observability, Watched
from motet.serving.process.repository_sync import RepositorySync
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.system.places import temporary_folder

if TYPE_CHECKING:
    from motet.serving.admission import Admission, AdmissionConfig, AuditLog, Ticket
    from motet.serving.admission.addresses import Headers
    from motet.serving.http.asgi import App, Message
    from motet.serving.http.exchange import Origin
    from motet.serving.http.front import Front
    from motet.serving.http.infer import InferExchange
    from motet.serving.http.unadmitted import Unadmitted
    from motet.serving.sinks import Sinks

__all__ = ["Middleware"]

CLOSE_S = 10.0
NOW = ("queued_rows", "spool_bytes")
"""What is known of a sink that goes up and down."""


class Middleware:
    """The parts of a server around its gateway, in one process.

    Args:
        config: how the server is set up.
        folder: what the processes of the server share; None makes one that ends with this process.

    Attributes:
        gateway, front: set by the server that makes them.
        busy: whether requests must come by here.
    """

    repository: ModelRepository
    front: Front

    def __init__(self, config: ServeConfig, folder: str | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="motet-serve-", dir=temporary_folder())
        self.desk = Desk(self)
        self._app: App | None = None
        self._together: RepositorySync | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.admission: Admission | None = None
        self.audit: AuditLog | None = None
        self.sinks: Sinks | None = None
        self.seen = Observability(
            self._seen_config(config),
            Path(self.folder) / "observability",
            lambda: self.repository.things,
            lambda: self.front,
            lambda: self.repository,
        )
        self._set_up(config)
        self.seen.watch(self._admission_numbers)
        if config.sinks:
            self.sinks = self._made_sinks(config)
            self.seen.watch(self._sink_numbers)

    @staticmethod
    def _seen_config(config: ServeConfig) -> ObservabilityConfig:
        return ObservabilityConfig.read(
            {} if config.observability is None else config.observability, "observability", config.folder
        )

    def _set_up(self, config: ServeConfig) -> None:
        """What can be set up anew while the server runs.

        Raises:
            MotetError: when the configuration is wrong; what there was stays.
        """
        admission, audit = self.admission, None
        read = self._admission_config(config)
        if read is not None:
            from motet.serving.admission import Admission, AuditLog

            if admission is None:
                admission = Admission(read, folder=Path(self.folder) / "admission")
            audit = None if read.audit is None else AuditLog(read.audit)
        elif admission is not None:
            admission = None
        self.cache_config = None if config.cache is None else ResponseCacheConfig.read(config.cache, "cache")
        self.config, self.admission, self.audit = config, admission, audit
        self.busy = (
            admission is not None or audit is not None or self.seen.access is not None or self.seen.tracing is not None
        )

    @staticmethod
    def _admission_config(config: ServeConfig) -> AdmissionConfig | None:
        if config.admission is None:
            return None
        from motet.serving.admission import AdmissionConfig

        return AdmissionConfig.read(config.admission, "admission", config.folder)

    def _made_sinks(self, config: ServeConfig) -> Sinks:
        from motet.serving.sinks import Sinks, read_sinks

        read = read_sinks(config.sinks, "sinks")
        self._kept_models = {name for each in read for name in each.graphs}
        return Sinks(read, folder=config.folder or ".")

    def _admission_numbers(self) -> Iterator[Watched]:
        if self.admission is not None and self.admission.config.redis is not None:
            yield "counter", "motet_rates_uncounted", {}, self.admission.num_uncounted

    def _sink_numbers(self) -> Iterator[Watched]:
        for name, counts in self.sinks.counts().items() if self.sinks is not None else ():
            for count, value in counts.items():
                yield "gauge" if count in NOW else "counter", f"motet_sink_{count}", {"sink": name}, value

    def check(self) -> None:
        """See that what is configured fits the graphs that were added.

        Raises:
            MotetError: when it does not.
        """
        if self.sinks is not None:
            self.sinks.check([name for name, each in self.repository.served.items() if each.name == name])

    async def prepare(self, served: RepositoryEntry) -> None:
        """Attach what counts and keeps answers to a batcher that was made."""
        batcher = served.batcher
        assert batcher is not None
        batcher.responder.listener = self.seen.listener(served.name)
        if self.sinks is not None and (served.kind == "graph" or served.name in self._kept_models):
            await self.sinks.open(served.name, served.signature, served.digest)
            if self.sinks.wants(served.name):
                from motet.serving.sinks import SinkHook

                batcher.responder.hook = SinkHook(self.sinks, served.name)
        config = self.cache_config
        if config is not None and (not config.graphs or served.name in config.graphs):
            batcher.responder.cache = ResponseCache(config.max_bytes, config.ttl_s) if config.max_bytes else None

    def numbers(self, served: RepositoryEntry) -> Any:
        """The statistics of what is served, as Triton's clients ask for them."""
        return self.seen.statistics(served.name)

    async def app(self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        """Answer what no inference route does; made when it is first asked, so that a server starts without it."""
        if self._app is None:
            from motet.serving.rest import AppParts, create_app

            admission = self.config.admission
            self._app = create_app(
                self.repository,
                AppParts(
                    cors=self.config.cors,
                    admin=self.config.admin,
                    desk=AppDesk(self),
                    secured=() if admission is None else ("key", "bearer"),
                    required=self.admission is not None and not self.admission.config.anonymous,
                    status=self.seen.now,
                    metrics=self.seen.exposition,
                    numbers=self.numbers,
                    samples=self.config.samples,
                ),
            )
        await self._app(scope, receive, send)

    def address(self, peer: str, headers: Callable[[], Headers]) -> str:
        """The address of the client, behind proxies that are trusted.

        Args:
            peer: the address at the other end of the connection.
            headers: gives the header that they write, at least; what came several times is joined.
        """
        if not self.config.trusted_proxies:
            return peer
        from motet.serving.admission import client_address

        return client_address(peer, headers(), self.config.trusted_proxies, self.config.proxy_header)

    def _address(self, origin: Origin) -> str:
        peer = origin.address()

        def headers() -> Headers:
            from motet.serving.admission.addresses import joined

            return joined(origin.headers, (self.config.proxy_header.encode(),))

        return self.address("" if peer is None else peer[0], headers)

    def receive(self, exchange: InferExchange, body: bytes) -> None:
        """A request for inference was read: let it in, now or when it is its turn."""
        if not exchange.is_ready:  # which costs nobody a place or a rate
            exchange.body = body
            exchange.submit(body)
            return
        origin = exchange.origin
        asked = f"POST {origin.url.decode('latin-1')}"
        visit = exchange.visit = RequestContext(self, "http", asked, exchange.name, self._address(origin))
        visit.received_bytes, visit.id = len(body), exchange.id
        visit.trace(exchange.known.get(b"traceparent", b"").decode("latin-1"))
        try:
            waiting = self.enter(visit, exchange.known, owner=origin.owner)
        except MotetError as error:
            self.rejected(visit.target, error)
            exchange.refuse(error)
            return
        exchange.identity = visit.identity
        if waiting is None:
            exchange.submit(body)
            return
        visit.entering = self._keep(self._go_on(exchange, body, visit, waiting))

    async def _go_on(
        self, exchange: InferExchange, body: bytes, visit: RequestContext, waiting: Coroutine[Any, Any, Ticket]
    ) -> None:
        try:
            visit.entered(await waiting)
        except MotetError as error:
            visit.entering = None
            self.rejected(visit.target, error)
            exchange.refuse(error)
            return
        exchange.submit(body)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def enter(self, visit: RequestContext, headers: Any, *, owner: bool = False) -> Coroutine[Any, Any, Ticket] | None:
        """Let a visit in: None when it is, else what to wait for. The user that runs the server needs no credential.

        Raises:
            MotetError: when it may not come in.
        """
        if self.admission is None:
            return None
        admission = self.admission
        caller = visit.caller = admission.owner if owner else admission.identify(headers, visit.address)
        visit.identity = caller.identity
        entering = self.admission.enter(caller)
        if asyncio.iscoroutine(entering):
            return entering
        visit.entered(entering)
        return None

    def rejected(self, target: str, error: MotetError) -> None:
        """Count a request that admission did not let in, where it is for something that is served."""
        served = self.repository.served.get(target)
        if served is not None:
            from motet.serving.admission import reason_of

            self.seen.listener(served.name).metrics.rejected(reason_of(error))
            say_failed(served.name, error)

    def unvisited(self, over: Unadmitted) -> None:
        """A request is over that no visit was made for."""
        if self.seen.access is None:
            return
        visit = RequestContext(self, "http", over.asked, "", self._address(over.origin))
        visit.status, visit.received_bytes, visit.sent_bytes = over.status, over.received_bytes, over.sent_bytes
        visit.id = over.origin.known.get(b"x-request-id", b"").decode("latin-1")
        entry = visit.access(None, None, "" if over.error is None else name_of(over.error))
        entry.seconds = over.seconds
        self.seen.wrote(entry)

    def write_down(self, visit: RequestContext, request: Request | None, reply: Reply | None, error: str) -> None:
        """A visit is over."""
        if self.admission is not None:
            klass = "" if visit.caller is None else visit.caller.klass
            self.seen.caller_answered(klass, visit.status, visit.since_s)
        if self.audit is not None:
            self.audit.write(visit.entry(request, reply, error))
        if self.seen.access is not None:
            self.seen.wrote(visit.access(request, reply, error))

    async def start(self) -> None:
        """Begin what works beside requests."""
        self.front.written = self.unvisited
        self.repository.not_ready = self._not_ready
        self.seen.start()
        if self.config.processes > 1:
            self._together = RepositorySync(self.folder, self.repository)
            self.repository.tell, self.repository.tell_scaled = self._together.tell, self._together.tell_scaled
            self._together.start()

    def _not_ready(self, served: RepositoryEntry, error: MotetError) -> None:
        self.seen.listener(served.name).metrics.rejected("not_ready")
        say_failed(served.name, error)

    async def reload(self, config: ServeConfig) -> None:
        """Take over another configuration.

        Raises:
            MotetError: when it is wrong; what there was stays.
        """
        before, audit, read = self.admission, self.audit, self._admission_config(config)
        if config.cache is not None:
            ResponseCacheConfig.read(config.cache, "cache")
        if read is not None and (before is None or read.keys != before.config.keys):
            read.check_keys()
        self.seen.take(self._seen_config(config))
        if before is not None and read is not None:
            await before.reload(read)
        self._set_up(config)
        self._app = None
        if before is not None and read is None:
            await before.close()
        if audit is not None:
            await asyncio.to_thread(audit.close)

    async def close(self) -> None:
        """Finish what works beside requests, within its own bounds."""
        if self._together is not None:
            self._together.close()
        for task in list(self._tasks):
            task.cancel()
        if self.sinks is not None:
            await self.sinks.close(CLOSE_S)
        if self.admission is not None:
            await self.admission.close()
        if self.audit is not None:
            await asyncio.to_thread(self.audit.close)
        await asyncio.to_thread(self.seen.close)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
