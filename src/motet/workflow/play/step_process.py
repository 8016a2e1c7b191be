"""The process of a step, on this machine or wherever else steps run: it is started, waited for, and ended in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from motet.system.lifeline import start
from motet.system.places import temporary_folder
from motet.workflow.options import StepResources
from motet.workflow.play.budget import Budget, Machine

__all__ = ["GRACE_S", "POLL_S", "ProcessEnd", "StepPlace", "StepProcess", "ThisMachine", "run_here"]

POLL_S = 0.05
GRACE_S = 5.0
"""How long a process has to end when it is told to."""
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class StepProcess:
    """What a process of a step is started with.

    Attributes:
        job: what it reads (see child.py).
        log: the file to which goes what it prints; empty for none.
        resources: what it asks for.
        timeout_s: how long it may take; None is no limit.
        folder: the folder in which it runs; empty is that of the process that starts it.
        cache: the folder of results, where it runs elsewhere.
        needs: what else it must find there.
        variables: environment variables that it has more than the process that starts it.
    """

    job: bytes = field(repr=False)
    log: str
    resources: StepResources
    timeout_s: float | None
    folder: str = ""
    cache: str = ""
    needs: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a process of a step ended.

    Attributes:
        how: `cancelled`, `too long`, or empty where it ended by itself.
        code: its exit code; the number of a signal is negative.
        answer: what it wrote.
    """

    how: str
    code: int
    answer: bytes = field(repr=False)


class StepPlace(Budget, Protocol):
    """Where processes of steps run, which lends what they ask for.

    Attributes:
        most: how many run at the same time at most.
        is_here: whether that is this machine.
    """

    most: int
    is_here: bool

    def connected(self) -> AbstractContextManager[object]:
        """What lasts while steps run, entered before anything is asked of it."""

    def run(self, process: StepProcess, stopped: Callable[[], bool]) -> ProcessEnd:
        """Run a process, until it ends, or `stopped` comes true.

        Raises:
            StepError: when it cannot be told what became of it.
        """


class ThisMachine(Machine):
    """Runs processes of steps here."""

    most = 32
    is_here = True

    def connected(self) -> AbstractContextManager[object]:
        """See `StepPlace.connected`."""
        return nullcontext()

    def run(self, process: StepProcess, stopped: Callable[[], bool]) -> ProcessEnd:
        """See `StepPlace.run`."""
        return run_here(process, stopped)


def run_here(process: StepProcess, stopped: Callable[[], bool]) -> ProcessEnd:
    """Run a process of a step on this machine. It ends with this process, and so does all that it has started."""
    with _file_in_memory() as job, _file_in_memory() as answer:
        job.write(process.job)
        job.seek(0)
        with open(process.log or os.devnull, "ab") as log:
            child = start(
                [sys.executable, "-m", "motet.workflow.play.child", str(job.fileno()), str(answer.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=process.folder or None,
                env=_environment(process),
                pass_fds=(job.fileno(), answer.fileno()),
            )
        job.close()
        try:
            how = _wait(child, stopped, process.timeout_s)
        finally:
            _end(child)
        answer.seek(0)
        return ProcessEnd(how, child.returncode, answer.read())


def _file_in_memory() -> BinaryIO:
    """A file without a name; on the disk of temporary files where the system has none in memory."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):
            return os.fdopen(os.memfd_create("motet-step"), "w+b")
    return tempfile.TemporaryFile(prefix="motet-step-", dir=temporary_folder())


def _wait(child: subprocess.Popen[bytes], stopped: Callable[[], bool], timeout_s: float | None) -> str:
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(POLL_S)
            return ""
        if stopped():
            return "cancelled"
        if end is not None and time.monotonic() > end:
            return "too long"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it has started: politely first, where it still runs."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _environment(process: StepProcess) -> dict[str, str]:
    found = {**os.environ, **process.variables}
    if process.resources.cpu:
        threads = str(max(int(process.resources.cpu), 1))
        found |= {name: found.get(name, threads) for name in _LIBRARIES}
    return {**found, "PYTHONUNBUFFERED": "1"}
