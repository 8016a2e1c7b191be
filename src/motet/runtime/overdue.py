"""Calls that are waited for so long and no longer: each in a thread of its own, and of those that are late so many at most."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from motet.errors import DeadlineError
from motet.runtime.deadline import droppable
from motet.threads import beside, do

__all__ = ["MOST_LATE", "LateCalls", "TimedCall", "punctual"]

T = TypeVar("T")

MOST_LATE = 8
"""Late calls of one member that may be under way; while they are, it is not called."""


class LateCalls:
    """The calls of one member that are late and still under way.

    Attributes:
        rows: rows that it did not answer in time, in all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows = self._late = 0

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be."""
        return self._late >= MOST_LATE

    def missed(self, rows: int) -> None:
        """So many more rows were not answered in time."""
        with self._lock:
            self.rows += rows

    def add(self, number: int) -> None:
        """So many more are late, or fewer."""
        with self._lock:
            self._late += number


class TimedCall(Generic[T]):
    """A call in a thread of its own, which may be late.

    Args:
        call: is made in the context of the caller.
        late: the late calls of the same member.

    Attributes:
        made: what it gives; done at once where it was not begun, since too many calls are late.
    """

    def __init__(self, call: Callable[[], T], late: LateCalls) -> None:
        self._late, self._lock = late, threading.Lock()
        self._done_at: float | None = None
        self._given_up = False
        self.made: Future[T] = Future()
        if late.full:
            self.made.set_exception(DeadlineError(f"not called: {MOST_LATE} late calls of it are still under way"))
            self._done_at = 0.0
            return
        self._run, self._drop = droppable(call)
        self.made.set_running_or_notify_cancel()  # so that it is not cancelled where somebody awaits it
        beside(self._make, "motet-timed")

    def _make(self) -> None:
        ended: Future[T] = Future()
        do(ended, self._run)
        with self._lock:
            self._done_at = time.monotonic()
            if self._given_up:
                self._late.add(-1)
        error = ended.exception()
        if error is None:
            self.made.set_result(ended.result())
        else:
            self.made.set_exception(error)

    def in_time(self, until: float) -> bool:
        """Whether it had ended by then, on the clock `time.monotonic`; one that had not goes on, and counts as late until it ends."""
        with self._lock:
            if self._done_at is not None:
                return self._done_at <= until
            if not self._given_up:
                self._given_up = True
                self._late.add(1)
        self._drop()
        return False


async def punctual(calls: Sequence[TimedCall[Any]], seconds: float, *, awaited: bool) -> list[bool]:
    """Which calls have ended in time; the others are given up.

    Args:
        calls: those that are waited for.
        seconds: the time, from now on.
        awaited: whether an event loop runs here, which goes on meanwhile.
    """
    until = time.monotonic() + seconds
    try:
        if not awaited:
            concurrent.futures.wait([each.made for each in calls], seconds)
        else:
            import asyncio  # it takes long to import, and who awaits has it

            wrapped = [asyncio.wrap_future(each.made) for each in calls]
            try:
                await asyncio.wait(wrapped, timeout=seconds)
            finally:
                for each in wrapped:  # (what they raised is asked of the calls)
                    _ = each.exception() if each.done() else each.cancel()
    finally:
        in_time = [each.in_time(until) for each in calls]
    return in_time
