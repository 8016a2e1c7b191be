"""How many cores a task of a cluster's worker may use: clusters rarely say, and a process may be given many tasks at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from motet.locks import new_lock
from motet.system.limits import num_cores

__all__ = ["share_of_cores"]

_lock = new_lock()
_tasks: set[object] = set()
"""Those that this process plays."""
os.register_at_fork(after_in_child=_tasks.clear)


@contextmanager
def share_of_cores() -> Iterator[int]:
    """The cores for a task that is played meanwhile, at least 1: this process's, divided among its tasks.

    Where Ray or Spark says what a task has, by `OMP_NUM_THREADS`, these are the process's.
    """
    task = object()
    with _lock:
        _tasks.add(task)
        cores = max(1, _cores() // len(_tasks))
    try:
        yield cores
    finally:
        with _lock:
            _tasks.discard(task)


def _cores() -> int:
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(num_cores(), int(said)) if said.isdecimal() else num_cores()
