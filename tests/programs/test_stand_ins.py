"""Graphs with other models in the place of some."""

import copy
import shutil
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import motet as mt
from motet.errors import GraphError, TypeMismatchError, UnknownNameError
from motet.testing import Affine, Counting, calls, constant, fake

MODELS = Path(__file__).parents[2] / "examples" / "fashion" / "models"
ONE_HOT = np.eye(10, dtype=np.float32)


@pytest.fixture(scope="module")
def fashion() -> Any:
    return mt.load(MODELS.parent / "fashion.yaml")


def images(count: Any = 3) -> Any:
    return {"image": np.zeros((count, 28, 28), np.uint8)}


def always(place: Any) -> Any:
    return lambda image: np.repeat(ONE_HOT[place : place + 1], len(image), axis=0)


def two(name: str = "two") -> mt.Graph:
    x = mt.input("x", "float32")
    one, other = fake(Affine, "one", scale=2.0), fake(Affine, "other", scale=10.0)
    return mt.Graph(name, {"a": mt.model(one, x), "b": mt.model(other, x)})


def test_functions_stand_in_and_the_graph_stays_as_it_is(fashion: Any) -> None:
    before = fashion(images())
    tested = fashion.with_models(linear=always(4), mlp=always(4), cnn=always(4))
    answers = tested(images())
    assert answers["label"].tolist() == [4, 4, 4]
    assert answers["score"] == pytest.approx([1, 1, 1])
    assert {name: column.tolist() for name, column in fashion(images()).items()} == {
        name: column.tolist() for name, column in before.items()
    }
    assert tested.name == fashion.name
    assert tested != fashion


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x * 3,
        lambda column: column * 3,
        lambda *columns: {"output": columns[0] * 3},
        fake(Affine, "another", scale=3.0),
        mt.Model("python:motet.testing.fakes:Affine", inputs={"x": "float32"}, outputs={"output": "float32"}, options={"scale": 3}),
    ],
)  # fmt: skip
def test_what_may_stand_in(given: Any) -> None:
    for graph in (two().with_models(one=given), two().with_models({"one": given})):
        answers = graph({"x": [1, 2]})
        assert (answers["a"].tolist(), answers["b"].tolist()) == ([3, 6], [10, 20])


def test_an_estimator_and_a_uri_stand_in(tmp_path: Path, fashion: Any) -> None:
    fitted = LinearRegression().fit([[0.0], [1.0]], [1.0, 4.0])
    vector = mt.input("v", "float64[1]")
    graph = mt.Graph("g", {"y": mt.model(mt.Model(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), "m"), vector)})
    assert graph.with_models(m=fitted)({"v": [[2.0]]})["y"] == pytest.approx([7.0])
    shutil.copy(MODELS / "mlp.onnx", tmp_path / "other.onnx")
    swapped = fashion.with_models(cnn=str(tmp_path / "other.onnx"), linear=str(tmp_path / "other.onnx"))
    alone = fashion.with_models(cnn=fashion.models["mlp"], linear=fashion.models["mlp"])
    assert np.array_equal(swapped(images())["score"], alone(images())["score"])


def test_parameters_that_are_called_as_the_inputs_are_bound_by_name() -> None:
    model = mt.Model(
        f"python:{__name__}:difference", "d", inputs={"a": "float32", "b": "float32"}, outputs={"y": "float32"}
    )
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("a", "float32"), mt.input("b", "float32"))})
    columns = {"a": [5], "b": [2]}
    assert graph(columns)["y"].tolist() == [3]
    assert graph.with_models(d=lambda b, a: a - b)(columns)["y"].tolist() == [3]
    assert graph.with_models(d=lambda x, y: x - y)(columns)["y"].tolist() == [3]
    assert graph.with_models(d=lambda *, a, b: b - a)(columns)["y"].tolist() == [-3]


def difference(a: Any, b: Any) -> Any:
    return a - b


def test_functions_around_a_model_stay() -> None:
    model = mt.Model(
        "python:motet.testing.fakes:Affine", "m", inputs={"x": "float32"}, outputs={"y": "float32"},
        before=plus_one, after=plus_one,
    )  # fmt: skip
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32"))})
    assert graph({"x": [1]})["y"].tolist() == [3]
    assert graph.with_models(m=lambda x: x * 10)({"x": [1]})["y"].tolist() == [21]


@mt.returns("float32")
def plus_one(x: Any) -> Any:
    return x + np.float32(1)


def test_constants_count_nothing_but_rows() -> None:
    graph = two().with_models(one=constant(1.5), other=constant({"output": 0.1}))
    answers = graph({"x": np.arange(5)})
    assert answers["a"].tolist() == [1.5] * 5
    assert answers["b"].tolist() == [np.float32(0.1)] * 5
    assert answers["b"].dtype == np.float32
    calls.clear()
    counted = two().with_models(one=fake(Counting, "c", log="counted"))
    counted({"x": [1, 2]})
    assert sum(calls["counted"]) == 2


def test_graphs_inside_by_path_and_models_that_are_shared() -> None:
    x = mt.input("x", "float32")
    shared = fake(Affine, "one", scale=2.0)
    inner = mt.Graph("inner", {"y": mt.model(fake(Affine, "deep", scale=5.0), mt.model(shared, x))})
    outer = mt.Graph("outer", {"y": mt.ensemble([inner], x).y, "a": mt.model(shared, x)})
    assert {n: c.tolist() for n, c in outer({"x": [1]}).items()} == {"y": [10], "a": [2]}
    replaced = outer.with_models({"inner/deep": lambda x: x * 7})
    assert {n: c.tolist() for n, c in replaced({"x": [1]}).items()} == {"y": [14], "a": [2]}
    replaced = outer.with_models(one=lambda x: x * 3)
    assert {n: c.tolist() for n, c in replaced({"x": [1]}).items()} == {"y": [15], "a": [3]}
    replaced = outer.with_models({"one": lambda x: x * 3, "inner/one": lambda x: x})
    assert {n: c.tolist() for n, c in replaced({"x": [1]}).items()} == {"y": [5], "a": [3]}
    assert replaced.graphs["inner"]({"x": [2]})["y"].tolist() == [10]  # type: ignore[operator]


def test_a_model_a_key_is_replaced_for_every_key(tmp_path: Path) -> None:
    for name, scale in (("de", 2.0), ("fr", 3.0)):
        estimator = LinearRegression().fit([[0.0], [1.0]], [0.0, scale])
        joblib.dump(estimator, tmp_path / f"{name}.joblib")
    x, key = mt.input("x", "float64[1]"), mt.input("key", "string")
    model = mt.Model(str(tmp_path / "{key}.joblib"), "m")
    graph = mt.Graph("g", {"y": mt.route({"*": model}, x, key=key).value})
    columns = {"x": [[1.0], [1.0]], "key": ["de", "fr"]}
    assert graph(columns)["y"].tolist() == pytest.approx([2, 3])
    tested = graph.with_models(m=lambda X: X[:, 0] * 50)
    assert tested(columns)["y"].tolist() == [50, 50]


def test_copies_and_pickles_keep_the_stand_ins_and_files_refuse_them(tmp_path: Path) -> None:
    tested = two().with_models(one=lambda x: x * 3)
    for other in (copy.deepcopy(tested), cloudpickle.loads(cloudpickle.dumps(tested))):
        assert other({"x": [1]})["a"].tolist() == [3]
    with pytest.raises(
        GraphError, match="model 'one': the model is a stand-in of this program, which no file can name"
    ):
        tested.save(tmp_path / "g.yaml")


def test_a_run_and_a_server_play_the_stand_ins() -> None:
    tested = two().with_models(one=lambda x: x * 3)
    assert tested.run({"x": [1.0, 2.0]})["a"].to_pylist() == [3, 6]
    with tested.serve(block=False, port=0) as server:
        from motet.client import Client

        with Client(server.url) as client:
            assert client.predict("two", {"x": 1})["a"] == 3


def raising(x: Any) -> None:
    raise LookupError("no such row")


def test_what_a_stand_in_raises_and_gives_is_a_failure_of_its_rows() -> None:
    _, failures = two().with_models(one=raising)({"x": [1]}, failures="return")
    assert [(each.model, each.error, each.version) for each in failures] == [("one", "LookupError", "stand-in")]
    _, failures = two().with_models(one=lambda x: ["a"] * len(x))({"x": [1]}, failures="return")
    assert [(each.model, each.error) for each in failures] == [("one", "AnswerError")]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"on": len}, UnknownNameError, "graph 'two': unknown model 'on'; did you mean 'one'. known: one, other"),
        ({"inner/one": len}, UnknownNameError, "unknown model 'inner/one'"),
        (
            {"one": 3},
            GraphError,
            "stand-in for model 'one': expected a Model, a URI, an estimator or a function; got 3",
        ),
        ({"one": two()}, GraphError, "expected a Model, a URI, an estimator or a function; got <Graph 'two'"),
        ({1: len}, UnknownNameError, "unknown model '1'"),
        (["one"], mt.errors.InputError, "with_models: expected models by name; got list"),
        ({"one": lambda: 1}, GraphError, "stand-in for model 'one': the function cannot be called with x"),
        ({"one": lambda a, b: 1}, GraphError, "the function cannot be called with x: missing a required argument: 'b'"),
        ({"one": fake(Affine, "s", "string")}, TypeMismatchError, "'one' takes x: string; column 'x' is float32"),
        ({"one": "nothing.onnx"}, mt.ModelError, "nothing.onnx"),
    ],
)
def test_what_cannot_stand_in(given: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        two().with_models(given)
