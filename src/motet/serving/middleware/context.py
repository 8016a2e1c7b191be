"""A request that came in: who asks, what it holds until it is over, and what is written down of it then."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import TYPE_CHECKING

from motet.errors import DeadlineError, MotetError, RequestError
from motet.serving.batching.request import ANONYMOUS, Identity, Reply, Request
from motet.serving.middleware.call import REQUEST_ID, IncomingCall
from motet.serving.observability.incidents import error_name
from motet.serving.wire.errors import error_body

if TYPE_CHECKING:
    from motet.serving.admission import AuditEntry, Caller, Ticket
    from motet.serving.middleware.middleware import Middleware
    from motet.serving.observability.access_log import Access
    from motet.serving.observability.tracing import RequestSpan, Tracing

__all__ = ["RequestContext"]

CLOCKS_S = 0.005
"""By how much gRPC's clock may be before ours."""


class RequestContext:
    """One request on its way through a server; a context manager that ends it, with the error that leaves the block.

    Args:
        middleware: of the server.
        call: what came in.

    Attributes:
        call: what came in.
        began: when, on the clock `time.monotonic`.
        address: of the client, behind proxies that are trusted.
        caller: who asks, with the limits that hold; None where there is no admission.
        identity: who asks.
        ticket: what lets it in; None where nothing needs to.
        deadline: when its answer is of no use any more, as far as that is known before it is let in; None for never.
        request: what is played for it; None as long as there is nothing.
        reply: to be set where there is one; some of its rows may have failed.
        error: why it was not answered; None where it was.
        status: of the answer, in the words of HTTP; 0 as long as it is not over.
        sent_bytes: of the answer's body, to be set before it ends.
    """

    __slots__ = (
        "_middleware", "_span", "_waited_s", "address", "began", "call", "caller", "deadline", "error", "identity", "reply",
        "request", "sent_bytes", "status", "ticket",
    )  # fmt: skip

    def __init__(self, middleware: Middleware, call: IncomingCall) -> None:
        self._middleware, self.call, self.began = middleware, call, time.monotonic()
        self.address = middleware.address(call)
        self.caller: Caller | None = None
        self.identity: Identity = call.peer_identity or ANONYMOUS
        self.ticket: Ticket | None = None
        self.deadline = call.deadline
        self.request: Request | None = None
        self.reply: Reply | None = None
        self.error: BaseException | None = None
        self.status = self.sent_bytes = 0
        self._waited_s = 0.0
        self._span: RequestSpan | None = None

    @property
    def since_s(self) -> float:
        """How long it has been here, in seconds."""
        return time.monotonic() - self.began

    @property
    def is_late(self) -> bool:
        """Whether its answer is of no use any more."""
        request = self.request
        deadline = self.deadline if request is None or request.deadline is None else request.deadline
        return deadline is not None and time.monotonic() >= deadline - CLOCKS_S

    def trace(self, tracing: Tracing) -> None:
        """Make a span for it, below the one that the caller names."""
        call = self.call
        name = f"{call.protocol} {call.target or call.operation}"
        self._span = tracing.request(name, call.headers.get("traceparent", ""))

    def entered(self, ticket: Ticket) -> None:
        """It is let in."""
        self.ticket, self._waited_s = ticket, self.since_s

    def carry(self, request: Request) -> None:
        """Take the request that is about to be played for it."""
        self.request = request
        if self._span is not None:
            self._span.of(request)

    def end(self, error: BaseException | None = None) -> None:
        """It is over, in whatever way: give back what it holds, and write it down. A second time does nothing.

        Args:
            error: why it was not answered; None where it was.
        """
        if self.status:
            return
        if isinstance(error, asyncio.CancelledError) and self.is_late:  # as gRPC ends a call
            error = DeadlineError("not answered in time")
        self.error, self.status = error, _status(error)
        if self._span is not None:
            self._end_span(self._span)
        if self.ticket is not None:
            self.ticket.leave()
        self._middleware.finished(self)

    def __enter__(self) -> RequestContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    def _end_span(self, span: RequestSpan) -> None:
        if self.reply is not None or self.error is None:
            span.played(self.reply)
            return
        about: dict[str, str | int] = {"error.type": self._error_name, "http.response.status_code": self.status}
        span.failed(RequestError(self._error_name), **about)

    @property
    def _error_name(self) -> str:
        return "" if self.error is None else error_name(self.error)

    @property
    def _id(self) -> str:
        """The caller's name for it; empty where it has none."""
        return (self.request is not None and self.request.id) or self.call.headers.get(REQUEST_ID, "")

    @property
    def _rows(self) -> int:
        return 0 if self.request is None else self.request.rows

    @property
    def _failed_rows(self) -> int:
        return 0 if self.reply is None else len(self.reply.failures)

    @property
    def body_bytes(self) -> int:
        """Of the answer's body; of an error over HTTP those that say it, where nothing else was sent."""
        call, error = self.call, self.error
        if self.sent_bytes or call.protocol != "http" or call.method == "HEAD" or not isinstance(error, MotetError):
            return self.sent_bytes
        return len(error_body(error))

    def access(self) -> Access:
        """Its line in the access log."""
        from motet.serving.observability.access_log import Access

        call = self.call
        return Access(
            time=time.time(),
            method=call.method,
            path=call.place or call.target,
            status=self.status,
            seconds=self.since_s,
            protocol=call.protocol,
            received_bytes=call.received_bytes,
            sent_bytes=self.body_bytes,
            name=self.identity.name,
            address=self.address,
            rows=self._rows,
            failed_rows=self._failed_rows,
            id=self._id,
            trace="" if self._span is None else self._span.trace_id,
            error=self._error_name,
        )

    def audit_entry(self) -> AuditEntry:
        """What the audit log says of it."""
        from motet.serving.admission import AuditEntry

        reply, call, rows = self.reply, self.call, self._rows
        share = 0.0 if reply is None or not reply.batch_rows else reply.compute_s * rows / reply.batch_rows
        return AuditEntry(
            at=time.time() - self.since_s,
            name=self.identity.name if self.status != 401 else "",
            kind=self.identity.kind if self.status != 401 else "",
            klass="" if self.caller is None else self.caller.klass,
            address=self.address,
            credential="" if self.caller is None else self.caller.credential,
            protocol=call.protocol,
            asked=call.operation,
            target=call.target,
            request=self._id,
            status=self.status,
            error=self._error_name,
            rows=rows,
            failed_rows=self._failed_rows,
            received_bytes=call.received_bytes,
            sent_bytes=self.body_bytes,
            waited_s=self._waited_s,
            queue_s=0.0 if reply is None else reply.queue_s,
            compute_s=share,
        )


def _status(error: BaseException | None) -> int:
    """The status of HTTP that says what became of a request."""
    if error is None:
        return 200
    if isinstance(error, MotetError):
        return error.status
    return 499 if isinstance(error, asyncio.CancelledError) else 500
