"""Models that had to be loaded to learn their signature are kept until they are loaded for use."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Generic, TypeVar

from motet.locks import new_lock
from motet.models.digest import Change, change_of
from motet.models.handler import ModelSource
from motet.system.folders import files_below
from motet.system.recent import LruCache

__all__ = ["LoadCache", "file_change", "file_state", "learned_key"]

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
        self._load, self._whole = load, whole
        self._kept: LruCache[State, _T] = LruCache(most)
        self._lock = new_lock()

    def look(self, source: ModelSource) -> _T:
        """The loaded file, kept for the next call of `look` or `take`."""
        key = file_state(self._whole(source.location))
        with self._lock:
            found = self._kept.get(key)
            return self._kept.put(key, self._load(source)) if found is None else found

    def take(self, source: ModelSource) -> _T:
        """The loaded file, for the caller alone."""
        with self._lock:
            found = self._kept.pop(file_state(self._whole(source.location)))
        return self._load(source) if found is None else found


def learned_key(source: ModelSource) -> tuple[State, str]:
    """What the signature of a file is remembered under that is dear to learn: what was declared of the model counts, too."""
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
        inside = (path, *files_below(path).values())
        inode, size, changed, told = map(sum, zip(*(change_of(os.stat(each)) for each in inside), strict=True))
    except (OSError, ValueError):
        return -1, -1, -1, -1
    return inode, size, changed, told
