"""Models that had to be loaded to learn their signature are kept until they are loaded for use."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from motet.models.handler import ModelSource

__all__ = ["Kept"]

_T = TypeVar("_T")
_Key = tuple[str, int, int]


class Kept(Generic[_T]):
    """What `load` made of a file, at most `most` files, each as long as its size and time of change stay the same.

    Args:
        load: loads a source's file.
        most: how many are kept; the one looked at longest ago goes first.
    """

    def __init__(self, load: Callable[[ModelSource], _T], most: int = 4) -> None:
        self._load, self._most = load, most
        self._kept: OrderedDict[_Key, _T] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, source: ModelSource) -> _T:
        """The loaded file, kept for the next call of `look` or `take`."""
        key = _key(source.location)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._load(source)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[key]

    def take(self, source: ModelSource) -> _T:
        """The loaded file, for the caller alone."""
        with self._lock:
            found = self._kept.pop(_key(source.location), None)
        return self._load(source) if found is None else found


def _key(path: str) -> _Key:
    try:
        state = os.stat(path)
    except OSError:
        return (path, -1, -1)
    return (os.path.realpath(path), state.st_size, state.st_mtime_ns)
