"""Taking turns with what else works on this machine: a batch borrows a core from a shared pool while it is played."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext

from motet.runtime.pool.pool import Need, Pool

__all__ = ["Turns"]

_CORE = Need(cpu=1)


class Turns:
    """The turns of a run; live work goes first, and gets the next turn.

    Args:
        folder: of the pool; None is `$MOTET_POOL`, empty takes turns with nobody.
    """

    def __init__(self, folder: str | None) -> None:
        shared = os.environ.get("MOTET_POOL", "") if folder is None else folder
        self._pool = Pool(folder=shared, name="motet run") if shared else None
        self._stopped = threading.Event()

    def take(self) -> AbstractContextManager[object]:
        """A turn, which ends with the context; waits for it."""
        if self._pool is None:
            return nullcontext()
        return self._pool.borrow(_CORE, priority="bulk", stopped=self._stopped.is_set)

    def stop(self) -> None:
        """End all waits: the run goes no further."""
        self._stopped.set()
