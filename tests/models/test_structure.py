"""Estimators that are made of the same parts are told alike, and no others."""

from functools import partial

import joblib
import numpy as np
import pytest
from lightgbm import LGBMRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBRegressor

import motet as mt
from motet.models.structure import structure

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)


def scaled(by):
    return FunctionTransformer(lambda x: x * by)


def test_what_was_learned_makes_no_difference():
    for make in (lambda: make_pipeline(StandardScaler(), LogisticRegression()), lambda: RandomForestClassifier(5)):
        assert structure(make().fit(X, Y)) == structure(make().fit(X[::-1] + 1, Y[::-1]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LogisticRegression().fit(X, Y), LogisticRegression().fit(X[:, :2], Y)),
        (LogisticRegression().fit(X, Y), LogisticRegression().fit(X, Y.astype(str))),
        (LogisticRegression().fit(X, Y), LogisticRegression().fit(X, Y + (X[:, 1] > 0))),
        (LinearRegression().fit(X, Y), LinearRegression().fit(X, np.c_[Y, Y])),
        (RandomForestClassifier(5).fit(X, Y), RandomForestClassifier(5).fit(X, np.c_[Y, Y])),
        (FunctionTransformer(np.log1p), FunctionTransformer(np.sqrt)),
        (FunctionTransformer(lambda x: x), FunctionTransformer(lambda x: x[:, :1])),
        (FunctionTransformer(partial(np.repeat, repeats=2)), FunctionTransformer(partial(np.repeat, repeats=3))),
        (scaled(1), scaled(2)),
    ],
)
def test_what_changes_the_answers_form_does(one, other):
    assert structure(one) != structure(other)
    assert {structure(one), structure(one)} == {structure(one)}


def test_models_of_one_structure_keep_their_own_classes(tmp_path):
    for name, labels in (("a", ["x", "y"]), ("b", ["u", "v"])):
        joblib.dump(LogisticRegression().fit(X, np.where(Y, *labels)), tmp_path / f"{name}.joblib")
        model = mt.Model(str(tmp_path / f"{name}.joblib"), name)
        graph = mt.Graph(name, {"p": mt.model(model, mt.input("f", "float64[3]")).probabilities})
        assert graph.checked.signature.outputs["p"].labels == tuple(sorted(labels))


def test_what_cannot_be_looked_into_is_like_nothing_else(tmp_path):
    for one in (XGBRegressor(n_estimators=2).fit(X, Y), LGBMRegressor(n_estimators=2, verbose=-1).fit(X, Y)):
        assert structure(one) != structure(one)
    for targets in (1, 2, 3):
        fitted = XGBRegressor(n_estimators=2).fit(X, np.repeat(Y[:, None], targets, axis=1))
        joblib.dump(fitted, tmp_path / f"{targets}.joblib")
        model = mt.Model(str(tmp_path / f"{targets}.joblib"), "m")
        graph = mt.Graph("g", {"v": mt.model(model, mt.input("f", "float64[3]")).value})
        np.testing.assert_array_equal(graph({"f": X})["v"], fitted.predict(X))


def test_one_of_many_alike_is_tried(tmp_path, monkeypatch):
    tried = []
    own = LogisticRegression.predict
    monkeypatch.setattr(LogisticRegression, "predict", lambda self, x: tried.append(len(x)) or own(self, x))
    inputs = {"a": "float64", "b": "float64", "c": "float64"}
    for key in range(5):
        joblib.dump(LogisticRegression().fit(X[key:], Y[key:]), tmp_path / f"{key}.joblib")
    columns = [mt.input(name, kind) for name, kind in inputs.items()]
    each = mt.Model(str(tmp_path / "{key}.joblib"), inputs=inputs)
    mt.Graph("g", {"l": mt.route({"*": each}, *columns, key=mt.input("k", "string")).label})
    assert tried == [2]
