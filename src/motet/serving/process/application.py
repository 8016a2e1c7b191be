"""A server as an ASGI application, to be mounted in another program or run by another server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from motet.errors import InputError
from motet.facade import Graph
from motet.serving.config.server import ServeConfig
from motet.serving.http.asgi import Message
from motet.serving.http.mounted import MountedRequest, Receive, Send
from motet.serving.process.background import BackgroundServer, embedded
from motet.serving.process.server import Server

__all__ = ["Application"]


class Application:
    """Graphs on line inside another program; an ASGI application (https://asgi.readthedocs.io, version 3.0).

    Where the host runs its lifespan, models are loaded when the host starts, in its event loop, and given back when it
    ends. A host hands its lifespan to what it runs, not to what is mounted in it; there say `FastAPI(lifespan=app.lifespan)`,
    or enter `app.lifespan(host)` in a lifespan of your own. Without one the first request starts a thread that loads and
    answers, whichever loop asks, until `close` or the end of the program.

    Args:
        graphs: the graphs, or their files.
        config: how.
    """

    def __init__(self, graphs: Sequence[Graph | str], config: ServeConfig) -> None:
        self._graphs, self._config = graphs, config
        self._servers: dict[asyncio.AbstractEventLoop, Server] = {}
        self._background: BackgroundServer | None = None
        self._starting = threading.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer what the host hands on."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": "nothing is spoken here but HTTP"})
        elif (server := self._servers.get(_running_loop())) is not None:
            await MountedRequest(server.front, scope, receive, send).answer()
        else:
            await self._across(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, host: Any = None) -> AsyncIterator[None]:
        """Load the models now, in the loop that runs; give them back at the end.

        Args:
            host: the application around; takes no part in it.

        Raises:
            ModelLoadError: when a graph cannot be loaded.
        """
        loop = _running_loop()
        if loop in self._servers:  # by the host's lifespan, and again as what it runs
            yield
            return
        server = self._servers[loop] = await embedded(self._graphs, self._config, listen=False)
        try:
            yield
        finally:
            del self._servers[loop]
            await server.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        """The messages of a lifespan (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""
        await receive()
        living = self.lifespan()
        try:
            await living.__aenter__()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            await living.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """End the thread of a host without a lifespan, and give its models back; a later request starts another."""
        with self._starting:
            background, self._background = self._background, None
        if background is not None:
            background.close()

    def _running(self) -> BackgroundServer:
        with self._starting:
            if self._background is None or not self._background.alive:
                self._background = BackgroundServer(self._graphs, self._config, listen=False, strict=False)
            return self._background

    async def _across(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer in the loop of the thread; the host's functions are called in its own."""
        background = self._background
        if background is None or not background.alive:
            background = await asyncio.to_thread(self._running)
        host = _Host(asyncio.get_running_loop())
        front = background.server.front

        async def answer() -> None:
            await MountedRequest(front, scope, host.called(receive), host.called(send)).answer()

        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), background.server.loop))
        finally:
            await host.end()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise InputError(
            "the application answers in event loops of asyncio, and another library's runs here",
            hint="let the host run with asyncio or uvloop: hypercorn -k asyncio, anyio_backend = 'asyncio'",
        ) from None


class _Host:
    """Calls functions of a request in the loop of its host, from another loop.

    Args:
        loop: of the host.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: set[asyncio.Task[Any]] = set()

    def called(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same function for the other loop."""

        async def call(*args: Any) -> Any:
            future = asyncio.run_coroutine_threadsafe(self._call(function, args), self._loop)
            return await asyncio.shield(asyncio.wrap_future(future))  # it is the host that ends what it began

        return call

    async def _call(self, function: Callable[..., Awaitable[Any]], args: Sequence[Any]) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await function(*args)
        finally:
            self._calls.discard(task)

    async def end(self) -> None:
        """Give up what is still waited for, such as a client's leaving."""
        for task in (calls := list(self._calls)):
            task.cancel()
        if calls:
            await asyncio.wait(calls)
