"""Calls of one model or function that run at the same time: how many at most, and one alone where a row may be at fault."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from motet.errors import GraphError
from motet.locks import new_lock
from motet.nodes.owned import own_result
from motet.tracebacks import ends_program

__all__ = ["Gate", "gate_of"]

T = TypeVar("T")

ALONE_S = 1.0
"""How long a call waits to be made alone, and others for its end; they are made then in any case."""
MOST_WAIT_S = 600.0
"""How long a call waits for a place while none of those that run ends; then it is taken for one that they wait for."""
UNKNOWN_WAIT_S = 60.0
"""The same where it is not known whether one of them fills a buffer; then it is made, and that is told should it be so."""
_HINT = (
    "functions are called one at a time once they return memory that they fill again, and so must not call their own "
    "process over the network, nor through threads that they begin: have them return arrays of their own"
)


class _Call:
    """A call that runs, or waits until it may.

    Attributes:
        gate: what it goes through.
        outer: the call that it is within.
        refills: whether it is of code that was known to give memory that it fills again when it began.
        runs: whether it has begun.
        num_waiting_inside: how many calls within it wait; until they go on it does nothing.
        gives_own: whether it is of code that had given memory of its own when it began.
        overlapped: whether others ran beside it that may have filled the memory that it gives.
        unprotected: whether it went on beside one that it should have waited for, or that should have waited for it.
    """

    gate: Gate
    outer: _Call | None = None
    refills = unprotected = False
    overlapped = gives_own = runs = True
    num_waiting_inside = 0

    def outers(self) -> list[_Call]:
        """The calls that it is within, without those that had ended when a thread that one of them began made it."""
        found, each = [], self.outer
        while each is not None:
            if each in _calls:
                found.append(each)
            each = each.outer
        return found

    @property
    def may_fill(self) -> bool:
        """Whether it may fill memory that others give, as far as is known."""
        return self.gate.refills or not self.gives_own

    def waits_for(self, other: _Call) -> bool:
        """Whether only one of them may run at a time, as far as is known."""
        if self.refills and other.refills:
            return True
        unknown = other if self.refills else self
        return (
            (self.refills or other.refills)
            and unknown.may_fill
            and not (unknown.num_waiting_inside or unknown.unprotected)
        )


_lock = new_lock()
_calls: dict[_Call, None] = {}
"""All calls, in the order in which they came."""
_ended = threading.Condition(_lock)
"""Told when a call ended, or waits for one within it, of code of which it is not known that it fills no buffers again."""
_current: ContextVar[_Call | None] = ContextVar("motet_call", default=None)


class Gate:
    """Lets calls through.

    Code that cannot bear that it is called from two threads at once fails for no row's fault. So a call of one row that
    raised while others ran is made again when none runs, before the row is said to be at fault.

    Code that returns a buffer which it fills again at its next call may have filled it again by then, and so may other code that
    has the same buffer. So a call of code of which such a buffer has been seen runs beside none of such code, nor beside one
    of code of which it is not known yet (of whose calls none has given memory of its own), until what it returns is ours. The
    call that showed it is made again if another of them ran beside it. Calls within a call, such as those of a function that
    calls a graph in which it is, do not wait for it. Code that first gave memory of its own, and later a buffer that another
    function has, is known too late to keep that one's calls before from it.

    Args:
        most: how many calls may run at the same time; None for any number.
        again: whether a lone row that raised while others ran is tried again; not where each call costs money.

    Attributes:
        gives_own: whether a call gave memory of its own, and none any that is filled again.
        refills: whether one did.
    """

    __slots__ = (
        "_alone", "_begun", "_changed", "_most", "_running", "_tries_again", "_waiting", "gives_own", "refills",
    )  # fmt: skip

    def __init__(self, most: int | None = None, *, again: bool = True) -> None:
        self._tries_again = again
        self._most = sys.maxsize if most is None else most
        self._changed = threading.Condition(_lock)
        self._running = self._begun = self._alone = self._waiting = 0
        self.refills = self.gives_own = False

    def keep_apart(self) -> None:
        """Have one call at a time from now on, since what they return is filled again."""
        with _lock:
            self.refills, self.gives_own = True, False

    def __call__(
        self,
        call: Callable[..., T],
        given: Sequence[Any],
        options: Mapping[str, Any],
        *,
        rows: int,
        fresh: bool = False,
        alone: bool = False,
    ) -> T:
        """Make a call.

        Args:
            call: what is called.
            given: with these arguments.
            options: and these keywords.
            rows: how many it is of, and is to give; a lone one is at fault if it raises.
            fresh: whether what it returns is nobody else's.
            alone: whether it is made again while no other call runs.

        Returns:
            What the call returned, which is ours (see `motet.nodes.owned`).

        Raises:
            BaseException: what the call raises, of a lone row what it raised alone.
            GraphError: when none of the calls that it must wait for ends, or what it gave may be another one's.
        """
        outer, me, ours = _current.get(), _Call(), False
        me.gate = self
        if outer is not None:
            me.outer = outer
        try:
            with _lock:
                if not self.gives_own or self._alone or alone or self._running >= self._most:
                    self._admit(me, alone, fresh)
                _calls[me] = None
                self._running += 1
                self._begun = begun = self._begun + 1
                shared = self._running > 1
            _current.set(me)
            held = [call(*given, **options)]
            if not fresh and own_result(held, given, rows):
                self.keep_apart()
            if not self.refills or me.refills or not me.overlapped:
                ours = True
                return held[0]
            raised = False
        except BaseException as error:
            if rows != 1 or alone or me.refills or not (me.runs and me in _calls):
                raise
            if not (shared or self._begun != begun) or not self._tries_again or ends_program(error):
                raise
            raised = True
        finally:
            _current.set(outer)
            with _lock:
                if _calls.pop(me, me) is None:  # they are another process's in one that was forked within the call
                    self._running -= me.runs
                    if alone:
                        self._alone -= 1
                    if self.refills or not me.gives_own:
                        self.gives_own = self.gives_own or (ours and not self.refills)
                    if _calls and (self.refills or not me.gives_own):
                        _ended.notify_all()
                    if self._waiting:
                        self._changed.notify_all()
        if me.unprotected and not raised:
            raise GraphError(
                "a call gave memory that is filled again, and others that may have filled it did not end before it began",
                hint=_HINT,
            )
        return self(call, given, options, rows=rows, fresh=fresh, alone=raised)

    def _admit(self, me: _Call, alone: bool, fresh: bool) -> None:
        """Have a call wait until it may begin, within bounds."""
        self._alone += alone
        self.gives_own = self.gives_own or fresh
        if not _calls:
            me.refills, me.gives_own, me.overlapped = self.refills, self.gives_own, self.gives_own
            return
        _calls[me], me.runs = None, False
        outers = me.outers()
        placed = any(each.gate is self for each in outers)
        self._waiting += 1
        try:
            if (alone or self._alone) and not placed:
                self._changed.wait_for(lambda: not (self._running if alone else self._alone), ALONE_S)
            if self._in_the_way(me, outers, alone or placed) is not None:
                self._wait(me, outers, alone or placed)
        finally:
            self._waiting -= 1
        if not me.gives_own:
            beside = [each for each in _calls if each.runs and each.may_fill and each not in outers]
            me.overlapped = bool(beside)
            for each in beside:
                each.overlapped = True
        me.runs = True

    def _in_the_way(self, me: _Call, outers: Sequence[_Call], placed: bool) -> list[_Call] | None:
        """The calls that one must wait for, as it is now: none, and yet a list, where any that ends gives it its place."""
        me.refills, me.gives_own = self.refills, self.gives_own
        if not (me.refills or placed) and self._running >= self._most:
            return []
        if me.gives_own:
            return None
        found, is_earlier = list[_Call](), not outers
        for each in _calls:
            if each is me:
                is_earlier = False
            elif (each.runs or is_earlier) and each not in outers and me.waits_for(each):
                found.append(each)
        return found or None

    def _wait(self, me: _Call, outers: Sequence[_Call], placed: bool) -> None:
        for each in outers:
            each.num_waiting_inside += 1
        if outers:
            _ended.notify_all()
        try:
            while (others := self._in_the_way(me, outers, placed)) is not None:
                known = not others or any(me.refills and each.refills for each in others)
                if (_ended if others else self._changed).wait(MOST_WAIT_S if known else UNKNOWN_WAIT_S):
                    continue
                if known:
                    raise GraphError(
                        f"a call has waited {MOST_WAIT_S:g} s for others to end, and none did: they may wait for this one",
                        hint=_HINT,
                    )
                for each in others:
                    (each if me.refills else me).unprotected = True
                _ended.notify_all()
        finally:
            for each in outers:
                each.num_waiting_inside -= 1


class _Open(Gate):
    """Lets calls of our own functions through: they bear any number at once, and fill no buffer again."""

    __slots__ = ()

    def __call__(
        self,
        call: Callable[..., T],
        given: Sequence[Any],
        options: Mapping[str, Any],
        *,
        rows: int,
        fresh: bool = False,
        alone: bool = False,
    ) -> T:
        """Make a call; see `Gate`."""
        return call(*given, **options)


_open = _Open()
_gates: WeakKeyDictionary[Any, Gate] = WeakKeyDictionary()
"""One for each function, which several nodes may call."""


def _forked() -> None:
    """Calls of threads that are not there in a forked process may be among them."""
    for each in _calls:
        each.gate._running = each.gate._alone = each.gate._waiting = 0
    _calls.clear()


os.register_at_fork(after_in_child=_forked)


def gate_of(function: Callable[..., Any]) -> Gate:
    """What lets calls of a function through, wherever it is called."""
    if str(getattr(function, "__module__", "")).startswith("motet.ops."):
        return _open
    try:
        return _gates.setdefault(function, Gate())
    except TypeError:  # there are no weak references to it, or it is not hashable
        return Gate()
