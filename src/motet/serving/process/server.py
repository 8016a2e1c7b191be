"""One process of a server: its sockets, its repository, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motet.errors import InputError, MotetError
from motet.facade import Graph
from motet.serving.config.server import ServeConfig, Tls
from motet.serving.observability.server_log import set_up
from motet.serving.process.parts import ServerParts
from motet.serving.process.same_files import SameFiles
from motet.serving.repository.entry import UNLOADED
from motet.serving.repository.store_watcher import StoreWatcher, has_stored
from motet.system.sockets import FOLDER, OwnSocket

if TYPE_CHECKING:
    from motet.serving.grpc.server import GrpcServer

__all__ = ["Server", "bind", "check_unused", "new_runner", "owner_socket"]

_LOG = logging.getLogger("motet.serving")
BACKLOG = 4096
LOOK_S = 0.02
SAME_S = 0.5
"""Signals that come this soon after the first are the same: who ends a service may tell each process, and the parent too."""
FIXED = ("host", "port", "grpc_port", "processes", "threads", "graphs", "sinks", "experiments", "grpc", "pool")
"""Parts of the configuration that cannot change while the server runs."""


class Server:
    """Serves graphs in this process. Made, started and stopped in the thread of one event loop.

    Args:
        graphs: the graphs, or their files.
        config: how.
        folder: where processes of one server keep what they share; None makes one that ends with this process.
        reconfigure: reads the configuration again, for `reload`.
        owner: the socket over which the user that runs the server asks, where its parent has it; None makes one.
    """

    def __init__(
        self,
        graphs: Sequence[Graph | str],
        config: ServeConfig,
        *,
        folder: str | None = None,
        reconfigure: Callable[[], ServeConfig] | None = None,
        owner: socket.socket | None = None,
    ) -> None:
        self.config, self.loop = config, asyncio.get_running_loop()
        self._reconfigure = reconfigure
        self.parts = ServerParts(graphs, config, folder)
        self.repository, self.front = self.parts.repository, self.parts.front
        self._stop, self._hurry, self._reloading = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        self._stopped_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._listening: list[asyncio.Server] = []
        self._owner = owner
        self._made: OwnSocket | None = None
        self._grpc: GrpcServer | None = None
        self._watching: asyncio.Task[None] | None = None
        self.port = self.grpc_port = 0
        self.serves = False
        """Whether it has loaded and listens."""

    async def start(self, *, late: bool = False) -> None:
        """Listen; models are not loaded yet, and the server is live but not ready.

        Args:
            late: leave that to `load`.

        Raises:
            InputError: when the port cannot be had.
            MissingExtraError: when gRPC is wanted and not installed.
        """
        if not late:
            await self._listen()
        self.parts.start()

    async def _listen(self) -> None:
        config = self.config
        self._socket = bind(config.host, config.port)
        self.port = self._socket.getsockname()[1]
        self._listening.append(await self._accepting(self._socket, config))
        if config.grpc_port is not None and config.grpc_port >= 0:
            from motet.serving.grpc import GrpcServer

            self._grpc = GrpcServer(self.repository, config, self.parts.middleware, self.parts.numbers)
            await self._grpc.start()
            self.grpc_port = self._grpc.port
        if self._owner is None:  # only where nothing can fail any more, which would leave its file
            self._made = owner_socket(self.port)
            self._owner = None if self._made is None else self._made.socket
        if self._owner is not None:
            self._listening.append(await self.loop.create_unix_server(self.front.owner_connection, sock=self._owner))

    async def _accepting(self, listening: socket.socket, config: ServeConfig) -> asyncio.Server:
        """Accept connections; what has not been accepted yet stays where another one takes its place."""
        context = None if config.tls is None else config.tls.context()
        return await self.loop.create_server(self.front.connection, sock=listening.dup(), backlog=BACKLOG, ssl=context)

    async def load(self, loaded: Path | None = None) -> None:
        """Load every graph; the server is ready when all are.

        Args:
            loaded: a file that is there once that process among several has loaded which listens from its start; the
                others listen then.
        """
        await self.repository.load_all()
        if loaded is not None:
            await self._serve_beside_others(loaded)
        self.serves = True
        self.repository.rest()
        for served in self.repository.served.values():
            if served.kind == "graph" and served.state == "UNAVAILABLE":
                _LOG.error("graph %s cannot be served: %s", served.name, served.reason)
        if self.config.store_poll_s and any(has_stored(each.graph) for each in self.repository.things):
            self._watching = self.loop.create_task(StoreWatcher(self.repository, self.config.store_poll_s).run())

    async def _serve_beside_others(self, loaded: Path) -> None:
        """Listen once the first process has loaded, and what this one has loaded is the same."""
        while not self._listening and not loaded.exists() and not self._stop.is_set():
            await asyncio.sleep(LOOK_S)
        await SameFiles(loaded.parent, self.repository).agree()
        loaded.touch()
        if self._listening:
            return
        if not self._stop.is_set():
            try:
                await self._listen()
            except MotetError as error:
                _LOG.error("it cannot listen: %s", error)
                self.stop()

    async def reload(self) -> None:
        """Read the configuration again and take over what can change while it runs: limits, credentials, logs, graphs.

        Where anything in it is wrong all of it stays as it is, and the log says why.
        """
        if self._reconfigure is None or self.repository.stopping:
            return
        async with self._reloading:
            try:
                config = self._changeable(self._reconfigure())
                await self.parts.reload(config)
                await self._use_tls(config)
            except (MotetError, OSError) as error:
                _LOG.error("the configuration stays as it is: %s", error)
                return
            if config.log != self.config.log:
                set_up(config.log)
            self.config = config
            self.repository.limits = self.front.limits = config.limits
            await self._load_again()
            _LOG.info("the configuration was read again")

    async def _use_tls(self, config: ServeConfig) -> None:
        """Speak TLS with the files as they are now on connections that are accepted from now on."""
        if config.tls is None or self._socket is None or self._socket.fileno() < 0:
            return
        fresh = await self._accepting(self._socket, config)
        before, self._listening[0] = self._listening[0], fresh
        before.close()
        if self._socket.fileno() < 0:  # the server was closed meanwhile
            fresh.close()
        if self._grpc is not None:
            self._grpc.tls = config.tls

    def _changeable(self, config: ServeConfig) -> ServeConfig:
        """A configuration, but for what cannot change.

        Raises:
            MotetError: when it is wrong.
        """
        fixed = [name for name in FIXED if getattr(config, name) != getattr(self.config, name)]
        if _asks(config.tls) != _asks(self.config.tls):
            fixed.append("tls")
        if fixed:
            _LOG.warning("%s cannot change while the server runs", ", ".join(fixed))
        if config.tls is not None:
            config.tls.context()
        return replace(config, **{name: getattr(self.config, name) for name in fixed})

    async def _load_again(self) -> None:
        """Load the graphs from their files, but for those that were unloaded on purpose."""
        for served in list(self.repository.served.values()):
            if self.repository.stopping:
                return
            if served.kind == "graph" and served.path and served.reason != UNLOADED:
                try:
                    await self.repository.load(served.name, tell=False)
                except MotetError as error:
                    _LOG.error("graph %s stays as it is: %s", served.name, error)

    def stop(self) -> None:
        """Ask the server to end when what it accepted is answered; asking again, but for the next moment, ends it at once."""
        if not self._stop.is_set():
            self._stopped_at = self.loop.time()
            self._stop.set()
        elif self.loop.time() - self._stopped_at > SAME_S:
            self._hurry.set()

    async def run(self) -> None:
        """Wait until it is asked to stop, by signals too where this is the main thread, then end."""
        handlers: Mapping[int, Callable[[], object]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self._reload_soon,
        }
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                self.loop.add_signal_handler(number, handler)
        await self._stop.wait()
        await self.close()

    def _reload_soon(self) -> None:
        task = self.loop.create_task(self.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Accept nothing more, finish what was accepted within the time that is allowed for it, and give everything back."""
        self.repository.stopping = True
        if self._watching is not None:
            self._watching.cancel()
        for listening in self._listening:
            listening.close()
        if self._socket is not None:
            self._socket.close()
        if self._made is not None:
            self._made.close()
        self.front.drain()
        hurry = self.loop.create_task(self._hurry.wait())
        finishing = self.loop.create_task(self._finish())
        await asyncio.wait((finishing, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        self.front.close()
        if finishing.done():
            finishing.result()
        else:
            finishing.cancel()
            if self._grpc is not None:
                await self._grpc.stop(0)
        await self.parts.close()

    async def _finish(self) -> None:
        """Answer what was accepted within the time that is allowed for it."""
        timeout_s = self.config.limits.drain_timeout_s
        end = self.loop.time() + timeout_s
        if self._grpc is not None:
            await self._grpc.stop(timeout_s)
        while (self.front.connections or self.front.tasks) and self.loop.time() < end:
            await asyncio.sleep(0.01)
        if not await self.repository.drain(max(0.0, end - self.loop.time())):
            _LOG.warning("requests were still under way after %g s, and were dropped", timeout_s)


def bind(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A socket on an address.

    Args:
        host: the address; one of IPv6 may stand in brackets.
        port: the port; 0 takes a free one.
        shared: whether other processes may listen there too.

    Raises:
        InputError: when the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(found[0], found[1], found[2])
    except OSError as error:
        raise InputError(f"cannot listen on {host}: {error.strerror or error}", hint="give another --host") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(found[4])
    except OSError as error:
        made.close()
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="another server may be there; give another --port"
        ) from error
    return made


def owner_socket(port: int) -> OwnSocket | None:
    """The socket over which the user that runs a server asks it, and nobody else; None, which the log says, where there can be
    none."""
    try:
        made = OwnSocket(str(port))
    except OSError as error:
        _LOG.warning("commands on this machine need a key to administer this server: %s; set %s", error, FOLDER)
        return None
    _LOG.info("commands of this user administer this server through %s", made.path)
    return made


def check_unused(config: ServeConfig) -> None:
    """See that nobody listens on the ports, which sockets that others may share do not find out.

    Raises:
        InputError: when somebody does, or both are the same.
    """
    ports = [port for port in (config.port, config.grpc_port) if port is not None and port > 0]
    for port in ports:
        bind(config.host, port, shared=False).close()
    if len({*ports}) < len(ports):
        raise InputError(f"port and grpc_port are both {config.port}", where="serve", hint="give another --grpc-port")


def _asks(tls: Tls | None) -> bool | None:
    """Whether clients are asked for a certificate; None where no TLS is spoken."""
    return None if tls is None else tls.client_ca is not None


def new_runner() -> asyncio.Runner:
    """What runs a server in a loop of its own, which ends with the block."""
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(
    graphs: Sequence[Graph | str],
    config: ServeConfig,
    told: Callable[[Server], Any],
    *,
    late: bool = False,
    loaded: Path | None = None,
    **parts: Any,
) -> None:
    """Serve until a signal ends it, in a process that does nothing else.

    Args:
        graphs: the graphs, or their files.
        config: how.
        told: called when the server has started, before it is ready.
        late: see `Server.start`.
        loaded: see `Server.load`.
        parts: `folder`, `reconfigure` and `owner` of `Server`.
    """
    _raise_file_limit()
    server = Server(graphs, config, **parts)
    try:
        await server.start(late=late)
        told(server)
        loading = server.loop.create_task(_load(server, loaded))
        await server.run()
        loading.cancel()
    except BaseException:
        server.repository.close()
        raise


async def _load(server: Server, loaded: Path | None) -> None:
    try:
        await server.load(loaded)
    except Exception:  # noqa: BLE001 (a server that would never be ready ends)
        _LOG.exception("what is served could not be loaded")
        server.stop()
    gc.collect()
    gc.freeze()  # what is loaded stays, and need not be looked through again and again while requests wait
