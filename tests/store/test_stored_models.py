"""Graphs whose models are in a store: pinned when they are built, with what was published with them."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression

import motet as mt
from motet.errors import GraphError, InputError, ModelLoadError, NotPublishedError
from store import store_functions

X = np.array([1.0, 2.0, 3.0], np.float32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store that graphs find where they name none."""
    monkeypatch.setenv("MOTET_STORE", str(tmp_path / "home"))
    return mt.Store()


def graph(uri: str = "store:times", **options: Any) -> mt.Graph:
    x = mt.input("x", "float32")
    return mt.Graph("g", outputs={"y": mt.model(mt.Model(uri, **options), x)})


def test_a_graph_plays_the_version_that_its_alias_meant_when_it_was_built(home: Any, model: Any) -> None:
    home.publish("times", model(2), aliases=("latest", "champion"))
    made = graph("store:times@champion")
    home.publish("times", model(3), aliases=("latest", "champion"))
    assert made({"x": X})["y"].tolist() == [2, 4, 6]
    assert graph("store:times@champion")({"x": X})["y"].tolist() == [3, 6, 9]
    assert graph("store:times@1")({"x": X})["y"].tolist() == [2, 4, 6]


def test_the_version_is_named_in_explanations(home: Any, model: Any) -> None:
    version = home.publish("times", model(2))
    (call,) = graph().explain({"x": X}, 1).calls
    assert call.version == f"times@1:{version.digest[:12]}"


def test_a_store_is_named_by_the_graph_or_lies_beside_it(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOTET_STORE", raising=False)
    (tmp_path / "graphs").mkdir()
    mt.Store(tmp_path / "graphs" / "store").publish("times", model(2))
    mt.Store(tmp_path / "other").publish("times", model(5))
    text = "motet: 1\nname: g\ninputs: {x: float32}\nmodels: {m: {uri: 'store:%s'}}\nnodes: {n: {model: m, inputs: [x]}}\noutputs: {y: n}\n"
    for uri, factor in (("times", 2), ("../other#times@latest", 5), (f"{tmp_path}/other#times", 5)):
        path = tmp_path / "graphs" / "g.yaml"
        path.write_text(text % uri)
        made = mt.load(path)
        assert made({"x": X})["y"].tolist() == (X * factor).tolist()
        made.save(tmp_path / "saved.yaml")
        if uri != "times":
            assert mt.load(tmp_path / "saved.yaml")({"x": X})["y"].tolist() == (X * factor).tolist()


def test_what_was_published_around_a_model_is_played_around_it(home: Any, model: Any) -> None:
    """So whoever trains says once what is done to the inputs, and it is the same wherever the model is used."""
    home.publish(
        "times", model(2), before=store_functions.plus_one, after=[store_functions.halved, store_functions.plus_one]
    )
    assert graph()({"x": X})["y"].tolist() == ((X + 1) * 2 / 2 + 1).tolist()
    own = graph(before=store_functions.halved, after=store_functions.halved)
    assert own({"x": X})["y"].tolist() == (((X / 2 + 1) * 2 / 2 + 1) / 2).tolist()


def test_models_that_are_not_published(home: Any, model: Any) -> None:
    with pytest.raises(
        NotPublishedError, match=r"graph 'g': model 'times': store .*: the store has no model 'times'; there are none"
    ):
        graph()
    home.publish("times", model(2))
    with pytest.raises(NotPublishedError, match="model 'times' has no alias 'champion'; known: latest"):
        graph("store:times@champion")
    with pytest.raises(InputError, match="refers to no version of a model"):
        graph("store:times@")


def vote(**options: Any) -> mt.Graph:
    x = mt.input("x", "float32")
    members = {name: mt.Model(f"store:{name}") for name in ("one", "two")}
    node = mt.ensemble(members, x, name="vote", **options)
    return mt.Graph("g", outputs={"y": node, "who": node.member})


def test_an_ensemble_begins_with_the_members_that_are_available(home: Any, model: Any) -> None:
    with pytest.raises(NotPublishedError):
        vote(as_available=True)
    home.publish("one", model(2))
    with pytest.raises(NotPublishedError, match="the store has no model 'two'"):
        vote()
    first = vote(as_available=True, weights={"one": 1, "two": 3})
    assert first({"x": X})["y"].tolist() == (X * 2).tolist()
    assert first({"x": X})["who"].tolist() == ["one"] * 3
    home.publish("two", model(6))
    assert first({"x": X})["who"].tolist() == ["one"] * 3
    both = vote(as_available=True, weights={"one": 1, "two": 3})
    assert both({"x": X})["y"].tolist() == (X * 5).tolist()
    assert both({"x": X})["who"].tolist() == ["one,two"] * 3


def test_as_available_is_kept_in_files(home: Any, model: Any, tmp_path: Path) -> None:
    home.publish("one", model(2))
    made = vote(as_available=True)
    assert "members: as available" in made.to_yaml()
    made.save(tmp_path / "g.yaml")
    again = mt.load(tmp_path / "g.yaml")
    assert again == made
    assert again({"x": X})["y"].tolist() == (X * 2).tolist()
    (tmp_path / "g.yaml").write_text(made.to_yaml().replace("as available", "whoever"))
    with pytest.raises(GraphError, match="members can only be 'as available'; got 'whoever'"):
        mt.load(tmp_path / "g.yaml")


def test_files_that_run_code_are_not_loaded_from_elsewhere(
    open_store: Any, tmp_path: Path, s3_endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "line.joblib"
    joblib.dump(LinearRegression().fit(X[:, None], X * 2), path)
    store = open_store()
    store.publish("line", path, aliases=("latest",))
    if store.url.startswith("s3:"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    x = mt.input("x", "float64[1]")

    def made(**options: Any) -> mt.Graph:
        return mt.Graph("g", outputs={"y": mt.model(mt.Model(f"store:{store.url}#line", **options), x)})

    if "://" in store.url:
        with pytest.raises(ModelLoadError, match="loading this file runs any code"):
            made()
    options = {"unpickle": True} if "://" in store.url else {}
    np.testing.assert_allclose(made(**options)({"x": np.array([[4.0]])})["y"].ravel(), [8.0])


def test_bulk_runs_play_one_version_and_say_which(home: Any, model: Any, tmp_path: Path) -> None:
    home.publish("times", model(2))
    made = graph()
    report = made.run(iter([{"x": X}]), tmp_path / "out.parquet")
    assert report.rows == 3
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == [2, 4, 6]
