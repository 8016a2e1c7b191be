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

    torch.manual_seed(worker.rank)  # what `wrap` must make equal
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
    return {
        "weight": model.weight.detach().numpy().copy(),
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


def train_parts(worker: Any, dataset: Any, trouble: str = "") -> dict[str, Any]:
    """Fit lines with a module of which steps use parts: by its own methods, by turns, by worker, never, frozen at first."""
    import torch

    torch.manual_seed(worker.rank)
    parts = {name: torch.nn.Linear(SIZE, 1) for name in ("always", "by_turns", "by_worker", "never", "late")}
    model = _module(parts)
    model["late"].requires_grad_(False)
    assert worker.wrap(model) is model
    frozen = worker.wrap(torch.nn.Linear(SIZE, 1).requires_grad_(False))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    state = {"model": model, "optimizer": optimizer, "seen": [], "best": float("inf")}
    for step in worker.steps(dataset, batch_rows=32, num_epochs=1, state=state):
        if trouble == "wrong shape" and worker.rank == 1:
            torch.ones(2, 3) @ torch.ones(2, 3)
        if step.number == 8:
            model["late"].requires_grad_(True)
        used = ["always", "late", *(["by_turns"] if step.number % 2 else [])]
        if worker.rank == worker.num_workers - 1:
            used.append("by_worker")
        x, y = (torch.from_numpy(step.columns[name]) for name in ("x", "y"))
        optimizer.zero_grad()
        loss = model.loss(used, x, y - frozen(x).squeeze(1))
        loss.backward()
        optimizer.step()
        state["seen"].append(step.number)
        state["best"] = min(state["best"], worker.mean(loss.item()))
    return {
        "weights": {name: each.numpy().copy() for name, each in model.state_dict().items()},
        "unused": model["never"].weight.grad,
        "seen": state["seen"],
        "best": state["best"],
        "scale": model.scale,
    }


def _module(parts: Any) -> Any:
    import torch

    class Parts(torch.nn.ModuleDict):
        scale = 0.5

        def loss(self, used: list[str], x: Any, y: Any) -> Any:
            own = [name for name in used if name != "by_worker"]
            fitted = sum(torch.nn.functional.mse_loss(self[name](x).squeeze(1), y) for name in own)
            extra = self["by_worker"](x).mean() if "by_worker" in used else 0.0
            return fitted * self.scale + extra

    return Parts(parts)
