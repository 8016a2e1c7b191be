"""Before a run ends for a model or function that has failed on all its rows: rows from all over the source.

The first file of a day may be of a broken camera, and all others good. So what failed on every row of a batch is shown a
few rows from everywhere; only what answers none of these either ends the run, with its own error, unless its node can do
without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pyarrow as pa

from motet.batch import Indices
from motet.engines.local.rows import RunRows
from motet.errors import ModelFailedError
from motet.runtime.executor import Played
from motet.runtime.isolate import Tolerance

__all__ = ["SecondLook"]

SPREAD = 32
"""Rows from all over the source that are tried."""


class SecondLook:
    """Plays batches of a run, and ends it only for what fails everywhere.

    Args:
        tolerance: knows what has failed on all rows so far.
        rows: the rows of the run.
        play: plays some of them; what they give is thrown away.
    """

    def __init__(self, tolerance: Tolerance, rows: RunRows, play: Callable[[pa.RecordBatch, Indices], None]) -> None:
        self._tolerance, self._rows, self._play = tolerance, rows, play
        self._lock = threading.Lock()
        self._error: ModelFailedError | None = None

    def play(self, play: Callable[[], Played]) -> Played:
        """Play a batch, and again from its start when what it failed in answers rows of elsewhere; in any thread.

        Raises:
            ModelFailedError: when that answers none.
        """
        while True:
            try:
                return play()
            except ModelFailedError as error:
                with self._lock:
                    self._look(error)

    def _look(self, error: ModelFailedError) -> None:
        """Raise the error unless what it is of answers a row of elsewhere, or is not needed."""
        health = self._tolerance.lost.pop(error, None)
        if health is None or self._error is not None:
            raise error
        if error.spared and health.looked:
            return  # another thread has looked meanwhile
        if not health.succeeded and (rows := self._rows.spread(SPREAD)) is not None:
            with self._tolerance.trying():
                self._play(*rows)
        if error.spared:
            health.looked = True
        elif not health.succeeded:
            self._error = error
            raise error
