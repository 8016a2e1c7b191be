"""Wiring: what calling steps makes, and what is refused before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from motet.errors import CycleError, GraphError, InputError
from motet.workflow.find import wired
from motet.workflow.step import Step


@dataclass
class Box:
    value: object


@mt.step
def one() -> Any:
    return 1


@mt.step
def plus(x: Any, by: Any = 1) -> Any:
    return x + by


@mt.step
def total(values: Any) -> Any:
    return sum(values)


def test_a_step_is_the_plain_function_where_nothing_is_wired() -> None:
    assert plus(3, by=4) == 7
    assert total([1, 2]) == 3


def test_where_no_line_of_a_workflow_is_known_its_name_stands_alone() -> None:
    names: dict[str, Any] = {}
    exec("def flow():\n    return 1 / 0", names)
    with pytest.raises(GraphError, match="^workflow flow: ZeroDivisionError: division by zero"):
        wired(mt.workflow(names["flow"]), [])


def test_calling_a_workflow_wires_and_runs_nothing() -> None:
    ran = []

    @mt.step
    def noted() -> None:
        ran.append(1)

    @mt.workflow
    def flow() -> Any:
        return noted()

    plan = flow()
    assert isinstance(plan, mt.Plan)
    assert [node.id for node in plan.nodes] == ["noted"]
    assert ran == []


def test_no_two_steps_have_the_same_name() -> None:
    @mt.workflow
    def flow() -> Any:
        return [one(), one(), one.named("one-2")(), one.named("one-4")(), one(), one()]

    assert [node.id for node in flow().nodes] == ["one", "one-2", "one-2-2", "one-4", "one-3", "one-5"]


@given(st.lists(st.sampled_from("abc"), max_size=4), st.sets(st.sampled_from("abcdef"), max_size=3))
def test_arguments_are_bound_as_python_binds_them(positional: Any, named: Any) -> None:
    def function(a: Any, b: Any = 2, *, c: Any = 3, d: Any) -> None:
        pass

    kwargs = dict.fromkeys(sorted(named), "named")
    try:
        bound = inspect.signature(function).bind(*positional, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            Step(function).bind(tuple(positional), kwargs)
    else:
        bound.apply_defaults()
        found = Step(function).bind(tuple(positional), kwargs)
        assert list(found.items()) == list(bound.arguments.items())


def test_steps_have_names_that_are_the_same_for_the_same_program() -> None:
    @mt.workflow
    def inner() -> Any:
        return total([plus(n) for n in range(2)])

    @mt.workflow
    def outer() -> Any:
        return plus.named("last")(total([inner(), inner(), one()]))

    assert [node.id for node in outer().nodes] == [
        "inner/plus",
        "inner/plus-2",
        "inner/total",
        "inner-2/plus",
        "inner-2/plus-2",
        "inner-2/total",
        "one",
        "total",
        "last",
    ]


def test_a_missing_input_is_refused_with_the_place_and_the_signature() -> None:
    @mt.workflow
    def flow() -> Any:
        return plus()  # type: ignore[call-arg]

    with pytest.raises(
        GraphError,
        match=r"plus \(.*test_wiring.py:\d+\): step plus cannot be called so: missing a required argument: 'x'\n.*it takes \(x: 'Any', by: 'Any' = 1\)",
    ):
        flow()


def test_an_unknown_parameter_of_the_workflow_is_refused() -> None:
    @mt.workflow
    def flow(n: int) -> Any:
        return one()

    with pytest.raises(GraphError, match="workflow flow cannot be called so: got an unexpected keyword argument 'm'"):
        flow(1, m=2)  # type: ignore[call-arg]


def test_a_cycle_is_refused_and_the_loop_printed() -> None:
    @mt.workflow
    def flow() -> Any:
        first, second = plus.named("first")(1), plus.named("second")(2)
        third = plus.named("third")(second)
        first.after(third)
        second.after(first)
        return first

    with pytest.raises(CycleError, match="steps wait for each other in a cycle: first -> third -> second -> first"):
        flow()


def test_workflows_that_call_each_other_are_refused_and_the_loop_printed() -> None:
    @mt.workflow
    def left() -> Any:
        return right()

    @mt.workflow
    def right() -> Any:
        return left()

    with pytest.raises(CycleError, match="workflows wait for each other in a cycle: left -> right -> left"):
        left()


def test_a_list_that_is_changed_after_it_was_handed_on_is_not_seen() -> None:
    @mt.workflow
    def flow() -> Any:
        values = [one()]
        found = total(values)
        values.append(found)
        return found

    assert flow().run().output == 1


def test_results_of_another_workflow_are_refused() -> None:
    kept = []

    @mt.workflow
    def first() -> None:
        kept.append(one())

    @mt.workflow
    def second() -> Any:
        return plus(kept[0])

    @mt.workflow
    def third() -> Any:
        return one().after(kept[0])

    first()
    for flow in (second, third):
        with pytest.raises(GraphError, match="takes the result of step one, which belongs to another workflow"):
            flow()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda x: 1 if x else 2, "write motet.when"),
        (lambda x: x and 1, "write motet.when"),
        (lambda x: list(x), "take parts by number"),
        (lambda x: len(x), "the length of the result of step one is not known"),
        (lambda x: x[None], "by name or number; got None"),
        (lambda x: x + 1, "nothing can be computed from it"),
        (lambda x: -x, "nothing can be computed from it"),
        (lambda x: range(x), "nothing can be computed from it"),
        (lambda x: x(3), "nothing can be computed from it"),
        (lambda x: f"models/{x}", "cannot be put into a text"),
        (lambda x: plus({x, 2}), "inside of a set, where it is not found"),
        (lambda x: plus({x: 2}), "inside of a dict, where it is not found"),
        (lambda x: plus([Box(x)]), "inside of a Box, where it is not found"),
        (lambda x: {x}, "returns as_ready.*, or promises in something else"),
        (lambda x: mt.as_ready([x]), "returns as_ready.*, or promises in something else"),
    ],
)
def test_what_is_not_known_while_wiring_is_refused_with_a_way_out(use: Any, message: str) -> None:
    @mt.workflow
    def flow() -> Any:
        return use(one())

    with pytest.raises(GraphError, match=message):
        flow()


def test_attributes_of_a_result_are_refused_with_a_way_out() -> None:
    @mt.workflow
    def flow() -> Any:
        return one().accuracy

    with pytest.raises(AttributeError, match=r"take result\['accuracy'\] where it is a dict"):
        flow()


def test_as_ready_is_an_argument_of_its_own() -> None:
    @mt.workflow
    def nested() -> Any:
        return total([mt.as_ready([one()])])

    with pytest.raises(GraphError, match="as_ready.* is an argument of its own"):
        nested()

    @mt.workflow
    def empty() -> Any:
        return total(mt.as_ready([]))

    with pytest.raises(GraphError, match="as_ready takes the results of one step or more"):
        empty()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retries": -1}, "retries=-1"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"memory": "2 apples"}, "'2 apples' is no amount of memory"),
        ({"cache": "yes"}, "cache='yes'"),
        ({"max_age": "14d"}, "max_age without cache"),
        ({"cache": True, "max_age": "soon"}, "'soon' is no time"),
        ({"timeout_s": 3, "process": False}, "timeout_s needs a process"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mt.step(**settings)(lambda: 1)


def test_what_is_no_plain_function_is_refused() -> None:
    async def later() -> None:
        pass

    def many() -> Iterator[Any]:
        yield 1

    for function in (later, many):
        with pytest.raises(InputError, match="a step returns its result"):
            mt.step(function)
    with pytest.raises(InputError, match="count_rows asks for rows, which the step does not take; it takes data"):

        @mt.step(cache=mt.when_changed(count_rows, by=0.1))
        def train(data: Any) -> None:
            pass


def count_rows(rows: Any) -> Any:
    return len(rows)


def test_a_method_is_no_step() -> None:
    class Thing:
        @mt.step
        def work(self) -> None:
            pass

    with pytest.raises(GraphError, match="work is a method"):
        Thing().work()  # type: ignore[call-arg]
