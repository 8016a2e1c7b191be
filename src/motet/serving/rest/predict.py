"""POST /predict/GRAPH: rows as JSON, a form, or a file; answers row by row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from motet.errors import CancelledError, Failure, InputError, known_names
from motet.oip.tensors import rows_failed
from motet.pictures import begins_as_picture
from motet.runtime.rows import JsonRows, read_rows
from motet.serving.batching.parameters import asked_times, read_parameters
from motet.serving.batching.request import Reply
from motet.serving.batching.request_future import RequestFuture
from motet.serving.middleware.context import RequestContext
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.answers import answer_of
from motet.serving.rest.calls import enter, unless_gone
from motet.serving.rest.picture_answers import asked_image, image_response
from motet.serving.rest.respond import JSON, MediaTypeError, json_response
from motet.serving.rest.stream import AnswerStream, EventStream
from motet.serving.rest.uploads import form_rows, raw_row
from motet.serving.wire.compress import decompress
from motet.serving.wire.envelope import read_json

__all__ = ["Predict", "PredictRequest", "PredictWhole", "decoded"]

FEEDBACK_HEADER = "x-feedback-id"
"""The header of an answer of one row that holds what feedback names it by."""
IN_THREAD_BYTES = 1 << 15
"""Bodies at least this long are read in a thread."""
_OPTIONS = ("parameters", "stream", "explain")
_BESIDE_ROWS = ("rows", *_OPTIONS, "id")
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_UNSAID = ("", _FORMS[1])
"""What curl and others say of a body where they are not told what it is."""
_FLAGS = {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass
class PredictRequest:
    """What a request asks.

    Attributes:
        rows: as they came.
        single: whether it was one row, so that one is answered.
        explain, stream: what the answer is to be like.
        parameters: `timeout`, `priority`.
        id: the caller's name for it.
        by_column: whether the rows came as columns, so that columns are answered.
    """

    rows: list[Any] = field(default_factory=list)
    single: bool = False
    explain: bool = False
    stream: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    by_column: bool = False


class Predict:
    """Answers rows.

    Args:
        repository: what is served.
        middleware: what every request passes.
    """

    def __init__(self, repository: ModelRepository, middleware: Middleware) -> None:
        self._repository, self._middleware = repository, middleware

    async def __call__(self, request: Request) -> Response:
        """Let a request in, play it, answer it.

        Raises:
            MotetError: when it cannot be answered.
        """
        arrived = asyncio.get_running_loop().time()
        served = self._repository.find(request.path_params["name"], request.path_params.get("version", ""))
        return await self._entered(request, await request.body(), served, arrived)

    async def _entered(self, request: Request, body: bytes, served: RepositoryEntry, arrived: float) -> Response:
        """Let a request for something in, play it, answer it."""

        async def deadline() -> float | None:
            limit, encoding = self._repository.limits.body_bytes, request.headers.get("content-encoding")
            read = {} if "parameters" in served.inputs else await read_parameters(body, encoding, limit)
            return _times(request, {**self._in_query(request), **read}, arrived)[0]

        context = await enter(self._middleware, request, served.name, len(body), deadline)
        played = RequestFuture({}, 0, identity=context.identity)
        context.carry(played)
        try:
            given = await self._read(request, body, served)
            rows = await self._rows(given, served)
            self._prepare(played, given, rows, request, arrived)
            if given.stream:
                return self._streamed(given, rows, played, served, context)
            return await self._played(request, given, rows, played, served, context)
        except BaseException as error:
            self._fail(error, played, context)
            raise

    async def _read(self, request: Request, body: bytes, served: RepositoryEntry) -> PredictRequest:
        """What is asked, in whatever form it came."""
        limits, inputs = self._repository.limits, served.inputs
        encoding = request.headers.get("content-encoding")
        body = self._inflated(request, body)
        query = dict(request.query_params)
        given = PredictRequest(parameters=self._in_query(request))
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        looks_json = body.lstrip()[:1] in (b"{", b"[")
        if kind in _UNSAID and begins_as_picture(body):
            kind = "image/"
        if kind in _FORMS and not (kind == _FORMS[1] and looks_json):
            form = request if encoding is None else _with_body(request, body)
            given.rows = await form_rows(form, inputs, limits.rows, limits.body_bytes)
            given.single = len(given.rows) == 1
        elif kind.startswith("image/") or kind == "application/octet-stream":
            given.rows, given.single = [await raw_row(body, inputs, query)], True
        elif kind in ("", JSON, "text/plain", _FORMS[1]) or kind.endswith("+json"):
            _of_json(await decoded(body), given, inputs)
        else:
            raise MediaTypeError(f"{kind!r} is not taken", hint=f"send {JSON}, a form, or an image")
        given.explain = _flag(query["explain"], "explain") if "explain" in query else given.explain
        given.stream = _flag(query["stream"], "stream") if "stream" in query else given.stream
        given.stream = given.stream or "text/event-stream" in request.headers.get("accept", "")
        given.id = given.id or request.headers.get("x-request-id", "")
        return given

    @staticmethod
    def _in_query(request: Request) -> dict[str, Any]:
        """The parameters that the address says."""
        query = request.query_params
        return {name: _number(query[name], name) for name in ("timeout", "priority") if name in query}

    def _inflated(self, request: Request, body: bytes) -> bytes:
        """The body without its compression."""
        encoding = request.headers.get("content-encoding")
        return body if encoding is None else decompress(body, encoding, self._repository.limits.body_bytes)

    async def _rows(self, given: PredictRequest, served: RepositoryEntry) -> JsonRows:
        checked, max_rows = served.graph.checked, self._repository.limits.rows
        if _is_quick(given.rows):
            rows = read_rows(given.rows, checked, max_rows)
        else:
            rows = await asyncio.to_thread(read_rows, given.rows, checked, max_rows)
        if rows.bad:
            self._unread(rows.bad, given, served)
        if given.single and rows.bad:
            raise InputError(rows.bad[0])
        return rows

    def _unread(self, bad: Mapping[int, str], given: PredictRequest, served: RepositoryEntry) -> None:
        """Rows could not be read: they count as failed, though they are never played."""
        failures = [Failure(row, "input", "", "", "InputError", message) for row, message in bad.items()]
        if served.batcher is not None and served.batcher.responder.listener is not None:
            served.batcher.responder.listener.unread(failures, given.id)

    def _prepare(
        self, played: RequestFuture, given: PredictRequest, rows: JsonRows, request: Request, arrived: float
    ) -> None:
        played.deadline, played.priority = _times(request, given.parameters, arrived)
        played.columns, played.rows, played.id = rows.columns, len(rows.places), given.id
        played.explain = given.explain and not given.stream

    async def _played(
        self,
        request: Request,
        given: PredictRequest,
        rows: JsonRows,
        played: RequestFuture,
        served: RepositoryEntry,
        context: RequestContext,
    ) -> Response:
        reply = None
        if rows.places:
            self._repository.submit(served, played)
            reply = await unless_gone(request, played.future)
        response = await self._response(request, given, rows, reply, served)
        if reply is not None and len(reply.feedback_ids) == 1 and reply.feedback_id:
            response.headers[FEEDBACK_HEADER] = reply.feedback_id
        context.reply, context.sent_bytes = reply, len(response.body)
        context.end()
        return response

    async def _response(
        self, request: Request, given: PredictRequest, rows: JsonRows, reply: Reply | None, served: RepositoryEntry
    ) -> Response:
        """The answer of rows that were played; None where there were none to play."""
        calls = None if reply is None or not given.explain else reply.calls
        answer = answer_of(rows, reply, calls, single=given.single)
        wanted = asked_image(request.headers.get("accept", "")) if given.single else ""
        if wanted:
            return await asyncio.to_thread(image_response, answer, served.signature.outputs, wanted)
        return json_response(answer)

    def _streamed(
        self,
        given: PredictRequest,
        rows: JsonRows,
        played: RequestFuture,
        served: RepositoryEntry,
        context: RequestContext,
    ) -> Response:
        stream = self._stream(given, rows, played, served, context)
        if served.batcher is not None and served.batcher.streamed:
            stream.listen(self._repository.limits.write_timeout_s)
        if rows.places:
            self._repository.submit(served, played)
            if played.future.done() and played.future.exception() is not None:
                played.future.result()
        else:  # no row could be played
            played.future.set_result(Reply({}, 0, 0, None, (), 0, 0.0, 0.0))
        return stream

    def _stream(
        self,
        given: PredictRequest,
        rows: JsonRows,
        played: RequestFuture,
        served: RepositoryEntry,
        context: RequestContext,
    ) -> AnswerStream:
        """What answers in parts."""
        return EventStream(given, rows, played, partial(self._fail, played=played, context=context), context)

    @staticmethod
    def _fail(error: BaseException, played: RequestFuture, context: RequestContext) -> None:
        """There is no answer."""
        if isinstance(error, (CancelledError, asyncio.CancelledError)):
            played.cancelled = True
        context.reply = played.reply
        context.end(error)


class PredictWhole(Predict):
    """Answers requests whole: where a row fails, the request does, and says which rows."""

    async def _rows(self, given: PredictRequest, served: RepositoryEntry) -> JsonRows:
        rows = await super()._rows(given, served)
        if rows.bad:
            reasons = (f"row {row}: {why}" for row, why in sorted(rows.bad.items()))
            raise InputError(rows_failed(reasons, len(rows.bad), rows.total))
        return rows


def _times(request: Request, parameters: Mapping[str, Any], arrived: float) -> tuple[float | None, int]:
    """When the answer is of no use any more, and the priority."""
    header = request.headers.get("x-request-timeout-ms")
    timeout_s, priority = asked_times(parameters, None if header is None else header.encode("latin-1"))
    return None if timeout_s is None else arrived + timeout_s, priority


async def decoded(body: bytes) -> Any:
    """The value of a body of JSON."""
    return read_json(body) if len(body) < IN_THREAD_BYTES else await asyncio.to_thread(read_json, body)


def _is_quick(rows: list[Any]) -> bool:
    """Whether rows are few and small: reading them takes no time that others would notice."""
    return len(rows) <= 4 and not any(
        isinstance(value, str) and len(value) > 1024
        for row in rows
        if isinstance(row, Mapping)
        for value in row.values()
    )


def _of_json(value: Any, given: PredictRequest, inputs: Mapping[str, Any]) -> None:
    """Rows, or one row's object."""
    if not isinstance(value, dict):
        raise InputError(
            f"the body must be a JSON object; got {type(value).__name__}", hint='send {"rows": [...]} or one row'
        )
    if "rows" not in value or "rows" in inputs:
        for name in _OPTIONS:
            if name in value and name not in inputs:
                raise InputError(f"{name!r} goes beside 'rows'", hint=f'send {{"rows": [...], "{name}": ...}}')
        given.rows, given.single = [value], True
        return
    value = {name: each for name, each in value.items() if each is not None or name == "rows"}
    for name in value:
        if name not in _BESIDE_ROWS:
            raise InputError(f"unknown key {name!r} beside 'rows'; {known_names(name, _BESIDE_ROWS)}")
    for name, kind, what in (
        ("rows", list, "a list"),
        ("parameters", dict, "an object"),
        ("stream", bool, "true or false"),
        ("explain", bool, "true or false"),
        ("id", str, "a text"),
    ):
        if name in value and not isinstance(value[name], kind):
            raise InputError(f"{name!r} must be {what}; got {type(value[name]).__name__}")
    given.rows, given.id = value["rows"], value.get("id", "")
    given.parameters |= value.get("parameters", {})
    given.stream, given.explain = value.get("stream", False), value.get("explain", False)


def _flag(text: str, name: str) -> bool:
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise InputError(f"{name!r} must be 1 or 0; got {text!r}", where="the query") from None


def _number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{name!r} must be a whole number; got {text!r}", where="the query") from None


def _with_body(request: Request, body: bytes) -> Request:
    """The same request with another body."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
