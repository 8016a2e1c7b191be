from __future__ import annotations

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import motet as mt
from motet.errors import GraphError, TypeMismatchError


@pytest.fixture
def model(tmp_path):
    joblib.dump(LinearRegression().fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [1.0, 3.0, 6.0]), tmp_path / "m.joblib")
    return mt.Model(str(tmp_path / "m.joblib"), inputs={"a": "float64", "b": "float64"})


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64"]
)
def test_a_model_of_floats_takes_narrower_numbers(model, dtype):
    node = mt.model(model, mt.input("a", dtype), mt.input("b", "float64"))
    column = np.array([0, 1, 1]).astype(dtype)
    answers = mt.Graph("g", {"v": node})({"a": column, "b": [0.0, 0.0, 1.0]})
    np.testing.assert_allclose(answers["v"], 1 + 2 * column.astype(float) + [0, 0, 5], rtol=1e-12)


def test_a_row_whose_number_is_no_float_fails_alone(model):
    graph = mt.Graph("g", {"v": mt.model(model, mt.input("a", "int64"), mt.input("b", "float64"))})
    answers, failures = graph({"a": [0, 2**53 + 1, 1], "b": [0.0, 0.0, 1.0]}, failures="return")
    np.testing.assert_allclose(answers["v"], [1, 8], rtol=1e-12)
    assert [(each.row, each.node, each.message) for each in failures] == [
        (1, "model_1", "a: 9007199254740993 is no float64")
    ]
    assert graph({"a": [2**53 + 1], "b": [0.0]}, failures="return")[1][0].row == 0


def test_what_could_lose_something_is_refused_before_rows_flow(model):
    for dtype in ("string", "float64[1]"):
        with pytest.raises(TypeMismatchError, match="'m' takes a: float64; column 'a' is"):
            mt.Graph("g", {"v": mt.model(model, mt.input("a", dtype), mt.input("b", "float64"))}).checked  # noqa: B018
    narrow = mt.Model(model.uri, inputs={"a": "float32", "b": "float32"})
    with pytest.raises(TypeMismatchError, match="cast"):
        mt.Graph("g", {"v": mt.model(narrow, mt.input("a", "float64"), mt.input("b", "float32"))}).checked  # noqa: B018


def test_one_column_of_all_features_says_how_it_can_be_given(model):
    with pytest.raises(
        GraphError, match=r"takes 2 inputs .*\n  hint: .* declare the model's inputs: \{features: float32\[2\]\}"
    ):
        mt.Graph("g", {"v": mt.model(model, mt.input("f", "float32[2]"))}).checked  # noqa: B018
