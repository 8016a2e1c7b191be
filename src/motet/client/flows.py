"""The methods of the clients, and what is asked and read for each, without any connection.

A flow is a generator: it yields calls and waits, is sent what became of them (`motet.oip.asking`), and returns the
method's answer. Both clients drive the same flows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from inspect import signature
from typing import Any, TypeVar
from urllib.parse import quote

from motet.batch import Column, Indices, Ragged
from motet.client.calls import Flow, ServerCalls, answer_json, answering
from motet.client.convert import as_columns, compressed, encoded, groups, joined, sending
from motet.client.events import PieceEvents
from motet.client.refusals import error_of
from motet.client.streams import StreamAsked, text_of
from motet.errors import InputError, NotFoundError, RequestError
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall, ask
from motet.oip.info import ModelInfo
from motet.oip.rest import LENGTH_HEADER, read_answer, write_request
from motet.system.recent import LruCache
from motet.types import ColumnType

__all__ = ["Flows", "method_of"]

F = TypeVar("F", bound=Callable[..., Any])
MAX_KNOWN = 256
"""Models whose metadata are remembered; beyond it those are forgotten that were asked for longest ago."""
FRESH_S = 1.0
"""How old metadata may be for a mistake to be believed; when they are older they are asked for again first."""
_NO_METADATA = (405, 501)


def method_of(flow: Callable[..., Flow[Any]], returned: type | None = None) -> Callable[[F], F]:
    """Give the method of a client that plays a flow the flow's name, docs and signature.

    Args:
        flow: the flow.
        returned: the type of what it returns; None for that of what the flow does in the end.
    """
    told = flow.__annotations__["return"].removeprefix("Flow[").removesuffix("]")
    told = told if returned is None else returned.__name__
    flow.__qualname__ = flow.__name__  # errors of arguments tell it, of whichever client it is

    def named(method: F) -> F:
        wraps(flow)(method)
        method.__annotations__ = {**flow.__annotations__, "return": returned or told}
        method.__dict__["__signature__"] = signature(flow).replace(return_annotation=told)
        return method

    return named


class Flows(ServerCalls):
    """The methods of a client as flows; see `ServerCalls`."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(url, api_key, timeout_s, retries, clock)
        self._known: LruCache[tuple[str, str], tuple[float, ModelInfo | None]] = LruCache(MAX_KNOWN)

    def infer(
        self,
        name: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        version: str = "",
        parameters: Mapping[str, Any] | None = None,
        binary: bool = True,
        compress: str | None = None,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Flow[dict[str, Any]]:
        """Ask a graph or a model: arrays in, arrays out.

        Args:
            name: what it is served as.
            inputs: by name, arrays or lists whose first axis is the row. Rows may differ in shape where the model
                takes that: a list of arrays, one a row; those of one shape go in one call.
            outputs: which outputs are wanted; None for all.
            version: which version; empty for the server's choice.
            parameters: for the server.
            binary: whether tensors travel as bytes; False sends and asks for JSON.
            compress: `gzip` or `deflate` packs the request, and lets the server pack the answer.
            timeout_s: instead of the client's.
            request_id: for the server's logs.

        Returns:
            By the names of the outputs, arrays whose first axis is the row. Where rows were given as a list of arrays,
            outputs whose shape varies are lists of arrays too.
            BYTES are texts where the server says that they are, else bytes.

        Raises:
            InputError: when the inputs are not what the model takes, or the server refuses them or any row of them.
            NotFoundError, UnauthorizedError, ForbiddenError, TooLargeError: as the server says.
            TooManyRequestsError, OverloadedError: when it is too busy; `retry_after_s` says when to try again.
            NotReadyError: when it cannot be reached, or is not ready.
            DeadlineError: when there was no answer in time.
            RequestError: when the server failed.
        """
        budget_s = self._budget(timeout_s)
        end = self._clock() + budget_s
        where = f"model {name!r}"
        if outputs is not None and (isinstance(outputs, str) or not isinstance(outputs, Iterable)):
            raise InputError(f"outputs must be a list of names; got {outputs!r}", where=where)
        info, columns = yield from self._columns(name, version, inputs, where, budget_s)
        known = {} if info is None else info.inputs
        kinds = {} if info is None else {each.name: each.type for each in info.outputs.values()}
        if outputs is not None and kinds and (unknown := [each for each in outputs if each not in kinds]):
            raise InputError(f"unknown output {unknown[0]!r}; it gives {', '.join(kinds)}", where=where)
        ragged = any(isinstance(column, Ragged) for column in columns.values())
        listed = {each for each, kind in kinds.items() if kind.varies} if ragged else set()
        answers: list[tuple[Indices | None, Mapping[str, Column]]] = []
        for chosen, tensors in groups(columns, known, where):
            left_s = budget_s if not answers else end - self._clock()

            def make(left_s: float, tensors: Any = tensors) -> RemoteCall:
                with sending(where):
                    about = {"timeout": max(1, round(left_s * 1e6)), **(parameters or {})}
                    body, headers = write_request(
                        tensors, outputs=outputs, binary=binary, parameters=about, request_id=request_id
                    )
                body, more = compressed(body, compress)
                return self._call("POST", f"{_model_path(name, version)}/infer", left_s, body, {**headers, **more})

            got = yield from self._ask(make, where, max(left_s, 0.001), budget_s)
            answers.append((chosen, _read(got, kinds, where)))
        with answering(where):
            return joined(answers, listed, where)

    def predict(
        self, name: str, rows: Any, *, parameters: Mapping[str, Any] | None = None, timeout_s: float | None = None
    ) -> Flow[Any]:
        """Ask a graph of a Motet server row by row: a failed row is `{"error": ...}`, and the others are answered.

        Args:
            name: the graph.
            rows: the rows, each a mapping of inputs by name (arrays are sent as nested lists, bytes as base64); or one.
            parameters: for the server.
            timeout_s: instead of the client's.

        Returns:
            The answer of each row, a mapping of outputs by name; of one row its own.

        Raises:
            MotetError: as `infer`.
        """
        return self._predict(name, rows, parameters, timeout_s)

    def explain(self, name: str, row: Mapping[str, Any], *, timeout_s: float | None = None) -> Flow[dict[str, Any]]:
        """Ask a graph of a Motet server how it comes to the answer of one row: members, versions, scores and times.

        Raises:
            MotetError: as `infer`.
        """
        return self._predict(name, row, None, timeout_s, "?explain=1")

    def stream(
        self,
        name: str,
        row: Mapping[str, Any],
        *,
        output: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Flow[StreamAsked]:
        """Ask a graph of a Motet server for the text of one row, and read it while it is written.

        It is asked for by the first piece, which raises what is wrong. It is asked for again as other methods do until it begins.
        Use it with `with` (of an `AsyncClient` with `async with`) where it may be left before the end.

        Args:
            name: the graph.
            row: a mapping of inputs by name.
            output: which text; `text`, or the only one, when not given.
            parameters: for the server.
            timeout_s: for all of it, instead of the client's.

        Returns:
            The pieces, which are the text when they are put together; `answer` has all outputs once the last one has come.
            Closing it, or letting go of it, ends the writing.

        Raises:
            MotetError: by the first piece, as `infer`; RequestError by a later one where the answer is cut off.
        """
        budget_s, where = self._budget(timeout_s), f"graph {name!r}"
        end = self._clock() + budget_s
        if not isinstance(row, Mapping):
            raise InputError(f"a row must be a mapping of inputs by name; got {type(row).__name__}", where=where)
        with sending(where):
            body = encoded(
                {"rows": [row], "stream": True, **({"parameters": dict(parameters)} if parameters else {})}, where
            )
        if output is None:
            output = text_of((yield from self._info(name, "", budget_s)), where)

        def make(left_s: float) -> RemoteCall:
            headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
            headers["X-Request-Timeout-Ms"] = str(max(1, round(left_s * 1e3)))
            return self._call("POST", f"/predict/{_quoted(name)}", left_s, body, headers)

        left_s = max(end - self._clock(), 0.001)
        return StreamAsked(
            self._ask(make, where, left_s, budget_s), PieceEvents(output, where, budget_s), end, where, budget_s
        )

    def _predict(
        self, name: str, rows: Any, parameters: Mapping[str, Any] | None, timeout_s: float | None, query: str = ""
    ) -> Flow[Any]:
        one = isinstance(rows, Mapping)
        where = f"graph {name!r}"
        if not isinstance(rows, Iterable):
            raise InputError(f"rows must be mappings of inputs by name; got {type(rows).__name__}", where=where)
        wrapped = {"rows": [rows] if one else list(rows)}
        for place, row in enumerate(wrapped["rows"]):
            if not isinstance(row, Mapping):
                raise InputError(
                    f"row {place} must be a mapping of inputs by name; got {type(row).__name__}", where=where
                )
        with sending(where):
            body = encoded({**wrapped, "parameters": dict(parameters)} if parameters else wrapped, where)
        path = f"/predict/{_quoted(name)}{query}"

        def make(left_s: float) -> RemoteCall:
            headers = {"Content-Type": "application/json", "X-Request-Timeout-Ms": str(max(1, round(left_s * 1e3)))}
            return self._call("POST", path, left_s, body, headers)

        budget_s = self._budget(timeout_s)
        got = yield from self._ask(make, where, budget_s, budget_s)
        answer = answer_json(got, where)
        answered = answer.get("rows") if isinstance(answer, dict) else None
        if not isinstance(answered, list) or len(answered) != len(wrapped["rows"]):
            raise RequestError(f"the answer has not one row for each of {len(wrapped['rows'])}", where=where)
        return answered[0] if one else answered

    def feedback(self, name: str, outcomes: Mapping[str, Any]) -> Flow[dict[str, str]]:
        """Tell a Motet server what became of answers of an experiment; when it returns, what was taken is on disk.

        Telling it twice is telling it once, so it is tried again where the server was not reached.

        Args:
            name: the graph that answered.
            outcomes: by the `feedback_id` of an answer true or false, or a number; or a mapping of such by the names of metrics.

        Returns:
            By their ids why outcomes were refused; empty where all were taken.

        Raises:
            MotetError: as `infer`.
        """
        where = f"graph {name!r}"
        rows = [{"id": id, "outcome": outcome} for id, outcome in outcomes.items()]
        with sending(where):
            body = encoded({"rows": rows}, where)
        said = yield from self._json("POST", f"/feedback/{_quoted(name)}", body)
        refused = said.get("refused") if isinstance(said, dict) else None
        with suppress(KeyError, IndexError, TypeError):
            if isinstance(refused, list):
                return {rows[each["row"]]["id"]: f"{each['reason']}: {each['error']}" for each in refused}
        raise RequestError("the answer does not say what was refused", where=where)

    def live(self) -> Flow[bool]:
        """Whether the server runs; False when it cannot be reached."""
        return self._holds("/v2/health/live")

    def ready(self, name: str = "", version: str = "") -> Flow[bool]:
        """Whether the server, or one of its models, can be called; False when it cannot be reached."""
        return self._holds(f"{_model_path(name, version)}/ready" if name else "/v2/health/ready")

    def server(self) -> Flow[dict[str, Any]]:
        """The server's name, version and extensions."""
        return self._json("GET", "/v2")

    def models(self) -> Flow[list[dict[str, Any]]]:
        """What is served: `name`, `version`, `state` and `reason` of each."""
        return self._json("POST", "/v2/repository/index", b"{}")

    def metadata(self, name: str, version: str = "") -> Flow[ModelInfo]:
        """What a graph or model takes and gives.

        Raises:
            MotetError: as `infer`.
        """
        info = yield from self._info(name, version, self._timeout_s)
        if info is None:
            raise NotFoundError("the server does not describe its models", where=f"model {name!r}")
        return info

    def config(self, name: str, version: str = "") -> Flow[dict[str, Any]]:
        """How a model is set up, in Triton's form."""
        return self._json("GET", f"{_model_path(name, version)}/config")

    def statistics(self, name: str = "", version: str = "") -> Flow[dict[str, Any]]:
        """What a model, or each of them, has done, in Triton's form."""
        return self._json("GET", f"{_model_path(name, version)}/stats" if name else "/v2/models/stats")

    def load(self, name: str) -> Flow[None]:
        """Load a model, or load it anew."""
        return self._change(name, "load")

    def unload(self, name: str) -> Flow[None]:
        """Unload a model: it is not answered for until it is loaded again."""
        return self._change(name, "unload")

    def _holds(self, path: str) -> Flow[bool]:
        """Whether a health path answers well; a server that cannot be reached does not."""
        call = self._call("GET", path, self._timeout_s)
        got = yield from ask(lambda left_s: call, timeout_s=self._timeout_s, retries=0, clock=self._clock)
        if isinstance(got, LostCall):
            return False
        if got.status in (401, 403, 429):
            error = error_of(got, path, self._timeout_s)
            assert error is not None
            raise error
        if not 200 <= got.status < 300:
            return False
        said = answer_json(got, path) if got.body[:1] == b"{" else {}
        return bool(said.get("ready", said.get("live", True)))

    def _change(self, name: str, verb: str) -> Flow[None]:
        """Load or unload a model; what was known of it is forgotten."""
        yield from self._json("POST", f"/v2/repository/models/{_quoted(name)}/{verb}", b"{}", repeatable=False)
        self._known.forget(lambda key: key[0] == name)

    def _columns(
        self, name: str, version: str, inputs: Mapping[str, Any], where: str, timeout_s: float
    ) -> Flow[tuple[ModelInfo | None, dict[str, Column]]]:
        """The inputs as the model takes them; a mistake is believed only of metadata that are fresh."""
        if (known := self._known.get((name, version))) is not None:
            read_at, info = known
            try:
                return info, as_columns(inputs, {} if info is None else info.inputs, where)
            except InputError:
                if self._clock() - read_at < FRESH_S:
                    raise
        info = yield from self._info(name, version, timeout_s)
        return info, as_columns(inputs, {} if info is None else info.inputs, where)

    def _info(self, name: str, version: str, timeout_s: float) -> Flow[ModelInfo | None]:
        path = _model_path(name, version)
        where = f"model {name!r}"
        got = yield from ask(
            lambda left_s: self._call("GET", path, left_s),
            timeout_s=timeout_s,
            retries=self._retries,
            clock=self._clock,
        )
        info: ModelInfo | None = None
        if isinstance(got, LostCall) or got.status not in _NO_METADATA:
            error = error_of(got, where, timeout_s)
            if error is not None:
                raise error
            assert isinstance(got, RemoteAnswer)
            with answering(where):
                info = ModelInfo.read(got.body, where)
        self._known.put((name, version), (self._clock(), info))
        return info


def _model_path(name: str, version: str) -> str:
    """Where a model is on a server."""
    path = f"/v2/models/{_quoted(name)}"
    return f"{path}/versions/{_quoted(str(version))}" if version else path


def _quoted(name: str) -> str:
    """A name as a part of a path."""
    try:
        return quote(name, safe="")
    except (TypeError, ValueError):
        raise InputError(f"{name!r} is no name that can be sent; give a text") from None


def _read(got: RemoteAnswer, kinds: Mapping[str, ColumnType], where: str) -> dict[str, Column]:
    with answering(where):
        return read_answer(got.body, got.headers.get(LENGTH_HEADER.lower()), kinds, where)
