"""Errors as gRPC statuses: the code, a text that fits into a header, and when to try again."""

from __future__ import annotations

import math

import grpc

from motet.errors import MotetError
from motet.oip.messages import RetryInfo, Status
from motet.serving.wire.errors import grpc_code

__all__ = ["code_of", "retry_metadata", "text_of"]

MAX_TEXT_BYTES = 2048
"""Of a status's text. Clients refuse headers of more than 8 KiB, and each byte may become three on the way."""


def code_of(error: MotetError) -> grpc.StatusCode:
    """The code that an error answers with; INTERNAL where its class has none of its own."""
    return grpc.StatusCode[grpc_code(error.status)]


def text_of(error: MotetError) -> str:
    """What a caller is told; cut where it would not fit into a header."""
    text = str(error)
    data = text.encode(errors="replace")
    if len(data) <= MAX_TEXT_BYTES:
        return text
    return data[: MAX_TEXT_BYTES - 4].decode(errors="ignore") + " ..."


def retry_metadata(error: MotetError) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata that says when to try again; none where the error does not know.

    `retry-after` in whole seconds, `grpc-retry-pushback-ms` for clients with a retry policy, and Google's `RetryInfo`.
    """
    after_s = error.retry_after_s
    if after_s is None:
        return ()
    status = Status(code=code_of(error).value[0], message=text_of(error)[:200])
    info = RetryInfo()
    info.retry_delay.FromNanoseconds(round(after_s * 1e9))
    status.details.add().Pack(info)
    return (
        ("retry-after", str(math.ceil(after_s))),
        ("grpc-retry-pushback-ms", str(math.ceil(after_s * 1000))),
        ("grpc-status-details-bin", status.SerializeToString()),
    )
