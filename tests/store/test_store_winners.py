"""Winners of one graph that differ: in what they take, and in the functions that make the graph's columns fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import GraphError, TypeMismatchError, UnknownNameError

ROWS = np.arange(12.0).reshape(3, 4) / 4
CAST: dict[str, Any] = {"map": "motet.ops.columns.cast", "with": {"dtype": "float32"}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same sum as ONNX over float32, and as scikit-learn's over float64."""
    import joblib
    from onnx import TensorProto, helper, numpy_helper, save
    from sklearn.linear_model import LinearRegression

    folder = tmp_path_factory.mktemp("winners")
    weights = numpy_helper.from_array(np.ones((4, 1), np.float32), "w")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", k]) for n, k in (("x", 4), ("y", 1)))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "sum.onnx")
    joblib.dump(LinearRegression(fit_intercept=False).fit(np.eye(4), np.ones(4)), folder / "sum.joblib")
    return folder


def play(home: Any, kind: str) -> Any:
    (home / "g.yaml").write_text(
        f"motet: 1\nname: g\ninputs: {{x: '{kind}[4]'}}\nmodels: {{m: {{uri: 'store:{home}/store#w'}}}}\n"
        "nodes: {n: {model: m, inputs: [x]}}\noutputs: {y: n}\n"
    )
    return np.asarray(mt.load(home / "g.yaml")({"x": ROWS.astype(kind)})["y"]).ravel()


def test_winners_of_other_types_play_in_a_graph_of_the_narrower_one(files: Any, tmp_path: Any) -> None:
    store = mt.Store(tmp_path / "store")
    for file in ("sum.onnx", "sum.joblib"):
        store.publish("w", files / file)
        np.testing.assert_allclose(play(tmp_path, "float32"), ROWS.sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    "before",
    [
        CAST,
        {"map": mt.ops.columns.cast, "with": {"dtype": "float32"}},
        [CAST],
        [{"map": "motet.ops.columns.cast", "with": {"dtype": "float64"}}, CAST],
        {**CAST, "outputs": "float32[4]"},
    ],
    ids=["path", "function", "list", "two", "outputs"],
)
def test_a_function_with_keywords_makes_the_columns_fit(files: Any, tmp_path: Any, before: Any) -> None:
    store = mt.Store(tmp_path / "store")
    store.publish("w", files / "sum.onnx")
    with pytest.raises(TypeMismatchError, match=r"motet\.ops\.columns\.cast with \{dtype: float32\}"):
        play(tmp_path, "float64")
    version = store.publish("w", files / "sum.onnx", before=before)
    assert version.number == 2
    assert version.before[-1]["map"] == "motet.ops.columns.cast"
    np.testing.assert_allclose(play(tmp_path, "float64"), ROWS.sum(1), rtol=1e-5)
    assert store.publish("w", files / "sum.onnx", before=before).number == 2


@pytest.mark.parametrize(
    ("before", "error", "message"),
    [
        ({"mpa": "motet.ops.columns.cast"}, UnknownNameError, "unknown key 'mpa'; did you mean 'map'"),
        ({"with": {}}, GraphError, "no function in"),
        ({"map": lambda x: x}, GraphError, "cannot be imported by name"),
        ({"map": 3}, GraphError, "expected a function or its import path"),
        ({"map": "motet.ops.columns.cast", "with": 3}, GraphError, "with"),
    ],
    ids=["key", "none", "lambda", "number", "keywords"],
)
def test_what_is_no_function_is_refused(files: Any, tmp_path: Any, before: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        mt.Store(tmp_path / "store").publish("w", files / "sum.onnx", before=before)


def test_models_of_graphs_take_functions_with_keywords_too(files: Any) -> None:
    x = mt.input("x", "float64[4]")
    graph = mt.Graph("g", outputs={"y": mt.model(mt.Model(str(files / "sum.onnx"), before=CAST), x)})  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(graph({"x": ROWS})["y"]).ravel(), ROWS.sum(1), rtol=1e-5)
