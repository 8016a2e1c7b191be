"""Answers are their caller's: nobody writes to them later, and to write to them changes nothing else."""

import concurrent.futures
import contextlib
import copy
import sys
import threading
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import motet as mt
from helpers import buffers, onnxes
from motet.nodes.gate import gate_of

ROWS = 6000
X = np.arange(ROWS, dtype="f4")
x = mt.input("x", "float32")
REUSED = ["view", "view_of_view", "owned", "out_of", "named", "listed", "memory", "frame", "masked", "tensor", "fresh"]
REUSED += ["numbers", "ordered", "nested", "index", "shown", "given_one_by_one", "named_one_by_one", "values_kept"]


def map_of(name, column=x):
    if name == "tensor":
        pytest.importorskip("torch")
    by_name = name in ("named", "ordered", "nested", "named_one_by_one")
    made = mt.map(getattr(buffers, name), column, outputs={"o": "float32"} if by_name else "float32")
    return made.o if by_name else made


@pytest.fixture
def in_a_hurry():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("name", REUSED)
def test_a_buffer_that_is_filled_again_spoils_no_answer(name, in_a_hurry):
    graph = mt.Graph("g", {"o": map_of(name)})
    np.testing.assert_array_equal(graph({"x": X})["o"], X * 2)
    np.testing.assert_array_equal(graph.run({"x": X}, batch_rows=100, workers=3)["o"], X * 2)


@pytest.mark.parametrize("name", REUSED)
def test_answers_of_earlier_calls_stay_what_they_are(name):
    graph = mt.Graph("g", {"a": map_of(name), "b": map_of(name, mt.map(lambda x: x + 1, x, outputs="float32"))})
    first = graph({"x": X[:7]})
    kept = copy.deepcopy(first)
    graph({"x": X[100:107]})
    for output, wanted in {"a": X[:7] * 2, "b": X[:7] * 2 + 2}.items():
        np.testing.assert_array_equal(first[output], wanted)
        np.testing.assert_array_equal(kept[output], wanted)


@pytest.mark.parametrize("placement", [None, "thread", "process", "machine"])
def test_models_may_keep_their_buffers(placement, in_a_hurry):
    model = mt.Model("python:helpers.buffers:Model", "m", inputs={"x": "float32"}, outputs={"o": "float32"}, placement=placement)  # fmt: skip
    plus = mt.map(lambda x: x + 1, x, outputs="float32")
    graph = mt.Graph("g", {"a": mt.model(model, x), "b": mt.model(model, plus)})
    with graph:
        answers = graph({"x": X})
        np.testing.assert_array_equal(answers["a"], X * 2)
        np.testing.assert_array_equal(answers["b"], X * 2 + 2)
        threads = 6
        found: list[Any] = [None] * threads

        def ask(place):
            found[place] = [graph({"x": X[place : place + 50]}) for _ in range(20)]

        asking = [threading.Thread(target=ask, args=(place,)) for place in range(threads)]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        for place, answers in enumerate(found):
            for each in answers:
                np.testing.assert_array_equal(each["a"], X[place : place + 50] * 2)
        np.testing.assert_array_equal(graph.run({"x": X}, batch_rows=64)["b"], X * 2 + 2)


@pytest.mark.parametrize("name", REUSED)
def test_models_may_be_such_functions(name, in_a_hurry):
    if name == "tensor":
        pytest.importorskip("torch")
    model = mt.Model(f"python:helpers.buffers:{name}", "m", inputs={"x": "float32"}, outputs={"o": "float32"})
    with mt.Graph("g", {"o": mt.model(model, x)}) as graph:
        first = graph({"x": X})["o"]
        np.testing.assert_array_equal(graph({"x": X + 5})["o"], X * 2 + 10)
        np.testing.assert_array_equal(first, X * 2)


def test_every_kind_of_node_may_call_them(in_a_hurry):
    """Ensembles with a combiner of that sort, cascades, routes, shards, graphs inside, functions around a model."""
    model, other = (
        mt.Model("python:helpers.buffers:Model", name, inputs={"x": "float32"}, outputs={"o": "float32"}, after=after)
        for name, after in (("m", buffers.fresh), ("n", buffers.view))
    )
    inner = mt.Graph("inner", {"output": mt.model(model, mt.input("x", "float32"))})
    outputs = {
        "mean": mt.ensemble({"a": model, "b": model, "c": other}, x, combine="max").output,
        "own": mt.ensemble({"a": model, "b": other}, x, combine=lambda a, b: buffers.view(a + b)).output,
        "route": mt.route({"m": model, "n": inner}, x, when={"n": "x % 2 == 0"}, otherwise="m"),
        "inner": mt.map(buffers.view, mt.model(inner, x), outputs="float32"),
        "shard": mt.shard(
            model,
            x,
            apart=lambda x: (buffers.view(np.repeat(x, 2)), np.full(len(x), 2)),
            together=lambda o, counts: buffers.view(o[::2]),
        ),
    }
    answers = mt.Graph("g", outputs)({"x": X})
    for output, by in {"mean": 4, "own": 16, "route": 4, "inner": 8, "shard": 16}.items():
        np.testing.assert_array_equal(np.asarray(answers[output], "f4"), X * by, err_msg=output)


def test_pieces_given_one_by_one(in_a_hurry):
    model = mt.Model("python:helpers.buffers:fresh", "m", inputs={"x": "float32"}, outputs={"o": "float32"})

    @mt.returns("float32")
    def apart(x):
        return buffers.given_one_by_one(np.repeat(x, 2)), np.full(len(x), 2)

    made = mt.shard(model, x, apart=apart, together=lambda o, counts: o[::2])
    answers = mt.Graph("g", {"o": made}).run({"x": X[:2000]}, batch_rows=100, workers=3)
    np.testing.assert_array_equal(answers["o"], X[:2000] * 4)


@pytest.mark.parametrize("name", ["row", "rows_of"])
def test_rows_one_by_one(name):
    pair = mt.input("p", "float32[2]")
    made = mt.map(getattr(buffers, name), pair, each=name == "row", outputs="float32[2]")
    given = np.arange(200, dtype="f4").reshape(100, 2)
    np.testing.assert_array_equal(mt.Graph("g", {"o": made})({"p": given})["o"], given * 2)


def test_a_dict_that_is_filled_again_is_another_one_for_each_answer():
    kept: dict[str, Any] = {"n": 0, "l": []}

    def count(x):
        kept["n"] += 1
        kept["l"].append(kept["n"])
        return [kept] * len(x)

    graph = mt.Graph("g", {"o": mt.map(count, x)})
    first = graph({"x": X[:1]})["o"][0]
    second = graph({"x": X[:1]})["o"][0]
    assert (first, second) == ({"n": 1, "l": [1]}, {"n": 2, "l": [1, 2]})


def test_what_is_fresh_is_not_copied(monkeypatch):
    from motet.nodes import owned

    monkeypatch.setattr(owned, "_copied", None)  # would fail if it was called
    for name in ("fresh", "fresh_view"):
        np.testing.assert_array_equal(mt.Graph("g", {"o": map_of(name)})({"x": X})["o"], X * 2)


def test_only_what_may_be_written_to_keeps_calls_apart():
    def of_table(x):
        return buffers.TABLE[: len(x)]

    def made_one_by_one(x):
        for value in x:
            row = np.full(1, value)
            yield row

    given = {buffers.fresh: False, of_table: False, made_one_by_one: False, buffers.owned: True}
    for function, apart in {**given, buffers.given_one_by_one: True}.items():
        mt.Graph("g", {"o": mt.map(function, x, outputs="float32")})({"x": X[:5]})
        assert gate_of(function).refills is apart, function


def test_a_function_may_call_a_graph_in_which_it_is():
    def deeper(x):
        if x.max() > 3:
            return buffers.view(x)
        deep = graph({"x": np.repeat(x[:1] + 1, 3000)})["o"]
        return buffers.view(np.repeat(deep[0] / 2, len(x)))

    graph = mt.Graph("g", {"o": mt.map(deeper, x, outputs="float32")})
    assert graph({"x": np.array([1, 1], np.float32)})["o"].tolist() == [8, 8]


def arrays_of(answer):
    return answer if isinstance(answer, list) else [answer]


KINDS = {
    "float32": np.array([1, 2, 3], np.float32),
    "float32[2]": np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    "float32[?]": np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    "string": np.array(["a", "b", "c"], object),
    "any": np.array([{"a": [1]}, {"a": [2]}, {"a": [3]}], object),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("rows", [3, 3000])
def test_what_is_passed_on_is_the_callers_too(kind, rows):
    """An input under two names, through an identity, through a route: written to, it changes nothing else."""
    given = np.concatenate([KINDS[kind]] * (rows // 3))
    before = copy.deepcopy(given)
    column, key = mt.input("c", kind), mt.input("k", "int64", default=0)
    same = mt.map(lambda c: c, column, outputs=None if kind == "any" else kind)
    graph = mt.Graph("g", {"a": column, "b": column, "same": same, "k": key})
    answers = graph({"c": given})
    arrays = [array for name in ("a", "b", "same") for array in arrays_of(answers[name])]
    assert all(array.flags.writeable for array in arrays)
    assert not any(np.shares_memory(array, given) for array in arrays)
    if rows == 3:
        assert not any(np.shares_memory(one, two) for one, two in combinations(arrays, 2))
    for array in arrays_of(answers["a"]):
        array.fill(0 if array.dtype != object else None)
    if kind == "any":
        answers["b"][0]["a"].append(9)
        assert answers["same"][0] == {"a": [1]}
    assert given.tolist() == before.tolist()
    assert [list(np.ravel(row)) for row in answers["same"]] == [list(np.ravel(row)) for row in before]


@pytest.mark.parametrize(
    "wrap",
    [
        np.asarray,
        lambda a: a[::-1][::-1],
        lambda a: np.concatenate([a, a])[: len(a)],
        lambda a: np.broadcast_to(a[0], a.shape),
        lambda a: np.ma.array(a),
        lambda a: pd.Series(a),
        lambda a: pa.array(a),
        lambda a: pa.chunked_array([a]),
    ],
)
def test_whatever_holds_the_input(wrap):
    column = wrap(np.full(5, 3.0, "f4"))
    answers = mt.Graph("g", {"a": x, "b": x})({"x": column})
    answers["a"][:] = 0
    assert np.asarray(answers["b"]).tolist() == [3] * 5
    assert np.asarray(column).tolist() == [3] * 5


def test_members_and_models_give_what_can_be_written(tmp_path):
    path = onnxes.affine(tmp_path / "m.onnx")
    model = mt.Model(str(path))
    vote = mt.ensemble({"a": model, "b": model}, x)
    answers = mt.Graph("g", {"y": vote.y, "a": vote.a.y, "b": vote.b.y, "again": vote.a.y})({"x": X[:9]})
    for array in answers.values():
        array += 1
    for array in answers.values():
        np.testing.assert_array_equal(array, X[:9] * 2 + 2)


def test_an_iterable_of_one_buffer_is_not_what_this_is_about_but_a_view_of_it_is():
    """A partial failure carries answers that are the caller's, too."""
    graph = mt.Graph("g", {"a": x, "b": x})
    answers, failures = graph({"x": [1.0, None, 3.0]}, failures="return")
    answers["a"][:] = 0
    assert answers["b"].tolist() == [1, 3]
    assert len(failures) == 1


SHARED = np.zeros(64, np.float64)
MEET = threading.Barrier(2)


def filled(x, value):
    """Fills the buffer of all; where another call runs it has filled it, too, before this one returns it."""
    SHARED[: len(x)] = x + value
    with contextlib.suppress(threading.BrokenBarrierError):
        MEET.wait(0.05)
    MEET.reset()
    return SHARED[: len(x)]


@mt.returns("float64")
def tens(x):
    return filled(x, 10)


@mt.returns("float64")
def hundreds(x):
    return filled(x, 100)


@pytest.mark.parametrize("functions", [(tens, hundreds), (tens, tens)])
def test_functions_that_have_one_buffer_never_answer_with_each_others_rows(functions):
    """Called at the same time, from two graphs, and side by side in one graph of nodes that wait."""
    graphs = [mt.Graph("g", {"y": mt.map(each, mt.input("x", "float64"))}) for each in functions]
    given = [np.arange(5.0), np.arange(5.0) + 1000]
    add = {tens: 10, hundreds: 100}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(4):
            found = [pool.submit(graph, {"x": x}) for graph, x in zip(graphs, given, strict=True)]
            for each, x, function in zip(found, given, functions, strict=True):
                assert each.result(20)["y"].tolist() == (x + add[function]).tolist()
