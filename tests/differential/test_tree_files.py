"""XGBoost and LightGBM files over objectives, categories, missing values and formats, against the frameworks' own predict.

Each answer is compared with what the estimator, or the booster, of the same file gives for the same rows: called, and in
bulk with batches of 1 and of 3 rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import motet as mt
from motet.errors import GraphError, MotetError

ROWS = 60
random = np.random.default_rng(0)
X = random.normal(size=(ROWS, 3))
Z = X @ [2.0, -1.0, 0.5]
K = np.digitize(Z, [-1.0, 1.0])
LABELS = np.c_[Z > 0, X[:, 1] > 0, X[:, 2] > 0].astype(int)
WORDS = np.array(["oak", "ash", "elm"], object)


def played(path: Path, columns: dict[str, Any], tmp_path: Path, **model: Any) -> dict[str, Any]:
    """What a graph gives for the columns, taken by name or as the only input: the same called, by 1 and by 3 rows in bulk."""
    given = {name: np.asarray(column) for name, column in columns.items()}
    types = {
        name: "string" if c.dtype == object else f"{c.dtype}{list(c.shape[1:]) or ''}" for name, c in given.items()
    }
    inputs: dict[str, Any] = {
        name: mt.input(name, kind, **({"default": None} if kind == "string" else {})) for name, kind in types.items()
    }
    one = len(inputs) == 1 and given[next(iter(given))].ndim == 2
    node = (
        mt.model(mt.Model(str(path), "m", **model), *inputs.values())
        if one
        else mt.model(mt.Model(str(path), "m", **model), **inputs)
    )
    graph = mt.Graph("g", outputs={"out": node})
    called = graph(given)["out"]
    table = pa.table({name: column.tolist() if column.ndim > 1 else column for name, column in given.items()})
    pq.write_table(table, tmp_path / "rows.parquet")
    for rows in (1, 3):
        graph.run(tmp_path / "rows.parquet", tmp_path / "out.parquet", overwrite=True, batch_rows=rows)
        bulk = np.array(pq.read_table(tmp_path / "out.parquet")["out"].to_pylist())
        np.testing.assert_allclose(bulk, called, rtol=1e-12)
    return called


OBJECTIVES = {
    "reg:squarederror": Z, "reg:absoluteerror": Z, "reg:squaredlogerror": np.exp(Z / 4), "reg:logistic": K / 2, "reg:gamma": np.exp(Z),
    "reg:tweedie": np.exp(Z), "reg:pseudohubererror": Z, "count:poisson": K, "survival:cox": np.exp(Z), "binary:logistic": Z > 0,
    "binary:logitraw": Z > 0, "binary:hinge": Z > 0, "multi:softprob": K, "rank:ndcg": K, "rank:pairwise": K, "rank:map": K > 1,
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["ubj", "json"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_of_xgboost(objective: str, suffix: str, tmp_path: Path) -> None:
    data = xgboost.DMatrix(X, OBJECTIVES[objective])
    if objective.startswith("rank"):
        data.set_group([ROWS // 2, ROWS - ROWS // 2])
    settings = {"objective": objective, "nthread": 1, **({"num_class": 3} if objective.startswith("multi") else {})}
    booster = xgboost.train(settings, data, 4)
    booster.save_model(tmp_path / f"m.{suffix}")
    own = booster.predict(data)
    own = np.stack([1 - own, own], axis=1) if objective == "binary:logistic" else own
    uri = tmp_path / "m.ubj" if suffix == "ubj" else Path(f"xgboost:{tmp_path}/m.json")
    np.testing.assert_array_equal(played(uri, {"f": X}, tmp_path), own)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
@pytest.mark.parametrize("labels", [2, 3])
def test_several_labels_are_no_classes(labels: int, strategy: str, tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3, multi_strategy=strategy).fit(X, LABELS[:, :labels])
    model.save_model(tmp_path / "m.ubj")
    graph = mt.Graph(
        "g",
        outputs={
            "p": mt.model(mt.Model(str(tmp_path / "m.ubj"), "m"), mt.input("f", "float32[3]")).label_probabilities
        },
    )
    assert str(graph.checked.signature.outputs["p"]) == f"float64[{labels}]"
    np.testing.assert_array_equal(played(tmp_path / "m.ubj", {"f": X}, tmp_path), model.predict_proba(X))


@pytest.mark.parametrize(
    ("make", "target"),
    [
        (lambda: xgboost.XGBRegressor(n_estimators=3), np.c_[Z, -Z]),
        (lambda: xgboost.XGBRegressor(n_estimators=3, multi_strategy="multi_output_tree"), np.c_[Z, -Z]),
        (lambda: xgboost.XGBRegressor(n_estimators=3, objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]), Z),
        (lambda: xgboost.XGBRegressor(n_estimators=3, booster="dart", rate_drop=0.5), Z),
        (lambda: xgboost.XGBRegressor(n_estimators=3, booster="gblinear"), Z),
        (lambda: xgboost.XGBRFRegressor(n_estimators=3), Z),
    ],
)  # fmt: skip
def test_each_kind_of_regressor_of_xgboost(make: Any, target: Any, tmp_path: Path) -> None:
    model = make().fit(X, target)
    model.save_model(tmp_path / "m.ubj")
    np.testing.assert_array_equal(played(tmp_path / "m.ubj", {"f": X}, tmp_path), model.predict(X))


@pytest.mark.parametrize("objective", ["multi:softmax", "multi:softprob"])
def test_softmax_gives_probabilities(objective: str, tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3, objective=objective).fit(X, K)
    model.save_model(tmp_path / "m.ubj")
    np.testing.assert_allclose(played(tmp_path / "m.ubj", {"f": X}, tmp_path), model.predict_proba(X), rtol=1e-6)  # type: ignore[call-overload]


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_early_stopping_is_that_of_what_wrote_the_file(booster: str, tmp_path: Path) -> None:
    noise = random.permutation(Z)
    model = xgboost.XGBRegressor(n_estimators=40, early_stopping_rounds=5, booster=booster).fit(
        X, Z, eval_set=[(X, noise)], verbose=0
    )
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    model.save_model(tmp_path / "m.ubj")
    np.testing.assert_array_equal(played(tmp_path / "m.ubj", {"f": X}, tmp_path), model.predict(X))
    model.get_booster().save_model(tmp_path / "all.ubj")
    every = model.get_booster().predict(xgboost.DMatrix(X))
    assert not np.array_equal(every, model.predict(X))
    np.testing.assert_array_equal(played(tmp_path / "all.ubj", {"f": X}, tmp_path), every)
    two = model.predict(X, iteration_range=(0, 2))
    np.testing.assert_array_equal(played(tmp_path / "m.ubj", {"f": X}, tmp_path, options={"iterations": 2}), two)


@pytest.mark.parametrize("booster", ["gbtree", "gblinear"])
def test_a_number_can_stand_for_a_missing_value(booster: str, tmp_path: Path) -> None:
    holes = np.where(random.random(X.shape) < 0.3, -999.0, X)
    model = xgboost.XGBRegressor(n_estimators=4, missing=-999, booster=booster).fit(
        holes, Z + 50 * (holes[:, 0] == -999)
    )
    model.save_model(tmp_path / "m.ubj")
    got = played(tmp_path / "m.ubj", {"f": holes}, tmp_path, options={"missing": -999})
    np.testing.assert_array_equal(got, model.predict(holes))
    joblib.dump(model, tmp_path / "m.joblib")
    np.testing.assert_array_equal(played(tmp_path / "m.joblib", {"f": holes}, tmp_path), model.predict(holes))
    with pytest.raises(MotetError, match="the option missing is 'x'\n  hint: give the number"):
        played(tmp_path / "m.ubj", {"f": holes}, tmp_path, options={"missing": "x"})


CATEGORIES: dict[str, Any] = {
    "words": (["oak", "ash", "elm"], "string"),
    "numbers": ([10, 20, 30], "int64"),
    "truth": ([False, True], "bool"),
    "floats": ([1.5, 2.5, 3.5], "float64"),
}


def framed(kind: str, place: int = 0) -> tuple[pd.DataFrame, Any]:
    """A frame of a category and two numbers, and a target that the category decides."""
    values = np.array(CATEGORIES[kind][0], object)[np.arange(ROWS) % len(CATEGORIES[kind][0])]
    frame = pd.DataFrame({"x": X[:, 0], "z": X[:, 1]})
    frame.insert(place, "k", pd.Categorical(values, categories=CATEGORIES[kind][0]))
    return frame, Z / 10 + 5 * (np.arange(ROWS) % len(CATEGORIES[kind][0]))


def columns_of(frame: pd.DataFrame, kind: str) -> dict[str, Any]:
    column = np.array(frame["k"].astype(object).tolist(), object if kind == "words" else CATEGORIES[kind][1])
    return {"z": frame["z"].to_numpy(), "k": column, "x": frame["x"].to_numpy()}


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("kind", ["words", "numbers"])
def test_categories_of_xgboost(kind: str, place: int, tmp_path: Path) -> None:
    frame, target = framed(kind, place)
    model = xgboost.XGBRegressor(n_estimators=4, enable_categorical=True, max_cat_to_onehot=1).fit(frame, target)
    model.save_model(tmp_path / "m.ubj")
    own, columns = model.predict(frame), columns_of(frame, kind)
    np.testing.assert_array_equal(played(tmp_path / "m.ubj", columns, tmp_path), own)
    declared = {"x": "float64", "k": CATEGORIES[kind][1], "z": "float64"}
    np.testing.assert_array_equal(played(tmp_path / "m.ubj", columns, tmp_path, inputs=declared), own)
    codes = {**columns, "k": frame["k"].cat.codes.to_numpy().astype(float)}
    np.testing.assert_array_equal(played(tmp_path / "m.ubj", codes, tmp_path, options={"categories": "codes"}), own)


def test_a_value_that_is_no_category_of_xgboost_fails_its_row(tmp_path: Path) -> None:
    frame, target = framed("words")
    xgboost.XGBRegressor(n_estimators=2, enable_categorical=True).fit(frame, target).save_model(tmp_path / "m.ubj")
    inputs: dict[str, Any] = {name: mt.input(name, "string" if name == "k" else "float64") for name in frame}
    graph = mt.Graph("g", outputs={"y": mt.model(mt.Model(str(tmp_path / "m.ubj"), "m"), **inputs)})
    answers, failures = graph({"k": ["oak", "yew", "elm"], "x": [0.0] * 3, "z": [0.0] * 3}, failures="return")
    assert [(each.row, each.message) for each in failures] == [
        (1, "k: 'yew' is no category that the model was trained with")
    ]
    rows = pd.DataFrame({"k": pd.Categorical(["oak", "elm"], categories=["oak", "ash", "elm"]), "x": 0.0, "z": 0.0})
    loaded = xgboost.XGBRegressor()
    loaded.load_model(tmp_path / "m.ubj")
    np.testing.assert_array_equal(answers["y"], loaded.predict(rows))


def test_categories_that_no_file_keeps_have_to_be_said(tmp_path: Path) -> None:
    frame, target = framed("words")
    codes = np.c_[frame["k"].cat.codes, frame[["x", "z"]]].astype(np.float32)
    data = xgboost.DMatrix(
        codes, target, feature_names=["k", "x", "z"], feature_types=["c", "q", "q"], enable_categorical=True
    )
    booster = xgboost.train({"nthread": 1}, data, 4)
    booster.save_model(tmp_path / "m.ubj")
    with pytest.raises(
        MotetError,
        match=r"does not say which categories these features have: k\n  hint: say `with: \{categories: \{k: \[\.\.\.\]\}\}`",
    ):
        played(tmp_path / "m.ubj", columns_of(frame, "words"), tmp_path)
    said = {"categories": {"k": ["oak", "ash", "elm"]}}
    got = played(tmp_path / "m.ubj", columns_of(frame, "words"), tmp_path, options=said)
    np.testing.assert_array_equal(got, booster.predict(data))
    one = {"inputs": {"f": "float64[3]"}}
    np.testing.assert_array_equal(
        played(tmp_path / "m.ubj", {"f": codes.astype(float)}, tmp_path, options={"categories": "codes"}, **one),
        booster.predict(data),
    )
    with pytest.raises(GraphError, match=r"features have categories \(k\), which one column cannot hold"):
        played(tmp_path / "m.ubj", {"f": codes.astype(float)}, tmp_path, options=said, **one)


LIGHT = {
    "regression": Z, "regression_l1": Z, "huber": Z, "fair": Z, "poisson": K, "quantile": Z, "mape": Z + 10, "gamma": np.exp(Z),
    "tweedie": np.exp(Z), "binary": Z > 0, "multiclass": K, "multiclassova": K, "cross_entropy": K / 2, "cross_entropy_lambda": K / 2,
    "lambdarank": K, "rank_xendcg": K,
}  # fmt: skip


def train(data: lightgbm.Dataset, **settings: Any) -> lightgbm.Booster:
    small = {
        "verbose": -1,
        "num_threads": 1,
        "min_data_in_leaf": 2,
        "min_data_per_group": 1,
        "cat_smooth": 0.1,
        "seed": 0,
    }
    return lightgbm.train({**small, **settings}, data, 4)


@pytest.mark.parametrize("suffix", ["lgb", "txt"])
@pytest.mark.parametrize("objective", LIGHT)
def test_each_objective_of_lightgbm(objective: str, suffix: str, tmp_path: Path) -> None:
    group = [ROWS // 2, ROWS - ROWS // 2] if objective in ("lambdarank", "rank_xendcg") else None
    several = {"num_class": 3} if objective.startswith("multi") else {}
    booster = train(
        lightgbm.Dataset(X, np.asarray(LIGHT[objective], float), group=group), objective=objective, **several
    )
    booster.save_model(tmp_path / f"m.{suffix}")
    own = booster.predict(X)
    own = np.stack([1 - own, own], axis=1) if objective == "binary" else own
    uri = tmp_path / "m.lgb" if suffix == "lgb" else Path(f"lightgbm:{tmp_path}/m.txt")
    np.testing.assert_array_equal(played(uri, {"f": X}, tmp_path), own)


@pytest.mark.parametrize("settings", [{}, {"zero_as_missing": True}, {"use_missing": False}, {"boosting": "dart"}, {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}, {"linear_tree": True}])  # fmt: skip
def test_missing_values_and_kinds_of_boosting_of_lightgbm(settings: dict[str, Any], tmp_path: Path) -> None:
    holes = X.copy()
    holes[::4, 0], holes[1::4, 1] = np.nan, 0.0
    booster = train(lightgbm.Dataset(holes, Z, params=settings), **settings)
    booster.save_model(tmp_path / "m.lgb")
    np.testing.assert_array_equal(played(tmp_path / "m.lgb", {"f": holes}, tmp_path), booster.predict(holes))


def test_early_stopping_of_lightgbm(tmp_path: Path) -> None:
    noise = random.permutation(Z)
    model = lightgbm.LGBMRegressor(n_estimators=40, verbose=-1, min_child_samples=2)
    model.fit(X, Z, eval_X=(X,), eval_y=(noise,), callbacks=[lightgbm.early_stopping(3, verbose=False)])
    model.booster_.save_model(tmp_path / "m.lgb")
    np.testing.assert_array_equal(played(tmp_path / "m.lgb", {"f": X}, tmp_path), model.predict(X))


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("kind", CATEGORIES)
def test_categories_of_lightgbm(kind: str, place: int, tmp_path: Path) -> None:
    frame, target = framed(kind, place)
    booster = train(lightgbm.Dataset(frame, target))
    booster.save_model(tmp_path / "m.lgb")
    own, columns = booster.predict(frame), columns_of(frame, kind)
    np.testing.assert_array_equal(played(tmp_path / "m.lgb", columns, tmp_path), own)
    codes = {**columns, "k": frame["k"].cat.codes.to_numpy().astype(float)}
    np.testing.assert_array_equal(played(tmp_path / "m.lgb", codes, tmp_path, options={"categories": "codes"}), own)


def test_a_value_that_is_no_category_of_lightgbm_and_a_null_are_missing(tmp_path: Path) -> None:
    frame, target = framed("words")
    frame.loc[::5, "k"] = None
    booster = train(lightgbm.Dataset(frame, target))
    booster.save_model(tmp_path / "m.lgb")
    other = frame.assign(k=pd.Categorical(["yew", None, "oak", "elm"] * (ROWS // 4)))
    words = {"k": np.array(["yew", None, "oak", "elm"] * (ROWS // 4), object), "x": X[:, 0], "z": X[:, 1]}
    np.testing.assert_array_equal(played(tmp_path / "m.lgb", words, tmp_path), booster.predict(other))


def test_ordered_categories_of_lightgbm_have_to_be_said(tmp_path: Path) -> None:
    frame, target = framed("words")
    frame["size"] = pd.Categorical(np.array(["s", "m", "l"], object)[K], categories=["s", "m", "l"], ordered=True)
    booster = train(lightgbm.Dataset(frame, target))
    booster.save_model(tmp_path / "m.lgb")
    columns = {**columns_of(frame, "words"), "size": np.array(frame["size"].tolist(), object)}
    with pytest.raises(
        MotetError,
        match="trained with 2 categorical columns, of which 1 are categorical features: the file does not say which",
    ):
        played(tmp_path / "m.lgb", columns, tmp_path)
    said = {"categories": {"k": CATEGORIES["words"][0], "size": ["s", "m", "l"]}}
    np.testing.assert_array_equal(played(tmp_path / "m.lgb", columns, tmp_path, options=said), booster.predict(frame))


def test_whole_numbers_as_categories_are_themselves(tmp_path: Path) -> None:
    rows = np.c_[np.array([10, 20, 30])[np.arange(ROWS) % 3], X[:, :2]]
    booster = train(lightgbm.Dataset(rows, framed("numbers")[1], categorical_feature=[0]))
    booster.save_model(tmp_path / "m.lgb")
    np.testing.assert_array_equal(played(tmp_path / "m.lgb", {"f": rows}, tmp_path), booster.predict(rows))


@pytest.mark.parametrize("framework", ["xgboost", "lightgbm"])
def test_inputs_are_bound_by_name_whatever_their_order(framework: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    if framework == "xgboost":
        model = xgboost.XGBRegressor(n_estimators=3).fit(frame, Z)
        model.save_model(tmp_path / "m.ubj")
    else:
        model = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(frame, Z)
        model.booster_.save_model(tmp_path / "m.ubj")
    uri = f"{framework}:{tmp_path}/m.ubj"
    for declared in (None, ["a", "b", "c"], ["c", "a", "b"]):
        inputs: dict[str, Any] = {} if declared is None else {"inputs": dict.fromkeys(declared, "float64")}
        for given in (["a", "b", "c"], ["b", "c", "a"]):
            columns = {name: frame[name].to_numpy() for name in given}
            np.testing.assert_array_equal(played(Path(uri), columns, tmp_path, **inputs), model.predict(frame))


ESTIMATORS = {
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=4, enable_categorical=True),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=4, verbose=-1, min_child_samples=2, min_data_per_group=1),
}


@pytest.mark.parametrize("form", ["alone", "in a pipeline", "in a search"])
@pytest.mark.parametrize("kind", ["words", "numbers"])
@pytest.mark.parametrize("framework", ESTIMATORS)
def test_a_dumped_estimator_with_categories(framework: str, kind: str, form: str, tmp_path: Path) -> None:
    frame, target = framed(kind, 1)
    estimator = ESTIMATORS[framework]()
    if form == "in a pipeline":
        estimator = make_pipeline(estimator)
    elif form == "in a search":
        estimator = GridSearchCV(estimator, {}, cv=2)
    estimator.fit(frame, (target > target.mean()).astype(int))
    joblib.dump(estimator, tmp_path / "m.joblib")
    chosen = {"outputs": {"probabilities": "float64[2]"}}
    got = played(tmp_path / "m.joblib", columns_of(frame, kind), tmp_path, **chosen)
    np.testing.assert_array_equal(got, estimator.predict_proba(frame))


def test_columns_can_be_said_to_be_categories(tmp_path: Path) -> None:
    frame, target = framed("words")
    estimator = make_pipeline(FunctionTransformer(), ESTIMATORS["lightgbm"]()).fit(frame, target > target.mean())
    joblib.dump(estimator, tmp_path / "m.joblib")
    said = {"options": {"categories": {"k": CATEGORIES["words"][0]}}, "outputs": {"probabilities": "float64[2]"}}
    got = played(tmp_path / "m.joblib", columns_of(frame, "words"), tmp_path, **said)
    np.testing.assert_array_equal(got, estimator.predict_proba(frame))
