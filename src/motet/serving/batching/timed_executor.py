"""Plays batches as one function call, and learns what they cost, from which a batcher knows where to play the next one."""

from __future__ import annotations

import time
from collections.abc import Callable

from motet.batch import Batch, Indices
from motet.errors import MotetError
from motet.reading import constant_column
from motet.runtime.executor import Executor, Played, Trace, drive
from motet.runtime.latency import BatchLatency

__all__ = ["Timed"]

LEARN_EVERY = 8
"""Batches of which one is timed on the processor, once it is known what such a batch costs."""
MOSTLY = 0.25
"""A batch that spent less of its time than this on the processor waited for something else, which counts too."""


class Timed:
    """Plays batches of one graph, in any thread.

    Args:
        executor: plays them at once.
        costs: is told what they cost.
    """

    def __init__(self, executor: Executor, costs: BatchLatency) -> None:
        self._executor, self._costs = executor, costs
        self._batches = 0

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
        learning = self._batches % LEARN_EVERY == 0 or rows not in self._costs
        processor = time.thread_time() if learning else 0.0
        started = time.perf_counter()
        played = drive(self._executor.play(batch, trace, None, lapsed)) if rows else self._executor.nothing([])
        seconds = time.perf_counter() - started
        if learning:
            spent = time.thread_time() - processor  # what else the machine did in the meantime does not count
            self._costs.took(rows, spent if spent > MOSTLY * seconds else seconds)
        return played, seconds
