"""Several workers under torch's elastic launcher, on this machine.

    launch ──► elastic agent ──► one process a worker ──► _work ──► the function
                  restarts all when one dies                ├ meets the others through a file; talks over loopback
                                                            └ writes how it failed, so that the first failure is told

Workers meet through files and talk over the loopback interface, so no port is open to other machines. The agent's
restarts: https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from motet.errors import MotetError, TrainingError
from motet.metrics_log import MetricsDestination, logging_to
from motet.system.lifeline import hold, open_end
from motet.system.places import temporary_folder
from motet.system.signals import kept_signals
from motet.system.whole_files import write_whole
from motet.training.checkpoints import Checkpoints
from motet.training.worker import Worker, leave_group

__all__ = ["LaunchPlan", "launch", "may_pass", "refuse_unguarded"]

_logger = logging.getLogger("motet.training")
_TALKATIVE = ("torch.distributed.elastic.multiprocessing.api", "torch.multiprocessing.spawn")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_SHUTDOWN_S = 10
_JOIN_S = 120
_FOLDER = "MOTET_TRAINING_FOLDER"
"""Names, to workers that load the program, the folder of the training that they are a part of."""
_MAY_PASS = {"MemoryError", "DistError", "OutOfMemoryError", "AcceleratorError"}
_OF_TENSORFLOW = {
    "AbortedError",
    "CancelledError",
    "DeadlineExceededError",
    "ResourceExhaustedError",
    "UnavailableError",
}
"""What TensorFlow raises where another worker died, or memory is wanting."""
_OWN_FAULT = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors of the system that come of what was asked for, so that asking again gives the same."""


@dataclass(frozen=True)
class LaunchPlan:
    """How workers are run.

    Attributes:
        num_workers: processes.
        threads: threads that torch computes with in each.
        backend: `gloo` or `nccl`.
        checkpoints: where checkpoints are kept.
        max_restarts: how often all workers are started again after one died.
        collective_timeout_s: seconds that workers wait for each other.
        metrics: where metrics go, and the step that begins the training.
        keeps: whether the checkpoints are kept when the training fails.
    """

    num_workers: int
    threads: int
    backend: str
    checkpoints: Checkpoints
    max_restarts: int
    collective_timeout_s: float
    metrics: tuple[Path, str] | None = None
    keeps: bool = True


@dataclass(frozen=True)
class _Refusal:
    """What a worker gives instead of a result where trying again cannot help."""


def launch(plan: LaunchPlan, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run `function(worker, *args)` in every worker, and give worker 0's result.

    Raises:
        TrainingError: when the function fails, or workers died more often than allowed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with (
        tempfile.TemporaryDirectory(prefix="motet-train-", dir=temporary_folder()) as folder,
        kept_signals(*_SIGNALS),
        _quiet(),
    ):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=plan.num_workers,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder) / "rendezvous"),
            rdzv_configs={"store_type": "file", "timeout": _JOIN_S},
            local_addr="127.0.0.1",
            max_restarts=plan.max_restarts,
            shutdown_timeout=_SHUTDOWN_S,
        )
        os.environ[_FOLDER] = folder
        try:
            with Connection(open_end(), writable=False) as lifeline:
                results = elastic_launch(config, _work)(plan, folder, lifeline, function, args)
        except ChildFailedError as error:
            raise _told(Path(folder), plan, str(error.get_first_failure()[1].message)) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + error.sigval) from None
        finally:
            os.environ.pop(_FOLDER, None)  # another training of this process may have ended meanwhile
        if any(isinstance(result, _Refusal) for result in results.values()):
            raise _told(Path(folder), plan, "") from None
        return results[0]


def refuse_unguarded() -> None:
    """Refuse to train while a worker loads the program, which would begin what it is a part of.

    Raises:
        TrainingError: says how to write the program; those who launched the worker are told the same.
    """
    if not getattr(multiprocessing.current_process(), "_inheriting", False):
        return
    error = TrainingError(
        "the training begins anew while a worker loads the program",
        hint="begin it under if __name__ == '__main__':, for workers are processes that load the file",
    )
    if folder := os.environ.get(_FOLDER):
        _write_failure(Path(folder), 0, 0, error)
    raise error


def _work(
    plan: LaunchPlan, folder: str, lifeline: Connection, function: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    """One worker's process, from its start to its end."""
    rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    before = _first_failure(Path(folder), attempt - 1)
    if before is not None and not before["may_pass"]:
        return _Refusal()
    hold(lifeline.fileno())  # nobody would take its result
    if attempt and rank == 0:
        cause = f"worker {before['rank']}: {before['error']}" if before else "one was killed or crashed"
        _logger.warning("workers started again, %d of %d times at most: %s", attempt, plan.max_restarts, cause)
    import torch
    import torch.distributed as dist

    torch.set_num_threads(plan.threads)
    device = f"cuda:{os.environ['LOCAL_RANK']}" if plan.backend == "nccl" else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")
    try:
        store = dist.FileStore(str(Path(folder) / f"meeting-{attempt}"), plan.num_workers)
        timeout = timedelta(seconds=plan.collective_timeout_s)
        dist.init_process_group(plan.backend, store=store, rank=rank, world_size=plan.num_workers, timeout=timeout)
        worker = Worker(rank, plan.num_workers, device, attempt, plan.checkpoints)
        destination = MetricsDestination(*plan.metrics, worker=rank) if plan.metrics else None
        with logging_to(destination, whole_process=True):
            result = function(worker, *args)
        worker.check_same()
        leave_group()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _write_failure(Path(folder), attempt, rank, error)
        raise
    return result if rank == 0 else None


def _write_failure(folder: Path, attempt: int, rank: int, error: BaseException) -> None:
    frames = traceback.extract_tb(error.__traceback__) or traceback.extract_stack()
    own = [frame for frame in frames if "/motet/training/" not in frame.filename and "/torch/" not in frame.filename]
    place = (own or list(frames))[-1]
    told = {
        "at": time.time(),
        "rank": rank,
        "error": error.what if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}",
        "hint": error.hint if isinstance(error, MotetError) else "",
        "place": f"{place.filename}:{place.lineno}",
        "traceback": "".join(traceback.format_exception(error)),
        "may_pass": may_pass(error),
    }
    write_whole(folder / f"failed-{attempt}-{rank}.json", json.dumps(told).encode())


def may_pass(error: BaseException) -> bool:
    """Whether an error may be another worker's death, want of memory or a device that failed: worth another try.

    What torch raises for the death of another is mostly a plain RuntimeError, as for a wrong shape; only where it was
    raised tells them apart.
    """
    import torch.distributed as dist

    if isinstance(error, OSError):
        return not isinstance(error, _OWN_FAULT)
    if _MAY_PASS & {each.__name__ for each in type(error).__mro__}:
        return True
    if type(error).__module__.partition(".")[0] == "tensorflow":
        return type(error).__name__ in _OF_TENSORFLOW
    if type(error) is not RuntimeError:
        return False
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(dist.__file__).parent in Path(innermost).parents


def _first_failure(folder: Path, attempt: int) -> dict[str, Any] | None:
    """What failed first in an attempt; None where no worker could tell, as when one was killed."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"failed-{attempt}-*.json")]
    return min(found, key=lambda each: float(each["at"]), default=None)


def _told(folder: Path, plan: LaunchPlan, message: str) -> TrainingError:
    attempts = range(plan.max_restarts, -1, -1)
    found = next((each for attempt in attempts if (each := _first_failure(folder, attempt))), None)
    if found is None:
        return TrainingError(
            f"a worker died: {message}",
            where=f"{plan.num_workers} workers",
            hint=f"it was killed or crashed, perhaps for want of memory; {_left(plan)}",
        )
    error = TrainingError(
        f"worker {found['rank']} of {plan.num_workers} failed: {found['error']}",
        where=found["place"],
        hint=found["hint"] or f"mend the cause and train again; {_left(plan)}",
    )
    error.add_note(found["traceback"])
    return error


def _left(plan: LaunchPlan) -> str:
    return "the last checkpoint is kept" if plan.keeps else "no checkpoint is left, checkpoints=FOLDER keeps them"


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the agent logs of each death, with its own traceback: workers log restarts, and errors are raised."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    for logger in loggers:
        logger.addFilter(_nothing)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False
