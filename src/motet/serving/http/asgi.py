"""A request that the ASGI application answers (https://asgi.readthedocs.io, version 3.0, HTTP 2.4)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import httptools

from motet.errors import InputError, ModelError
from motet.serving.http.respond import STATUS_LINES, error_answer, named
from motet.serving.middleware.call import PEER

if TYPE_CHECKING:
    from motet.serving.http.connection import Connection
    from motet.serving.http.exchange import Exchange
    from motet.serving.http.front import Front

__all__ = ["App", "AppExchange", "Message"]

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
_LOG = logging.getLogger("motet.serving")
_BODILESS = (204, 304)


class ClientGoneError(OSError):
    """What an application is told that goes on sending to a client that is gone."""


class AppExchange:
    """Runs the application for one request.

    Args:
        connection: the request has just been read from it.
        front: what all connections share.
        body: the whole body.
        keep_alive: whether the connection stays.
    """

    def __init__(self, connection: Connection, front: Front, body: bytes, keep_alive: bool) -> None:
        self.data: bytes | None = None
        self.keep_alive = keep_alive
        self._connection, self._front, self._body = connection, front, body
        self._head_only = connection.method == b"HEAD"
        self._old = connection.version == "1.0"
        self._status = 0
        self._chunked = self._started = False
        self._received_bytes, self._sent_bytes = len(body), 0
        self._began = front.loop.time()
        self._left: int | None = None
        self._gone = False
        self._over = asyncio.Event()
        self._turn = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, line: deque[Exchange]) -> None:
        """Stand in the line, and run the application."""
        line.append(self)
        try:
            scope = self._scope()
        except InputError as error:
            self.data = self._front.refused(
                self._connection, error, self._received_bytes, keep_alive=self.keep_alive, bodiless=self._head_only
            )
            self._connection.finished(self)
            return
        if self._connection.is_head(self):
            self._turn.set()
        self._task = self._front.loop.create_task(self._run(scope))
        self._front.tasks.add(self._task)
        self._task.add_done_callback(self._front.tasks.discard)

    def at_head(self) -> None:
        """Every answer before it has been sent, or the client reads again."""
        self._turn.set()

    def abandon(self) -> None:
        """The client is gone."""
        self._gone = True
        self._over.set()
        self._turn.set()

    def _scope(self) -> Message:
        connection = self._connection
        try:
            url = httptools.parse_url(connection.url)
        except httptools.HttpParserInvalidURLError:
            raise InputError(f"{connection.url[:200].decode('latin-1')!r} is no address") from None
        raw_path = url.path or b"/"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": connection.version,
            "server": connection.address("sockname"),
            "client": connection.address(),
            "scheme": "https" if connection.secure else "http",
            "method": connection.method.decode("ascii"),
            "root_path": "",
            "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "headers": connection.headers,
            "state": {PEER: connection.peer_identity},
        }

    async def _run(self, scope: Message) -> None:
        try:
            await self._front.app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 (whatever the application raises is answered with 500)
            if not self._gone:
                _LOG.exception("the application failed at %s %s", scope["method"], scope["path"])
            if not self._started:
                self._fail(f"the server failed at this request: {type(error).__name__}", scope)
        if self.data is None:  # the answer was cut off, or never begun
            self.data = b""
            self.keep_alive = False
            if not self._started and not self._gone:
                self._fail("the server gave no answer to this request", scope)
        path, sizes = scope["raw_path"].decode("latin-1"), (self._received_bytes, self._sent_bytes)
        self._front.app_answered(self._connection, path, scope, self._status, sizes, self._began)
        if not self._gone:
            self._connection.finished(self)

    def _fail(self, what: str, scope: Message) -> None:
        self.keep_alive, self._status = False, 500
        more = self._front.date + named(scope["headers"])
        self.data = error_answer(ModelError(what), more, keep_alive=False, bodiless=self._head_only)

    async def _receive(self) -> Message:
        if self._body is not _READ:
            body, self._body = self._body, _READ
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone:
            raise ClientGoneError("the client is gone")
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            self._head = self._made_head(message)
            return
        body: bytes = message.get("body", b"")
        self._sent_bytes += 0 if self._head_only else len(body)
        more: bool = message.get("more_body", False)
        data = b"" if self._head_only or self._status in _BODILESS else self._framed(body, more)
        if not self._started:
            self._started = True
            data = self._head + data
        if not more:
            self.data = (self.data or b"") + data
            self._over.set()
            return
        await self._may_write()
        if not self._gone:
            self._connection.write(data)

    async def _may_write(self) -> None:
        while not self._gone and not self._connection.is_head(self):
            self._turn.clear()
            await self._turn.wait()

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._left is not None:  # what is said to come is what the client reads, no more and no less
            body = body[: self._left]
            self._left -= len(body)
            if self._left and not more:
                self.keep_alive = False
        if not self._chunked:
            return bytes(body)
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk if more else chunk + b"0\r\n\r\n"

    def _made_head(self, message: Message) -> bytes:
        fields = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        names = dict(fields)
        if b"content-length" in names:
            self._left = int(names[b"content-length"])
        elif b"transfer-encoding" not in names and self._status not in _BODILESS:
            if self._old:
                self.keep_alive = False
            else:
                self._chunked = True
                fields.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive or self._status == 500:
            self.keep_alive = False
            fields.append((b"connection", b"close"))
        elif self._old:
            fields.append((b"connection", b"keep-alive"))
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        first = STATUS_LINES.get(self._status, b"HTTP/1.1 %d \r\n" % self._status)
        return b"%b%b%b\r\n" % (first, self._front.date, lines)


_READ = bytes(bytearray(b"read"))
"""Stands in for a body that the application has taken."""
