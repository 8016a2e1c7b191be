"""Runs of one workflow at the same time, in threads and processes: both, none or one after the other."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from motet.cli import cli
from motet.errors import InputError, OverlapError
from motet.workflow import triggers
from motet.workflow.memo.cache import home_folder
from motet.workflow.memo.locks import try_lock, unlock
from motet.workflow.play.overlap import schedule_lock
from motet.workflow.record.runs import RunRecord, run_lock

PROGRAM = """
import os, sys
import motet as mt

@mt.step
def holds(number):
    print("begun", flush=True)
    sys.stdin.read()

@mt.workflow
def overlapping(number: int = 1):
    holds(number)

if __name__ == "__main__":
    overlapping().run(overlap=sys.argv[1])
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Begins a run in another process, which goes until its standard input is closed."""
    (tmp_path / "overlapping.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    children = []

    def begin(overlap: str = "allow") -> Any:
        command = [sys.executable, str(tmp_path / "overlapping.py"), overlap]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout.readline() == "begun\n"
        return child

    yield begin
    for child in children:
        child.kill()
        child.communicate()
    sys.modules.pop("overlapping", None)


@pytest.fixture
def plan(program: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same workflow here, whose step ends at once."""
    import overlapping  # type: ignore[import-not-found]

    monkeypatch.setattr("sys.stdin", io.StringIO())
    return overlapping.overlapping


@pytest.mark.parametrize("theirs", ["allow", "forbid", "wait"])
def test_a_run_is_refused_while_another_process_runs_the_same(program: Any, plan: Any, theirs: str) -> None:
    child = program(theirs)
    with pytest.raises(OverlapError, match=rf"overlapping: run overlapping-.* of it goes \(process {child.pid}\)"):
        plan().run(overlap="forbid")
    assert plan(2).run(overlap="forbid").state == "done", "other parameters are another run"
    assert plan().run().state == "done", "both are allowed by default"
    child.communicate("")
    assert plan().run(overlap="forbid").state == "done"


def test_a_run_that_was_killed_holds_nobody_up(program: Any, plan: Any) -> None:
    child = program("forbid")
    child.kill()
    child.communicate()
    assert plan().run(overlap="forbid", resume=False).state == "done"
    assert plan().run(overlap="wait", resume=False).state == "done"


def test_a_run_waits_for_the_one_that_goes(
    program: Any, plan: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = program()
    over, waits = [], threading.Event()
    logger = logging.getLogger("motet.workflow")
    warn = logger.warning
    monkeypatch.setattr(logger, "warning", lambda *told: (warn(*told), waits.set()))
    waiting = threading.Thread(target=lambda: over.append(plan().run(overlap="wait")))
    waiting.start()
    assert waits.wait(60)
    assert not over
    record = RunRecord.of(home_folder())
    assert len(record.runs()) == 1, "it has not begun"
    record.close()
    child.communicate("")
    waiting.join(60)
    assert [run.state for run in over] == ["done"]
    assert caplog.text.count("overlapping waits, as run overlapping-") == 1


def test_waiting_ends_when_the_run_is_cancelled(program: Any, plan: Any) -> None:
    program()
    cancel = threading.Event()
    cancel.set()
    assert plan().run(overlap="wait", cancel=cancel, check=False).state == "cancelled"


def test_an_overlap_that_is_none_is_refused(plan: Any) -> None:
    with pytest.raises(InputError, match="overlap='skip'"):
        plan().run(overlap="skip")


@pytest.mark.parametrize("overlap", [None, "allow"])
def test_a_time_of_a_schedule_is_left_out_while_a_run_goes(
    program: Any, plan: Any, monkeypatch: pytest.MonkeyPatch, overlap: str | None
) -> None:
    program()
    monkeypatch.setattr(triggers, "repeat", lambda triggers, run, stop: run())
    options = ["--overlap", overlap] if overlap else []
    result = CliRunner().invoke(cli, ["workflow", "run", "overlapping.py", "--every", "1h", *options])
    assert result.exit_code == 0
    assert ("left out: run overlapping-" in result.stderr) == (overlap is None)


def test_to_ask_whether_a_run_lives_is_never_taken_for_a_run_that_lives(home: Any) -> None:
    """Two processes that ask all the time, as pages and schedules do, about a run that nobody runs, and one that is run."""
    lock, asked, held = home / "runs.lock", run_lock("asked"), run_lock("held")
    code = (
        "import sys; from pathlib import Path; from motet.workflow.record.runs import is_alive\n"
        "print(*(sum(is_alive(Path(sys.argv[1]), name) for _ in range(5000)) for name in ('asked', 'held')))"
    )
    assert try_lock(lock, held)
    asking = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    found = [child.communicate()[0].split() for child in asking]
    unlock(lock, held)
    assert found == [["0", "5000"]] * 2
    assert try_lock(lock, asked)
    unlock(lock, asked)


def test_one_process_plays_a_schedule_and_the_next_goes_on_when_it_is_killed(home: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from motet.workflow.play.overlap import schedule_lock\n"
        "with schedule_lock(Path(sys.argv[1]), 'nightly', lambda: False, lambda: None) as held:\n"
        "    print(held, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "True\n"
    said = []
    with schedule_lock(home, "weekly", lambda: False, lambda: said.append("weekly")) as held:
        assert (held, said) == (True, [])
    with schedule_lock(home, "nightly", lambda: True, lambda: said.append("nightly")) as held:
        assert (held, said) == (False, ["nightly"])
    with schedule_lock(home, "nightly", lambda: False, child.kill) as held:
        assert held
    child.communicate()
