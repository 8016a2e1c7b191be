"""Columns that are given where a wider type, or rows of one value, are wanted: what the model's own framework and exact
arithmetic say, of models and of graphs inside graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import motet as mt
from motet.errors import TypeMismatchError

skl2onnx = pytest.importorskip("skl2onnx")
AGES, HOMES = [1.0, -2.0, 0.5, 4.0, 0.0], ["own", "rent", "own", "none", "rent"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: Any) -> tuple[str, np.ndarray, Path]:
    """An ONNX model of a pipeline over columns, each of shape `[rows, 1]`; its probabilities; and the rows as CSV."""
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    folder = tmp_path_factory.mktemp("table")
    frame = pd.DataFrame({"age": AGES, "home": HOMES})
    encode = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["home"]))
    pipeline = make_pipeline(encode, LogisticRegression()).fit(frame, [0, 1, 0, 1, 1])
    types = [("age", FloatTensorType([None, 1])), ("home", StringTensorType([None, 1]))]
    made = skl2onnx.convert_sklearn(pipeline, initial_types=types, options={"zipmap": False}, target_opset=17)
    (folder / "pipeline.onnx").write_bytes(made.SerializeToString())
    joblib.dump(pipeline, folder / "pipeline.joblib")
    frame.to_csv(folder / "rows.csv", index=False)
    return str(folder / "pipeline.onnx"), pipeline.predict_proba(frame), folder / "rows.csv"


@pytest.mark.parametrize("kind", ["float32", "float32[1]", "int8"])
@pytest.mark.parametrize("node", ["model", "ensemble", "route"])
def test_single_values_are_rows_of_one_value(table: Any, node: str, kind: str) -> None:
    path, wanted, rows = table
    age, home = mt.input("age", kind), mt.input("home", "string")
    model = mt.Model(path, name="m")
    made = {
        "model": lambda: mt.model(model, age, home),
        "ensemble": lambda: mt.ensemble({"a": model, "b": model}, age, home, output="probabilities"),
        "route": lambda: mt.route({"own": model, "*": model}, age, home, key=home),
    }[node]()
    graph = mt.Graph("g", {"p": made if node == "ensemble" else made.probabilities})
    ages = np.array(AGES, "float32")
    whole = ages == ages.astype("int8")
    chosen = np.flatnonzero(whole) if kind == "int8" else np.arange(len(AGES))
    given = ages[chosen].astype(kind.partition("[")[0])
    columns = {"age": given[:, None] if kind == "float32[1]" else given, "home": [HOMES[each] for each in chosen]}
    np.testing.assert_allclose(graph(columns)["p"], wanted[chosen], atol=1e-5)
    if kind == "float32":
        answers = graph.run(rows, keep=[], batch_rows=2)
        np.testing.assert_allclose(answers["p"].combine_chunks().to_numpy_ndarray(), wanted, atol=1e-5)


def test_rows_of_several_values_are_no_single_ones(table: Any) -> None:
    with pytest.raises(TypeMismatchError, match=r"takes age: float32\[1\]; column 'age' is float32\[2\]"):
        mt.Graph(
            "g", {"p": mt.model(mt.Model(table[0]), mt.input("age", "float32[2]"), mt.input("home", "string")).label}
        )


def square(v: Any) -> Any:
    return v * v


@pytest.mark.parametrize("node", ["model", "ensemble"])
def test_a_graph_inside_is_given_the_types_that_it_declares(node: str) -> None:
    inner = mt.Graph("inner", {"s": mt.map(square, mt.input("v", "float64"), outputs="float64")})
    x = mt.input("x", "int8")
    made = mt.model(inner, x) if node == "model" else mt.ensemble({"a": inner, "b": inner}, x)
    graph = mt.Graph("g", {"s": made})
    assert graph({"x": [100, -3]})["s"].tolist() == [10_000, 9]
    assert graph.run({"x": np.array([100, -3, 2], np.int8)}, keep=[], batch_rows=2)["s"].to_pylist() == [10_000, 9, 4]


def test_a_number_that_a_graph_inside_cannot_hold_fails_its_row() -> None:
    inner = mt.Graph("inner", {"s": mt.map(square, mt.input("v", "float64"), outputs="float64")})
    graph = mt.Graph("g", {"s": mt.model(inner, mt.input("x", "int64"))})
    answers, failures = graph({"x": [3, 2**53 + 1, 2]}, failures="return")
    assert answers["s"].tolist() == [9, 4]
    assert [(each.row, each.error) for each in failures] == [(1, "TypeMismatchError")]
    assert "9007199254740993 is no float64" in failures[0].message
    answers, failures = graph({"x": [2**53 + 1]}, failures="return")
    assert (len(answers["s"]), len(failures)) == (0, 1)


def test_a_graph_inside_takes_single_values_as_rows_of_one() -> None:
    inner = mt.Graph("inner", {"s": mt.map(lambda v: v.sum(1), mt.input("v", "float32[1]"), outputs="float32")})
    assert mt.Graph("g", {"s": mt.model(inner, mt.input("x", "float32"))})({"x": [1.5, 2.0]})["s"].tolist() == [1.5, 2]


MIXED = [1.5, "a", 2, None, 2.5]


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: Any) -> str:
    """A linear model that doubles one number, as XGBoost takes it: NaN is missing, and is 0 to it."""
    import xgboost

    x = np.arange(8.0)[:, None]
    model = xgboost.XGBRegressor(n_estimators=1, max_depth=3, learning_rate=1, reg_lambda=0, base_score=0.0).fit(
        x, x[:, 0]
    )
    path = tmp_path_factory.mktemp("doubling") / "m.ubj"
    model.save_model(path)
    return str(path)


def mixed(x: Any) -> list[Any]:
    return [MIXED[int(each)] for each in x]


@pytest.mark.parametrize("rows", [1, 2, 3, None])
@pytest.mark.parametrize("inside", [False, True])
def test_a_value_of_another_kind_fails_its_row_alone(doubling: str, inside: bool, rows: int | None) -> None:
    x = mt.input("x", "float64")
    model = mt.Model(doubling, inputs={"f": "float64"}, outputs={"value": "float32"})
    inner = mt.Graph("inner", {"value": mt.model(model, mt.input("f", "float64"))})
    graph = mt.Graph("g", {"y": mt.model(inner if inside else model, mt.map(mixed, x))})
    options: dict[str, Any] = {} if rows is None else {"batch_rows": rows}
    answers, failures = graph.run({"x": np.arange(5.0)}, failures="return", keep=[], **options)
    import xgboost

    own = xgboost.XGBRegressor()
    own.load_model(doubling)
    wanted = own.predict(np.array([[1.5], [2], [np.nan], [2.5]]))
    assert answers["y"].to_pylist() == wanted.tolist()
    assert [(each.row, each.error) for each in failures] == [(1, "TypeMismatchError")]
    assert failures[0].message == "the column for 'f' gave 'a' (str); it must be float64"


def test_rows_of_any_callers_do_not_meet_over_a_text_among_numbers(doubling: str) -> None:
    model = mt.Model(doubling, inputs={"f": "float64"})
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "any"))})
    answers, failures = graph({"x": [1.0, "7", b"", 2.0, [1.0]]}, failures="return")
    assert (len(answers["y"]), [each.row for each in failures]) == (2, [1, 2, 4])


def test_numbers_among_texts_fail_their_rows() -> None:
    inner = mt.Graph("inner", {"s": mt.map(lambda v: v, mt.input("v", "string"), outputs="string")})
    graph = mt.Graph("g", {"s": mt.model(inner, mt.input("x", "any"))})
    answers, failures = graph({"x": ["a", 7, "", b"b"]}, failures="return")
    assert (answers["s"].tolist(), [each.row for each in failures]) == (["a", ""], [1, 3])
