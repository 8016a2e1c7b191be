"""Every estimator of scikit-learn against its own answers: called, and in bulk with batches of 1 and of 3 rows.

Each is fitted on small data of every kind of target that it takes, alone, in a pipeline and in a search, and dumped. The
graph's answer is equal to its own, or the graph is refused when it is made; none fails at rows.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import threadpoolctl
from sklearn.base import is_classifier, is_regressor
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

import motet as mt
from motet.errors import GraphError, ModelLoadError
from motet.models import ModelSource, handler_by_name

ROWS, WIDTH = 24, 3
BLOBS, K = make_blobs(ROWS, WIDTH, centers=3, random_state=0, cluster_std=1.5)
X = np.abs(BLOBS)  # some take no negative numbers
Z = X @ [1.0, -2.0, 0.5]
TEXTS = [f"{word} tree" for word in np.array(["ash", "birch", "cedar"])[K]]
TARGETS: dict[str, Any] = {
    "none": None,
    "numbers": Z,
    "several numbers": np.c_[Z, -Z],
    "numbers in a column": Z[:, None],
    "classes": K,
    "two classes": K > 0,
    "words": np.array(["ash", "birch", "cedar"], object)[K],
    "labels": np.c_[K > 0, K > 1].astype(int),
    "questions": np.c_[K, 2 - K],
}


def no_score(*_: Any) -> float:
    return 0.0


INSIDE = ("numbers", "several numbers", "words")
"""The targets that estimators inside others are fitted to."""
FEW = ("none", "numbers", "classes")
"""The targets that estimators without predict are fitted to, which make no difference to most of them."""
FORMS: dict[str, Callable[[Any], Any]] = {
    "alone": lambda estimator: estimator,
    "in a pipeline": lambda estimator: make_pipeline(StandardScaler(), estimator),
    "in a search": lambda estimator: GridSearchCV(estimator, {}, cv=2, scoring=no_score),
}
METHODS = {
    "probabilities": "predict_proba", "label_probabilities": "predict_proba", "label": "predict", "value": "predict",
    "features": "transform", "scores": "decision_function",
}  # fmt: skip
ONE, TWO = LogisticRegression(), LogisticRegression(C=2.0)
MADE: dict[str, dict[str, Any]] = {
    "GridSearchCV": {"estimator": ONE, "param_grid": {"C": [1.0, 2.0]}},
    "RandomizedSearchCV": {"estimator": ONE, "param_distributions": {"C": [1.0, 2.0]}, "n_iter": 2},
    "GaussianProcessRegressor": {"alpha": 0.1},
    "HashingVectorizer": {"n_features": 16},
    "ColumnTransformer": {"transformers": [("a", StandardScaler(), [0, 1]), ("b", "passthrough", [2])]},
    "FeatureUnion": {"transformer_list": [("a", StandardScaler()), ("b", PCA(1))]},
    "Pipeline": {"steps": [("a", StandardScaler()), ("b", ONE)]},
    "VotingClassifier": {"estimators": [("a", ONE), ("b", TWO)]},
    "StackingClassifier": {"estimators": [("a", ONE), ("b", TWO)]},
    "VotingRegressor": {"estimators": [("a", LinearRegression())]},
    "StackingRegressor": {"estimators": [("a", LinearRegression())]},
    "SparseCoder": {"dictionary": np.eye(WIDTH)},
    "RegressorChain": {"estimator": LinearRegression()},
    "MultiOutputRegressor": {"estimator": LinearRegression()},
    "FrozenEstimator": {"estimator": LogisticRegression().fit(X, K)},
}
FAST = {"n_estimators": 3, "max_iter": 10, "n_init": 1, "n_components": 2, "random_state": 0, "cv": 2, "n_jobs": 1}
CLASSES = dict(all_estimators())
REFUSED = {
    "AgglomerativeClustering", "ClassicalMDS", "DBSCAN", "HDBSCAN", "LocalOutlierFactor", "MDS", "OPTICS",
    "SpectralClustering", "SpectralCoclustering", "SpectralEmbedding",  # answer only the rows that they are fitted on
    "EmpiricalCovariance", "GraphicalLasso", "GraphicalLassoCV", "KernelDensity", "LedoitWolf", "MinCovDet", "NearestNeighbors", "OAS",
    "ShrunkCovariance",  # have neither predict nor transform
}  # fmt: skip
"""Those that have no answer for rows of their own, which every graph with them is refused for."""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with threadpoolctl.threadpool_limits(1):
        yield


def fitted(name: str) -> Iterator[tuple[str, Any, Any]]:
    """The estimator with few iterations, fitted in each form to each kind of target that it takes: what, it, its rows."""
    parameters = inspect.signature(CLASSES[name]).parameters
    made = dict(MADE.get(name, {}))
    if "estimator" in parameters and "estimator" not in made:
        made["estimator"] = ONE
    made |= {key: value for key, value in FAST.items() if key in parameters}
    kinds: list[dict[str, tuple[Any, Any]]] = [
        {target: (X, y) for target, y in TARGETS.items() if target in FEW or hasattr(CLASSES[name], "predict")},
        {"numbers": (X[:, :1], Z)},
        {"words": (TEXTS, K)},
    ]
    for rows in kinds:
        some = False
        for found in _fits(name, made, rows):
            some = True
            yield found
        if some:
            return


def _fits(name: str, made: dict[str, Any], rows: dict[str, tuple[Any, Any]]) -> Iterator[tuple[str, Any, Any]]:
    for form, wrap in FORMS.items():
        for target, (given, y) in rows.items():
            if form != "alone" and (target not in INSIDE or name in REFUSED):
                continue
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    estimator = wrap(CLASSES[name](**made)).fit(given, y)
                    for method in ("predict", "transform"):
                        if hasattr(estimator, method):
                            getattr(estimator, method)(given)
                except Exception:  # noqa: BLE001 (not every estimator takes every target, nor answers then)
                    continue
            yield f"{form}, {target}", estimator, given


def graph_of(files: dict[str, str], rows: Any) -> mt.Graph:
    """A graph that gives every output of these models."""
    kind = "string" if isinstance(rows, list) else f"float64[{rows.shape[1]}]"
    column, outputs = mt.input("x", kind), {}
    for name, path in files.items():
        signature = handler_by_name("sklearn").signature(ModelSource(name, path))
        node = mt.model(mt.Model(path, name), column)
        given = list(signature.outputs)
        outputs |= {f"{name}__{output}": getattr(node, output) if len(given) > 1 else node for output in given}
    return mt.Graph("g", outputs=outputs)


def own(estimator: Any, output: str, rows: Any) -> Any:
    found = getattr(estimator, METHODS[output])(rows)
    if isinstance(found, list):
        return np.stack(found, axis=1)
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found)


def assert_equal(got: Any, wanted: Any, what: str) -> None:
    got = np.asarray(got)
    if wanted.dtype.kind in "biuf":
        np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=1e-11, atol=1e-12, err_msg=what)
    else:
        assert got.tolist() == wanted.tolist(), what


@pytest.mark.parametrize("name", CLASSES)
def test_each_estimator_answers_as_by_itself_or_is_refused(name: str, tmp_path: Path) -> None:
    refused = []
    for what, estimator, rows in fitted(name):
        joblib.dump(estimator, tmp_path / "m.joblib")
        try:
            graph = graph_of({"m": str(tmp_path / "m.joblib")}, rows)
        except (GraphError, ModelLoadError) as error:
            refused.append(f"{what}: {error}")
            continue
        names = [output.removeprefix("m__") for output in graph.outputs]
        if is_classifier(estimator):
            assert "label" in names, what
        elif is_regressor(estimator):
            assert names == ["value"], what
        wanted = {f"m__{output}": own(estimator, output, rows) for output in names}
        for some in (rows, rows[:1]):
            for output, got in graph({"x": some}).items():
                assert_equal(got, wanted[output][: len(some)], f"{what}, {len(some)} rows")
    assert bool(refused) == (name in REFUSED), refused


CHUNKS = {names[0]: names for names in (list(CLASSES)[at : at + 24] for at in range(0, len(CLASSES), 24))}


@pytest.mark.parametrize("first", CHUNKS)
def test_each_estimator_answers_as_by_itself_in_bulk(first: str, tmp_path: Path) -> None:
    estimators, files, rows = {}, {}, X[:4]
    for name in CHUNKS[first]:
        _, estimator, given = next(fitted(name), ("", None, TEXTS))
        if name not in REFUSED and given is X:
            estimators[name], files[name] = estimator, str(tmp_path / f"{name}.joblib")
            joblib.dump(estimator, files[name])
    graph = graph_of(files, rows)
    pq.write_table(pa.table({"x": rows.tolist()}), tmp_path / "rows.parquet")
    for batch_rows in (1, 3):
        graph.run(tmp_path / "rows.parquet", tmp_path / "out.parquet", overwrite=True, batch_rows=batch_rows)
        found = pq.read_table(tmp_path / "out.parquet")
        assert len(found) == len(rows)
        for column in graph.outputs:
            name, output = column.split("__")
            assert_equal(found[column].to_pylist(), own(estimators[name], output, X)[: len(rows)], name)
