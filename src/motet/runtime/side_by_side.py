"""Calls that wait, made at the same time from one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from motet.threads import side_by_side

__all__ = ["Members"]

T = TypeVar("T")

SLOW_S = 0.005
"""Members that together take less are not worth a thread."""
WAITED, SEEN = 0.25, 2
"""The part of its time that a node must have waited, and how many times in a row, for its members to be called together."""


class Members:
    """Calls of a node's members: one after the other while they compute, at the same time once they were seen to wait.

    What waits (for another machine, another process, a clock) uses no processor; the time of the whole process counts, so
    that a busy one changes nothing.
    """

    __slots__ = ("_seen", "_slow", "_together")

    def __init__(self) -> None:
        self._slow = self._together = False
        self._seen = 0

    def __call__(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """What each call gives, in their order."""
        if self._together:
            return side_by_side(lambda call: call(), calls, len(calls))
        spent = time.process_time() if self._slow else 0.0
        started = time.perf_counter()
        answers = [call() for call in calls]
        seconds = time.perf_counter() - started
        if self._slow and len(calls) > 1:
            waited = seconds - (time.process_time() - spent)
            self._seen = self._seen + 1 if waited > max(SLOW_S, WAITED * seconds) else 0
            self._together = self._seen >= SEEN
        self._slow = seconds > SLOW_S
        return answers
