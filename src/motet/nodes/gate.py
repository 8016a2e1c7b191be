"""Calls of one model or function that run at the same time: how many at most, and one alone where a row may be at fault."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from motet.nodes.owned import own_result
from motet.tracebacks import ends_program

__all__ = ["Gate", "gate_of"]

T = TypeVar("T")

ALONE_S = 1.0
"""How long a call waits to be made alone, and others for its end; they are made then in any case."""


_within: ContextVar[tuple[Gate, ...]] = ContextVar("motet_within", default=())
"""The gates that the caller is within."""


class Gate:
    """Lets calls through.

    Code that cannot bear that it is called from two threads at once fails for no row's fault. So a call of one row that
    raised while others ran is made again when none runs, before the row is said to be at fault.

    Code that returns a buffer which it fills again at its next call may have filled it again by then. So what a call returns is
    made ours before another call begins, once such a buffer has been seen; the call that showed it is made again where others
    ran. Calls within a call, such as those of a function that calls a graph in which it is, do not wait for it.

    Args:
        most: how many calls may run at the same time; None for any number.
    """

    __slots__ = ("_alone", "_begun", "_changed", "_filled", "_lock", "_most", "_running", "_waiting")

    def __init__(self, most: int | None = None) -> None:
        self._most, self._lock = most, threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._running = self._begun = self._alone = self._waiting = 0
        self._filled = False

    def keep_apart(self) -> None:
        """Have one call at a time from now on, since what they return is filled again; the calls that run are made again."""
        with self._lock:
            self._filled, self._most = True, 1

    def __call__(
        self,
        call: Callable[..., T],
        given: Sequence[Any],
        options: Mapping[str, Any],
        *,
        lone: bool,
        fresh: bool = False,
    ) -> T:
        """Make a call.

        Args:
            call: what is called.
            given: with these arguments.
            options: and these keywords.
            lone: whether it is of one row, which is at fault if it raises.
            fresh: whether what it returns is nobody else's.

        Returns:
            What the call returned, which is ours (see `motet.nodes.owned`).

        Raises:
            BaseException: what the call raises, of a lone row what it raised alone.
        """
        within = _within.get()
        with self._lock:
            if (self._alone or (self._most is not None and self._running >= self._most)) and self not in within:
                self._wait()
            self._running += 1
            self._begun = begun = self._begun + 1
            shared, apart = self._running > 1, self._filled
        token = _within.set((*within, self))
        try:
            held = [call(*given, **options)]
            if not fresh and own_result(held, given):
                self.keep_apart()
            again = self._filled and not apart and (shared or self._begun != begun)
            if not again:
                return held[0]
        except BaseException as error:
            again = False
            if not lone or not (shared or self._begun != begun) or ends_program(error):
                raise
        finally:
            _within.reset(token)
            with self._lock:
                self._running -= 1
                if self._waiting:
                    self._changed.notify_all()
        if again:
            return self(call, given, options, lone=lone, fresh=fresh)
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
        within, running = _within.get(), 0
        with self._lock:
            self._alone += 1
            self._waiting += 1
        token = _within.set((*within, self))
        try:
            with self._lock:
                if self not in within:
                    self._changed.wait_for(lambda: not self._running, ALONE_S)
                self._begun += 1
                self._running, running = self._running + 1, 1
            held = [call(*given, **options)]
            own_result(held, given)
            return held[0]
        finally:
            _within.reset(token)
            with self._lock:
                self._alone -= 1
                self._waiting -= 1
                self._running -= running
                self._changed.notify_all()


class _Open(Gate):
    """Lets calls of our own functions through: they bear any number at once, and fill no buffer again."""

    __slots__ = ()

    def __call__(
        self,
        call: Callable[..., T],
        given: Sequence[Any],
        options: Mapping[str, Any],
        *,
        lone: bool,
        fresh: bool = False,
    ) -> T:
        """Make a call; see `Gate`."""
        return call(*given, **options)


_open = _Open()
_gates: WeakKeyDictionary[Any, Gate] = WeakKeyDictionary()
"""One for each function, which several nodes may call."""
os.register_at_fork(after_in_child=_gates.clear)  # calls of threads that are not there may be within


def gate_of(function: Callable[..., Any]) -> Gate:
    """What lets calls of a function through, wherever it is called."""
    if str(getattr(function, "__module__", "")).startswith("motet.ops."):
        return _open
    try:
        return _gates.setdefault(function, Gate())
    except TypeError:  # there are no weak references to it, or it is not hashable
        return Gate()
