"""Has as many replicas of each model as `scaling.decide` says, as far as the pool lends what they need.

- A model whose rows wait and that has no replica goes first: for it models give back that have several, in any process.
- Where there is not enough for all, those who want more have equally many replicas, as far as they want so many.
- Bulk work is asked for what it holds, by standing in the pool's line, and only for what can be had in that way.
- The fewest that a model's policy says are there in any case.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from motet.runtime.autoscaling.policy import LoadSample, Memory, ScalingPolicy, asked, decide
from motet.runtime.resources.pool import Claim, Lease, Need, Pool

__all__ = ["Scaled", "Scaler"]

SLACK = 1.05
"""How much more is borrowed than was measured, so that what grows a little is not borrowed again and again."""


class Scaled(Protocol):
    """A model whose replicas may become more and fewer."""

    def seen(self, now: float) -> LoadSample:
        """What is seen of it."""
        ...

    def scale(self, count: int) -> None:
        """Have so many replicas, without waiting for them."""
        ...


@dataclass(eq=False)
class _Model:
    """A model, and what was borrowed for its replicas: the first of it as urgent, which nobody asks back.

    Others are asked for that one only while the model is `pressed`: while its rows wait.
    """

    scaled: Scaled
    policy: ScalingPolicy
    need: Need
    name: str
    memory: Memory = field(default_factory=Memory)
    leases: list[Lease] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    told: int | None = None
    pressed: bool = False

    def wanted(self, now: float) -> tuple[LoadSample, int]:
        """How many there should be, had the pool enough; somebody else may have asked for another number meanwhile."""
        seen = self.scaled.seen(now)
        self.pressed = bool(seen.waiting_rows)
        if self.told is not None and seen.count != self.told:
            self.memory = asked(self.memory, seen)
        count, self.memory = decide(self.policy, self.memory, seen)
        return seen, count

    def give_back(self, count: int) -> None:
        """Hold no more than for so many, and ask for no more."""
        while len(self.leases) > count:
            self.leases.pop().release()
        while self.claims and len(self.leases) + len(self.claims) > count:
            self.claims.pop().leave()

    def take(self, pool: Pool, count: int) -> None:
        """Hold what can be had for so many, and stand in line for the rest."""
        while len(self.leases) + len(self.claims) < count:
            first = not self.leases and not self.claims
            self.claims.append(pool.claim(self.need, priority="urgent" if first else "live", who=self.name))
        while self.claims:
            lease = self.claims[0].take()
            if lease is None:
                return
            self.leases.append(lease)
            del self.claims[0]


class Scaler:
    """Looks at models now and then. Used by one thread.

    Args:
        pool: lends what replicas need; None for as many as the policies say.
        clock: seconds that only go up.
    """

    def __init__(self, pool: Pool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool, self._clock = pool, clock
        self._models: dict[Hashable, _Model] = {}

    def add(
        self,
        key: Hashable,
        scaled: Scaled,
        policy: ScalingPolicy,
        need: Need = Need(),  # noqa: B008 (frozen)
        name: str = "",
    ) -> None:
        """Look after a model from now on; does nothing where its key is known.

        Args:
            key: what it is known by.
            scaled: the model.
            policy: when to have how many.
            need: what a replica borrows.
            name: what it is called, for people.

        Raises:
            InputError: when the pool will never have enough for one replica.
        """
        if key not in self._models:
            if self._pool is not None:
                self._pool.check(need, name or "pool")
            self._models[key] = _Model(scaled, policy, need, name)

    def measured(self, key: Hashable, memory_bytes: float) -> None:
        """What a replica of a model was seen to take; it borrows so much from now on, as far as the pool has it.

        Args:
            key: of the model.
            memory_bytes: memory of a replica; less than what its need says changes nothing.
        """
        model = self._models[key]
        if self._pool is None or memory_bytes <= model.need.memory_bytes:
            return
        most = min(memory_bytes * SLACK, self._pool.capacity.memory_bytes)
        model.need = replace(model.need, memory_bytes=most)
        for lease in model.leases:
            lease.resize(model.need)

    def remove(self, key: Hashable) -> None:
        """Look after a model no more; what its replicas have borrowed goes back."""
        model = self._models.pop(key, None)
        if model is not None:
            model.give_back(0)

    @property
    def waiting(self) -> bool:
        """Whether it stands in the pool's line, and should look again soon."""
        return any(model.claims for model in self._models.values())

    def look(self) -> None:
        """Have as many replicas as should be there now."""
        now = self._clock()
        looked = [(model, *model.wanted(now)) for model in self._models.values()]
        if self._pool is not None:
            self._share(self._pool, {model: wanted for model, _, wanted in looked})
        for model, seen, wanted in looked:
            count = wanted if self._pool is None else max(model.policy.min, len(model.leases))
            if count != seen.count:
                model.scaled.scale(count)
            model.told = count

    def _share(self, pool: Pool, wanted: Mapping[_Model, int]) -> None:
        """Give back what is not wanted, or wanted elsewhere more; then borrow."""
        for model, count in wanted.items():
            model.give_back(max(count, model.policy.min))
        shares = self._shares(pool, {model: max(count, model.policy.min) for model, count in wanted.items()})
        for model, count in shares.items():
            model.give_back(count)
        richest = max(shares, key=lambda model: len(model.leases), default=None)
        if richest is not None and len(richest.leases) > 1 and richest.leases[-1].wanted:
            shares[richest] = len(richest.leases) - 1
            richest.give_back(shares[richest])
        for model, count in shares.items():
            model.take(pool, count)

    def _shares(self, pool: Pool, wanted: Mapping[_Model, int]) -> dict[_Model, int]:
        """How many each may have of what there is: the one with the fewest gets the next, of equals the one that has more now."""
        if not any(count > len(model.leases) for model, count in wanted.items()):
            return {model: min(count, len(model.leases)) for model, count in wanted.items()}
        held = [lease for model in wanted for lease in model.leases]
        left = sum((lease.need for lease in held), pool.within_reach("live"))
        first = sum((lease.need for lease in held if lease.priority == "urgent"), pool.within_reach("urgent"))
        shares = dict.fromkeys(wanted, 0)
        line = [(0, -len(model.leases), place, model) for place, model in enumerate(wanted) if wanted[model]]
        heapq.heapify(line)
        while line:
            has, before, place, model = heapq.heappop(line)
            if not model.need.within(left if has or not model.pressed else first):
                continue
            left -= model.need
            first -= Need() if has else model.need
            shares[model] = has + 1
            if has + 1 < wanted[model]:
                heapq.heappush(line, (has + 1, before, place, model))
        return shares
