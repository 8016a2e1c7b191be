"""Models of a server that become more and fewer: looks at each about twice a second, and has as many replicas as it needs.

A server that shares its machine's resources (`pool: {folder: ...}`) also says there what it uses, so that bulk work fills what it
leaves idle, and gives way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from functools import partial

from motet.errors import InputError, MotetError, OverloadedError
from motet.graph.model import Replicas
from motet.runtime.autoscaling.policy import LoadSample, RowTime, ScalingPolicy
from motet.runtime.autoscaling.scaler import Scaler
from motet.runtime.model_runtime import ModelRuntime
from motet.runtime.resources.memory import resident_bytes
from motet.runtime.resources.pool import Lease, Need, Pool

__all__ = ["Autoscaler", "ScaledModel"]

_LOG = logging.getLogger("motet.serving")
LOOK_S, SOON_S = 0.5, 0.1
"""How often models are looked at, and how often while the server stands in the pool's line for one."""
PATIENCE_S = 5.0
"""How long the server stands in line for what it uses more; then it asks anew for what it uses then."""
SPARE_CPU = 0.25
"""Cores that a server holds beyond what it uses, so that it need not wait for the next request."""


class ScaledModel:
    """A hosted model whose replicas are counted.

    Args:
        model: the model.
        waiting_rows: tells how many rows wait for it.
    """

    def __init__(self, model: ModelRuntime, waiting_rows: Callable[[], int]) -> None:
        self._model, self._waiting_rows = model, waiting_rows
        self._row_time = RowTime()
        self._direct, self._counted = (0, 0.0), (0, 0.0)
        self._arrived = self._gone = 0

    def seen(self, now: float) -> LoadSample:
        """What is seen of it; rows that wait have arrived."""
        replicas = self._model.replicas
        waiting = self._waiting_rows() + replicas.waiting_rows
        row_s, count = self._row_s(), replicas.count
        return LoadSample(now, self._arrivals(waiting), waiting, row_s, count, replicas.loading_s)

    def _arrivals(self, waiting: int) -> int:
        """Rows that have come in all: rows under way are in no count for a moment, and those nobody waits for any more in none."""
        known = self._model.stats.rows + waiting + self._gone
        if not waiting and known < self._arrived and not self._busy():
            self._gone += self._arrived - known
        self._arrived = max(self._arrived, known)
        return self._arrived

    def _busy(self) -> bool:
        return any(each.in_flight for each in self._model.replicas.status())

    def _row_s(self) -> float:
        """What a row takes of a replica, without what it waits for one."""
        stats, replicas = self._model.stats, self._model.replicas
        direct, counted = (stats.rows, stats.seconds), (replicas.busy_rows, replicas.busy_s)
        before, now = (self._direct, direct) if counted == self._counted else (self._counted, counted)
        self._direct, self._counted = direct, counted
        return self._row_time.took(now[0] - before[0], now[1] - before[1])

    def scale(self, count: int) -> None:
        """Have so many replicas."""
        with contextlib.suppress(MotetError):  # it may have been closed in the meantime
            self._model.scale(count)


class Autoscaler:
    """Scales the models of a repository, in the thread of its event loop.

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
        models: Callable[[], Iterable[ModelRuntime]],
        waiting_rows: Callable[[ModelRuntime], int],
        pool: Pool | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._loop, self._models, self._waiting_rows, self._pool = loop, models, waiting_rows, pool
        self._scaler = Scaler(pool, clock or loop.time)
        self._timer: asyncio.TimerHandle | None = None
        self._lease: Lease | None = None
        self._asking: asyncio.Task[None] | None = None
        self._used = (time.monotonic(), _cpu_seconds())
        self._minded: dict[ModelRuntime, bool] = {}
        self._hurried = False

    def start(self) -> None:
        """Look at the models from now on, where there is one to scale or a pool to tell."""
        if self._timer is None and (self._pool is not None or any(_policy(model) for model in self._models())):
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def close(self) -> None:
        """Look no more, and give everything back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for model in list(self._minded):
            self._leave(model)
        if self._asking is not None:
            self._asking.cancel()
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _look(self) -> None:
        try:
            self.look()
        finally:
            self._timer = self._loop.call_later(SOON_S if self._scaler.waiting else LOOK_S, self._look)

    def look(self) -> None:
        """Have as many replicas as should be there now, and say what the server uses."""
        served = {model for model in self._models() if _policy(model) is not None}
        for gone in self._minded.keys() - served:
            self._leave(gone)
        for model in served:
            self._mind(model)
        self._scaler.look()
        if self._pool is not None:
            self._tell(self._pool)

    def _mind(self, model: ModelRuntime) -> None:
        """Look after a model, and what a replica of it was seen to take."""
        if model not in self._minded:
            self._minded[model] = self._begin(model)
        if self._pool is not None and self._minded[model]:
            self._scaler.measured(model, max((each.memory_bytes for each in model.replicas.status()), default=0))

    def _begin(self, model: ModelRuntime) -> bool:
        """Begin to look after a model; whether the pool can have a replica of it."""
        policy = _policy(model)
        assert policy is not None
        needs = model.model.resources
        need = Need(needs.cpu, needs.memory_bytes, needs.accelerator)
        scaled = ScaledModel(model, partial(self._waiting_rows, model))
        try:
            self._scaler.add(model, scaled, policy, need, f"replicas of {model.model.name}")
        except InputError as error:
            _LOG.error("model %r is not scaled, and borrows nothing: %s", model.model.name, error)
            return False
        if self._pool is not None:
            model.replicas.asks = self._hurry
        return True

    def _leave(self, model: ModelRuntime) -> None:
        del self._minded[model]
        model.replicas.asks = None
        self._scaler.remove(model)

    def _hurry(self) -> None:
        """Rows wait for a model that has no replica: look at once. Any thread."""
        if not self._hurried:
            self._hurried = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._look_at_once)

    def _look_at_once(self) -> None:
        self._hurried = False
        if self._timer is not None:
            self._timer.cancel()
            self._look()

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
            with contextlib.suppress(OverloadedError):  # live work has all of it; the next look asks again
                lease = await pool.borrow_async(more, timeout_s=PATIENCE_S)
                if self._lease is None:
                    self._lease = lease
                else:
                    self._lease.join(lease)
        finally:
            self._asking = None


def _policy(model: ModelRuntime) -> ScalingPolicy | None:
    """When a model has how many replicas; None where their number is fixed."""
    replicas = model.model.replicas
    if not isinstance(replicas, Replicas) or replicas.min == replicas.max:
        return None
    return ScalingPolicy(replicas.min, replicas.max, hold_s=replicas.hold_s, idle_s=replicas.idle_s)


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system
