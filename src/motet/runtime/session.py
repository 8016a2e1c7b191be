"""What plays a graph: made once, whoever asks first, and given back when nobody plays any more.

A process that is forked from one that has called the graph makes one of its own: the models of the other one may wait
for threads that are not there. They are left where they are, since to close them could wait for ever, too.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from motet.locks import new_lock

__all__ = ["CallSession"]

T = TypeVar("T")


class _Player(Protocol):
    """What holds loaded models, such as an executor."""

    def close(self) -> None: ...

    def close_shadows(self, seconds: float = 0.0) -> None: ...


P = TypeVar("P", bound=_Player)


@dataclass(slots=True)
class _Lent(Generic[P]):
    """What plays, and how many calls it plays."""

    executor: P
    calls: int = 0


class CallSession(Generic[P]):
    """Holds what plays, such as an executor, from the first call until it is closed; may be used from any thread.

    Args:
        make: makes it. It must not hold the graph, which ends what is here when it goes.
    """

    def __init__(self, make: Callable[[], P]) -> None:
        self._make, self._lock = make, new_lock()
        self._lent: _Lent[P] | None = None
        _sessions.add(self)

    @property
    def executor(self) -> P:
        """What plays, made when it is first asked for."""
        with self._lock:
            return self._made().executor

    def lend(self, play: Callable[[P], T]) -> T:
        """What a call gives, which is lent what plays: it stays open until then.

        The last call of one that was closed meanwhile lets its models go.
        """
        with self._lock:
            lent = self._made()
            lent.calls += 1
        try:
            return play(lent.executor)
        finally:
            with self._lock:
                lent.calls -= 1
                done = not lent.calls and lent is not self._lent
            if done:
                lent.executor.close()

    def close(self, shadows_s: float = 0.0) -> None:
        """Let the models go, once the calls that are under way have ended; the next call loads them anew.

        Args:
            shadows_s: how many seconds calls of members that do not count are waited for.
        """
        with self._lock:
            lent, self._lent = self._lent, None
            done = lent is not None and not lent.calls
        if lent is not None and done:
            lent.executor.close_shadows(shadows_s)
            lent.executor.close()

    def leave(self) -> None:
        """Let go of what plays and close nothing, in a forked process."""
        lent, self._lent = self._lent, None
        if lent is not None:
            lent.calls += 1
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(lent))  # not freed when the process ends, either

    def _made(self) -> _Lent[P]:
        if self._lent is None:
            self._lent = _Lent(self._make())
        return self._lent


_sessions: weakref.WeakSet[CallSession[Any]] = weakref.WeakSet()


def _in_child() -> None:
    for session in list(_sessions):
        session.leave()


os.register_at_fork(after_in_child=_in_child)
