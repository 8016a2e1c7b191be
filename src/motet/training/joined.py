"""Training in a process that torchrun has started, as one of its workers.

    torchrun ──► each process runs the whole program ──► `distributed` joins the others ──► all get worker 0's result

So a program that trains runs unchanged on several machines, for example under a TrainJob of Kubeflow. What torchrun
says, it says by variables: https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from motet.errors import InputError, TrainingError
from motet.system.processes import torchrun_rank
from motet.training.checkpoints import Checkpoints
from motet.training.worker import Worker, leave_group

__all__ = ["is_worker", "join", "meet"]

_POLL_S = 0.05
_joined = False


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
    worker = Worker(torchrun_rank(), world, device, attempt, checkpoints)
    if checkpoints is not None and worker.rank == 0:
        checkpoints.begin()
    result = [function(worker, *args)]
    worker.check_same()
    dist.broadcast_object_list(result, src=0, device=torch.device(device))
    if checkpoints is not None and worker.rank == 0:
        checkpoints.clear()
    return result[0]


def _begin(backend: str, timeout_s: float) -> None:
    """Meet the others; once in a process, for all that they do."""
    global _joined
    if _joined:
        return
    import atexit

    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    timeout = timedelta(seconds=timeout_s)
    store, mine, world = next(rendezvous("env://", timeout=timeout))
    fresh = dist.PrefixStore(f"motet/{meet(store, mine, world, timeout_s)}", store)
    dist.init_process_group(backend, store=fresh, rank=mine, world_size=world, timeout=timeout)
    atexit.register(leave_group)
    _joined = True


def meet(store: Any, rank: int, world: int, timeout_s: float) -> str:
    """A name that the workers which are alive agree on, and no one before them had.

    torchrun's store outlives its workers, and still has the addresses of those that died, to which others would try to
    connect. So each worker says hello under a name of its own, worker 0 answers each hello with the name of the
    meeting, and goes on until all have thanked for that very name. Hellos of the dead are answered in vain.

    Args:
        store: what all workers and their predecessors share.
        rank, world: which worker this is, of how many.
        timeout_s: seconds to wait for the others.

    Raises:
        TrainingError: when not all came in time.
    """
    own = uuid.uuid4().hex
    end = time.monotonic() + timeout_s
    if rank:
        store.set(f"motet/hello/{rank}", own)
        _wait(lambda: store.check([f"motet/answer/{own}"]), end, f"worker {rank} was not answered by worker 0")
        name = str(store.get(f"motet/answer/{own}").decode())
        store.set(f"motet/thanks/{name}/{rank}", "")
        return name
    missing = set(range(1, world))

    def all_came() -> bool:
        for each in sorted(missing):
            if store.check([f"motet/hello/{each}"]):
                store.set(f"motet/answer/{store.get(f'motet/hello/{each}').decode()}", own)
            if store.check([f"motet/thanks/{own}/{each}"]):
                missing.discard(each)
        return not missing

    _wait(all_came, end, f"not all of {world} workers came")
    return own


def _wait(done: Callable[[], bool], end: float, told: str) -> None:
    while not done():
        if time.monotonic() > end:
            raise TrainingError(told, hint="see why the others did not start, or give a longer collective_timeout_s")
        time.sleep(_POLL_S)
