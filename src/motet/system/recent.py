"""What is remembered of what was asked for lately: so many values, and then those go that were used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from motet.locks import new_lock

__all__ = ["LruCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Values by key. Any thread may use it.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, new_lock()
        self._held: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What was put; None where it is not known any more."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: K, value: V) -> V:
        """Remember a value, which is returned."""
        with self._lock:
            self._held[key] = value
            self._held.move_to_end(key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return value

    def pop(self, key: K) -> V | None:
        """What was put, which is forgotten; None where it is not known."""
        with self._lock:
            return self._held.pop(key, None)

    def forget(self, where: Callable[[K], bool]) -> None:
        """Forget those whose keys are such."""
        with self._lock:
            for key in [key for key in self._held if where(key)]:
                del self._held[key]
