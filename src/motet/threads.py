"""Threads that a call begins and ends: what they do is done as in the caller's own thread.

Each piece of work runs in a copy of its caller's context, so that context variables (`numpy.errstate`, the span of a trace, the
id of a request) are the same in all of them. Where no thread can be begun, as at the end of the program or at the limit of a
container, the caller's thread does the work. No thread outlives the call that began it, so none is missing after a fork.
"""

from __future__ import annotations

import contextvars
import logging
import os
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = [
    "MOST",
    "QuietLock",
    "ThreadPool",
    "begun",
    "beside",
    "close_garbage",
    "do",
    "new_lock",
    "new_rlock",
    "side_by_side",
    "thread_of",
    "together",
]

S = TypeVar("S")
T = TypeVar("T")
Work = Callable[[], object]
_LOG = logging.getLogger("motet.runtime")
MOST = 16
"""Calls that wait which are under way for one caller at the same time."""


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
    one of Python's own that threads need which are just begun: `side_by_side` begins none meanwhile.

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
        except Exception:  # noqa: BLE001 (nobody called it)
            _LOG.exception("garbage could not be closed")
        finally:
            _of_thread.closing = within


def thread_of(work: Work, name: str) -> threading.Thread:
    """A thread, not begun, that does something in a copy of the context of whoever asks for it.

    It does not hold up the end of the program.
    """
    return threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True)


def beside(work: Work, name: str) -> None:
    """Do something in a thread of its own; here and now where none can be begun."""
    thread = thread_of(work, name)
    if begun(thread):
        return
    work()


def begun(thread: threading.Thread) -> bool:
    """Begin a thread, and say whether that could be done."""
    if sys.is_finalizing():  # Python up to 3.11 waits for ever for the new thread, which never gets the interpreter
        return False
    try:
        thread.start()
    except RuntimeError:  # the program ends, or the system has no more of them
        return False
    return True


class ThreadPool:
    """Up to so many threads, begun as they are needed; to be closed by whoever made it. Any thread may give it work.

    Args:
        most: how many threads.
        name: theirs.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._waiting: OrderedDict[Future[Any], Work] = OrderedDict()
        self._idle = 0
        self._closed = False

    def submit(self, call: Callable[[S], T], given: S) -> Future[T]:
        """Have a function called with one argument; what it returns, or raises, is in the future.

        A call that is cancelled before it begins is forgotten at once, whether or not a thread is ever free for it.
        """
        made: Future[T] = Future()
        context = contextvars.copy_context()

        def work() -> None:
            do(made, lambda: context.run(call, given))

        with self._changed:
            if self._idle <= len(self._waiting) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                if begun(thread):
                    self._threads.append(thread)
            if self._threads:
                self._waiting[made] = work
                self._changed.notify()
                made.add_done_callback(self._forget)
                return made
        work()
        return made

    def _forget(self, made: Future[Any]) -> None:
        with self._changed:
            self._waiting.pop(made, None)

    def _work(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work

    def _next(self) -> Work | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._idle -= 1
            return self._waiting.popitem(last=False)[1] if self._waiting else None

    def close(self) -> None:
        """Leave out what was not begun, and wait for what was. Closing again does nothing."""
        with self._changed:
            left_out, self._waiting = self._waiting, OrderedDict()
            self._closed = True
            self._changed.notify_all()
        for made in left_out:
            made.cancel()
        for thread in self._threads:
            thread.join()


def do(made: Future[T], call: Callable[[], T]) -> None:
    """Call a function, and put what comes of it into a future that is not cancelled."""
    if not made.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 (handed to whoever waits)
        made.set_exception(error)
    else:
        made.set_result(result)


def side_by_side(call: Callable[[S], T], parts: Sequence[S], at_once: int, most: int = MOST) -> list[T]:
    """What a function gives for each part, in their order; as many are under way as there are replicas for them.

    Args:
        call: is called from several threads at the same time, each time in the context of the caller.
        parts: what it is called with.
        at_once: how many calls the replicas take together.
        most: how many threads there may be.

    Raises:
        Exception: what the first part raised that failed; calls that were not begun are left out.
    """
    threads = min(len(parts), at_once, most)
    if threads < 2 or _of_thread.closing:
        return [call(part) for part in parts]
    pool = ThreadPool(threads, "motet-calls")
    try:
        return [made.result() for made in [pool.submit(call, part) for part in parts]]
    finally:
        pool.close()


def together(calls: Sequence[Callable[[], T]], apart: Sequence[bool], most: int = MOST) -> list[T]:
    """What calls give, in their order: some made in threads, while the caller's makes the others, one after the other.

    Args:
        calls: each is made in the context of the caller.
        apart: which of them are made in threads; where all are, the last one is made here.
        most: how many threads there may be.

    Raises:
        Exception: what the first call raised that failed; all that were begun have ended then.
    """
    places = [place for place, each in enumerate(apart) if each]
    places = places[:-1] if len(places) == len(calls) else places
    if not places or _of_thread.closing:
        return [call() for call in calls]
    pool = ThreadPool(min(len(places), most), "motet-calls")
    try:
        made = {place: pool.submit(_made, calls[place]) for place in places}
        for place, call in enumerate(calls):
            if place not in made:
                here: Future[T] = Future()
                do(here, call)
                made[place] = here
                if here.exception() is not None:
                    break  # the calls behind it are left out
        return [made[place].result() for place in sorted(made)]
    finally:
        pool.close()


def _made(call: Callable[[], T]) -> T:
    return call()
