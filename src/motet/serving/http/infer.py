"""The inference routes of the Open Inference Protocol: read, play, write, without the ASGI application between."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from motet.batch import Column
from motet.errors import ModelError, MotetError, NotFoundError
from motet.serving.batching.parameters import asked_times, failed_rows, read_parameters
from motet.serving.batching.request import ANONYMOUS, Reply, Request
from motet.serving.http.exchange import call_of
from motet.serving.http.front import HttpRoute
from motet.serving.http.infer_batch import InferBatchCodec
from motet.serving.http.infer_headers import InferHeaders
from motet.serving.http.respond import body_bytes, error_answer, head, named
from motet.serving.middleware.context import RequestContext
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.wire.compress import compress, decompress
from motet.serving.wire.cors import cors_lines
from motet.serving.wire.infer import InferCodec, InferRequest
from motet.serving.wire.long import LONG_ELEMENTS, LONG_TEXT_BYTES, have_texts
from motet.serving.wire.plan import keep
from motet.tracebacks import summary
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.serving.http.exchange import Exchange, Origin
    from motet.serving.http.front import Front

__all__ = ["InferExchange", "InferRoute", "InferRoutes"]

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
        repository: what is served.
        middleware: what every request passes.
    """

    def __init__(self, repository: ModelRepository, middleware: Middleware) -> None:
        self.repository, self.middleware = repository, middleware

    def __call__(self, front: Front, url: bytes) -> HttpRoute | None:
        """The route; None where the address is no inference route, or nothing is served under its name."""
        match = _PATH.fullmatch(url.partition(b"?")[0])
        if match is None:
            return None
        name, version = unquote(match[1].decode("latin-1")), unquote((match[2] or b"").decode("latin-1"))
        try:
            served = self.repository.find(name, version)
        except NotFoundError as error:
            error.__traceback__ = error.__context__ = None  # it is kept, and their frames hold a connection
            return _Missing(error, self.middleware, front)
        return InferRoute(self, front, served, name)


class _Missing:
    """Says that nothing is served under a name."""

    def __init__(self, error: NotFoundError, middleware: Middleware, front: Front) -> None:
        self._error, self.middleware, self.front = error, middleware, front

    def __call__(self, origin: Origin, line: deque[Exchange], body: bytes, keep_alive: bool, /) -> None:
        exchange = InferExchange(self, origin, keep_alive, origin.known)
        exchange.body = body
        line.append(exchange)
        exchange.failed(self._error)


class InferRoute:
    """The inference route of one served graph or model."""

    def __init__(self, routes: InferRoutes, front: Front, served: RepositoryEntry, name: str) -> None:
        self.served, self.front = served, front
        self.middleware, self._repository = routes.middleware, routes.repository
        self.codec = InferCodec(
            name, served.versions[-1], served.inputs, served.signature.outputs, self._repository.limits.rows
        )
        self._batch_codecs: dict[bytes, InferBatchCodec] = {}
        kinds = served.signature.outputs.values()
        self.row_elements, self.gives_texts = sum(_elements(kind) for kind in kinds), have_texts(kinds)
        self._takes_texts = have_texts(each.type for each in served.inputs.values())

    def write(self, asked: InferRequest, reply: Reply) -> tuple[bytes, int | None]:
        """The body of an answer, and the bytes of its JSON where bytes follow."""
        return self.codec.write(asked, reply.columns, reply.first, reply.end, reply.feedback_id)

    def __call__(self, origin: Origin, line: deque[Exchange], body: bytes, keep_alive: bool, /) -> None:
        """Begin with a request; see `HttpRoute`."""
        exchange = InferExchange(self, origin, keep_alive, origin.known)
        line.append(exchange)
        try:
            if self.middleware.busy:
                self._enter(exchange, body)
                return
            said = exchange.said
            if said is not None and said.is_plain and keep_alive:
                codec = said.batch_codec
                if codec is None or codec.route is not self or not codec.template.fits(body):
                    codec = said.batch_codec = self._batch_codec(body, said.header_length)
                if codec is not None:
                    exchange.put(body, codec)
                    self._repository.submit(self.served, exchange)
                    return
            self.submit(exchange, body)
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            exchange.fail(error)

    def _enter(self, exchange: InferExchange, body: bytes) -> None:
        """Let a request in, now or when it is its turn; what cannot be played costs nobody a place or a rate."""
        exchange.body = body
        if self.served.state != "READY":
            self.submit(exchange, body)
            return
        origin = exchange.origin
        call = call_of(origin, origin.url.decode("latin-1"), len(body), target=self.served.name)
        try:
            entered = self.middleware.enter(call, lambda: self._deadline(exchange, body))
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            exchange.turn_away(as_answer(error))
            return
        if isinstance(entered, RequestContext):
            self._entered(exchange, entered)
            return
        exchange.entering = task = self.front.loop.create_task(self._wait(exchange, entered))
        self.front.tasks.add(task)
        task.add_done_callback(self.front.tasks.discard)

    async def _deadline(self, exchange: InferExchange, body: bytes) -> float | None:
        """When the answer is of no use any more to who waits for its turn."""
        came = self.front.loop.time()
        said = InferHeaders(exchange.known)
        parameters = await read_parameters(body, said.encoding, self.front.limits.body_bytes, said.header_length)
        timeout_s, _ = asked_times(parameters, said.timeout)
        return None if timeout_s is None else came + timeout_s

    async def _wait(self, exchange: InferExchange, turn: Coroutine[Any, Any, RequestContext]) -> None:
        try:
            context = await turn
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            exchange.turn_away(as_answer(error))
            return
        finally:
            exchange.entering = None
        self._entered(exchange, context)

    def _entered(self, exchange: InferExchange, context: RequestContext) -> None:
        exchange.context, exchange.identity = context, context.identity
        self.submit(exchange, exchange.body)

    def _batch_codec(self, body: bytes, header_length: int | None) -> InferBatchCodec | None:
        """What reads and answers requests like this one at one go; None where nothing does."""
        head = body[:header_length]
        found = self._batch_codecs.get(head)
        if found is None:
            template = self.codec.template(head)
            if template is not None:
                found = InferBatchCodec(self, template)
                keep(self._batch_codecs, head, found)
        return found if found is not None and found.template.fits(body) else None

    def submit(self, exchange: InferExchange, body: bytes) -> None:
        """Read the request and hand it to the repository; what takes long to read is read in a thread."""
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
        """Hand a request that was read to the repository."""
        said = exchange.said
        assert said is not None
        exchange.take(asked)
        parameters = asked.parameters
        if said.timeout is not None or "timeout" in parameters or "priority" in parameters:
            timeout_s, exchange.priority = asked_times(parameters, said.timeout)
            if timeout_s is not None:
                began = self.front.loop.time() if exchange.context is None else exchange.context.began
                exchange.deadline = began + timeout_s
        if exchange.context is not None:
            exchange.context.carry(exchange)
        self._repository.submit(self.served, exchange)


def as_answer(error: BaseException) -> MotetError:
    """The error that a caller is told: 500 for a mistake of ours; the log has the whole of it."""
    if isinstance(error, MotetError):
        return error
    _LOG.error("a request for inference failed", exc_info=error)
    return ModelError(summary(error))


class InferExchange(Request):
    """A request of this route: what the repository has played, and what stands in the connection's line."""

    __slots__ = (
        "_asked",
        "_columns",
        "body",
        "context",
        "data",
        "entering",
        "keep_alive",
        "known",
        "origin",
        "route",
        "said",
    )

    def __init__(
        self, route: InferRoute | _Missing, origin: Origin, keep_alive: bool, known: Mapping[bytes, bytes]
    ) -> None:
        self._columns: Mapping[str, Column] | None = _NONE
        self._asked: InferRequest | None = None
        # The rest is as Request.__init__ does it, which would take as long as all else here.
        self.rows = self.priority = 0
        name = known.get(b"x-request-id")
        self.id = "" if name is None else name.decode("latin-1")
        self.deadline, self.identity = None, ANONYMOUS
        self.cancelled = self.settled = self.explain = False
        self.watch = self.pieces = self.batch_codec = None
        self.arrived, self.kept_as = 0.0, b""
        self.route, self.origin, self.keep_alive, self.known = route, origin, keep_alive, known
        self.data: bytes | None = None
        self.context: RequestContext | None = None
        self.entering: asyncio.Task[None] | None = None
        prepared = origin.prepared
        self.said = prepared if type(prepared) is InferHeaders else None

    def put(self, body: bytes, codec: InferBatchCodec) -> None:
        """Say that it is read together with others like it; where it is needed alone after all, it is read then."""
        self.body, self.batch_codec, self.rows = body, codec, codec.template.rows
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
        assert isinstance(self.route, InferRoute)
        assert self.said is not None
        self._asked = asked = self.route.codec.read(self.body, self.said.header_length)
        return asked

    def take(self, asked: InferRequest) -> None:
        """What is asked for, read."""
        self._asked, self._columns, self.rows, self.id = asked, asked.columns, asked.rows, asked.id or self.id

    @property
    def path(self) -> str:
        """What is asked for; of an address where nothing is served as it is on the connection now."""
        route = self.route
        return (
            f"/v2/models/{route.served.name}/infer"
            if isinstance(route, InferRoute)
            else self.origin.url.decode("latin-1")
        )

    def fail(self, error: Exception) -> None:
        """It is not played, for whatever was raised; where it was answered meanwhile, that holds."""
        if not self.settled:
            self.failed(as_answer(error))

    def at_head(self) -> None:
        """The answer comes in one piece: nothing changes."""

    def abandon(self) -> None:
        """The client is gone."""
        self.cancelled = True
        if self.entering is not None:  # soon, that is once it has begun: else nothing would be written down of it
            self.route.front.loop.call_soon(self.entering.cancel)

    def answered(self, reply: Reply) -> None:
        """Write the answer; rows that failed fail the whole request."""
        if reply.failures:
            if self.context is not None:
                self.context.reply = reply
            self.failed(failed_rows(reply, self.rows))
            return
        try:
            self._answer(reply)
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            self.failed(as_answer(error))

    def _answer(self, reply: Reply) -> None:
        route, asked = self.route, self.asked
        assert isinstance(route, InferRoute)
        assert asked is not None
        assert self.said is not None
        rows = reply.end - reply.first
        usual = self.keep_alive and self.said.is_usual and not reply.feedback_ids
        form = route.codec.form(asked, rows) if usual else None
        if form is not None:
            self.data = form.answer(reply.columns, reply.first, reply.end, route.front.date)
            self._finish(reply)
            return
        elements = rows * route.row_elements
        if elements > LONG_ELEMENTS and (route.gives_texts or not all(each.binary for each in asked.wanted)):
            work = route.front.loop.run_in_executor(None, route.write, asked, reply)
            work.add_done_callback(lambda done: self._was_written(reply, done))
            return
        self._send(reply, route.write(asked, reply))

    def _was_written(self, reply: Reply, done: asyncio.Future[tuple[bytes, int | None]]) -> None:
        try:
            self._send(reply, done.result())
        except Exception as error:  # noqa: BLE001 (no request stays without an answer)
            self.failed(as_answer(error))

    def _send(self, reply: Reply, written: tuple[bytes, int | None]) -> None:
        route = self.route
        assert isinstance(route, InferRoute)
        assert self.said is not None
        front, (body, length) = route.front, written
        more = front.date
        if len(reply.feedback_ids) == 1 and reply.feedback_id:
            more += b"x-feedback-id: %b\r\n" % reply.feedback_id.encode()
        if self.keep_alive and self.said.is_usual:
            if length is None:
                self.data = b"%b%d\r\n%b\r\n%b" % (_JSON_HEAD, len(body), more, body)
            else:
                self.data = b"%b%d\r\n%b%d\r\n%b\r\n%b" % (_BINARY_HEAD, len(body), _LENGTH, length, more, body)
        else:
            self.data = self._described(body, length, more)
        self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        self.route.front.statuses[200] += 1
        if self.context is not None:
            self.context.reply, self.context.sent_bytes = reply, body_bytes(cast(bytes, self.data))
            self.context.end()
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
        origin, name = self.known.get(b"origin"), named(self.known.items())
        return name if origin is None else name + cors_lines(self.route.middleware.config.cors, origin)

    def failed(self, error: MotetError) -> None:
        """Say why there is no answer."""
        middleware = self.route.middleware
        if self.context is not None:
            self.context.end(error)
        elif middleware.logs:
            size, fields = len(getattr(self, "body", b"")), self.known.items()
            call = call_of(self.origin, self.path, size, method="POST", fields=fields)
            middleware.unadmitted(call, error.status, error=error)
        self.turn_away(error)

    def turn_away(self, error: MotetError) -> None:
        """Answer an error that is written down already."""
        front = self.route.front
        self.settled = True
        front.statuses[error.status] += 1
        self.data = error_answer(error, front.date + self._fields(), keep_alive=self.keep_alive)
        if not self.cancelled:
            self.origin.finished(self)


def _elements(kind: ColumnType) -> int:
    """About how many elements a row has."""
    return math.prod(axis or UNKNOWN_AXIS for axis in kind.shape)
