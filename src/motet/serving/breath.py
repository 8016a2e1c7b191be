"""Models of a server that become more and fewer: looks at each about twice a second, and has as many replicas as it needs.

A server that shares its machine's resources (`pool: {folder: ...}`) also says there what it uses, so that bulk work fills what it
leaves idle, and gives way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable
from functools import partial

from motet.errors import MotetError
from motet.graph.model import Replicas
from motet.runtime.hosted import HostedModel
from motet.runtime.pool.memory import resident_bytes
from motet.runtime.pool.pool import Lease, Need, Pool
from motet.runtime.pool.scaler import Scaler
from motet.runtime.pool.scaling import Policy, Seen

__all__ = ["Breath", "HostedScaled"]

LOOK_S = 0.5
PATIENCE_S = 5.0
"""How long the server stands in line for what it uses more; then it asks anew for what it uses then."""
WEIGHT = 0.2
"""How much the last look counts in what a row is said to take."""
SPARE_CPU = 0.25
"""Cores that a server holds beyond what it uses, so that it need not wait for the next request."""


class HostedScaled:
    """A hosted model whose replicas are counted.

    Args:
        model: the model.
        waiting_rows: tells how many rows wait for it.
    """

    def __init__(self, model: HostedModel, waiting_rows: Callable[[], int]) -> None:
        self._model, self._waiting_rows = model, waiting_rows
        self._rows, self._seconds, self._row_s = 0, 0.0, 0.0

    def seen(self, now: float) -> Seen:
        """What is seen of it; rows that wait have arrived."""
        stats = self._model.stats
        rows, seconds = stats.rows, stats.seconds
        if rows > self._rows and seconds > self._seconds:
            took = (seconds - self._seconds) / (rows - self._rows)
            self._row_s += (took - self._row_s) * (WEIGHT if self._row_s else 1.0)
        self._rows, self._seconds = rows, seconds
        waiting = self._waiting_rows()
        return Seen(now, rows + waiting, waiting, self._row_s, self._model.replicas.count)

    def scale(self, count: int) -> None:
        """Have so many replicas."""
        with contextlib.suppress(MotetError):  # it may have been closed in the meantime
            self._model.scale(count)


class Breath:
    """Scales the models of a gateway, in the thread of its event loop.

    Args:
        loop: the event loop.
        models: tells which models are served now.
        waiting_rows: tells how many rows wait for a model.
        pool: lends what replicas need, and is told what the server uses; None where nothing is shared.
        clock: seconds that only go up; None is that of the loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        models: Callable[[], Iterable[HostedModel]],
        waiting_rows: Callable[[HostedModel], int],
        pool: Pool | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._loop, self._models, self._waiting_rows, self._pool = loop, models, waiting_rows, pool
        self._scaler = Scaler(pool, clock or loop.time)
        self._timer: asyncio.TimerHandle | None = None
        self._lease: Lease | None = None
        self._asking: asyncio.Task[None] | None = None
        self._used = (time.monotonic(), _cpu_seconds())

    def start(self) -> None:
        """Look at the models from now on, where there is one to scale or a pool to tell."""
        if self._timer is None and (self._pool is not None or any(_policy(model) for model in self._models())):
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def close(self) -> None:
        """Look no more, and give everything back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for key in self._scaler.keys:
            self._scaler.remove(key)
        if self._asking is not None:
            self._asking.cancel()
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self.look()

    def look(self) -> None:
        """Have as many replicas as should be there now, and say what the server uses."""
        served = set()
        for model in self._models():
            policy = _policy(model)
            if policy is not None:
                served.add(model)
                needs = model.model.resources
                need = Need(needs.cpu, needs.memory_bytes, needs.accelerator)
                scaled = HostedScaled(model, partial(self._waiting_rows, model))
                self._scaler.add(model, scaled, policy, need, f"replicas of {model.model.name}")
        for gone in set(self._scaler.keys) - served:
            self._scaler.remove(gone)
        self._scaler.look()
        if self._pool is not None:
            self._tell(self._pool)

    def _tell(self, pool: Pool) -> None:
        """Hold what this process uses: what it did of late, and its memory."""
        at, seconds = time.monotonic(), _cpu_seconds()
        busy = (seconds - self._used[1]) / max(at - self._used[0], 1e-6)
        self._used = (at, seconds)
        need = Need(min(busy + SPARE_CPU, pool.capacity.cpu), min(resident_bytes(), pool.capacity.memory_bytes))
        if self._asking is None and (self._lease is None or not self._lease.resize(need)):
            more = need if self._lease is None else need - self._lease.need
            self._asking = self._loop.create_task(self._more(pool, more))

    async def _more(self, pool: Pool, more: Need) -> None:
        """Stand in line for more, before all bulk work, which gives way."""
        try:
            lease = await pool.borrow_async(more, timeout_s=PATIENCE_S)
            if self._lease is None:
                self._lease = lease
            else:
                self._lease.join(lease)
        except MotetError:
            pass  # all of it is live work; the next look asks again
        finally:
            self._asking = None


def _policy(model: HostedModel) -> Policy | None:
    """When a model has how many replicas; None where their number is fixed."""
    replicas = model.model.replicas
    if not isinstance(replicas, Replicas) or replicas.min == replicas.max:
        return None
    return Policy(replicas.min, replicas.max, hold_s=replicas.hold_s, idle_s=replicas.idle_s)


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system
