"""Models by key whose files are found by a pattern: what a loop by hand over the groups answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression, LogisticRegression

import motet as mt
from helpers.live_server import Live
from motet.cli import cli
from motet.errors import GraphError, MotetError

KEYS = ("AL", "N Y", "07", "größe")
RANDOM = np.random.default_rng(0)


def _fit(folder: Path, key: str) -> Any:
    own = LinearRegression().fit(RANDOM.normal(size=(9, 2)), RANDOM.normal(size=9))
    joblib.dump(own, folder / f"{key}.joblib")
    return own


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "notes.txt").write_text("no model")
    return tmp_path, {key: _fit(tmp_path / "models", key) for key in KEYS}


def _graph(folder: Path, route: str = '{"*": m}', more: str = "", extra: str = "") -> mt.Graph:
    (folder / "g.yaml").write_text(
        "motet: 1\nname: g\ninputs: {f: 'float64[2]', k: {type: string, default: null}}\n"
        f"models: {{m: {{uri: 'models/{{key}}.joblib'}}{extra}}}\n"
        f"nodes: {{n: {{route: {route}, key: k, inputs: [f]{more}}}}}\noutputs: {{v: n.value, who: n.member}}\n"
    )
    return mt.load(folder / "g.yaml")


def _rows(*more: str | None) -> tuple[np.ndarray, list[str | None]]:
    keys = [*KEYS, *more] * 5
    return RANDOM.normal(size=(len(keys), 2)), keys


def _by_hand(models: dict[str, Any], features: np.ndarray, keys: list[Any]) -> list[float]:
    return [float(models[key].predict(row[None])[0]) for row, key in zip(features, keys, strict=True)]


@pytest.mark.parametrize("more", ["", ", max_loaded: 2"])
@pytest.mark.parametrize("arm", ["*", "{key}"])
def test_every_key_that_has_a_file_is_answered_by_its_model(models: Any, arm: str, more: str) -> None:
    folder, own = models
    graph = _graph(folder, f'{{"{arm}": m}}', more)
    features, keys = _rows()
    expected = _by_hand(own, features, keys)
    answer = graph({"f": features, "k": keys})
    np.testing.assert_allclose(answer["v"], expected)
    assert answer["who"].tolist() == keys
    graph.run({"f": features, "k": keys}, folder / "out.parquet", batch_rows=3)
    np.testing.assert_allclose(pd.read_parquet(folder / "out.parquet")["v"], expected)


def test_keys_without_a_file_fail_by_the_path_that_is_not_there_or_go_to_another_arm(models: Any) -> None:
    folder, own = models
    features, keys = _rows("WY", None)
    answers, failures = _graph(folder)({"f": features, "k": keys}, failures="return")
    assert len(answers["v"]) == 5 * len(KEYS)
    assert {each.message for each in failures if keys[each.row] == "WY"} == {"there is no model models/WY.joblib"}
    assert all("is missing" in each.message for each in failures if keys[each.row] is None)
    own |= {"WY": _fit(folder, "usual"), None: own["07"]}
    graph = _graph(
        folder,
        '{"{key}": m, "07": seven, "*": usual}',
        ", missing: '07'",
        ", usual: usual.joblib, seven: 'models/07.joblib'",
    )
    answer = graph({"f": features, "k": keys})
    np.testing.assert_allclose(answer["v"], _by_hand(own, features, keys))
    assert set(answer["who"]) == {"AL", "N Y", "07", "größe", "*"}


def test_a_list_of_keys_takes_no_others_and_must_have_its_files(models: Any) -> None:
    folder, own = models
    graph = _graph(folder, '{"AL|07": m, "*": m}')
    features, keys = _rows()
    np.testing.assert_allclose(graph({"f": features, "k": keys})["v"], _by_hand(own, features, keys))
    with pytest.raises(GraphError, match=r"there is no model models/WY.joblib for the key 'WY'"):
        _graph(folder, '{"AL|WY": m}')


def test_new_files_are_found_when_the_graph_is_loaded_again_also_by_a_server(models: Any) -> None:
    folder, own = models
    _graph(folder)
    (folder / "serve.yaml").write_text("admin: open")
    live = Live(folder, folder / "g.yaml", "--config", folder / "serve.yaml")
    live.until_ready()
    try:
        row = {"f": [0.5, -1.0], "k": "new"}
        answer = httpx.post(f"{live.url}/predict/g", json=row)
        assert (answer.status_code, "there is no model models/new.joblib" in answer.text) == (422, True)
        own["new"] = _fit(folder / "models", "new")
        assert httpx.post(f"{live.url}/v2/repository/models/g/load").status_code == 200
        answer = httpx.post(f"{live.url}/predict/g", json=row).json()
        assert answer["v"] == pytest.approx(_by_hand(own, np.array([row["f"]]), ["new"])[0])
    finally:
        live.close()
    assert mt.load(folder / "g.yaml")({"f": [[0.5, -1.0]], "k": ["new"]})["who"].tolist() == ["new"]


def test_in_python_and_through_a_file(models: Any) -> None:
    folder, own = models
    f, k = mt.input("f", "float64[2]"), mt.input("k", "string")
    by_key = mt.route({"*": mt.Model(str(folder / "models/{key}.joblib"))}, f, key=k, name="by_key")
    graph = mt.Graph("g", {"v": by_key.value})
    features, keys = _rows()
    np.testing.assert_allclose(graph({"f": features, "k": keys})["v"], _by_hand(own, features, keys))
    graph.save(folder / "saved.yaml")
    assert "/models/{key}.joblib" in (folder / "saved.yaml").read_text()
    again = mt.load(folder / "saved.yaml")
    np.testing.assert_allclose(again({"f": features, "k": keys})["v"], _by_hand(own, features, keys))


def test_the_key_may_be_a_folder_and_the_handler_named(tmp_path: Path) -> None:
    own = {}
    for key in KEYS:
        (tmp_path / "models" / key).mkdir(parents=True)
        own[key] = _fit(tmp_path / "models" / key, "model.v1")
        (tmp_path / "models" / key / "model.v1.joblib").rename(tmp_path / "models" / key / "model.v1")
    f, k = mt.input("f", "float64[2]"), mt.input("k", "string")
    model = mt.Model(f"sklearn:{tmp_path}/models/{{key}}/model.v1")
    graph = mt.Graph("g", {"v": mt.route({"*": model}, f, key=k).value})
    features, keys = _rows()
    np.testing.assert_allclose(graph({"f": features, "k": keys})["v"], _by_hand(own, features, keys))


def test_models_of_a_store_by_key(tmp_path: Path, models: Any) -> None:
    folder, own = models
    store = mt.Store(tmp_path / "store")
    for key in ("AL", "07"):
        store.publish(f"price-{key}", folder / f"models/{key}.joblib", aliases=["champion"])
    store.publish("price-new", folder / "models/AL.joblib")
    f, k = mt.input("f", "float64[2]"), mt.input("k", "string")
    model = mt.Model(f"store:{tmp_path / 'store'}#price-{{key}}@champion")
    graph = mt.Graph("g", {"v": mt.route({"*": model}, f, key=k).value})
    features = RANDOM.normal(size=(4, 2))
    keys = ["AL", "07", "07", "AL"]
    np.testing.assert_allclose(graph({"f": features, "k": keys})["v"], _by_hand(own, features, keys))
    assert graph.checked.keys == {"price-_key_": ("07", "AL")}


def test_models_whose_classes_differ_are_refused_by_their_key_or_joined(tmp_path: Path) -> None:
    features = RANDOM.normal(size=(60, 2))
    labels = np.array(["a", "b", "c"])[np.arange(60) % 3]
    frames = {}
    for key, without in (("one", "a"), ("two", "b"), ("three", "")):
        rows = labels != without
        own = LogisticRegression().fit(features[rows], labels[rows])
        joblib.dump(own, tmp_path / f"{key}.joblib")
        frames[key] = pd.DataFrame(own.predict_proba(features), columns=own.classes_)
    f, k = mt.input("f", "float64[2]"), mt.input("k", "string")
    model = mt.Model(str(tmp_path / "{key}.joblib"))
    with pytest.raises(GraphError, match="of 'one' is for b, c; of 'three' for a, b, c"):
        mt.Graph("g", {"p": mt.route({"*": model}, f, key=k).probabilities})
    graph = mt.Graph("g", {"p": mt.route({"*": model}, f, key=k, combine="union").probabilities})
    keys = np.array(list(frames))[np.arange(60) % 3]
    order = list(graph.checked.labels["p"])
    assert sorted(order) == ["a", "b", "c"]
    expected = [frames[key].reindex(columns=order, fill_value=0.0).loc[row] for row, key in enumerate(keys)]
    np.testing.assert_allclose(graph({"f": features, "k": keys})["p"], np.array(expected))


def test_mistakes_are_found_when_the_graph_is_built(models: Any) -> None:
    folder, _ = models
    f, k = mt.input("f", "float64[2]"), mt.input("k", "string")
    model = mt.Model(str(folder / "models/{key}.joblib"), "m")
    for node, said in (
        (mt.model(model, f), "'m' is a model for each key .* only a route by key can use it"),
        (mt.route({"a": model}, f, split={"a": 1}, by=k), "only a route by key can use it"),
        (mt.route({"*": model}, f, key=k, missing="*"), "missing names '\\*', which is a model for each key"),
        (mt.route({"*": mt.Model(str(folder / "none/{key}.joblib"))}, f, key=k), "there is no model for any key"),
        (mt.route({"*": mt.Model(str(folder / "{key}/{key}.joblib"))}, f, key=k), "stands once in a model's URI"),
    ):
        with pytest.raises(MotetError, match=said):
            mt.Graph("g", {"v": node.value})


def test_check_says_of_how_many_keys_there_are_models(models: Any) -> None:
    folder, _ = models
    _graph(folder)
    told = CliRunner().invoke(cli, ["check", str(folder / "g.yaml")])
    assert told.exit_code == 0, told.output
    assert "models/07.joblib and 3 more keys (AL, N Y, größe)" in told.output
