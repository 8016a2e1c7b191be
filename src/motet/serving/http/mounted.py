"""A server without connections of its own: another server's ASGI messages in, the same answers out.

What is asked of `/v2/models/NAME/infer` is answered by the same exchange as on a connection, whose bytes are taken apart
again; all else by the application.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from motet.errors import MotetError, OverloadedError
from motet.serving.batching.request import Identity
from motet.serving.http.asgi import Message
from motet.serving.http.refusals import body_too_large
from motet.serving.middleware.call import PEER

if TYPE_CHECKING:
    from motet.serving.http.exchange import Exchange
    from motet.serving.http.front import Front, HttpRoute

__all__ = ["MountedRequest"]

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_OF_THE_HOST = (b"date", b"connection")
"""Fields that the server around writes itself."""


class MountedRequest:
    """One request of a server around this one, and the `Origin` of the exchange that answers it.

    Args:
        front: what requests share.
        scope, receive, send: of the request, as ASGI has them.
    """

    def __init__(self, front: Front, scope: Message, receive: Receive, send: Send) -> None:
        self._front, self._receive, self._send = front, receive, send
        root = scope.get("root_path", "").rstrip("/")
        path = scope["path"]
        inner = (path[len(root) :] if path.startswith(f"{root}/") or path == root else path) or "/"
        query = scope.get("query_string", b"")
        self.method = scope["method"].encode()
        self.url = quote(inner).encode() + (b"?" + query if query else b"")
        self.headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
        self.known = dict(self.headers)
        self.prepared: object = None
        self.peer_identity: Identity | None = None
        state = {**(scope.get("state") or {}), PEER: None}
        self._scope = {**scope, "root_path": root, "path": root + inner, "state": state}
        self._client, self._done = scope.get("client"), asyncio.Event()
        self._body_bytes = self._status = self._sent_bytes = 0
        self._began = front.loop.time()

    async def answer(self) -> None:
        """Read it, play it, answer it."""
        task = asyncio.current_task()
        assert task is not None
        self._front.tasks.add(task)
        try:
            route = self._front.route(self.url) if self.method == b"POST" else None
            if route is not None:
                await self._infer(route)
            else:
                await self._ask_app()
        finally:
            self._forget_body()
            self._front.tasks.discard(task)

    async def _ask_app(self) -> None:
        try:
            await self._front.app(self._scope, self._received, self._sent)
        finally:
            path, sizes = self.url.decode("latin-1"), (self._body_bytes, self._sent_bytes)
            self._front.app_answered(self, path, self._scope, self._status, sizes, self._began)

    async def _infer(self, route: HttpRoute) -> None:
        line: deque[Exchange] = deque()
        try:
            body = await self._whole_body()
        except MotetError as error:
            await self._give(self._front.refused(self, error, self._body_bytes, keep_alive=True))
            return
        if body is None:
            return
        route(self, line, body, True)
        exchange = line[0]
        try:
            await self._until_done()
        finally:
            if exchange.data is None:
                exchange.abandon()
        if exchange.data is not None:
            await self._give(exchange.data)

    async def _until_done(self) -> None:
        """Wait until the answer is there, or the client has gone."""
        if self._done.is_set():
            return
        done, gone = asyncio.ensure_future(self._done.wait()), asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            done.cancel()
            gone.cancel()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _whole_body(self) -> bytes | None:
        """The body; None where the client went before it was whole."""
        parts: list[bytes] = []
        while True:
            message = await self._received()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _received(self) -> Message:
        """The next message, within the bounds of bodies.

        Raises:
            TooLargeError, OverloadedError: beyond them.
        """
        limits, length = self._front.limits, self.known.get(b"content-length", b"")
        if length.isdigit() and int(length) > limits.body_bytes:
            raise body_too_large(int(length), limits.body_bytes)
        message = await self._receive()
        size = len(message.get("body", b""))
        self._body_bytes += size
        self._front.buffered_bytes += size
        self._front.received_bytes += size
        if self._body_bytes > limits.body_bytes:
            raise body_too_large(self._body_bytes, limits.body_bytes)
        if self._front.buffered_bytes > limits.buffered_bytes:
            raise OverloadedError("the bodies of the requests being read fill the server's memory", retry_after_s=1)
        return message

    def _forget_body(self) -> None:
        self._front.buffered_bytes -= self._body_bytes
        self._body_bytes = 0

    async def _sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
        size = len(message.get("body", b""))
        self._sent_bytes += size
        self._front.sent_bytes += size
        await self._send(message)

    async def _give(self, data: bytes) -> None:
        """A whole answer over HTTP/1.1, as messages."""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        headers = [field for field in fields if field[0].lower() not in _OF_THE_HOST]
        await self._sent({"type": "http.response.start", "status": int(first.split(b" ", 2)[1]), "headers": headers})
        await self._sent({"type": "http.response.body", "body": body})

    # What an exchange asks of its connection.

    def finished(self, exchange: Exchange) -> None:
        """The answer is there."""
        self._done.set()

    def address(self, kind: str = "peername") -> tuple[str, int] | None:
        """The client's address and port, where the server around says it."""
        return None if self._client is None else (str(self._client[0]), int(self._client[1] or 0))
