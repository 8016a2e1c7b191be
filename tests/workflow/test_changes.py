"""The table of changes: each change to code, values, files or the environment makes a step run again, or does not."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import ipaddress
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import types
import uuid
import zipfile
import zipimport
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
import scipy.sparse
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import motet as mt
from motet.workflow import project as project_modules
from motet.workflow.code.follow import follow
from motet.workflow.memo.cache import Cache
from motet.workflow.play.session import Session
from motet.workflow.play.turns import put_back
from workflow.changes_of_code import CODE
from workflow.changes_of_values import AROUND, FILES, VALUES
from workflow.conftest import Project

NAMES: tuple[Any, ...] = (
    collections,
    datetime,
    decimal,
    fractions,
    functools,
    ipaddress,
    pathlib,
    random,
    statistics,
    types,
    uuid,
    zoneinfo,
)
NAMES += (np, pd, pl, pa, scipy.sparse, Ridge, make_pipeline)
"""What rows of values use."""

TAIL = "\nimport motet as _mt\n_step = _mt.step(cache=True)(s)\n@_mt.workflow\ndef flow():\n    return _step(1)\n"
DIGEST = re.compile("[0-9a-f]{64}$")
CHANGE = re.compile(r"\{\{(.*?)\|\|(.*?)\}\}", re.DOTALL)


def files_of(text: str, version: int) -> dict[str, str]:
    """The files of a row of the table, before (0) or after (1) the change."""
    name, found = "flow.py", {}
    for line in CHANGE.sub(lambda match: match[version + 1], text).splitlines(keepends=True):
        if line.startswith("--- "):
            name = line[4:].strip()
        found[name] = found.get(name, "") + ("" if line.startswith("--- ") else line)
    return {**found, "flow.py": found["flow.py"] + TAIL}


FOLDERS = ("elsewhere", "site-packages", "project/code.zip")
"""Where rows have modules, beside the project."""


class Table:
    """Writes and runs the versions of a row."""

    def __init__(self, project: Any) -> None:
        self.project, self.folder = project, project.folder
        self._files: set[str] = set()

    def write(self, text: Any, version: Any) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        os.chdir(self.folder)
        for name, content in files_of(text, version).items():
            self._files.add(name)
            archive, mark, inner = name.partition(".zip/")
            path = self.folder / (f"{archive}.zip" if mark else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if mark:
                with zipfile.ZipFile(path, "w") as file:
                    file.writestr(zipfile.ZipInfo(inner), content)  # of one time
            else:
                path.write_text(content)

    def load(self) -> Any:
        """The flow, with nothing left of what was loaded before."""
        tops = {part for name in self._files for part in re.split(r"[/.]", name)} - sys.stdlib_module_names
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[name]
        zipimport._zip_directory_cache.clear()  # type: ignore[attr-defined]
        sys.path_importer_cache.clear()
        project_modules.pin.cache_clear()
        return self.project.load("flow")

    def state(self) -> Any:
        """What became of the step in a run, and its result."""
        run = self.load().flow().run(resume=False)
        return run.steps[0].state, repr(run.output)


@pytest.fixture
def table(project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(project.folder.parent)
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(str(project.folder.parent / folder))
    project.folder.mkdir(exist_ok=True)
    monkeypatch.setenv("MOTET_TEST_X", "0")
    monkeypatch.chdir(project.folder)
    context = decimal.DefaultContext.prec, decimal.getcontext().prec
    with put_back({"a seed"}), np.printoptions(), np.errstate():
        yield Table(project)
    decimal.DefaultContext.prec, decimal.getcontext().prec = context
    if "pandas" in sys.modules:
        sys.modules["pandas"].reset_option("display.width")
    vars(sys.modules["json"]).pop("extra", None)
    vars(builtins).pop("motet_test_added", None)


ROWS = [
    pytest.param(expected, text, id=f"{kind}: {name}") for kind, rows in CODE.items() for expected, name, text in rows
]


@pytest.mark.parametrize(("expected", "text"), ROWS)
@pytest.mark.filterwarnings("ignore")
def test_a_change_of_code(table: Any, expected: Any, text: Any) -> None:
    table.write(text, 0)
    state, before = table.state()
    assert state == "done"
    table.write(text, 1)
    state, told = table.state()
    after = repr(table.load().s(1))
    assert (state == "hit", before == after) == {
        "miss": (False, False), "again": (False, True), "hit": (True, True), "unseen": (True, False)
    }[expected.partition(":")[0]]  # fmt: skip
    assert told == (after if state == "done" else before)


def rows(table: Any) -> Any:
    return [pytest.param(*row[:1], *row[2:], id=row[1]) for row in table]


def is_hit(expected: Any) -> Any:
    """Whether a row expects a hit."""
    return expected == "hit" or expected.startswith("unseen")


@dataclasses.dataclass
class Data:
    a: Any


class Named(NamedTuple):
    a: Any


class Kind(enum.Enum):
    A = 1
    B = 2


class Level(enum.IntEnum):
    LOW = 1


class Way(enum.Flag):
    A = 1
    B = 2


class Plain:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


@attrs.define
class Attrs:
    a: int


class Pydantic(pydantic.BaseModel):
    a: int


class Struct(msgspec.Struct):
    a: int


SHARED = [1]


def frozen(array: Any) -> Any:
    array.setflags(write=False)
    return array


def drawn(generator: Any) -> Any:
    generator.random()
    return generator


def linear(seed: Any) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 2)


def elsewhere(tensor: Any) -> Any:
    """A tensor whose numbers lie in memory that processes share."""
    return tensor.share_memory_()


@mt.step(cache=True)
def take(value: Any) -> Any:
    return 1


@mt.workflow
def taking(value: Any) -> Any:
    return take(value)


@pytest.mark.parametrize(("expected", "one", "other"), rows(VALUES))
@pytest.mark.filterwarnings("ignore")
def test_a_change_of_what_a_step_is_given(expected: Any, one: Any, other: Any) -> None:
    with put_back({"a seed"}):
        for wrapped in ("{}", "[{}]", "{{'k': ({}, 0)}}"):
            first, second = (taking(eval(wrapped.format(each))).run(resume=False) for each in (one, other))
            assert first.steps[0].state == "done"
            assert (second.steps[0].state == "hit") == is_hit(expected), wrapped


@mt.step(cache=True)
def read(file: Any) -> Any:
    path = Path(file)
    found: list[Any] = []
    for at, folders, names in os.walk(path, followlinks=True):
        place = os.path.relpath(at, path)
        found += [(place, each, None) for each in folders]
        found += [(place, each, Path(at, each).read_bytes()) for each in names]
    return sorted(found) if path.is_dir() else path.read_bytes()


@mt.workflow
def reading(file: Any) -> Any:
    return read(mt.File(file))


@pytest.mark.parametrize(("expected", "make", "change"), rows(FILES))
def test_a_change_of_a_file(tmp_path: Path, expected: Any, make: Any, change: Any) -> None:
    path = tmp_path / "data"
    make(path)
    before = reading(path).run(resume=False).output
    change(path)
    run = reading(path).run(resume=False)
    after = read.function(path)
    assert (run.steps[0].state == "hit", before == after) == {"miss": (False, False), "hit": (True, True)}[expected]
    assert run.output == after


@pytest.mark.parametrize(("expected", "text", "change"), rows(AROUND))
def test_a_change_around_a_program(
    table: Any, monkeypatch: pytest.MonkeyPatch, expected: Any, text: Any, change: Any
) -> None:
    inside = expected == "miss" and "sys.modules" in inspect.getsource(change)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    table.write(text, 0)
    state, before = table.state()
    assert state == "done"
    if not inside:
        change(monkeypatch)
        table.load()
    else:
        change(monkeypatch)
    run = sys.modules["flow"].flow().run(resume=False)
    after = repr(sys.modules["flow"].s(1))
    assert (run.steps[0].state == "hit", before == after) == {
        "miss": (False, False), "hit": (True, True), "unseen": (True, False)
    }[expected.partition(":")[0]]  # fmt: skip


def digests(folder: Any) -> None:
    """Tell a digest of each row's code and value."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    project = Project(folder / "project")
    sys.path[:0] = [str(folder / "project"), *(str(folder / each) for each in FOLDERS)]
    table = Table(project)
    for _, name, text in (row for rows in CODE.values() for row in rows):
        table.write(text, 0)
        sys.stdout.write(f"\n{name} {follow(table.load().s).digest}")
    for _, name, one, _ in VALUES:
        sys.stdout.write(f"\n{name} {Session.argument(bare_session(folder), eval(one)).digest}")


def bare_session(folder: Any) -> Any:
    cache = Cache(folder / "cache")
    return Session("", cache, None, None, [], {}, threading.Event(), None)


@pytest.mark.timeout(600)
def test_every_row_is_the_same_in_every_process(tmp_path: Path) -> None:
    program = "import pathlib, sys, workflow.test_changes as t; t.digests(pathlib.Path(sys.argv[1]))"
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    found = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            program,
            str(tmp_path / "in"),
        ]  # a key may have a path: `__file__`
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        found.append([line for line in told.splitlines() if DIGEST.search(line)])
    one, other = found
    assert len(one) > 500
    assert [both for both in zip(one, other, strict=True) if both[0] != both[1]] == []


def not_seen() -> Any:
    """What docs/workflows.md says is not seen."""
    text = (Path(__file__).parents[2] / "docs" / "workflows.md").read_text()
    section = text.split("Not seen are:\n\n- ")[1].split("\n\n")[0]
    return [" ".join(each.split()) for each in section.split("\n- ")]


def test_the_guide_lists_just_what_is_not_seen() -> None:
    expected = [row[0] for table in (*CODE.values(), VALUES, FILES, AROUND) for row in table]
    told = {each.partition(": ")[2] for each in expected if each.startswith("unseen")}
    listed = not_seen()
    assert [phrase for phrase in told if sum(phrase in each for each in listed) != 1] == []
    assert [each for each in listed if not any(phrase in each for phrase in told)] == []
    assert len(expected) > 500
