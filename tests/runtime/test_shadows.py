"""A member with a weight of 0 is off the way of the answers: called and served it delays none, whatever becomes of it.

Shadows wait for an event that the test sets; where they were on the way, no answer would come before it.
"""

import http.client
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.gates import gated, gates, shut
from helpers.oip_server import OipServer, Served, far
from helpers.until import until
from motet.batch import Batch
from motet.client import Client
from motet.runtime import asides
from motet.runtime.executor import drive
from motet.runtime.shadows import AT_ONCE, MOST_CALLS
from motet.testing.fakes import Affine, Failing, fake

X = np.array([1, 2, 5], np.float32)


def x_():
    return mt.input("x", "float32")


def near(name, scale=2.0, **options):
    return fake(Failing if "bad" in options else Affine, name, scale=scale, output="y", **options)


def shadowed(next_model, **options):
    vote = mt.ensemble({"now": near("now"), "next": next_model}, x_(), weights={"next": 0}, name="vote", **options)
    return mt.Graph("shadowed", {"y": vote.y, "who": vote.member})


@pytest.fixture(scope="module")
def server():
    gate = threading.Event()
    gate.set()
    asked = threading.Semaphore(0)

    def answer(x):
        asked.release()
        gate.wait(30)
        return {"y": x}

    made: Any = OipServer(slow=Served(answer, [("x", "FP32", [-1])], [("y", "FP32", [-1])]))
    made.gate, made.asked = gate, asked
    yield made
    made.close()


def numbers(shadow):
    return {"played": shadow.played, "failed": shadow.failed, "dropped": shadow.dropped}


def of(graph):
    (shadow,) = graph.executor.shadows.values()
    return shadow


@pytest.mark.parametrize("options", [{}, {"within_ms": 60_000}, {"require": 1}])
def test_a_call_does_not_wait_for_it(options):
    graph = shadowed(gated("shadow", placement=None), **options)
    with shut("shadow") as gate:
        answer = graph({"x": X})
        assert (answer["y"].tolist(), answer["who"].tolist()) == ((2 * X).tolist(), ["now"] * 3)
        assert gate.entered.acquire(timeout=20)
        assert gate.played == [X.tolist()]
        assert numbers(of(graph)) == {"played": 0, "failed": 0, "dropped": 0}
    until(lambda: of(graph).played == 3)


def test_what_is_given_may_change_once_the_call_is_over():
    graph = shadowed(gated("shadow", placement=None))
    with shut("shadow") as gate:
        graph({"x": X})
        assert gate.entered.acquire(timeout=20)
        given = np.array([7, 8], np.float32)
        graph({"x": given})  # waits behind the first
        given[:] = 0
    until(lambda: of(graph).played == 5)
    assert gate.played == [X.tolist(), [7, 8]]


def test_what_is_too_much_is_dropped_and_counted():
    graph = shadowed(gated("shadow", placement=None))
    with shut("shadow") as gate:
        graph({"x": X})
        assert gate.entered.acquire(timeout=20)
        for _ in range(MOST_CALLS + 5):
            assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
        assert numbers(of(graph)) == {"played": 0, "failed": 0, "dropped": 15}
    until(lambda: of(graph).played == 3 * (1 + MOST_CALLS))
    assert of(graph).dropped == 15


def test_one_on_another_machine_is_asked_a_few_times_at_once(server):
    graph = shadowed(far(server))
    graph({"x": X})  # how many calls its server may get is found while calling: one after the other, to be sure
    until(lambda: of(graph).played == 3)
    while server.asked.acquire(blocking=False):
        pass
    server.gate.clear()
    try:
        for _ in range(AT_ONCE + 3):
            assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
        assert server.asked.acquire(timeout=20)
        assert sum(thread.name == "motet-shadow" for thread in threading.enumerate()) == AT_ONCE
    finally:
        server.gate.set()
    until(lambda: of(graph).played == 3 * (AT_ONCE + 4))


def test_rows_that_cannot_be_copied_for_it_are_dropped(monkeypatch):
    def no_memory(column):
        raise MemoryError

    graph = shadowed(near("next"))
    with monkeypatch.context() as patched:
        patched.setattr(asides, "copied", no_memory)
        assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
    assert numbers(of(graph)) == {"played": 0, "failed": 0, "dropped": 3}
    graph({"x": X})
    until(lambda: of(graph).played == 3)


def test_its_failures_are_counted_and_harm_nobody():
    graph = shadowed(near("next", bad=[2.0]))
    assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
    until(lambda: of(graph).played + of(graph).failed == 3)
    assert numbers(of(graph)) == {"played": 2, "failed": 1, "dropped": 0}
    gone = mt.Model("oip+http://127.0.0.1:9/v2/models/gone", "gone", inputs={"x": "float32"}, outputs={"y": "float32"})
    graph = shadowed(gone)
    assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
    until(lambda: of(graph).failed == 3)
    broken = shadowed(near("next", bad=None))
    rows = np.arange(100, dtype=np.float32)
    assert broken({"x": rows})["y"].tolist() == (2 * rows).tolist()
    until(lambda: of(broken).failed == 100)


def test_its_file_may_go_once_it_is_loaded(tmp_path):
    joblib = pytest.importorskip("joblib")
    from sklearn.linear_model import LinearRegression

    for name in ("now", "next"):
        joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 3.0]), tmp_path / f"{name}.joblib")
    x = mt.input("x", "float64[1]")
    now, then = (mt.Model(str(tmp_path / f"{name}.joblib"), name) for name in ("now", "next"))
    vote = mt.ensemble({"now": now, "next": then}, x, weights={"next": 0}, name="vote")
    graph = mt.Graph("shadowed", {"y": vote.value})
    batch = Batch({"x": np.array([[2.0]])})
    executor = graph.executor
    (shadow,) = executor.shadows.values()
    drive(executor.play(batch))
    until(lambda: shadow.played == 1)
    (tmp_path / "next.joblib").unlink()
    np.testing.assert_allclose(drive(executor.play(batch)).outputs.columns["y"], [6.0])  # type: ignore[arg-type]
    until(lambda: shadow.played == 2)


@pytest.mark.parametrize("bad", [[2.0], None])
def test_a_run_plays_it_on_all_rows_and_no_row_fails_for_it(tmp_path, bad):
    rows = np.arange(100, dtype=np.float32)
    pq.write_table(pa.table({"x": rows}), tmp_path / "x.parquet")
    graph = shadowed(near("next", bad=bad))
    report = graph.run(tmp_path / "x.parquet", tmp_path / "y.parquet", batch_rows=10)
    found = pq.read_table(tmp_path / "y.parquet")
    assert found["y"].to_pylist() == (2 * rows).tolist()
    assert (report.failed, set(found["who"].to_pylist())) == (0, {"now"})


def test_a_run_plays_it_on_every_row(tmp_path):
    pq.write_table(pa.table({"x": X}), tmp_path / "x.parquet")
    gates.pop("ran", None)
    shadowed(gated("ran", placement=None)).run(tmp_path / "x.parquet", tmp_path / "y.parquet")
    assert sorted(value for call in gates["ran"].played for value in call) == X.tolist()


def test_one_whose_answer_somebody_needs_is_waited_for():
    vote = mt.ensemble({"now": near("now"), "next": near("next", 3.0)}, x_(), weights={"next": 0}, name="vote")
    graph = mt.Graph("g", {"y": vote.y, "other": vote.next.y, "who": vote.member})
    answer = graph({"x": X})
    assert (answer["other"].tolist(), answer["who"].tolist()) == ((3 * X).tolist(), ["now,next"] * 3)
    assert not graph.executor.shadows
    says = "node 'vote': outputs need what 'next' says, whose weight is 0: every answer waits for it"
    assert graph.checked.warnings == (says,)
    assert shadowed(near("next")).checked.warnings == ()


def test_an_explanation_has_its_call_too():
    graph = shadowed(near("next", 3.0))
    told = graph.explain({"x": X})
    assert [(call.member, call.outputs["y"].tolist()) for call in told.calls] == [("now", [2.0]), ("next", [3.0])]
    assert told.columns["vote.member"] == "now"


def test_one_inside_a_graph_that_is_a_member_is_off_the_way_too():
    vote = mt.ensemble({"now": near("now"), "next": gated("shadow", placement=None)}, x_(), weights={"next": 0})
    inner = mt.Graph("inner", {"y": vote.y})
    graph = mt.Graph("outer", {"y": mt.ensemble({"in": inner, "near": near("near", 4.0)}, x_()).y})
    with shut("shadow") as gate:
        assert graph({"x": X})["y"].tolist() == (3 * X).tolist()
        assert gate.entered.acquire(timeout=20)
    until(lambda: of(graph).played == 3)


def test_closing_waits_for_what_is_under_way_and_drops_the_rest():
    graph = shadowed(gated("shadow", placement=None))
    with shut("shadow") as gate:
        graph({"x": X})
        assert gate.entered.acquire(timeout=20)
        graph({"x": X})
        shadow = of(graph)
        threading.Timer(0.05, gate.open.set).start()
        graph.close()
        assert numbers(shadow) == {"played": 3, "failed": 0, "dropped": 3}
    assert graph({"x": X})["y"].tolist() == (2 * X).tolist()


# served


def metrics(live):
    connection = http.client.HTTPConnection(live.url.removeprefix("http://"), timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if line.startswith("motet_shadow")}


@pytest.mark.parametrize("kind", ["near", "thread", "far"])
def test_a_request_does_not_wait_for_it_and_all_is_counted(kind, server):
    model = far(server) if kind == "far" else gated("shadow", placement=None if kind == "near" else "thread")
    graph = shadowed(model)
    gate = server.gate if kind == "far" else gates["shadow"].open
    labels = '{graph="shadowed",member="next",node="vote"}'
    with graph.serve(block=False, port=0) as live, Client(live.url) as client:
        asked = server.asked if kind == "far" else gates["shadow"].entered
        begun = AT_ONCE if kind == "far" else 1
        gate.clear()
        while asked.acquire(blocking=False):
            pass
        try:
            for number in range(30):
                assert client.infer("shadowed", {"x": X})["y"].tolist() == (2 * X).tolist()
                assert number >= begun or asked.acquire(timeout=20)
        finally:
            gate.set()
        wanted = {"played": 3 * (MOST_CALLS + begun), "failed": 0, "dropped": 3 * (30 - MOST_CALLS - begun)}

        def counted():
            found = metrics(live)
            return {each: found[f"motet_shadow_{each}_rows_total{labels}"] for each in wanted}

        until(lambda: counted()["played"] == wanted["played"])
        assert counted() == wanted
