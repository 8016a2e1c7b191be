"""From a plan to a run: its id, what it goes on from, its record, and what is said at the end."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from motet.errors import InputError, RunError, StepError, WorkflowError
from motet.system.limits import num_cores
from motet.system.places import temporary_folder
from motet.workflow.code.summary import short
from motet.workflow.load import loading
from motet.workflow.memo.cache import Cache, cache_folder, home_folder
from motet.workflow.memo.encode import Encoder
from motet.workflow.memo.locks import try_lock, unlock
from motet.workflow.memo.trees import pack
from motet.workflow.play.budget import Budget
from motet.workflow.play.execute import StepExecutor
from motet.workflow.play.files import Files
from motet.workflow.play.journal import Journal
from motet.workflow.play.overlap import Overlap, turn
from motet.workflow.play.process import refuse_lost
from motet.workflow.play.resume import earlier_run, say_resumed
from motet.workflow.play.run import Run
from motet.workflow.play.runner import Runner
from motet.workflow.play.session import Session
from motet.workflow.play.state import GOOD, StepState
from motet.workflow.play.step_process import StepPlace, ThisMachine
from motet.workflow.record.logs import captured
from motet.workflow.record.runs import RunRecord, RunRow, run_lock
from motet.workflow.steps import StepGraph, find_step

__all__ = ["RunSettings", "plan_digest", "run_plan"]

LEAST_THREADS = 4
_ASKED_S = 0.01


@dataclass(frozen=True)
class RunSettings:
    """How a plan is run; see `Plan.run`. `place` is where processes of steps run, `budget` lends them resources: by default `place`."""

    cache: str | os.PathLike[str] | None = None
    asynchronous: bool = True
    resume: str | bool = True
    resume_within_s: float | None = None
    overlap: Overlap = "allow"
    again: frozenset[str] = frozenset()
    fail_fast: bool = False
    check: bool = True
    threads: int | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[StepState], None] | None = None
    capture: bool = False
    budget: Budget | None = None
    place: StepPlace = field(default_factory=ThisMachine)


def run_plan(plan: StepGraph, settings: RunSettings) -> Run:
    """Run a plan; see `Plan.run`."""
    if loading:
        raise WorkflowError(
            "a run begins while a step's own process loads this file",
            where=loading[-1],
            hint="begin runs under if __name__ == '__main__':",
        )
    if settings.threads is not None and settings.threads < 1:
        raise InputError(f"threads={settings.threads}", where="run", hint="1 or more")
    for name in settings.again:
        find_step(plan, name)
    folder = cache_folder(settings.cache)
    _refuse_file(folder)
    for node in plan.nodes:
        if node.step.own_process:
            refuse_lost(node)
    with settings.place.connected():
        return _run_at(plan, settings, folder)


def _run_at(plan: StepGraph, settings: RunSettings, folder: Path) -> Run:
    budget = settings.budget or settings.place
    for node in plan.nodes:
        if node.step.own_process:
            for each in {id(budget): budget, id(settings.place): settings.place}.values():
                each.check(node.step.options.resources, f"step {node.id}")
    home = home_folder()
    record = RunRecord.of(home)
    try:
        digest = plan_digest(plan)
        with (
            turn(record, home, plan, digest, settings.overlap, settings.cancel),
            _claimed(record, home, plan, digest, settings) as (run, earlier),
        ):
            return _run(plan, settings, folder, budget, record, run, digest, earlier)
    finally:
        record.close()


def _run(
    plan: StepGraph,
    settings: RunSettings,
    folder: Path,
    budget: Budget,
    record: RunRecord,
    run: str,
    digest: str,
    earlier: RunRow | None,
) -> Run:
    cache = Cache(folder)
    cache.artifacts.spare = spare = _spare_folder(run)
    journal = Journal(record.folder(run))
    states = [StepState(node.id, node) for node in plan.nodes]
    resumed = journal.read() if earlier is not None else {}
    if earlier is not None:
        say_resumed(earlier, list(resumed.values()))
    files = Files(record.folder(run))
    session = Session(run, cache, record, journal, states, resumed, settings.cancel, files, settings.again)
    parameters = orjson.dumps({name: short(value) for name, value in plan.parameters.items()}).decode()
    about = (os.getpid(), socket.gethostname(), earlier.id if earlier is not None else "")
    row = RunRow(
        run, plan.name, plan.file, parameters, digest, "running", str(cache.root), time.time(), 0.0, "", *about
    )
    record.begin(row)
    executor = StepExecutor(session, budget, settings.place)
    threads = settings.threads or max(num_cores(), LEAST_THREADS)
    runner = Runner(executor, threads, settings.asynchronous, settings.fail_fast, settings.progress)
    began = time.perf_counter()
    state = "failed"
    try:
        with captured(record.folder(run) / "logs", run) if settings.capture else nullcontext():
            runner.run()
        state = _outcome(states)
    except KeyboardInterrupt:
        state = "cancelled"
        raise
    finally:
        failed = [each for each in states if each.state == "failed"]
        seconds = time.perf_counter() - began
        _end(session, executor, state, seconds, failed)
        if cache.artifacts.refused:
            weakref.finalize(session, _remove, spare, os.getpid())
        session.files.close()
        journal.close(remove=state == "done")
        _index(cache)
    found = Run(run, plan.name, state, tuple(states), seconds, earlier is not None, plan, session)
    if settings.check and state != "done":
        raise _failure(found, failed)
    return found


def _end(session: Session, executor: StepExecutor, state: str, seconds: float, failed: Sequence[StepState]) -> None:
    """Write down how a run has ended, where that can be written."""
    try:
        reasons = "; ".join(f"{each.id}: {each.error}" for each in failed[:3])
        session.record.end(session.run, state, seconds, reasons)
    except WorkflowError as error:
        session.say_once(f"{error.what}, so it does not say how run {session.run} ended: {state}")
    with suppress(OSError, WorkflowError):  # they are only to tell
        executor.keep_keys()


@contextmanager
def _claimed(
    record: RunRecord, home: Path, plan: StepGraph, digest: str, settings: RunSettings
) -> Iterator[tuple[str, RunRow | None]]:
    """The id of the run, whose lock is held meanwhile, and the run that it goes on with.

    Of several processes that find the same killed run one goes on with it, and the others begin runs of their own.
    """
    locks, named = home / "runs.lock", isinstance(settings.resume, str)
    earlier = earlier_run(record, home, plan.name, digest, settings.resume, settings.resume_within_s)
    run = earlier.id if earlier is not None else _new_id(plan.name)
    held = _taken(locks, run_lock(run))
    if (
        held and earlier is not None and not named and record.run(run) != earlier
    ):  # another process went on with it meanwhile
        unlock(locks, run_lock(run))
        held = False
    elif not held and named:
        raise WorkflowError(f"run {run} is running", where=plan.name, hint="wait for it, or stop it")
    if not held:
        run, earlier = _new_id(plan.name), None
        _taken(locks, run_lock(run))
    try:
        yield run, earlier
    finally:
        unlock(locks, run_lock(run))


def _taken(path: Path, key: str) -> bool:
    """Take the lock of a run: again a moment later, as somebody may only have asked whether it is held."""
    if try_lock(path, key):
        return True
    time.sleep(_ASKED_S)
    return try_lock(path, key)


def _refuse_file(folder: Path) -> None:
    """Refuse a cache that can never be one: a file is there, or on the way to it."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        raise WorkflowError(
            f"the cache cannot be used: {there} is no folder",
            where=str(folder),
            hint="name another folder as the cache",
        )


def _spare_folder(run: str) -> Path | None:
    """Where results of a run go that cannot be written to the cache; made when there are some."""
    try:
        return Path(temporary_folder(), f"motet-{run}-{os.getpid()}")
    except RunError:
        return None


def _remove(folder: Path | None, process: int) -> None:
    if folder is not None and os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(states: list[StepState]) -> str:
    found = {each.state for each in states}
    if "failed" in found:
        return "failed"
    return "cancelled" if "cancelled" in found else "failed" if "skipped" in found else "done"


def _index(cache: Cache) -> None:
    """Add what the run has kept to the index; without it, the next one to ask reads the entries themselves."""
    new = cache.new()
    if new:
        from motet.workflow.memo.index import Index

        with suppress(WorkflowError, sqlite3.Error), Index.of(cache) as index:
            index.add(new)


def _failure(run: Run, failed: list[StepState]) -> WorkflowError:
    if not failed:
        hint = f"resume={run.id!r} goes on with it"
        return WorkflowError(f"run {run.id} was {run.state}", where=run.workflow, hint=hint)
    told = f"step {failed[0].id} failed: {failed[0].error}"
    if failed[1:]:
        told += f"; and so did {', '.join(each.id for each in failed[1:5])}" + (" and others" if failed[5:] else "")
    done = sum(each.state in GOOD for each in run.steps)
    skipped = sum(each.state in ("skipped", "cancelled") for each in run.steps)
    hint = f"{done} finished, {skipped} not run; mend the cause and go on with resume={run.id!r}"
    error = StepError(told, where=run.workflow, hint=hint)
    error.__cause__ = failed[0].cause
    return error


def plan_digest(plan: StepGraph) -> str:
    """What tells whether two runs are of the same workflow with the same parameters; empty where that cannot be told."""
    encoder = Encoder(hook=lambda value: _importable(value))
    try:
        file = plan.file if os.path.isfile(plan.file) else ""  # a cell of a notebook has another name in each kernel
        tree: Any = [plan.name, os.path.abspath(file), encoder.tree(dict(plan.parameters))]
    except Exception:  # noqa: BLE001  pickling a user's value may raise anything
        return ""
    return "" if encoder.leaves else hashlib.sha256(pack(tree)).hexdigest()


def _importable(value: Any) -> Any:
    name = getattr(value, "__qualname__", "<")
    return {"$name": f"{value.__module__}:{name}"} if "<" not in name and callable(value) else None


def _new_id(name: str) -> str:
    """An id that is one part of a path, whatever the workflow is called."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:100] or "run"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
