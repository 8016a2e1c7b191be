"""The record of runs and the logs of steps: what is remembered, and that it is bounded."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.errors import InputError
from motet.workflow.find import read_parameters
from motet.workflow.memo.locks import try_lock, unlock
from motet.workflow.options import StepResources
from motet.workflow.record import logs
from motet.workflow.record import runs as records
from motet.workflow.record.logs import Lenient, captured, log_file
from motet.workflow.record.runs import RunRecord, run_lock
from motet.workflow.step import StepContext, _running


@mt.step
def speaks(i: Any) -> Any:
    sys.stdout.write(f"step {i}\n")
    return i


@mt.workflow
def flow(i: Any = 0) -> Any:
    return speaks(i)


def test_the_oldest_runs_are_forgotten_and_those_that_live_are_not(monkeypatch: pytest.MonkeyPatch, home: Any) -> None:
    monkeypatch.setattr(records, "MOST_RUNS", 10)
    first = flow(0).run(capture=True).id
    second = flow(1).run(capture=True).id
    assert try_lock(home / "runs.lock", run_lock(first))
    try:
        for i in range(10):
            flow(i).run(capture=True)
    finally:
        unlock(home / "runs.lock", run_lock(first))
    record = RunRecord.of(home)
    try:
        known = {each.id for each in record.runs(100)}
        assert first in known
        assert second not in known
        assert len(known) == 11
        assert record.steps_of(second) == []
        assert len(record.steps_of(first)) == 1
    finally:
        record.close()
    assert {each.name for each in (home / "runs").iterdir()} == known


def test_a_run_that_is_done_and_printed_nothing_leaves_no_folder(home: Any) -> None:
    @mt.workflow
    def silent() -> Any:
        return speaks.named("said")(1)

    silent().run()
    assert list((home / "runs").iterdir()) == []


def test_logs_of_many_steps_that_print_in_turn(tmp_path: Path) -> None:
    def say(step: Any, text: Any) -> None:
        token = _running.set(StepContext("run", step, 0, StepResources(), threading.Event()))
        sys.stdout.write(f"{text}\n")
        _running.reset(token)

    steps = [f"part/step-{i}" for i in range(50)]
    with captured(tmp_path, "run"):
        for text in ("one", "two", "thr\udc80e"):
            for step in steps:
                say(step, text)
        assert log_file(tmp_path, steps[-1]).read_text() == "one\ntwo\nthr\\udc80e\n", "lines are there at once"
    assert all(log_file(tmp_path, step).read_text() == "one\ntwo\nthr\\udc80e\n" for step in steps)


def test_runs_at_the_same_time_print_to_their_own_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order they end."""

    def say(run: Any) -> None:
        token = _running.set(StepContext(run, "step", 0, StepResources(), threading.Event()))
        sys.stdout.write(f"{run}\n")
        _running.reset(token)

    monkeypatch.setattr(sys, "stdout", before := io.StringIO())
    one, other = (captured(tmp_path / run, run) for run in ("one", "other"))
    one.__enter__()
    other.__enter__()
    say("one")
    say("other")
    one.__exit__(None, None, None)
    say("one")
    say("other")
    other.__exit__(None, None, None)
    assert sys.stdout is before
    assert before.getvalue() == "one\n"
    assert log_file(tmp_path / "one", "step").read_text() == "one\n"
    assert log_file(tmp_path / "other", "step").read_text() == "other\nother\n"


def test_a_process_of_a_step_that_prints_without_end_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MOST_BYTES", 10)
    with (tmp_path / "log").open("a", buffering=1) as file:
        for _ in range(1000):
            assert Lenient(file).write("12345\n") == 6
    assert (tmp_path / "log").read_text() == "12345\n" * 2


def test_what_is_no_step_prints_where_it_did_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with captured(tmp_path, "run"):
        sys.stdout.write("to all\n")
    assert sys.stdout.getvalue() == "to all\n"


@mt.workflow
def parameters(  # type: ignore[no-untyped-def]  # `count` is what its default is
    rate: float = 1.0,
    num: int = 2,
    flag: bool = False,
    count=3,
    name: str = "x",
    maybe: int | None = None,
    title: str | None = None,
    any: Any = None,
) -> Any:
    return speaks(rate)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("rate=2", 2.0),
        ("num=4", 4),
        ("flag=true", True),
        ("count=0.5", 0.5),
        ("name=12", "12"),
        ("maybe=null", None),
        ("title=12", "12"),
        ("any=[1, {}]", [1, {}]),
        ("any=a=b", "a=b"),
    ],
)
def test_parameters_are_read_as_what_they_are(given: str, value: Any) -> None:
    (found,) = read_parameters(parameters, [given]).values()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rate=abc", "rate=abc is no float"),
        ("num=1.5", "num=1.5 is no int"),
        ("num=true", "num=true is no int"),
        ("flag=yes", "flag=yes is no bool\n  hint: true or false"),
        ("count=x", "count=x is no int"),
        ("maybe=z", "maybe=z is no int"),
        ("rate", "'rate' is no key=value"),
    ],
)
def test_parameters_of_another_kind_are_refused(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_parameters(parameters, [given])
