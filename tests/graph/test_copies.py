"""Graphs are copied and pickled as what they say: the copy answers alike, and nothing that runs goes with it."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import motet as mt
from motet.reading import NO_DEFAULT
from motet.testing.fakes import Affine, fake

PICKLES = [
    *(partial(lambda protocol, value: pickle.loads(pickle.dumps(value, protocol)), protocol) for protocol in range(6)),
    lambda value: pickle.loads(cloudpickle.dumps(value)),
]
WAYS: Any = [copy.copy, copy.deepcopy, *PICKLES]


def _by_key():
    """An arm for a key, and another one for all others; x may be missing."""
    x, k = mt.input("x", "float32", default=7.0), mt.input("k", "string")
    return mt.route({"vip": fake(Affine, "b", scale=10.0), "*": fake(Affine, "a")}, x, key=k)


@pytest.fixture
def graph():
    return mt.Graph("g", {"o": _by_key()})


@pytest.mark.parametrize("was_called", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_equal_and_answers_alike(graph, way, was_called):
    if was_called:
        graph({"k": ["vip"], "x": [1]})
    made = way(graph)
    assert made is not graph
    assert made == graph
    assert hash(made) == hash(graph)
    answers, failures = made({"k": ["vip", None, "w"], "x": [1, 2, None]}, failures="return")
    assert answers["o"].tolist() == [10.0, 7.0]
    assert [(each.row, each.message) for each in failures] == [(1, "input 'k' is null")]
    with pytest.raises(mt.InputError, match="input 'k' is missing"):
        made({"x": [1, 2]})
    assert way(made) == graph


@pytest.mark.parametrize("way", WAYS)
def test_that_there_is_no_default_is_one_thing(way):
    assert way(NO_DEFAULT) is NO_DEFAULT
    assert way(mt.input("x", "int64")._make("x", {})).has_default is False  # type: ignore[arg-type]


def test_every_kind_of_node_and_a_graph_inside(onnx_files):
    x, n = mt.input("x", "float32[4]"), mt.input("n", "int64", default=0)
    one, two = (mt.Model(str(onnx_files / f"{name}.onnx"), name) for name in ("one", "two"))
    sure = mt.cascade([one, two], x, confidence=0.6)
    inner = mt.Graph("inner", {"probabilities": sure.probabilities})
    vote = mt.ensemble([inner, one, two], x, weights=[1, 2, 3])
    big = mt.route({"low": one, "high": two}, x, when={"high": "n > 5 and len('ab') == 2"}, otherwise="low")
    arm = mt.route({"p": one, "q": two}, x, split={"p": 1, "q": 3}, by=n, salt="s")
    top = mt.map(mt.ops.scores.top1, vote)
    graph = mt.Graph("all", {"top": top.index, "arm": arm.member, "big": big.probabilities, "vote": vote})
    values = {"x": np.random.default_rng(0).normal(size=(40, 4)).astype("f4"), "n": np.arange(40)}
    wanted = graph(values)
    for way in WAYS:
        made = way(graph)
        assert made == graph
        assert made.draw() == graph.draw()
        got = made(values)
        assert {
            name: column.tobytes() if column.dtype != object else column.tolist() for name, column in got.items()
        } == {name: column.tobytes() if column.dtype != object else column.tolist() for name, column in wanted.items()}


def test_a_copy_keeps_callable_objects():
    graph = mt.Graph("g", {"o": mt.map(Affine(2.0), mt.input("x", "float64"), outputs="float64")})
    assert copy.deepcopy(graph) == copy.copy(graph) == graph
    assert pickle.loads(pickle.dumps(graph))({"x": [3.0]})["o"].tolist() == [6.0]


@pytest.fixture
def fitted():
    values = np.random.default_rng(0).normal(size=(60, 3))
    return LogisticRegression().fit(values, values[:, 0] > 0), values


def test_an_estimator_goes_with_the_graph(fitted, tmp_path):
    estimator, values = fitted
    graph = mt.Graph("g", {"o": mt.model(mt.Model(estimator), mt.input("x", "float64[3]")).probabilities})
    data = pickle.dumps(graph)
    assert pickle.loads(data) == copy.deepcopy(graph) == graph
    code = (
        "import pickle, sys, numpy as np; g = pickle.load(sys.stdin.buffer); "
        "sys.stdout.buffer.write(pickle.dumps((g, g({'x': np.load(sys.argv[1])})['o'])))"
    )
    np.save(tmp_path / "x.npy", values)
    run = [sys.executable, "-c", code, str(tmp_path / "x.npy")]
    told = subprocess.run(run, input=data, capture_output=True, check=True).stdout
    back, answers = pickle.loads(told)
    assert np.array_equal(answers, estimator.predict_proba(values))
    assert back == graph  # there and back again


def test_a_models_hash_is_made_anew_where_it_arrives():
    model = fake(Affine, "a", scale=2.0)
    hash(model)
    code = (
        "import pickle, sys; from motet.testing.fakes import *; m = pickle.load(sys.stdin.buffer);"
        "made = fake(Affine, 'a', scale=2.0); assert m == made and hash(m) == hash(made)"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(model), check=True, env=env)


def test_functions_of_main_go_by_value(tmp_path):
    """A graph with a lambda, and a function of `__main__`: cloudpickle takes it into a process that never saw them."""
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent("""
        import sys, cloudpickle, motet as mt
        FACTOR = 3
        def times(x): return x * FACTOR
        x = mt.input("x", "float32")
        both = mt.map(lambda x: x + 1, mt.map(times, x, outputs="float32"), outputs="float32")
        sys.stdout.buffer.write(cloudpickle.dumps(mt.Graph("g", {"o": both})))
        """)
    )
    data = subprocess.run([sys.executable, str(script)], capture_output=True, check=True).stdout
    assert pickle.loads(data)({"x": [1.0, 2.0]})["o"].tolist() == [4.0, 7.0]


def test_a_graph_with_a_lambda_cannot_be_pickled_by_name():
    graph = mt.Graph("g", {"o": mt.map(lambda x: x, mt.input("x", "float32"), outputs="float32")})
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(graph)


def _called(graph, columns):
    return graph(columns), graph


def _fails(_):
    return mt.load("nope.yaml")


def _fails_by_rows(graph):
    return graph({"k": ["vip", None], "x": [1, 2]})


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_pool_of_processes(graph, method):
    graph({"k": ["vip"], "x": [1]})
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        answers, back = pool.submit(_called, graph, {"k": ["vip", "w"], "x": [1, 2]}).result(60)
        assert answers["o"].tolist() == [10.0, 2.0]
        assert back == graph
        with pytest.raises(mt.GraphError, match=r"there is no file 'nope.yaml'"):
            pool.submit(_fails, 0).result(60)
        with pytest.raises(mt.RowErrors) as caught:
            pool.submit(_fails_by_rows, graph).result(60)
        assert caught.value.columns["o"].tolist() == [10.0]
        assert [each.row for each in caught.value.failures] == [1]
        assert pool.submit(_called, graph, {"k": ["w"], "x": [5]}).result(60)[0]["o"].tolist() == [5.0]


def test_a_pool_of_multiprocessing_survives_errors():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for _ in range(2):
            with pytest.raises(mt.GraphError, match="there is no file"):
                pool.apply_async(_fails, (0,)).get(timeout=60)


def test_loky_takes_lambdas():
    loky = pytest.importorskip("loky")
    graph = mt.Graph("g", {"o": mt.map(lambda x: x + 1, mt.input("x", "float32"), outputs="float32")})
    executor = loky.ProcessPoolExecutor(1)
    try:
        assert executor.submit(lambda: graph({"x": [1.0]})["o"].tolist()).result(60) == [2.0]
        assert executor.submit(graph, {"x": [3.0]}).result(60)["o"].tolist() == [4.0]
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def test_other_objects_travel(graph, tmp_path):
    columns = {"k": ["vip", "w"], "x": [1, 2]}
    explanation = graph.explain(columns, row=1)
    for made in map(pickle.loads, [pickle.dumps(explanation)]):
        assert made.outputs == explanation.outputs
        assert [call.member for call in made.calls] == [call.member for call in explanation.calls]
    report = graph.run(
        [{"k": np.array(["vip"], object), "x": np.array([1], np.float32)}], str(tmp_path / "out.parquet")
    )
    assert pickle.loads(pickle.dumps(report)) == copy.deepcopy(report) == report
    batch = mt.Batch.of({"x": np.arange(3)}, np.arange(3))
    assert pickle.loads(pickle.dumps(batch)).columns["x"].tolist() == [0, 1, 2]
    ragged = mt.Ragged.from_rows([np.arange(2), np.arange(3)])
    assert [row.tolist() for row in pickle.loads(pickle.dumps(ragged)).rows()] == [[0, 1], [0, 1, 2]]
    kind = mt.ColumnType.parse("float32[?,2]").with_labels(("a", "b"))
    assert pickle.loads(pickle.dumps(kind)) == copy.deepcopy(kind) == kind
    assert pickle.loads(pickle.dumps(kind)).labels == ("a", "b")
    handle = copy.deepcopy(mt.model(fake(Affine, "s"), mt.input("x", "float32")))
    assert mt.Graph("g", {"o": handle})({"x": [1.0]})["o"].tolist() == [1.0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("default", [float("nan"), None, 0.0, -0.0, float("inf"), [1.0, float("nan")]])
def test_defaults_stay_what_they_are(way, default):
    graph = mt.Graph(
        "g", {"o": mt.input("x", "float64[2]" if isinstance(default, list) else "float64", default=default)}
    )
    made = way(graph)
    assert made == graph
    assert np.array_equal(made({"x": [None, None]})["o"], graph({"x": [None, None]})["o"], equal_nan=True)


def test_equal_graphs_have_equal_hashes_whatever_the_order():
    x, y = mt.input("x", "float32"), mt.input("y", "float32")
    first, second = mt.Graph("g", {"a": x, "b": y}), mt.Graph("g", {"b": y, "a": x})
    assert first == second
    assert hash(first) == hash(second)


def test_parts_of_a_graph_cannot_be_changed(graph):
    with pytest.raises(TypeError):
        graph.models["a"] = fake(Affine, "c")
    with pytest.raises(TypeError):
        del graph.nodes["route_1"]
    for name in ("name", "inputs", "models", "graphs", "nodes", "outputs", "folder", "serving", "pool"):
        with pytest.raises(AttributeError, match=f"the {name} of a graph cannot be changed"):
            setattr(graph, name, None)


def test_a_graph_is_a_key():
    first, same, other = (mt.Graph(name, {"o": _by_key()}) for name in ("g", "g", "h"))
    assert {first: 1}[same] == 1
    assert len({first, same, other}) == 2


@pytest.mark.parametrize("way", WAYS)
def test_what_runs_is_not_copied(graph, way):
    for what in (graph.executor, graph.executor.host):
        with pytest.raises(TypeError, match="holds loaded models, which stay where they are; copy or send the graph"):
            way(what)
