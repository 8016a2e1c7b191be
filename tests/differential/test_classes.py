"""Classes are part of what a classifier gives: answers of several are put together class by class, as pandas does by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import motet as mt
from motet.errors import GraphError

X, Y = load_wine(return_X_y=True)
NAMES = np.array(["rosé", "white", "amber"])  # as they are counted, which is not how they are sorted
SORTED = ("amber", "rosé", "white")
KEYS = np.array(["a", "b", "c"])[np.arange(len(X)) % 3]


def _logistic(path: Path, rows: Any = slice(None), columns: Any = slice(None), labels: Any = NAMES) -> pd.DataFrame:
    """A Pipeline fitted on some rows, with classes by name; and what it says of all rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05)).fit(X[rows], labels[Y[rows]])
    joblib.dump(model, path)
    return pd.DataFrame(model.predict_proba(X), columns=[str(each) for each in model.classes_])


def _booster(path: Path, order: tuple[str, ...]) -> pd.DataFrame:
    """A booster of classes counted in an order of its own."""
    codes = np.array([order.index(name) for name in NAMES[Y]])
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1).fit(X, codes)
    model.save_model(path)
    return pd.DataFrame(model.predict_proba(X), columns=list(order))


def _x() -> Any:
    return mt.input("x", f"float64[{X.shape[1]}]")


def _model(path: Path, **more: Any) -> mt.Model:
    inputs = {"features": f"float64[{X.shape[1]}]"}
    return mt.Model(str(path), inputs=inputs, outputs={"probabilities": "float64[3]"}, **more)


def _both(tmp_path: Path) -> tuple[dict[str, mt.Model], list[pd.DataFrame]]:
    order = ("white", "amber", "rosé")
    frames = [_logistic(tmp_path / "l.joblib"), _booster(tmp_path / "b.ubj", order)]
    return {"l": _model(tmp_path / "l.joblib"), "b": _model(tmp_path / "b.ubj", labels=order)}, frames


def _everywhere(graph: mt.Graph, columns: dict[str, Any], tmp_path: Path) -> list[dict[str, Any]]:
    """What a graph answers called and in bulk, in small batches."""
    graph.run(columns, tmp_path / "out.arrow", batch_rows=5, overwrite=True)
    import pyarrow as pa

    with pa.ipc.open_file(tmp_path / "out.arrow") as file:
        table = file.read_all()
    bulk = {name: table[name].combine_chunks() for name in graph.outputs}
    held = {
        name: each.to_numpy_ndarray() if hasattr(each, "to_numpy_ndarray") else each.to_numpy(zero_copy_only=False)
        for name, each in bulk.items()
    }
    return [graph(columns), held]


@pytest.mark.parametrize("combine", ["weighted_average", "max", "median", "majority_vote", "union"])
@pytest.mark.parametrize("first", ["l", "b"])
def test_ensembles_combine_class_by_class(tmp_path: Path, combine: str, first: str) -> None:
    models, frames = _both(tmp_path)
    if first == "b":
        models, frames = dict(reversed(models.items())), frames[::-1]
    vote = mt.ensemble(models, _x(), combine=combine, name="vote")
    graph = mt.Graph("g", {"p": vote.probabilities, "own": vote.b.probabilities})
    order = list(frames[0].columns)
    assert graph.checked.labels == {"p": tuple(order), "own": ("white", "amber", "rosé")}
    one, two = (frame[order].to_numpy() for frame in frames)
    votes = sum(np.eye(3)[frame.argmax(axis=1)] for frame in (one, two)) / 2
    expected = {"max": np.maximum(one, two), "majority_vote": votes}.get(combine, (one + two) / 2)
    for answer in _everywhere(graph, {"x": X}, tmp_path):
        np.testing.assert_allclose(answer["p"], expected, atol=1e-6)
        np.testing.assert_allclose(answer["own"], frames[first == "l"], atol=1e-6)
    assert (np.array(order)[expected.argmax(axis=1)] == NAMES[Y]).mean() > 0.9


def test_stacked_answers_have_the_classes_in_one_order(tmp_path: Path) -> None:
    models, frames = _both(tmp_path)
    graph = mt.Graph("g", {"p": mt.ensemble(models, _x(), combine="stack").probabilities})
    expected = np.stack([frame[list(SORTED)] for frame in frames], axis=1)
    np.testing.assert_allclose(graph({"x": X})["p"], expected, atol=1e-6)
    assert graph.checked.labels == {"p": SORTED}


def test_routes_and_cascades_answer_in_one_order(tmp_path: Path) -> None:
    models, frames = _both(tmp_path)
    x, key = _x(), mt.input("key", "string")
    by_key = mt.route({"a|b": models["l"], "c": models["b"]}, x, key=key, name="by_key")
    sure = mt.cascade(models, x, confidence=0.7, name="sure")
    graph = mt.Graph("g", {"r": by_key.probabilities, "c": sure.probabilities})
    one, two = (frame[list(SORTED)].to_numpy() for frame in frames)
    assert graph.checked.labels == {"r": SORTED, "c": SORTED}
    assert 0 < (one.max(axis=1) < 0.7).sum() < len(X)
    for answer in _everywhere(graph, {"x": X, "key": KEYS}, tmp_path):
        np.testing.assert_allclose(answer["r"], np.where((KEYS == "c")[:, None], two, one), atol=1e-6)
        np.testing.assert_allclose(answer["c"], np.where((one.max(axis=1) >= 0.7)[:, None], one, two), atol=1e-6)


def _unlike(tmp_path: Path) -> tuple[dict[str, mt.Model], list[pd.DataFrame]]:
    """Models that know two of the three classes each, and one that knows all."""
    frames = [
        _logistic(tmp_path / "a.joblib", Y != 0),
        _logistic(tmp_path / "b.joblib", Y != 1),
        _logistic(tmp_path / "c.joblib"),
    ]
    return {name: mt.Model(str(tmp_path / f"{name}.joblib"), name) for name in "abc"}, frames


def test_members_whose_classes_differ_are_refused(tmp_path: Path) -> None:
    models, _ = _unlike(tmp_path)
    two = {name: models[name] for name in "ab"}
    x, key = _x(), mt.input("key", "string")
    nodes = [
        mt.ensemble(two, x, output="probabilities"),
        mt.ensemble(two, x, output="probabilities", combine="majority_vote"),
        mt.route(two, x, key=key, output="probabilities"),
        mt.route(two, x, key=key),
        mt.route(two, x, split={"a": 1, "b": 1}, by=key),
        mt.cascade(two, x, confidence=0.9, of="probabilities"),
        mt.route(models, x, key=key),
    ]
    for node in nodes:
        with pytest.raises(GraphError, match="is for amber, white; of 'b' for amber, rosé") as caught:
            mt.Graph("g", {"p": node.probabilities})
        assert "combine: union" in caught.value.hint


def test_a_vote_of_labels_and_a_route_of_labels_need_no_places(tmp_path: Path) -> None:
    models, frames = _unlike(tmp_path)
    x, key = _x(), mt.input("key", "string")
    graph = mt.Graph(
        "g",
        {
            "v": mt.ensemble(models, x, output="label", combine="majority_vote").label,
            "r": mt.route(models, x, key=key, output="label").label,
        },
    )
    labels = np.stack([frame.columns[frame.to_numpy().argmax(axis=1)] for frame in frames])
    won = [
        pd.Series(row).value_counts().sort_index(key=lambda each: [list(row).index(name) for name in each])
        for row in labels.T
    ]
    for answer in _everywhere(graph, {"x": X, "key": KEYS}, tmp_path):
        assert answer["v"].tolist() == [counts.idxmax() for counts in won]
        assert answer["r"].tolist() == labels[np.arange(len(X)) % 3, np.arange(len(X))].tolist()


def test_a_union_has_a_score_for_each_class_that_any_member_knows(tmp_path: Path) -> None:
    models, frames = _unlike(tmp_path)
    x, key = _x(), mt.input("key", "string")
    by_key = mt.route(models, x, key=key, combine="union", name="by_key")
    two = {"a": models["a"], "b": models["b"]}
    sure = mt.cascade(two, x, confidence=0.9, of="probabilities", combine="union", name="sure")
    both = mt.ensemble(two, x, output="probabilities", combine="union", name="both")
    graph = mt.Graph(
        "g", {"r": by_key.probabilities, "l": by_key.label, "c": sure.probabilities, "u": both.probabilities}
    )
    every = ["amber", "white", "rosé"]
    assert graph.checked.labels == dict.fromkeys("rcu", tuple(every))
    whole = [frame.reindex(columns=every, fill_value=0.0).to_numpy() for frame in frames]
    by_hand = (frames[0].reindex(columns=every) + 0, frames[1].reindex(columns=every) + 0)
    mean = np.nanmean(np.stack([frame.to_numpy() for frame in by_hand]), axis=0)
    certain = (frames[0].to_numpy().max(axis=1) >= 0.9)[:, None]
    for answer in _everywhere(graph, {"x": X, "key": KEYS}, tmp_path):
        np.testing.assert_allclose(answer["r"], np.stack(whole)[np.arange(len(X)) % 3, np.arange(len(X))], atol=1e-6)
        np.testing.assert_allclose(answer["c"], np.where(certain, whole[0], whole[1]), atol=1e-6)
        np.testing.assert_allclose(answer["u"], mean, atol=1e-6)
    graph.save(tmp_path / "g.yaml")
    again = mt.load(tmp_path / "g.yaml")
    assert again.nodes == graph.nodes
    np.testing.assert_array_equal(again({"x": X, "key": KEYS})["c"], graph({"x": X, "key": KEYS})["c"])


def test_declared_labels_are_the_models_own_or_name_classes_that_are_numbers(tmp_path: Path) -> None:
    _logistic(tmp_path / "named.joblib")
    _logistic(tmp_path / "counted.joblib", labels=np.arange(3))
    _logistic(tmp_path / "odd.joblib", labels=np.array([1, 2, 5]))
    x = _x()
    labels: Any
    for file, labels in (("named", NAMES), ("named", "abc"), ("counted", [1, 0, 2]), ("odd", "abc")):
        node = mt.model(mt.Model(str(tmp_path / f"{file}.joblib"), labels=list(labels)), x)
        with pytest.raises(GraphError, match="are not the model's classes, which are"):
            mt.Graph("g", {"p": node.probabilities})
    for file, labels in {"named": SORTED, "counted": ("a", "b", "c"), "odd": (1, 2, "5")}.items():
        node = mt.model(mt.Model(str(tmp_path / f"{file}.joblib"), labels=labels), x)
        assert mt.Graph("g", {"p": node.probabilities}).checked.labels == {"p": tuple(map(str, labels))}
    node = mt.model(_model(tmp_path / "named.joblib", labels=["a", "b"]), x)
    with pytest.raises(GraphError, match="there are 2 labels; the model gives probabilities"):
        mt.Graph("g", {"p": node})


def test_classes_that_are_the_same_numbers_are_the_same_however_they_are_held(tmp_path: Path) -> None:
    frames = [
        _logistic(tmp_path / "i.joblib", labels=np.array([3, 1, 2])),
        _logistic(tmp_path / "f.joblib", labels=np.array([3.0, 1.0, 2.0])),
    ]
    models = [_model(tmp_path / f"{name}.joblib") for name in "if"]
    graph = mt.Graph("g", {"p": mt.ensemble(models, _x()).probabilities})
    assert graph.checked.labels == {"p": ("1", "2", "3")}
    np.testing.assert_allclose(graph({"x": X})["p"], (frames[0].to_numpy() + frames[1].to_numpy()) / 2)


def test_classes_that_are_not_known_are_warned_of_beside_classes_with_names(tmp_path: Path) -> None:
    _logistic(tmp_path / "named.joblib")
    _logistic(tmp_path / "counted.joblib", labels=np.arange(3))
    _booster(tmp_path / "b.ubj", SORTED)
    x = _x()
    named, counted, booster = (_model(tmp_path / file) for file in ("named.joblib", "counted.joblib", "b.ubj"))
    for node in (
        mt.ensemble([named, booster], x),
        mt.route({"a": named, "b": booster}, x, key=mt.input("k", "string")),
    ):
        checked = mt.Graph("g", {"p": node.probabilities}).checked
        assert ["classes of b are not known" in each for each in checked.warnings] == [True]
        assert checked.labels == {}
    checked = mt.Graph("g", {"p": mt.ensemble([counted, booster], x).probabilities}).checked
    assert (checked.warnings, checked.labels) == ((), {"p": ("0", "1", "2")})


def test_labels_go_through_graphs_and_through_functions_that_keep_places(tmp_path: Path) -> None:
    models, frames = _both(tmp_path)
    x = _x()
    inner = mt.Graph("inner", {"probabilities": mt.model(models["l"], x, name="m").probabilities})
    after = _model(tmp_path / "b.ubj", labels=models["b"].labels, after=[mt.ops.scores.normalise])
    vote = mt.ensemble({"l": inner, "b": mt.member(after, output="output")}, x, output="probabilities", name="vote")
    soft = mt.map(mt.ops.columns.cast, vote.probabilities, dtype="float32")
    first = mt.map(mt.ops.columns.pick, vote.probabilities, index=[0, 1])
    graph = mt.Graph("g", {"p": vote.probabilities, "soft": soft, "first": first})
    assert graph.checked.labels == {"p": SORTED, "soft": SORTED}
    expected = (frames[0] + frames[1][list(SORTED)]) / 2
    np.testing.assert_allclose(graph({"x": X})["p"], expected, atol=1e-6)


def test_rows_that_a_member_failed_on_are_combined_class_by_class_too(tmp_path: Path) -> None:
    models, frames = _both(tmp_path)
    broken = X.copy()
    broken[::4, 0] = np.inf  # which scikit-learn refuses, and XGBoost too
    x, y = mt.input("x", "float64[13]"), mt.input("y", "float64[13]")
    members = {"b": mt.member(models["b"], [y]), "l": mt.member(models["l"], [x])}
    vote = mt.ensemble(members, require=1, name="vote")
    graph = mt.Graph("g", {"p": vote.probabilities, "who": vote.member})
    order = ["white", "amber", "rosé"]
    both = (frames[1] + frames[0][order]).to_numpy() / 2
    expected = np.where((np.arange(len(X)) % 4 == 0)[:, None], frames[1], both)
    for answer in _everywhere(graph, {"x": broken, "y": X}, tmp_path):
        np.testing.assert_allclose(answer["p"], expected, atol=1e-6)
        assert answer["who"].tolist() == ["b" if row % 4 == 0 else "b,l" for row in range(len(X))]
