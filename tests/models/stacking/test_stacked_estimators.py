"""Programs of scikit-learn's models, alone and as skl2onnx exports them, against what the estimators themselves answer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC

from motet.models.handler import ModelSource
from motet.models.onnx import OnnxHandler
from motet.models.sklearn import SklearnHandler
from motet.models.stacking.program import Unstackable
from motet.models.stacking.stacked import StackedProgram
from motet.types import ColumnType

TWO, THREE, TEXTS, NUMBER, NUMBERS = "two", "three", "texts", "number", "numbers"
CASES = {
    "linear": (lambda: LinearRegression(), NUMBER),
    "several targets": (lambda: Ridge(), NUMBERS),
    "without an intercept": (lambda: Ridge(fit_intercept=False), NUMBER),
    "two classes": (lambda: LogisticRegression(), TWO),
    "three classes": (lambda: LogisticRegression(), THREE),
    "texts": (lambda: make_pipeline(StandardScaler(), LogisticRegression()), TEXTS),
    "scaled": (lambda: make_pipeline(MinMaxScaler(), "passthrough", MaxAbsScaler(), Ridge()), NUMBER),
    "without a mean": (lambda: make_pipeline(StandardScaler(with_mean=False), Ridge()), NUMBER),
    "labels alone": (lambda: LinearSVC(), THREE),
    "ridge classes": (lambda: RidgeClassifier(), TWO),
    "hinge": (lambda: SGDClassifier(random_state=0), THREE),
    "perceptron of two": (lambda: _mlp(MLPClassifier, "relu"), TWO),
    "perceptron of three": (lambda: _mlp(MLPClassifier, "tanh"), TEXTS),
    "perceptron of numbers": (lambda: _mlp(MLPRegressor, "logistic"), NUMBER),
    "perceptron of targets": (lambda: _mlp(MLPRegressor, "identity"), NUMBERS),
}
EXPORTED = [
    "linear",
    "several targets",
    "two classes",
    "texts",
    "perceptron of two",
    "perceptron of three",
    "perceptron of numbers",
]


def _mlp(kind: Any, activation: str) -> Any:
    return kind(hidden_layer_sizes=(5, 3), activation=activation, max_iter=5, random_state=0)


def _fitted(make: Any, target: str, seed: int) -> Any:
    random = np.random.default_rng(seed)
    x = random.normal(size=(60, 4))
    score = x @ random.normal(size=4)
    three = np.digitize(score, [-0.5, 0.5])
    y = {
        TWO: (score > 0).astype(int), THREE: three, TEXTS: np.array(["low", "mid", "high"])[three],
        NUMBER: score, NUMBERS: np.stack([score, -score + 1], axis=1),
    }[target]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make().fit(x, y)


def _answers(handler: Any, sources: list[ModelSource], x: np.ndarray) -> None:
    """All models together answer what each of them does."""
    programs = [handler.program(source, 1 << 22) for source in sources]
    assert len({each.structure for each in programs}) == 1
    counts = np.array([3, 1, len(x) - 4])
    got = StackedProgram(programs)(
        {name: x.astype(kind) for name, (kind, _) in programs[0].inputs.items()}, np.arange(3), counts
    )
    first = 0
    for source, count in zip(sources, counts, strict=True):
        model, signature = handler.load(source), handler.signature(source)
        (name, kind), *_ = signature.inputs.items()
        wanted = model({name: x[first : first + count].astype(kind.numpy_dtype)})
        for output in signature.outputs:
            mine = got[output][first : first + count]
            assert mine.dtype == wanted[output].dtype
            if mine.dtype.kind == "f":
                np.testing.assert_allclose(mine, wanted[output], rtol=1e-5, atol=1e-5)
            else:
                assert mine.tolist() == wanted[output].tolist()
        first += count


ROWS = np.random.default_rng(9).normal(size=(12, 4))


@pytest.mark.parametrize("case", CASES)
def test_estimators_answer_together_as_each_does(case: str, tmp_path: Path) -> None:
    make, target = CASES[case]
    sources = []
    for seed in range(3):
        joblib.dump(_fitted(make, target, seed), tmp_path / f"{seed}.joblib")
        sources.append(ModelSource("m", str(tmp_path / f"{seed}.joblib")))
    _answers(SklearnHandler(), sources, ROWS)


@pytest.mark.parametrize("case", EXPORTED)
def test_exported_estimators_answer_together_as_each_does(case: str, tmp_path: Path) -> None:
    make, target = CASES[case]
    sources = []
    for seed in range(3):
        fitted = _fitted(make, target, seed)
        options = {"zipmap": False} if hasattr(fitted, "classes_") else None
        model = to_onnx(fitted, ROWS[:1].astype(np.float32), options=options)
        (tmp_path / f"{seed}.onnx").write_bytes(model.SerializeToString())
        sources.append(ModelSource("m", str(tmp_path / f"{seed}.onnx")))
    _answers(OnnxHandler(), sources, ROWS)


def test_features_that_are_columns_are_put_side_by_side(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=["d", "a", "c", "b"])
    fitted = [Ridge().fit(frame, ROWS @ weights) for weights in np.random.default_rng(1).normal(size=(2, 4))]
    for place, each in enumerate(fitted):
        joblib.dump(each, tmp_path / f"{place}.joblib")
    handler = SklearnHandler()
    programs = [handler.program(ModelSource("m", str(tmp_path / f"{place}.joblib")), 1 << 22) for place in range(2)]
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    got = StackedProgram(programs)(columns, np.arange(2), np.array([5, 7]))["value"]
    np.testing.assert_allclose(got, np.concatenate([fitted[0].predict(frame[:5]), fitted[1].predict(frame[5:])]))


class OddRidge(Ridge):
    """It answers something else than its name says."""


@pytest.mark.parametrize(
    ("fitted", "reason"),
    [
        (lambda: RandomForestClassifier(2), "is a RandomForestClassifier"),
        (lambda: make_pipeline(PolynomialFeatures(), LogisticRegression()), "has a PolynomialFeatures"),
        (lambda: OddRidge(), "is a OddRidge, which is not of scikit-learn"),
    ],
)
def test_others_say_why_they_are_not_stacked(fitted: Any, reason: str, tmp_path: Path) -> None:
    joblib.dump(_fitted(fitted, TWO, 0), tmp_path / "m.joblib")
    handler, source = SklearnHandler(), ModelSource("m", str(tmp_path / "m.joblib"))
    for _ in range(2):  # whether it was loaded before or not
        with pytest.raises(Unstackable) as caught:
            handler.program(source, 1 << 22)
        assert str(caught.value) == reason
        handler.load(source)


def test_inputs_of_integers_are_left_to_the_models(tmp_path: Path) -> None:
    joblib.dump(_fitted(Ridge, NUMBER, 0), tmp_path / "m.joblib")
    source = ModelSource("m", str(tmp_path / "m.joblib"), inputs={"x": ColumnType("int64", (4,))})
    with pytest.raises(Unstackable, match="takes x as int64"):
        SklearnHandler().program(source, 1 << 22)


def test_scaled_float32_is_left_to_the_models(tmp_path: Path) -> None:
    """scikit-learn subtracts a mean that is rounded to float32: far from 0 that is no rounding of the answer."""
    joblib.dump(_fitted(lambda: make_pipeline(StandardScaler(), Ridge()), NUMBER, 0), tmp_path / "m.joblib")
    source = ModelSource("m", str(tmp_path / "m.joblib"), inputs={"x": ColumnType("float32", (4,))})
    with pytest.raises(Unstackable, match="scales float32, which scikit-learn rounds on the way"):
        SklearnHandler().program(source, 1 << 22)


def test_a_file_that_is_large_is_not_loaded_to_see_what_it_computes(tmp_path: Path) -> None:
    (tmp_path / "m.joblib").write_bytes(b"no estimator" * 1000)
    with pytest.raises(Unstackable, match="is larger than 0 MiB"):
        SklearnHandler().program(ModelSource("m", str(tmp_path / "m.joblib")), 5000)
