"""Heads and errors of answers, as bytes."""

from __future__ import annotations

import http
from collections.abc import Iterable
from email.utils import formatdate

from motet.errors import MotetError
from motet.serving.wire.errors import error_body, error_fields

__all__ = ["CONTINUE", "STATUS_LINES", "body_bytes", "date_line", "error_answer", "head", "named"]

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


def error_answer(error: MotetError, more: bytes = b"", *, keep_alive: bool, bodiless: bool = False) -> bytes:
    """A whole answer that says what is wrong.

    Args:
        error: its class says the status.
        more: further fields, each with the end of its line.
        keep_alive: whether the connection stays.
        bodiless: whether the request was a HEAD.
    """
    body = error_body(error)
    more += b"".join(b"%b: %b\r\n" % field for field in error_fields(error))
    status = error.status if error.status in STATUS_LINES else 500
    first = head(status, JSON, len(body), more, keep_alive=keep_alive)
    return first if bodiless else first + body


def body_bytes(answer: bytes) -> int:
    """Bytes of the body of an answer that is whole."""
    return len(answer) - answer.index(b"\r\n\r\n") - 4
