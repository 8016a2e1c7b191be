"""The replicas of one model in simulated time, and the requests that wait for them, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.spikes_parts.day import Kind
from motet.runtime.autoscaling.policy import LoadSample, RowTime

__all__ = ["DEADLINE_S", "Fleet", "Later"]

DEADLINE_S: Final = 30.0
"""How long a request waits; then it is refused."""
MINUTE_S: Final = 60.0
Later = Callable[[float, Callable[..., None], Any], None]


@dataclass(eq=False, slots=True)
class _Replica:
    since: float
    ready: bool = False
    busy: bool = False
    wanted: bool = True


@dataclass
class Fleet:
    """One model.

    Attributes:
        kind: what it is like.
        later: does something at a time, with an argument.
        waits_s: how long each answered request waited for a replica.
        refused: requests that waited until their deadline.
        held_s, busy_s: seconds of replicas, and of those in which they answered.
        changes: when the number of replicas changed, and by how much.
        cold: times that a request found no replica.
    """

    kind: Kind
    later: Later
    waits_s: list[float] = field(default_factory=list)
    refused: int = 0
    held_s: float = 0.0
    busy_s: float = 0.0
    changes: list[tuple[float, int]] = field(default_factory=list)
    cold: int = 0
    arrived: int = 0
    _queue: deque[tuple[float, float]] = field(default_factory=deque)
    _replicas: list[_Replica] = field(default_factory=list)
    _free: list[_Replica] = field(default_factory=list)
    _row: RowTime = field(default_factory=RowTime)
    _answered: int = 0
    _timed: tuple[int, float] = (0, 0.0)
    _now: float = 0.0

    @property
    def count(self) -> int:
        """How many replicas are wanted, ready or not."""
        return len(self._replicas)

    def seen(self, now: float) -> LoadSample:
        """What is seen of it."""
        self._now = now
        row_s = self._row.took(self._answered - self._timed[0], self.busy_s - self._timed[1])
        self._timed = (self._answered, self.busy_s)
        return LoadSample(now, self.arrived, len(self._queue), row_s, self.count, self.kind.load_s)

    def scale(self, count: int) -> None:
        """Have so many; those that go finish their request first."""
        now, before = self._now, self.count
        if count != before:
            self.changes.append((now, count - before))
        while self.count < count:
            replica = _Replica(now)
            self._replicas.append(replica)
            self.later(now + self.kind.load_s, self._ready, replica)
        while self.count > count:
            replica = self._replicas.pop()
            replica.wanted = False
            if replica in self._free:
                self._free.remove(replica)
            if not replica.busy:
                self.held_s += now - replica.since

    def begin_ready(self, count: int) -> None:
        """Have so many from the beginning."""
        self._replicas = [_Replica(0.0, ready=True) for _ in range(count)]
        self._free = list(self._replicas)

    def arrive(self, now: float, takes_s: float) -> None:
        """A request comes."""
        self.arrived += 1
        if not self._replicas:
            self.cold += 1
        self._queue.append((now, takes_s))
        self._play(now)

    def end(self, now: float) -> None:
        """The day is over: what is held until now counts."""
        self.at(now)
        self.held_s += sum(now - replica.since for replica in self._replicas)

    def at(self, now: float) -> None:
        """Say what time it is, to `scale`."""
        self._now = now

    @property
    def all_waits(self) -> list[float]:
        """How long each request waited, until it was answered or refused, or the day was over."""
        unanswered = [DEADLINE_S] * self.refused + [min(DEADLINE_S, self._now - came) for came, _ in self._queue]
        return self.waits_s + unanswered

    @property
    def reversals(self) -> int:
        """Changes of direction within a minute: replicas that came and went, or went and came."""
        pairs = zip(self.changes, self.changes[1:], strict=False)
        return sum((a > 0) != (b > 0) and later - sooner < MINUTE_S for (sooner, a), (later, b) in pairs)

    def _ready(self, now: float, replica: _Replica) -> None:
        if replica.wanted:
            replica.ready = True
            self._free.append(replica)
            self._play(now)

    def _play(self, now: float) -> None:
        while self._queue and self._free:
            came, takes_s = self._queue.popleft()
            if now - came > DEADLINE_S:
                self.refused += 1
                continue
            self.waits_s.append(now - came)
            replica = self._free.pop()
            replica.busy = True
            self.later(now + takes_s, self._done, (replica, takes_s))

    def _done(self, now: float, what: tuple[_Replica, float]) -> None:
        replica, takes_s = what
        replica.busy = False
        self.busy_s += takes_s
        self._answered += 1
        if replica.wanted:
            self._free.append(replica)
            self._play(now)
        else:
            self.held_s += now - replica.since
