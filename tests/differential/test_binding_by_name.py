"""Columns that are called as a model's inputs go by name, however they are ordered, declared and held: the frameworks' own answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import joblib
import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LinearRegression

import motet as mt
from helpers.live_server import Live
from motet.errors import GraphError, UnknownNameError
from motet.runtime.bind import bind_columns
from motet.runtime.call import answer
from motet.runtime.executor import Executor
from motet.runtime.host import Host

NAMES = ("a", "b", "c")
ORDERS = list(itertools.permutations(NAMES))
FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list(NAMES))
TARGET = (FRAME.a + 10 * FRAME.b + 100 * FRAME.c).to_numpy()
ROWS = FRAME[:7]


def _linear(folder: Path) -> Any:
    own = LinearRegression().fit(FRAME, TARGET)
    joblib.dump(own, folder / "m.joblib")
    return own.predict(ROWS)


def _xgboost(folder: Path) -> Any:
    own = xgboost.train({"nthread": 1}, xgboost.DMatrix(FRAME, TARGET), 8)
    own.save_model(folder / "m.ubj")
    return own.predict(xgboost.DMatrix(ROWS))


def _lightgbm(folder: Path) -> Any:
    data = lightgbm.Dataset(FRAME, TARGET)
    own = lightgbm.train({"verbose": -1, "num_threads": 1, "min_data_in_leaf": 2}, data, 8)
    own.save_model(folder / "m.lgb")
    return own.predict(ROWS)


def _onnx(folder: Path) -> Any:
    weights = [numpy_helper.from_array(np.array(by, "f8"), f"w{by}") for by in (1, 10, 100)]
    nodes = [
        helper.make_node("Mul", [name, f"w{by}"], [f"{name}w"]) for name, by in zip(NAMES, (1, 10, 100), strict=True)
    ]
    nodes += [helper.make_node("Sum", [f"{name}w" for name in NAMES], ["value"])]
    given = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n"]) for name in NAMES]
    gives = [helper.make_tensor_value_info("value", TensorProto.DOUBLE, ["n"])]
    graph = helper.make_graph(nodes, "g", given, gives, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "m.onnx")
    return TARGET[: len(ROWS)]


def _python(folder: Path) -> Any:
    return TARGET[: len(ROWS)]


FRAMEWORKS: dict[str, tuple[Callable[[Path], Any], str, dict[str, Any]]] = {
    "linear": (_linear, "m.joblib", {}),
    "frame": (_linear, "m.joblib", {"frame": True}),
    "xgboost": (_xgboost, "m.ubj", {}),
    "lightgbm": (_lightgbm, "m.lgb", {}),
    "onnx": (_onnx, "m.onnx", {}),
    "python": (_python, "python:helpers.functions:hundreds", {}),
}


@pytest.fixture(params=FRAMEWORKS)
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Callable[..., mt.Model], Any]:
    """Makes the model with its inputs declared in some order; and what the framework answers by itself."""
    make, uri, options = FRAMEWORKS[request.param]
    expected = make(tmp_path)

    def model(order: tuple[str, ...]) -> mt.Model:
        where = uri if ":" in uri else str(tmp_path / uri)
        return mt.Model(where, "m", inputs=dict.fromkeys(order, "float64"), options=options)

    return model, expected


def _asked(node: Any, **columns: Any) -> Any:
    given = columns or {name: ROWS[name].to_numpy() for name in NAMES}
    return mt.Graph("g", {"v": node})(given)["v"]


def _close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_list_goes_by_name_in_any_order_of_the_list_and_of_what_is_declared(trained: Any) -> None:
    model, expected = trained
    columns = {name: mt.input(name, "float64") for name in NAMES}
    for declared, given in itertools.product(ORDERS, ORDERS):
        _close(_asked(mt.model(model(declared), *(columns[name] for name in given))), expected)


def test_other_names_go_in_the_order_of_what_is_declared(trained: Any) -> None:
    model, expected = trained
    columns = {name: mt.input(f"the_{name}", "float64") for name in NAMES}
    given = {f"the_{name}": ROWS[name].to_numpy() for name in NAMES}
    for declared in ORDERS:
        _close(_asked((mt.model(model(declared), *(columns[name] for name in declared))), **given), expected)


def _graph(folder: Path, text: str) -> mt.Graph:
    (folder / "g.yaml").write_text(text)
    return mt.load(folder / "g.yaml")


MEMBERS = {
    "ensemble": "{ensemble: [m], inputs: [%s]}",
    "a member's own": "{ensemble: {x: {uses: m, inputs: [%s]}}}",
    "route": '{route: {"*": m}, key: key, inputs: [%s]}',
    "a route's own": '{route: {"*": {uses: m, inputs: [%s]}}, key: key}',
    "graph": "{model: inner, inputs: [%s]}",
    "none": "{model: m}",
    "none of a graph": "{model: inner}",
    "none of a member": "{ensemble: [m, inner], output: value}",
}


@pytest.mark.parametrize("node", MEMBERS.values(), ids=MEMBERS)
def test_members_of_every_kind_bind_by_name(tmp_path: Path, node: str) -> None:
    expected = _xgboost(tmp_path)
    graph = _graph(
        tmp_path,
        f"""\
motet: 1
name: g
inputs: {{b: float32, c: float32, a: float32, key: string}}
models: {{m: {{uri: m.ubj, inputs: {{c: float32, a: float32, b: float32}}}}}}
graphs:
  inner:
    inputs: {{b: float32, a: float32, c: float32}}
    nodes: {{n: {{model: m}}}}
    outputs: {{value: n.value}}
nodes:
  n: {node % "b, c, a" if "%" in node else node}
outputs: {{v: n.value}}
""",
    )
    rows: dict[str, Any] = {name: ROWS[name].to_numpy("f4") for name in NAMES}
    _close(graph({**rows, "key": ["k"] * len(ROWS)})["v"], expected)
    assert mt.load(tmp_path / "g.yaml") == graph
    graph.save(tmp_path / "again.yaml")
    again = mt.load(tmp_path / "again.yaml")
    assert again == graph
    _close(again({**rows, "key": ["k"] * len(ROWS)})["v"], expected)


def test_columns_of_nodes_are_called_by_what_is_behind_the_dot() -> None:
    def both(x: Any) -> dict[str, Any]:
        return {"b": x * 2, "a": x}

    x = mt.input("x", "float64")
    made = mt.map(both, x, outputs={"b": "float64", "a": "float64"})
    model = mt.Model(
        "python:helpers.functions:minus", inputs={"a": "float64", "b": "float64"}, outputs={"v": "float64"}
    )
    assert mt.Graph("g", {"v": mt.model(model, made.b, made.a)})({"x": [1.0, 5.0]})["v"].tolist() == [-1.0, -5.0]


def test_a_cascade_binds_each_of_its_members_by_name() -> None:
    share = mt.Model(
        "python:helpers.functions:share", inputs={"a": "float64", "b": "float64"}, outputs={"p": "float64[2]"}
    )
    a, b = mt.input("a", "float64"), mt.input("b", "float64")
    who = mt.cascade({"x": share, "y": mt.member(share, [b, a])}, b, a, confidence=0.8)
    answer = mt.Graph("g", {"p": who.p, "who": who.member})({"a": [9.0, 3.0], "b": [1.0, 2.0]})
    assert answer["p"].tolist() == [[0.9, 0.1], [0.6, 0.4]]
    assert answer["who"].tolist() == ["x", "y"]


def _model(**inputs: str) -> mt.Model:
    return mt.Model("python:helpers.functions:minus", "m", inputs=inputs, outputs={"v": "float64"})


def test_names_of_which_only_some_are_inputs_are_refused_and_a_mapping_is_the_way() -> None:
    a, x, b = (mt.input(name, "float64") for name in ("a", "x", "b"))
    for columns in ((a, x), (x, a), (b, x), (a, a)):
        with pytest.raises(GraphError, match="called as inputs of 'm'") as caught:
            mt.Graph("g", {"v": mt.model(_model(a="float64", b="float64"), *columns)})
        assert "say which goes where, for example inputs: {" in caught.value.hint
    graph = mt.Graph("g", {"v": mt.model(_model(a="float64", b="float64"), b=a, a=x)})
    assert graph({"a": [1.0], "x": [5.0]})["v"].tolist() == [4.0]


def test_a_node_without_inputs_says_which_column_is_not_there(tmp_path: Path) -> None:
    _xgboost(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown column 'c'; known: a, b") as caught:
        _graph(
            tmp_path,
            "motet: 1\ninputs: {a: float32, b: float32}\n"
            "models: {m: {uri: m.ubj, inputs: {a: float32, b: float32, c: float32}}}\n"
            "nodes: {n: {model: m}}\noutputs: {v: n.value}\n",
        )
    assert "'m' takes the columns that are called as its own" in caught.value.hint


def test_functions_before_a_model_take_a_list_in_order(tmp_path: Path) -> None:
    model = mt.Model(
        "python:helpers.functions:double",
        before=["helpers.functions.minus"],
        inputs={"x": "float64"},
        outputs={"v": "float64"},
    )
    a, b = mt.input("a", "float64"), mt.input("b", "float64")
    graph = mt.Graph("g", {"v": mt.model(model, b, a)})
    assert graph({"a": [1.0], "b": [5.0]})["v"].tolist() == [8.0]


def _ordered(folder: Path, name: str, order: tuple[str, ...], **more: str) -> mt.Graph:
    declared = ", ".join(f"{each}: float64" for each in order)
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    columns = ", ".join(f"the_{each}" for each in order)
    inputs = ", ".join(f"the_{each}: float64" for each in NAMES)
    (folder / f"{name}.yaml").write_text(
        f"motet: 1\nname: {name}\ninputs: {{{inputs}}}\n"
        f"models: {{m: {{uri: m.joblib, inputs: {{{declared}}}{extra}}}}}\n"
        f"nodes: {{n: {{model: m, inputs: [{columns}]}}}}\noutputs: {{v: n.value}}\n"
    )
    return mt.load(folder / f"{name}.yaml")


def test_graphs_of_one_process_whose_models_differ_only_in_the_order_of_their_inputs(tmp_path: Path) -> None:
    expected = _linear(tmp_path)
    graphs = [_ordered(tmp_path, f"g{place}", order) for place, order in enumerate(ORDERS)]
    given = {f"the_{name}": ROWS[name].to_numpy() for name in NAMES}
    for graph in (*graphs, *reversed(graphs)):
        _close(graph(given)["v"], expected)
    for place, graph in enumerate(graphs):
        graph.run(given, tmp_path / f"{place}.parquet", batch_rows=2)
        _close(pd.read_parquet(tmp_path / f"{place}.parquet")["v"], expected)


def test_a_server_of_graphs_whose_models_differ_only_in_the_order_of_their_inputs(tmp_path: Path) -> None:
    expected = _linear(tmp_path)
    for place, order in enumerate(ORDERS[:3]):
        _ordered(tmp_path, f"g{place}", order)
    live = Live(tmp_path, *(tmp_path / f"g{place}.yaml" for place in range(3)))
    live.until_ready()
    try:
        for place in range(3):
            rows = [{f"the_{name}": value for name, value in row.items()} for row in ROWS.to_dict("records")]
            answer = httpx.post(f"{live.url}/predict/g{place}", json={"rows": rows}).json()
            _close([row["v"] for row in answer["rows"]], expected)
    finally:
        live.close()


def test_graphs_of_one_host_whose_models_share_places_and_differ_in_their_options(tmp_path: Path) -> None:
    host = Host()
    graphs = []
    for name, by in (("one", 1), ("yes", True), ("half", 0.5)):
        (tmp_path / f"{name}.yaml").write_text(
            "motet: 1\ninputs: {x: float64, k: string}\nmodels:\n"
            f"  m: {{uri: 'python:helpers.functions:tell', with: {{value: {str(by).lower()}}}, outputs: {{y: string}}}}\n"
            "  o: {uri: 'python:helpers.functions:tell', with: {value: 0}, outputs: {y: string}}\n"
            "nodes: {n: {route: {a: m, b: o}, key: k, inputs: [x], max_loaded: 1}}\noutputs: {y: n.y}\n"
        )
        graphs.append(Executor(mt.load(tmp_path / f"{name}.yaml").checked, host))
    for _ in range(2):
        told = [
            answer(each, *bind_columns({"x": [1.0, 2.0], "k": ["a", "b"]}, each.checked))["y"].tolist()
            for each in graphs
        ]
        assert told == [["1", "0"], ["True", "0"], ["0.5", "0"]]
