"""Has as many replicas of each model as `scaling.decide` says, as far as the pool lends what they need."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from motet.errors import InputError, OverloadedError
from motet.runtime.pool.pool import Lease, Need, Pool
from motet.runtime.pool.scaling import Memory, Policy, Seen, decide

__all__ = ["Scaled", "Scaler"]


class Scaled(Protocol):
    """A model whose replicas may become more and fewer."""

    def seen(self, now: float) -> Seen:
        """What is seen of it."""
        ...

    def scale(self, count: int) -> None:
        """Have so many replicas, without waiting for them."""
        ...


@dataclass
class _Model:
    scaled: Scaled
    policy: Policy
    need: Need
    name: str
    memory: Memory = field(default_factory=Memory)
    leases: list[Lease] = field(default_factory=list)


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
        policy: Policy,
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
        """
        self._models.setdefault(key, _Model(scaled, policy, need, name))

    def remove(self, key: Hashable) -> None:
        """Look after a model no more; what its replicas have borrowed goes back."""
        model = self._models.pop(key, None)
        for lease in model.leases if model is not None else ():
            lease.release()

    @property
    def keys(self) -> list[Hashable]:
        """The models that are looked after."""
        return list(self._models)

    def look(self) -> None:
        """Have as many replicas as should be there now."""
        now = self._clock()
        for model in self._models.values():
            seen = model.scaled.seen(now)
            wanted, model.memory = decide(model.policy, model.memory, seen)
            count = self._lent(model, wanted)
            if count != seen.count:
                model.scaled.scale(count)

    def _lent(self, model: _Model, wanted: int) -> int:
        """For how many of those that are wanted the pool lends what they need."""
        if self._pool is None:
            return wanted
        while len(model.leases) > wanted:
            model.leases.pop().release()
        while len(model.leases) < wanted:
            try:
                model.leases.append(self._pool.borrow(model.need, timeout_s=0, who=model.name))
            except (OverloadedError, InputError):
                break
        return len(model.leases)
