"""A request that was let in: who asked, what it holds until it is done, and what is written down of it then."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from motet.errors import MotetError, RequestError
from motet.serving.batching.request import ANONYMOUS, Identity, Reply, Request

if TYPE_CHECKING:
    from motet.serving.admission import AuditEntry, Caller, Ticket
    from motet.serving.middleware.grpc_entry import Ended
    from motet.serving.middleware.middleware import Middleware
    from motet.serving.observability.access_log import Access
    from motet.serving.observability.tracing import RequestSpan

__all__ = ["RequestContext", "name_of"]


class RequestContext:
    """One request's way through the services of a server.

    Args:
        services: of the server.
        protocol: `http` or `grpc`.
        asked: the method and address, of which the query is left out, or the name of the method.
        target: the graph or model that is asked for.
        address: of the client.

    Attributes:
        id: the caller's name for the request, as its head says it; empty where it has none.
        identity: who asks.
        caller: likewise, with the limits that hold; None where there is no admission.
        ticket: what lets the request in; None where nothing needs to.
        entering: waits for the ticket; None when it does not.
        status: of the answer, in the words of HTTP.
        received_bytes, sent_bytes: of the bodies of request and answer, as they are on the wire.
    """

    __slots__ = (
        "_began", "_ended", "_services", "_span", "address", "asked", "caller", "entering", "id", "identity", "protocol",
        "received_bytes", "sent_bytes", "status", "target", "ticket", "waited_s",
    )  # fmt: skip

    def __init__(self, services: Middleware, protocol: str, asked: str, target: str, address: str) -> None:
        self._services, self._began, self._ended = services, time.monotonic(), False
        self.protocol, self.target, self.address = protocol, target, address
        self.asked = asked.partition("?")[0]  # a query may hold what is nobody's business
        self.id = ""
        self.identity: Identity = ANONYMOUS
        self.caller: Caller | None = None
        self.ticket: Ticket | None = None
        self.entering: asyncio.Task[None] | None = None
        self._span: RequestSpan | None = None
        self.waited_s = 0.0
        self.status = self.sent_bytes = self.received_bytes = 0

    @property
    def since_s(self) -> float:
        """How long it has been here, in seconds."""
        return time.monotonic() - self._began

    def trace(self, traceparent: str) -> None:
        """Make a span for it, where there are any; it is below the one that the caller names."""
        tracing = self._services.seen.tracing
        if tracing is not None:
            self._span = tracing.request(f"{self.protocol} {self.target or self.asked}", traceparent)

    def carry(self, request: Request) -> None:
        """The request that is played for it."""
        if self._span is not None:
            self._span.of(request)

    def entered(self, ticket: Ticket) -> None:
        """It is let in."""
        self.ticket = ticket
        self.entering = None
        self.waited_s = time.monotonic() - self._began

    def abandon(self) -> None:
        """The client is gone: it waits for nothing any more."""
        if self.entering is not None:
            self.entering.cancel()
            self.entering = None
            self.end(None, None, 499, "CancelledError")

    def answered(self, request: Request, reply: Reply, answer: bytes) -> None:
        """It was answered, with this message of HTTP."""
        self.sent_bytes = _body_bytes(answer)
        self.end(request, reply, 200, "")

    def failed(self, request: Request, error: MotetError, answer: bytes) -> None:
        """It was not answered, which this message of HTTP says."""
        self.sent_bytes = _body_bytes(answer)
        self.end(request, None, error.status, name_of(error))

    def leave(self, ended: Ended) -> None:
        """A call over gRPC has ended."""
        error = ended.error
        self.received_bytes, self.sent_bytes = ended.received_bytes, ended.sent_bytes
        name = "" if error is None else name_of(error)
        status = 200 if ended.code == "OK" else error.status if error is not None else 499
        self.end(ended.request, ended.reply, status, name)
        self._services.seen.grpc_answered(ended.code, ended.received_bytes, ended.sent_bytes)

    def end(self, request: Request | None, reply: Reply | None, status: int, error: str) -> None:
        """It is over, in whatever way: give back what it holds, and write it down. A second time does nothing."""
        if self._ended:
            return
        self._ended = True
        self.status = status
        if self._span is not None:
            if reply is not None:
                self._span.played(reply)
            else:
                about: dict[str, str | int] = {
                    "error.type": error or "CancelledError",
                    "http.response.status_code": status,
                }
                self._span.failed(RequestError(error or "cut off"), **about)
        if self.ticket is not None:
            self.ticket.leave()
        self._services.write_down(self, request, reply, error)

    def _id_of(self, request: Request | None) -> str:
        return self.id if request is None or not request.id else request.id

    def access(self, request: Request | None, reply: Reply | None, error: str) -> Access:
        """Its line in the access log."""
        from motet.serving.observability.access_log import Access

        method, _, path = self.asked.partition(" ")
        return Access(
            time=time.time(),
            method=method,
            path=path or self.target,
            status=self.status,
            seconds=self.since_s,
            protocol=self.protocol,
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
            name=self.identity.name,
            address=self.address,
            rows=0 if request is None else request.rows,
            failed_rows=0 if reply is None else len(reply.failures),
            id=self._id_of(request),
            trace="" if self._span is None else self._span.trace_id,
            error=error,
        )

    def entry(self, request: Request | None, reply: Reply | None, error: str) -> AuditEntry:
        """What the audit log says of it."""
        from motet.serving.admission import AuditEntry

        rows = 0 if request is None else request.rows
        share = 0.0 if reply is None or not reply.batch_rows else reply.compute_s * rows / reply.batch_rows
        return AuditEntry(
            at=time.time() - self.since_s,
            name=self.identity.name if self.status != 401 else "",
            kind=self.identity.kind if self.status != 401 else "",
            klass="" if self.caller is None else self.caller.klass,
            address=self.address,
            credential="" if self.caller is None else self.caller.credential,
            protocol=self.protocol,
            asked=self.asked,
            target=self.target,
            request=self._id_of(request),
            status=self.status,
            error=error,
            rows=rows,
            failed_rows=0 if reply is None else len(reply.failures),
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
            waited_s=self.waited_s,
            queue_s=0.0 if reply is None else reply.queue_s,
            compute_s=share,
        )


def _body_bytes(answer: bytes) -> int:
    """Bytes of the body of a message of HTTP that is whole."""
    return len(answer) - answer.index(b"\r\n\r\n") - 4


def name_of(error: BaseException) -> str:
    """The name of an error's class, as users know it."""
    return next(each.__name__ for each in type(error).__mro__ if not each.__name__.startswith("_"))
