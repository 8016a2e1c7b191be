"""Runs: order, conditions, fan-in as results come, failures, retries, cancellation, processes."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.errors import InputError, StepError
from motet.workflow.play.runner import Runner


@mt.step
def number(n: Any) -> Any:
    return n


@mt.step
def total(values: Any) -> Any:
    return sum(values)


@mt.step
def fails(x: Any) -> None:
    raise ValueError(f"bad {x}")


def test_fan_out_and_fan_in() -> None:
    @mt.workflow
    def flow(n: Any) -> Any:
        return {"sum": total([number(i) for i in range(n)]), "n": n}

    run = flow(5).run()
    assert run.output == {"sum": 10, "n": 5}
    assert run.state == "done"
    assert str(run).startswith("flow done in ")


def test_parts_of_results_and_comparisons() -> None:
    @mt.step
    def found() -> Any:
        return {"scores": [0.5, 0.9], "name": "cnn"}

    @mt.workflow
    def flow() -> Any:
        result = found()
        return result["name"], result["scores"][1], result["scores"][1] > 0.8, result["name"] == "mlp"

    assert flow().run().output == ("cnn", 0.9, True, False)


@pytest.mark.parametrize("accuracy", [0.95, 0.5])
def test_a_condition_decides_which_steps_run(accuracy: float) -> None:
    ran = []

    @mt.step
    def publish(x: Any) -> str:
        ran.append("publish")
        return f"published {x}"

    @mt.step
    def mourn() -> str:
        ran.append("mourn")
        return "kept the old one"

    @mt.workflow
    def flow() -> Any:
        score = number(accuracy)
        outcome = mt.when(score > 0.9, lambda: publish(score), otherwise=lambda: mourn())
        return number.named("end")(outcome)

    run = flow().run()
    good = accuracy > 0.9
    assert ran == (["publish"] if good else ["mourn"])
    assert run.output == ("published 0.95" if good else "kept the old one")
    assert run.step("mourn" if good else "publish").state == "left out"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_part_of_a_choice_is_of_the_side_that_is_taken(wanted: bool) -> None:
    @mt.step
    def named(name: Any) -> Any:
        return {"name": name}

    @mt.workflow
    def flow() -> Any:
        chosen = mt.when(number(1) == 1, lambda: named("a"), otherwise=lambda: named.named("other")("b"))
        chosen = mt.when(number(int(wanted)) == 1, lambda: chosen, otherwise=lambda: named.named("third")("c"))
        return number.named("end")(chosen["name"]), number.named("all")([chosen["name"] == "a"])

    run = flow().run()
    assert run.output == (("a", [True]) if wanted else ("c", [False]))


@pytest.mark.parametrize("wanted", [True, False])
def test_a_step_lacks_the_result_that_failed_rather_than_one_that_was_left_out(wanted: bool) -> None:
    @mt.step
    def pair(a: Any, b: Any) -> Any:
        return a, b

    @mt.workflow
    def flow() -> Any:
        held, failed = [], fails.named("broken")(1)
        mt.when(number(int(wanted)) == 1, lambda: held.append(number.named("side")(2)) or held[0])
        both = pair.named("first")(held[0], failed), pair.named("second")(failed, held[0])
        return *both, pair.named("last")(held, [failed, held]), number.named("after")(held[0]).after(failed)

    run = flow().run(check=False)
    for step in ("first", "second", "last", "after"):
        assert (run.step(step).state, run.step(step).why) == ("skipped", "step broken failed")


def test_a_step_says_which_step_of_the_side_that_is_taken_has_failed() -> None:
    @mt.workflow
    def flow() -> Any:
        chosen = mt.when(number(1) == 0, lambda: number.named("fine")(1), otherwise=lambda: fails.named("broken")(1))
        return number.named("end")(chosen), number.named("part")(chosen["name"])

    run = flow().run(check=False)
    for step in ("end", "part"):
        assert (run.step(step).state, run.step(step).why) == ("skipped", "step broken failed")


def test_independent_steps_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=20)

    @mt.step
    def meet(i: Any) -> Any:
        return meeting.wait() * 0 + i

    @mt.workflow
    def flow() -> Any:
        return [meet(i) for i in range(3)]

    assert flow().run(threads=3).output == [0, 1, 2]


def test_a_step_sees_its_results_as_they_come() -> None:
    gates = [threading.Event() for _ in range(3)]
    seen = []

    @mt.step
    def train(i: Any) -> Any:
        assert gates[i].wait(20)
        return i

    @mt.step
    def serve(models: Any) -> Any:
        seen.append(models)
        if len(models) < 3:
            gates[{1: 0, 2: 1}[len(models)]].set()
        return len(models)

    @mt.workflow
    def flow() -> Any:
        return number(serve(mt.as_ready([train(i) for i in range(3)])))

    gates[2].set()
    run = flow().run()
    assert seen == [[2], [0, 2], [0, 1, 2]]
    assert run.output == 3
    assert run.step("serve").runs == 3
    assert run.step("number").runs == 1


def test_without_asynchrony_it_runs_once_with_all() -> None:
    seen = []

    @mt.step
    def serve(models: Any) -> None:
        seen.append(models)

    @mt.workflow
    def flow() -> None:
        serve(mt.as_ready([number(i) for i in range(3)]))

    flow().run(asynchronous=False)
    assert seen == [[0, 1, 2]]


def test_updates_pass_through_steps_that_take_them_as_they_come() -> None:
    seen = []
    gate = threading.Event()

    @mt.step
    def late() -> Any:
        assert gate.wait(20)
        return 7

    @mt.step
    def select(models: Any) -> Any:
        return max(models)

    @mt.step
    def publish(best: Any) -> None:
        seen.append(best)
        gate.set()

    @mt.workflow
    def flow() -> None:
        publish(mt.as_ready([select(mt.as_ready([number(3), late()]))]))

    flow().run()
    assert seen == [[3], [7]]


def test_a_failed_result_is_left_out_of_those_that_come() -> None:
    @mt.workflow
    def flow() -> Any:
        return total(mt.as_ready([number(1), fails(2), number(3)]))

    run = flow().run(check=False)
    assert (run.state, run.output) == ("failed", 4)

    @mt.workflow
    def strict() -> Any:
        return total(mt.as_ready([number(1), fails(2), number(3)], at_least=3))

    run = strict().run(check=False)
    assert run.step("total").state == "skipped"
    assert run.step("total").why == "2 of the results that it waits for came"


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (np.add, (1, 2), 3),
        (np.mean, ([1, 3],), 2),
        (sum, ([1, 2],), 3),
        (functools.partial(pow, 2), (5,), 32),
        (functools.partial(pow, 3), (2,), 9),
        (lambda x, y=2: x * y, (4,), 8),
        ("x,y".split, (",",), ["x", "y"]),
    ],
)
def test_a_step_may_be_anything_that_can_be_called(function: Any, given: Any, expected: Any) -> None:
    made = mt.step(cache=True)(function)

    @mt.workflow
    def flow() -> Any:
        return made(*given)

    assert [flow().run().output for _ in range(2)] == [expected] * 2
    assert flow().run().steps[0].state == "hit"


def test_what_does_not_say_what_it_takes_is_no_step() -> None:
    with pytest.raises(InputError, match="nothing says what <class 'dict'> takes"):
        mt.step(dict)


def test_steps_cannot_change_what_others_are_given() -> None:
    @mt.step
    def array() -> Any:
        return {"x": np.arange(3), "list": [1]}

    @mt.step
    def greedy(data: Any) -> Any:
        data["list"].append(2)
        with pytest.raises(ValueError, match="read-only"):
            data["x"][0] = 9
        return len(data["list"])

    @mt.workflow
    def flow() -> Any:
        data = array()
        return [greedy(data), greedy(data)]

    assert flow().run().output == [2, 2]


def test_a_generator_is_no_result() -> None:
    @mt.step
    def lazy() -> Any:
        return iter([1, 2])

    @mt.workflow
    def flow() -> Any:
        return lazy()

    with pytest.raises(StepError, match="can be gone through only once; return a list"):
        flow().run()


def test_values_that_cannot_be_written_reach_the_steps_of_the_run() -> None:
    @mt.step
    def function() -> Any:
        return lambda x: x + 1

    @mt.step
    def call(f: Any) -> Any:
        return f(2)

    @mt.workflow
    def flow() -> Any:
        return call(function())

    run = flow().run()
    assert run.output == 3
    assert "cannot be written, so it is not kept" in run.step("function").why


@settings(max_examples=25)
@given(data=st.data())
def test_no_step_runs_before_its_inputs_and_each_runs_once(data: Any) -> None:
    """Any acyclic plan, any number of threads: everything a step takes is over before it begins."""
    count = data.draw(st.integers(1, 14))
    needs = [data.draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True)) if i else [] for i in range(count)]
    after = [data.draw(st.lists(st.integers(0, i - 1), max_size=2, unique=True)) if i else [] for i in range(count)]
    lock, begun, over = threading.Lock(), [], []

    @mt.step
    def work(i: Any, values: Any) -> Any:
        with lock:
            begun.append(i)
            assert {*needs[i], *after[i]} <= set(over)
        with lock:
            over.append(i)
        return i

    @mt.workflow
    def flow() -> Any:
        made = []
        for i in range(count):
            made.append(work(i, [made[j] for j in needs[i]]).after(*[made[j] for j in after[i]]))
        return made

    run = flow().run(threads=data.draw(st.integers(1, 5)), resume=False)
    assert run.output == list(range(count))
    assert sorted(begun) == list(range(count))


def test_progress_is_told_of_the_last_step_before_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, told, flush = threading.Semaphore(0), [], Runner.flush
    monkeypatch.setattr(Runner, "flush", lambda self: (flush(self), flushed.release()))

    def progress(state: Any) -> None:
        if state.state == "done":
            while flushed.acquire(blocking=False):
                pass
            for _ in range(2):  # a run that ends flushes once more
                assert flushed.acquire(timeout=60)
            told.append(state.id)

    @mt.workflow
    def flow() -> Any:
        return number(1)

    assert flow().run(progress=progress).output == 1
    assert told == ["number"]


def test_a_run_goes_on_where_progress_raises(caplog: pytest.LogCaptureFixture) -> None:
    def progress(state: Any) -> None:
        raise OSError(f"{state.state} of {state.id}")

    @mt.workflow
    def flow() -> Any:
        return total([number(i) for i in range(4)])

    assert flow().run(progress=progress, threads=1).output == 6
    assert "step total: progress raised; the run goes on" in caplog.text
    assert "OSError: done of total" in caplog.text


@pytest.mark.parametrize("refused", [range(1), range(2), range(1, 20)])
def test_a_run_goes_on_with_the_threads_that_there_are(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    """As at a container's limit of processes, where `Thread.start` raises."""
    asked = []
    start = threading.Thread.start

    def refuse(thread: Any) -> None:
        if thread.name == "motet-here":
            asked.append(thread)
            if len(asked) - 1 in refused:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    @mt.workflow
    def flow() -> Any:
        return total([number(n) for n in range(8)])

    assert flow().run(threads=3).output == 28
    assert len(asked) > len(refused) or refused.start
