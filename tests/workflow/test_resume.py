"""Which run is gone on with: never one of days ago unless it is named, and what is taken of it is said."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from motet.cli import cli
from motet.errors import WorkflowError
from motet.workflow import triggers
from motet.workflow.definition import Workflow
from motet.workflow.memo.artifacts import KeptValue
from motet.workflow.memo.cache import home_folder
from motet.workflow.memo.locks import try_lock, unlock
from motet.workflow.play import start
from motet.workflow.play.journal import Journal
from motet.workflow.record.runs import RunRecord, run_lock

DAY_S = 86400.0


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a step without cache reads, which changes from day to day."""
    path = tmp_path / "source.txt"
    path.write_text("day1")
    monkeypatch.setenv("SOURCE", str(path))
    return path


PROGRAM = """
import os
from pathlib import Path
import motet as mt

@mt.step
def read():
    return Path(os.environ["SOURCE"]).read_text()

@mt.step
def later(x):
    if x == "day1" and not os.path.exists("mended"):
        raise ValueError("stopped")
    return x

@mt.workflow
def flow():
    return later(read())
"""


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any) -> Iterator[Workflow]:
    """A workflow that has read day 1's data and was stopped behind that; today it is day 2."""
    (tmp_path / "resumed.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import resumed  # type: ignore[import-not-found]

    assert resumed.flow().run(check=False, threads=1).state == "failed"
    source.write_text("day2")
    (tmp_path / "mended").touch()
    yield resumed.flow
    sys.modules.pop("resumed", None)


def killed(ago_s: float, took_s: float = 0.0) -> str:
    """Have the last run killed so long ago, as far as the record can tell, after it ran for some seconds."""
    record = RunRecord.of(home_folder())
    try:
        last = record.run("last")
        row = (time.time() - ago_s - took_s, took_s, last.id)
        record._base.execute("update runs set state='running', started=?, seconds=? where id=?", row)
    finally:
        record.close()
    return last.id


def test_a_run_that_was_killed_just_now_is_gone_on_with_and_says_so(
    flow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = killed(60.0, took_s=3 * 3600.0)
    run = flow().run()
    assert (run.id, run.output, run.resumes) == (name, "day1", True)
    assert run.step("read").state == "resumed"
    assert "before the run was gone on with" in run.step("read").why
    assert f"goes on with run {name}, which was stopped 1 min ago and left 1 result of steps without" in caplog.text


@pytest.mark.parametrize("ago_s", [3600.0, 3 * DAY_S, -3 * DAY_S])
def test_a_run_that_was_killed_long_ago_is_not_gone_on_with_and_says_so(
    flow: Any, ago_s: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = killed(ago_s)
    run = flow().run()
    assert (run.output, run.resumes, run.id == name) == ("day2", False, False)
    assert f"run {name} was killed {'3 d after now' if ago_s < 0 else ''}" in caplog.text
    assert "this one begins anew" in caplog.text


def test_a_longer_time_can_be_named(flow: Any) -> None:
    killed(DAY_S)
    assert flow().run(resume_within="2d").output == "day1"


def test_a_run_by_its_id_is_gone_on_with_and_its_age_is_said(flow: Any, caplog: pytest.LogCaptureFixture) -> None:
    name = killed(3 * DAY_S)
    assert flow().run(resume=name).output == "day1"
    assert f"goes on with run {name}, which was stopped 3 d ago" in caplog.text


def test_of_a_run_that_is_over_it_is_said_how_it_ended(flow: Any, caplog: pytest.LogCaptureFixture) -> None:
    name = flow().run(resume="last", check=False).id
    assert f"goes on with run {name}, which failed " in caplog.text
    assert flow().run(resume=name).state == "done"
    assert f"goes on with run {name}, which ended " in caplog.text
    with pytest.raises(WorkflowError, match=f"run {name} ended .* ago, and may be gone on with for 0 s"):
        flow().run(resume=name, resume_within=0)


def test_a_run_by_its_id_is_refused_where_it_is_older_than_it_may_be(flow: Any) -> None:
    name = killed(3 * DAY_S)
    with pytest.raises(WorkflowError, match=f"run {name} was stopped 3 d ago, and may be gone on with for 1 h"):
        flow().run(resume=name, resume_within="1h")


@pytest.mark.parametrize("schedule", [["--every", "1h"], ["--cron", "* * * * *"], ["--watch", "source.txt"]])
def test_each_run_of_a_schedule_begins_anew(
    flow: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, schedule: Any
) -> None:
    name = killed(5.0)
    monkeypatch.setattr(triggers, "repeat", lambda triggers, run, stop: run())
    assert CliRunner().invoke(cli, ["workflow", "run", "resumed.py", *schedule]).exit_code == 0
    record = RunRecord.of(home_folder())
    last = record.run("last")
    record.close()
    assert (last.state, last.id == name, last.resumes) == ("done", False, "")
    assert f"run {name} was killed 5" in caplog.text


def test_a_schedule_goes_on_with_a_run_where_it_is_told_how_old_that_may_be(
    flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = killed(5.0)
    monkeypatch.setattr(triggers, "repeat", lambda triggers, run, stop: run())
    arguments = ["workflow", "run", "resumed.py", "--every", "1h", "--resume-within", "1m"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert flow().run(resume=name).step("read").state == "done", "the journal of a run that went well is gone"


def test_a_killed_run_is_gone_on_with_by_one_process_whoever_else_finds_it(
    flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, find = killed(60.0), start.earlier_run  # type: ignore[attr-defined]

    def found_by_both(*given: Any) -> Any:
        row = find(*given)
        with monkeypatch.context() as other:
            other.setattr(start, "earlier_run", find)
            assert flow().run().id == name, "the other goes on with it, to its end, before this one has its lock"
        return row

    monkeypatch.setattr(start, "earlier_run", found_by_both)
    run = flow().run()
    assert (run.output, run.resumes, run.id == name, run.step("read").state) == ("day2", False, False, "done")


def test_a_killed_run_that_another_process_goes_on_with_just_now_is_not_waited_for(
    flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, find = killed(60.0), start.earlier_run  # type: ignore[attr-defined]
    lock = home_folder() / "runs.lock", run_lock(name)

    def taken(*given: Any) -> Any:
        row = find(*given)
        assert try_lock(*lock)
        return row

    monkeypatch.setattr(start, "earlier_run", taken)
    run = flow().run()
    assert (run.output, run.resumes, run.id == name) == ("day2", False, False)
    unlock(*lock)
    with pytest.raises(WorkflowError, match=f"run {name} is running"):
        flow().run(resume=name)
    unlock(*lock)


def test_a_note_that_a_full_disk_has_torn_is_told_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, kept, write = Journal(tmp_path), KeptValue("1", (), (), "digest"), os.write
    journal.add("before", "key", kept, 1.0)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        with pytest.raises(OSError, match="No space left"):
            journal.add("torn", "key", kept, 1.0)
    journal.add("after", "key", kept, 1.0)
    journal.close(remove=False)
    assert [step for step, _ in Journal(tmp_path).read()] == ["before", "after"]
