"""Runs: order, conditions, fan-in as results come, failures, retries, cancellation, processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.errors import InputError, StepError, WorkflowError
from motet.workflow.play.budget import Machine
from workflow import flow_steps


@mt.step
def number(n):
    return n


@mt.step
def total(values):
    return sum(values)


@mt.step
def fails(x):
    raise ValueError(f"bad {x}")


def test_fan_out_and_fan_in():
    @mt.workflow
    def flow(n):
        return {"sum": total([number(i) for i in range(n)]), "n": n}

    run = flow(5).run()
    assert run.output == {"sum": 10, "n": 5}
    assert run.state == "done"
    assert str(run).startswith("flow done in ")


def test_parts_of_results_and_comparisons():
    @mt.step
    def found():
        return {"scores": [0.5, 0.9], "name": "cnn"}

    @mt.workflow
    def flow():
        result = found()
        return result["name"], result["scores"][1], result["scores"][1] > 0.8, result["name"] == "mlp"

    assert flow().run().output == ("cnn", 0.9, True, False)


@pytest.mark.parametrize("accuracy", [0.95, 0.5])
def test_a_condition_decides_which_steps_run(accuracy):
    ran = []

    @mt.step
    def publish(x):
        ran.append("publish")
        return f"published {x}"

    @mt.step
    def mourn():
        ran.append("mourn")
        return "kept the old one"

    @mt.workflow
    def flow():
        score = number(accuracy)
        outcome = mt.when(score > 0.9, lambda: publish(score), otherwise=lambda: mourn())
        return number.named("end")(outcome)

    run = flow().run()
    good = accuracy > 0.9
    assert ran == (["publish"] if good else ["mourn"])
    assert run.output == ("published 0.95" if good else "kept the old one")
    assert run.step("mourn" if good else "publish").state == "left out"


def test_independent_steps_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)

    @mt.step
    def meet(i):
        return meeting.wait() * 0 + i

    @mt.workflow
    def flow():
        return [meet(i) for i in range(3)]

    assert flow().run(threads=3).output == [0, 1, 2]


def test_a_step_sees_its_results_as_they_come():
    gates = [threading.Event() for _ in range(3)]
    seen = []

    @mt.step
    def train(i):
        assert gates[i].wait(20)
        return i

    @mt.step
    def serve(models):
        seen.append(models)
        if len(models) < 3:
            gates[{1: 0, 2: 1}[len(models)]].set()
        return len(models)

    @mt.workflow
    def flow():
        return number(serve(mt.as_ready([train(i) for i in range(3)])))

    gates[2].set()
    run = flow().run()
    assert seen == [[2], [0, 2], [0, 1, 2]]
    assert run.output == 3
    assert run.step("serve").runs == 3
    assert run.step("number").runs == 1


def test_without_asynchrony_it_runs_once_with_all():
    seen = []

    @mt.step
    def serve(models):
        seen.append(models)

    @mt.workflow
    def flow():
        serve(mt.as_ready([number(i) for i in range(3)]))

    flow().run(asynchronous=False)
    assert seen == [[0, 1, 2]]


def test_updates_pass_through_steps_that_take_them_as_they_come():
    seen = []
    gate = threading.Event()

    @mt.step
    def late():
        assert gate.wait(20)
        return 7

    @mt.step
    def select(models):
        return max(models)

    @mt.step
    def publish(best):
        seen.append(best)
        gate.set()

    @mt.workflow
    def flow():
        publish(mt.as_ready([select(mt.as_ready([number(3), late()]))]))

    flow().run()
    assert seen == [[3], [7]]


def test_a_failed_result_is_left_out_of_those_that_come():
    @mt.workflow
    def flow():
        return total(mt.as_ready([number(1), fails(2), number(3)]))

    run = flow().run(check=False)
    assert (run.state, run.output) == ("failed", 4)

    @mt.workflow
    def strict():
        return total(mt.as_ready([number(1), fails(2), number(3)], at_least=3))

    run = strict().run(check=False)
    assert run.step("total").state == "skipped"
    assert run.step("total").why == "2 of the results that it waits for came"


def test_a_failure_names_function_and_line_and_the_others_finish():
    @mt.workflow
    def flow():
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
        StepError, match=r"step fails failed: fails \(.*test_runs.py:\d+\): ValueError: bad 1"
    ) as caught:
        flow().run()
    assert isinstance(caught.value.__cause__, ValueError)
    assert "2 finished, 1 not run" in str(caught.value)
    with pytest.raises(WorkflowError, match="is not known: a step has no result"):
        _ = run.output


def test_failing_fast_ends_the_run():
    @mt.workflow
    def flow():
        bad = fails(1)
        return number.named("later")(2).after(bad), [number(i) for i in range(3)]

    run = flow().run(check=False, fail_fast=True, threads=1)
    assert run.state == "failed"
    assert run.step("later").state in ("cancelled", "skipped")


def test_retries_come_with_backoff():
    tries = []

    @mt.step(retries=3, backoff_s=0.001)
    def shaky():
        context = mt.current_step()
        tries.append(context.attempt)
        if len(tries) < 3:
            raise OSError("not yet")
        return len(tries)

    @mt.workflow
    def flow():
        return shaky()

    run = flow().run()
    assert (run.output, tries, run.step("shaky").attempts) == (3, [0, 1, 2], 3)


def test_a_cancelled_run_starts_nothing_more():
    cancel = threading.Event()

    @mt.step
    def stop():
        cancel.set()

    @mt.workflow
    def flow():
        return number(3).after(stop())

    run = flow().run(check=False, cancel=cancel)
    assert run.state == "cancelled"
    assert run.step("number").state == "cancelled"
    with pytest.raises(WorkflowError, match="was cancelled"):
        flow().run(cancel=cancel)


def test_the_second_interrupt_waits_for_nothing():
    over = threading.Event()

    @mt.step
    def deaf():
        context = mt.current_step()
        os.kill(os.getpid(), signal.SIGINT)
        context.cancelled.wait(20)
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(60)

    @mt.workflow
    def flow():
        return deaf()

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            flow().run()
    finally:
        over.set()
    assert time.monotonic() - began < 8


def test_a_run_that_was_skipped_says_why():
    @mt.workflow
    def flow():
        return total([fails(1)]), number(2).after(total([fails(3)]))

    run = flow().run(check=False)
    assert [step.why for step in run.steps if step.state == "skipped"] == [
        "step fails failed",
        "step total-2 was skipped",
        "step fails-2 failed",
    ]


def test_a_missing_file_is_told_of_the_step_that_names_it(tmp_path):
    @mt.workflow
    def flow():
        return number(mt.File(tmp_path / "missing"))

    error = flow().run(check=False).steps[0].error
    assert error.startswith("number (")
    assert "No such file or directory" in error


def test_steps_cannot_change_what_others_are_given():
    @mt.step
    def array():
        return {"x": np.arange(3), "list": [1]}

    @mt.step
    def greedy(data):
        data["list"].append(2)
        with pytest.raises(ValueError, match="read-only"):
            data["x"][0] = 9
        return len(data["list"])

    @mt.workflow
    def flow():
        data = array()
        return [greedy(data), greedy(data)]

    assert flow().run().output == [2, 2]


def test_a_generator_is_no_result():
    @mt.step
    def lazy():
        return iter([1, 2])

    @mt.workflow
    def flow():
        return lazy()

    with pytest.raises(StepError, match="can be gone through only once; return a list"):
        flow().run()


def test_values_that_cannot_be_written_reach_the_steps_of_the_run():
    @mt.step
    def function():
        return lambda x: x + 1

    @mt.step
    def call(f):
        return f(2)

    @mt.workflow
    def flow():
        return call(function())

    run = flow().run()
    assert run.output == 3
    assert "cannot be written, so it is not kept" in run.step("function").why


def test_a_step_that_asks_for_resources_runs_in_a_process_of_its_own():
    run = flow_steps.resources().run()
    mine, (theirs, total, threads) = run.output
    assert theirs != mine
    assert (total, threads) == (6.0, "1")


def test_a_process_that_fails_takes_too_long_or_dies_says_so():
    run = flow_steps.troubles().run(check=False)
    assert "ValueError: bad luck" in run.step("own_failure").error
    assert "flow_steps.py" in run.step("own_failure").error
    assert "took more than 0.3 s, and was ended" in run.step("sleeps").error
    assert "its process was ended by SIGKILL" in run.step("dies").error


def test_what_cannot_run_in_a_process_of_its_own_is_refused():
    @mt.step(cpu=1)
    def local():
        return 1

    @mt.workflow
    def flow():
        return local()

    with pytest.raises(StepError, match="must be found by name"):
        flow().run()

    @mt.workflow
    def method():
        return mt.step(process=True)(Machine(cpu=1).check)(flow_steps.needs(cpu=1), "here")

    with pytest.raises(StepError, match="must be found by name"):
        method().run()


def test_a_script_without_a_guard_does_not_run_itself_without_end(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import motet as mt\n\n@mt.step(process=True)\ndef own():\n    return 1\n\n"
        "@mt.workflow\ndef flow():\n    return own()\n\nflow().run()\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "begin runs under if __name__ == '__main__':" in ended.stderr


def test_resources_are_bounded_and_what_the_machine_lacks_is_refused():
    machine = Machine(cpu=2, memory_bytes=100)
    held = machine.borrow(flow_steps.needs(cpu=1.5), lambda: False)
    assert held.__enter__()
    stopped = iter([False, True])
    with machine.borrow(flow_steps.needs(cpu=1), lambda: next(stopped)) as lent:
        assert not lent
    held.__exit__(None, None, None)
    with machine.borrow(flow_steps.needs(cpu=64), lambda: False) as lent:
        assert lent
    with pytest.raises(InputError, match="asks for 0 MiB of memory, this machine has 0 MiB"):
        machine.check(flow_steps.needs(memory_bytes=101), "step train")
    with pytest.raises(InputError, match="step hungry: asks for"):
        flow_steps.hungry_flow().run(budget=machine)


@settings(max_examples=25)
@given(data=st.data())
def test_no_step_runs_before_its_inputs_and_each_runs_once(data):
    """Any acyclic plan, any number of threads: everything a step takes is over before it begins."""
    count = data.draw(st.integers(1, 14))
    needs = [data.draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True)) if i else [] for i in range(count)]
    after = [data.draw(st.lists(st.integers(0, i - 1), max_size=2, unique=True)) if i else [] for i in range(count)]
    lock, begun, over = threading.Lock(), [], []

    @mt.step
    def work(i, values):
        with lock:
            begun.append(i)
            assert {*needs[i], *after[i]} <= set(over)
        with lock:
            over.append(i)
        return i

    @mt.workflow
    def flow():
        made = []
        for i in range(count):
            made.append(work(i, [made[j] for j in needs[i]]).after(*[made[j] for j in after[i]]))
        return made

    run = flow().run(threads=data.draw(st.integers(1, 5)), resume=False)
    assert run.output == list(range(count))
    assert sorted(begun) == list(range(count))
