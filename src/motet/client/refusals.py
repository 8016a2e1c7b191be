"""From what became of a call to our errors."""

from __future__ import annotations

from motet.errors import (
    CancelledError,
    DeadlineError,
    ForbiddenError,
    InputError,
    MotetError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    RequestError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
)
from motet.oip.asking import LostCall, RemoteAnswer

__all__ = ["error_of"]

_REFUSALS = (
    UnauthorizedError, ForbiddenError, NotFoundError, TooLargeError, TooManyRequestsError, CancelledError, DeadlineError,
)  # fmt: skip
_CLASSES: dict[int, type[RequestError]] = {**{each.status: each for each in _REFUSALS}, 408: DeadlineError}


def error_of(got: RemoteAnswer | LostCall, where: str, timeout_s: float) -> MotetError | None:
    """The error that a call ended with; None where it was answered well.

    Args:
        got: what became of it.
        where: who was asked for what.
        timeout_s: how long it might have taken.
    """
    if isinstance(got, LostCall):
        if got.kind == "timeout":
            return DeadlineError(f"no answer within {timeout_s:g} s", where=where, hint="give a longer timeout_s")
        if got.kind == "busy":
            what = f"no connection was free within {timeout_s:g} s"
            return DeadlineError(what, where=where, hint="allow more connections, or give a longer timeout_s")
        hint = "check the address, and that the server runs" if got.kind == "connect" else ""
        return NotReadyError(got.what, where=where, hint=hint)
    if 200 <= got.status < 300:
        return None
    said, after_s = got.error, got.retry_after_s
    if got.status in _CLASSES:
        return _CLASSES[got.status](said, where=where, retry_after_s=after_s)
    if got.status == 503:
        refused = NotReadyError if after_s is None else OverloadedError
        return refused(said, where=where, retry_after_s=after_s)
    if 400 <= got.status < 500:
        return InputError(said, where=where)
    return RequestError(f"status {got.status}: {said}", where=where, retry_after_s=after_s)
