"""Locks by key, between all threads and processes that use a folder.

A key is a byte of one file, locked by `fcntl`. The kernel gives it back when its process ends, however that comes about.
Such locks belong to a process, so within one a table says which are taken, and a file is closed only while none of its own is.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from motet.errors import WorkflowError
from motet.locks import new_lock

__all__ = ["is_locked", "key_lock", "try_lock", "unlock"]

_PLACES = 2**62
_WAIT_S = 0.02
_MOST_WAIT_S = 0.5
_MOST_OPEN = 32
"""Files of which no lock is taken may be this many, and stay open."""
_guard = threading.Condition(new_lock())
_files: dict[tuple[int, str], int] = {}
_taken: set[tuple[str, int]] = set()
os.register_at_fork(after_in_child=_taken.clear)  # which its parent has


def _file(path: Path) -> int:
    key = (os.getpid(), str(path))
    if key not in _files:
        busy = {path for path, _ in _taken}
        for other in [each for each in _files if each[1] not in busy][_MOST_OPEN - 1 :]:
            os.close(_files.pop(other))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _files[key] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise WorkflowError(
                f"locks cannot be taken: {error}",
                where=str(path.parent),
                hint="make room there, or name another folder",
            ) from error
    return _files[key]


def try_lock(path: Path, key: str) -> bool:
    """Take the lock of a key, 16 hex digits or more, if it is free."""
    place = int(key[:16], 16) % _PLACES
    with _guard:
        held = _try(path, place, fcntl.LOCK_EX)
        if held:
            _taken.add((str(path), place))
        return held


def is_locked(path: Path, key: str) -> bool:
    """Whether somebody holds the lock of a key. Any number may ask at the same time."""
    place = int(key[:16], 16) % _PLACES
    with _guard:
        free = _try(path, place, fcntl.LOCK_SH)
        if free:
            fcntl.lockf(_file(path), fcntl.LOCK_UN, 1, place)
        return not free


def _try(path: Path, place: int, how: int) -> bool:
    if (str(path), place) in _taken:
        return False
    try:
        fcntl.lockf(_file(path), how | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(path: Path, key: str) -> None:
    """Give the lock of a key back."""
    place = int(key[:16], 16) % _PLACES
    with _guard:
        fcntl.lockf(_file(path), fcntl.LOCK_UN, 1, place)
        _taken.discard((str(path), place))
        _guard.notify_all()


@contextmanager
def key_lock(path: Path, key: str, stopped: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock of a key, after waiting for it. Gives False, and no lock, when `stopped` came true first."""
    wait_s, held = _WAIT_S, try_lock(path, key)
    while not held and not stopped():
        with _guard:
            _guard.wait(wait_s)
        wait_s = min(wait_s * 2, _MOST_WAIT_S)
        held = try_lock(path, key)
    try:
        yield held
    finally:
        if held:
            unlock(path, key)
