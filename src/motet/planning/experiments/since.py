"""Since when: `7d` before now, or a moment."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from motet.errors import InputError
from motet.workflow.options import read_duration_s

__all__ = ["read_since"]


def read_since(said: str | float | datetime, now: float, where: str = "since") -> float:
    """A moment in seconds since 1970.

    Args:
        said: a time before now as a number and a unit (`7d`, `12h`), a date or time of ISO 8601 (UTC where it says no zone), a
            `datetime`, or seconds since 1970.
        now: in seconds since 1970.
        where: for messages.

    Raises:
        InputError: when it is none of them.
    """
    if isinstance(said, datetime):
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
    if isinstance(said, (int, float)) and not isinstance(said, bool) and math.isfinite(said):
        return float(said)
    try:
        return read_since(datetime.fromisoformat(str(said)), now)
    except ValueError:
        pass
    try:
        return now - read_duration_s(said, where)
    except InputError:
        hint = "write 7d, 12h, 2026-05-04 or 2026-05-04T12:00"
        raise InputError(f"{said!r} is no time", where=where, hint=hint) from None
