"""Steps of workflows on Ray: a task starts the step's process on its node, waits for it, and ends it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from motet.engines.needs import PLAIN
from motet.engines.ray.engine import RayEngine
from motet.engines.ray.room import TaskRoom
from motet.engines.splits.engine import SPLIT_BYTES, imported
from motet.engines.splits.run import connected
from motet.errors import InputError, StepError
from motet.locks import new_lock
from motet.runtime.resources.need import Need
from motet.workflow.options import StepResources
from motet.workflow.play.state import FinalStepError
from motet.workflow.play.step_process import GRACE_S, POLL_S, ProcessEnd, StepProcess, run_here

__all__ = ["Steps"]

FORCE_S = GRACE_S + 1.0
"""How long a task has to end its process before Ray ends both."""
MOST_SAID = 500
"""Characters that are told of Ray's own errors."""
CANCELLED = ProcessEnd("cancelled", 0, b"")


class Steps:
    """Where steps with processes of their own run on Ray: `plan.run(place=motet.ray.Steps())`.

    Nodes share folders with the program: that in which it runs, those of the cache and of its record (`$MOTET_CACHE_DIR`), and
    that of the code. A step has what it asks for to itself, and a whole CPU where it asks for none; a node that dies costs one of
    its tries.

    Args:
        arguments: the options of the engine: `--address ADDRESS` of a cluster, where the program is not connected to one.

    Raises:
        InputError: when an option cannot be.
    """

    most = 256
    is_here = False

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._engine = RayEngine(arguments)
        if self._engine.one_stage or self._engine.split_bytes != SPLIT_BYTES:
            raise InputError("--split-bytes and --one-stage are of runs", where="engine ray", hint="leave them out")
        self._ray = imported("ray", "ray")
        self._lock = new_lock()
        self._marks: dict[str, str] = {}

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Be connected to the cluster while steps run; see `StepPlace`.

        Raises:
            RunError: when that cannot be.
        """
        with ExitStack() as stack:
            stack.enter_context(connected(self._engine.name, lambda: self._engine.connected([Need()])))
            stack.callback(self._unmark)
            yield

    def check(self, wanted: StepResources, where: str) -> None:
        """See that a node has what a step asks for.

        Raises:
            InputError: when none has.
        """
        self._room(wanted).check_task(self._ray, where)

    @contextmanager
    def borrow(self, wanted: StepResources, stopped: Callable[[], bool]) -> Iterator[bool]:
        """Lend nothing: Ray itself has steps wait."""
        yield True

    def run(self, process: StepProcess, stopped: Callable[[], bool]) -> ProcessEnd:
        """Run a process on a node; see `StepPlace`.

        Raises:
            StepError: when the node, or the task, died.
            FinalStepError: when the node does not share a folder.
        """
        ray, room = self._ray, self._room(process.resources)
        task = ray.remote(_run).options(**room.options, max_retries=0).remote(process, self._mark(process.cache))
        answer, told_s = task.future(), 0.0
        while True:
            try:
                found: ProcessEnd = answer.result(POLL_S)
                return found
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                if stopped():
                    return CANCELLED
                what = f"its task on Ray died: {' '.join(str(error).split())[:MOST_SAID]}"
                raise StepError(
                    what, hint="a node may have died, or had too little memory; retries= tries again"
                ) from None
            except TimeoutError:  # here: one of the task is a RayTaskError, too
                if not stopped():
                    continue
                if not ray.is_initialized():
                    return CANCELLED
                if not told_s or time.monotonic() - told_s > FORCE_S:
                    ray.cancel(task, force=told_s > 0)
                    told_s = time.monotonic()

    def _room(self, wanted: StepResources) -> TaskRoom:
        need = Need(wanted.total_cpu or PLAIN.cpu, wanted.total_memory_bytes, wanted.total_accelerator)
        return self._engine.room(need)

    def _mark(self, cache: str) -> str:
        """A file that is only in the folder of the cache that the program has; empty where it cannot be written to."""
        with self._lock:
            if cache not in self._marks:
                mark = Path(cache, f".shared-{uuid.uuid4().hex}")
                try:
                    mark.parent.mkdir(parents=True, exist_ok=True)
                    mark.touch()
                    self._marks[cache] = str(mark)
                except OSError:
                    self._marks[cache] = ""
            return self._marks[cache]

    def _unmark(self) -> None:
        for each in filter(None, self._marks.values()):
            with suppress(OSError):
                os.unlink(each)
        self._marks.clear()


def _run(process: StepProcess, mark: str) -> ProcessEnd:
    """Run a process in a task, which `ray.cancel` interrupts: then it is ended."""
    needed = (process.folder, *process.needs, mark)
    lacking = next((each for each in needed if each and not os.path.exists(each)), None)
    if lacking is not None:
        raise FinalStepError(
            f"node {socket.gethostname()} does not reach {lacking}",
            hint="have the code, the folder of the program, $MOTET_CACHE_DIR and the cache where all nodes find them",
        )
    return run_here(process, lambda: False)
