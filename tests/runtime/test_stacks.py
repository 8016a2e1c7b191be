"""Models of a route that differ in their weights alone are played as one call; nothing else about them changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

import motet as mt
from helpers import onnxes
from helpers.live_server import Live
from motet.batch import Batch
from motet.cli import cli
from motet.errors import GraphError
from motet.graph.yaml import dump_graph
from motet.runtime import stacks
from motet.runtime.executor import Call, drive

KEYS = [f"k{place}" for place in range(12)]
WITHIN: Any = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for each key, of one structure, one of another, and one of which nothing is like it."""
    found = tmp_path_factory.mktemp("stacks")
    for seed, key in enumerate(KEYS):
        onnxes.classifier(found / "models" / f"{key}.onnx", seed=seed)
    for seed, key in enumerate(("wide", "wider")):
        onnxes.classifier(found / "others" / f"{key}.onnx", seed=seed, hidden=20)
    onnxes.classifier(found / "others" / "own.onnx", hidden=7)
    return found


def _graph(folder: Path, more: str = "", model: str = "", others: str = "", name: str = "g") -> mt.Graph:
    """A route by `k` to the model of each key."""
    arms = "".join(f", {key}: {key}" for key in ("wide", "wider", "own")) if others else ""
    named = "".join(f", {key}: {{uri: others/{key}.onnx}}" for key in ("wide", "wider", "own")) if others else ""
    (folder / f"{name}.yaml").write_text(
        f"motet: 1\nname: {name}\ninputs: {{x: 'float32[4]', k: {{type: string, default: null}}}}\n"
        f"models: {{m: {{uri: 'models/{{key}}.onnx'{model}}}{named}}}\n"
        f"nodes: {{n: {{route: {{'{{key}}': m{arms}}}, key: k, inputs: [x]{more}}}}}\n"
        "outputs: {p: n.probabilities, who: n.member}\n"
    )
    return mt.load(folder / f"{name}.yaml")


def _rows(count: int, keys: Any = KEYS, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "x": random.normal(size=(count, 4)).astype(np.float32),
        "k": np.array(random.choice(keys, count).tolist(), dtype=object),
    }


def _loaded(graph: mt.Graph) -> tuple[stacks.RouteStack, ...]:
    """A graph whose models are loaded; its stacks."""
    graph.executor.load()
    return tuple(graph.executor.shared.stacks.get("n", ()))


def _same(got: Any, wanted: Any) -> None:
    assert got["who"].tolist() == wanted["who"].tolist()
    np.testing.assert_allclose(got["p"], wanted["p"], **WITHIN)


def _by_hand(folder: Path, rows: dict[str, Any]) -> np.ndarray:
    sessions = {key: onnxruntime.InferenceSession(str(folder / "models" / f"{key}.onnx")) for key in set(rows["k"])}
    return np.concatenate(
        [sessions[key].run(None, {"x": x[None]})[0] for key, x in zip(rows["k"], rows["x"], strict=True)]
    )


def test_rows_get_the_answers_of_their_own_models(folder: Path) -> None:
    graph, rows = _graph(folder), _rows(200)
    (stack,) = _loaded(graph)
    assert len(stack.models.models) == len(KEYS)
    answer = graph(rows)
    assert answer["who"].tolist() == rows["k"].tolist()
    np.testing.assert_allclose(answer["p"], _by_hand(folder, rows), **WITHIN)


def test_models_that_are_loaded_one_after_the_other_are_played_together_from_then_on(folder: Path) -> None:
    graph = _graph(folder)
    graph(_rows(20, KEYS[:3]))
    assert not graph.executor.shared.stacks
    graph(_rows(200))
    graph(_rows(20))
    assert len(graph.executor.shared.stacks["n"]) == 1


def test_it_can_be_turned_off(folder: Path) -> None:
    graph, rows = _graph(folder, ", stack: false"), _rows(100)
    assert _loaded(graph) == ()
    _same(graph(rows), _graph(folder)(rows))
    assert "stack: false" in dump_graph(graph)
    assert "stack" not in dump_graph(_graph(folder))
    with pytest.raises(GraphError, match=r"nodes\.n\.stack: expected true or false; got 2"):
        _graph(folder, ", stack: 2")


def test_it_can_be_turned_off_in_python(folder: Path) -> None:
    models = {key: mt.Model(str(folder / "models" / f"{key}.onnx")) for key in KEYS[:3]}
    x, k = mt.input("x", "float32[4]"), mt.input("k", "string")
    for said in (True, False):
        graph = mt.Graph("g", {"p": mt.route(models, x, key=k, stack=said, name="n").probabilities})
        assert len(_loaded(graph)) == said


def test_each_structure_is_a_stack_of_its_own(folder: Path) -> None:
    graph = _graph(folder, others="yes")
    assert [len(stack.models.models) for stack in _loaded(graph)] == [len(KEYS), 2]
    rows = _rows(200, [*KEYS, "wide", "wider", "own"])
    _same(graph(rows), _graph(folder, ", stack: false", others="yes")(rows))


def test_rows_without_a_finite_number_go_to_their_own_model(folder: Path) -> None:
    rows = _rows(60)
    rows["x"][3, 1], rows["x"][9, 0], rows["x"][20] = np.nan, np.inf, 3e38
    graph = _graph(folder)
    _loaded(graph)
    _same(graph(rows), _graph(folder, ", stack: false")(rows))


def test_rows_without_a_key_or_a_model_fail_alone(folder: Path) -> None:
    rows = _rows(40)
    rows["k"][5], rows["k"][7] = None, "nobody"
    graph = _graph(folder)
    _loaded(graph)
    got, wanted = (each(rows, failures="return") for each in (graph, _graph(folder, ", stack: false")))
    assert [str(each) for each in got[1]] == [str(each) for each in wanted[1]]
    assert [each.row for each in got[1]] == [5, 7]
    _same(got[0], wanted[0])


def test_narrower_numbers_and_few_rows_are_answered_alike(folder: Path) -> None:
    graph, off = _graph(folder), _graph(folder, ", stack: false")
    _loaded(graph)
    for count in (1, 2, 3, 13, 5000):
        rows = _rows(count, seed=count)
        _same(graph(rows), off(rows))
    rows = _rows(30)
    rows["x"] = (rows["x"] * 5).astype(np.int8)
    _same(graph(rows), off(rows))


def test_what_each_model_did_is_counted_for_it(folder: Path) -> None:
    graph, rows = _graph(folder), _rows(200)
    _loaded(graph)
    graph(rows)
    did = {model.model.name: model.stats for model in graph.executor.models()}
    for key in KEYS:
        assert did[f"m.{key}"].rows == np.count_nonzero(rows["k"] == key)
        assert did[f"m.{key}"].calls == 1
        assert did[f"m.{key}"].seconds > 0


def test_whoever_looks_on_sees_a_call_of_each_model(folder: Path) -> None:
    graph, rows = _graph(folder), _rows(50)
    _loaded(graph)
    trace: list[Call] = []
    played = drive(graph.executor.play(Batch.of(rows, np.arange(100, 150)), trace))
    assert sorted(call.member for call in trace) == sorted(set(rows["k"]))
    for call in trace:
        assert (call.uses, call.rows) == (f"m.{call.member}", np.count_nonzero(rows["k"] == call.member))
        assert len(call.version) == 12
        assert call.ids is not None
        answers = played.outputs.columns["p"][call.ids - 100]
        assert (call.outputs["probabilities"] == answers).all()
        assert (rows["k"][call.ids - 100] == call.member).all()


@pytest.mark.parametrize(
    ("model", "more", "reason"),
    [
        ("", ", max_loaded: 3", "comes and goes, as max_loaded or pool says"),
        (", batch: {max_rows: 4}", "", "says how its rows are put together"),
        (", before: numpy.negative", "", "has functions before or after it"),
        (", with: {graph_optimization: basic}", "", "has options of its own"),
        (", placement: thread", "", "says where it is called"),
    ],
)
def test_models_of_which_more_is_said_are_called_by_themselves(
    folder: Path, model: str, more: str, reason: str
) -> None:
    graph, rows = _graph(folder, more, model), _rows(60)
    assert _loaded(graph) == ()
    _same(graph(rows), _graph(folder, ", stack: false", model)(rows))
    _graph(folder, more, model, name="said")
    shown = CliRunner().invoke(cli, ["check", str(folder / "said.yaml")]).output
    assert f"node 'n': m.k0, m.k1, m.k10 and 9 more are called by themselves, since each {reason}" in shown


def test_check_says_what_is_played_together(folder: Path) -> None:
    _graph(folder, others="yes", name="all")
    shown = CliRunner().invoke(cli, ["check", str(folder / "all.yaml")]).output
    assert "note: node 'n': 12 models of one structure are played as one call: m.k0, m.k1, m.k10 and 9 more" in shown
    assert "note: node 'n': 2 models of one structure are played as one call: wide, wider" in shown
    assert "note: node 'n': own is called by itself, since it has a structure that no other has" in shown


def test_a_model_that_answers_otherwise_than_the_stack_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = stacks.stack_plan

    def off_by_a_little(*given: Any) -> Any:
        plan, programs = found(*given)
        programs["m.k3"].weights["weight 1"] += np.float32(1e-3)
        return plan, programs

    monkeypatch.setattr(stacks, "stack_plan", off_by_a_little)
    graph, rows = _graph(folder), _rows(100)
    with caplog.at_level(logging.WARNING, "motet.runtime"):
        (stack,) = _loaded(graph)
    assert [model.model.name for model in stack.models.models] == [f"m.{key}" for key in sorted(set(KEYS) - {"k3"})]
    assert [record.getMessage() for record in caplog.records] == [
        "model 'm.k3' is not played together with those of its structure: it answers made-up rows otherwise (probabilities)"
    ]
    np.testing.assert_allclose(graph(rows)["p"], _by_hand(folder, rows), **WITHIN)


def test_rows_that_a_stack_cannot_compute_are_left_to_their_models(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, rows = _graph(folder), _rows(100)
    (stack,) = _loaded(graph)

    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(stack.models, "_program", full)
    np.testing.assert_allclose(graph(rows)["p"], _by_hand(folder, rows), **WITHIN)


def test_more_weights_than_a_stack_may_have_are_left_to_their_models(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "STACK_BYTES", 2000)
    graph, rows = _graph(folder), _rows(100)
    (stack,) = _loaded(graph)
    assert 1 < len(stack.models.models) < len(KEYS)
    np.testing.assert_allclose(graph(rows)["p"], _by_hand(folder, rows), **WITHIN)


@pytest.fixture(scope="module")
def estimators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logistic regression for each key, whose classes are texts."""
    found = tmp_path_factory.mktemp("estimators")
    (found / "models").mkdir()
    random = np.random.default_rng(3)
    for key in KEYS:
        x = random.normal(size=(40, 4))
        y = np.array(["no", "yes"])[(x @ random.normal(size=4) > 0).astype(int)]
        joblib.dump(LogisticRegression().fit(x, y), found / "models" / f"{key}.joblib")
    (found / "g.yaml").write_text(
        "motet: 1\nname: g\ninputs: {x: 'float64[4]', k: string}\nmodels: {m: {uri: 'models/{key}.joblib'}}\n"
        "nodes: {n: {route: {'{key}': m}, key: k, inputs: [x]}}\n"
        "outputs: {label: n.label, p: n.probabilities, who: n.member}\n"
    )
    return found


def test_a_row_that_an_estimator_refuses_fails_alone_and_says_of_which_model(estimators: Path, tmp_path: Path) -> None:
    rows = _rows(300)
    x = rows["x"].astype(np.float64)
    x[17, 2] = np.nan
    values = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 4)
    pq.write_table(pa.table({"x": values, "k": rows["k"].tolist()}), tmp_path / "rows.parquet")
    graph = mt.load(estimators / "g.yaml")
    report = graph.run(tmp_path / "rows.parquet", tmp_path / "out.parquet")
    (failure,) = pq.read_table(tmp_path / "out.parquet.failed.parquet").to_pylist()
    assert (report.rows, report.answered, failure["row"], failure["model"]) == (300, 299, 17, f"m.{rows['k'][17]}")
    assert "NaN" in failure["message"]
    answers = pq.read_table(tmp_path / "out.parquet").to_pydict()
    right = [place for place in range(300) if place != 17]
    own = {key: joblib.load(estimators / "models" / f"{key}.joblib") for key in KEYS}
    assert answers["label"] == [own[rows["k"][place]].predict(x[place : place + 1])[0] for place in right]
    for place, p in zip(right, answers["p"], strict=True):
        np.testing.assert_allclose(p, own[rows["k"][place]].predict_proba(x[place : place + 1])[0], **WITHIN)


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    _graph(folder, others="yes", name="served")
    server = Live(folder, folder / "served.yaml")
    server.until_ready()
    yield server
    server.close()


def test_requests_of_the_same_moment_get_the_answers_of_their_own_models(folder: Path, live: Live) -> None:
    rows = _rows(200, [*KEYS, "wide", "own"])
    wanted = _graph(folder, ", stack: false", others="yes")(rows)

    async def ask() -> list[Any]:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(base_url=live.url, limits=limits, timeout=60) as client:
            each = [{"x": x.tolist(), "k": k} for x, k in zip(rows["x"], rows["k"], strict=True)]
            return await asyncio.gather(*(client.post("/predict/served", json=row) for row in each))

    answers = [response.json() for response in asyncio.run(ask())]
    assert [answer["who"] for answer in answers] == wanted["who"].tolist()
    np.testing.assert_allclose([answer["p"] for answer in answers], wanted["p"], **WITHIN)
