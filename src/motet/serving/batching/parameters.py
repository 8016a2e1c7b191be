"""What every protocol understands and says alike: how long a caller waits, its priority, and that rows failed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from motet.errors import InputError, MotetError
from motet.oip.tensors import rows_failed
from motet.serving.batching.request import Reply
from motet.serving.wire.compress import decompress
from motet.serving.wire.envelope import read_json, whole
from motet.serving.wire.long import LONG_TEXT_BYTES

__all__ = [
    "BY_ERROR",
    "BusyRowsError",
    "FailedRowsError",
    "LateRowsError",
    "NotOfferedError",
    "asked_times",
    "failed_rows",
    "no_shared_memory",
    "read_parameters",
    "without_folders",
]

_LINE_OF_CODE = re.compile(r"\([^()]*[/\\]([^()/\\]+:\d+)\)(?=; |$)")


class FailedRowsError(MotetError):
    """Rows of a request that failed, and with them the request."""

    status = 422


class LateRowsError(FailedRowsError):
    """Rows of a request that failed since members of a node did not answer in time."""

    status = 504


class NotOfferedError(MotetError):
    """A part of Triton's protocol that there is not."""

    status = 501


class BusyRowsError(FailedRowsError):
    """Rows of a request that failed since a model could not be called for them now."""

    status = 503
    retryable = True
    retry_after_s = 1.0


BY_ERROR: Mapping[str, type[FailedRowsError]] = {
    "DeadlineError": LateRowsError,
    "ModelUnavailableError": BusyRowsError,
}
"""What becomes of a request all of whose failed rows failed by this error."""


def no_shared_memory() -> NotOfferedError:
    """What callers are told who register regions of shared memory, or ask for them."""
    return NotOfferedError("shared memory is not offered", hint="send and ask for the elements")


def failed_rows(reply: Reply, rows: int) -> MotetError:
    """What a request is answered of which rows failed: which ones, and why."""
    errors = {failure.error for failure in reply.failures}
    kind = BY_ERROR.get(errors.pop(), FailedRowsError) if len(errors) == 1 else FailedRowsError
    reasons = (without_folders(str(failure)) for failure in reply.failures)
    return kind(rows_failed(reasons, len(reply.failures), rows))


def without_folders(why: str) -> str:
    """Why a row failed, for those who asked: lines of code are named by their files, not by folders of this machine."""
    return _LINE_OF_CODE.sub(r"(\1)", why)


def asked_times(parameters: Mapping[str, object], header: bytes | None = None) -> tuple[float | None, int]:
    """The seconds that a caller waits, and its priority.

    Args:
        parameters: `timeout` in microseconds, as Triton's clients send it, 0 for none; `priority`, as the
            extension `schedule_policy` has it: 1 goes first, then 2; 0 is `DEFAULT_PRIORITY`.
        header: milliseconds, for callers over HTTP without parameters.

    Raises:
        InputError: when one is no number, or negative.
    """
    timeout, priority = parameters.get("timeout"), parameters.get("priority", 0)
    timeout_s: float | None = None
    if timeout is not None and timeout != 0:
        timeout_s = _number(timeout, "parameter 'timeout' (microseconds)") / 1e6
    elif header is not None:
        timeout_s = _number(header.decode("latin-1"), "X-Request-Timeout-Ms") / 1e3
    priority = whole(priority)
    if isinstance(priority, bool) or not isinstance(priority, int) or priority < 0:
        wanted = "a whole number" if not isinstance(priority, int) else "at least 0"
        raise InputError(f"parameter 'priority' must be {wanted}; got {priority!r}", hint="1 goes first, then 2")
    return timeout_s, priority


async def read_parameters(
    body: bytes, encoding: str | None, max_bytes: int, header_length: int | None = None
) -> Mapping[str, Any]:
    """The parameters of a request's JSON that may say a timeout, before the rest of it is read; none where nothing does.

    Args:
        body: as it came.
        encoding: of the body, None for none.
        max_bytes: of the body without its compression.
        header_length: bytes of the JSON that bytes follow; None where all of it is JSON.
    """
    args = body, encoding, max_bytes, header_length
    return await asyncio.to_thread(_parameters, *args) if len(body) > LONG_TEXT_BYTES else _parameters(*args)


def _parameters(body: bytes, encoding: str | None, max_bytes: int, header_length: int | None) -> Mapping[str, Any]:
    try:
        text = (body if encoding is None else decompress(body, encoding, max_bytes))[:header_length]
        value = read_json(text) if b'"timeout"' in text else None
    except MotetError:  # it is said when the request is read
        return {}
    parameters = value.get("parameters") if isinstance(value, dict) else None
    return parameters if isinstance(parameters, dict) else {}


def _number(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0 < number < 1e15:
        raise InputError(f"{what} must be a number more than 0; got {value!r}")
    return number
