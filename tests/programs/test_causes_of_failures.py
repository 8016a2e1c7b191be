"""The exceptions behind failed rows of a call: reached by debuggers, trackers of errors, and people."""

import asyncio
import copy
import pickle
import threading
import traceback
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import RowErrors
from motet.testing import Affine, Failing, fake


class OddError(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, value: Any, more: Any) -> None:
        super().__init__(value)
        self.lock = threading.Lock()


def picky(x: Any) -> Any:
    for value in x.tolist():
        if value < 0:
            seen = value
            raise OddError(f"no {seen}", 1)
    return x


def pieces(x: Any) -> Any:
    return np.repeat(x, 2), np.full(len(x), 2)


def together(values: Any, counts: Any) -> Any:
    return values.reshape(-1, 2)[:, 0]


x = mt.input("x", "float32")
inner = mt.Graph("inner", {"y": mt.map(picky, x, outputs="float32")})
model = mt.Model(f"python:{__name__}:picky", "picky", inputs={"x": "float32"}, outputs={"y": "float32"})
GRAPHS = {
    "map": mt.Graph("g", {"y": mt.map(picky, x, outputs="float32")}),
    "each": mt.Graph("g", {"y": mt.map(lambda each: picky(np.array([each]))[0], x, each=True, outputs="float32")}),
    "model": mt.Graph("g", {"y": mt.model(model, x)}),
    "thread": mt.Graph("g", {"y": mt.model(mt.Model(model.uri, "t", inputs=model.inputs, outputs=model.outputs, placement="thread"), x)}),
    "inside": mt.Graph("g", {"y": mt.model(inner, x)}),
    "ensemble": mt.Graph("g", {"y": mt.ensemble([model, inner], x, combine="max").y}),
    "route": mt.Graph("g", {"y": mt.route({"a": model, "b": inner}, x, when={"b": "x > 100"}, otherwise="a").y}),
    "shard": mt.Graph("g", {"y": mt.shard(model, x, apart=pieces, together=together)}),
}  # fmt: skip


def innermost(error: Any) -> Any:
    frame, _ = list(traceback.walk_tb(error.__traceback__))[-1]
    return frame


def raised_by(graph: Any, values: Any) -> Any:
    with pytest.raises(RowErrors) as raised:
        graph({"x": np.asarray(values, np.float32)})
    return raised.value


@pytest.mark.parametrize("kind", GRAPHS)
def test_the_first_exception_is_the_cause_and_its_frames_are_there(kind: Any) -> None:
    error = raised_by(GRAPHS[kind], [1, -2, 3, -4])
    assert sorted(error.exceptions) == [1, 3]
    assert error.__cause__ is error.exceptions[1]
    assert [str(error.exceptions[row]) for row in (1, 3)] == ["no -2.0", "no -4.0"]
    frame = innermost(error.__cause__)
    assert (frame.f_code.co_name, frame.f_locals["seen"]) == ("picky", -2.0)
    assert "raise OddError" in "".join(traceback.format_exception(error))


def test_rows_that_cannot_be_read_have_no_exception() -> None:
    with pytest.raises(RowErrors) as raised:
        GRAPHS["map"]({"x": [None, -2.0]})
    error = raised.value
    assert [failure.row for failure in error.failures] == [0, 1]
    assert list(error.exceptions) == [1]
    with pytest.raises(RowErrors) as raised:
        GRAPHS["map"]({"x": [None]})
    assert (raised.value.exceptions, raised.value.__cause__) == ({}, None)


def test_awaited_and_bounded_calls_have_them_too() -> None:
    for call in (
        lambda: GRAPHS["map"]({"x": [-2.0]}, timeout=30),
        lambda: asyncio.run(GRAPHS["map"].acall({"x": [-2.0]})),
        lambda: GRAPHS["map"].predict({"x": -2.0}),
    ):
        with pytest.raises(RowErrors) as raised:
            call()
        assert isinstance(raised.value.__cause__, OddError)


def test_in_threads_of_a_large_call_too() -> None:
    values = np.ones(9000, np.float32)
    values[[8000, 100, 5000]] = -1
    error = raised_by(GRAPHS["map"], values)
    assert sorted(error.exceptions) == [100, 5000, 8000]
    assert error.__cause__ is error.exceptions[100]


def test_so_many_are_kept_and_no_more() -> None:
    values = np.tile(np.array([1, -1], np.float32), 400)
    error = raised_by(GRAPHS["map"], values)
    assert len(error.failures) == 400
    assert len(error.exceptions) == 100


def test_the_cause_in_another_process_is_its_text() -> None:
    far = fake(Failing, "far", bad=[2.0], settings={"placement": "process"})
    with mt.Graph("g", {"y": mt.model(far, x)}) as graph:
        error = raised_by(graph, [1, 2, 3])
    assert isinstance(error.__cause__, ValueError)
    assert str(error.__cause__) == "cannot take 2"


def test_tolerated_members_leave_nothing() -> None:
    members = [model, fake(Affine, "a", output="y")]
    graph = mt.Graph("g", {"y": mt.ensemble(members, x, combine="max", require=1).y})
    assert graph({"x": np.array([-1, 1], np.float32)})["y"].tolist() == [-1, 1]


def test_without_raising_there_are_failures_only() -> None:
    _, failures = GRAPHS["map"]({"x": [-2.0]}, failures="return")
    assert pickle.loads(pickle.dumps(failures)) == failures


def test_they_stay_behind_when_the_error_travels() -> None:
    error = raised_by(GRAPHS["map"], [1, -2])
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (other.failures, other.ids, str(other)) == (error.failures, error.ids, str(error))
        assert "no -2.0" in str(other.__cause__)
    assert pickle.loads(pickle.dumps(error)).exceptions == {}
    assert copy.copy(error).exceptions == copy.deepcopy(error).exceptions == error.exceptions


def test_a_debugger_finds_the_line() -> None:
    """What post-mortem debuggers and trackers of errors do: the causes, then the innermost frame."""
    error = raised_by(GRAPHS["model"], [-7])
    chain = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert chain.__cause__.stack[-1].name == "picky"
    assert chain.__cause__.stack[-1].locals["seen"] == "-7.0"
