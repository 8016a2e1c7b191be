"""Logged models as MLflow 3 writes them: a folder with MLmodel, and the model's own file where its flavour has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import yaml

__all__ = ["SIGNATURE", "X", "Y", "log", "logged"]

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = np.digitize(X[:, 0], [-0.5, 0.5])
SIGNATURE = {
    "inputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]),
    "outputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]),
    "params": None,
}
"""As infer_signature gives it for arrays."""


def log(folder: Path, flavor: str, said: dict[str, Any], signature: Any = SIGNATURE) -> Path:
    """What stands beside the model's own file."""
    function = {"loader_module": f"mlflow.{flavor}", "python_version": "3.11.9", "env": {"conda": "conda.yaml"}}
    flavors = {flavor: {**said, "code": None}, "python_function": function}
    about = {"flavors": flavors, "mlflow_version": "3.17.2", "model_uuid": "0" * 32, "signature": signature}
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    (folder / "conda.yaml").write_text("name: mlflow-env\n")
    return folder


def logged(kind: str, folder: Path) -> Any:
    """A classifier of a flavour in a folder, and what it says of X."""
    folder.mkdir()
    (folder / "data").mkdir()
    return globals()[f"_{kind}"](folder)


def _sklearn(folder: Path) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(X, Y)
    joblib.dump(model, folder / "model.pkl")
    log(folder, "sklearn", {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"})
    return model.predict_proba(X)


def _xgboost(folder: Path) -> Any:
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=4, n_jobs=1).fit(X, Y)
    model.save_model(folder / "model.ubj")
    log(folder, "xgboost", {"data": "model.ubj", "model_format": "ubj", "model_class": "xgboost.sklearn.XGBClassifier"})
    return model.predict_proba(X)


def _lightgbm(folder: Path) -> Any:
    import lightgbm

    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(X, Y), 4)
    booster.save_model(folder / "model.lgb")
    log(folder, "lightgbm", {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"})
    return booster.predict(X)


def _catboost(folder: Path) -> Any:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(iterations=4, verbose=0, thread_count=1, allow_writing_files=False).fit(X, Y)
    model.save_model(str(folder / "model.cb"))
    log(folder, "catboost", {"data": "model.cb", "model_type": "CatBoostClassifier", "save_format": "cbm"})
    return model.predict_proba(X)


def _onnx(folder: Path) -> Any:
    import onnxruntime

    from helpers import onnxes

    path = onnxes.classifier(folder / "model.onnx", seed=0)
    log(folder, "onnx", {"data": "model.onnx", "onnx_version": "1.19", "providers": ["CPUExecutionProvider"]})
    return onnxruntime.InferenceSession(path).run(None, {"x": X})[0]


def _pytorch(folder: Path) -> Any:
    import torch

    from helpers.modules import Net

    torch.manual_seed(0)
    module = torch.jit.trace(Net().eval(), torch.from_numpy(X[:2]))
    torch.jit.save(module, str(folder / "data" / "model.pth"))
    log(folder, "pytorch", {"model_data": "data", "pytorch_version": str(torch.__version__)})
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


def _keras(folder: Path) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, activation="softmax")])
    model.save(folder / "data" / "model.keras")
    log(folder, "keras", {"data": "data", "keras_version": keras.__version__, "save_exported_model": False})
    return model.predict(X, verbose=0)
