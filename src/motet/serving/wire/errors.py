"""How an error is told: a body and fields over HTTP, a code over gRPC."""

from __future__ import annotations

import math

import msgspec

from motet.errors import MotetError

__all__ = ["error_body", "error_fields", "grpc_code"]

_CODES = {
    200: "OK", 400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    409: "FAILED_PRECONDITION", 413: "RESOURCE_EXHAUSTED", 415: "UNIMPLEMENTED", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def error_body(error: MotetError | str) -> bytes:
    """`{"error": ...}`, on one line."""
    text = error if isinstance(error, str) else str(error).replace("\n  hint: ", "; hint: ").replace("\n", "; ")
    return msgspec.json.encode({"error": text})


def error_fields(error: MotetError) -> list[tuple[bytes, bytes]]:
    """Further fields of the head of an answer that says an error: when to try again, and how to say who asks."""
    fields = []
    if error.retry_after_s is not None:
        fields.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if error.status == 401:
        fields.append((b"www-authenticate", b'Bearer realm="motet"'))
    return fields


def grpc_code(status: int) -> str:
    """The name of the gRPC code that stands for a status of HTTP; INTERNAL where none does."""
    return _CODES.get(status, "INTERNAL")
