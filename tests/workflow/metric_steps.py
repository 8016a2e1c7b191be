"""Steps that log metrics, for processes and workers that import them by name."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import motet as mt


@mt.step(process=True)
def in_a_process(first: int) -> int:
    """Log from a process of its own, also from a thread there."""
    mt.log(0, loss=first)
    thread = threading.Thread(target=lambda: mt.log(1, loss=first + 1))
    thread.start()
    thread.join()
    return first


@mt.step(process=True)
def killed_after(folder: str) -> int:
    """Log, and be killed the first time."""
    mark = Path(folder) / "was-here"
    again = mark.exists()
    for epoch in range(1 if again else 0, 3 if again else 4):
        mt.log(epoch, loss=10 + epoch if again else epoch)
    mark.touch()
    if not again:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


def train(worker: Any, rate: float) -> int:
    """Every worker logs."""
    for epoch in range(3):
        mt.log(epoch, loss=rate * epoch + 100 * worker.rank)
        mt.log(epoch, all_workers=True, share=worker.rank)
    return int(worker.num_workers)


@mt.step
def trained(rate: float, workers: int) -> int:
    """A training of several workers."""
    return mt.train.distributed(train, rate, workers=workers, threads=1)


@mt.workflow
def one_step(step: Any, arguments: Any) -> Any:
    """A workflow of one step."""
    return step(*arguments)
