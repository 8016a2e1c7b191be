"""`motet workflow run --explain`: for each step whether its result was kept, and if not, what has changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from motet.cli import cli
from motet.workflow.memo.cache import Cache, cache_folder

FLOW = """
import motet as mt
import helper
from helper import scale

LIMIT = 3
API_KEY = "one"
TABLE = {"small": 1, "run": lambda x: x}


class Model:
    depth = 2


def make(held):
    def inner(x):
        return x + held

    return inner


shifted = make(1)


@mt.step
def ingest(n: int):
    return list(range(n))


@mt.step(cache=True)
def train(rows, rate: float = 0.5, power: int = 2):
    return [scale(len(rows)), LIMIT, shifted(1), helper.OFFSET, TABLE["small"], Model.depth, API_KEY, rate]


@mt.workflow
def flow(n: int = 3, rate: float = 0.5):
    return train(ingest(n), rate)
"""
HELPER = """
OFFSET = 10


def scale(x, by=2):
    return x * by


def other(x):
    return x
"""
HIT = r"hit +kept \S+ \w+ ago by run flow-[0-9-]+-[0-9a-f]{8}"


class Folder:
    """A folder with a workflow in a file, and the command that runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **modules: str) -> None:
        for name, text in modules.items():
            (self.path / f"{name}.py").write_text(text)

    def change(self, module: str, old: str, new: str) -> None:
        text = (self.path / f"{module}.py").read_text()
        assert old in text
        self.write(**{module: text.replace(old, new)})

    def explain(self, *arguments: str, exit_code: int = 0) -> dict[str, list[str]]:
        """Run flow.py, and return what is said of each step: its state and the reason, then further lines."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.path)):
                del sys.modules[name]
        result = CliRunner().invoke(cli, ["workflow", "run", "flow.py", "--explain", *arguments])
        assert result.exit_code == exit_code, result.output
        return said(result.stdout)


def said(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.match(r"flow (done|failed) in ", line):
            return found
        if not line.startswith(" "):
            step, _, rest = line.partition(" ")
            found[step] = []
        else:
            rest = line
        found[step].append(re.sub(" {2,}", "  ", rest.strip()))
    raise AssertionError(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = Folder(tmp_path / "work")
    made.path.mkdir()
    monkeypatch.chdir(made.path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made.write(flow=FLOW, helper=HELPER)
    yield made
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(made.path)):
            del sys.modules[name]


def test_the_first_run_misses_and_the_second_hits(folder: Any) -> None:
    assert folder.explain() == {
        "ingest": ["done  not kept: @step without cache"],
        "train": ["miss  nothing is kept of this step yet"],
    }
    again = folder.explain()
    assert again["ingest"] == ["done  not kept: @step without cache"]
    assert re.fullmatch(HIT, again["train"][0])
    assert len(again["train"]) == 1


@pytest.mark.parametrize(
    ("module", "old", "new", "reason"),
    [
        ("flow", ", rate]", ", rate * 2]", "code of flow.train changed"),
        ("helper", "x * by", "x ** by", "code of helper.scale changed"),
        ("helper", "by=2", "by=3", "the default of by in helper.scale: 2 -> 3"),
        ("flow", "LIMIT = 3", "LIMIT = 4", "flow.LIMIT: 3 -> 4"),
        ("flow", "LIMIT = 3", "LIMIT = 'four'", "flow.LIMIT: 3 -> 'four'"),
        ("flow", "LIMIT = 3", "LIMIT = list(range(99))", "flow.LIMIT: 3 -> list of 99"),
        ("helper", "OFFSET = 10", "OFFSET = 11", "helper.OFFSET: 10 -> 11"),
        ("flow", "make(1)", "make(5)", "held in flow.make.<locals>.inner: 1 -> 5"),
        ("flow", "depth = 2", "depth = 3", "flow.Model.depth: 2 -> 3"),
        (
            "flow",
            '"small": 1',
            '"small": 2',
            "flow.TABLE: {'run': <function <lambda>>, 'small': 1} -> {'run': <function <lambda>>, 'small': 2}",
        ),
        ("flow", '"one"', '"two"', "flow.API_KEY changed"),
        ("flow", "x + held", "x + held + LIMIT", "code of flow.make.<locals>.inner changed"),
        ("flow", "scale(len(rows))", "helper.other(len(rows))", "code of flow.train changed; "
         "does not use helper.scale any more; now uses helper.other"),
    ],
)  # fmt: skip
def test_changed_code_and_values_are_named(folder: Any, module: str, old: str, new: str, reason: str) -> None:
    folder.explain()
    folder.change(module, old, new)
    assert folder.explain()["train"] == [f"miss  {reason}"]
    assert folder.explain()["train"][0].startswith("hit  kept ")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [("flow", "LIMIT = 3", "LIMIT = 3  # at most\nOTHER = 5"), ("helper", "return x\n", "return x + 1\n")],
)
def test_what_the_step_does_not_use_is_no_reason(folder: Any, module: str, old: str, new: str) -> None:
    folder.explain()
    folder.change(module, old, new)
    assert re.fullmatch(HIT, folder.explain()["train"][0])


def test_a_changed_parameter_is_told_with_its_old_and_new_value(folder: Any) -> None:
    folder.explain()
    assert folder.explain("--set", "rate=0.7")["train"] == ["miss  rate: 0.5 -> 0.7"]
    folder.change("flow", "train(ingest(n), rate)", "train(ingest(n), rate, 3)")
    assert folder.explain("--set", "rate=0.7")["train"] == ["miss  power: 2 -> 3"]


def test_a_changed_input_is_told_by_the_step_that_it_comes_from(folder: Any) -> None:
    folder.explain()
    (told,) = folder.explain("--set", "n=4")["train"]
    assert re.fullmatch("miss  rows: result of step ingest changed, [0-9a-f]{8} -> [0-9a-f]{8}", told)


def test_several_changes_are_told_each_once(folder: Any) -> None:
    folder.explain()
    folder.change("flow", "LIMIT = 3", "LIMIT = 4")
    folder.change("flow", "make(1)", "make(2)")
    folder.change("helper", "OFFSET = 10", "OFFSET = 11")
    first, more = folder.explain("--set", "rate=0.7")["train"]
    changes = first.removeprefix("miss  ").removesuffix("; and 1 more").split("; ")
    assert changes[0] == "rate: 0.5 -> 0.7"
    assert {*changes[1:], more} == {
        "flow.LIMIT: 3 -> 4",
        "held in flow.make.<locals>.inner: 1 -> 2",
        "helper.OFFSET: 10 -> 11",
    }


def test_it_is_compared_with_the_result_that_is_most_alike(folder: Any) -> None:
    folder.explain("--set", "rate=0.1", "--set", "n=9")
    folder.explain("--set", "rate=0.2", "--set", "n=3")
    folder.explain("--set", "rate=0.3", "--set", "n=5")
    assert folder.explain("--set", "rate=0.4", "--set", "n=3")["train"] == ["miss  rate: 0.2 -> 0.4"]


FILES = """
from pathlib import Path
import motet as mt

@mt.step(cache=True)
def read(file):
    return len(Path(file).read_text())

@mt.workflow
def flow(file: str = "a.txt"):
    return read(mt.File(file))
"""


def test_a_changed_file_is_told_by_its_name(folder: Any) -> None:
    folder.write(flow=FILES)
    (folder.path / "a.txt").write_text("one")
    folder.explain()
    os.utime("a.txt", (1, 1))
    assert re.fullmatch(HIT, folder.explain()["read"][0])
    (folder.path / "a.txt").write_text("two")
    (told,) = folder.explain()["read"]
    assert re.fullmatch("miss  file: file a.txt changed, [0-9a-f]{8} -> [0-9a-f]{8}", told)
    (folder.path / "b.txt").write_text("two")
    assert folder.explain("--set", "file=b.txt")["read"] == ["miss  file: file a.txt -> file b.txt"]


PINNED = """
import motet as mt
import installed_lib

@mt.step(cache=True)
def work():
    return installed_lib.answer()

@mt.workflow
def flow():
    return work()
"""


def test_a_package_of_another_version_is_told_with_both(folder: Any) -> None:
    """In processes of its own, as versions are looked up once in a process."""
    packages = folder.path.parent / "site-packages"
    packages.mkdir()
    folder.write(flow=PINNED)

    def run(version: str) -> list[str]:
        (packages / "installed_lib.py").write_text(f"__version__ = '{version}'\n\ndef answer():\n    return 42\n")
        command = [sys.executable, "-B", "-m", "motet.cli", "workflow", "run", "flow.py", "--explain"]
        path = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
        result = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
        return said(result.stdout)["work"]

    assert run("1.0") == ["miss  nothing is kept of this step yet"]
    assert re.fullmatch(HIT, run("1.0")[0])
    assert run("2.0") == ["miss  package installed_lib: 1.0 -> 2.0"]


RULES = """
import motet as mt

def count_rows(rows):
    return len(rows)

def accuracy(model, rows):
    return model["accuracy"] - len(rows) / 1000

@mt.step
def ingest(n: int):
    return list(range(n))

@mt.step(cache=RULE, max_age="14d")
def train(rows):
    return {"accuracy": 0.95}

@mt.workflow
def flow(n: int = 20):
    return train(ingest(n))
"""


def test_a_result_that_is_too_old_says_its_age(folder: Any, clock: Any) -> None:
    folder.write(flow=RULES.replace("RULE", "True"))
    folder.explain()
    clock[0] += 13 * 86400
    assert folder.explain()["train"][0].startswith("hit  kept 13 d ago by run flow-")
    clock[0] += 2 * 86400
    assert folder.explain()["train"] == ["miss  kept 15 d ago, and may be 14 d old at most"]
    assert folder.explain()["train"][0].startswith("hit  kept 0 s ago by run flow-")


def test_a_statistic_is_told_within_its_tolerance_and_beyond(folder: Any) -> None:
    folder.write(flow=RULES.replace("RULE", "mt.when_changed(count_rows, by=0.1)"))
    assert folder.explain()["train"] == ["miss  nothing is kept of this step yet"]
    assert re.fullmatch(HIT + "; count_rows: 20 -> 20, a change of 0%, at most 10%", folder.explain()["train"][0])
    (told,) = folder.explain("--set", "n=21")["train"]
    assert re.fullmatch(HIT + "; count_rows: 20 -> 21, a change of 5%, at most 10%", told)
    assert folder.explain("--set", "n=25")["train"] == ["miss  count_rows: 20 -> 25, a change of 25%, more than 10%"]
    folder.change("flow", "return len(rows)\n", "return len(rows) + 1\n")
    assert folder.explain("--set", "n=25")["train"] == ["miss  count_rows itself is new or changed"]


def test_a_metric_is_told_with_its_bound(folder: Any) -> None:
    folder.write(flow=RULES.replace("RULE", "mt.while_at_least(accuracy, 0.92)"))
    assert folder.explain()["train"] == ["miss  nothing is kept of this step yet"]
    (told,) = folder.explain("--set", "n=25")["train"]
    assert re.fullmatch(HIT + "; accuracy is 0.925, at least 0.92", told)
    assert folder.explain("--set", "n=50")["train"] == ["miss  accuracy is 0.9, less than 0.92"]


ARRAY = """
import numpy as np
import motet as mt

@mt.step(cache=True)
def train(n):
    return np.arange(n)

@mt.workflow
def flow(n: int = 3):
    train(n)
"""


def test_what_is_damaged_is_made_anew_and_told(folder: Any) -> None:
    folder.write(flow=ARRAY)
    folder.explain()
    (artifact,) = [path for path in (cache_folder() / "artifacts").glob("*/*") if path.is_file()]
    artifact.write_bytes(b"\0" * artifact.stat().st_size)
    what = f"miss  what is kept cannot be taken: artifact {artifact.name[:12]}"
    assert folder.explain()["train"] == [f"{what} is damaged"]
    assert re.fullmatch(HIT, folder.explain()["train"][0])
    artifact.unlink()
    assert folder.explain()["train"] == [f"{what} is not there any more"]
    (entry,) = (cache_folder() / "entries").glob("*/*.json")
    entry.write_bytes(entry.read_bytes()[:-40])
    assert folder.explain()["train"] == ["miss  what is kept cannot be taken: its entry is damaged"]
    assert re.fullmatch(HIT, folder.explain()["train"][0])


def test_what_was_collected_is_told(folder: Any) -> None:
    folder.write(flow=ARRAY)
    folder.explain()
    folder.explain("--set", "n=4")
    for path in [*(cache_folder() / "entries").glob("*/*"), *(cache_folder() / "artifacts").glob("*/*")]:
        os.utime(path, (1, 1))
    result = CliRunner().invoke(cli, ["cache", "gc", "--max-age", "30d"])
    assert result.stdout.startswith("removed 2 results and 2 files")
    gone = "what was kept is not in the cache any more: removed by motet cache gc, or by hand"
    assert folder.explain("--set", "n=4")["train"] == [f"miss  {gone}"]
    assert folder.explain("--set", "n=5")["train"] == ["miss  n: 4 -> 5"]
    Path(Cache(cache_folder()).path(next((cache_folder() / "entries").glob("*/*")).stem)).unlink()
    assert folder.explain("--set", "n=3")["train"] == [f"miss  {gone}"]


FAILING = """
import motet as mt

@mt.step(cache=True)
def load(n):
    if n > 3:
        raise ValueError(f"{n} is too many")
    return n

@mt.step(cache=True)
def train(rows):
    return rows

@mt.step(cache=True)
def publish(model):
    return model

@mt.workflow
def flow(n: int = 3):
    model = train(load(n))
    mt.when(model > 2, lambda: publish(model))
"""


def test_steps_that_fail_are_skipped_or_left_out_say_so(folder: Any) -> None:
    folder.write(flow=FAILING)
    assert folder.explain("--set", "n=2")["publish"] == ["left out  the result of step train > 2 is false"]
    told = folder.explain("--set", "n=4", exit_code=1)
    assert told["load"][0].startswith("failed  load (")
    assert told["load"][0].endswith("ValueError: 4 is too many")
    assert told["load"][1] == "a miss: n: 2 -> 4"
    assert told["train"] == ["skipped  step load failed"]
