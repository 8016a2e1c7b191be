"""`distributed`: run a function that trains, on as many workers as the machine is good for."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from motet.errors import InputError, MissingExtraError, told_file
from motet.metrics_log import current_destination
from motet.system.limits import num_cores
from motet.system.places import temporary_folder
from motet.training.checkpoints import Checkpoints
from motet.training.data.digest import function_digest
from motet.training.joined import is_worker, join
from motet.training.launch import LaunchPlan, launch, refuse_unguarded
from motet.training.worker import Worker

__all__ = ["default_workers", "distributed"]

_T = TypeVar("_T")


def distributed(
    function: Callable[..., _T],
    *args: Any,
    workers: int | None = None,
    threads: int | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    max_restarts: int = 3,
    backend: str | None = None,
    collective_timeout_s: float = 600.0,
) -> _T:
    """Train on several workers of this machine, with gradients averaged by allreduce.

    Every worker calls `function(worker, *args)`, where `worker` is a `Worker`. One worker runs here, in this process;
    several run in processes of their own under torch's elastic launcher. When one dies, all are started again and
    `Worker.steps` goes on from the last checkpoint; an error of the function that is not likely to pass ends the
    training instead. At the end the workers must have the same parameters.

    In a process that torchrun has started, on one machine or on several, it starts nothing: the process is one of
    torchrun's workers, each of which must come here, and all get the result. `checkpoints` is a folder that all see.

    Args:
        function: a function that can be imported by name; what it returns in worker 0 must be picklable.
        args: what else it is called with; picklable. They and the function's file name the checkpoints: when one
            changes, a training begins anew.
        workers: how many; None is one a GPU, or one on a machine without (see `default_workers`).
        threads: threads that torch computes with in each worker; None is the cores divided by the workers.
        checkpoints: a folder; None is a temporary one for several workers, and none for one. A training that ended
            removes its own.
        max_restarts: how often workers are started again after one died.
        backend: `gloo` or `nccl`; None is nccl where there are as many GPUs as workers.
        collective_timeout_s: seconds that workers wait for each other before the wait fails.

    Returns:
        What the function returned in worker 0.

    Raises:
        InputError: when a number cannot be.
        MissingExtraError: when torch is not installed.
        TrainingError: when the function fails in a worker, workers died more often than allowed, or they end with
            different parameters. In one worker, here, its own error is raised.
    """
    torch = _torch()
    refuse_unguarded()
    if is_worker():
        return _join(function, args, workers, threads, checkpoints, backend, collective_timeout_s)
    num_workers = default_workers() if workers is None else workers
    if num_workers < 1 or max_restarts < 0 or collective_timeout_s <= 0:
        raise InputError(
            f"cannot train with {num_workers} workers, {max_restarts} restarts and {collective_timeout_s:g} s",
            hint="give 1 worker or more, 0 restarts or more, and a time above 0",
        )
    threads = threads or max(num_cores() // num_workers, 1)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    chosen = backend or ("nccl" if 0 < num_workers <= gpus else "gloo")
    keeps = checkpoints is not None
    with ExitStack() as stack:
        if checkpoints is None and num_workers > 1:
            checkpoints = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="motet-checkpoints-", dir=temporary_folder())
            )
        kept = Checkpoints(checkpoints, _training(function, args)) if checkpoints is not None else None
        if kept is not None:
            kept.begin()
        if num_workers == 1:
            result = _here(
                Worker(device="cuda:0" if chosen == "nccl" else "cpu", checkpoints=kept), function, args, threads
            )
        else:
            _refuse_lost(function)
            assert kept is not None, "several workers always have a folder"
            mine = current_destination()
            metrics = (mine.path, mine.step) if mine is not None else None
            plan = LaunchPlan(num_workers, threads, chosen, kept, max_restarts, collective_timeout_s, metrics, keeps)
            result = launch(plan, function, args)
        if kept is not None:
            kept.clear()
        return result


def _join(
    function: Callable[..., _T],
    args: tuple[Any, ...],
    workers: int | None,
    threads: int | None,
    checkpoints: str | os.PathLike[str] | None,
    backend: str | None,
    timeout_s: float,
) -> _T:
    kept = Checkpoints(checkpoints, _training(function, args)) if checkpoints is not None else None
    mine = threads or max(num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    result: _T = join(
        function, args, workers=workers, threads=mine, backend=backend, checkpoints=kept, timeout_s=timeout_s
    )
    return result


def default_workers() -> int:
    """How many workers this machine is good for: one a GPU, and one without GPUs.

    On CPUs one process with all cores as threads is faster than a process a core: on two cores an epoch of a small CNN
    took 10.1 s in one process of two threads, and 12.4 s in two workers that average their gradients.
    """
    torch = _torch()
    return max(int(torch.cuda.device_count()), 1) if torch.cuda.is_available() else 1


def _here(worker: Worker, function: Callable[..., _T], args: tuple[Any, ...], threads: int) -> _T:
    torch = _torch()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return function(worker, *args)
    finally:
        torch.set_num_threads(before)


def _refuse_lost(function: Callable[..., Any]) -> None:
    """Refuse a function that workers would not find: they are processes of their own, and import it by name."""
    name = getattr(function, "__qualname__", "")
    file = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    if "<" in name or (function.__module__ == "__main__" and not os.path.isfile(file)):
        raise InputError(
            "workers are processes of their own, so the function must be found by name",
            where=f"{name} in {told_file(function.__code__.co_filename)}" if hasattr(function, "__code__") else name,
            hint="write it to a file and import it (in a notebook, %%writefile line.py is the first line of its cell), "
            "or say workers=1",
        )


def _training(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    try:
        packed = pickle.dumps(args, protocol=5)
    except Exception as error:  # noqa: BLE001  pickling a user's value may raise anything
        raise InputError(
            f"what the function is called with cannot be pickled: {error}",
            where=str(getattr(function, "__qualname__", function)),
            hint="give paths, numbers, datasets and dataclasses; make models inside the function",
        ) from None
    return hashlib.sha256(function_digest(function).encode() + packed).hexdigest()[:24]


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "torch", "training") from None
    return torch
