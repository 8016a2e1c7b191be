"""Models that had to be loaded to learn their signature are kept until they are loaded for use."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from motet.models.digest import Change, change_of
from motet.models.handler import ModelSource
from motet.threads import new_lock
from motet.types import Signature

__all__ = ["Learned", "LoadCache", "file_change", "file_state"]

_T = TypeVar("_T")
State = tuple[str, Change]
"""Which file it is, and as far as its size and its times tell, that it is the same."""


class LoadCache(Generic[_T]):
    """What `load` made of a file, at most `most` files, each as long as it stays the same.

    Args:
        load: loads a source's file.
        most: how many are kept; the one looked at longest ago goes first.
        whole: of where a source's file is, the file or folder that holds all of the model.
    """

    def __init__(
        self, load: Callable[[ModelSource], _T], most: int = 4, whole: Callable[[str], str] = lambda location: location
    ) -> None:
        self._load, self._most, self._whole = load, most, whole
        self._kept: OrderedDict[State, _T] = OrderedDict()
        self._lock = new_lock()

    def look(self, source: ModelSource) -> _T:
        """The loaded file, kept for the next call of `look` or `take`."""
        key = file_state(self._whole(source.location))
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
            found = self._kept.pop(file_state(self._whole(source.location)), None)
        return self._load(source) if found is None else found


class Learned:
    """The signatures of files that are dear to learn, at most `most`, by what was declared of the model too.

    Args:
        most: how many are kept; the one used longest ago goes first.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._learned: OrderedDict[tuple[State, str], Signature] = OrderedDict()
        self._lock = new_lock()

    def get(self, source: ModelSource) -> Signature | None:
        """The signature; None where it is not known."""
        key = _learned_key(source)
        with self._lock:
            if key in self._learned:
                self._learned.move_to_end(key)
            return self._learned.get(key)

    def put(self, source: ModelSource, signature: Signature) -> None:
        """Keep a signature."""
        with self._lock:
            self._learned[_learned_key(source)] = signature
            while len(self._learned) > self._most:
                self._learned.popitem(last=False)


def _learned_key(source: ModelSource) -> tuple[State, str]:
    return file_state(source.location), repr((dict(source.inputs), dict(source.outputs), dict(source.options)))


def file_state(path: str) -> State:
    """What tells a file, or all files of a folder, from others, and from what they were before."""
    return os.path.realpath(path), file_change(path)


def file_change(path: str) -> Change:
    """What `change_of` says of a file, or the sums of what it says of a folder's; -1 where it is not there."""
    try:
        own = os.stat(path)
        if not stat.S_ISDIR(own.st_mode):
            return change_of(own)
        files = [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]
        inode, size, changed, told = map(sum, zip(*(change_of(os.stat(each)) for each in (path, *files)), strict=True))
    except (OSError, ValueError):
        return -1, -1, -1, -1
    return inode, size, changed, told
