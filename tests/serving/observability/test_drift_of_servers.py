"""Drift of a served graph: a sample of rows is counted, of all processes together, in a window that moves along."""

import itertools
import json
import logging
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

import motet as mt
from helpers import labelled
from helpers.until import until
from motet.batch import Batch
from motet.errors import ModelLoadError, MotetError, UnknownNameError
from motet.planning.drift.compare import Counted
from motet.runtime.executor import Played
from motet.serving.batching.request import Request
from motet.serving.observability.counters import Counters
from motet.serving.observability.drift import DriftWindow, GraphDrift
from motet.serving.observability.totals import Totals

X = labelled.rows(2000, 1)[0]
LATER = labelled.rows(600, 2)[0]


@pytest.fixture(scope="module")
def graph() -> Any:
    return labelled.graph("ensemble", weights=[1, 2, 0])


@pytest.fixture(scope="module")
def reference(graph: Any) -> Any:
    return graph.drift_reference({"x": X}).fitted(graph.checked, "")


class Asked(Request):
    """A request that nobody answers."""

    def __init__(self, x: Any) -> None:
        super().__init__({"x": x}, len(x))

    def answered(self, reply: Any) -> None:
        raise NotImplementedError

    def failed(self, error: MotetError) -> None:
        raise NotImplementedError


class Clock:
    """Seconds that go by when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watched(graph: Any, reference: Any, tmp_path: Any) -> Any:
    """What counts in a process, what is shown, and a clock."""
    clock = Clock()
    cells, totals = Counters(tmp_path), Totals(tmp_path)

    def drift(sample: float, of: Counters = cells) -> GraphDrift:
        return GraphDrift(of, "animals", graph.checked, reference, sample, clock, np.random.default_rng(0).random, 64)

    window = DriftWindow(reference, "animals", 3600.0, 0.2, clock)
    yield SimpleNamespace(drift=drift, window=window, clock=clock, totals=totals, cells=cells, folder=tmp_path)
    totals.close()
    cells.close()


def play(drift: GraphDrift, graph: Any, parts: Any, failed: Any = ()) -> None:
    """Play requests as a batcher does, the calls of members told."""
    requests = [Asked(part) for part in parts]
    trace = drift.trace(requests)
    rows = np.concatenate(parts)
    kept = np.setdiff1d(np.arange(len(rows)), failed)
    answer = graph({"x": rows})
    outputs = {name: np.asarray(answer[name])[kept] for name in ("name", "place", "scores")}
    if trace is not None:
        for member, estimator in labelled.estimators().items():
            scores = estimator.predict_proba(rows).astype(np.float32)
            trace.append(_call(member, scores))
    failures = [SimpleNamespace(row=row) for row in failed]
    drift.played(requests, Played(Batch(outputs, kept), failures))  # type: ignore[arg-type]


def _call(member: str, scores: Any) -> Any:
    from motet.runtime.executor import Call

    return Call("ensemble_1", member, "", len(scores), 0.0, {"probabilities": scores}, (), member)


def counted(watched: Any) -> dict[str, Any]:
    return {each.name: each for each in watched.window.columns(watched.totals.read())}


def count(drift: GraphDrift) -> None:
    due = drift.take(all=True)
    drift.add(drift.count(due), sum(each.rows for each in due))


def test_what_is_counted_is_what_a_report_counts(watched: Any, graph: Any, reference: Any) -> None:
    drift = watched.drift(1.0)
    watched.window.note(watched.totals.read())
    whole = Counted(reference)
    for first in range(0, 300, 30):
        rows = LATER[first : first + 30]
        play(drift, graph, [rows[:7], rows[7:8], rows[8:]])
        count(drift)
    report = graph.drift({"x": LATER[:300]}, reference)
    found = counted(watched)
    assert found == {each.name: each for each in report.columns}
    assert found["ensemble_1: linear = near"].rows == 300  # a shadow
    assert whole.rows == 0


def test_rows_are_drawn_one_by_one_and_failures_are_counted(watched: Any, graph: Any) -> None:
    drift = watched.drift(0.2)
    watched.window.note(watched.totals.read())
    for first in range(0, 600, 40):
        play(drift, graph, [LATER[first : first + 15], LATER[first + 15 : first + 40]], failed=range(0, 40, 4))
        count(drift)
    found = counted(watched)
    failing = found["rows that fail"]
    assert 80 < failing.rows < 160  # 120 of 600
    assert failing.unseen == pytest.approx(0.25, abs=0.1)
    assert found["x[0]"].rows == failing.rows
    assert found["name"].rows == pytest.approx(0.75 * failing.rows, rel=0.2)


def test_no_more_is_held_than_may_be_and_what_is_refused_is_let_go(watched: Any, graph: Any) -> None:
    drift = watched.drift(1.0)
    for _ in range(5):
        play(drift, graph, [LATER[:40]])
    assert sum(each.rows for each in drift.take(all=True)) == 64
    asked = [Asked(LATER[:3])]
    assert drift.trace(asked) is not None
    drift.refused(asked[0])
    drift.played(asked, Played(Batch({}, np.arange(3)), []))
    assert drift.take(all=True) == []


def test_rows_wait_for_members_that_do_not_count(watched: Any, graph: Any) -> None:
    drift = watched.drift(1.0)
    play(drift, graph, [LATER[:5]])
    assert drift.take() == []
    watched.clock.now += 2
    assert [each.rows for each in drift.take()] == [5]


def test_processes_add_up_and_the_window_moves_along(watched: Any, graph: Any) -> None:
    other = Counters(watched.folder)
    one, two = watched.drift(1.0), watched.drift(1.0, other)
    window, totals, clock = watched.window, watched.totals, watched.clock
    window.note(totals.read())
    for drift in (one, two):
        play(drift, graph, [LATER[:50]])
        count(drift)
    assert counted(watched)["name"].rows == 100
    for _ in range(24):
        clock.now += 300
        window.note(totals.read())
    assert counted(watched)["name"].rows == 0
    play(one, graph, [LATER[50:60]])
    count(one)
    clock.now += 2
    assert counted(watched)["name"].rows == 10
    assert len(window._kept) <= 14
    other.close()


def test_what_has_drifted_is_said_once_and_when_it_is_over(watched: Any, graph: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "motet.serving")
    drift = watched.drift(1.0)
    window, totals, clock = watched.window, watched.totals, watched.clock
    window.note(totals.read())
    far = LATER + np.array([4, 0, 0, 0], dtype=np.float32)
    for first in range(0, 200, 50):
        play(drift, graph, [far[first : first + 50]])
        count(drift)
    for _ in range(2):
        clock.now += 2
        window.look(totals.read())
    lines = [each.getMessage() for each in caplog.records if getattr(each, "incident", "") == "drifted"]
    assert len([line for line in lines if line.startswith("graph animals: x[0] has drifted: an index of ")]) == 1
    assert lines[0].endswith("on 200 rows")
    for _ in range(15):
        clock.now += 300
        window.look(totals.read())
    over = [each.getMessage() for each in caplog.records if getattr(each, "incident", "") == "drift_over"]
    assert "graph animals: x[0] is spread as it was" in over


def config(path: Any, **more: Any) -> dict[str, Any]:
    return {"drift": {"reference": str(path), "sample": 1.0, **more}}


@pytest.fixture(scope="module")
def path(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = tmp_path_factory.mktemp("drift") / "ref.json"
    reference.write(found)
    return found


def test_a_server_shows_drift_in_metrics_and_status(graph: Any, path: Any) -> None:
    with (
        graph.serve(block=False, port=0, observability=config(path)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        far = LATER + np.array([4, 0, 0, 0], dtype=np.float32)
        firsts = itertools.cycle(range(0, 600, 20))

        def shown() -> dict[str, Any]:
            first = next(firsts)
            rows = [{"x": each.tolist()} for each in far[first : first + 20]]
            assert client.post("/predict/animals", json={"rows": rows}).status_code == 200
            found = client.get("/status.json").json()["drift"]["animals"]
            return {each["name"]: each for each in found["columns"]}

        until(lambda: shown()["ensemble_1: linear = near"]["rows"] >= 32)
        columns = shown()
        assert columns["x[0]"]["drifted"]
        assert not columns["x[3]"]["drifted"]
        assert all(name == "" for name, _, _ in columns["name"]["bars"])  # values of rows are for administrators
        samples = {
            (each.name, each.labels.get("column")): each.value
            for family in read_text(client.get("/metrics").text)
            for each in family.samples
            if each.name.startswith("motet_drift")
        }
        assert samples["motet_drift_drifted", "x[0]"] == 1
        assert samples["motet_drift_psi", "x[0]"] > 0.2
        assert samples["motet_drift_psi_by_chance", "x[3]"] > 0
        assert samples["motet_drift_rows", "x[0]"] <= samples["motet_drift_sampled_rows_total", None]
        assert ("motet_drift_ks", "x[0]") in samples
        assert ("motet_drift_ks", "name") not in samples


def test_a_reference_that_does_not_fit_is_refused_when_the_graph_is_loaded(
    graph: Any, path: Any, tmp_path: Any
) -> None:
    x = mt.input("x", "float32[3]")
    other = mt.Graph("animals", outputs={"y": mt.map(mt.ops.columns.cast, x, dtype="float64")})
    with pytest.raises(
        ModelLoadError, match=r"does not fit graph 'animals': input 'x' was float32\[4\], and is float32\[3\]"
    ):
        other.serve(block=False, port=0, observability=config(path)).close()
    renamed = json.loads(path.read_text()) | {"graph": "plants"}
    (tmp_path / "other.json").write_text(json.dumps(renamed))
    with pytest.raises(UnknownNameError, match="unknown graph 'plants'; known: animals"):
        graph.serve(block=False, port=0, observability=config(tmp_path / "other.json")).close()
    (tmp_path / "twice.json").write_text(path.read_text())
    twice = {"drift": {"reference": [str(path), str(tmp_path / "twice.json")]}}
    with pytest.raises(MotetError, match="are both of graph 'animals'"):
        graph.serve(block=False, port=0, observability=twice).close()
