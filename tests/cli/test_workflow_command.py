"""`motet workflow` and `motet cache`, as scripts call them."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

from motet.cli import cli
from motet.cli.exits import INTERRUPTED
from motet.workflow import triggers
from motet.workflow.plan import Plan

PROGRAM = """
import motet as mt

@mt.step
def load(n: int):
    print("loading", n)
    return list(range(n))

@mt.step(cache=True)
def train(rows, rate: float = 0.5):
    return {"rate": rate, "rows": len(rows)}

@mt.step
def check(model, at_most):
    if model["rows"] > at_most:
        raise ValueError(f"{model['rows']} rows are too many")
    return True

@mt.workflow
def system(n: int = 3, rate: float = 0.5, at_most: int = 9):
    return check(train(load(n), rate), at_most)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "home"))
    monkeypatch.delenv("MOTET_WORKFLOW_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "commanded.py").write_text(PROGRAM)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    yield call
    sys.modules.pop("commanded", None)


def test_a_workflow_runs_and_says_what_it_did(run: Any) -> None:
    result = run("workflow", "run", "commanded.py", "--set", "n=4", "--explain")
    assert result.exit_code == 0, result.output
    assert "train  miss       nothing is kept of this step yet" in result.stdout
    assert "load   done       not kept: @step without cache" in result.stdout
    assert "system done in" in result.stdout
    result = run("workflow", "run", "commanded.py:system", "--set", "n=4", "--explain")
    assert "train  hit        kept" in result.stdout
    result = run("workflow", "run", "commanded.py", "--set", "n=4", "--set", "rate=0.7", "--explain")
    assert "train  miss       rate: 0.5 -> 0.7" in result.stdout


def test_a_failed_run_says_where_and_can_be_looked_at(run: Any, tmp_path: Path) -> None:
    result = run("workflow", "run", "commanded.py", "--set", "n=12", "--page", "page.html")
    assert result.exit_code == 1
    assert "step check failed: check (" in result.stderr
    assert "ValueError: 12 rows are too many" in result.stderr
    listed = json.loads(run("workflow", "list", "--json").stdout)
    assert [(each["workflow"], each["state"]) for each in listed] == [("system", "failed")]
    name = listed[0]["id"]
    assert "failed" in run("workflow", "list").stdout
    shown = json.loads(run("workflow", "show", "last", "--json").stdout)
    assert {each["id"]: each["state"] for each in shown["steps"]} == {
        "load": "done",
        "train": "done",
        "check": "failed",
    }
    assert "12 rows are too many" in run("workflow", "show", name[:-2]).stdout
    assert run("workflow", "logs", "last", "load").stdout == "loading 12\n"
    assert run("workflow", "logs", name).stdout == "== load\nloading 12\n"
    page = (tmp_path / "page.html").read_text()
    assert 'data-run-state="failed"' in page
    assert 'data-step="check" data-state="failed"' in page
    assert run("workflow", "graph", "last", "-o", "again.html").stdout == "again.html\n"
    result = run(
        "workflow", "run", "commanded.py", "--set", "n=12", "--set", "at_most=20", "--resume", name, "--explain"
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"load   resumed    finished \d.* s ago, before the run was gone on with", result.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.py"], "there is no Python file"),
        (["run", "commanded"], f"{os.sep}commanded\n  hint: give the file of a workflow: FILE.py or FILE.py:NAME"),
        (["run"], "no workflow is named"),
        (["run", "commanded.py:other"], "unknown workflow 'other'"),
        (["run", "commanded.py", "--set", "m=3"], "unknown parameter 'm'"),
        (["run", "commanded.py", "--set", "n"], "'n' is no key=value"),
        (["run", "commanded.py", "--every", "soon"], "'soon' is no time"),
        (["run", "commanded.py", "--cron", "* *"], "has 2 fields"),
        (["run", "commanded.py", "--resume", "x"], "unknown run 'x'"),
        (["run", "commanded.py", "--page", "nowhere/page.html"], "nowhere/page.html: there is no folder"),
        (["run", "commanded.py", "--page", os.curdir], "is a folder"),
        (["show", "x"], "unknown run 'x'; there are none"),
        (["logs", "last"], "unknown run 'last'"),
    ],
)
def test_wrong_arguments_are_refused(run: Any, arguments: Any, message: str) -> None:
    result = run("workflow", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if load(1):\n        pass", "`if`, `and`, `or`, `not` and `in` cannot ask for it"),
        ("load(1).size", "AttributeError: the result of step load is not known while the workflow is wired"),
        ("return {}['x']", "workflow broken ({file}:7): KeyError: 'x'"),
        ("raise SystemExit(5)", "workflow broken ({file}:7): SystemExit: 5"),
        ("raise type('Own', (BaseException,), {})(5)", "workflow broken ({file}:7): Own: 5"),
        ("return load()", "step load cannot be called so: missing a required argument: 'n'"),
    ],
)
def test_what_is_wrong_in_a_workflows_function_is_told_with_its_line(
    run: Any, tmp_path: Path, body: str, message: str
) -> None:
    text = "import motet as mt\n@mt.step\ndef load(n):\n    return n\n@mt.workflow\ndef broken():\n    "
    (tmp_path / "broken_flow.py").write_text(text + body + "\n")
    file = tmp_path / "broken_flow.py"
    for command in (["run"], ["step", "--run-id", "1"]):
        result = run("workflow", *command, "broken_flow.py", *(["load"] if command[1:] else []))
        sys.modules.pop("broken_flow", None)
        assert result.exit_code == 2, result.output
        assert message.format(file=file) in result.stderr
        assert f"{file}:7" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_file_that_cannot_be_imported_is_told_with_the_line(run: Any, tmp_path: Path) -> None:
    (tmp_path / "unimported.py").write_text("import motet as mt\n\n@mt.step(max_age='soon')\ndef work():\n    pass\n")
    result = run("workflow", "run", "unimported.py")
    assert result.exit_code == 2
    place = f"error: {tmp_path / 'unimported.py'}:3: cannot be imported: InputError: step, max_age: 'soon' is no time"
    assert result.stderr.startswith(place)


@pytest.mark.parametrize("raised", ["SystemExit: 3", "GeneratorExit: 3", "Own: 3"])
def test_a_file_that_ends_the_program_is_told_likewise(run: Any, tmp_path: Path, raised: str) -> None:
    kind = raised.partition(":")[0]
    (tmp_path / "ending.py").write_text(f"class Own(BaseException):\n    pass\nraise {kind}(3)\n")
    result = run("workflow", "run", "ending.py")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path / 'ending.py'}:3: cannot be imported: {raised}")
    assert "ending" not in sys.modules


def test_a_file_called_like_another_module_is_refused_and_takes_no_place(run: Any, tmp_path: Path) -> None:
    loaded = {name: sys.modules.get(name) for name in ("json", "click", "time")}
    for name in (*loaded, "wave"):
        (tmp_path / f"{name}.py").write_text(PROGRAM)
        result = run("workflow", "run", f"{name}.py")
        assert (result.exit_code, sys.modules.get(name)) == (2, loaded.get(name)), result.output
        assert f"error: {tmp_path / name}.py: is called as the module {name}" in result.stderr
        assert "hint: rename the file" in result.stderr
        (tmp_path / f"{name}.py").unlink()


def test_a_file_that_cannot_be_imported_leaves_the_one_of_its_name_in_its_place(run: Any, tmp_path: Path) -> None:
    assert run("workflow", "run", "commanded.py").exit_code == 0
    known = sys.modules["commanded"]
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "commanded.py").write_text("1 / 0")
    assert "ZeroDivisionError" in run("workflow", "run", "below/commanded.py").stderr
    assert sys.modules["commanded"] is known


def test_what_a_run_of_a_schedule_sets_of_its_process_is_as_it_was_for_the_next(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import os
        import motet as mt
        @mt.step
        def stay():
            with open("seen", "a") as file:
                file.write(f"{os.environ.get('SEEN')} ")
            os.environ["SEEN"] = "yes"
            os.chdir(os.sep)
        @mt.workflow
        def flow():
            return stay()
    """
    (tmp_path / "staying.py").write_text(dedent(code))
    monkeypatch.setattr(triggers, "repeat", lambda when, once, stop: [once() for _ in range(3)])
    assert run("workflow", "run", "staying.py", "--every", "1h", "--page", "run.html").stderr.count("error") == 0
    assert (tmp_path / "seen").read_text() == "None None None "
    assert (tmp_path / "run.html").exists()


def test_no_error_of_a_run_ends_those_that_follow(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [
        OSError(errno.ENOSPC, "No space left on device", "runs.db"),
        RuntimeError("odd"),
        KeyboardInterrupt(),
        None,
    ]
    played = Mock(side_effect=errors)
    monkeypatch.setattr(Plan, "run", played)
    monkeypatch.setattr(triggers, "repeat", lambda when, once, stop: [once() for _ in errors])
    result = run("workflow", "run", "commanded.py", "--every", "1h")
    told = result.stderr.splitlines()
    assert told[:2] == ["error: runs.db: No space left on device", "error: RuntimeError: odd"]
    assert told[2:] == ["stopped; --resume goes on with what is finished"]
    assert result.exit_code == INTERRUPTED
    assert played.call_count == 3


def test_a_cache_that_cannot_be_is_told_as_that_before_the_work(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("workflow", "run", "commanded.py", "--cache", str(tmp_path / "file" / "cache"))
    assert result.exit_code == 1
    where = tmp_path / "file" / "cache"
    assert f"error: {where}: the cache cannot be used: {tmp_path / 'file'} is no folder" in result.stderr
    assert run("workflow", "list").stderr == "no runs\n"
    assert "hint: name another folder as the cache" in result.stderr


def test_the_cache_is_listed_verified_and_cleaned(run: Any) -> None:
    run("workflow", "run", "commanded.py", "--quiet")
    result = run("cache", "ls")
    assert "commanded.train(rows=result of step load, rate=0.5)" in result.stdout
    assert "1 results" in result.stdout
    assert [each["step"] for each in json.loads(run("cache", "ls", "train", "--json").stdout)] == ["commanded.train"]
    assert run("cache", "verify").stdout == "1 results, 0 damaged\n"
    result = run("cache", "gc", "--max-age", "30d", "--max-size", "20GiB", "--dry-run")
    assert result.stdout.startswith("would remove 0 results and 0 files, 0 bytes\n")
    assert run("cache", "gc", "--max-age", "soon").exit_code == 2
