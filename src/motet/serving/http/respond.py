"""Heads and errors of answers, as bytes."""

from __future__ import annotations

import http
import math
from collections.abc import Iterable
from email.utils import formatdate

import msgspec

from motet.errors import MotetError

__all__ = ["CONTINUE", "STATUS_LINES", "date_line", "error_answer", "error_body", "head", "named"]

STATUS_LINES = {
    **{status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus},
    499: b"HTTP/1.1 499 Client Closed Request\r\n",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = b"application/json"


def date_line() -> bytes:
    """The `Date` field of an answer given now, with the end of its line."""
    return b"date: %b\r\n" % formatdate(usegmt=True).encode()


def named(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The field that gives the caller's name of a request back, with the end of its line; empty where it has none."""
    return b"".join(b"%b: %b\r\n" % field for field in headers if field[0] == b"x-request-id")


def head(status: int, kind: bytes, length: int, more: bytes, *, keep_alive: bool) -> bytes:
    """The head of an answer, the empty line included.

    Args:
        status: the HTTP status.
        kind: the media type of the body.
        length: bytes of the body.
        more: further fields, each with the end of its line.
        keep_alive: whether the connection stays.
    """
    close = b"" if keep_alive else b"connection: close\r\n"
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (STATUS_LINES[status], kind, length, more, close)


def error_body(error: MotetError | str) -> bytes:
    """`{"error": ...}`, on one line."""
    text = error if isinstance(error, str) else str(error).replace("\n  hint: ", "; hint: ").replace("\n", "; ")
    return msgspec.json.encode({"error": text})


def error_answer(error: MotetError, more: bytes = b"", *, keep_alive: bool, bodiless: bool = False) -> bytes:
    """A whole answer that says what is wrong.

    Args:
        error: its class says the status.
        more: further fields, each with the end of its line.
        keep_alive: whether the connection stays.
        bodiless: whether the request was a HEAD.
    """
    body = error_body(error)
    retry = error.retry_after_s
    if retry is not None:
        more += b"retry-after: %d\r\n" % max(1, math.ceil(retry))
    if error.status == 401:
        more += b'www-authenticate: Bearer realm="motet"\r\n'
    status = error.status if error.status in STATUS_LINES else 500
    first = head(status, JSON, len(body), more, keep_alive=keep_alive)
    return first if bodiless else first + body
