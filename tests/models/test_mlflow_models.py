"""Logged models of MLflow, played from their folders: each flavour as its framework answers, and what is not read by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import motet as mt
from helpers.mlflow_folders import SIGNATURE, X, log, logged
from motet.errors import ModelLoadError, TypeMismatchError
from motet.models import handler_by_name
from motet.models.mlflow import MlflowHandler

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
FLAVORS = ("sklearn", "xgboost", "lightgbm", "catboost", "onnx", "pytorch", "keras")


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_folder_answers_as_its_framework(flavor: str, tmp_path: Path) -> None:
    expected = logged(flavor, tmp_path / "model")
    model = mt.Model(f"mlflow:{tmp_path / 'model'}", "m")
    found = mt.model(model, mt.input("x", "float32[4]"))
    name = "output" if flavor in ("pytorch", "keras") else "probabilities"
    with mt.Graph("g", {"p": getattr(found, name)}) as graph:
        np.testing.assert_allclose(graph({"x": X})["p"], expected, atol=1e-6)


def test_what_the_file_leaves_open_the_signature_says(source: Any, tmp_path: Path) -> None:
    logged("pytorch", tmp_path / "model")
    handler = handler_by_name("mlflow")
    assert str(handler.signature(source(tmp_path / "model"))) == "(x: float32[4]) -> (output: float32[3])"
    declared = source(tmp_path / "model" / "MLmodel", {"x": "float32[?]"}, {"scores": "float32[3]"})
    assert str(handler.signature(declared)) == "(x: float32[?]) -> (scores: float32[3])"
    log(tmp_path / "model", "pytorch", {"model_data": "data"}, None)
    assert str(handler.signature(source(tmp_path / "model"))) == "(x: any) -> (output: any)"


def test_columns_of_a_frame_go_by_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"home": ["own", "rent", "own", "rent"], "income": [3.0, 1.0, 2.0, 4.0]})
    columns = make_column_transformer((OneHotEncoder(), ["home"]), remainder="passthrough")
    model = make_pipeline(columns, LinearRegression()).fit(frame, [1.0, 2.0, 3.0, 4.0])
    joblib.dump(model, tmp_path / "model.pkl")
    said = [{"type": kind, "name": name, "required": True} for name, kind in (("home", "string"), ("income", "double"))]
    log(tmp_path, "sklearn", {"pickled_model": "model.pkl"}, {"inputs": json.dumps(said), "outputs": None})
    home, income = mt.input("home", "string"), mt.input("income", "float64")
    with mt.Graph("g", {"price": mt.model(mt.Model(f"mlflow:{tmp_path}", "m"), income, home).value}) as graph:
        given = {name: frame[name].to_numpy(object if name == "home" else float) for name in frame}
        np.testing.assert_allclose(graph(given)["price"], model.predict(frame))


def test_types_of_a_signature(tmp_path: Path) -> None:
    from motet.models.mlflow_folder import MlflowFolder

    kinds = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime")
    columns = [{"type": kind, "name": kind} for kind in kinds]
    tensors = [{"type": "tensor", "name": "t", "tensor-spec": {"dtype": "uint8", "shape": [-1, -1, 3]}},
               {"type": "tensor", "name": "s", "tensor-spec": {"dtype": "str", "shape": [-1]}},
               {"type": "array", "name": "a", "items": {"type": "long"}}]  # fmt: skip
    log(tmp_path, "sklearn", {}, {"inputs": json.dumps(columns + tensors), "outputs": "["})
    types = {name: str(kind) for name, kind in MlflowFolder(tmp_path).types("inputs").items()}
    assert types == {
        "boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64", "string": "string",
        "binary": "bytes", "datetime": "any", "t": "uint8[?,3]", "s": "string", "a": "any",
    }  # fmt: skip


def test_it_is_published_and_plays_from_the_store(tmp_path: Path) -> None:
    expected = logged("xgboost", tmp_path / "model")
    version = mt.Store(tmp_path / "store").publish("m", tmp_path / "model", handler="mlflow")
    assert {file.path for file in version.files} == {"MLmodel", "model.ubj", "conda.yaml"}
    found = mt.model(mt.Model(f"store:{tmp_path}/store#m", "m"), mt.input("x", "float32[4]"))
    with mt.Graph("g", {"p": found.probabilities}) as graph:
        np.testing.assert_allclose(graph({"x": X})["p"], expected, atol=1e-6)


def test_what_is_no_model_or_is_not_read_is_said(source: Any, tmp_path: Path) -> None:
    handler = handler_by_name("mlflow")
    with pytest.raises(ModelLoadError, match="no model of MLflow: it has no file MLmodel"):
        handler.signature(source(tmp_path))
    for flavor, said, message in (
        ("spark", {"model_data": "sparkml"}, "its flavour is spark; those that are read are onnx, sklearn, xgboost, "),
        ("xgboost", {"data": "model.ubj"}, "the xgboost model has no file model.ubj"),
        ("xgboost", {"data": "../../m.ubj"}, "the xgboost model has no file m.ubj"),
        ("sklearn", {"pickled_model": "m.x", "serialization_format": "other"}, "the sklearn model is written by other"),
    ):
        log(tmp_path, flavor, said)
        with pytest.raises(ModelLoadError, match=message):
            handler.signature(source(tmp_path))
    (tmp_path / "MLmodel").write_text("flavors: [")
    with pytest.raises(ModelLoadError, match="its MLmodel cannot be read"):
        handler.signature(source(tmp_path))
    logged("xgboost", tmp_path / "own")
    log(tmp_path / "own", "xgboost", {"data": "model.ubj"}, {**SIGNATURE, "inputs": "[3"})
    with pytest.raises(ModelLoadError, match="the signature in its MLmodel cannot be read"):
        handler.signature(source(tmp_path / "own"))


def test_declared_types_must_be_the_models(source: Any, tmp_path: Path) -> None:
    logged("xgboost", tmp_path / "model")
    with pytest.raises(TypeMismatchError, match="are 3 features, the model takes 4"):
        handler_by_name("mlflow").signature(source(tmp_path / "model", {"x": "float32[3]"}))


def test_code_that_was_logged_is_named(source: Any, tmp_path: Path) -> None:
    logged("xgboost", tmp_path / "model")
    assert MlflowHandler().notes(source(tmp_path / "model")) == []
    about = yaml.safe_load((tmp_path / "model" / "MLmodel").read_text())
    about["flavors"]["xgboost"]["code"] = "code"
    (tmp_path / "model" / "MLmodel").write_text(yaml.safe_dump(about))
    (note,) = MlflowHandler().notes(source(tmp_path / "model"))
    assert note == "needs the code that was logged with it on PYTHONPATH"
