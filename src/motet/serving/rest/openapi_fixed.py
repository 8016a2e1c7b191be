"""What the description of every server says: fixed paths, and schemas that are the same for all graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["COMPONENTS", "ERROR", "JSON", "TAGS", "fixed_paths", "ref", "said"]

JSON = "application/json"
TAGS = [
    {"name": "predict", "description": "Rows in, rows out: for people."},
    {"name": "inference", "description": "Tensors in, tensors out: the Open Inference Protocol."},
    {"name": "health", "description": "Whether the server, and a model, can be asked."},
    {"name": "models", "description": "What is served: metadata, configuration, statistics."},
    {"name": "repository", "description": "Loading and unloading."},
    {"name": "observability", "description": "Numbers, for people and for Prometheus."},
]


def ref(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def said(what: str, schema: dict[str, Any], kind: str = JSON) -> dict[str, Any]:
    """A response."""
    return {"description": what, "content": {kind: {"schema": schema}}}


ERROR = {"$ref": "#/components/responses/Error"}


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_TEXT, _COUNT, _SECONDS = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}
_TENSOR = _object(
    ("name", "datatype", "shape"),
    name=_TEXT,
    datatype=_TEXT,
    shape={"type": "array", "items": {"type": "integer"}},
    parameters={"type": "object"},
)
_TENSORS = {"type": "array", "items": ref("TensorMetadata")}
COMPONENTS: dict[str, dict[str, Any]] = {
    "responses": {
        "Error": {
            "description": "why there is no answer",
            "headers": {
                "Retry-After": {"schema": _COUNT, "description": "seconds after which trying again may help"},
            },
            "content": {JSON: {"schema": ref("Error")}},
        }
    },
    "schemas": {
        "Error": _object(("error",), error=_TEXT),
        "RowError": _object(("error",), error=_TEXT, explain=ref("Explanation")),
        "Explanation": _object(
            ("calls", "queue_s", "compute_s", "batch_rows"),
            calls={"type": "array", "items": ref("Call")},
            queue_s=_SECONDS,
            compute_s=_SECONDS | {"description": "of its whole batch"},
            batch_rows=_COUNT,
        ),
        "Call": _object(
            ("node", "uses", "rows", "seconds", "outputs"),
            node=_TEXT | {"description": "who called, with the graphs it stands in"},
            member=_TEXT,
            uses=_TEXT | {"description": "the model or graph"},
            version=_TEXT,
            rows=_COUNT,
            seconds=_SECONDS,
            outputs={"type": "object", "description": "a value an output; a list where it was called for several rows"},
            errors={"type": "array", "items": _TEXT},
        ),
        "TensorMetadata": _TENSOR,
        "WantedOutput": _object(
            ("name",),
            name=_TEXT,
            parameters={"type": "object", "description": "binary_data, classification"},
        ),
        "InferenceAnswer": _object(
            ("model_name", "outputs"),
            id=_TEXT,
            model_name=_TEXT,
            model_version=_TEXT,
            outputs={
                "type": "array",
                "items": {"allOf": [ref("TensorMetadata"), {"properties": {"data": {"type": "array"}}}]},
            },
        ),
        "ServerMetadata": _object(
            ("name", "version", "extensions"), name=_TEXT, version=_TEXT, extensions={"type": "array", "items": _TEXT}
        ),
        "ModelMetadata": _object(
            ("name", "versions", "platform", "inputs", "outputs"),
            name=_TEXT,
            versions={"type": "array", "items": _TEXT},
            platform=_TEXT,
            inputs=_TENSORS,
            outputs=_TENSORS,
        ),
        "ModelStatistics": _object(
            ("model_stats",),
            model_stats={
                "type": "array",
                "items": _object(
                    ("name", "version", "inference_count", "execution_count", "inference_stats"),
                    name=_TEXT,
                    version=_TEXT,
                    last_inference=_COUNT,
                    inference_count=_COUNT,
                    execution_count=_COUNT,
                    inference_stats={
                        "type": "object",
                        "additionalProperties": _object(("count", "ns"), count=_COUNT, ns=_COUNT),
                    },
                ),
            },
        ),
        "Names": _object(("models",), models={"type": "array", "items": _TEXT}),
        "RepositoryIndex": {
            "type": "array",
            "items": _object(
                ("name", "version", "state", "reason"),
                name=_TEXT,
                version=_TEXT,
                state={"enum": ["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]},
                reason=_TEXT,
            ),
        },
    },
}


def fixed_paths(names: Sequence[str]) -> dict[str, Any]:
    """The paths that every server has.

    Args:
        names: of what is served.
    """
    named = {"name": "name", "in": "path", "required": True, "schema": {"enum": list(names)}}
    version = {"name": "version", "in": "path", "required": True, "schema": {"enum": ["1"]}}
    live = _object(("live",), live={"type": "boolean"})
    ready = _object(("ready",), ready={"type": "boolean"})
    paths: dict[str, Any] = {
        "/v2/health/live": _get("health", "live", "Whether the process runs", live),
        "/v2/health/ready": _get("health", "ready", "Whether everything can be asked; 503 where not", ready),
        "/healthz": _get("health", "healthz", "The same as /v2/health/live", live),
        "/readyz": _get("health", "readyz", "The same as /v2/health/ready", ready),
        "/v2": _get("models", "server", "What this server is", ref("ServerMetadata")),
        "/v2/models": _get("models", "names", "The names of what is served", ref("Names")),
        "/v1/models": _get("models", "names_v1", "The same", ref("Names")),
        "/v2/models/stats": _get("models", "all_statistics", "Statistics of everything", ref("ModelStatistics")),
    }
    paths["/v2/health/ready"]["get"]["responses"]["503"] = said("not ready, and why", ready)
    paths["/readyz"]["get"]["responses"]["503"] = said("not ready, and why", ready)
    for prefix, parameters, mark in (
        ("/v2/models/{name}", [named], ""),
        ("/v2/models/{name}/versions/{version}", [named, version], "_version"),
    ):
        for suffix, what, schema in (
            ("", "metadata", ref("ModelMetadata")),
            ("/ready", "readiness", ready),
            ("/config", "configuration", {"type": "object"}),
            ("/stats", "statistics", ref("ModelStatistics")),
        ):
            tag = "health" if suffix == "/ready" else "models"
            described = _get(tag, f"model_{what}{mark}", f"The {what} of a model", schema)
            described["get"]["parameters"] = parameters
            paths[f"{prefix}{suffix}"] = described
    for suffix, parameters, mark in (("", [named], ""), ("/versions/{version}", [named, version], "_version")):
        what = "Whether a model can be called; 503 where not"
        v1 = _get("health", f"model_status_v1{mark}", what, {"type": "object"})
        v1["get"]["parameters"] = parameters
        paths[f"/v1/models/{{name}}{suffix}"] = v1
    paths["/v2/repository/index"] = _post("index", "Everything that has a name, and its state", ref("RepositoryIndex"))
    paths["/v2/repository/index"]["post"]["requestBody"] = {
        "content": {JSON: {"schema": _object((), ready={"type": ["boolean", "null"]})}}
    }
    for act, what in (
        ("load", "Load a graph, anew from its file where it is loaded"),
        ("unload", "Take a graph off line"),
    ):
        described = _post(act, what, {"type": "object"})
        described["post"]["parameters"] = [named]
        paths[f"/v2/repository/models/{{name}}/{act}"] = described
    scale = _post("scale", "Have so many replicas of a model, in each process of the server", {"type": "object"})
    scale["post"]["parameters"] = [named]
    count = _object(("replicas",), replicas={"type": "integer", "minimum": 0, "maximum": 256})
    scale["post"]["requestBody"] = {"content": {JSON: {"schema": _object(("parameters",), parameters=count)}}}
    paths["/v2/repository/models/{name}/scale"] = scale
    metrics = _get("observability", "metrics", "Metrics for Prometheus", {"type": "string"}, "text/plain")
    metrics["get"]["responses"]["200"]["content"]["application/openmetrics-text"] = {"schema": {"type": "string"}}
    paths["/metrics"] = metrics
    paths["/status.json"] = _get("observability", "status", "Rates, latencies and errors lately", {"type": "object"})
    return paths


def _get(tag: str, name: str, what: str, schema: dict[str, Any], kind: str = JSON) -> dict[str, Any]:
    responses = {"200": said(what, schema, kind), "default": ERROR}
    return {"get": {"tags": [tag], "operationId": name, "summary": what, "responses": responses}}


def _post(name: str, what: str, schema: dict[str, Any]) -> dict[str, Any]:
    responses = {"200": said(what, schema), "default": ERROR}
    return {"post": {"tags": ["repository"], "operationId": name, "summary": what, "responses": responses}}
