from __future__ import annotations

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import motet as mt
from motet.errors import GraphError

X = np.random.default_rng(0).normal(size=(30, 2))
Y = X[:, 0] > 0


def test_a_pipeline_of_this_program_is_a_model():
    frame = pd.DataFrame(X, columns=["a", "b"])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, Y)
    model = mt.Model(pipeline)
    assert model.stem == "pipeline"
    seen = mt.model(model, mt.input("b", "float64"), mt.input("a", "float64"))
    graph = mt.Graph("g", {"p": seen.probabilities})
    own = pipeline.predict_proba(frame)
    np.testing.assert_allclose(graph({"a": X[:, 0], "b": X[:, 1]})["p"], own, rtol=1e-12)
    pipeline.fit(frame, ~Y)
    np.testing.assert_allclose(graph({"a": X[:, 0], "b": X[:, 1]})["p"], own, rtol=1e-12)


@pytest.mark.parametrize("framework", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("form", ["estimator", "booster"])
def test_estimators_and_boosters_of_trees_are_models(framework, form):
    if framework == "xgboost":
        estimator = xgboost.XGBRegressor(n_estimators=3).fit(X, X[:, 0])
        held = estimator if form == "estimator" else estimator.get_booster()
    else:
        estimator = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, min_child_samples=2).fit(X, X[:, 0])
        held = estimator if form == "estimator" else estimator.booster_
    graph = mt.Graph("g", {"v": mt.model(mt.Model(held, "m"), mt.input("f", "float64[2]"))})
    np.testing.assert_array_equal(graph({"f": X})["v"], estimator.predict(X))


def test_it_is_called_in_a_process_and_in_bulk(tmp_path):
    estimator = LinearRegression().fit(X, X[:, 0])
    graph = mt.Graph("g", {"v": mt.model(mt.Model(estimator, placement="process"), mt.input("f", "float64[2]"))})
    assert graph.run({"f": X}, None, batch_rows=7).to_pydict()["v"] == pytest.approx(X[:, 0].tolist())


def test_what_no_file_can_name_is_not_saved(tmp_path):
    graph = mt.Graph("g", {"v": mt.model(mt.Model(LinearRegression().fit(X, Y)), mt.input("f", "float64[2]"))})
    with pytest.raises(
        GraphError,
        match=r"model 'linearregression': the model is an object of this program, which no file can name\n  hint: write it",
    ):
        graph.save(tmp_path / "g.yaml")


def test_what_cannot_be_held_is_refused():
    with pytest.raises(GraphError, match=r"model 'm': the Pipeline cannot be pickled: .*\n  hint: put the functions"):
        mt.Model(make_pipeline(FunctionTransformer(lambda x: x), LinearRegression()).fit(X, Y), "m")
    with pytest.raises(GraphError, match="a model needs a URI, or a fitted estimator; got 3"):
        mt.Model(3)
    with pytest.raises(mt.errors.ModelLoadError, match="the LinearRegression is not fitted"):
        mt.Graph("g", {"v": mt.model(mt.Model(LinearRegression()), mt.input("f", "float64[2]"))})
