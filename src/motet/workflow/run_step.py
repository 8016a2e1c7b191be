"""One step on its own: what a container of a cluster runs, where something else decides which step runs when.

    inputs ──► promises become values ──► the step, with its cache ──► a result file, named by its digest
                                                                      a pointer to it, by run and step

    CACHE/results/ab/ID.json             what a step gave: the value's artifacts, or that the step was left out
    CACHE/results/runs/RUN/STEP          the ID of what it gave in a run
    CACHE/results/runs/RUN/.alive-STEP   touched now and then by the process that plays it, for others that help

What is decided while a workflow runs (conditions, choices, results that were left out) is decided here by the same
values. A step that takes `as_ready(...)` runs once, with all that is there. Retries and timeouts are the cluster's.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from motet.errors import InputError, WorkflowError
from motet.system.places import file_name
from motet.system.whole_files import write_whole
from motet.workflow.deferred import Deferred, Item, Result, resolved
from motet.workflow.memo.artifacts import Artifacts, KeptValue
from motet.workflow.memo.cache import cache_folder
from motet.workflow.options import StepOptions
from motet.workflow.plan import Plan
from motet.workflow.step import Step
from motet.workflow.steps import AsReady, PlannedStep, find_step

__all__ = ["ID_DIGITS", "read_inputs", "result_of", "run_step"]

ID_DIGITS = 20
_POLL_S = 0.2
_ROOM_BYTES = 1 << 16
_ROOM_WAIT_S, _ROOM_POLL_S = 3600.0, 5.0
_FIRST_WAIT_S, _SIGN_S, _SILENT_S = 7200.0, 15.0, 600.0
"""How long one of several processes that has done its part stays for process 0, which may begin later, or have more to do: so long
for a first sign of life, of which there is one every `_SIGN_S`, and so long for the next."""
_logger = logging.getLogger("motet.workflow")
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")


def run_step(
    plan: Plan,
    step: str,
    *,
    run: str,
    inputs: Mapping[str, str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    rank: int = 0,
) -> str:
    """Run one step of a plan, and leave its result where the steps that take it find it.

    Args:
        plan: the workflow, wired with the same parameters wherever one of its steps runs.
        step: which step, by its id.
        run: what steps of the same run have in common; names a folder.
        inputs: IDs of results, by step; others are found by the run.
        cache: the folder of results, which all steps share; as for `Plan.run`.
        rank: the number of this process among those that run the step together. Process 0 looks into the cache and
            leaves the result; the others end with exit code 0 as soon as it has, or once they have done their part and process
            0 has shown no sign of life for ten minutes, or for two hours none at all.

    Returns:
        The ID of its result.

    Raises:
        UnknownNameError: when the plan has no such step.
        WorkflowError: when an input is not there, or the folder cannot be written, which is tried before the step runs.
        StepError: when the step fails.
    """
    node = find_step(plan, step)
    results = _Results(cache_folder(cache), run, dict(inputs or {}))
    if (done := results.found(step)) is not None:
        return done  # a container that was started again
    try:
        arguments = _arguments(node, results)
    except _LeftOut as why:
        return results.put(step, None, str(why))
    if rank:
        _help(node, arguments, results)
    results.refuse_full()
    with _signs_of_life(results.alive(step)):
        return results.put(step, _play(plan, node, arguments, results.root))


def result_of(plan: Plan, step: str, run: str, cache: str | os.PathLike[str] | None = None) -> Any:
    """What a step gave in a run; None where it was left out.

    Raises:
        UnknownNameError: when the plan has no such step.
        WorkflowError: when it has given nothing yet.
    """
    find_step(plan, step)
    try:
        return _Results(cache_folder(cache), run, {}).get(step)
    except _LeftOut:
        return None


def read_inputs(text: str) -> dict[str, str]:
    """IDs of results by step, from `STEP=ID STEP=ID`.

    Raises:
        InputError: when it is not so written.
    """
    found = {}
    for part in text.split():
        step, _, name = part.rpartition("=")
        if not step or not _ID.fullmatch(name):
            raise InputError(f"{part!r} is no STEP=ID", where="inputs", hint="an ID is what motet workflow step prints")
        found[step] = name
    return found


class _LeftOut(Exception):
    """The step is not to run."""


@dataclass
class _Results:
    """The results of a run, in the folder that its steps share.

    Attributes:
        root: the folder of the cache.
        run: the run.
        given: IDs of results, by step.
    """

    root: Path
    run: str
    given: dict[str, str]

    def __post_init__(self) -> None:
        self.artifacts = Artifacts(self.root)
        self._loaded: dict[str, Any] = {}

    def refuse_full(self) -> None:
        """Refuse to begin work whose result could not be left. Raises WorkflowError where a file cannot be written."""
        path = self.root / "results" / f".new-room-{secrets.token_hex(8)}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(_ROOM_BYTES))
        except OSError as error:
            told = f"results cannot be written where other steps find them, so the step does not begin: {error}"
            raise WorkflowError(told, where=str(self.root), hint="make room there, and run the step again") from error
        finally:
            with suppress(OSError):
                path.unlink()

    def put(self, step: str, value: Any, left_out: str = "") -> str:
        """Keep what a step gave, and point to it; where there is no room, wait an hour for it. Returns its ID.

        Raises:
            WorkflowError: when it cannot be written to the folder that the steps share.
        """
        end = time.monotonic() + _ROOM_WAIT_S
        waits = False
        while True:
            try:
                return self._put(step, value, left_out)
            except OSError as error:
                told = f"the result of step {step} cannot be written where other steps find it: {error}"
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or time.monotonic() > end:
                    hint = "make room there, and run the step again"
                    raise WorkflowError(told, where=str(self.root), hint=hint) from error
                if not waits:
                    _logger.warning("%s; make room in %s: it waits for that for an hour", told, self.root)
                waits = True
            time.sleep(_ROOM_POLL_S)

    def _put(self, step: str, value: Any, left_out: str) -> str:
        kept = value if isinstance(value, KeptValue) else self.artifacts.keep(value)[0]
        found = None if left_out else kept.to_json()
        data = orjson.dumps({"motet": 1, "left_out": left_out, "kept": found})
        name = hashlib.sha256(data).hexdigest()[:ID_DIGITS]
        write_whole(self._path(name), data)
        write_whole(self.pointer(step), name.encode())
        return name

    def get(self, step: str) -> Any:
        """What a step gave.

        Raises:
            _LeftOut: when it was left out.
            WorkflowError: when it has given nothing, or that is not there any more.
        """
        if step not in self._loaded:
            self._loaded[step] = self._load(step)
        return self._loaded[step]

    def _load(self, step: str) -> Any:
        found = self.outcome(step)
        if found["left_out"]:
            raise _LeftOut(f"step {step} was left out")
        return self.artifacts.load(KeptValue.from_json(found["kept"]))

    def outcome(self, step: str) -> dict[str, Any]:
        """What is noted of what a step gave, or of why it was left out.

        Raises:
            WorkflowError: when it has given nothing, or that is not there any more.
        """
        name = self.given.get(step) or self.found(step)
        if name is None or not _ID.fullmatch(name):
            hint = "run that step first, in the same run and with the same cache"
            raise WorkflowError(f"step {step} has no result in run {self.run}", where=str(self.root), hint=hint)
        try:
            found: dict[str, Any] = orjson.loads(self._path(name).read_bytes())
        except (OSError, ValueError) as error:
            raise WorkflowError(
                f"the result {name} of step {step} cannot be read: {error}",
                where=str(self.root),
                hint="where Argo has remembered it, delete the ConfigMap of its memory and run again",
            ) from error
        return found

    def found(self, step: str) -> str | None:
        """The ID of what a step gave in this run; None before it has."""
        try:
            return self.pointer(step).read_text(encoding="utf-8")
        except OSError:
            return None

    def pointer(self, step: str) -> Path:
        """Where the ID of a step's result is."""
        return self.root / "results" / "runs" / file_name(self.run) / file_name(step)

    def alive(self, step: str) -> Path:
        """What the process touches that plays a step."""
        pointer = self.pointer(step)
        return pointer.with_name(f".alive-{pointer.name}")

    def _path(self, name: str) -> Path:
        return self.root / "results" / name[:2] / f"{name}.json"


def _arguments(node: PlannedStep, results: _Results) -> dict[str, Any]:
    for branch in node.branches:
        if bool(_value(branch.condition, results)) != branch.wanted:
            raise _LeftOut(f"{branch.condition!s} is {'false' if branch.wanted else 'true'}")
    for other in node.after:
        results.outcome(other.id)  # one that was left out is over, too
    return {name: _value(value, results) for name, value in node.arguments.items()}


def _value(value: Any, results: _Results) -> Any:
    """A value, with what steps gave in the place of promises."""

    def take(each: Any) -> Any:
        if isinstance(each, Item):
            return _value(each.source, results)[each.key]
        if isinstance(each, AsReady):
            return _ready(each, results)
        assert not isinstance(each, Deferred) or isinstance(each, Result), (
            f"{each!r} is a promise that is not known here"
        )
        return results.get(each.node.id) if isinstance(each, Result) else each

    return resolved(value, take)


def _ready(value: AsReady, results: _Results) -> list[Any]:
    found = []
    for each in value.items:
        try:
            found.append(_value(each, results))
        except _LeftOut:
            continue
    if len(found) < value.at_least:
        raise _LeftOut(f"{len(found)} of {value.at_least} results are there")
    return found


def _play(plan: Plan, node: PlannedStep, arguments: dict[str, Any], cache: Path) -> KeptValue | Any:
    """The step as a plan of its own, in this process; its cache and its rules hold as everywhere.

    Returns what is kept of its result, or the result where it could not be kept.
    """
    step = Step(node.step.function, StepOptions(process=False), node.step.policy, node.step.name)
    alone = PlannedStep(node.id, step, arguments, (), 0)
    ran = Plan(plan.name, {}, [alone], Result(alone), plan.file).run(cache=cache, resume=False)
    value, artifacts = ran.steps[0].value, ran._session.cache.artifacts
    assert value is not None, "a run that went well has a result of its only step"
    return value.kept if value.kept is not None and artifacts.holds(value.kept) else ran.output


def _help(node: PlannedStep, arguments: dict[str, Any], results: _Results) -> NoReturn:
    """Run the step beside process 0, and end when that one has left the result; what becomes of it, it says itself."""
    over = threading.Event()
    watch = threading.Thread(target=_end_with_first, args=(node.id, results, over), daemon=True)
    watch.start()
    try:
        node.step.call(arguments)
        silent_s = _until_silent(results.alive(node.id))
    finally:
        over.set()
    told = "this process has done its part of step %s, and ends: process 0 has left no result, and no sign of life for %g s"
    _logger.warning(f"{told}; see its log", node.id, silent_s)
    sys.exit(0)


@contextmanager
def _signs_of_life(path: Path) -> Iterator[None]:
    """Touch a file now and then, until the block ends."""
    over = threading.Event()

    def touch() -> None:
        while not over.is_set():
            with suppress(OSError):  # a full disk, say: those who look are patient
                path.touch()
            over.wait(_SIGN_S)

    path.parent.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(OSError):
            path.unlink()


def _until_silent(path: Path) -> float:
    """Wait while a file is touched again and again; gives the seconds in which it was not. One that was killed may have left it."""
    seen, since, patience_s = _touched(path), time.monotonic(), _FIRST_WAIT_S
    while time.monotonic() - since < patience_s:
        time.sleep(_POLL_S)
        if (touched := _touched(path)) not in (None, seen):
            seen, since, patience_s = touched, time.monotonic(), _SILENT_S
    return patience_s


def _touched(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _end_with_first(step: str, results: _Results, over: threading.Event) -> None:
    """End this process when process 0 has left the result: it may have found it in the cache, and wait for nobody."""
    while results.found(step) is None:
        if over.wait(_POLL_S):
            return
    os._exit(0)
