"""Threads that a call begins and ends: what they do is done as in the caller's own thread.

Each piece of work runs in a copy of its caller's context, so that context variables (`numpy.errstate`, the span of a trace, the
id of a request) are the same in all of them. Where no thread can be begun, as at the end of the program or at the limit of a
container, the caller's thread does the work. No thread outlives the call that began it, so none is missing after a fork.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from motet.locks import closes_garbage

__all__ = [
    "MOST",
    "ThreadPool",
    "begun",
    "beside",
    "do",
    "side_by_side",
    "thread_of",
    "together",
]

S = TypeVar("S")
T = TypeVar("T")
Work = Callable[[], object]
MOST = 16
"""Calls that wait which are under way for one caller at the same time."""


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
    if threads < 2 or closes_garbage():
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
    if not places or closes_garbage():
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
