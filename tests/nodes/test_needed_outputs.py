"""Outputs of models that nobody needs are not computed, whatever node calls the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import motet as mt

CALLS: list[str] = []
ROWS = np.random.default_rng(0).random((60, 3))
ANSWERS = np.where(ROWS.sum(axis=1) > 1.5, "high", "low")


class Logged(LogisticRegression):
    """Says which of its methods is called."""

    def predict(self, X: Any) -> Any:
        CALLS.append("predict")
        return super().predict(X)

    def predict_proba(self, X: Any) -> Any:
        CALLS.append("predict_proba")
        return super().predict_proba(X)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{name}.joblib") for name in "ab"]
    for strength, path in zip((1.0, 100.0), paths, strict=True):
        joblib.dump(Logged(C=strength).fit(ROWS, ANSWERS), path)
    CALLS.clear()
    return paths


def models(files: list[str]) -> dict[str, mt.Model]:
    takes = {"features": "float64[3]"}
    return {name: mt.Model(file, inputs=takes) for name, file in zip("ab", files, strict=True)}


def x() -> Any:
    return mt.input("x", "float64[3]")


def nodes(files: list[str]) -> dict[str, Any]:
    a, key = models(files)["a"], mt.input("k", "string")
    return {
        "model": lambda: mt.model(a, x()),
        "ensemble": lambda: mt.ensemble(models(files), x(), output="probabilities"),
        "route": lambda: mt.route(models(files), x(), key=key),
        "cascade": lambda: mt.cascade(models(files), x(), confidence=0.8, of="probabilities"),
    }


def given(graph: mt.Graph) -> dict[str, Any]:
    return {"x": ROWS} | ({"k": np.array(["a", "b"] * 30, dtype=object)} if "k" in graph.inputs else {})


def called(graph: mt.Graph) -> Any:
    """What it gives; `CALLS` are those of this call, since estimators are tried when they are looked at."""
    graph(given(graph))
    CALLS.clear()
    return graph(given(graph))


@pytest.mark.parametrize("kind", ["model", "ensemble", "route", "cascade"])
def test_labels_that_nobody_needs_are_not_predicted(files: list[str], kind: str) -> None:
    graph = mt.Graph("g", {"p": nodes(files)[kind]().probabilities})
    called(graph)
    assert set(CALLS) == {"predict_proba"}


@pytest.mark.parametrize(("kind", "methods"), [("model", {"predict"}), ("route", {"predict"})])
def test_probabilities_that_nobody_needs_are_not_computed(files: list[str], kind: str, methods: set[str]) -> None:
    graph = mt.Graph("g", {"label": nodes(files)[kind]().label})
    found = called(graph)["label"]
    assert set(CALLS) == methods
    estimators = [joblib.load(file) for file in files]
    wanted = [
        estimators[place % 2 if kind == "route" else 0].predict(ROWS[place : place + 1])[0] for place in range(60)
    ]
    assert found.tolist() == wanted


@pytest.mark.parametrize("kind", ["model", "route", "cascade"])
def test_what_several_need_is_computed_once(files: list[str], kind: str) -> None:
    seen = nodes(files)[kind]()
    graph = mt.Graph("g", {"p": seen.probabilities, "label": seen.label})
    found = called(graph)
    assert set(CALLS) == {"predict", "predict_proba"}
    classes = joblib.load(files[0]).classes_
    assert found["label"].tolist() == classes[found["p"].argmax(axis=1)].tolist()


def test_a_model_of_two_nodes_gives_each_what_it_needs(files: list[str]) -> None:
    both = models(files)
    rows = x()
    vote = mt.route(both, rows, key=mt.input("k", "string"), name="by_key")
    own = mt.model(both["a"], rows, name="own")
    graph = mt.Graph("g", {"p": vote.probabilities, "label": own.label})
    found = graph(given(graph))
    a, b = (joblib.load(file) for file in files)
    np.testing.assert_allclose(found["p"][0::2], a.predict_proba(ROWS[0::2]))
    np.testing.assert_allclose(found["p"][1::2], b.predict_proba(ROWS[1::2]))
    assert found["label"].tolist() == a.predict(ROWS).tolist()


def test_who_answered_is_enough_to_ask(files: list[str]) -> None:
    graph = mt.Graph("g", {"who": nodes(files)["route"]().member})
    assert called(graph)["who"].tolist() == ["a", "b"] * 30
    assert len(set(CALLS)) == 1


def test_an_explanation_shows_what_is_computed(files: list[str]) -> None:
    graph = mt.Graph("g", {"p": nodes(files)["model"]().probabilities})
    told = graph.explain({"x": ROWS[:1]})
    assert set(told.calls[0].outputs) == {"probabilities"}
