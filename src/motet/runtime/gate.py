"""Calls of one model or function that run at the same time: how many at most, and one alone where a row may be at fault."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from motet.tracebacks import ends_program

__all__ = ["Gate"]

T = TypeVar("T")

ALONE_S = 1.0
"""How long a call waits to be made alone, and others for its end; they are made then in any case."""


class Gate:
    """Lets calls through.

    Code that cannot bear that it is called from two threads at once fails for no row's fault. So a call of one row that
    raised while others ran is made again when none runs, before the row is said to be at fault.

    Args:
        most: how many calls may run at the same time; None for any number.
    """

    __slots__ = ("_alone", "_begun", "_changed", "_lock", "_most", "_running", "_waiting")

    def __init__(self, most: int | None = None) -> None:
        self._most, self._lock = most, threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._running = self._begun = self._alone = self._waiting = 0

    def __call__(self, call: Callable[..., T], given: Sequence[Any], options: Mapping[str, Any], *, lone: bool) -> T:
        """Make a call.

        Args:
            call: what is called.
            given: with these arguments.
            options: and these keywords.
            lone: whether it is of one row, which is at fault if it raises.

        Raises:
            BaseException: what the call raises, of a lone row what it raised alone.
        """
        with self._lock:
            if self._alone or (self._most is not None and self._running >= self._most):
                self._wait()
            self._running += 1
            self._begun = begun = self._begun + 1
            shared = self._running > 1
        try:
            return call(*given, **options)
        except BaseException as error:
            if not lone or not (shared or self._begun != begun) or ends_program(error):
                raise
        finally:
            with self._lock:
                self._running -= 1
                if self._waiting:
                    self._changed.notify_all()
        return self._by_itself(call, given, options)

    def _wait(self) -> None:
        """Wait for a place, and, within a bound, for a call that is to be made alone."""
        self._waiting += 1
        self._changed.wait_for(lambda: not self._alone, ALONE_S)
        while self._most is not None and self._running >= self._most:
            self._changed.wait()
        self._waiting -= 1

    def _by_itself(self, call: Callable[..., T], given: Sequence[Any], options: Mapping[str, Any]) -> T:
        """Make a call when no other runs; those that come now wait for its end."""
        with self._lock:
            self._alone += 1
            self._waiting += 1
            self._changed.wait_for(lambda: not self._running, ALONE_S)
            self._running += 1
            self._begun += 1
        try:
            return call(*given, **options)
        finally:
            with self._lock:
                self._alone -= 1
                self._waiting -= 1
                self._running -= 1
                self._changed.notify_all()
