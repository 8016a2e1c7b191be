"""Training in a process that torchrun has started, as one of its workers.

    torchrun ──► each process runs the whole program ──► `distributed` joins the others ──► all get worker 0's result

So a program that trains runs unchanged on several machines, for example under a TrainJob of Kubeflow. What torchrun
says, it says by variables: https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from motet.errors import InputError
from motet.training.checkpoints import Checkpoints
from motet.training.worker import Worker

__all__ = ["is_worker", "join", "rank"]

_joined = False


def rank() -> int:
    """The number of this process among those of torchrun; 0 elsewhere."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def is_worker() -> bool:
    """Whether torchrun started this process, and nothing else has begun to train in it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    import torch.distributed as dist

    return _joined or not dist.is_initialized()


def join(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    workers: int | None,
    threads: int,
    backend: str | None,
    checkpoints: Checkpoints | None,
    timeout_s: float,
) -> Any:
    """Run `function(worker, *args)` as one of torchrun's workers. Every one of them must call this.

    Args:
        function, args: what is run.
        workers: how many there must be; None takes those that there are.
        threads: threads that torch computes with.
        backend: `gloo` or `nccl`; None is nccl where every worker of this machine has a GPU.
        checkpoints: where they are; all workers see the folder, worker 0 writes.
        timeout_s: seconds that workers wait for each other.

    Returns:
        What the function returned in worker 0, in every worker.

    Raises:
        InputError: when there are more or fewer workers than asked for.
        TrainingError: when the workers end with different parameters.
    """
    import torch
    import torch.distributed as dist

    world = int(os.environ["WORLD_SIZE"])
    if workers not in (None, world):
        raise InputError(
            f"asks for {workers} workers, and torchrun has started {world}",
            where=str(getattr(function, "__qualname__", function)),
            hint="leave workers out, or start as many",
        )
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    chosen = backend or ("nccl" if int(os.environ["LOCAL_WORLD_SIZE"]) <= gpus else "gloo")
    device = f"cuda:{os.environ['LOCAL_RANK']}" if chosen == "nccl" else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)
    torch.set_num_threads(threads)
    _begin(chosen, timeout_s)
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    worker = Worker(rank(), world, device, attempt, checkpoints)
    if checkpoints is not None and worker.rank == 0:
        checkpoints.begin()
    result = [function(worker, *args)]
    worker.check_same()
    dist.broadcast_object_list(result, src=0, device=torch.device(device))
    if checkpoints is not None and worker.rank == 0:
        checkpoints.clear()
    return result[0]


def _begin(backend: str, timeout_s: float) -> None:
    """Meet the others; once in a process, since they meet at one address for all that they do."""
    global _joined
    if _joined:
        return
    import atexit

    import torch.distributed as dist

    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    atexit.register(dist.destroy_process_group)
    _joined = True
