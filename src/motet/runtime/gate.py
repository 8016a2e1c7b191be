"""Calls of one model or function that run at the same time: how many at most, and one alone where a row may be at fault."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

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

    __slots__ = ("_alone", "_begun", "_changed", "_most", "_running")

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._changed = threading.Condition(threading.Lock())
        self._running = self._begun = self._alone = 0

    def __call__(self, call: Callable[[], T], *, lone: bool) -> T:
        """Make a call.

        Args:
            call: what is called.
            lone: whether it is of one row, which is at fault if it raises.

        Raises:
            BaseException: what the call raises, of a lone row what it raised alone.
        """
        begun = self._begin()
        try:
            return call()
        except BaseException as error:
            if not lone or self._begun == begun or ends_program(error):
                raise
        finally:
            self._end()
        return self._by_itself(call)

    def _begin(self) -> int:
        """A call begins; how many have begun then, 0 where it is not the only one."""
        with self._changed:
            if self._alone:
                self._changed.wait_for(lambda: not self._alone, ALONE_S)
            while self._most is not None and self._running >= self._most:
                self._changed.wait()
            self._running += 1
            self._begun += 1
            return self._begun if self._running == 1 else 0

    def _end(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _by_itself(self, call: Callable[[], T]) -> T:
        """Make a call when no other runs; those that come now wait for its end."""
        with self._changed:
            self._alone += 1
            self._changed.wait_for(lambda: not self._running, ALONE_S)
            self._running += 1
            self._begun += 1
        try:
            return call()
        finally:
            with self._changed:
                self._alone -= 1
            self._end()
