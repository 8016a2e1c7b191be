"""Why a connection refuses a request, before anybody is asked to answer it (https://www.rfc-editor.org/rfc/rfc9112)."""

from __future__ import annotations

from collections.abc import Sequence

from motet.errors import InputError, MotetError, RequestError, TooLargeError

__all__ = [
    "MAX_HEADERS", "ExpectationError", "NotSpokenError", "Refused", "TimedOutError", "VersionError", "body_too_large",
    "check_fields", "check_size", "head_too_large",
]  # fmt: skip

MAX_HEADERS = 100


class HeadTooLargeError(RequestError):
    """More bytes of headers than a request may have."""

    status = 431


class TargetTooLongError(RequestError):
    """A longer address than a request may have."""

    status = 414


class TimedOutError(RequestError):
    """A request that did not come in time."""

    status = 408


class VersionError(RequestError):
    """A version of HTTP that is not spoken here."""

    status = 505


class ExpectationError(RequestError):
    """An expectation that cannot be met."""

    status = 417


class NotSpokenError(RequestError):
    """A method or a coding that is not spoken here."""

    status = 501


class Refused:
    """An error in a connection's line of answers; it ends the connection."""

    __slots__ = ("data", "keep_alive")

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data
        self.keep_alive = False

    def at_head(self) -> None:
        """Its data is there from the beginning."""

    def abandon(self) -> None:
        """Nothing was begun."""


def check_size(url: bytes, headers: Sequence[tuple[bytes, bytes]], limit: int) -> None:
    """See that a head is not too large.

    Args:
        url: the address.
        headers: the fields.
        limit: bytes of all together.

    Raises:
        RequestError: when it is.
    """
    if len(headers) > MAX_HEADERS or len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > limit:
        raise head_too_large(url, limit)


def check_fields(headers: Sequence[tuple[bytes, bytes]], version: str) -> None:
    """See that the fields which say where a request goes and where it ends say one thing.

    Args:
        headers: the fields, names in lower case.
        version: of HTTP.

    Raises:
        InputError: when they do not.
        NotSpokenError: when the body has a coding beside `chunked`.
    """
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (not hosts and version == "1.1"):
        raise InputError(f"a request has one Host field; got {hosts}")
    codings = b", ".join(value for name, value in headers if name == b"transfer-encoding")
    if codings and version == "1.0":
        raise InputError("HTTP/1.0 has no Transfer-Encoding")
    if codings and codings.lower() != b"chunked":
        raise NotSpokenError(
            f"Transfer-Encoding {codings.decode('latin-1')!r} is not spoken here", hint="chunked is the only one"
        )


def head_too_large(url: bytes, limit: int) -> MotetError:
    """The error of a head with more than `limit` bytes, most of which may be the address, or with too many fields."""
    if len(url) > limit // 2:
        return TargetTooLongError(f"the address has {len(url)} bytes, of {limit} that the head of a request may have")
    return HeadTooLargeError(f"the head of the request has more than {limit} bytes or {MAX_HEADERS} fields")


def body_too_large(size: int, limit: int) -> MotetError:
    """The error of a body with more than `limit` bytes."""
    return TooLargeError(
        f"the body has {size} bytes or more; at most {limit} may be sent", hint="send fewer rows a request"
    )
