"""Connections to a server that are made anew where one may have been lost in silence.

A network that drops a connection without a word leaves it open at both ends: every call that takes it waits for its
whole time. So a call that had no answer in time condemns the connections that it came from, idle ones among them; calls
that still use them go on, and the last one closes them.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Generic, Protocol, TypeVar

from motet.locks import new_lock
from motet.oip.asking import LostCall, RemoteAnswer

__all__ = ["Connections"]


class _Closable(Protocol):
    def close(self) -> Any: ...


T = TypeVar("T", bound=_Closable)


class Connections(Generic[T]):
    """What holds the connections of a client, such as a pool or a channel; for several threads at once.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock = make, new_lock()
        self._current = make()
        self._users: dict[int, int] = {}

    def take(self) -> T:
        """What a call goes through; it is to be given back."""
        with self._lock:
            held = self._current
            self._users[id(held)] = self._users.get(id(held), 0) + 1
        return held

    def give_back(self, held: T, *, condemned: bool) -> bool:
        """End a call.

        Args:
            held: what was taken.
            condemned: whether the calls after this one are to go through new connections.

        Returns:
            Whether nobody uses it any more, so that it is to be closed.
        """
        with self._lock:
            if condemned and held is self._current:
                self._current = self._make()
            self._users[id(held)] -= 1
            if self._users[id(held)]:
                return False
            del self._users[id(held)]
            return held is not self._current

    def send(
        self, call: Callable[[T], RemoteAnswer | LostCall], condemning: Container[str] = ("timeout",)
    ) -> RemoteAnswer | LostCall:
        """Make a call.

        Args:
            call: is given what it goes through.
            condemning: the kinds of lost calls after which others go through new connections.
        """
        held, got = self.take(), None
        try:
            got = call(held)
            return got
        finally:
            if self.give_back(held, condemned=isinstance(got, LostCall) and got.kind in condemning):
                held.close()

    @property
    def current(self) -> T:
        """What the next call goes through."""
        return self._current
