"""Whether somebody still waits for what runs here, and how long: asked by what would wait itself, or cost money."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Protocol

__all__ = ["WAITED_FOR", "WaitedFor", "check_waited_for", "left_s"]


class WaitedFor(Protocol):
    """Whoever waits for a call."""

    @property
    def left_s(self) -> float:
        """How many seconds they wait still; infinite for any number."""
        ...

    def check(self) -> None:
        """Raise where nobody waits any more."""
        ...


WAITED_FOR: ContextVar[WaitedFor | None] = ContextVar("motet_waited_for", default=None)
"""Who waits for what runs in this context; None where that is for as long as it takes."""


def left_s() -> float:
    """How many seconds are left for what runs here; infinite for any number."""
    waiting = WAITED_FOR.get()
    return math.inf if waiting is None else waiting.left_s


def check_waited_for() -> None:
    """Go on, where somebody waits.

    Raises:
        DeadlineError: when nobody does, or it is too late.
    """
    waiting = WAITED_FOR.get()
    if waiting is not None:
        waiting.check()
