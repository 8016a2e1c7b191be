"""Simulated time for replica sets: a month passes as fast as its events can be played, in one thread."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from motet.batch import Array
from motet.errors import ReplicaLostError

__all__ = ["SimulatedClockwork", "SimulatedReplica"]

Work = Callable[[], object]


class SimulatedClockwork:
    """A `Clockwork` whose time passes when somebody waits, or `run` is called. For one thread.

    Args:
        beside_s: how long what is done beside takes, the start of a replica for example; it happens at the end of it.
    """

    def __init__(self, beside_s: float = 0.0) -> None:
        self.beside_s = beside_s
        self._now = 0.0
        self._events: list[tuple[float, int, Work]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._now

    def later(self, work: Work, after_s: float) -> None:
        """Do something after some seconds."""
        heapq.heappush(self._events, (self._now + after_s, next(self._numbers), work))

    def beside(self, work: Work) -> None:
        """Do something that takes `beside_s`."""
        self.later(work, self.beside_s)

    def wait(self, changed: threading.Condition, timeout_s: float) -> None:
        """Let the next event happen, or so many seconds pass where there is none in them."""
        self._step(self._now + timeout_s)

    def run(self, seconds: float) -> None:
        """Let time pass, and all happen that is due in it."""
        end = self._now + seconds
        while self._step(end):
            continue

    def _step(self, end: float) -> bool:
        if self._events and self._events[0][0] <= end:
            at, _, work = heapq.heappop(self._events)
            self._now = max(self._now, at)
            work()
            return True
        self._now = max(self._now, end)
        return False


class SimulatedReplica:
    """A replica that answers with the columns it is given, until somebody ends it.

    Args:
        kind: what it says that it is.
        fails: raised by `start`, where that is to fail.
        answers: makes its answers; what it raises is raised.

    Attributes:
        answers: the same; may be changed.
        calls: how many it has answered.
        ended: whether it has died or was closed.
    """

    memory_bytes = 0
    pid: int | None = None

    def __init__(
        self,
        kind: str = "process",
        *,
        fails: Exception | None = None,
        answers: Callable[[Mapping[str, Array]], Mapping[str, Any]] | None = None,
    ) -> None:
        self.kind, self._fails, self.answers = kind, fails, answers
        self.calls, self.ended = 0, False

    def start(self) -> None:
        """Begin to answer."""
        if self._fails is not None:
            raise self._fails

    def call(self, columns: Mapping[str, Array], timeout_s: float | None = None) -> Mapping[str, Any]:
        """Answer a batch; a replica that has ended is lost."""
        if self.ended:
            raise ReplicaLostError("the simulated process ended")
        answer = columns if self.answers is None else self.answers(columns)
        self.calls += 1
        return answer

    def alive(self) -> bool:
        """Whether nobody has ended it."""
        return not self.ended

    def how_ended(self) -> str:
        """See `Replica`."""
        return "its process ended"

    def die(self) -> None:
        """End it, as a crash does."""
        self.ended = True

    def close(self) -> None:
        """End it."""
        self.ended = True
