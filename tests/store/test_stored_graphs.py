"""Graphs of stored models: graphs inside them, combiners that cannot wait for members, functions that a store names."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import GraphError, ModelLoadError

X = np.array([1.0, 2.0], np.float32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MOTET_STORE", str(tmp_path / "home"))
    return mt.Store()


def test_a_graph_whose_stored_models_are_all_in_graphs_inside_is_pinned_too(home: Any, model: Any) -> None:
    home.publish("times", model(2))
    inner = mt.Graph("inner", outputs={"y": mt.model(mt.Model("store:times"), mt.input("x", "float32"))})
    outer = mt.Graph("outer", outputs={"z": mt.model(inner, mt.input("x", "float32"))})
    home.publish("times", model(3))
    assert outer.checked.graph is not outer, "so it is known that it could be built anew"
    assert outer.checked.graph.graphs["inner"].models["times"].uri.endswith("#times@1")
    anew = outer.anew()
    assert anew({"x": X})["z"].tolist() == [3, 6]
    assert anew == outer


@pytest.mark.parametrize("combine", ["stack", "union"])
def test_combiners_with_a_place_for_every_member_cannot_begin_without_one(home: Any, model: Any, combine: str) -> None:
    home.publish("one", model(2))
    members = {name: mt.Model(f"store:{name}") for name in ("one", "two")}
    message = f"the answer of {combine} has a place for what every member says"
    with pytest.raises(GraphError, match=message):
        mt.Graph("g", outputs={"y": mt.ensemble(members, mt.input("x", "float32"), combine=combine, as_available=True)})
    text = (
        "motet: 1\ninputs: {x: float32}\nmodels: {one: 'store:one', two: 'store:two'}\noutputs: {y: vote}\n"
        f"nodes: {{vote: {{ensemble: [one, two], inputs: [x], combine: {combine}, members: as available}}}}\n"
    )
    path = model(2).with_name("g.yaml")
    path.write_text(text)
    with pytest.raises(GraphError, match=message):
        mt.load(path)


@pytest.mark.parametrize("path", ["numpy.load", "motet.ops.columns.np.load"])
def test_a_store_elsewhere_names_no_functions_but_ours(model: Any, path: str) -> None:
    store = mt.Store("memory://functions")
    name = path.replace(".", "-")
    store.publish(name, model(2), before=path)
    x = mt.input("x", "any")

    def made(**options: Any) -> mt.Graph:
        return mt.Graph("g", outputs={"y": mt.model(mt.Model(f"store:memory://functions#{name}", **options), x)})

    with pytest.raises(
        ModelLoadError, match=f"it is published with the function {path}; stores elsewhere may only name"
    ):
        made()
    made(unpickle=True)


def test_a_store_elsewhere_may_name_functions_of_ours(model: Any) -> None:
    mt.Store("memory://ours").publish("times", model(2), before=partial(mt.ops.columns.cast, dtype="float32"))
    node = mt.model(mt.Model("store:memory://ours#times"), mt.input("x", "float64"))
    assert mt.Graph("g", outputs={"y": node})({"x": X.astype(float)})["y"].tolist() == [2, 4]


def test_members_that_are_left_out_are_said_by_runs_and_checks(home: Any, model: Any, tmp_path: Path) -> None:
    from motet.cli.check import summary

    home.publish("one", model(2))
    members = {name: mt.Model(f"store:{name}") for name in ("one", "two", "three")}
    graph = mt.Graph("g", outputs={"y": mt.ensemble(members, mt.input("x", "float32"), as_available=True)})
    report = graph.run(iter([{"x": X}]), tmp_path / "out.parquet")
    assert list(report.left_out) == ["two", "three"]
    assert "left out, for no store had them: two, three" in str(report)
    assert [model.version[:6] for model in report.models] == ["one@1:"]
    said = "\n".join(summary(graph.checked, graph.executor.host.resolver))
    assert "note: left out until a store has them: two, three" in said
    outer = mt.Graph("outer", outputs={"z": mt.model(graph, mt.input("x", "float32"))})
    assert outer.checked.left_out == ("g/two", "g/three")
