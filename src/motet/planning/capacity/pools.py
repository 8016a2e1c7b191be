"""Pools of machines for the stages of a graph: which machine, how many processes on it, how many machines.

Engines play one stage behind the other, so times add up, and the machines of a pool are paid while its stage is played. Of a stage
with `n` machines that each answer `rate` rows a second, `rows` rows take `load + rows / (n * rate)` seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from motet.planning.capacity.amounts import shown_time
from motet.planning.capacity.catalogue import MachineShape
from motet.planning.capacity.goal import PlanGoal
from motet.planning.capacity.works import StageWork
from motet.runtime.resources.need import Need

__all__ = ["PoolPlan", "StagePool", "counted", "own_pools", "placed", "shared_pools"]

MOST_MACHINES = 10_000
HOUR_S = 3600.0


@dataclass(frozen=True)
class StagePool:
    """Machines of one shape that play a stage.

    Attributes:
        work: the stage.
        machine: of the pool.
        tasks: processes on each machine.
        threads: of each process, which play a batch each.
        count: machines.
    """

    work: StageWork
    machine: MachineShape
    tasks: int
    threads: int
    count: int = 1

    @property
    def need(self) -> Need:
        """What each process has."""
        memory = self.work.need.memory_bytes + self.threads * self.work.batch_bytes
        return replace(self.work.need, cpu=max(self.work.need.cpu, float(self.threads)), memory_bytes=memory)

    @property
    def rate(self) -> float:
        """Rows that one machine answers in a second, once models are loaded."""
        return min(self._rates().values())

    @property
    def bound_by(self) -> str:
        """What more of would make it faster: cores, accelerators, reading or writing."""
        rates = self._rates()
        return min(rates, key=lambda each: rates[each])

    def _rates(self) -> dict[str, float]:
        work, machine = self.work, self.machine
        rates: dict[str, float] = {}
        asked = work.accelerator_seconds / machine.accelerator_speed
        if asked:
            used = min(machine.accelerator / self.tasks, work.need.accelerator)
            rates["accelerators"], asked = self.tasks * used / asked, asked / used
        # a thread waits while an accelerator works for it
        playing = work.seconds * work.slowed(self.threads) / machine.speed + asked
        rates["cores"] = min(float(self.tasks * self.threads), machine.cpu) / max(1e-12, playing)
        rates["all cores"] = machine.cpu * machine.speed / max(1e-12, work.all_seconds)
        for name, seconds in (("reading", work.read_seconds), ("writing", work.write_seconds)):
            if seconds:
                rates[name] = self.tasks * machine.speed / seconds
        return rates

    def seconds(self, rows: int) -> float:
        """What so many rows take."""
        return self.work.load_seconds / self.machine.speed + rows / (self.count * self.rate)

    @property
    def hourly(self) -> float:
        """What an hour of the pool costs; machine hours where nobody says a price."""
        return self.count * (1.0 if self.machine.price is None else self.machine.price)

    def cost(self, rows: int) -> float:
        """What so many rows cost."""
        return self.hourly * self.seconds(rows) / HOUR_S

    def most(self, rows: int) -> int:
        """How many machines have something to do: each process plays a batch at least."""
        return min(MOST_MACHINES, max(1, math.ceil(rows / (self.tasks * self.work.batch_rows))))


@dataclass(frozen=True)
class PoolPlan:
    """Pools for all stages.

    Attributes:
        pools: one a stage, in the order of play.
        shared: whether the machines are the same ones for all stages.
        rows: that are played.
    """

    pools: tuple[StagePool, ...]
    shared: bool
    rows: int

    @property
    def seconds(self) -> float:
        """What all rows take."""
        return sum(pool.seconds(self.rows) for pool in self.pools)

    @property
    def cost(self) -> float:
        """What all rows cost: money, or machine hours."""
        return sum(pool.cost(self.rows) for pool in self.pools)

    @property
    def rows_per_second(self) -> float:
        """Rows answered in a second, from the first to the last."""
        return self.rows / self.seconds

    @property
    def slowest(self) -> StagePool:
        """The stage that takes longest."""
        return max(self.pools, key=lambda pool: pool.seconds(self.rows))

    def hours(self) -> dict[str, float]:
        """What was paid for: hours of machines, cores, GiB of memory and accelerators."""
        found = dict.fromkeys(("machines", "cores", "GiB", "accelerators"), 0.0)
        for pool in self.pools:
            hours = pool.count * pool.seconds(self.rows) / HOUR_S
            shape = pool.machine
            for name, each in zip(found, (1.0, shape.cpu, shape.memory / (1 << 30), shape.accelerator), strict=True):
                found[name] += hours * each
        return found

    def with_counts(self, counts: Sequence[int]) -> PoolPlan:
        """The same pools, of other sizes."""
        pools = tuple(replace(pool, count=count) for pool, count in zip(self.pools, counts, strict=True))
        return replace(self, pools=pools)


def placed(work: StageWork, machine: MachineShape) -> StagePool | None:
    """How a stage is best played on a machine: processes, and the threads of each; None where it has no room.

    Of ways that are as fast the one with the most processes: it needs the fewest hints.
    """
    need, best = work.need, None
    for tasks in range(int(machine.cpu / need.cpu + 1e-9), 0, -1):
        found = StagePool(work, machine, tasks, max(1, int(machine.cpu / tasks + 1e-9)))
        if not _fits(found, machine):
            continue
        if best is None or found.rate > 1.001 * best.rate:
            best = found
    return best


def _fits(pool: StagePool, machine: MachineShape) -> bool:
    each, tasks = pool.work.need, pool.tasks
    memory = tasks * pool.need.memory_bytes
    return memory <= machine.memory and tasks * each.accelerator <= machine.accelerator + 1e-9


def own_pools(works: Sequence[StageWork], machines: Sequence[MachineShape], rows: int) -> PoolPlan | None:
    """For each stage the machine that plays it at the least cost; None where one has no machine."""
    found = []
    for work in works:
        fitting = [pool for machine in machines if (pool := placed(work, machine)) is not None]
        if not fitting:
            return None
        found.append(min(fitting, key=lambda pool: _price(pool, rows)))
    return PoolPlan(tuple(found), False, rows)


def shared_pools(works: Sequence[StageWork], machines: Sequence[MachineShape], rows: int) -> PoolPlan | None:
    """The machine that can play every stage, at the least cost of all; None where none can."""
    plans = []
    for machine in machines:
        pools = [placed(work, machine) for work in works]
        if all(pools):
            plans.append(PoolPlan(tuple(pool for pool in pools if pool is not None), True, rows))
    return min(
        plans,
        key=lambda plan: [sum(each) for each in zip(*(_price(p, rows) for p in plan.pools), strict=True)],
        default=None,
    )


def _price(pool: StagePool, rows: int) -> tuple[float, ...]:
    """What is compared: money; where nobody says a price hours of accelerators, then of memory, then of cores."""
    if pool.machine.price is not None:
        return (pool.cost(rows),)
    hours = pool.seconds(rows) / HOUR_S
    return hours * pool.machine.accelerator, hours * pool.machine.memory, hours * pool.machine.cpu


def counted(plan: PoolPlan, goal: PlanGoal) -> tuple[PoolPlan, str]:
    """How many machines reach a goal at the least cost.

    Returns:
        the plan; and, where the goal cannot be reached, what comes nearest to it, in words, with a plan of that.
    """
    if goal.deadline_s is not None:
        return _within(plan, goal.deadline_s)
    if goal.budget is not None:
        return _for_at_most(plan, goal.budget)
    return plan, ""


def _within(plan: PoolPlan, deadline_s: float) -> tuple[PoolPlan, str]:
    while plan.seconds > deadline_s * (1 + 1e-9):
        more = _more(plan)
        if more is None:
            return plan, f"the least that {plan.rows:,} rows take is {shown_time(plan.seconds)}, with {_machines(plan)}"
        plan = more
    return _fewer(plan, deadline_s), ""


def _for_at_most(plan: PoolPlan, budget: float) -> tuple[PoolPlan, str]:
    if plan.cost > budget * (1 + 1e-9):
        rows = int(plan.rows * budget / plan.cost)
        return plan, f"{plan.rows:,} rows cost {plan.cost:,.4g} at least; {budget:,.4g} is enough for about {rows:,}"
    while (more := _more(plan)) is not None and more.cost <= budget * (1 + 1e-9):
        plan = more
    return plan, ""


def _more(plan: PoolPlan) -> PoolPlan | None:
    """With some more machines where a second that is gained costs least; None where more have nothing to do.

    Of stages where it costs the same, nothing where models take no time to load, the one that gains most.
    """
    counts = [pool.count for pool in plan.pools]
    found = []
    for place in range(1 if plan.shared else len(counts)):
        grown = [count if not plan.shared and other != place else _grown(count) for other, count in enumerate(counts)]
        more = plan.with_counts(grown)
        fits = all(pool.count <= pool.most(plan.rows) for pool in more.pools)
        if fits and (gained := plan.seconds - more.seconds) > 1e-9 * plan.seconds:
            price = (more.cost - plan.cost) / gained * plan.seconds / plan.cost
            found.append((round(price, 6), -gained, place, more))
    return min(found)[-1] if found else None


def _grown(count: int) -> int:
    return count + max(1, count // 50)


def _fewer(plan: PoolPlan, deadline_s: float) -> PoolPlan:
    """Without machines that the deadline does not need, which steps were too large for."""
    changed = True
    while changed:
        changed = False
        for place in range(1 if plan.shared else len(plan.pools)):
            counts = [pool.count for pool in plan.pools]
            counts = (
                [count - 1 for count in counts]
                if plan.shared
                else [*counts[:place], counts[place] - 1, *counts[place + 1 :]]
            )
            if min(counts) >= 1 and plan.with_counts(counts).seconds <= deadline_s * (1 + 1e-9):
                plan, changed = plan.with_counts(counts), True
    return plan


def _machines(plan: PoolPlan) -> str:
    pools = plan.pools[:1] if plan.shared else plan.pools
    return ", ".join(f"{pool.count:,} x {pool.machine.name}" for pool in pools)
