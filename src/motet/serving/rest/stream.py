"""Server-sent events: each member's answer when it is there, then the whole (https://html.spec.whatwg.org, 9.2).

    event: member   data: {"node", "member", "uses", "version", "rows", "seconds", "outputs", "failed"}
    event: result   data: what is answered without a stream
    event: error    data: {"error", "status"}

A comment is sent while there is nothing to say, so that nobody on the way takes the connection for dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from motet.errors import CancelledError, MotetError
from motet.runtime.executor import Call
from motet.runtime.rows import JsonRows, rows_of
from motet.serving.batching.request_future import RequestFuture
from motet.serving.middleware.context import RequestContext
from motet.serving.rest.answers import answer_of
from motet.serving.rest.calls import gone
from motet.serving.rest.explain import calls_by_row, said_of

__all__ = ["EventStream"]

HEARTBEAT_S = 10.0


class StreamedRequest(Protocol):
    """What was asked."""

    single: bool
    explain: bool


class EventStream(Response):
    """An answer in parts.

    Args:
        given: what was asked.
        rows: those that came.
        played: is to be submitted after this is made.
        failed: is called when there is no answer.
        context: ends when there is one.
    """

    def __init__(
        self,
        given: StreamedRequest,
        rows: JsonRows,
        played: RequestFuture,
        failed: Callable[[BaseException], None],
        context: RequestContext,
    ) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        del self.headers["content-length"]
        self._given, self._rows, self._played, self._failed, self._context = given, rows, played, failed, context
        self._calls: list[Call] = []
        self._events: asyncio.Queue[Call | None] = asyncio.Queue()  # as many as the graph has calls
        played.watch = self._events.put_nowait
        played.future.add_done_callback(lambda _: self._events.put_nowait(None))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        leaving = asyncio.ensure_future(gone(Request(scope, receive)))
        try:
            await send(start)
            await self._send(send, b": accepted\n\n")
            while True:
                event = await self._next(leaving)
                if event:
                    await self._send(send, event)
                if self._played.future.done() and self._events.empty():
                    break
            await send({"type": "http.response.body", "body": self._end(), "more_body": False})
        except (CancelledError, OSError):  # which sending to a client that is gone raises, as ASGI has it
            self._failed(CancelledError("the caller is gone"))
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            leaving.cancel()

    async def _send(self, send: Send, event: bytes) -> None:
        self._context.sent_bytes += len(event)
        await send({"type": "http.response.body", "body": event, "more_body": True})

    async def _next(self, leaving: asyncio.Future[None]) -> bytes:
        """The next event, nothing at the end of all, or a comment when there was none for long.

        Raises:
            CancelledError: when the client has gone.
        """
        getting = asyncio.ensure_future(self._events.get())
        try:
            await asyncio.wait((getting, leaving), timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                raise CancelledError("the caller is gone")
            if not getting.done():
                return b": waiting\n\n"
            call = getting.result()
        finally:
            getting.cancel()
        if call is None:
            return b""
        self._calls.append(call)
        return _event("member", self._member(call))

    def _member(self, call: Call) -> dict[str, Any]:
        ids, answered = np.arange(call.rows) if call.ids is None else call.ids, call.answered
        about: dict[str, Any] = {"node": call.node, "member": call.member or call.uses, "uses": call.uses}
        about |= {
            "version": call.version,
            "seconds": call.seconds,
            "rows": [self._rows.places[row] for row in answered],
        }
        listed = rows_of(call.outputs, 0, len(answered))
        about["outputs"] = {name: [row[name] for row in listed] for name in call.outputs}
        about["failed"] = [
            {"row": self._rows.places[ids[fault.position]], "error": said_of(fault)} for fault in call.faults
        ]
        return about

    def _end(self) -> bytes:
        """The last event."""
        try:
            reply = self._played.future.result()
            played = len(self._rows.places)
            calls = calls_by_row(self._calls, played) if self._given.explain and played else None
            answer = answer_of(self._rows, reply, calls, single=self._given.single)
        except MotetError as error:
            text = str(error).replace("\n  hint: ", "; hint: ")
            event = _event("error", {"error": text, "status": error.status})
            self._context.sent_bytes += len(event)
            self._failed(error)
            return event
        event = _event("result", answer)
        self._context.sent_bytes += len(event)
        self._context.reply = reply
        self._context.end()
        return event


def _event(name: str, value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))
