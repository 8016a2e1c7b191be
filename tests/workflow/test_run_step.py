"""A step that runs on its own gives what it gives in a run, with what other steps have left in a folder."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.errors import InputError, StepError, UnknownNameError, WorkflowError
from motet.workflow import run_step as run_step_module
from motet.workflow.choices import as_ready, when
from motet.workflow.definition import workflow
from motet.workflow.run_step import read_inputs, result_of, run_step
from motet.workflow.step import step


def note(value: Any) -> None:
    """What is called, in a file: a list of this module would count as the code of steps that use it."""
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{value}\n")


@pytest.fixture(autouse=True)
def calls(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    notes = tmp_path_factory.mktemp("notes") / "notes"
    notes.touch()
    monkeypatch.setenv("NOTES", str(notes))
    return lambda: [int(line) for line in notes.read_text().split()]


@step
def number(value: Any) -> Any:
    note(value)
    return {"value": value, "parts": (value, [value + 1])}


@step
def add(*values: Any, more: Any = 0) -> Any:
    return sum(values) + more


@step
def gathered(values: Any, named: Any) -> Any:
    return values, named


@step(cache=True)
def kept(value: Any) -> Any:
    note(value)
    return value * 2


@step
def fails(value: Any) -> None:
    raise ValueError(f"no {value}")


@workflow
def flow(first: int = 1, limit: int = 2) -> Any:
    one, two = number(first), number(first + 1)
    total = add(one["value"], two["parts"][1][0], more=10)
    chosen = when(one["value"] >= limit, lambda: add(total), otherwise=lambda: kept(total))
    return gathered(as_ready([chosen, two, one["value"]]), {"total": [total, 7], "flag": one["value"] < 5})


def ran(plan: Any, run: Any, cache: Any) -> Any:
    """All steps of a plan, each on its own, in an order in which inputs come first."""
    for node in plan.nodes:
        run_step(plan, node.id, run=run, cache=cache)
    return result_of(plan, plan.nodes[-1].id, run, cache)


@pytest.mark.parametrize("first", [1, 3])
def test_steps_alone_give_what_a_run_gives(tmp_path: Path, first: int) -> None:
    plan = flow(first)
    assert (
        ran(plan, "a run", tmp_path / "alone")
        == plan.run(cache=tmp_path / "together", asynchronous=False, threads=1).output
    )
    left_out = [name for name in ("kept", "add-2") if result_of(plan, name, "a run", tmp_path / "alone") is None]
    assert left_out == (["kept"] if first >= 2 else ["add-2"])


@pytest.mark.parametrize("first", [1, 3])
def test_a_step_after_one_that_was_left_out_runs_as_in_a_run(tmp_path: Path, first: int) -> None:
    @workflow
    def waiting() -> Any:
        one = number(first)
        chosen = when(one["value"] >= 2, lambda: add(one["value"]), otherwise=lambda: kept(one["value"]))
        return add.named("last")(1).after(chosen)

    plan = waiting()
    assert ran(plan, "a run", tmp_path / "alone") == plan.run(cache=tmp_path / "together").output == 1


def test_a_finished_step_is_not_run_again_in_its_run(tmp_path: Path, calls: Any) -> None:
    plan = flow()
    found = [run_step(plan, "number", run=run, cache=tmp_path) for run in ("1", "1", "2")]
    assert (calls(), len(set(found))) == ([1, 1], 1)


def test_what_is_kept_is_taken_again_by_other_runs(tmp_path: Path, calls: Any) -> None:
    plan = flow()
    ran(plan, "1", tmp_path)
    ran(plan, "2", tmp_path)
    assert calls() == [1, 2, 14, 1, 2]


def test_inputs_that_are_named_go_before_those_of_the_run(tmp_path: Path) -> None:
    other, plan = flow(first=5), flow()
    names = {step: run_step(other, step, run="other", cache=tmp_path) for step in ("number", "number-2")}
    run_step(plan, "number", run="this", cache=tmp_path)
    run_step(plan, "add", run="this", inputs=names, cache=tmp_path)
    assert result_of(plan, "add", "this", tmp_path) == 5 + 7 + 10


def test_names_of_steps_may_be_anything_a_file_name_may_not(tmp_path: Path) -> None:
    @workflow
    def odd() -> Any:
        return number.named("../a b/\N{SNOWMAN}")(1)

    run_step(odd(), "../a b/\N{SNOWMAN}", run="../up", cache=tmp_path / "in" / "cache")
    assert result_of(odd(), "../a b/\N{SNOWMAN}", "../up", tmp_path / "in" / "cache")["value"] == 1
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["cache"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    plan = flow()
    with pytest.raises(UnknownNameError, match="unknown step 'numbr'; did you mean 'number'"):
        run_step(plan, "numbr", run="1", cache=tmp_path)
    with pytest.raises(WorkflowError, match="step number has no result in run 1"):
        run_step(plan, "add", run="1", cache=tmp_path)
    with pytest.raises(InputError, match="'a=1' is no STEP=ID"):
        read_inputs("a=1")
    assert read_inputs(f"a={'0' * 20} b=c={'1' * 20}") == {"a": "0" * 20, "b=c": "1" * 20}


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    @workflow
    def failing() -> Any:
        return fails(1)

    with pytest.raises(StepError, match="no 1"):
        run_step(failing(), "fails", run="1", cache=tmp_path)
    with pytest.raises(WorkflowError, match="has no result"):
        result_of(failing(), "fails", "1", tmp_path)


HELPER = """
import sys
import time
from motet.workflow.run_step import run_step
from motet.workflow.step import step
from motet.workflow.definition import workflow

@step
def waits():
    print("waiting", flush=True)
    import time
    time.sleep(60)  # as a worker that waits for process 0

@workflow
def flow():
    return waits()

run_step(flow(), "waits", run="1", cache=sys.argv[1], rank=1)
"""


@pytest.mark.parametrize("left", [False, True])
def test_a_helper_that_has_done_its_part_waits_only_so_long_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, left: bool
) -> None:
    if left:  # by a process 0 that was killed: it is no sign of life of the one that tries again
        alive = tmp_path / "results" / "runs" / "1" / ".alive-number"
        alive.parent.mkdir(parents=True)
        alive.touch()

    @workflow
    def flow() -> Any:
        return number(1)

    monkeypatch.setattr(run_step_module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(run_step_module, "_POLL_S", 0.001)
    with pytest.raises(SystemExit) as ended:
        run_step(flow(), "number", run="1", cache=tmp_path, rank=1)
    assert ended.value.code == 0
    assert (
        "has done its part of step number, and ends: process 0 has left no result, and no sign of life for 0.01 s"
        in caplog.text
    )


def test_a_helper_stays_as_long_as_process_0_shows_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {"_FIRST_WAIT_S": 60.0, "_SILENT_S": 0.05, "_POLL_S": 0.001}.items():
        monkeypatch.setattr(run_step_module, name, value)
    alive = tmp_path / "results" / "runs" / "1" / ".alive-first"
    touched: list[int] = []

    def stat(path: Path, **more: Any) -> os.stat_result:
        """As `Path.stat`: process 0 begins when it is looked for, shows twice more that it lives, and is killed."""
        if path == alive and len(touched) < 3:
            touched.append(len(touched))
            alive.parent.mkdir(parents=True, exist_ok=True)
            alive.touch()
            os.utime(alive, ns=(len(touched), len(touched)))
        return os.stat(path, **more)

    monkeypatch.setattr(Path, "stat", stat)

    @workflow
    def flow() -> Any:
        return number.named("first")(1)

    with pytest.raises(SystemExit) as ended:
        run_step(flow(), "first", run="1", cache=tmp_path, rank=1)
    assert ended.value.code == 0
    assert len(touched) == 3
    assert "no sign of life for 0.05 s" in caplog.text


def test_a_step_shows_that_it_lives_while_it_is_played(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "runs" / "1"

    @step
    def looks() -> list[str]:
        end = time.monotonic() + 30
        while not (found := [path.name for path in folder.glob(".alive-*")]) and time.monotonic() < end:
            time.sleep(0.001)
        return found

    @workflow
    def flow() -> Any:
        return looks()

    run_step(flow(), "looks", run="1", cache=tmp_path)
    assert result_of(flow(), "looks", "1", tmp_path) == [".alive-looks"]
    assert [path.name for path in folder.iterdir()] == ["looks"]


def test_helpers_end_when_process_0_has_left_the_result(tmp_path: Path) -> None:
    @workflow
    def flow() -> Any:
        return number.named("waits")(1)

    command = [sys.executable, "-c", HELPER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as helper:
        try:
            assert helper.stdout.readline() == "waiting\n"
            run_step(flow(), "waits", run="1", cache=tmp_path)
            assert helper.wait(10) == 0
        finally:
            helper.kill()


def test_a_result_that_the_shared_folder_has_no_room_for_fails_the_step_with_the_place(tmp_path: Path) -> None:
    """The folder of artifacts is a file: the run that calls the step gets by, but no other container would find the result."""

    @step
    def array() -> Any:
        return np.arange(9.0)

    @workflow
    def flow() -> Any:
        return array()

    (tmp_path / "artifacts").touch()
    with pytest.raises(
        WorkflowError, match="the result of step array cannot be written where other steps find it"
    ) as told:
        run_step(flow(), "array", run="r1", cache=tmp_path)
    assert str(tmp_path) in str(told.value)


def test_a_step_whose_result_could_not_be_left_does_not_begin(tmp_path: Path, calls: Any) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(WorkflowError, match="the step does not begin") as told:
        run_step(flow(), "number", run="r1", cache=tmp_path)
    assert (calls(), str(tmp_path) in str(told.value)) == ([], True)


def test_a_finished_result_waits_for_room(
    tmp_path: Path, calls: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full from when the step is over until the third time that it is asked."""
    full, asked, put = OSError(errno.EDQUOT, "Disk quota exceeded"), [], run_step_module._Results._put

    def put_later(*given: Any) -> Any:
        if len(asked) < 3:
            raise full
        return put(*given)

    monkeypatch.setattr(run_step_module._Results, "_put", put_later)
    monkeypatch.setattr(run_step_module.time, "sleep", asked.append)  # type: ignore[attr-defined]
    run_step(flow(), "number", run="r1", cache=tmp_path)
    assert (result_of(flow(), "number", "r1", tmp_path)["value"], calls()) == (1, [1])
    assert caplog.text.count("it waits for that") == 1
    monkeypatch.setattr(run_step_module.time, "monotonic", iter([0.0, 10.0, 4000.0]).__next__)  # type: ignore[attr-defined]
    asked.clear()
    with pytest.raises(WorkflowError, match=r"cannot be written where .*\n.*run the step again"):
        run_step(flow(), "number", run="r2", cache=tmp_path)
    assert len(list((tmp_path / "results").glob(".room*"))) == 0
