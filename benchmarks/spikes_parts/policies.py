"""Who says how many replicas there are: Motet's scaler, fixed numbers, or somebody who knows the future."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.spikes_parts.day import Asked
from benchmarks.spikes_parts.fleet import Fleet
from motet.runtime.autoscaling.policy import ScalingPolicy
from motet.runtime.autoscaling.scaler import Scaler
from motet.runtime.resources.need import Need
from motet.runtime.resources.pool import Claim, Lease, Pool

__all__ = ["CORE", "Fixed", "Foreseen", "Scaled", "Steers", "foreseen", "mean_count", "peak_count"]

CORE: Final = Need(cpu=1)
UTILISATION: Final = 0.7
"""The part of its time that a replica should be busy, for all who plan."""
WINDOW_S: Final = 5
"""Over how many seconds to come perfect foresight averages the work."""
Counts = npt.NDArray[np.int64]


class Steers(Protocol):
    """Has as many replicas as it thinks right."""

    def begin(self, fleets: Sequence[Fleet], pool: Pool, clock: Callable[[], float]) -> None:
        """The day begins."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether it is to look again soon."""
        ...

    def look(self, now: float) -> None:
        """Now and then."""
        ...

    def asked(self, now: float, fleet: Fleet) -> None:
        """A request came for a model that has no replica."""
        ...


class Scaled:
    """Motet: the scaler and the pool of the runtime.

    Args:
        policy: for every model.
    """

    def __init__(self, policy: ScalingPolicy) -> None:
        self._policy = policy

    def begin(self, fleets: Sequence[Fleet], pool: Pool, clock: Callable[[], float]) -> None:
        """The day begins with as few as may be."""
        self._scaler = Scaler(pool, clock)
        for fleet in fleets:
            fleet.begin_ready(self._policy.min)
            self._scaler.add(fleet.kind.name, fleet, self._policy, CORE)

    @property
    def waiting(self) -> bool:
        """Whether it stands in the pool's line."""
        return self._scaler.waiting

    def look(self, now: float) -> None:
        """Look at all models."""
        self._scaler.look()

    def asked(self, now: float, fleet: Fleet) -> None:
        """Look at once."""
        self._scaler.look()


class _Borrows:
    """Borrows a core for each replica, as far as there are."""

    @property
    def waiting(self) -> bool:
        """Whether it stands in the pool's line."""
        return any(self._claims.values())

    def begin(self, fleets: Sequence[Fleet], pool: Pool, clock: Callable[[], float]) -> None:
        """The day begins."""
        self._fleets, self._pool = fleets, pool
        self._leases: dict[str, list[Lease]] = {fleet.kind.name: [] for fleet in fleets}
        self._claims: dict[str, list[Claim]] = {fleet.kind.name: [] for fleet in fleets}
        for fleet in fleets:
            fleet.begin_ready(self._lent(fleet, self.first(fleet)))

    def first(self, fleet: Fleet) -> int:
        """How many there are at first."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Nothing changes."""

    def asked(self, now: float, fleet: Fleet) -> None:
        """Nobody minds."""

    def _lent(self, fleet: Fleet, count: int) -> int:
        leases, claims = self._leases[fleet.kind.name], self._claims[fleet.kind.name]
        while len(leases) > count:
            leases.pop().release()
        while claims and len(leases) + len(claims) > count:
            claims.pop().leave()
        while len(leases) + len(claims) < count:
            claims.append(self._pool.claim(CORE))
        while claims and (lease := claims[0].take()) is not None:
            leases.append(lease)
            del claims[0]
        return len(leases)


class Fixed(_Borrows):
    """Always the same number.

    Args:
        counts: by model.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def first(self, fleet: Fleet) -> int:
        """How many there are."""
        return self._counts[fleet.kind.name]


class Foreseen(_Borrows):
    """As many as will be needed, started so early that they are ready in time.

    Args:
        plans: by model, how many in each second.
    """

    def __init__(self, plans: Mapping[str, Counts]) -> None:
        self._plans = plans

    def first(self, fleet: Fleet) -> int:
        """How many there are at first."""
        return int(self._plans[fleet.kind.name][0])

    def look(self, now: float) -> None:
        """As it was planned."""
        for fleet in self._fleets:
            plan = self._plans[fleet.kind.name]
            count = int(plan[min(int(now), len(plan) - 1)])
            if count != fleet.count:
                fleet.at(now)
                fleet.scale(self._lent(fleet, count))


def foreseen(asked: Asked, hours: float, load_s: float) -> Counts:
    """How many replicas each second needs, where all that comes is known: none goes that is needed within its loading time."""
    work = asked.work(hours)
    ahead = np.convolve(np.append(work, np.zeros(WINDOW_S - 1)), np.ones(WINDOW_S), "valid")
    needed = np.ceil(ahead / WINDOW_S / UTILISATION).astype(np.int64)
    span = math.ceil(load_s) + 2
    padded = np.append(needed, np.zeros(span - 1, dtype=np.int64))
    found: Counts = np.lib.stride_tricks.sliding_window_view(padded, span).max(axis=1)
    return found


def mean_count(asked: Asked, hours: float) -> int:
    """Enough for the mean of the day."""
    return max(1, math.ceil(float(asked.work(hours).mean()) / UTILISATION))


def peak_count(asked: Asked, hours: float) -> int:
    """Enough for the busiest minute."""
    work = asked.work(hours)
    minutes = work[: len(work) // 60 * 60].reshape(-1, 60).mean(axis=1)
    return max(1, math.ceil(float(minutes.max()) / UTILISATION))
