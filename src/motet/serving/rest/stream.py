"""Server-sent events: what there is of an answer while it is made, then the whole (https://html.spec.whatwg.org, 9.2).

    event: piece    data: {"row", "output", "text"}: the next piece of a text that a model writes
    event: member   data: {"node", "member", "uses", "version", "rows", "seconds", "outputs", "failed"}
    event: result   data: what is answered without a stream
    event: error    data: {"error", "status"}

A comment is sent while there is nothing to say, so that nobody on the way takes the connection for dead.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from motet.errors import CancelledError, MotetError
from motet.runtime.executor import Call
from motet.runtime.pieces import PieceBuffer
from motet.runtime.rows import JsonRows, rows_of
from motet.serving.batching.request import Reply
from motet.serving.batching.request_future import RequestFuture
from motet.serving.middleware.context import RequestContext
from motet.serving.rest.answers import answer_of
from motet.serving.rest.calls import gone
from motet.serving.rest.explain import calls_by_row, said_of

__all__ = ["AnswerStream", "EventStream"]

HEARTBEAT_S = 10.0


class StreamedRequest(Protocol):
    """What was asked."""

    single: bool
    explain: bool


class AnswerStream(Response):
    """An answer in parts.

    Args:
        rows: those that came.
        played: is to be submitted after this is made.
        failed: is called when there is no answer.
        context: ends when there is one.

    Attributes:
        is_eager: whether it begins before there is anything to tell. Else it need not begin: `_of_error` gives nothing then.
    """

    is_eager: ClassVar[bool] = True

    def __init__(
        self, rows: JsonRows, played: RequestFuture, failed: Callable[[BaseException], None], context: RequestContext
    ) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        del self.headers["content-length"]
        self._rows, self._played, self._failed, self._context = rows, played, failed, context
        self._events = asyncio.Queue[Call | None]()  # as many as the graph has calls; None for something else
        self._begun = False
        played.future.add_done_callback(lambda _: self._events.put_nowait(None))

    def listen(self, patience_s: float) -> None:
        """Have pieces of texts told.

        Args:
            patience_s: how long the client may read none of them.
        """
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._events.put_nowait, None)
        self._played.pieces = PieceBuffer(wake, patience_s)

    @abstractmethod
    def _of_call(self, call: Call) -> bytes:
        """What is told of a call."""

    @abstractmethod
    def _of_piece(self, row: int, output: str, piece: str) -> bytes:
        """What is told of a piece of a text; the row by its place among those that are played."""

    @abstractmethod
    def _of_reply(self, reply: Reply) -> bytes:
        """The end of it.

        Raises:
            MotetError: when the whole answer is an error.
        """

    @abstractmethod
    def _of_error(self, error: MotetError) -> bytes:
        """The end of what cannot be answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        leaving = asyncio.ensure_future(gone(Request(scope, receive)))
        try:
            if self.is_eager:
                await self._begin(send)
            while True:
                event = await self._next(leaving)
                if event:
                    await self._send(send, event)
                if self._played.future.done() and self._events.empty():
                    break
            event = self._end()
            if event or self._begun:
                await self._send(send, event, more=False)
        except (CancelledError, OSError):  # which sending to a client that is gone raises, as ASGI has it
            self._failed(CancelledError("the caller is gone"))
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            leaving.cancel()

    async def _begin(self, send: Send) -> None:
        self._begun = True
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _send(self, send: Send, event: bytes, *, more: bool = True) -> None:
        if not self._begun:
            await self._begin(send)
        if more:
            self._context.sent_bytes += len(event)
        await send({"type": "http.response.body", "body": event, "more_body": more})

    async def _next(self, leaving: asyncio.Future[None]) -> bytes:
        """The next events, nothing where there is no more to tell, or a comment when there was nothing for long.

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
        return self._pieces() if call is None else self._pieces() + self._of_call(call)

    def _pieces(self) -> bytes:
        pieces = [] if self._played.pieces is None else self._played.pieces.take()
        return b"".join(self._of_piece(*each) for each in pieces)

    def _end(self) -> bytes:
        """The last events. Where it need not begin, pieces that came with an error are none of it."""
        pieces = self._pieces()
        try:
            reply = self._played.future.result()
            event = pieces + self._of_reply(reply)
        except MotetError as error:
            event = self._of_error(error)
            event = pieces + event if event else event
            self._context.sent_bytes += len(event)
            self._failed(error)
            return event
        self._context.sent_bytes += len(event)
        self._context.reply = reply
        self._context.end()
        return event


class EventStream(AnswerStream):
    """An answer in parts, each an event of its own kind.

    Args:
        given: what was asked.
        rows, played, failed, context: see `AnswerStream`.
    """

    def __init__(
        self,
        given: StreamedRequest,
        rows: JsonRows,
        played: RequestFuture,
        failed: Callable[[BaseException], None],
        context: RequestContext,
    ) -> None:
        super().__init__(rows, played, failed, context)
        self._given = given
        self._calls: list[Call] = []
        played.watch = self._events.put_nowait

    async def _begin(self, send: Send) -> None:
        await super()._begin(send)
        await self._send(send, b": accepted\n\n")

    def _of_piece(self, row: int, output: str, piece: str) -> bytes:
        return _event("piece", {"row": self._rows.places[row], "output": output, "text": piece})

    def _of_call(self, call: Call) -> bytes:
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

    def _of_reply(self, reply: Reply) -> bytes:
        played = len(self._rows.places)
        calls = calls_by_row(self._calls, played) if self._given.explain and played else None
        return _event("result", answer_of(self._rows, reply, calls, single=self._given.single))

    def _of_error(self, error: MotetError) -> bytes:
        return _event("error", {"error": str(error).replace("\n  hint: ", "; hint: "), "status": error.status})


def _event(name: str, value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))
