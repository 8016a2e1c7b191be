"""Locks that are free in a forked process, and garbage that is closed where its thread holds none of those that closing needs."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["QuietLock", "close_garbage", "closes_garbage", "new_lock", "new_rlock"]

T = TypeVar("T")
Work = Callable[[], object]

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> threading.Lock:
    """A lock of something that lives as long as the process, which is free in a process that is forked while another thread
    holds it."""
    return _freed(threading.Lock())


def new_rlock() -> threading.RLock:
    """The same, which a thread may take again that holds it."""
    return _freed(threading.RLock())


def _freed(lock: T) -> T:
    _locks.add(lock)
    return lock


def _free_locks() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()


os.register_at_fork(after_in_child=_free_locks)


class _OfThread(threading.local):
    """How many `QuietLock`s a thread holds, what it closes once it holds none, and whether it is closing something."""

    held = 0
    closing = False

    @property
    def garbage(self) -> deque[Work]:
        """What waits to be closed; there also for garbage that is collected while a thread looks for the first time."""
        found: deque[Work] = self.__dict__.setdefault("garbage", deque())
        return found


_of_thread = _OfThread()


class QuietLock:
    """A lock of `new_lock` that closing needs, so that no garbage is closed by the thread that holds it; see `close_garbage`."""

    def __init__(self) -> None:
        self._lock = new_lock()

    def __enter__(self) -> None:
        _of_thread.held += 1
        try:
            self._lock.acquire()
        except BaseException:
            _of_thread.held -= 1
            raise

    def __exit__(self, *error: object) -> None:
        try:
            self._lock.release()
        finally:
            _of_thread.held -= 1
        _close_what_waits()


def close_garbage(close: Work) -> None:
    """Close what garbage had: at once, or behind the lines in which this thread holds a `QuietLock`.

    Garbage is collected in the middle of any line of any thread, also where that holds a lock that closing would wait for, or
    one of Python's own that threads need which are just begun: `threads.side_by_side` begins none meanwhile.

    Args:
        close: what it raises is logged.
    """
    _of_thread.garbage.append(close)
    _close_what_waits()


def _close_what_waits() -> None:
    while _of_thread.garbage and not _of_thread.held:
        close, within = _of_thread.garbage.popleft(), _of_thread.closing
        _of_thread.closing = True
        try:
            close()
        except Exception:
            import logging

            logging.getLogger("motet.runtime").exception("garbage could not be closed")
        finally:
            _of_thread.closing = within


def closes_garbage() -> bool:
    """Whether this thread is closing something just now."""
    return _of_thread.closing
