"""Calls that are awaited, and calls that may take so long and no longer."""

import asyncio
import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import motet as mt
from motet.errors import DeadlineError, InputError, RowErrors
from motet.runtime import deadline
from motet.threads import ThreadPool

x = mt.input("x", "float32")
request = contextvars.ContextVar("asked", default="none")


class Stuck:
    """A function that waits until it is let go, which a test does not wait for."""

    def __init__(self):
        self.inside, self.leave, self.calls, self.left = threading.Event(), threading.Event(), 0, threading.Event()

    def __call__(self, x):
        self.calls += 1
        self.inside.set()
        self.leave.wait(60)
        self.left.set()
        return x + 1


@pytest.fixture
def stuck():
    made = Stuck()
    yield made
    made.leave.set()


def counted():
    rows = []

    def count(x):
        rows.append(len(x))
        return x

    return rows, count


def graph_of(*functions, **options):
    column = x
    for function in functions:
        column = mt.map(function, column, outputs="float32", **options)
    return mt.Graph("g", {"o": column})


def asked(graph, awaited):
    columns = {"x": np.ones(3, "f4")}
    return asyncio.run(graph.acall(columns, timeout=0.05)) if awaited else graph(columns, timeout=0.05)


def double(x):
    return x * 2


@pytest.mark.parametrize("rows", [1, 2048, 5000])
def test_an_awaited_call_answers_as_a_call_does(rows):
    graph, given = graph_of(double), np.arange(rows, dtype="f4")
    answers = asyncio.run(graph.acall({"x": given}))
    np.testing.assert_array_equal(answers["o"], given * 2)
    found, failures = asyncio.run(graph.acall({"x": [1.0, None]}, failures="return", timeout=30))
    assert found["o"].tolist() == [2]
    assert [each.row for each in failures] == [1]
    with pytest.raises(RowErrors, match="input 'x' is null"):
        asyncio.run(graph.acall({"x": [None]}))
    with pytest.raises(mt.errors.UnknownNameError, match="unknown input 'y'"):
        asyncio.run(graph.acall({"y": [1.0]}))


def test_the_loop_goes_on_while_a_call_is_awaited(stuck):
    async def main():
        asked = asyncio.create_task(graph_of(stuck).acall({"x": np.ones(3, "f4")}))
        while not stuck.inside.is_set():
            await asyncio.sleep(0)
        stuck.leave.set()
        return await asked

    assert asyncio.run(main())["o"].tolist() == [2, 2, 2]


def test_many_are_awaited_at_the_same_time_each_in_its_context():
    def told(values):
        return [f"{request.get()}-{value:g}" for value in values]

    graph = mt.Graph("g", {"o": mt.map(told, x, outputs="string")})

    async def one(number):
        request.set(f"r{number}")
        return (await graph.acall({"x": np.array([number], np.float32)}))["o"][0]

    async def main():
        return await asyncio.gather(*map(one, range(200)))

    assert asyncio.run(main()) == [f"r{number}-{number}" for number in range(200)]
    assert graph({"x": np.array([1], np.float32)})["o"][0] == "none-1"


def test_uvloop_does_as_asyncio():
    uvloop = pytest.importorskip("uvloop")
    assert uvloop.run(graph_of(double).acall({"x": np.ones(3000, "f4")}))["o"].sum() == 6000


@pytest.mark.parametrize("awaited", [False, True])
def test_what_is_late_is_said_in_time_and_costs_no_more(stuck, awaited):
    rows, count = counted()
    graph = graph_of(stuck, count)
    with pytest.raises(DeadlineError, match=r"not answered within 0\.05 s"):
        asked(graph, awaited)
    stuck.leave.set()
    assert graph({"x": np.ones(7, "f4")}, timeout=60)["o"].tolist() == [2] * 7
    assert rows == [7]  # the late one stopped before its second node


def test_rows_that_nobody_waits_for_are_not_played(stuck):
    """Of 200 rows that are played one by one the first is under way when the call is late; the others are left out."""
    graph = mt.Graph("g", {"o": mt.map(lambda value: stuck(value), x, each=True, outputs="float32")})
    with pytest.raises(DeadlineError):
        graph({"x": np.ones(200, "f4")}, timeout=0.05)
    stuck.leave.set()
    assert graph_of(double)({"x": np.ones(1, "f4")}, timeout=60)["o"].tolist() == [2]
    assert stuck.left.wait(60)
    assert stuck.calls == 1


def test_a_task_that_is_cancelled_stops_its_call(stuck):
    rows, count = counted()
    graph = graph_of(stuck, count)

    async def main():
        task = asyncio.create_task(graph.acall({"x": np.ones(3, "f4")}))
        while not stuck.inside.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stuck.leave.set()
        return await graph.acall({"x": np.ones(9, "f4")})

    assert asyncio.run(main())["o"].tolist() == [2] * 9
    assert rows == [9]


def test_inner_graphs_stop_too(stuck):
    rows, count = counted()
    inner = graph_of(stuck, count)
    outer = mt.Graph("outer", {"o": mt.model(inner, x)})
    with pytest.raises(DeadlineError):
        outer({"x": np.ones(3, "f4")}, timeout=0.05)
    stuck.leave.set()
    assert inner({"x": np.ones(5, "f4")})["o"].tolist() == [2] * 5
    assert rows == [5]


def test_calls_that_are_stuck_are_bounded_and_others_are_late(stuck, monkeypatch):
    monkeypatch.setattr(deadline, "_pool", ThreadPool(2, "few"))
    graph, quick = graph_of(stuck), graph_of(double)
    for _ in range(5):
        with pytest.raises(DeadlineError):
            graph({"x": np.ones(1, "f4")}, timeout=0.02)
    with pytest.raises(DeadlineError):
        quick({"x": np.ones(1, "f4")}, timeout=0.02)
    assert stuck.calls == 2
    stuck.leave.set()
    assert quick({"x": np.ones(1, "f4")}, timeout=60)["o"].tolist() == [2]


@pytest.mark.parametrize("awaited", [False, True])
def test_late_calls_that_had_no_turn_are_forgotten(awaited, stuck, monkeypatch):
    monkeypatch.setattr(deadline, "_pool", ThreadPool(1, "one"))
    graph, waiting = graph_of(stuck), []
    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(graph, {"x": np.ones(3, "f4")}, timeout=60)
        stuck.inside.wait(60)
        for _ in range(3):
            columns = {"x": np.ones(3, "f4")}
            waiting.append(weakref.ref(columns["x"]))
            with pytest.raises(DeadlineError):
                asyncio.run(graph.acall(columns, timeout=0.02)) if awaited else graph(columns, timeout=0.02)
        del columns
        gc.collect()
        assert [each() for each in waiting] == [None] * 3
        stuck.leave.set()
        assert first.result()["o"].tolist() == [2] * 3
    assert stuck.calls == 1


def test_calls_within_calls_wait_for_no_place(monkeypatch):
    monkeypatch.setattr(deadline, "_pool", ThreadPool(1, "one"))
    inner = graph_of(double)
    sync = graph_of(lambda x: inner({"x": x}, timeout=30)["o"])
    awaiting = graph_of(lambda x: asyncio.run(inner.acall({"x": x}))["o"])
    for graph in (sync, awaiting):
        assert graph({"x": np.ones(5000, "f4")}, timeout=60)["o"].sum() == 10000
        assert asyncio.run(graph.acall({"x": np.ones(2, "f4")}))["o"].tolist() == [2, 2]


def test_a_deadline_of_an_inner_call_is_its_rows_failure(stuck):
    inner = graph_of(stuck)
    outer = graph_of(lambda x: inner({"x": x}, timeout=0.02)["o"])
    answers, failures = outer({"x": np.ones(2, "f4")}, failures="return")
    assert not len(answers["o"])
    assert [each.error for each in failures] == ["DeadlineError"] * 2


def test_a_timeout_error_of_a_function_is_its_own():
    def fails(x):
        raise TimeoutError("of its own")

    with pytest.raises(RowErrors, match="TimeoutError: of its own"):
        graph_of(fails)({"x": np.ones(1, "f4")}, timeout=30)


@pytest.mark.parametrize("wrong", [-1, "1", float("nan"), True])
def test_a_timeout_is_seconds(wrong):
    with pytest.raises(InputError, match="timeout must be seconds"):
        graph_of(double)({"x": np.ones(1, "f4")}, timeout=wrong)
    with pytest.raises(InputError, match="timeout must be seconds"):
        asyncio.run(graph_of(double).acall({"x": np.ones(1, "f4")}, timeout=wrong))


@pytest.mark.parametrize("long", [float("inf"), 1e300, 10**400, np.float32(60), np.int64(60)])
def test_any_number_of_seconds_may_be_allowed(long):
    assert graph_of(double)({"x": np.ones(1, "f4")}, timeout=long)["o"].tolist() == [2]
    assert asyncio.run(graph_of(double).acall({"x": np.ones(1, "f4")}, timeout=long))["o"].tolist() == [2]


def test_no_time_at_all_is_late():
    with pytest.raises(DeadlineError, match="within 0 s"):
        graph_of(double)({"x": np.ones(1, "f4")}, timeout=0)


def test_threads_of_others_may_call_too():
    graph = graph_of(double)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: graph({"x": np.full(3, n, "f4")}, timeout=60)["o"].tolist(), range(100)))
    assert found == [[2 * n] * 3 for n in range(100)]
