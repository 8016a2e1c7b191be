from __future__ import annotations

import pickle
import warnings
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from motet.batch import objects
from motet.errors import ModelLoadError, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name, sklearn
from motet.types import Signature

handler = handler_by_name("sklearn")
X = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(estimator: Any, name: str = "m.joblib") -> str:
        joblib.dump(estimator, tmp_path / name)
        return str(tmp_path / name)

    return write


def types(signature: Signature) -> str:
    return str(signature)


def test_a_classifier_gives_probabilities_and_labels(save: Any, source: Any) -> None:
    given = source(save(DecisionTreeClassifier().fit(X, ["no", "no", "yes", "yes"])))
    assert types(handler.signature(given)) == "(features: float64[2]) -> (probabilities: float64[2], label: string)"
    answers = handler.load(given)({"features": X})
    assert answers["probabilities"].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert answers["label"].tolist() == ["no", "no", "yes", "yes"]
    assert (answers["label"].dtype, answers["probabilities"].dtype) == (object, np.float64)


@pytest.mark.parametrize(
    ("estimator", "target", "outputs"),
    [
        (LogisticRegression(), [0, 0, 1, 1], "(probabilities: float64[2], label: int64)"),
        (LinearSVC(), [5, 5, 7, 7], "(label: int64)"),
        (DecisionTreeClassifier(), [True, True, False, False], "(probabilities: float64[2], label: bool)"),
        (LinearRegression(), [0.0, 0.0, 1.0, 1.0], "(value: float64)"),
        (LinearRegression(), [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], "(value: float64[2])"),
        (make_pipeline(StandardScaler(), LinearRegression()), [[0.0], [0.0], [1.0], [1.0]], "(value: float64[1])"),
        (KMeans(2, n_init=1), None, "(label: int64)"),
        (IsolationForest(n_estimators=2), None, "(label: int64)"),
        (StandardScaler(), None, "(features: float64[2])"),
        (OneHotEncoder(), None, "(features: float64[4])"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_estimator_says_what_it_gives(
    save: Any, source: Any, estimator: Any, target: Any, outputs: str
) -> None:
    given = source(save(estimator.fit(X, target)))
    signature = handler.signature(given)
    assert types(signature) == f"(features: float64[2]) -> {outputs}"
    for name, answer in handler.load(given)({"features": X}).items():
        assert answer.dtype == signature.outputs[name].numpy_dtype
        assert answer.shape == (4, *signature.outputs[name].shape)


def test_declared_outputs_choose_and_convert(save: Any, source: Any) -> None:
    path = save(LogisticRegression().fit(X, [0, 0, 1, 1]))
    given = source(path, outputs={"probabilities": "float32[2]", "scores": "float64"})
    with pytest.raises(
        TypeMismatchError, match=r"'probabilities' is declared as float32\[3\], the estimator gives float64\[2\]"
    ):
        handler.signature(source(path, outputs={"probabilities": "float32[3]"}))
    answers = handler.load(given)({"features": X})
    assert list(answers) == ["probabilities", "scores"]
    assert answers["probabilities"].dtype == np.float32
    with pytest.raises(
        UnknownNameError,
        match=r"unknown output of the estimator 'proba'; .*known: probabilities, label_probabilities, ",
    ):
        handler.signature(source(path, outputs={"proba": "float64[2]"}))


def test_columns_are_put_side_by_side(save: Any, source: Any) -> None:
    path = save(LinearRegression().fit(X, X @ [10.0, 1.0]))
    given = source(path, inputs={"a": "float32", "b": "int64"})
    answers = handler.load(given)({"a": np.array([2, 3], np.float32), "b": np.array([4, 5])})
    assert answers["value"].round(6).tolist() == [24, 35]
    with pytest.raises(
        TypeMismatchError, match=r"declared inputs \(a: float32\[3\]\) are 3 features, the model takes 2"
    ):
        handler.signature(source(path, inputs={"a": "float32[3]"}))
    with pytest.raises(TypeMismatchError, match="input 'a' is declared as string, the estimator takes numbers there"):
        handler.signature(source(path, inputs={"a": "string", "b": "float32"}))


def test_columns_come_in_the_order_of_the_features_names(save: Any, source: Any) -> None:
    frame = pd.DataFrame(X, columns=["a", "b"])
    path = save(LinearRegression().fit(frame, X @ [10.0, 1.0]))
    model = handler.load(source(path, inputs={"b": "float64", "a": "float64"}))
    assert model({"a": np.array([2.0]), "b": np.array([4.0])})["value"].round(6).tolist() == [24]
    assert types(handler.signature(source(path))) == "(a: float64, b: float64) -> (value: float64)"
    model = handler.load(source(path, inputs={"both": "float64[2]"}))
    assert model({"both": np.array([[2.0, 4.0]])})["value"].round(6).tolist() == [24]
    with pytest.raises(TypeMismatchError, match="a: features of the model by name, but not all: c"):
        handler.signature(source(path, inputs={"a": "float64", "c": "float64"}))


def test_texts_go_through_a_text_pipeline(save: Any, source: Any) -> None:
    words = ["good good", "bad", "good", "bad bad"]
    path = save(make_pipeline(CountVectorizer(), MultinomialNB()).fit(words, ["+", "-", "+", "-"]))
    assert types(handler.signature(source(path))).startswith("(text: string) -> ")
    assert handler.load(source(path))({"text": objects(["bad", "good"])})["label"].tolist() == ["-", "+"]
    renamed = source(path, inputs={"review": "string"}, outputs={"label": "string"})
    assert handler.load(renamed)({"review": objects(["bad"])})["label"].tolist() == ["-"]


def test_a_frame_goes_through_a_pipeline_of_named_columns(save: Any, source: Any) -> None:
    frame = pd.DataFrame({"city": ["a", "b", "a", "b"], "size": [1.0, 2.0, 3.0, 4.0]})
    columns = ColumnTransformer([("city", OneHotEncoder(), ["city"]), ("size", "passthrough", ["size"])])
    path = save(make_pipeline(columns, LinearRegression()).fit(frame, [11.0, 2.0, 13.0, 4.0]))
    given = source(path, options={"frame": True}, inputs={"size": "float64", "city": "string"})
    answers = handler.load(given)({"city": objects(["a", "b"]), "size": np.array([5.0, 5.0])})
    assert answers["value"].round(6).tolist() == [15, 5]
    assert types(handler.signature(source(path))) == "(city: string, size: any) -> (value: float64)"
    plain = save(LinearRegression().fit(X, X[:, 0]), "plain.joblib")
    with pytest.raises(
        ModelLoadError, match="it was fitted without names of features\n  hint: declare the model's inputs by name"
    ):
        handler.signature(source(plain, options={"frame": True}))


@pytest.mark.parametrize("texts", [False, True])
def test_several_questions_are_answered_side_by_side(save: Any, source: Any, texts: bool) -> None:
    targets = np.where(X > 0, "yes", "no").astype(object) if texts else X.astype(int)
    estimator = MultiOutputClassifier(DecisionTreeClassifier()).fit(X, targets)
    given, dtype = source(save(estimator)), "string" if texts else "int64"
    wanted = f"(features: float64[2]) -> (label_probabilities: float64[2,2], label: {dtype}[2])"
    assert types(handler.signature(given)) == wanted
    answers = handler.load(given)({"features": X})
    assert answers["label"].tolist() == targets.tolist()
    assert np.array_equal(answers["label_probabilities"], np.stack(estimator.predict_proba(X), axis=1))


class Opaque:
    def predict(self, features: Any) -> Any:
        return features * 2


def test_an_estimator_that_says_nothing_has_to_be_declared(save: Any, source: Any) -> None:
    path = save(Opaque(), "m.pkl")
    with pytest.raises(
        ModelLoadError, match="the estimator does not say what it takes\n  hint: declare the model's inputs"
    ):
        handler.signature(source(path))
    given = source(path, inputs={"x": "float32[1]"}, outputs={"value": "float32"})
    assert handler.load(given)({"x": np.ones((2, 1), np.float32)})["value"].tolist() == [2, 2]


def test_what_is_no_estimator_is_refused(save: Any, source: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ModelLoadError, match="it holds a dict of model, scaler, no estimator\n  hint: dump the estimator alone"
    ):
        handler.signature(source(save({"model": 1, "scaler": 2}), inputs={"x": "float32[1]"}))
    with pytest.raises(
        ModelLoadError, match="the LogisticRegression is not fitted\n  hint: fit it before it is dumped"
    ):
        handler.signature(source(save(LogisticRegression()), inputs={"x": "float32[1]"}))
    with pytest.raises(ModelLoadError, match="a DBSCAN answers only the rows that it is fitted on, by fit_predict"):
        handler.signature(source(save(DBSCAN().fit(X))))
    for content in (b"garbage", b"\x80\x04coperator\ntruediv\n(K\x01K\x00tR.", zlib.compress(b"garbage" * 99)[:-9]):
        (tmp_path / "garbage.joblib").write_bytes(content)
        with pytest.raises(
            ModelLoadError,
            match=r"model 'm' \(.*garbage\.joblib\): it cannot be unpickled: .*\n  hint: write it with joblib",
        ):
            handler.signature(source(tmp_path / "garbage.joblib"))
    (tmp_path / "gone.pkl").write_bytes(pickle.dumps(Opaque()).replace(b"test_sklearn_models", b"tst_sklearn_missing"))
    with pytest.raises(ModelLoadError, match="it needs the module 'tst_sklearn_missing', which cannot be imported"):
        handler.signature(source(tmp_path / "gone.pkl"))


def test_it_is_unpickled_once(save: Any, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given, loads, real = source(save(LinearRegression().fit(X, X[:, 0]))), [], joblib.load
    monkeypatch.setattr(joblib, "load", lambda path: loads.append(path) or real(path))
    handler.signature(given)
    handler.signature(given)
    handler.load(given)
    assert len(loads) == 1


def test_another_version_is_one_warning_that_names_the_model(
    source: Any, save: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, real = source(save(LinearRegression().fit(X, X[:, 0]))), joblib.load

    def old(path: str) -> Any:
        for name in ("StandardScaler", "LinearRegression"):
            warning = InconsistentVersionWarning(
                estimator_name=name, current_sklearn_version="1.9.1", original_sklearn_version="1.2.0"
            )
            warnings.warn(warning, stacklevel=1)
        return real(path)

    monkeypatch.setattr(joblib, "load", old)
    with pytest.warns(
        UserWarning, match=r"model 'm' \(.*\) was made with scikit-learn 1\.2\.0, this is 1\.9\.1"
    ) as caught:
        handler.signature(given)
    assert len(caught) == 1


def test_jobs_are_set_to_the_threads_of_a_call(save: Any, source: Any) -> None:
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(3, n_jobs=-1, random_state=0)).fit(
        X, [0, 0, 1, 1]
    )
    sklearn._set_jobs(estimator, 2)
    assert estimator[-1].n_jobs == 2
    model = handler.load(source(save(estimator)))
    assert model({"features": X})["label"].tolist() == [0, 0, 1, 1]


def test_options_and_devices_that_it_does_not_have_are_refused(save: Any, source: Any) -> None:
    path = save(LinearRegression().fit(X, X[:, 0]))
    with pytest.raises(UnknownNameError, match="unknown option 'frames'; did you mean 'frame'"):
        handler.signature(source(path, options={"frames": True}))
    with pytest.raises(ModelLoadError, match="scikit-learn models run on the cpu only, got device 'cuda'"):
        handler.load(source(path, device="cuda"))
