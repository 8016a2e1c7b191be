"""Time, and what happens later or beside: everything in replica sets that a simulation must be able to play by itself."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from motet.threads import begun, beside

__all__ = ["CLOCKWORK", "Clockwork", "Threads"]

_LOG = logging.getLogger("motet.runtime")
Work = Callable[[], object]


class Clockwork(Protocol):
    """Time, and who does things later or beside."""

    def now(self) -> float:
        """Seconds that only go up."""
        ...

    def later(self, work: Work, after_s: float) -> None:
        """Do something short after some seconds."""
        ...

    def beside(self, work: Work) -> None:
        """Do something that may take long, without waiting for it."""
        ...

    def wait(self, changed: threading.Condition, timeout_s: float) -> None:
        """Wait until somebody notifies, or for so long; the condition's lock is held."""
        ...


class Threads:
    """The real time. One thread does what is due; what may take long gets a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Work]] = []
        self._numbers = itertools.count()
        self._running = False

    def now(self) -> float:
        """Seconds that only go up."""
        return time.monotonic()

    def later(self, work: Work, after_s: float) -> None:
        """Do something short after some seconds; nothing is done any more when the program ends."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + after_s, next(self._numbers), work))
            self._running = self._running or begun(
                threading.Thread(target=self._run, name="motet-replicas", daemon=True)
            )
            self._changed.notify()

    def beside(self, work: Work) -> None:
        """Do something that may take long, in a thread that does not hold up the program's end."""
        beside(partial(_safely, work), "motet-replica")

    def wait(self, changed: threading.Condition, timeout_s: float) -> None:
        """Wait until somebody notifies, or for so long."""
        changed.wait(timeout_s)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            _safely(work)

    def _next(self) -> Work | None:
        """What is due next; None when nothing has been for a while, and the thread ends."""
        with self._changed:
            while True:
                left = self._due[0][0] - time.monotonic() if self._due else IDLE_S
                if self._due and left <= 0:
                    return heapq.heappop(self._due)[2]
                if not self._changed.wait(left) and not self._due:
                    self._running = False
                    return None


def _safely(work: Work) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001 (what comes after it is done in any case)
        _LOG.exception("what keeps replicas failed")


IDLE_S = 10.0
CLOCKWORK = Threads()
"""The clockwork of this process."""
os.register_at_fork(after_in_child=CLOCKWORK.__init__)  # type: ignore[misc]  # whose thread is not there
