"""A step in a process of its own.

    parent                                             child (child.py)
    writes job: function, arguments, where results go
    starts the child, here or on a node           ──►  loads the function and its arguments
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
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from motet.errors import InputError, StepError
from motet.metrics_log import metrics_file
from motet.workflow.deferred import Deferred, Item, Result, mapped
from motet.workflow.functions import attribute, place_of
from motet.workflow.memo.artifacts import KeptValue
from motet.workflow.memo.checkout import Checkout
from motet.workflow.memo.trees import pack, unpack
from motet.workflow.options import StepResources
from motet.workflow.play.pack import packed, unpacked
from motet.workflow.play.session import Session
from motet.workflow.play.state import Cancelled, FinalStepError, StepState, StepValue
from motet.workflow.play.step_process import ProcessEnd, StepPlace, StepProcess
from motet.workflow.record.logs import log_file
from motet.workflow.step import Step
from motet.workflow.steps import PlannedStep

__all__ = ["NotApart", "ResultPart", "StepJob", "is_of_a_module", "refuse_lost", "run_in_process"]


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


def run_in_process(session: Session, state: StepState, checkout: Checkout, place: StepPlace) -> tuple[StepValue, str]:
    """Run a step in a process of its own. Returns its result, and why that is not kept where that is so.

    Args:
        session: the run.
        state: the step.
        checkout: where it finds the files of results.
        place: where the process runs.

    Raises:
        Cancelled: when the run was cancelled; the process is ended.
        StepError: when the step failed, took too long, or its process ended.
        NotApart: when it was not called, or what it gave cannot be sent back.
    """
    options, where = state.node.step.options, state.node.step.place
    log, told = _log_of(session, state)
    process = _process(session, state, checkout, log, apart=not place.is_here)
    try:
        ended = place.run(process, session.cancel.is_set)
    except StepError as error:
        raise error.located(where) from error.__cause__
    if ended.how == "cancelled":
        raise Cancelled
    if ended.how == "too long":
        raise StepError(f"took more than {options.timeout_s:g} s, and was ended", where=where)
    return _answer(ended, session, state, told)


def _log_of(session: Session, state: StepState) -> tuple[str, str]:
    """The file to which goes what a step prints, empty where there is no room for that; and what is told of it."""
    path = log_file(session.record.folder(session.run) / "logs", state.id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        session.say_once(f"{path.parent} cannot be written ({error.strerror}): what steps print is not kept")
        return "", "what it printed could not be kept"
    return str(path), f"what it printed is in {path}"


def _process(session: Session, state: StepState, checkout: Checkout, log: str, *, apart: bool) -> StepProcess:
    """What a process is started with: a line that names its module, whose file is loaded first, and its job.

    Args:
        session, state, checkout, log: see above.
        apart: whether it runs on another machine, which does not reach the spare folder.
    """
    step, artifacts = state.node.step, session.cache.artifacts
    function = step.function
    name = getattr(function, "__qualname__", "")
    arguments = {name: _sent(session, value, checkout, apart) for name, value in state.arguments.items()}
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    code = session.code(function)
    spare = (None, "") if apart else (artifacts.spare, artifacts.refused)
    found = StepJob(
        function.__module__, name, file, arguments, str(session.cache.root), *spare,
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
    found_there = _of_another_machine(session, file) if apart else {}
    options = step.options
    return StepProcess(pack(modules) + b"\n" + data, log, options.resources, options.timeout_s, **found_there)


def _of_another_machine(session: Session, file: str) -> dict[str, Any]:
    """What a process on another machine finds there, and is told, as it would find it here."""
    needs = (str(session.record.folder(session.run)), *([file] if os.path.isabs(file) else []))
    variables = {name: value for name, value in os.environ.items() if name.startswith("MOTET_")}
    return {"folder": os.getcwd(), "cache": str(session.cache.root), "needs": needs, "variables": variables}


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


def _sent(session: Session, value: Any, checkout: Checkout, apart: bool) -> Any:
    """An argument as it is sent: results that are kept are loaded by the child."""
    if isinstance(value, Deferred):
        keys, source = session.way(value) if isinstance(value, Item) else ([], value)
        if isinstance(source, Result):
            found = session.state(source.node).value
            if (
                found is not None
                and found.kept is not None
                and (not apart or session.cache.artifacts.holds(found.kept))
            ):
                session.cache.artifacts.put_files_back(found.kept, checkout)  # which the child only has to find
                return ResultPart(found.kept, tuple(keys))
        return session.resolve(value, checkout)
    return mapped(value, lambda each: _sent(session, each, checkout, apart))


def _answer(ended: ProcessEnd, session: Session, state: StepState, log: str) -> tuple[StepValue, str]:
    """Read an answer: a line, and behind it a result that could not be kept."""
    where, code = state.node.step.place, ended.code
    line = ended.answer.find(b"\n") + 1
    data = memoryview(ended.answer)[line:]
    try:
        found = unpack(ended.answer[:line])
    except ValueError:
        found = {}
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
