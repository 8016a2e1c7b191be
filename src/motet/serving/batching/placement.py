"""Where a batch of a graph is played: in the event loop, in a thread or as a task; and what batches cost, which decides it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

from motet.batch import Batch, Indices
from motet.errors import MotetError
from motet.reading import constant_column
from motet.runtime.executor import Executor, Played, Trace, drive
from motet.runtime.latency import INLINE_S, LONG_S, BatchLatency
from motet.runtime.model_runtime import ModelRuntime
from motet.runtime.sizes import queued_seconds

__all__ = ["ActiveGraphs", "Placement"]

ALONE_S = 0.008
"""A batch may hold the loop that long where nobody asks for anything else, and no core is idle that could do better."""
FEW_CORES = 2
LEARN_EVERY = 8
"""Batches of which one is timed on the processor, once it is known what such a batch costs."""
MIXED_S = 1.0
"""How long graphs count as being asked at the same time after two of them were, one after the other."""
MOSTLY = 0.25
"""A batch that spent less of its time than this on the processor waited for something else, which counts too."""


class ActiveGraphs:
    """Which graphs of a process are being asked: a batch may hold the loop for longer where nobody asks for another one.

    Attributes:
        last: the batcher of the graph that was asked last.
        mixed_until: until when several count as being asked, on the clock `time.monotonic`.
    """

    __slots__ = ("last", "mixed_until")

    def __init__(self) -> None:
        self.last: object = None
        self.mixed_until = 0.0

    def asked(self, batcher: object, now: float) -> None:
        """Another graph than the last one is asked."""
        if self.last is not None:
            self.mixed_until = now + MIXED_S
        self.last = batcher


class Placement:
    """Decides where batches of one graph are played, and plays them as one function call, in any thread.

    Args:
        executor: plays them at once.
        active: shared by the graphs of a process.
        at_once: batches that may be played in threads at the same time.

    Attributes:
        costs: seconds that batches take; learned from those that are played.
        waits: whether its calls wait, for another process or machine or to be made together: its batches are tasks.
        threaded: whether one of its models asks for a thread.
    """

    def __init__(self, executor: Executor, active: ActiveGraphs, at_once: int) -> None:
        self._executor, self._active, self.costs = executor, active, BatchLatency()
        self._alone_s = ALONE_S if at_once <= FEW_CORES else INLINE_S
        self._batches = 0
        self.waits = self.threaded = self._inline = False
        self._queued: float | None = None

    def load(self, models: Iterable[ModelRuntime]) -> None:
        """Look where the models are, and play a row through them where one can be made up; for any thread."""
        models = list(models)
        waits = (each.elsewhere or each.model.batch.max_wait_ms or not each.model.num_replicas for each in models)
        self.waits = bool(self._executor.lazy_keys) or any(waits) or self._executor.timed
        placements = {each.placement for each in models}
        self._inline, self.threaded = placements == {"inline"}, "thread" in placements
        if not (self.waits or any(each.paid for each in models)):
            self.warm_up()

    def where(self, rows: int, now: float) -> Literal["loop", "thread", "task"]:
        """Where a batch is played that shares its models with no other graph that has rows.

        Args:
            rows: how many it has.
            now: when the last request came, on the clock `time.monotonic`.
        """
        if self.waits:
            return "task"
        if not self._inline and (self.threaded or self.costs.expect(rows) > self.patience(now)):
            return "thread"
        return "loop"

    def patience(self, now: float) -> float:
        """How long a batch may hold the loop."""
        return INLINE_S if now < self._active.mixed_until else self._alone_s

    def held(self, seconds: float) -> None:
        """A batch has held the loop for that long. As if it had been meanwhile, the time does not count for which the loop's
        thread has waited for a processor since this was last asked: what else the machine does is no fault of the graph."""
        if self._queued is None:
            self._queued = queued_seconds()
        if seconds > LONG_S:
            before, self._queued = self._queued, queued_seconds()
            self.costs.held(seconds - (self._queued - before))

    def warm_up(self) -> None:
        """Play rows of zeros where they can be made up, so that the first request is not the slow one. What rows cost is not
        learned from them: others may cost more."""
        kinds = {name: each.type for name, each in self._executor.checked.graph.inputs.items()}
        if any(kind.row_bytes is None for kind in kinds.values()):
            return
        batch = Batch({name: constant_column(0, kind, 1) for name, kind in kinds.items()})
        with self._executor.warming():
            self._play_some(batch)

    def _play_some(self, batch: Batch) -> None:
        for _ in range(3):
            try:
                played = drive(self._executor.play(batch))
            except MotetError:
                return
            if played.failures:
                return

    def play(
        self, batch: Batch, trace: Trace | None, lapsed: Callable[[Indices], Indices | None] | None
    ) -> tuple[Played, float]:
        """Play a batch; what was played, and the seconds that took.

        Args:
            batch: its rows, also none.
            trace: is given every call; None for nobody.
            lapsed: says before each node which rows are still of use; None for all of them.
        """
        rows = len(batch.ids)
        self._batches += 1
        learning = self._batches % LEARN_EVERY == 0 or rows not in self.costs
        processor = time.thread_time() if learning else 0.0
        started = time.perf_counter()
        played = drive(self._executor.play(batch, trace, None, lapsed)) if rows else self._executor.nothing([])
        seconds = time.perf_counter() - started
        if learning:
            spent = time.thread_time() - processor  # what else the machine did in the meantime does not count
            self.costs.took(rows, spent if spent > MOSTLY * seconds else seconds)
        return played, seconds
