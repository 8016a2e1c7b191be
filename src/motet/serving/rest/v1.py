"""The protocol before the Open Inference Protocol: `/v1/models`, as KServe and TensorFlow Serving have it.

What OpenAI's clients look for there stands beside it. Rows are those of `/predict`. A request is answered whole: where a row
fails, the request does, and says which rows.
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from motet.errors import InputError, NotFoundError, known_names
from motet.graph.input import Input
from motet.runtime.rows import JsonRows, rows_of
from motet.serving.batching.parameters import failed_rows
from motet.serving.batching.request import Reply
from motet.serving.repository.entry import STOPS, RepositoryEntry
from motet.serving.rest.calls import administers
from motet.serving.rest.openai.shapes import model_object
from motet.serving.rest.predict import PredictRequest, PredictWhole, decoded
from motet.serving.rest.respond import json_response

__all__ = ["V1"]

_KEYS = ("instances", "inputs", "parameters", "signature_name")


class V1(PredictWhole):
    """Answers rows, and says what is served."""

    def routes(self) -> list[Route]:
        """All of them."""
        routes = [Route("/v1/models", self.models)]
        for each in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
            routes += [
                Route(f"{each}:predict", self.__call__, methods=["POST"]),
                Route(f"{each}:{{verb}}", self.no_verb, methods=["GET", "POST"]),
                Route(each, self.status),
            ]
        return routes

    async def models(self, _request: Request) -> Response:
        """The names of what is served, as KServe and as OpenAI list them."""
        names = self._repository.loaded_names
        return json_response({"models": names, "object": "list", "data": [model_object(name) for name in names]})

    async def no_verb(self, request: Request) -> Response:
        """What is said of verbs that there are elsewhere: `:explain`, `:classify`, `:regress`."""
        verb = request.path_params["verb"]
        if verb == "predict":
            raise HTTPException(405, headers={"Allow": "POST"})
        raise NotFoundError(
            f"there is no {verb!r} here; known: predict", hint="/predict/NAME?explain=1 explains answers"
        )

    async def status(self, request: Request) -> Response:
        """Whether a model, or a version of it, can be called, as KServe and as TensorFlow Serving say it."""
        name, version = request.path_params["name"], request.path_params.get("version", "")
        served = self._repository.find_loaded(name, version)
        stopping = self._repository.stopping or self._repository.draining
        ready = served.state == "READY" and not stopping
        why = STOPS if stopping else served.why(administers=administers(self._middleware, request))
        state = "AVAILABLE" if ready else "LOADING" if served.state == "LOADING" else "END"
        code = (
            {"error_code": "OK", "error_message": ""} if ready else {"error_code": "UNAVAILABLE", "error_message": why}
        )
        versions = [
            {"version": each, "state": state, "status": code} for each in served.versions if version in ("", each)
        ]
        told = {"name": name, "ready": ready, "model_version_status": versions, **model_object(name)}
        return json_response(told, 200 if ready else 503)

    async def _read(self, request: Request, body: bytes, served: RepositoryEntry) -> PredictRequest:
        value = await decoded(self._inflated(request, body))
        if not isinstance(value, dict):
            raise InputError(f"the body must be a JSON object; got {type(value).__name__}")
        value = {name: each for name, each in value.items() if each is not None}
        for name in value:
            if name not in _KEYS:
                raise InputError(f"unknown key {name!r}; {known_names(name, _KEYS)}")
        if value.get("signature_name", "") not in ("", "serving_default"):
            raise InputError(f"there is no signature {value['signature_name']!r}; known: serving_default")
        if not isinstance(value.get("parameters", {}), dict):
            raise InputError(f"'parameters' must be an object; got {type(value['parameters']).__name__}")
        instances, columns = value.get("instances"), value.get("inputs")
        if (instances is None) == (columns is None):
            raise InputError("either 'instances' or 'inputs' must be given", hint='send {"instances": [...]}')
        given = PredictRequest(by_column=columns is not None, id=request.headers.get("x-request-id", ""))
        given.rows = _of_instances(instances, served.inputs) if columns is None else _of_columns(columns, served.inputs)
        given.parameters = {**self._in_query(request), **value.get("parameters", {})}
        return given

    async def _response(
        self, request: Request, given: PredictRequest, rows: JsonRows, reply: Reply | None, served: RepositoryEntry
    ) -> Response:
        if reply is not None and reply.failures:
            raise failed_rows(reply, rows.total)
        unwritten: dict[int, str] = {}
        found = [] if reply is None else rows_of(reply.columns, reply.first, reply.end, unwritten)
        for row, why in unwritten.items():
            raise InputError(f"row {row}: {why}")
        names = list(served.signature.outputs)
        if given.by_column:
            by_name = {name: [row[name] for row in found] for name in names}
            return json_response({"outputs": by_name[names[0]] if len(names) == 1 else by_name})
        return json_response({"predictions": [row[names[0]] for row in found] if len(names) == 1 else found})


def _of_instances(instances: object, inputs: Mapping[str, Input]) -> list[Any]:
    """Rows; where there is one input, its values may stand for them."""
    if not isinstance(instances, list):
        raise InputError(f"'instances' must be a list; got {type(instances).__name__}")
    if len(inputs) != 1:
        return instances
    (name,) = inputs
    return [each if isinstance(each, dict) and name in each else {name: each} for each in instances]


def _of_columns(columns: object, inputs: Mapping[str, Input]) -> list[Any]:
    """Rows of columns by name; where there is one input, its column may stand for them."""
    if isinstance(columns, list) and len(inputs) == 1:
        columns = {next(iter(inputs)): columns}
    if not isinstance(columns, dict) or not all(isinstance(each, list) for each in columns.values()):
        raise InputError("'inputs' must be an object of lists, each a column", hint='send {"inputs": {"x": [1, 2]}}')
    lengths = {name: len(each) for name, each in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"inputs differ in their number of rows: {', '.join(f'{k} has {n}' for k, n in lengths.items())}"
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
