"""A step in a process of its own.

    parent                                             child (child.py)
    writes job: function, arguments, where results go
    starts the child, in a session of its own     ──►  loads the function and its arguments
    waits, ends it when time is over or the run ends   calls the function, keeps its result
    reads the answer                              ◄──  writes the answer

Job and answer are files in memory, so that a full disk loses no result: what cannot be kept is in the answer. The child ends
with its parent, and so does all that it has started.
"""

from __future__ import annotations

import base64
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

from motet.errors import InputError, StepError
from motet.metrics_log import metrics_file
from motet.system.lifeline import start
from motet.system.places import temporary_folder
from motet.workflow.deferred import Deferred, Item, Result, mapped
from motet.workflow.functions import attribute, place_of
from motet.workflow.memo.artifacts import KeptValue
from motet.workflow.memo.checkout import Checkout
from motet.workflow.memo.trees import pack, unpack
from motet.workflow.options import StepResources
from motet.workflow.play.pack import packed, unpacked
from motet.workflow.play.session import Session
from motet.workflow.play.state import Cancelled, FinalStepError, StepState, StepValue
from motet.workflow.record.logs import log_file
from motet.workflow.step import Step
from motet.workflow.steps import PlannedStep

__all__ = ["NotApart", "ResultPart", "StepJob", "is_of_a_module", "refuse_lost", "run_in_process"]

_POLL_S = 0.05
_GRACE_S = 5.0
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class NotApart(FinalStepError, InputError):
    """A step that cannot run in a process of its own: it cannot be called there, or what it gave cannot be sent back."""


@dataclass(frozen=True, slots=True)
class ResultPart:
    """A result, or a part of it, that the child loads itself."""

    kept: KeptValue
    keys: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class StepJob:
    """What a child is to do.

    Attributes:
        module, name: the function.
        file: the file of its module.
        arguments: what it is called with; `ResultPart`s in it are loaded.
        cache: the folder of the cache.
        spare, refused: where results go that cannot be written there, and why some did.
        run, step, attempt, resources: what the step can ask about itself.
        path: where modules are looked for.
        bodies: digests of the compiled functions that it stands on, as they are in the process that asks.
        parts: digests of all parts of the code that it stands on, the same.
        checkout: where it finds the files of results.
        only_same: whether it is refused where a part differs, instead of called with what is there.
        metrics: where its metrics go.
    """

    module: str
    name: str
    file: str
    arguments: dict[str, Any]
    cache: str
    spare: Path | None
    refused: str
    run: str
    step: str
    attempt: int
    resources: StepResources
    path: tuple[str, ...]
    bodies: dict[str, str]
    parts: dict[str, str]
    checkout: Checkout
    only_same: bool
    metrics: Path


def run_in_process(session: Session, state: StepState, checkout: Checkout) -> tuple[StepValue, str]:
    """Run a step in a process of its own. Returns its result, and why that is not kept where that is so.

    Raises:
        Cancelled: when the run was cancelled; the process is ended.
        StepError: when the step failed, took too long, or its process ended.
        NotApart: when it was not called, or what it gave cannot be sent back.
    """
    options = state.node.step.options
    with _file_in_memory() as job, _file_in_memory() as answer:
        _write_job(job, session, state, checkout)
        with _log_of(session, state) as (log, place):
            child = start(
                [sys.executable, "-m", "motet.workflow.play.child", str(job.fileno()), str(answer.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(options.resources),
                pass_fds=(job.fileno(), answer.fileno()),
            )
        job.close()
        try:
            ended = _wait(child, session, options.timeout_s)
        finally:
            _end(child)
        if ended == "cancelled":
            raise Cancelled
        if ended == "too long":
            raise StepError(f"took more than {options.timeout_s:g} s, and was ended", where=state.node.step.place)
        return _answer(answer, session, state, child.returncode, place)


def _file_in_memory() -> BinaryIO:
    """A file without a name; on the disk of temporary files where the system has none in memory."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):
            return os.fdopen(os.memfd_create("motet-step"), "w+b")
    return tempfile.TemporaryFile(prefix="motet-step-", dir=temporary_folder())


@contextmanager
def _log_of(session: Session, state: StepState) -> Iterator[tuple[IO[bytes] | int, str]]:
    """Where what a step prints goes: its log, or nowhere where there is no room for that; and what is told of it."""
    path = log_file(session.record.folder(session.run) / "logs", state.id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        session.say_once(f"{path.parent} cannot be written ({error.strerror}): what steps print is not kept")
        yield subprocess.DEVNULL, "what it printed could not be kept"
        return
    with file:
        yield file, f"what it printed is in {path}"


def _wait(child: subprocess.Popen[bytes], session: Session, timeout_s: float | None) -> str:
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
            return ""
        if session.cancel.is_set():
            return "cancelled"
        if end is not None and time.monotonic() > end:
            return "too long"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it has started: politely first, where it still runs."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _write_job(job: BinaryIO, session: Session, state: StepState, checkout: Checkout) -> None:
    """Write a job: a line that names its module, whose file is loaded first, and the job itself."""
    step, artifacts = state.node.step, session.cache.artifacts
    function = step.function
    name = getattr(function, "__qualname__", "")
    arguments = {name: _sent(session, value, checkout) for name, value in state.arguments.items()}
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    code = session.code(function)
    found = StepJob(
        function.__module__, name, file, arguments, str(session.cache.root), artifacts.spare, artifacts.refused,
        session.run, state.id, state.attempts - 1, step.options.resources, tuple(sys.path),
        code.bodies, code.parts, checkout, not step.own_process,
        metrics_file(session.record.folder(session.run)),
    )  # fmt: skip
    try:
        data = packed(found)
    except Exception as error:
        raise NotApart(
            f"step {state.id} runs in a process of its own, and what it is called with cannot be sent there: {error}",
            where=place_of(function),
            hint="give paths, numbers and data, or say process=False",
        ) from error
    modules = {"module": function.__module__, "file": file, "path": list(sys.path)}
    job.write(pack(modules) + b"\n" + data)
    job.seek(0)


def refuse_lost(node: PlannedStep) -> None:
    """Refuse a step whose process would not find its function.

    Raises:
        InputError: when it has no name there, or is defined in a notebook or a shell.
    """
    function = node.step.function
    if not _is_found(function):
        shell = function.__module__ == "__main__" and not getattr(sys.modules["__main__"], "__file__", None)
        hint = (
            "write it to a file and import it (in a notebook, %%writefile steps.py is the first line of its cell)"
            if shell
            else "define it at the top level of a module, in a file"
        )
        raise InputError(
            f"step {node.id} runs in a process of its own, so its function must be found by name",
            where=place_of(function),
            hint=f"{hint}, or say process=False",
        )


def is_of_a_module(function: Any) -> bool:
    """Whether another process finds a function in a module that it can import, without running a program anew."""
    return function.__module__ != "__main__" and _is_found(function)


def _is_found(function: Any) -> bool:
    """Whether a function is what its module has under its name, alone or as a step."""
    module, name = function.__module__, getattr(function, "__qualname__", "")
    loaded = sys.modules.get(module)
    if (
        not name
        or "<" in name
        or (module == "__main__" and not os.path.isfile(getattr(loaded, "__file__", None) or ""))
    ):
        return False
    if loaded is None:
        return True  # the process that runs it looks for it
    found = attribute(module, name)
    return found is function or (isinstance(found, Step) and found.function is function)


def _sent(session: Session, value: Any, checkout: Checkout) -> Any:
    """An argument as it is sent: results that are kept are loaded by the child."""
    if isinstance(value, Deferred):
        keys, source = session.way(value) if isinstance(value, Item) else ([], value)
        if isinstance(source, Result):
            found = session.state(source.node).value
            if found is not None and found.kept is not None:
                session.cache.artifacts.put_files_back(found.kept, checkout)  # which the child only has to find
                return ResultPart(found.kept, tuple(keys))
        return session.resolve(value, checkout)
    return mapped(value, lambda each: _sent(session, each, checkout))


def _environment(resources: StepResources) -> dict[str, str]:
    found = dict(os.environ)
    if resources.cpu:
        threads = str(max(int(resources.cpu), 1))
        found |= {name: found.get(name, threads) for name in _LIBRARIES}
    return {**found, "PYTHONUNBUFFERED": "1"}


def _answer(answer: BinaryIO, session: Session, state: StepState, code: int, log: str) -> tuple[StepValue, str]:
    """Read an answer: a line, and behind it a result that could not be kept."""
    answer.seek(0)
    where = state.node.step.place
    try:
        found = unpack(answer.readline())
        data = answer.read()
    except ValueError:
        found, data = {}, b""
    if not found or len(data) != found["size"]:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        hint = f"{log}{'; it may have wanted more memory than there is' if code == -9 else ''}"
        raise StepError(f"its process {how}", where=where, hint=hint)
    if "error" in found:
        kind = StepError if found["called"] else NotApart
        error = kind(found["error"], where=found["place"], hint=log)
        error.add_note(found["traceback"])
        with suppress(Exception):
            error.__cause__ = pickle.loads(base64.b64decode(found["cause"]))
        raise error
    artifacts = session.cache.artifacts
    artifacts.refused = artifacts.refused or found["refused"]
    if data:
        value = StepValue.in_memory(partial(unpacked, data), found["paths"])
        return value, found["fault"] or session.not_kept(found["refused"])
    return session.held(KeptValue.from_json(found["kept"]), {}), found["fault"]
