"""How many replicas a model should have, from what is seen of it: a pure function, so that servers and simulations agree.

- Work that arrives is rows a second times the seconds that a replica spends on a row: so many replicas would be busy all the
  time. `utilisation` says how busy they should be. Rows that wait are work too, which should be done within `catch_up_s`.
- More replicas are wanted at once. Fewer are wanted when for `hold_s` fewer would have been enough: the number is the largest
  that was needed in that time. So noise around a number makes no steps down and up again, and what a replica costs to start
  is paid once a spike. (Kubernetes calls this a stabilisation window.)
- A model that nobody has asked for `idle_s` goes to zero where it may; the first row that comes brings it back, and waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from motet.errors import InputError

__all__ = ["Memory", "Policy", "RowTime", "Seen", "decide"]

FAST_S = 3.0
"""Over how long arrivals are averaged: a spike is believed after about that time, and rows that wait say so earlier."""
_LEAST_WORK = 1e-6
WEIGHT = 0.2
"""How much the last look counts in what a row is said to take."""


@dataclass(frozen=True)
class Policy:
    """When to have how many.

    Attributes:
        min, max: the fewest and the most replicas.
        utilisation: the part of its time that a replica should be busy, above 0 and up to 1.
        catch_up_s: within how many seconds rows that wait should be answered.
        hold_s: for how long fewer must have been enough before there are fewer.
        idle_s: after how long without rows there are none, where `min` is 0.
    """

    min: int = 1
    max: int = 1
    utilisation: float = 0.7
    catch_up_s: float = 2.0
    hold_s: float = 60.0
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max or self.max < 1:
            raise InputError(f"min must be at least 0 and max at least min and 1; got {self.min} and {self.max}")
        if not 0 < self.utilisation <= 1:
            raise InputError(f"utilisation must be above 0 and at most 1; got {self.utilisation}")
        for name in ("catch_up_s", "hold_s", "idle_s"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be more than 0; got {getattr(self, name)}")


@dataclass(frozen=True)
class Seen:
    """What is seen of a model at a moment.

    Attributes:
        now: seconds that only go up.
        arrived_rows: rows that have come for it, in all.
        waiting_rows: rows that wait now.
        row_s: seconds that a replica spends on a row; 0 where none was timed.
        count: replicas that are there, or being started.
    """

    now: float
    arrived_rows: int
    waiting_rows: int
    row_s: float
    count: int


@dataclass(frozen=True)
class Memory:
    """What is remembered from one look to the next; begin with `Memory()`.

    Attributes:
        seen: what was seen the last time.
        rows_per_s: rows that arrive, averaged.
        asked_at: when rows came last.
        needed: how many were needed when, in the last `hold_s` seconds: only those that no later one exceeds.
    """

    seen: Seen | None = None
    rows_per_s: float = 0.0
    asked_at: float = float("-inf")
    needed: tuple[tuple[float, int], ...] = ()


class RowTime:
    """What a row takes of a replica, averaged from what replicas have done in all."""

    def __init__(self) -> None:
        self._rows, self._busy_s, self._row_s = 0, 0.0, 0.0

    def seen(self, rows: int, busy_s: float) -> float:
        """What a row takes, in seconds; 0 while none was timed.

        Args:
            rows: that were answered, in all.
            busy_s: seconds that replicas were busy with them, in all.
        """
        if rows > self._rows and busy_s > self._busy_s:
            took = (busy_s - self._busy_s) / (rows - self._rows)
            self._row_s += (took - self._row_s) * (WEIGHT if self._row_s else 1.0)
        self._rows, self._busy_s = rows, busy_s
        return self._row_s


def decide(policy: Policy, memory: Memory, seen: Seen) -> tuple[int, Memory]:
    """How many replicas there should be.

    Args:
        policy: the rules.
        memory: what the last call gave.
        seen: what is seen now; not earlier than the last time.

    Returns:
        the number, and what to give the next call.
    """
    memory = _remember(memory, seen)
    needed = _needed(policy, memory, seen)
    kept = tuple(each for each in memory.needed if each[0] > seen.now - policy.hold_s and each[1] > needed)
    kept = (*kept, (seen.now, needed))
    idle = seen.now - memory.asked_at >= policy.idle_s and not seen.waiting_rows
    floor = 0 if idle else min(1, policy.max)
    wanted = max(floor, kept[0][1])
    return max(policy.min, min(policy.max, wanted)), replace(memory, needed=kept)


def _remember(memory: Memory, seen: Seen) -> Memory:
    before = memory.seen
    if before is None:
        return Memory(seen, 0.0, seen.now)
    arrived, passed_s = seen.arrived_rows - before.arrived_rows, seen.now - before.now
    if passed_s <= 0:
        return replace(memory, seen=before)
    weight = 1 - math.exp(-passed_s / FAST_S)
    rate = memory.rows_per_s + weight * (max(0, arrived) / passed_s - memory.rows_per_s)
    return replace(memory, seen=seen, rows_per_s=rate, asked_at=seen.now if arrived > 0 else memory.asked_at)


def _needed(policy: Policy, memory: Memory, seen: Seen) -> int:
    """How many would do the work of this moment."""
    if not seen.row_s:
        return min(1, seen.waiting_rows)
    work = memory.rows_per_s * seen.row_s / policy.utilisation + seen.waiting_rows * seen.row_s / policy.catch_up_s
    return math.ceil(work - _LEAST_WORK)
