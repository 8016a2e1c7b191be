"""The inference routes of the Open Inference Protocol: read, play, write, without the ASGI application between."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from motet.batch import Array, Column
from motet.errors import ModelError, MotetError, NotFoundError
from motet.serving.batching.parameters import asked_times, failed_rows
from motet.serving.batching.request import ANONYMOUS, Reply, Request
from motet.serving.http.cors import cors_lines
from motet.serving.http.front import HttpRoute
from motet.serving.http.infer_headers import InferHeaders
from motet.serving.http.respond import error_answer, head, named
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.wire.compress import compress, decompress
from motet.serving.wire.infer import InferCodec, InferRequest
from motet.serving.wire.long import LONG_ELEMENTS, LONG_TEXT_BYTES, have_texts
from motet.serving.wire.plan import keep
from motet.serving.wire.template import RequestTemplate
from motet.tracebacks import summary
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.serving.http.exchange import Exchange, Origin
    from motet.serving.http.front import Front
    from motet.serving.middleware.context import RequestContext
    from motet.serving.middleware.middleware import Middleware

__all__ = ["InferExchange", "InferRoutes"]

_LOG = logging.getLogger("motet.serving")
_PATH = re.compile(rb"/v2/models/([^/?]+)(?:/versions/([^/?]+))?/infer/?")
_NONE: Mapping[str, Column] = {}
UNKNOWN_AXIS = 100
COMPRESSED_BYTES = 512
"""Answers shorter than this are sent as they are."""
_JSON, _BINARY = b"application/json", b"application/octet-stream"
_LENGTH = b"inference-header-content-length: "
_JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
_BINARY_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: "


class InferRoutes:
    """Finds the inference route of an address.

    Args:
        gateway: what is served.
        services: what is done for every request beside playing it; None for nothing.
    """

    def __init__(self, repository: ModelRepository, services: Middleware | None = None) -> None:
        self.repository, self.services = repository, services
        self.front: Front

    def __call__(self, url: bytes) -> HttpRoute | None:
        """The route; None where the address is no inference route, or nothing is served under its name."""
        match = _PATH.fullmatch(url.partition(b"?")[0])
        if match is None:
            return None
        name, version = unquote(match[1].decode("latin-1")), unquote((match[2] or b"").decode("latin-1"))
        try:
            served = self.repository.find(name, version)
        except NotFoundError as error:
            error.__traceback__ = error.__context__ = None  # it is kept, and their frames hold a connection
            return _Missing(error, self)
        return _Infer(self, served, name)


class _Missing:
    """Says that nothing is served under a name."""

    def __init__(self, error: NotFoundError, routes: InferRoutes) -> None:
        self._error, self.services, self.front = error, routes.services, routes.front

    def __call__(self, origin: Origin, line: deque[Exchange], body: bytes, keep_alive: bool, /) -> None:
        exchange = InferExchange(self, origin, keep_alive, origin.known)
        exchange.body = body
        line.append(exchange)
        exchange.refuse(self._error)


class _Infer:
    """The inference route of one served graph or model."""

    def __init__(self, routes: InferRoutes, served: RepositoryEntry, name: str) -> None:
        self.served, self.services, self.front, self._repository = (
            served,
            routes.services,
            routes.front,
            routes.repository,
        )
        self.codec = InferCodec(
            name, served.versions[-1], served.inputs, served.signature.outputs, self._repository.limits.rows
        )
        self._moulds: dict[bytes, InferBatchCodec] = {}
        kinds = served.signature.outputs.values()
        self.row_elements, self.gives_texts = sum(_elements(kind) for kind in kinds), have_texts(kinds)
        self._takes_texts = have_texts(each.type for each in served.inputs.values())

    def write(self, asked: InferRequest, reply: Reply) -> tuple[bytes, int | None]:
        """The body of an answer, and the bytes of its JSON where bytes follow."""
        return self.codec.write(asked, reply.columns, reply.first, reply.end)

    def __call__(self, origin: Origin, line: deque[Exchange], body: bytes, keep_alive: bool, /) -> None:
        exchange = InferExchange(self, origin, keep_alive, origin.known)
        line.append(exchange)
        try:
            services = self.services
            if services is not None and services.busy:
                services.receive(exchange, body)
                return
            said = exchange.said
            if said is not None and said.is_plain and keep_alive:
                together = said.together
                if together is None or together.route is not self or not together.template.fits(body):
                    together = said.together = self._together(body, said.header_length)
                if together is not None:
                    exchange.put(body, together)
                    self._repository.submit(self.served, exchange)
                    return
            self.submit(exchange, body)
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            exchange.fail(error)

    def _together(self, body: bytes, header_length: int | None) -> InferBatchCodec | None:
        """What reads and answers requests like this one at one go; None where nothing does."""
        head = body[:header_length]
        found = self._moulds.get(head)
        if found is None:
            template = self.codec.template(head)
            if template is not None:
                found = InferBatchCodec(self, template)
                keep(self._moulds, head, found)
        return found if found is not None and found.template.fits(body) else None

    def submit(self, exchange: InferExchange, body: bytes) -> None:
        """Read the request and hand it to the gateway; what takes long to read is read in a thread."""
        try:
            said = exchange.said
            if said is None:
                said = exchange.said = exchange.origin.prepared = InferHeaders(exchange.known)
            if len(body) > said.long_bytes or (self._takes_texts and len(body) > LONG_TEXT_BYTES):
                work = self.front.loop.run_in_executor(None, self._read, body, said)
                work.add_done_callback(lambda done: self._was_read(exchange, done))
                return
            self._go_on(exchange, self._read(body, said))
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            exchange.fail(error)

    def _read(self, body: bytes, said: InferHeaders) -> InferRequest:
        if said.encoding is not None:
            body = decompress(body, said.encoding, self.front.limits.body_bytes)
        return self.codec.read(body, said.header_length)

    def _was_read(self, exchange: InferExchange, done: asyncio.Future[InferRequest]) -> None:
        try:
            self._go_on(exchange, done.result())
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            exchange.fail(error)

    def _go_on(self, exchange: InferExchange, asked: InferRequest) -> None:
        """Hand a request that was read to the gateway."""
        said = exchange.said
        assert said is not None
        exchange.take(asked)
        parameters = asked.parameters
        if said.timeout is not None or "timeout" in parameters or "priority" in parameters:
            timeout_s, exchange.priority = asked_times(parameters, said.timeout)
            if timeout_s is not None:
                exchange.deadline = self.front.loop.time() + timeout_s
        if exchange.visit is not None:
            exchange.visit.carry(exchange)
        self._repository.submit(self.served, exchange)


def as_answer(error: BaseException) -> MotetError:
    """The error that a caller is told: 500 for a mistake of ours; the log has the whole of it."""
    if isinstance(error, MotetError):
        return error
    _LOG.error("a request for inference failed", exc_info=error)
    return ModelError(summary(error))


class InferBatchCodec:
    """Requests of one route that differ in the bytes of their tensors only.

    Args:
        route: where they came.
        mould: what they have in common.
    """

    __slots__ = ("route", "template")

    def __init__(self, route: _Infer, template: RequestTemplate) -> None:
        self.route, self.template = route, template

    def columns(self, requests: Sequence[Request], /) -> dict[str, Column]:
        """The inputs of all their rows."""
        exchanges = cast(Sequence[InferExchange], requests)
        return self.template.columns([exchange.body for exchange in exchanges])

    def answer(self, requests: Sequence[Request], columns: Mapping[str, Column], /) -> None:
        """Answer each that is not settled."""
        front = self.route.front
        answers = self.template.answers(cast(Mapping[str, Array], columns), len(requests), front.date)
        for exchange, data in zip(cast(Sequence[InferExchange], requests), answers, strict=True):
            if not exchange.settled:
                exchange.settled = True
                front.statuses[200] += 1
                exchange.data = data
                if not exchange.cancelled:
                    exchange.origin.finished(exchange)


class InferExchange(Request):
    """A request of this route: what the gateway plays, and what stands in the connection's line."""

    __slots__ = ("_asked", "_columns", "body", "data", "keep_alive", "known", "origin", "route", "said", "visit")

    def __init__(
        self, route: _Infer | _Missing, origin: Origin, keep_alive: bool, known: Mapping[bytes, bytes]
    ) -> None:
        self._columns: Mapping[str, Column] | None = _NONE
        self._asked: InferRequest | None = None
        # The rest is as Request.__init__ does it, which would take as long as all else here.
        self.rows = self.priority = 0
        name = known.get(b"x-request-id")
        self.id = "" if name is None else name.decode("latin-1")
        self.deadline, self.identity = None, ANONYMOUS
        self.cancelled = self.settled = self.explain = False
        self.watch = self.together = None
        self.arrived, self.kept_as = 0.0, b""
        self.route, self.origin, self.keep_alive, self.known = route, origin, keep_alive, known
        self.data: bytes | None = None
        self.visit: RequestContext | None = None
        prepared = origin.prepared
        self.said = prepared if type(prepared) is InferHeaders else None

    def put(self, body: bytes, together: InferBatchCodec) -> None:
        """Say that it is read together with others like it; where it is needed alone after all, it is read then."""
        self.body, self.together, self.rows = body, together, together.template.rows
        self._columns = None

    @property
    def columns(self) -> Mapping[str, Column]:
        """See `Request`; of a request that was to be read with others it is read now."""
        if self._columns is None:
            self._columns = self._read().columns
        return self._columns

    @columns.setter
    def columns(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns

    @property
    def asked(self) -> InferRequest | None:
        """What is asked for; None as long as that is not known."""
        if self._columns is None:
            self._columns = self._read().columns
        return self._asked

    def _read(self) -> InferRequest:
        assert isinstance(self.route, _Infer)
        assert self.said is not None
        self._asked = asked = self.route.codec.read(self.body, self.said.header_length)
        return asked

    def take(self, asked: InferRequest) -> None:
        """What is asked for, read."""
        self._asked, self._columns, self.rows, self.id = asked, asked.columns, asked.rows, asked.id or self.id

    def submit(self, body: bytes) -> None:
        """Go on with a request that was let in."""
        assert isinstance(self.route, _Infer)
        self.route.submit(self, body)

    @property
    def is_ready(self) -> bool:
        """Whether what is asked for can be played."""
        return isinstance(self.route, _Infer) and self.route.served.state == "READY"

    @property
    def name(self) -> str:
        """What is asked for."""
        return self.route.served.name if isinstance(self.route, _Infer) else ""

    @property
    def asked_for(self) -> str:
        """The method and the address; of an address where nothing is served as it is on the connection now."""
        path = f"/v2/models/{self.name}/infer" if self.name else self.origin.url.decode("latin-1")
        return f"POST {path}"

    def refuse(self, error: MotetError) -> None:
        """It is not played at all."""
        self.settled = True
        self.failed(error)

    def fail(self, error: Exception) -> None:
        """It is not played, for whatever was raised; where it was answered meanwhile, that holds."""
        if not self.settled:
            self.refuse(as_answer(error))

    def at_head(self) -> None:
        """The answer comes in one piece: nothing changes."""

    def abandon(self) -> None:
        """The client is gone."""
        self.cancelled = True
        if self.visit is not None:
            self.visit.abandon()

    def answered(self, reply: Reply) -> None:
        """Write the answer; rows that failed fail the whole request."""
        if reply.failures:
            self.failed(failed_rows(reply, self.rows))
            return
        route, asked = self.route, self.asked
        assert isinstance(route, _Infer)
        assert asked is not None
        assert self.said is not None
        rows = reply.end - reply.first
        form = route.codec.form(asked, rows) if self.keep_alive and self.said.is_usual else None
        if form is not None:
            front = route.front
            front.statuses[200] += 1
            self.data = form.answer(reply.columns, reply.first, reply.end, front.date)
            if self.visit is not None:
                self.visit.answered(self, reply, self.data)
            if not self.cancelled:
                self.origin.finished(self)
            return
        elements = rows * route.row_elements
        if elements > LONG_ELEMENTS and (route.gives_texts or not all(each.binary for each in asked.wanted)):
            work = route.front.loop.run_in_executor(None, route.write, asked, reply)
            work.add_done_callback(lambda done: self._was_written(reply, done))
            return
        try:
            written = route.write(asked, reply)
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            self.failed(as_answer(error))
            return
        self._send(reply, written)

    def _was_written(self, reply: Reply, done: asyncio.Future[tuple[bytes, int | None]]) -> None:
        error = done.exception()
        if error is None:
            self._send(reply, done.result())
        else:
            self.failed(as_answer(error))

    def _send(self, reply: Reply, written: tuple[bytes, int | None]) -> None:
        route = self.route
        assert isinstance(route, _Infer)
        assert self.said is not None
        front, (body, length) = route.front, written
        more = front.date
        front.statuses[200] += 1
        if self.keep_alive and self.said.is_usual:
            if length is None:
                self.data = b"%b%d\r\n%b\r\n%b" % (_JSON_HEAD, len(body), more, body)
            else:
                self.data = b"%b%d\r\n%b%d\r\n%b\r\n%b" % (_BINARY_HEAD, len(body), _LENGTH, length, more, body)
        else:
            self.data = self._described(body, length, more)
        if self.visit is not None:
            self.visit.answered(self, reply, self.data)
        if not self.cancelled:
            self.origin.finished(self)

    def _described(self, body: bytes, length: int | None, more: bytes) -> bytes:
        """An answer that may be compressed, that a page reads, that has a name, or that is the last one of its connection."""
        kind = _JSON
        if length is not None:
            kind, more = _BINARY, b"%b%b%d\r\n" % (more, _LENGTH, length)
        if self.said is not None and self.said.accepts is not None and len(body) >= COMPRESSED_BYTES:
            body, encoding = compress(body, self.said.accepts, COMPRESSED_BYTES)
            if encoding is not None:
                more += b"content-encoding: %b\r\n" % encoding.encode()
        return head(200, kind, len(body), more + self._fields(), keep_alive=self.keep_alive) + body

    def _fields(self) -> bytes:
        """The caller's name of the request, and what lets the page that asks read the answer, where it may."""
        origin, name, services = self.known.get(b"origin"), named(self.known.items()), self.route.services
        return name if origin is None or services is None else name + cors_lines(services.config.cors, origin)

    def failed(self, error: MotetError) -> None:
        """Say why there is no answer."""
        front = self.route.front
        front.statuses[error.status] += 1
        self.data = error_answer(error, front.date + self._fields(), keep_alive=self.keep_alive)
        if self.visit is not None:
            self.visit.failed(self, error, self.data)
        else:
            front.unvisited(self.origin, self.asked_for, error, len(getattr(self, "body", b"")), self.data)
        if not self.cancelled:
            self.origin.finished(self)


def _elements(kind: ColumnType) -> int:
    """About how many elements a row has."""
    return math.prod(axis or UNKNOWN_AXIS for axis in kind.shape)
