"""What becomes of runs whose steps fail, are tried again, or are stopped."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.errors import StepError, UnknownNameError, WorkflowError
from motet.workflow.memo.cache import home_folder
from motet.workflow.record.logs import log_tail
from motet.workflow.record.runs import RunRecord
from workflow import flow_steps
from workflow.flow_steps import fail_apart


@mt.step
def number(n: Any) -> Any:
    return n


@mt.step
def total(values: Any) -> Any:
    return sum(values)


@mt.step
def fails(x: Any) -> None:
    raise ValueError(f"bad {x}")


def test_a_failure_names_function_and_line_and_the_others_finish() -> None:
    @mt.workflow
    def flow() -> Any:
        bad = fails(number(1))
        return total([bad]), number.named("other")(5)

    run = flow().run(check=False)
    assert {step.id: step.state for step in run.steps} == {
        "number": "done",
        "fails": "failed",
        "total": "skipped",
        "other": "done",
    }
    assert run.step("total").why == "step fails failed"
    with pytest.raises(
        StepError, match=r"step fails failed: fails \(.*test_step_failures.py:\d+\): ValueError: bad 1"
    ) as caught:
        flow().run()
    assert isinstance(caught.value.__cause__, ValueError)
    assert "2 finished, 1 not run" in str(caught.value)
    with pytest.raises(WorkflowError, match="is not known: a step has no result"):
        _ = run.output


def test_what_ends_a_program_fails_a_step_in_a_process_of_its_own_by_name() -> None:
    run = flow_steps.leavings().run(check=False)
    told = [each.error.partition("): ")[2].splitlines()[0] for each in run.steps]
    assert told == ["SystemExit: 0", "BaseException: gone"]
    assert all("leaves_apart (" in each.error and "flow_steps.py:" in each.error for each in run.steps)


def test_a_step_that_a_run_has_not_is_told() -> None:
    @mt.workflow
    def flow() -> Any:
        return number(3)

    with pytest.raises(UnknownNameError, match="did you mean 'number'"):
        flow().run().step("numbr")


def test_failing_fast_ends_the_run() -> None:
    @mt.workflow
    def flow() -> Any:
        bad = fails(1)
        return number.named("later")(2).after(bad), [number(i) for i in range(3)]

    run = flow().run(check=False, fail_fast=True, threads=1)
    assert run.state == "failed"
    assert run.step("later").state in ("cancelled", "skipped")


def test_retries_come_with_backoff() -> None:
    tries = []

    @mt.step(retries=3, backoff_s=0.001)
    def shaky() -> Any:
        context = mt.current_step()
        tries.append(context.attempt)
        if len(tries) < 3:
            raise OSError("not yet")
        return len(tries)

    @mt.workflow
    def flow() -> Any:
        return shaky()

    run = flow().run()
    assert (run.output, tries, run.step("shaky").attempts) == (3, [0, 1, 2], 3)


def test_a_cancelled_run_starts_nothing_more() -> None:
    cancel = threading.Event()

    @mt.step
    def stop() -> None:
        cancel.set()

    @mt.workflow
    def flow() -> Any:
        return number(3).after(stop())

    run = flow().run(check=False, cancel=cancel)
    assert run.state == "cancelled"
    assert run.step("number").state == "cancelled"
    with pytest.raises(WorkflowError, match="was cancelled"):
        flow().run(cancel=cancel)


def test_the_second_interrupt_waits_for_nothing() -> None:
    over = threading.Event()

    @mt.step
    def deaf() -> None:
        context = mt.current_step()
        os.kill(os.getpid(), signal.SIGINT)
        context.cancelled.wait(20)
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(60)

    @mt.workflow
    def flow() -> Any:
        return deaf()

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            flow().run()
    finally:
        over.set()
    assert time.monotonic() - began < 8


def test_an_interrupt_while_the_record_is_written_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled, write = [], RunRecord.steps

    @mt.step
    def waits() -> None:
        cancelled.append(mt.current_step().cancelled.wait(20))

    @mt.workflow
    def flow() -> Any:
        return waits()

    def interrupted(record: Any, rows: Any) -> None:
        monkeypatch.setattr(RunRecord, "steps", write)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunRecord, "steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        flow().run()
    assert cancelled == [True]


def test_no_thread_is_left_of_a_run_that_is_cancelled_before_a_new_try() -> None:
    cancel, before = threading.Event(), set(threading.enumerate())

    @mt.step(retries=1, backoff_s=500)
    def shaky() -> None:
        raise ValueError

    @mt.workflow
    def flow() -> Any:
        return shaky()

    def stop(state: Any) -> None:
        if state.attempts and state.state == "waiting":
            cancel.set()

    run = flow().run(check=False, cancel=cancel, progress=stop)
    assert run.state == "cancelled"
    left = set(threading.enumerate()) - before
    for each in left:
        each.join(20)
    assert not [each for each in left if each.is_alive()]


def test_texts_that_are_no_unicode_end_no_run(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.txt")
    os.mkdir(name)
    with open(os.path.join(name, os.path.basename(name)), "w") as file:
        file.write("four")

    @mt.step(cache=True)
    def names(folder: Any) -> Any:
        return [os.path.join(folder, each) for each in os.listdir(folder)]

    @mt.step(cache=True)
    def copy(folder: Any) -> Any:
        return Path(shutil.copytree(folder, tmp_path / os.path.basename(name).upper(), dirs_exist_ok=True))

    @mt.step
    def refuse(file: Any) -> None:
        raise ValueError(f"bad {os.fspath(file)}")

    @mt.workflow
    def flow() -> Any:
        folder = mt.File(name)
        return names(folder), copy(folder), refuse(folder), fail_apart(name)

    for state in ("done", "hit"):
        run = flow().run(check=False)
        assert [each.state for each in run.steps] == [state, state, "failed", "failed"]
    with closing(RunRecord.of(home_folder())) as record:
        told = [record.run(run.id), *record.steps_of(run.id)[2:]]
    assert all("bad" in each.error and r"caf\udce9.txt" in each.error for each in told)  # type: ignore[attr-defined]
    assert log_tail(home_folder() / "runs" / run.id / "logs", run.steps[3].id).startswith(rf"{tmp_path}/caf\udce9.txt")


def test_a_run_that_was_skipped_says_why() -> None:
    @mt.workflow
    def flow() -> Any:
        return total([fails(1)]), number(2).after(total([fails(3)]))

    run = flow().run(check=False)
    assert [step.why for step in run.steps if step.state == "skipped"] == [
        "step fails failed",
        "step total-2 was skipped",
        "step fails-2 failed",
    ]


def test_a_missing_file_is_told_of_the_step_that_names_it(tmp_path: Path) -> None:
    @mt.workflow
    def flow() -> Any:
        return number(mt.File(tmp_path / "missing"))

    error = flow().run(check=False).steps[0].error
    assert error.startswith("number (")
    assert "No such file or directory" in error


def test_a_named_file_that_is_not_there_is_told_by_the_argument() -> None:
    @mt.step
    def read(file: Any) -> Any:
        return file

    @mt.workflow
    def flow() -> Any:
        return read(mt.File("/nowhere/a.txt"))

    (step,) = flow().run(check=False).steps
    assert "what it takes as file cannot be read: [Errno 2] No such file or directory: '/nowhere/a.txt'" in step.error
