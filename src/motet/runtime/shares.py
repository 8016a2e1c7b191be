"""Threads that are shared out: whoever has calls to make always has one, and all of them where nobody else has any.

A queue of calls that all share would let one slow graph hold every thread while others wait behind it. Here each has a share
of its own: its first call begins at once, whatever the others do, and further ones while fewer than `at_once` are under way
in all. What waits begins in turns.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Share", "ThreadShares"]

MOST_THREADS = 512
"""Threads of all shares together, whose calls wait where there are more shares than that."""


@dataclass(slots=True)
class _Call:
    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    void: bool = False
    """Whether it was refused, since no thread could be begun for it."""


class ThreadShares:
    """The threads.

    Args:
        at_once: calls of all shares that may be under way, beyond one of each.
        name: what the threads' names begin with.
    """

    def __init__(self, at_once: int, name: str) -> None:
        self._at_once, self._running = at_once, 0
        self._pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._queued: dict[Share, None] = {}
        self._held: dict[Share, Callable[[], None]] = {}

    def share(self) -> Share:
        """A share for somebody who has calls to make."""
        return Share(self)

    def shutdown(self) -> None:
        """Begin no more calls; those that wait are cancelled."""
        with self._lock:
            waiting = [call for share in self._queued for call in share._calls]
            for share in self._queued:
                share._calls.clear()
            self._queued.clear()
        for call in waiting:
            call.future.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, share: Share, call: _Call) -> None:
        with self._lock:
            share._calls.append(call)
            self._queued.setdefault(share)
            self._begin_what_may()

    def _begin_what_may(self) -> None:
        while ready := [share for share in self._queued if share.free]:
            for share in ready:
                if share.free:
                    self._begin(share, share._calls.popleft())
                    del self._queued[share]
                    if share._calls:
                        self._queued[share] = None  # behind the others

    def _begin(self, share: Share, call: _Call) -> None:
        try:
            self._pool.submit(self._play, share, call)
        except RuntimeError as error:  # no thread can be begun, or it was shut down
            call.void = True
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(error)
        else:
            share._running += 1
            self._running += 1

    def _play(self, share: Share, call: _Call) -> None:
        if call.void:
            return
        if not call.future.set_running_or_notify_cancel():
            self._ended(share)
            return
        try:
            result = call.function(*call.args, **call.options)
        except BaseException as error:  # noqa: BLE001 (handed to whoever waits)
            self._ended(share)
            call.future.set_exception(error)
        else:
            self._ended(share)
            call.future.set_result(result)

    def _ended(self, share: Share) -> None:
        with self._lock:
            share._running -= 1
            self._running -= 1
            self._begin_what_may()
            held, self._held = self._held, {}
        for tell in held.values():
            tell()


class Share(Executor):
    """What one has of the threads.

    Args:
        shares: of which it is one.
    """

    def __init__(self, shares: ThreadShares) -> None:
        self._shares, self._running = shares, 0
        self._calls: deque[_Call] = deque()

    @property
    def free(self) -> bool:
        """Whether a call would begin at once."""
        return not self._running or self._shares._running < self._shares._at_once

    def hold(self, tell: Callable[[], None]) -> None:
        """Be told, once and in any thread, when it may be free again; whoever has waited longest is told first."""
        with self._shares._lock:
            if not self.free:
                self._shares._held.setdefault(self, tell)
                return
        tell()

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Call a function in a thread, now or in turn; the future says so where no thread can be begun."""
        call = _Call(Future(), function, args, options)
        self._shares._submit(self, call)
        return call.future
