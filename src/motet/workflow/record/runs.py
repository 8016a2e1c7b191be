"""The record of runs, in SQLite: what ran, why, how long, and what came of it."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from motet.errors import UnknownNameError, WorkflowError
from motet.locks import new_lock
from motet.workflow.code.summary import in_unicode
from motet.workflow.memo.base import open_base
from motet.workflow.memo.key import Key
from motet.workflow.memo.locks import is_locked

__all__ = ["RunRecord", "RunRow", "StepRow", "is_alive", "run_lock"]

_VERSION = 2
_FILE = "runs.sqlite"
MOST_RUNS = 2_000
"""Runs that are remembered, with their logs; beyond these and a tenth more, the oldest are forgotten."""
_guard = new_lock()
_open: dict[tuple[int, str], RunRecord] = {}
_forked: list[RunRecord] = []
_SCHEMA = """
create table if not exists runs(
    id text primary key, workflow text, file text, parameters text, plan text, state text, cache text,
    started real, seconds real, error text, pid integer, host text, resumes text);
create index if not exists runs_by_plan on runs(plan, started);
create table if not exists steps(
    run text, id text, place integer, function text, state text, why text, started real, seconds real, made_s real,
    attempts integer, runs integer, error text, key text, formats text, size_bytes integer, needs text, changes text,
    primary key(run, id)) without rowid;
create table if not exists keys(run text primary key, found blob) without rowid;
"""
_STEP = "insert or replace into steps values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it is recorded: the columns of the table, `started` in seconds since 1970."""

    id: str
    workflow: str
    file: str
    parameters: str
    plan: str
    state: str
    cache: str
    started: float
    seconds: float
    error: str
    pid: int
    host: str
    resumes: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a run as it is recorded; `needs` are the steps that it waits for."""

    run: str
    id: str
    place: int
    function: str
    state: str
    why: str
    started: float
    seconds: float
    made_s: float
    attempts: int
    runs: int
    error: str
    key: str
    formats: tuple[str, ...]
    size_bytes: int
    needs: tuple[str, ...]
    changes: tuple[str, ...]


class RunRecord:
    """The runs of a home folder. Its methods may be called from any thread. `RunRecord.of` opens one.

    Args:
        home: the folder, on a disk of this machine.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._users = 0
        self._lock = threading.Lock()
        try:
            self._base = open_base(home / _FILE, _SCHEMA, _VERSION, durable=True)
        except (OSError, sqlite3.Error) as error:
            hint = "see that its disk has room and can be written, or name another folder as MOTET_CACHE_DIR"
            raise WorkflowError(f"the record of runs cannot be opened: {error}", where=str(home), hint=hint) from error

    @classmethod
    def of(cls, home: Path) -> RunRecord:
        """The record of a home folder. The last one stays open: to close it writes to the disk, which takes its time.

        Raises:
            WorkflowError: when it cannot be opened.
        """
        key = (os.getpid(), str(home))
        with _guard:
            others = [each for each in _open if each[0] != key[0]]
            _forked.extend(map(_open.pop, others))  # the process that opened them closes them
            if key in _open and not (home / _FILE).exists():
                _open.pop(key)._base.close()
            if key not in _open:
                for other in [each for each, record in _open.items() if not record._users]:
                    _open.pop(other)._base.close()
                _open[key] = cls(home)
            _open[key]._users += 1
            return _open[key]

    def close(self) -> None:
        """Need it no more."""
        with _guard:
            self._users -= 1
            if (os.getpid(), str(self.home)) not in _open and not self._users:
                self._base.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise WorkflowError(
                f"the record of runs cannot be written: {error}",
                where=str(self.home),
                hint="see that its disk has room; then the same command goes on with the run",
            ) from error

    def begin(self, row: RunRow) -> None:
        """Note that a run begins, or goes on. Like the other notes it raises WorkflowError where the disk is full."""
        values = _written(getattr(row, name) for name in RunRow.__slots__)
        with self._writing():
            self._base.execute(f"insert or replace into runs values({','.join('?' * len(values))})", values)
            (count,) = self._base.execute("select count(*) from runs").fetchone()
        if count > MOST_RUNS * 1.1:
            self._forget(MOST_RUNS)

    def _forget(self, most: int) -> None:
        """Forget all but the last runs, and those that live."""
        with self._lock:
            rows = self._base.execute("select id from runs order by started desc limit -1 offset ?", (most,)).fetchall()
        old = [row for row in rows if not is_alive(self.home, row[0])]
        for (run,) in old:
            shutil.rmtree(self.folder(run), ignore_errors=True)
        with self._writing(), self._base:
            self._base.execute("begin immediate")
            self._base.executemany("delete from steps where run=?", old)
            self._base.executemany("delete from keys where run=?", old)
            self._base.executemany("delete from runs where id=?", old)

    def goes(self, run: str, seconds: float) -> None:
        """Note that a run goes on after some seconds, so that it is known when it was killed."""
        with self._writing():
            self._base.execute("update runs set seconds=? where id=?", (seconds, run))

    def end(self, run: str, state: str, seconds: float, error: str) -> None:
        """Note how a run ended."""
        with self._writing():
            self._base.execute(
                "update runs set state=?, seconds=?, error=? where id=?", _written((state, seconds, error, run))
            )

    def steps(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Note where steps are."""
        with self._writing(), self._base:
            self._base.execute("begin")
            self._base.executemany(_STEP, map(_written, rows))

    def keep_keys(self, run: str, keys: Mapping[str, Key]) -> None:
        """Note what steps without cache were made of, to compare runs by."""
        found = orjson.dumps({step: key.to_json() for step, key in keys.items()})
        with self._writing():
            self._base.execute("insert or replace into keys values(?, ?)", (run, found))

    def keys_of(self, run: str) -> dict[str, Key]:
        """What steps without cache of a run were made of; nothing where that was not noted."""
        with self._lock:
            row = self._base.execute("select found from keys where run=?", (run,)).fetchone()
        return {step: Key.from_json(each) for step, each in orjson.loads(row[0]).items()} if row else {}

    def runs(self, limit: int = 50, workflow: str = "") -> list[RunRow]:
        """The last runs, the newest first."""
        return self._found("where workflow=? or ?='' order by started desc limit ?", workflow, workflow, limit)

    def _found(self, rest: str, *values: Any) -> list[RunRow]:
        with self._lock:
            return [RunRow(*row) for row in self._base.execute(f"select * from runs {rest}", values)]

    def as_it_is(self, run: RunRow) -> RunRow:
        """A run with its true state: one that runs by the record, and whose process is gone, was `killed`."""
        return replace(run, state="killed") if run.state == "running" and not is_alive(self.home, run.id) else run

    def last_of(self, plan: str) -> RunRow | None:
        """The last run of the same workflow with the same parameters."""
        return next(iter(self._found("where plan=? order by started desc limit 1", plan)), None)

    def running(self, workflow: str, plan: str) -> list[RunRow]:
        """The runs of a workflow with the same parameters that run, or were killed; of all parameters where `plan` is empty."""
        return self._found("where state='running' and workflow=? and (plan=? or ?='')", workflow, plan, plan)

    def run(self, name: str) -> RunRow:
        """A run by its id, by the beginning of it, or the `last` one.

        Raises:
            UnknownNameError: when there is none, or several begin so.
        """
        begins = "where id = ? or substr(id, 1, length(?)) = ? order by id = ? desc, started desc limit 20"
        rows = self.runs(1) if name == "last" else self._found(begins, name, name, name, name)
        if not rows or (len(rows) > 1 and rows[0].id != name):
            raise UnknownNameError("run", name, [each.id for each in rows or self.runs(10)])
        return rows[0]

    def steps_of(self, run: str) -> list[StepRow]:
        """The steps of a run, in the order in which they were called."""
        with self._lock:
            rows = self._base.execute("select * from steps where run=? order by place", (run,)).fetchall()
        return [
            StepRow(*row[:13], _texts(row[13]), row[14], _texts(row[15]), _texts(row[16]))  # type: ignore[call-arg]
            for row in rows
        ]

    def folder(self, run: str) -> Path:
        """Where the logs and the page of a run are."""
        return self.home / "runs" / run


def _written(values: Iterable[Any]) -> list[Any]:
    """Values as SQLite takes them."""
    return [in_unicode(each) if type(each) is str else each for each in values]


def _texts(packed: str) -> tuple[str, ...]:
    return tuple(orjson.loads(packed)) if packed else ()


def run_lock(run: str) -> str:
    """The key of the lock that a run holds as long as its process lives."""
    import hashlib

    return hashlib.sha256(run.encode()).hexdigest()


def is_alive(home: Path, run: str) -> bool:
    """Whether the process of a run lives, on this machine."""
    return is_locked(home / "runs.lock", run_lock(run))


@atexit.register
def _close_all() -> None:
    for (process, _), record in _open.items():
        if process == os.getpid():
            record._base.close()
