"""Errors as OpenAI's protocol has them: an object with a message, a type and a code."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from motet.errors import MotetError
from motet.serving.rest.respond import JSON
from motet.serving.wire.errors import error_body, error_fields

__all__ = ["openai_error", "openai_error_body"]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def openai_error_body(error: MotetError) -> dict[str, Any]:
    """What says an error."""
    message = msgspec.json.decode(error_body(error))["error"]
    kind = _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": _CODES.get(error.status)}}


def openai_error(error: MotetError) -> Response:
    """The answer to a request that failed, with the status of the error's class and when to try again."""
    response = Response(msgspec.json.encode(openai_error_body(error)), error.status, media_type=JSON)
    response.raw_headers.extend(error_fields(error))
    return response
