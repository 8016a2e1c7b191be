"""Functions that the tests train with; workers import them by name."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 6


def rows(ids: Any) -> Any:
    """A line to be found: y = x . (0, 1, ... 5)."""
    x = np.random.default_rng(3).normal(size=(512, SIZE)).astype(np.float32)[ids % 512]
    return {"x": x, "y": x @ np.arange(SIZE, dtype=np.float32)}


def train(worker: Any, dataset: Any, folder: str, trouble: str = "", num_epochs: int = 3) -> dict[str, Any]:
    """Fit the line with dropout-like noise; writes which steps were taken, and meets `trouble` once, at step 20."""
    import torch

    torch.manual_seed(worker.rank)  # what DDP must make equal
    model = worker.wrap(torch.nn.Linear(SIZE, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.9)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    log = Path(folder) / f"steps-{worker.rank}.txt"
    for step in worker.steps(dataset, batch_rows=32, num_epochs=num_epochs, state=state, checkpoint_every_s=0):
        if step.number == 20 and worker.rank == worker.num_workers - 1 and worker.attempt == 0:
            meet(trouble)
        with log.open("a") as file:
            file.write(f"{worker.attempt} {step.number} {os.getpid()}\n")
        x, y = torch.from_numpy(step.columns["x"]), torch.from_numpy(step.columns["y"])
        loss = torch.nn.functional.mse_loss(model(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if trouble == "drift" and step.number == 20:
            with torch.no_grad():
                next(model.parameters()).add_(worker.rank)
    plain = model.module if worker.num_workers > 1 else model
    return {
        "weight": plain.weight.detach().numpy().copy(),
        "mean_rank": worker.mean(worker.rank),
        "sum_ones": worker.sum(1),
        "threads": torch.get_num_threads(),
        "attempt": worker.attempt,
    }


def meet(trouble: str) -> None:
    """What befalls a worker in mid-epoch."""
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "bug":
        raise ValueError("the labels are wrong")
    if trouble == "interrupt":
        raise InterruptedError("for a test")


def die_always(worker: Any) -> None:
    """A worker that no restart helps."""
    if worker.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait(60)
