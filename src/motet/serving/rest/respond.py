"""Answers and errors as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from motet.errors import InputError, ModelError, MotetError, NotFoundError, RequestError
from motet.serving.wire.envelope import read_json
from motet.serving.wire.errors import error_body, error_fields

__all__ = ["JSON", "MediaTypeError", "MethodError", "error_response", "handled", "json_response", "read_object"]

JSON = "application/json"


class MethodError(RequestError):
    """A method that an address does not have."""

    status = 405


class MediaTypeError(RequestError):
    """A body of a kind that is not taken."""

    status = 415


def json_response(value: Any, status: int = 200) -> Response:
    """An answer; NaN and infinite numbers are null."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def error_response(error: MotetError) -> Response:
    """`{"error": ...}` with the status of the error's class."""
    response = Response(error_body(error), error.status, media_type=JSON)
    response.raw_headers.extend(error_fields(error))
    return response


async def handled(request: Request, error: Exception) -> Response:
    """The answer to a request whose route raised."""
    if isinstance(error, MotetError):
        return error_response(error)
    status = getattr(error, "status_code", 500)
    what = f"{request.method} {request.url.path}"
    if status == 404:
        docs = f"{request.scope.get('root_path', '')}/docs"
        return error_response(NotFoundError(f"there is nothing at {what}", hint=f"{docs} lists what there is"))
    if status == 405:
        allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
        response = error_response(MethodError(f"{what} is not offered; {request.url.path} takes {allowed}"))
        response.headers["allow"] = allowed
        return response
    if 400 <= status < 500:
        return Response(error_body(str(getattr(error, "detail", error))), status, media_type=JSON)
    return error_response(ModelError(f"the server failed at this request: {type(error).__name__}"))


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a body; an empty one where there is no body.

    Raises:
        InputError: when it is no JSON object.
    """
    body = await request.body()
    if not body:
        return {}
    value = read_json(body)
    if not isinstance(value, dict):
        raise InputError(f"the body must be a JSON object; got {type(value).__name__}")
    return value
