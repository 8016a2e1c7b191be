"""What the connections of a process share: routes, limits, the clock, the sweep of what is due."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from motet.errors import MotetError
from motet.serving.batching.request import OWNER
from motet.serving.config.limits import Limits
from motet.serving.http.asgi import App, AppExchange, Message
from motet.serving.http.connection import Connection
from motet.serving.http.exchange import call_of
from motet.serving.http.respond import date_line, error_answer, named
from motet.serving.middleware.call import ENTERED
from motet.serving.middleware.middleware import Middleware

if TYPE_CHECKING:
    from motet.serving.http.exchange import Exchange, Origin

__all__ = ["Front", "HttpRoute"]

SWEEP_S = 0.25
"""How often connections are looked at for being late."""
KNOWN_URLS, KNOWN_BYTES = 4096, 256
"""How many addresses have their routes remembered, and how long they may be."""


class HttpRoute(Protocol):
    """Answers requests for one address, without the ASGI application."""

    def __call__(self, origin: Origin, line: deque[Exchange], body: bytes, keep_alive: bool, /) -> None:
        """Put an exchange into the line, and begin with it."""
        ...


class Front:
    """Shared by the connections of a process.

    Args:
        app: answers what no route does.
        find: the route of an address; None where the application is to answer.
        limits: bounds.
        middleware: what every request passes.

    Attributes:
        now: the clock of the event loop, as of the last sweep.
        routes: those that are known, by address; another mapping when what is served has changed.
        statuses: how many answers were given with each HTTP status.
        received_bytes, sent_bytes: of everything on the connections, beneath TLS.
    """

    def __init__(
        self,
        app: App,
        find: Callable[[Front, bytes], HttpRoute | None],
        limits: Limits,
        middleware: Middleware,
    ) -> None:
        self.app, self.limits, self._middleware = app, limits, middleware
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.statuses: defaultdict[int, int] = defaultdict(int)
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.buffered_bytes = self.received_bytes = self.sent_bytes = 0
        self.draining = False
        self.date = date_line()
        self._find = find
        self.routes: dict[bytes, HttpRoute | None] = {}
        self._timer = self.loop.call_later(SWEEP_S, self._sweep)

    def connection(self) -> Connection:
        """A protocol for a connection that was accepted."""
        return Connection(self)

    def owner_connection(self) -> Connection:
        """A protocol for a connection of the user that runs the server, over the socket that nobody else can reach."""
        return Connection(self, OWNER)

    def connected(self, connection: Connection) -> bool:
        """Take a connection in; False where there are too many."""
        if len(self.connections) >= self.limits.connections:
            return False
        self.connections.add(connection)
        return True

    def disconnected(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)

    def route(self, url: bytes) -> HttpRoute | None:
        """The route of an address, remembered."""
        try:
            return self.routes[url]
        except KeyError:
            found = self._find(self, url if url.startswith(b"/") else _path_of(url))
            if found is not None and len(url) <= KNOWN_BYTES and b"?" not in url:
                if len(self.routes) >= KNOWN_URLS:
                    self.routes.clear()
                self.routes[url] = found
            return found

    def refused(
        self, origin: Origin, error: MotetError, received_bytes: int, *, keep_alive: bool, bodiless: bool = False
    ) -> bytes:
        """The answer to a request that is refused before it enters the middleware; counted, and written down."""
        self.statuses[error.status] += 1
        answer = error_answer(error, self.date + named(origin.headers), keep_alive=keep_alive, bodiless=bodiless)
        if self._middleware.logs:
            call = call_of(origin, origin.url.decode("latin-1") or "-", received_bytes)
            self._middleware.unadmitted(call, error.status, error=error)
        return answer

    def app_answered(
        self, origin: Origin, path: str, scope: Message, status: int, sizes: tuple[int, int], began: float
    ) -> None:
        """Count an answer of the application, and write it down where it has not entered.

        Args:
            origin: where the request came from.
            path: what was asked for.
            scope: of the request.
            status: of the answer; 0 for none.
            sizes: bytes of the bodies of request and answer.
            began: on the clock of the event loop.
        """
        status = status or 499
        self.statuses[status] += 1
        if self._middleware.logs and not scope["state"].get(ENTERED):
            call = call_of(origin, path, sizes[0], method=scope["method"], fields=scope["headers"])
            self._middleware.unadmitted(call, status, sent_bytes=sizes[1], began=began)

    def forget_routes(self) -> None:
        """What is served has changed."""
        self.routes = {}

    def ask_app(self, connection: Connection, line: deque[Exchange], body: bytes, keep_alive: bool) -> None:
        """Let the application answer."""
        AppExchange(connection, self, body, keep_alive).begin(line)

    def drain(self) -> None:
        """Keep no connection longer than what it has asked."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def close(self) -> None:
        """End every connection at once."""
        self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()

    def _sweep(self) -> None:
        now = self.now = self.loop.time()
        self.date = date_line()
        for connection in [each for each in self.connections if each.due <= now]:
            connection.timed_out()
        self._timer = self.loop.call_later(SWEEP_S, self._sweep)


def _path_of(url: bytes) -> bytes:
    """The path and query of `http://host/path`."""
    return b"/" + url.partition(b"://")[2].partition(b"/")[2]
