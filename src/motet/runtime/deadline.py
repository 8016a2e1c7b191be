"""Calls that are waited for no longer than they may take, and calls that are awaited: both are played in threads of the process.

A call that is late, or that nobody waits for any more, stops before the next node, part of its rows, or call of a model. What
runs at that moment cannot be interrupted: its thread goes on until it returns, and is one of `MOST_CALLS` that such calls have.
"""

from __future__ import annotations

import concurrent.futures
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from motet.errors import DeadlineError, InputError
from motet.system.patience import WAITED_FOR, WaitedFor, check_waited_for
from motet.threads import ThreadPool, beside, do

if TYPE_CHECKING:
    import asyncio

__all__ = ["Halted", "asked_in_time", "awaited", "droppable", "go_on", "going_on", "unhurried"]

T = TypeVar("T")

MOST_CALLS = 32
"""Calls that are awaited, or have a timeout, which are played at the same time; others wait."""


class Halted(DeadlineError):
    """What ends a call that is late, or that nobody waits for."""


class _Call:
    """A call that may be late.

    Args:
        timeout: the seconds that it may take; None for any number.
        outer: the call that it is a part of, and halts with.
    """

    def __init__(self, timeout: float | None, outer: WaitedFor | None = None) -> None:
        self.timeout, self.dropped, self._outer = timeout, False, outer
        self._until = math.inf if timeout is None else time.monotonic() + timeout

    @property
    def left_s(self) -> float:
        """How many seconds it may take still; infinite for any number."""
        outer = math.inf if self._outer is None else self._outer.left_s
        return min(outer, self._until - time.monotonic())

    def check(self) -> None:
        """Go on.

        Raises:
            Halted: when it is late, or was dropped.
        """
        if self._outer is not None:
            self._outer.check()
        if self.dropped or time.monotonic() > self._until:
            raise Halted(f"not answered within {self.timeout:g} s" if self.timeout is not None else "not waited for")

    @contextmanager
    def waited_for(self, made: concurrent.futures.Future[Any] | asyncio.Future[Any]) -> Iterator[None]:
        """Nobody waits for what is made once this is over; a call that halts until then is late."""
        try:
            yield
        except Halted:
            raise self.late() from None
        finally:
            self.dropped = True
            made.cancel()

    def late(self) -> DeadlineError:
        """The error of whoever waits."""
        hint = "what runs goes on in its thread until it returns; allow more time, or give fewer rows"
        return DeadlineError(f"not answered within {self.timeout:g} s", hint=hint)


def go_on() -> None:
    """Go on with the call that this is a part of, if it is a part of one that may be late.

    Raises:
        Halted: when it is late, or nobody waits for it.
    """
    check_waited_for()


def going_on() -> Callable[[], None] | None:
    """What `go_on` does here, to be done often; None where this is no part of a call that may be late."""
    call = WAITED_FOR.get()
    return None if call is None else call.check


def droppable(call: Callable[[], T], timeout: float | None = None) -> tuple[Callable[[], T], Callable[[], None]]:
    """A call that can be dropped, and what drops it: it then halts as one that nobody waits for.

    Args:
        call: is made.
        timeout: the seconds that it may take, from now on; None for any number.

    Raises:
        InputError: when the timeout is no number of at least 0.
    """
    known = _Call(None if timeout is None else _checked(timeout), WAITED_FOR.get())

    def run() -> T:
        token = WAITED_FOR.set(known)
        try:
            return call()
        finally:
            WAITED_FOR.reset(token)

    def drop() -> None:
        known.dropped = True

    return run, drop


def unhurried(call: Callable[[], T]) -> T:
    """What a call gives that is no part of the one around it, and goes on when that is over."""
    token = WAITED_FOR.set(None)
    try:
        return call()
    finally:
        WAITED_FOR.reset(token)


def asked_in_time(ask: Callable[[], T], timeout: float) -> T:
    """What a function gives, called in another thread and in the caller's context.

    Args:
        ask: calls a graph.
        timeout: the seconds that it may take.

    Raises:
        DeadlineError: when it takes longer.
        InputError: when the timeout is no number of at least 0.
    """
    call = _Call(_checked(timeout))
    made = _begun(call, ask)
    with call.waited_for(made):
        if not concurrent.futures.wait([made], call.timeout).done:
            raise call.late()
        return made.result()


async def awaited(ask: Callable[[], T], timeout: float | None) -> T:
    """What a function gives, called in another thread and in the caller's context, while the event loop goes on.

    Args:
        ask: calls a graph.
        timeout: the seconds that it may take; None for any number.

    Raises:
        DeadlineError: when it takes longer.
        InputError: when the timeout is no number of at least 0.
        asyncio.CancelledError: when the task is cancelled; the call then stops, too.
    """
    import asyncio  # it takes long to import, and who awaits has it

    call = _Call(None if timeout is None else _checked(timeout))
    made = asyncio.wrap_future(_begun(call, ask))
    with call.waited_for(made):
        if not (await asyncio.wait([made], timeout=call.timeout))[0]:
            raise call.late()
        return made.result()


def _checked(timeout: Any) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float, np.integer, np.floating)) or not timeout >= 0:
        raise InputError(f"timeout must be seconds, a number of at least 0; got {timeout!r}")
    return float(min(timeout, threading.TIMEOUT_MAX))  # more cannot be waited for


def _begun(call: _Call, ask: Callable[[], T]) -> concurrent.futures.Future[T]:
    """A call that waits for its turn, or is played; one within such a call has a thread of its own, so that none waits for
    itself."""

    def play(_: None) -> T:
        call.check()
        token = WAITED_FOR.set(call)
        try:
            return ask()
        finally:
            WAITED_FOR.reset(token)

    if WAITED_FOR.get() is None:
        return _pool.submit(play, None)
    made: concurrent.futures.Future[T] = concurrent.futures.Future()
    beside(lambda: do(made, lambda: play(None)), "motet-call")
    return made


_pool = ThreadPool(MOST_CALLS, "motet-call")


def _anew() -> None:
    global _pool
    _pool = ThreadPool(MOST_CALLS, "motet-call")


os.register_at_fork(after_in_child=_anew)  # whose threads are not there
