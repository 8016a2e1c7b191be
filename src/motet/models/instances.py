"""Loaded instances that bear one call at a time each: made as calls come together, as many as are useful, and lent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Instances"]

_T = TypeVar("_T")


class Instances(Generic[_T]):
    """Several threads may borrow from it.

    Args:
        make: makes one.
        most: how many there may be; calls beyond them wait until one is given back.
    """

    def __init__(self, make: Callable[[], _T], most: int) -> None:
        self._make, self._most = make, most
        self._free: list[_T] = []
        self._made = 0
        self._given_back = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[_T]:
        """One for this call alone, the one used last where several are free."""
        instance = self._borrowed()
        try:
            yield instance
        finally:
            with self._given_back:
                self._free.append(instance)
                self._given_back.notify()

    def _borrowed(self) -> _T:
        with self._given_back:
            self._given_back.wait_for(lambda: self._free or self._made < self._most)
            if self._free:
                return self._free.pop()
            self._made += 1
        try:
            return self._make()
        except BaseException:
            with self._given_back:
                self._made -= 1
                self._given_back.notify()
            raise
