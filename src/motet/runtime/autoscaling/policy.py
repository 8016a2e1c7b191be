"""How many replicas a model should have, from what is seen of it: a pure function, so that servers and simulations agree.

- Work that arrives is rows a second times the seconds that a replica spends on a row: so many replicas would be busy all the
  time. `utilisation` says how busy they should be.
- Rows a second are averaged over half a minute, and over a few seconds. Where these differ by more than chance explains, the
  long average begins anew at the short one: so a spike is seen at once, and noise is not taken for one.
- Rows that wait are work too, which should be done within `catch_up_s`, or within the time that a start takes where that is
  longer: replicas that come later are of no use to them. What is there beyond the work that arrives does it first.
- More replicas are wanted at once. Fewer are wanted when for `hold_s` fewer would have been enough, with some room: what
  a replica costs to start is paid once a spike, and work around a number makes no steps down and up again. (Kubernetes calls
  these a stabilisation window and a tolerance.)
- A model that nobody has asked for `idle_s` has its fewest: none where that may be. The first row that comes brings one back,
  and waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from motet.errors import InputError

__all__ = ["LoadSample", "Memory", "RowTime", "ScalingPolicy", "asked", "decide"]

FAST_S, SLOW_S = 3.0, 30.0
"""Over how long arrivals are averaged: a spike is believed after about the shorter time, and rows that wait say so earlier."""
CHANCE = 3.0
"""Standard deviations by which the averages must differ for the short one to be believed, if rows came by chance (Poisson)."""
ROOM = 1.15
"""Fewer replicas are enough where so many times the work would not need more."""
_LEAST_WORK = 1e-6
WEIGHT = 0.2
"""How much the last look counts in what a row is said to take."""


@dataclass(frozen=True)
class ScalingPolicy:
    """When to have how many.

    Attributes:
        min, max: the fewest and the most replicas.
        utilisation: the part of its time that a replica should be busy, above 0 and up to 1.
        catch_up_s: within how many seconds rows that wait should be answered.
        hold_s: for how long fewer must have been enough before there are fewer.
        idle_s: after how long without rows there are `min`.
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
class LoadSample:
    """What is seen of a model at a moment.

    Attributes:
        now: seconds that only go up.
        arrived_rows: rows that have come for it, in all.
        waiting_rows: rows that wait now.
        row_s: seconds that a replica spends on a row; 0 where none was timed.
        count: replicas that are there, or being started.
        loading_s: how long it takes until a replica that is started can answer; 0 where that is not known.
    """

    now: float
    arrived_rows: int
    waiting_rows: int
    row_s: float
    count: int
    loading_s: float = 0.0


@dataclass(frozen=True)
class Memory:
    """What is remembered from one look to the next; begin with `Memory()`.

    Attributes:
        seen: what was seen the last time.
        fast_per_s, slow_per_s: rows that arrive, averaged over `FAST_S` and `SLOW_S`.
        asked_at: when rows came last.
        needed: how many would have been enough when, with room, in the last `hold_s` seconds: only those that no later one
            exceeds.
    """

    seen: LoadSample | None = None
    fast_per_s: float = 0.0
    slow_per_s: float = 0.0
    asked_at: float = float("-inf")
    needed: tuple[tuple[float, int], ...] = ()


class RowTime:
    """What a row takes of a replica, averaged."""

    def __init__(self) -> None:
        self._row_s = 0.0

    def took(self, rows: int, busy_s: float) -> float:
        """What a row takes, in seconds; 0 while none was timed.

        Args:
            rows: that were answered since the last time.
            busy_s: seconds that replicas were busy with them.
        """
        if rows > 0 and busy_s > 0:
            self._row_s += (busy_s / rows - self._row_s) * (WEIGHT if self._row_s else 1.0)
        return self._row_s


def decide(policy: ScalingPolicy, memory: Memory, seen: LoadSample) -> tuple[int, Memory]:
    """How many replicas there should be.

    Args:
        policy: the rules.
        memory: what the last call gave.
        seen: what is seen now; not earlier than the last time.

    Returns:
        the number, and what to give the next call.
    """
    memory = _remember(memory, seen)
    work = _work(policy, memory, seen)
    roomy = math.ceil(work * ROOM - _LEAST_WORK)
    kept = tuple(each for each in memory.needed if each[0] > seen.now - policy.hold_s and each[1] > roomy)
    kept = (*kept, (seen.now, roomy))
    if seen.now - memory.asked_at >= policy.idle_s and not seen.waiting_rows:
        return policy.min, replace(memory, needed=kept)
    wanted = max(1, math.ceil(work - _LEAST_WORK), min(seen.count, kept[0][1]))
    return max(policy.min, min(policy.max, wanted)), replace(memory, needed=kept)


def asked(memory: Memory, seen: LoadSample) -> Memory:
    """What is remembered where somebody else has asked for so many as are there now: it goes on from there."""
    return replace(memory, needed=((seen.now, seen.count),))


def _remember(memory: Memory, seen: LoadSample) -> Memory:
    before = memory.seen
    if before is None:
        return Memory(seen, asked_at=seen.now if seen.arrived_rows else memory.asked_at, needed=memory.needed)
    arrived, passed_s = seen.arrived_rows - before.arrived_rows, seen.now - before.now
    if passed_s <= 0:
        return memory
    rate = max(0, arrived) / passed_s
    fast = memory.fast_per_s + (1 - math.exp(-passed_s / FAST_S)) * (rate - memory.fast_per_s)
    slow = memory.slow_per_s + (1 - math.exp(-passed_s / SLOW_S)) * (rate - memory.slow_per_s)
    if abs(fast - slow) > CHANCE * math.sqrt(max(fast, slow) / (2 * FAST_S)):  # of an average that decays over FAST_S
        slow = fast
    return Memory(seen, fast, slow, seen.now if arrived > 0 else memory.asked_at, memory.needed)


def _work(policy: ScalingPolicy, memory: Memory, seen: LoadSample) -> float:
    """How many replicas the work of this moment would keep as busy as they should be."""
    if not seen.row_s:
        return min(1, seen.waiting_rows)
    arriving = seen.row_s * memory.slow_per_s
    waiting = seen.row_s * seen.waiting_rows / max(policy.catch_up_s, seen.loading_s)
    return max(arriving / policy.utilisation, arriving + waiting)
