"""One step again, whatever is kept of it; decorators that take arguments in order; numbers that are told apart."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from motet.errors import InputError, UnknownNameError
from motet.workflow.play.durations import apart, told, told_s
from workflow.flow_steps import Calls

CALLS = Calls()


@mt.step(cache=True)
def source(n: Any) -> Any:
    CALLS.append("source")
    return n + CALLS.count("source")


@mt.step(cache=True)
def half(n: Any) -> Any:
    CALLS.append("half")
    return n // 2


@mt.step
def plain(n: Any) -> Any:
    return n


@mt.workflow
def flow(n: int = 0) -> Any:
    return plain(half(source(n)))


@pytest.fixture(autouse=True)
def calls() -> None:
    CALLS.clear()


def states(run: Any) -> Any:
    return {each.id: each.state for each in run.steps}


def test_one_step_runs_again_and_what_follows_only_where_its_result_is_another() -> None:
    assert flow().run().output == 0  # 1 // 2
    assert states(flow().run()) == {"source": "hit", "half": "hit", "plain": "done"}
    run = flow().run(again=["source"])
    assert (run.output, states(run)) == (1, {"source": "done", "half": "done", "plain": "done"})  # 2 // 2
    assert run.step("source").why == "it was to run again"
    assert (flow().run().output, CALLS) == (1, ["source", "half"] * 2), "the new result is kept instead"
    run = flow().run(again=["source"])
    assert (run.output, states(run)) == (1, {"source": "done", "half": "done", "plain": "done"})  # 3 // 2
    assert flow().run(again=["half"]).output == 1
    assert CALLS == ["source", "half"] * 3 + ["half"]


def test_a_step_of_a_run_that_is_gone_on_with_runs_again() -> None:
    @mt.step
    def fails(n: Any) -> None:
        raise ValueError("no")

    @mt.workflow
    def broken() -> Any:
        return fails(plain(3)), half(source(0))

    run = broken().run(check=False)
    assert states(broken().run(check=False, resume=run.id, again=["source"])) == {
        "plain": "resumed", "fails": "failed", "source": "done", "half": "done",
    }  # fmt: skip


def test_an_unknown_step_is_refused_before_the_work() -> None:
    with pytest.raises(UnknownNameError, match="unknown step 'sauce'; did you mean 'source'"):
        flow().run(again=["sauce"])
    assert not CALLS


def in_order(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*values: Any) -> Any:
        return function(*values)

    return inner


def by_name(function: Any) -> Any:
    @functools.wraps(function)
    def inner(**values: Any) -> Any:
        return function(**values)

    return inner


def renamed(function: Any) -> Any:
    @functools.wraps(function)
    def inner(first: Any, second: Any = 10) -> Any:
        return function(first, second)

    return inner


@pytest.mark.parametrize("decorator", [in_order, by_name, renamed, functools.cache])
def test_steps_under_decorators_are_called_as_these_take_it(decorator: Any) -> None:
    def work(x: Any, y: Any = 2) -> Any:
        return 10 * x + y

    made = mt.step(decorator(work))

    @mt.workflow
    def decorated() -> Any:
        return made(x=1), made(y=3, x=2)

    assert decorated().run().output == (12, 23)


def test_a_decorator_that_takes_them_in_no_way_is_refused() -> None:
    def work(x: Any, *, y: Any) -> Any:
        return x + y

    with pytest.raises(
        InputError, match=r"shows the parameters \(x: 'Any', \*, y: 'Any'\) -> 'Any', and cannot be called with them"
    ):
        mt.step(in_order(work))


@pytest.mark.parametrize(("value", "bound"), [(0.9199999, 0.92), (0.92, 0.9200000001), (89.99999999, 90.0)])
def test_a_metric_and_its_bound_are_told_apart(value: float, bound: float) -> None:
    @mt.step(cache=mt.while_at_least(lambda result: result, bound))
    def score() -> Any:
        return value

    @mt.workflow
    def scored() -> Any:
        return score()

    scored().run()
    why = scored().run().steps[0].why
    is_now, _, least = why.partition(" is ")[2].partition(", less than ")
    assert float(is_now) < float(least)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_numbers_that_differ_are_told_apart(one: Any, other: Any) -> None:
    first, second = apart(one, other)
    assert (first == second) == (one == other) or (one, other) == (0.0, -0.0)


def test_numbers_are_as_short_as_they_can_be() -> None:
    assert apart(0.9199999, 0.92, digits=6) == ("0.9199999", "0.92")
    assert apart(14.0001 * 86400, 14 * 86400, told_s) == ("14.0001 d", "14 d")
    assert (told(1 / 3), told_s(90.0)) == ("0.333333", "1.5 min")
