"""The description of a server's HTTP API, made from its graphs: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from motet.pictures import is_picture
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.openapi_fixed import COMPONENTS, ERROR, JSON, TAGS, fixed_paths, ref, said
from motet.serving.rest.schemas import answer_row, example_row, form, given_row, tensor_given
from motet.version import __version__

__all__ = ["openapi"]

HERE = "http://localhost:8000"
"""Stands for the server in samples; the page at /docs puts its own address."""
_QUERY: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("explain", {"enum": ["1", "0", "true", "false"]}, "say how each answer came about"),
    ("stream", {"enum": ["1", "0", "true", "false"]}, "send server-sent events: each member's answer, then the whole"),
    ("timeout", {"type": "integer", "minimum": 1, "maximum": 10**14}, "µs until the answer is of no use"),
    ("priority", {"type": "integer", "minimum": 0, "maximum": 2**31}, "1 goes first, then 2; 100 by default"),
)
_TIMES = {
    "type": "object",
    "properties": {
        "timeout": {"type": "integer", "minimum": 0, "maximum": 10**14, "description": "µs"},
        "priority": {"type": "integer", "minimum": 0},
    },
}
_SECURITY = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key or a JSON Web Token"},
}


def openapi(
    repository: ModelRepository, secured: Sequence[str] = (), *, required: bool = False, root: str = ""
) -> dict[str, Any]:
    """The description.

    Args:
        repository: what is served.
        secured: ways to say who asks: `key`, `bearer`.
        required: whether one of them is needed.
        root: the path below which the server is; empty for none.
    """
    components = {kind: dict(each) for kind, each in COMPONENTS.items()}
    listed = list(dict.fromkeys(repository.served.values()))
    paths: dict[str, Any] = {}
    security = [{each: list[str]()} for each in secured] + ([] if required or not secured else [{}])
    for served in listed:
        stem = served.name.replace(".", "_").replace("-", "_")
        components["schemas"] |= _schemas(served, stem)
        paths[f"/predict/{served.name}"] = {"post": _predict(served, stem)}
        paths[f"/v2/models/{served.name}/infer"] = {"post": _infer(served, stem)}
        paths[f"/v1/models/{served.name}:predict"] = {"post": _predict_v1(served, stem)}
    paths |= fixed_paths([served.name for served in listed])
    if secured:
        components["securitySchemes"] = {each: _SECURITY[each] for each in secured}
        for path, operations in paths.items():
            if path.startswith("/predict/") or path.endswith(("/infer", ":predict", "/load", "/unload")):
                operations["post"]["security"] = security
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Motet",
            "version": __version__,
            "summary": "Answers of many models, written once as a graph",
            "description": f"Serves {', '.join(each.name for each in listed if each.kind == 'graph')}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root or "/"}],
        "tags": TAGS,
        "paths": paths,
        "components": components,
    }


def _schemas(served: RepositoryEntry, stem: str) -> dict[str, Any]:
    row = given_row(served.inputs)
    example = example_row(served.inputs)
    if example is not None:
        row["examples"] = [example]
    inputs = [tensor_given(name, each.type) for name, each in served.inputs.items()]
    least = max(1, sum(not each.has_default for each in served.inputs.values()))
    named = list(served.signature.outputs)
    tensors = {"type": "array", "items": {"anyOf": inputs}, "minItems": least, "maxItems": len(inputs)}
    return {
        f"{stem}_row": row,
        f"{stem}_answer": answer_row(served.signature.outputs),
        f"{stem}_inference": {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "parameters": {"type": "object", "description": "timeout (µs), priority, binary_data_output"},
                "inputs": tensors if inputs else {"type": "array", "maxItems": 0},
                "outputs": {"type": "array", "items": ref("WantedOutput") | {"properties": {"name": {"enum": named}}}},
            },
            "required": ["inputs"],
        },
    }


def _predict(served: RepositoryEntry, stem: str) -> dict[str, Any]:
    row, answer = ref(f"{stem}_row"), ref(f"{stem}_answer")
    asked: dict[str, Any] = {
        "oneOf": [
            row,
            {
                "type": "object",
                "properties": {
                    "rows": {
                        "type": "array",
                        "description": f"objects like {stem}_row; one that is not is answered with its error",
                    },
                    "parameters": _TIMES,
                    "explain": {"type": "boolean"},
                    "stream": {"type": "boolean"},
                    "id": {"type": "string"},
                },
                "required": ["rows"],
                "additionalProperties": False,
            },
        ]
    }
    answered = {
        "anyOf": [
            {
                "type": "object",
                "properties": {"rows": {"type": "array", "items": {"anyOf": [answer, ref("RowError")]}}},
                "required": ["rows"],
            },
            answer,
        ]
    }
    content: dict[str, Any] = {JSON: {"schema": asked}}
    content["multipart/form-data"] = {"schema": form(served.inputs)}
    if sum(is_picture(each.type) for each in served.inputs.values()) == 1:
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    good = said("the answers", answered)
    good["content"]["text/event-stream"] = {
        "schema": {"description": "events `member`, then `result` or `error`; their data are JSON"}
    }
    return {
        "tags": ["predict"],
        "operationId": f"predict_{stem}",
        "summary": f"Ask {served.name}: rows as JSON, a form, or a file",
        "description": "An object of one row is answered with one; a list of rows is answered row by row.",
        "parameters": [_query(*each) for each in _QUERY] + _headers(),
        "requestBody": {"required": True, "content": content},
        "responses": {"200": good, **_errors(422)},
        "x-codeSamples": [{"lang": "Shell", "source": _curl(served)}],
    }


def _predict_v1(served: RepositoryEntry, stem: str) -> dict[str, Any]:
    instances = {"type": "array", "items": ref(f"{stem}_row")}
    properties = {"instances": instances, "parameters": _TIMES, "signature_name": {"const": "serving_default"}}
    asked = {"type": "object", "properties": properties, "required": ["instances"], "additionalProperties": False}
    answered = {"type": "object", "properties": {"predictions": {"type": "array"}}, "required": ["predictions"]}
    return {
        "tags": ["predict"],
        "operationId": f"predict_v1_{stem}",
        "summary": f"Ask {served.name} as KServe's first protocol and TensorFlow Serving have it",
        "description": "Where there is one input its values may stand for rows; `inputs` gives columns and asks for such.",
        "parameters": _headers(),
        "requestBody": {"required": True, "content": {JSON: {"schema": asked}}},
        "responses": {"200": said("the answers", answered), **_errors(422)},
    }


def _infer(served: RepositoryEntry, stem: str) -> dict[str, Any]:
    return {
        "tags": ["inference"],
        "operationId": f"infer_{stem}",
        "summary": f"Ask {served.name} as the Open Inference Protocol has it",
        "description": "With `Inference-Header-Content-Length` the body is JSON of so many bytes, then tensors in bytes.",
        "parameters": _headers(),
        "requestBody": {"required": True, "content": {JSON: {"schema": ref(f"{stem}_inference")}}},
        "responses": {"200": said("the answer", ref("InferenceAnswer")), **_errors(422)},
    }


def _query(name: str, schema: Mapping[str, Any], what: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": dict(schema), "description": what}


def _headers() -> list[dict[str, Any]]:
    timeout = {"type": "integer", "minimum": 1, "maximum": 10**11}
    return [
        {
            "name": "X-Request-Timeout-Ms",
            "in": "header",
            "schema": timeout,
            "description": "ms until the answer is of no use",
        },
        {
            "name": "X-Request-Id",
            "in": "header",
            "schema": {"type": "string"},
            "description": "the caller's name for the request, in logs",
        },
    ]


def _errors(*more: int) -> dict[str, Any]:
    statuses = (400, 401, 403, 404, 413, 415, 429, 503, 504, *more)
    return {str(each): ERROR for each in sorted(statuses)} | {"default": ERROR}


def _curl(served: RepositoryEntry) -> str:
    address = f"'{HERE}/predict/{served.name}?explain=1'"
    pictures = [name for name, each in served.inputs.items() if is_picture(each.type)]
    if pictures:
        fields = [
            f"-F {name}=@picture.png" if name in pictures else f"-F '{name}={_text(each.type.dtype)}'"
            for name, each in served.inputs.items()
            if not each.has_default
        ]
        return f"curl {' '.join(fields)} {address}"
    row = example_row(served.inputs)
    body = msgspec.json.encode({"rows": [row]}).decode() if row is not None else '{"rows": [...]}'
    return f"curl --json '{body}' {address}"


def _text(dtype: str) -> str:
    return {"string": "text", "bool": "false"}.get(dtype, "0")
