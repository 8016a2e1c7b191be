"""How what was read is played, by every engine: bound, played and unbound, and ended only by what fails on everything.

The first file of a day may be of a broken camera, and all others good. So what failed on every row of a batch is shown a
few rows from elsewhere, where these can be read; only what answers none of these either ends the run, with its own error,
unless its node can do without it.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from motet.batch import Batch, Indices
from motet.engines.layout import RunLayout
from motet.errors import ModelFailedError
from motet.locks import new_lock
from motet.runtime.executor import Executor, Played, drive
from motet.runtime.isolate import Tolerance

__all__ = ["SPREAD", "BatchPlayer", "Elsewhere"]

SPREAD = 32
"""Rows from all over the source that are tried before a run ends."""
Elsewhere = Callable[[], tuple[pa.RecordBatch, Indices] | None]
"""Gives `SPREAD` rows from all over what is played, with their ids; None where they cannot be read."""


class BatchPlayer:
    """Plays batches of a run; in any thread.

    Args:
        layout: which columns go in and out.
        executor: plays the graph.
        tolerance: knows what has failed on all rows so far.
        elsewhere: gives rows to try before the run ends; what is answered of them is thrown away.
    """

    def __init__(self, layout: RunLayout, executor: Executor, tolerance: Tolerance, elsewhere: Elsewhere) -> None:
        self.layout, self.executor = layout, executor
        self._tolerance, self._elsewhere = tolerance, elsewhere
        self._lock = new_lock()
        self._error: ModelFailedError | None = None

    def play(self, batch: Batch) -> Played:
        """Play rows that are bound, and again from their start when what they failed in answers rows of elsewhere.

        Raises:
            ModelFailedError: when that answers none.
        """
        while True:
            try:
                return self._played(batch)
            except ModelFailedError as error:
                with self._lock:
                    self._look(error)

    def close(self) -> None:
        """Let the models go."""
        self.executor.close()

    def close_shadows(self, seconds: float = 0.0) -> None:
        """Drop what waits for members that do not count, and wait so long for what is under way."""
        self.executor.close_shadows(seconds)

    def _played(self, batch: Batch) -> Played:
        return drive(self.executor.play(batch)) if len(batch) else self.executor.nothing([])

    def _look(self, error: ModelFailedError) -> None:
        """Raise the error unless what it is of answers a row of elsewhere, or is not needed."""
        health = self._tolerance.lost.pop(error, None)
        if health is None or self._error is not None:
            raise error
        if error.spared and health.looked:
            return  # another thread has looked meanwhile
        if not health.succeeded and (rows := self._elsewhere()) is not None:
            with self._tolerance.trying():
                self._played(self.layout.bind(*rows)[0])
        if error.spared:
            health.looked = True
        elif not health.succeeded:
            self._error = error
            raise error
