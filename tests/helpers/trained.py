"""Small models of every framework: float32[4] -> probabilities of three classes; each with what it answers itself."""

import os
from typing import Any

import numpy as np

from helpers import onnxes

os.environ.setdefault("KERAS_BACKEND", "torch")  # also of processes that tests begin

X = np.random.default_rng(7).normal(size=(200, 4)).astype(np.float32)
Y = np.digitize(X[:, 0] + X[:, 1] / 2, [-0.5, 0.5])


def onnx(folder: Any, seed: Any) -> Any:
    import onnxruntime

    path = onnxes.classifier(folder / f"onnx{seed}.onnx", seed=seed)
    session = onnxruntime.InferenceSession(path)
    return {"uri": path.name}, lambda x: session.run(None, {"x": x})[0]


def sklearn(folder: Any, seed: Any) -> Any:
    import joblib
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression(C=10.0**-seed).fit(X, Y)
    joblib.dump(estimator, folder / f"sklearn{seed}.joblib")
    types = {"inputs": {"x": "float32[4]"}, "outputs": {"probabilities": "float64[3]"}}
    return {"uri": f"sklearn{seed}.joblib", **types}, estimator.predict_proba


def torch(folder: Any, seed: Any) -> Any:
    import torch as framework

    from helpers.modules import Net

    framework.manual_seed(seed)
    module = Net().eval()
    framework.save(module.state_dict(), folder / f"torch{seed}.pth")
    types = {"inputs": {"x": "float32[4]"}, "outputs": {"probabilities": "float32[3]"}}

    def answer(x: Any) -> Any:
        with framework.no_grad():
            return module(framework.from_numpy(x.copy())).numpy()

    return {"uri": f"torch{seed}.pth", **types, "with": {"module": "helpers.modules:Net"}}, answer


def xgboost(folder: Any, seed: Any) -> Any:
    import xgboost as framework

    settings = {"objective": "multi:softprob", "num_class": 3, "nthread": 1, "max_depth": 2, "eta": 0.3 / (seed + 1)}
    booster = framework.train(settings, framework.DMatrix(X, Y), 4)
    booster.save_model(folder / f"xgboost{seed}.ubj")
    types = {"inputs": {"x": "float32[4]"}, "outputs": {"probabilities": "float32[3]"}}
    return {"uri": f"xgboost{seed}.ubj", **types}, lambda x: booster.predict(framework.DMatrix(x))


def lightgbm(folder: Any, seed: Any) -> Any:
    import lightgbm as framework

    settings = {
        "objective": "multiclass",
        "num_class": 3,
        "num_threads": 1,
        "verbose": -1,
        "learning_rate": 0.2 / (seed + 1),
    }
    booster = framework.train(settings, framework.Dataset(X, Y), 4)
    booster.save_model(folder / f"lightgbm{seed}.lgb")
    types = {"inputs": {"x": "float32[4]"}, "outputs": {"probabilities": "float32[3]"}}
    return {"uri": f"lightgbm{seed}.lgb", **types}, booster.predict


def python(folder: Any, seed: Any) -> Any:
    from motet.testing.fakes import Scores

    types = {"inputs": {"x": "float32[4]"}, "outputs": {"probabilities": "float32[3]"}}
    return {"uri": "python:motet.testing.fakes:Scores", **types, "with": {"seed": seed}}, Scores(3, seed)


FRAMEWORKS = {each.__name__: each for each in (onnx, sklearn, torch, xgboost, lightgbm, python)}


WEIGHTS = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)


def scores(x: Any) -> Any:
    """Probabilities of three classes."""
    raised = np.exp(x @ WEIGHTS)
    return raised / raised.sum(axis=1, keepdims=True)


def skops(folder: Any, seed: Any) -> Any:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression(C=10.0**-seed).fit(X, Y)
    skops.io.dump(estimator, folder / f"skops{seed}.skops")
    types = {"inputs": {"x": "float32[4]"}, "outputs": {"probabilities": "float64[3]"}}
    return {"uri": f"skops{seed}.skops", **types}, estimator.predict_proba


def jax(folder: Any, seed: Any) -> Any:
    import jax as framework
    from jax import export

    def answer(x: Any) -> Any:
        return framework.nn.softmax(x @ WEIGHTS * seed)

    rows = framework.ShapeDtypeStruct(export.symbolic_shape("rows, 4"), "float32")
    (folder / f"jax{seed}.jax").write_bytes(export.export(framework.jit(answer))(rows).serialize())
    return {"uri": f"jax{seed}.jax"}, answer


def keras(folder: Any, seed: Any) -> Any:
    import keras as framework

    framework.utils.set_random_seed(seed)
    layers = [framework.Input((4,), name="x"), framework.layers.Dense(3, activation="softmax")]
    model = framework.Sequential(layers)
    model.save(folder / f"keras{seed}.keras")
    return {"uri": f"keras{seed}.keras"}, lambda x: model.predict(x, verbose=0)


def catboost(folder: Any, seed: Any) -> Any:
    import catboost as framework

    settings = {"iterations": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    model = framework.CatBoostClassifier(**settings, learning_rate=0.3 / (seed + 1)).fit(X, Y)
    model.save_model(str(folder / f"catboost{seed}.cbm"))
    return {"uri": f"catboost{seed}.cbm", "inputs": {"x": "float32[4]"}}, model.predict_proba


def litert(folder: Any, seed: Any) -> Any:
    from helpers.tflites import softmax_of

    softmax_of(folder / f"litert{seed}.tflite", WEIGHTS, "serving_default")
    return {"uri": f"litert{seed}.tflite"}, scores


def openvino(folder: Any, seed: Any) -> Any:
    import openvino as framework

    path = onnxes.classifier(folder / f"openvino{seed}.onnx", seed=seed)
    framework.save_model(framework.Core().read_model(path), folder / f"openvino{seed}.xml", compress_to_fp16=False)
    return {"uri": f"openvino{seed}.xml"}, onnx(folder, seed)[1]


MORE = {each.__name__: each for each in (skops, jax, keras, catboost, litert, openvino)}
