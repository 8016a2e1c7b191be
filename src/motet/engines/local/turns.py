"""Taking turns with what else works on this machine: a batch borrows a core from a shared pool while it is played."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

__all__ = ["BulkTurns"]


class BulkTurns:
    """The turns of a run; live work goes first, and gets the next turn.

    Args:
        folder: of the pool; None is `$MOTET_POOL`, empty takes turns with nobody.
    """

    def __init__(self, folder: str | None) -> None:
        shared = os.environ.get("MOTET_POOL", "") if folder is None else folder
        self._borrow = self._from(shared) if shared else nullcontext
        self._stopped = threading.Event()

    def take(self) -> AbstractContextManager[object]:
        """A turn, which ends with the context; waits for it."""
        return self._borrow()

    def stop(self) -> None:
        """End all waits: the run goes no further."""
        self._stopped.set()

    def _from(self, folder: str) -> Callable[[], AbstractContextManager[object]]:
        from motet.runtime.resources.pool import Need, Pool  # slow to import, and few runs share a pool

        pool, core = Pool(folder=folder, name="motet run"), Need(cpu=1)
        return lambda: pool.borrow(core, priority="bulk", stopped=self._stopped.is_set)
