"""CatBoost models against CatBoost itself: every kind of feature and of answer, files of both kinds, and errors."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pandas as pd
import pytest

import motet as mt
from motet.errors import GraphError, ModelLoadError, RowErrors, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name

random = np.random.default_rng(0)
X = random.normal(size=(200, 4)).astype(np.float32)
FRAME = pd.DataFrame(
    {
        "home": random.choice(["own", "rent", "none"], 200),
        "income": np.where(np.arange(200) % 7 == 0, np.nan, X[:, 0].astype(float)),
        "rooms": random.integers(1, 4, 200),
        "said": random.choice(["good day sir", "bad night", "what a day"], 200),
    }
)
ANSWER = np.where((FRAME.income.fillna(0) > 0) ^ (FRAME.home == "own"), "yes", "no")
COLUMNS = {name: np.array(FRAME[name].tolist(), None if name in ("income", "rooms") else object) for name in FRAME}
QUICK = {"iterations": 12, "depth": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
MIXED = {"cat_features": ["home", "rooms"], "text_features": ["said"]}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A classifier of numbers, categories and texts, and its file."""
    model = catboost.CatBoostClassifier(**QUICK, **MIXED).fit(FRAME, ANSWER)
    path = str(tmp_path_factory.mktemp("mixed") / "m.cbm")
    model.save_model(path)
    return model, path


def loaded(source: Any, path: Any) -> Any:
    return handler_by_name("catboost").load(source(path))


def test_numbers_categories_and_texts_go_by_name_and_classes_are_labels(mixed: Any, source: Any) -> None:
    model, path = mixed
    signature = handler_by_name("catboost").signature(source(path))
    inputs = {name: str(kind) for name, kind in signature.inputs.items()}
    assert inputs == {"home": "any", "income": "float64", "rooms": "any", "said": "string"}
    assert signature.labels == {"probabilities": ("no", "yes")}
    found = loaded(source, path)(COLUMNS)["probabilities"]
    np.testing.assert_allclose(found, model.predict_proba(FRAME), rtol=1e-12)


def test_a_graph_gives_the_same_called_and_in_bulk(mixed: Any, tmp_path: Path) -> None:
    model, path = mixed
    said, home = mt.input("said", "string"), mt.input("home", "string")
    income, rooms = mt.input("income", "float64", default=None), mt.input("rooms", "int64")
    with mt.Graph("g", {"p": mt.model(mt.Model(path, "m"), said, home, income, rooms).probabilities}) as graph:
        called = graph(COLUMNS)["p"]
        FRAME.to_parquet(tmp_path / "in.parquet")
        graph.run(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
    bulk = np.stack(pd.read_parquet(tmp_path / "out.parquet").p)
    np.testing.assert_allclose(called, model.predict_proba(FRAME), rtol=1e-12)
    assert np.array_equal(bulk, called)


def test_a_category_that_is_missing_fails_its_row_alone(mixed: Any) -> None:
    model, path = mixed
    inputs = [
        mt.input("home", "string", default=None),
        *(mt.input(name, "any") for name in ("income", "rooms", "said")),
    ]
    with mt.Graph("g", {"p": mt.model(mt.Model(path, "m"), *inputs).probabilities}) as graph:
        some = {name: column[:5].copy() for name, column in COLUMNS.items()}
        some["home"][2] = None
        with pytest.raises(RowErrors) as caught:
            graph(some)
    assert [failure.row for failure in caught.value.failures] == [2]
    answers = np.delete(model.predict_proba(FRAME[:5]), 2, axis=0)
    np.testing.assert_allclose(caught.value.columns["p"], answers, rtol=1e-12)


LOSSES = {
    "Logloss": ((X[:, 0] > 0).astype(int), "probabilities: float64[2]"),
    "CrossEntropy": (np.clip(np.abs(X[:, 0]), 0, 1), "probabilities: float64[2]"),
    "MultiClass": (np.digitize(X[:, 0], [-0.5, 0.5]), "probabilities: float64[3]"),
    "MultiClassOneVsAll": (np.digitize(X[:, 0], [-0.5, 0.5]), "probabilities: float64[3]"),
    "MultiLogloss": ((X[:, :3] > 0).astype(int), "label_probabilities: float64[3]"),
    "RMSE": (X[:, 0], "value: float64"),
    "Quantile:alpha=0.9": (X[:, 0], "value: float64"),
    "MultiRMSE": (X[:, :2], "value: float64[2]"),
    "MultiQuantile:alpha=0.1,0.5,0.9": (X[:, 0], "value: float64[3]"),
    "RMSEWithUncertainty": (X[:, 0], "value: float64[2]"),
    "Poisson": (np.abs(X[:, 0]), "value: float64"),
    "Tweedie:variance_power=1.5": (np.abs(X[:, 0]), "value: float64"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_decides_what_it_gives(loss: str, source: Any, tmp_path: Path) -> None:
    target, outputs = LOSSES[loss]
    kind = catboost.CatBoostRegressor if outputs.startswith("value") else catboost.CatBoostClassifier
    model = kind(**QUICK, loss_function=loss).fit(X, target)
    expected = model.predict(X) if kind is catboost.CatBoostRegressor else model.predict_proba(X)
    model.save_model(str(tmp_path / "m.cbm"))
    model.save_model(str(tmp_path / "m.json"), format="json")
    for name in ("m.cbm", "m.json"):
        path = tmp_path / name
        assert str(handler_by_name("catboost").signature(source(path))) == f"(features: float64[4]) -> ({outputs})"
        ((_, found),) = loaded(source, path)({"features": X.astype(np.float64)}).items()
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_ranker_gives_scores(source: Any, tmp_path: Path) -> None:
    model = catboost.CatBoostRanker(**QUICK).fit(X, np.digitize(X[:, 0], [0, 1]), group_id=np.arange(200) // 10)
    model.save_model(str(tmp_path / "m.cbm"))
    np.testing.assert_allclose(loaded(source, tmp_path / "m.cbm")({"features": X})["value"], model.predict(X))


def test_a_rows_answer_does_not_depend_on_its_batch_nor_on_other_threads(mixed: Any, source: Any) -> None:
    model = loaded(source, mixed[1])
    whole = model(COLUMNS)["probabilities"]

    def parts(size: int) -> Any:
        cut = [{name: each[at : at + size] for name, each in COLUMNS.items()} for at in range(0, 200, size)]
        return np.concatenate([model(columns)["probabilities"] for columns in cut])

    with ThreadPoolExecutor(3) as pool:
        for answers in pool.map(parts, [1, 3, 64, 199]):
            assert np.array_equal(answers, whole)


def test_a_call_uses_as_many_threads_as_it_may(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catboost.CatBoostRegressor(**QUICK).fit(X, X[:, 0]).save_model(str(tmp_path / "m.cbm"))
    asked: list[int] = []
    own = catboost.CatBoost.predict

    def predict(self: Any, *args: Any, **options: Any) -> Any:
        asked.append(options["thread_count"])
        return own(self, *args, **options)

    monkeypatch.setattr(catboost.CatBoost, "predict", predict)
    before = threading.active_count()
    handler_by_name("catboost").load(source(tmp_path / "m.cbm", threads=2))({"features": X})
    assert set(asked) == {2}
    assert threading.active_count() == before


def test_fewer_trees_can_be_used(source: Any, tmp_path: Path) -> None:
    model = catboost.CatBoostRegressor(**QUICK).fit(X, X[:, 0])
    model.save_model(str(tmp_path / "m.cbm"))
    for number, trees in ((3, 3), (999, 12)):
        given = source(tmp_path / "m.cbm", options={"iterations": number})
        found = handler_by_name("catboost").load(given)({"features": X})["value"]
        np.testing.assert_allclose(found, model.predict(X, ntree_end=trees))
    with pytest.raises(ModelLoadError, match="the option iterations is 0"):
        handler_by_name("catboost").load(source(tmp_path / "m.cbm", options={"iterations": 0}))


def test_a_fitted_estimator_is_a_model_of_a_graph() -> None:
    model = catboost.CatBoostClassifier(**QUICK).fit(X, X[:, 0] > 0)
    with mt.Graph("g", {"p": mt.model(mt.Model(model), mt.input("x", "float32[4]")).probabilities}) as graph:
        np.testing.assert_allclose(graph({"x": X})["p"], model.predict_proba(X))
    with pytest.raises(GraphError, match="the CatBoostClassifier cannot be written: There is no trained model"):
        mt.Model(catboost.CatBoostClassifier())


def test_declared_types_must_be_those_of_the_features(mixed: Any, source: Any) -> None:
    handler, path = handler_by_name("catboost"), mixed[1]
    with pytest.raises(
        TypeMismatchError, match=r"features are no numbers \(home, rooms, said\), which one column cannot"
    ):
        handler.signature(source(path, inputs={"x": "float64[4]"}))
    types = {"home": "string", "income": "float32", "rooms": "int64", "said": "float32"}
    with pytest.raises(TypeMismatchError, match="input 'said' is declared as float32, the model takes string"):
        handler.signature(source(path, inputs=types))
    given = source(path, inputs={**types, "said": "string"}, outputs={"probabilities": "float32[2]"})
    found = handler.load(given)({**COLUMNS, "income": COLUMNS["income"].astype(np.float32)})["probabilities"]
    np.testing.assert_allclose(found, mixed[0].predict_proba(FRAME), rtol=1e-6)
    with pytest.raises(UnknownNameError, match="unknown option 'rounds'; known: iterations"):
        handler.signature(source(path, options={"rounds": 1}))
    with pytest.raises(ModelLoadError, match="CatBoost models run on the cpu only"):
        handler.load(source(path, device="cuda"))


def test_what_is_no_model_is_refused(mixed: Any, source: Any, tmp_path: Path) -> None:
    whole = Path(mixed[1]).read_bytes()
    for name, content in (("m.cbm", b""), ("m.cbm", whole[: len(whole) // 2]), ("m.json", b"{}"), ("m.json", b"{")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelLoadError, match=r"CatBoost cannot load it: .*\n  hint: write it with save_model"):
            handler_by_name("catboost").signature(source(tmp_path / name))


def test_features_that_are_vectors_are_refused(source: Any, tmp_path: Path) -> None:
    rows = [[float(row[0]), list(map(float, row[1:]))] for row in X]
    model = catboost.CatBoostClassifier(**QUICK, embedding_features=[1]).fit(rows, X[:, 0] > 0)
    model.save_model(str(tmp_path / "m.cbm"))
    with pytest.raises(ModelLoadError, match="these features are vectors, which are not read: 1"):
        handler_by_name("catboost").signature(source(tmp_path / "m.cbm"))
