"""A day played: requests come, replicas answer, somebody steers, and bulk work fills the cores that are left."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.spikes_parts.day import Asked, Kind
from benchmarks.spikes_parts.fleet import Fleet
from benchmarks.spikes_parts.policies import CORE, Steers
from motet.errors import OverloadedError
from motet.runtime.resources.need import Need
from motet.runtime.resources.pool import Lease, Pool

__all__ = ["Figures", "play"]

LOOK_S: Final = 0.5
"""As often as a server looks at its models."""
SOON_S: Final = 0.1
"""The same, while it waits for what it has asked the pool for."""
BATCH_S: Final = 1.0
"""What a batch of the bulk run takes; between two of them it gives way."""


@dataclass(frozen=True)
class Figures:
    """What a day gave.

    Attributes:
        requests: that came.
        p50_s, p99_s, p999_s: how long requests waited for a replica; those that were refused waited until their deadline.
        refused: requests that were not answered by their deadline.
        utilisation: the part of the replicas' time in which they answered.
        live_core_h, bulk_core_h: cores held by replicas, and by the bulk run, in hours.
        scalings: times that a model's number of replicas changed.
        reversals: those that undid another one within a minute.
        cold: requests that found no replica.
    """

    requests: int
    p50_s: float
    p99_s: float
    p999_s: float
    refused: int
    utilisation: float
    live_core_h: float
    bulk_core_h: float
    scalings: int
    reversals: int
    cold: int


class _Bulk:
    """A run that takes every core it gets, a batch at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._leases: list[tuple[Lease, float]] = []
        self.core_s = 0.0

    def look(self, now: float) -> None:
        """Between batches give way; begin as many as there are cores for."""
        kept = []
        for lease, begun in self._leases:
            if now - begun < BATCH_S:
                kept.append((lease, begun))
                continue
            self.core_s += now - begun
            if lease.wanted:
                lease.release()
            else:
                kept.append((lease, now))
        self._leases = kept
        try:
            while True:
                self._leases.append((self._pool.borrow(CORE, priority="bulk", timeout_s=0), now))
        except OverloadedError:
            return


class _Day:
    def __init__(self, asked: Mapping[Kind, Asked], steers: Steers, cores: int) -> None:
        self._events: list[tuple[float, int, Callable[..., None], Any]] = []
        self._numbers = itertools.count()
        self.now = 0.0
        self.pool = Pool(Need(cpu=cores), clock=lambda: self.now)
        self.fleets = [Fleet(kind, self._later) for kind in asked]
        self.bulk, self.steers = _Bulk(self.pool), steers
        merged = [np.column_stack([a.at_s, np.full(len(a.at_s), n), a.takes_s]) for n, a in enumerate(asked.values())]
        together = np.concatenate(merged)
        self._asked = together[np.argsort(together[:, 0], kind="stable")]
        steers.begin(self.fleets, self.pool, lambda: self.now)

    def _later(self, at: float, work: Callable[..., None], what: Any) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), work, what))

    def _look(self, now: float, _: None) -> None:
        self._later(now + (SOON_S if self.steers.waiting else LOOK_S), self._look, None)
        self.steers.look(now)
        self.bulk.look(now)

    def run(self, end: float) -> None:
        events, fleets = self._events, self.fleets
        self._later(0.0, self._look, None)
        for at, number, takes_s in self._asked.tolist():
            while events[0][0] <= at:
                self.now, _, work, what = heapq.heappop(events)
                work(self.now, what)
            self.now = at
            fleet = fleets[int(number)]
            fleet.arrive(at, takes_s)
            if not fleet.count:
                self.steers.asked(at, fleet)
        while events and events[0][0] <= end:
            self.now, _, work, what = heapq.heappop(events)
            work(self.now, what)
        for fleet in fleets:
            fleet.end(end)


def play(asked: Mapping[Kind, Asked], steers: Steers, *, cores: int, hours: float) -> tuple[Figures, list[Fleet]]:
    """Play a day.

    Args:
        asked: the requests, by model.
        steers: says how many replicas there are.
        cores: of the machine.
        hours: how long it goes on.

    Returns:
        what it gave, and the models.
    """
    day = _Day(asked, steers, cores)
    day.run(hours * 3600)
    fleets = day.fleets
    waits = np.concatenate([np.array(fleet.all_waits) for fleet in fleets])
    held_s, busy_s = sum(fleet.held_s for fleet in fleets), sum(fleet.busy_s for fleet in fleets)
    p50, p99, p999 = (float(each) for each in np.quantile(waits, (0.5, 0.99, 0.999)))
    return Figures(
        len(waits), p50, p99, p999,
        sum(fleet.refused for fleet in fleets),
        busy_s / held_s,
        held_s / 3600,
        day.bulk.core_s / 3600,
        sum(len(fleet.changes) for fleet in fleets),
        sum(fleet.reversals for fleet in fleets),
        sum(fleet.cold for fleet in fleets),
    ), fleets  # fmt: skip
