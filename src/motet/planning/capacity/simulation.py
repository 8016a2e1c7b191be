"""A plan, played: processes borrow what they need from machines by the pool's own code, and take batch after batch, in simulated time.

What the formulas of `pools.py` leave out is here: whole batches, of which the last ones leave some processes idle, and threads, readers,
accelerators and writers of a process that wait for each other.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

from motet.planning.capacity.pools import HOUR_S, PoolPlan, StagePool
from motet.runtime.resources.pool import Claim, Pool

__all__ = ["Simulated", "simulated"]


@dataclass(frozen=True)
class Simulated:
    """How a plan was played.

    Attributes:
        seconds: of each stage, one behind the other.
        processes: of each stage, that found room on its machines.
        cost: of all: money, or machine hours.
    """

    seconds: tuple[float, ...]
    processes: tuple[int, ...]
    cost: float


def simulated(plan: PoolPlan, rows: int | None = None) -> Simulated:
    """Play a plan.

    Args:
        plan: the plan.
        rows: how many; None for those of the plan.
    """
    found = [_Stage(pool, plan.rows if rows is None else rows).play() for pool in plan.pools]
    cost = sum(pool.hourly * seconds / HOUR_S for pool, (seconds, _) in zip(plan.pools, found, strict=True))
    return Simulated(tuple(seconds for seconds, _ in found), tuple(count for _, count in found), cost)


@dataclass
class _Process:
    """A process, and until when what it has is busy: of reader, accelerator and writer there is one."""

    reader: float
    accelerator: float
    writer: float


class _Stage:
    """A stage on its machines."""

    def __init__(self, pool: StagePool, rows: int) -> None:
        self._pool, self._left, self._now = pool, rows, 0.0
        self._machines = [Pool(pool.machine.capacity, clock=lambda: self._now) for _ in range(pool.count)]

    def play(self) -> tuple[float, int]:
        """Seconds until the last row is answered, and how many processes had room."""
        pool = self._pool
        ready = pool.work.load_seconds / pool.machine.speed
        processes = [_Process(ready, ready, ready) for _ in range(self._started())]
        free = [(ready, number % len(processes), number) for number in range(len(processes) * pool.threads)]
        heapq.heapify(free)
        end = ready
        while self._left > 0:
            self._now, process, thread = heapq.heappop(free)
            rows = min(self._left, pool.work.batch_rows)
            self._left -= rows
            done, written = self._batch(processes[process], rows)
            end = max(end, written)
            heapq.heappush(free, (done, process, thread))
        return end, len(processes)

    def _started(self) -> int:
        """How many processes get what they need, as far as they have something to do."""
        need = replace(self._pool.need, cpu=min(self._pool.need.cpu, self._pool.machine.cpu / self._pool.tasks))
        wanted = -(-self._left // self._pool.work.batch_rows)
        held = 0
        for machine in self._machines:
            while held < wanted and self._lent(machine.claim(need)):
                held += 1
        return max(1, held)

    @staticmethod
    def _lent(claim: Claim) -> bool:
        lease = claim.take()
        if lease is None:
            claim.leave()
        return lease is not None

    def _batch(self, process: _Process, rows: int) -> tuple[float, float]:
        """When a batch that begins now leaves its thread, and when it is written."""
        pool, work = self._pool, self._pool.work
        process.reader = max(self._now, process.reader) + rows * work.read_seconds / pool.machine.speed
        # the reader is ahead: only the first batch waits for it
        at = max(self._now, process.reader) + rows * work.seconds * work.slowed(pool.threads) / pool.machine.speed
        if work.accelerator_seconds:
            used = min(pool.machine.accelerator / pool.tasks, work.need.accelerator)
            process.accelerator = (
                max(at, process.accelerator) + rows * work.accelerator_seconds / pool.machine.accelerator_speed / used
            )
            at = process.accelerator
        process.writer = max(at, process.writer) + rows * work.write_seconds / pool.machine.speed
        return at, process.writer
