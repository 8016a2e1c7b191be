"""What calls of scikit-learn's estimators cost: labels that are the most probable class are not predicted twice; threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

import motet as mt

ROWS = np.random.default_rng(0).random((400, 3))
ANSWERS = np.array(["low", "middle", "high"], dtype=object)[np.digitize(ROWS.sum(axis=1), [1.3, 1.7])]
SEEN: list[int] = []


def both(path: Path) -> dict[str, Any]:
    seen = mt.model(mt.Model(str(path), inputs={"features": "float64[3]"}), mt.input("x", "float64[3]"))
    return mt.Graph("g", {"p": seen.probabilities, "label": seen.label})({"x": ROWS})


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(4, max_depth=2, random_state=0),
        ExtraTreesClassifier(3, max_depth=2, random_state=0),
        BaggingClassifier(n_estimators=3, random_state=0),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        make_pipeline(StandardScaler(), RandomForestClassifier(4, max_depth=1, random_state=0)),
        LogisticRegression(),
        HistGradientBoostingClassifier(max_iter=3),
    ],
)
@pytest.mark.parametrize("kind", [str, int])
def test_labels_and_probabilities_are_those_of_the_estimator(tmp_path: Path, estimator: Any, kind: type) -> None:
    answers = ANSWERS.astype(str) if kind is str else np.unique(ANSWERS.astype(str), return_inverse=True)[1] - 1
    estimator.fit(ROWS, answers)
    joblib.dump(estimator, tmp_path / "e.joblib")
    found = both(tmp_path / "e.joblib")
    np.testing.assert_array_equal(found["p"], estimator.predict_proba(ROWS))
    assert found["label"].tolist() == estimator.predict(ROWS).tolist()


class Watched(HistGradientBoostingClassifier):
    """Keeps how many OpenMP threads its calls may use."""

    def predict_proba(self, X: Any) -> Any:
        found = ThreadpoolController().select(user_api="openmp").lib_controllers
        SEEN.append(max(library.get_num_threads() for library in found))
        return super().predict_proba(X)


@pytest.mark.parametrize("cpu", [1, 2])
def test_a_call_uses_as_many_threads_as_the_model_may(tmp_path: Path, cpu: int) -> None:
    joblib.dump(Watched(max_iter=3).fit(ROWS, ANSWERS.astype(str)), tmp_path / "e.joblib")
    settings: dict[str, Any] = {"inputs": {"features": "float64[3]"}, "resources": {"cpu": cpu}}
    seen = mt.model(mt.Model(str(tmp_path / "e.joblib"), **settings), mt.input("x", "float64[3]"))
    graph = mt.Graph("g", {"p": seen.probabilities})
    libraries = ThreadpoolController().select(user_api="openmp").lib_controllers
    before = [library.get_num_threads() for library in libraries]
    graph({"x": ROWS})
    SEEN.clear()
    graph({"x": ROWS})
    assert [cpu] == SEEN
    assert [library.get_num_threads() for library in libraries] == before
