"""Calls of one model or function that run at the same time: how many at most, and one alone where a row may be at fault."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from motet.errors import GraphError
from motet.nodes.owned import own_result
from motet.tracebacks import ends_program

__all__ = ["Gate", "gate_of"]

T = TypeVar("T")

ALONE_S = 1.0
"""How long a call waits to be made alone, and others for its end; they are made then in any case."""
MOST_WAIT_S = 600.0
"""How long a call waits for a place while none of those that run ends; then it is taken for one that they wait for."""


_within: ContextVar[tuple[Gate, ...]] = ContextVar("motet_within", default=())
"""The gates that the caller is within."""


_numbers = count(1)  # 0 is no call
_under_way: set[int] = set()
"""The calls, by their numbers, of code that fills buffers again, or of which it is not yet known."""


class Gate:
    """Lets calls through.

    Code that cannot bear that it is called from two threads at once fails for no row's fault. So a call of one row that
    raised while others ran is made again when none runs, before the row is said to be at fault.

    Code that returns a buffer which it fills again at its next call may have filled it again by then, and so may other code that
    has the same buffer. So all code of which such a buffer has been seen is called one at a time, and what it returns is made
    ours before the next call begins; the call that showed it, and those beside it, are made again. Calls within a call, such as
    those of a function that calls a graph in which it is, do not wait for it.

    Args:
        most: how many calls may run at the same time; None for any number.
    """

    __slots__ = ("_alone", "_begun", "_changed", "_clean", "_filled", "_lock", "_most", "_running", "_waiting")

    def __init__(self, most: int | None = None) -> None:
        self._most, self._lock = most, threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._running = self._begun = self._alone = self._waiting = 0
        self._filled = self._clean = False

    def keep_apart(self) -> None:
        """Have one call at a time from now on, since what they return is filled again; the calls that run are made again."""
        self._filled = True

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
            GraphError: when none of the calls that it must wait for ends.
        """
        if self._filled:
            return _one_at_a_time(call, given, options, lone=lone)
        within = _within.get()
        with self._lock:
            if (self._alone or (self._most is not None and self._running >= self._most)) and self not in within:
                self._wait()
            self._running += 1
            self._begun = begun = self._begun + 1
            shared = self._running > 1
        token, beside, number = _within.set((*within, self)), bool(_under_way), 0
        if watched := not (fresh or self._clean):
            number = next(_numbers)
            _under_way.add(number)
        try:
            held = [call(*given, **options)]
            if not fresh and own_result(held, given):
                self.keep_apart()
            again = self._spoiled(beside or not watched or next(_numbers) > number + 1)
            if not again:
                self._clean = not (fresh or self is _one_at_a_time)
                return held[0]
        except BaseException as error:
            again = False
            if not lone or not (shared or self._begun != begun) or ends_program(error):
                raise
        finally:
            _within.reset(token)
            _under_way.discard(number)
            with self._lock:
                self._running -= 1
                if self._waiting:
                    self._changed.notify_all()
        if again and self is not _one_at_a_time:
            return _one_at_a_time(call, given, options, lone=lone)
        return self._by_itself(call, given, options)

    def _spoiled(self, beside: bool) -> bool:
        """Whether another call may have filled what a call returned, before it was ours.

        Args:
            beside: whether calls ran beside it of which it is not known that they fill nothing again.
        """
        return self._filled and beside

    def _wait(self) -> None:
        """Wait for a place, and for a call that is to be made alone, both within a bound."""
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: not self._alone, ALONE_S)
            while self._most is not None and self._running >= self._most:
                if not self._changed.wait(MOST_WAIT_S):
                    raise GraphError(
                        f"a call has waited {MOST_WAIT_S:g} s for others to end, and none did: they may wait for this one",
                        hint="what is called one at a time must not call its own process over the network; functions are "
                        "once they return memory that they fill again: have them return arrays of their own",
                    )
        finally:
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


class _Apart(Gate):
    """Lets calls of all code through that fills buffers again, one at a time, since two functions may have one buffer."""

    __slots__ = ()

    def keep_apart(self) -> None:
        """They are."""

    def _spoiled(self, beside: bool) -> bool:
        return beside


_open, _one_at_a_time = _Open(), _Apart(1)
_gates: WeakKeyDictionary[Any, Gate] = WeakKeyDictionary()
"""One for each function, which several nodes may call."""


def _forked() -> None:
    """Calls of threads that are not there in a forked process may be within."""
    _gates.clear()
    _under_way.clear()
    _one_at_a_time.__init__(1)  # type: ignore[misc]


os.register_at_fork(after_in_child=_forked)


def gate_of(function: Callable[..., Any]) -> Gate:
    """What lets calls of a function through, wherever it is called."""
    if str(getattr(function, "__module__", "")).startswith("motet.ops."):
        return _open
    try:
        return _gates.setdefault(function, Gate())
    except TypeError:  # there are no weak references to it, or it is not hashable
        return Gate()
