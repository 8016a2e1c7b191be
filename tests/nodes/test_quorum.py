"""An ensemble with `within_ms` answers with those who answered in time, if they are enough: called, in bulk, explained and served.

Who is late waits for an event that the test sets, so that it is late whatever the machine does; who is not has minutes.
"""

import asyncio
import threading
import urllib.request
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.gates import gated, gates, shut
from helpers.oip_server import OipServer, Served, far
from helpers.rows import play
from motet.client import Client
from motet.errors import DeadlineError, ModelUnavailableError, MotetError
from motet.runtime.overdue import MOST_LATE
from motet.testing.fakes import Affine, Failing, fake

X = np.array([1, 2, 5], np.float32)
SOON = 300


def x_():
    return mt.input("x", "float32")


def near(name, scale, **options):
    return fake(Failing if "bad" in options else Affine, name, scale=scale, output="y", **options)


def voting(members, **options):
    options = {"within_ms": SOON, "require": 2, "name": "vote", **options}
    vote = mt.ensemble(members, x_(), **options)
    return mt.Graph("voting", {"y": vote.y, "who": vote.member, "c": vote.c.y})


@pytest.fixture(scope="module")
def server():
    """A server whose model answers `4 x` once its gate is open."""
    gate = threading.Event()
    gate.set()

    def answer(x):
        gate.wait(30)
        return {"y": x * 4}

    made: Any = OipServer(slow=Served(answer, [("x", "FP32", [-1])], [("y", "FP32", [-1])]))
    made.gate = gate
    yield made
    made.close()


class Late:
    """A third member that is late for as long as the block lasts: on another machine, or in this process."""

    def __init__(self, kind, server):
        self.server = server if kind == "far" else None
        self.model = far(server) if kind == "far" else gated("quorum", add=0.0, placement=None)
        self.scale = 4 if kind == "far" else 1

    def __enter__(self):
        self.gate = self.server.gate if self.server else gates["quorum"].open
        self.gate.clear()

    def __exit__(self, *error):
        self.gate.set()


@pytest.fixture(params=["far", "near"])
def late(request, server):
    return Late(request.param, server)


def three(late):
    return voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": late.model}, weights=[1, 3, 4])


def patient(late):
    return voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": late.model}, weights=[1, 3, 4], within_ms=60_000)


BOTH = (1 * 2 * X + 3 * 3 * X) / 4


def all_three(late):
    return (1 * 2 * X + 3 * 3 * X + 4 * late.scale * X) / 8


def test_all_that_are_in_time_count(late):
    answer = patient(late)({"x": X})
    np.testing.assert_allclose(answer["y"], all_three(late))
    assert answer["who"].tolist() == ["a,b,c"] * 3


def test_a_call_is_answered_without_who_is_late(late):
    graph = three(late)
    with late:
        answer = graph({"x": X})
    np.testing.assert_allclose(answer["y"], BOTH)
    assert answer["who"].tolist() == ["a,b"] * 3
    assert np.isnan(answer["c"]).all()


def test_an_awaited_call_is_too(late):
    graph = three(late)
    with late:
        answer = asyncio.run(graph.acall({"x": X}, timeout=60))
    np.testing.assert_allclose(answer["y"], BOTH)


def test_a_run_is_too(late, tmp_path):
    pq.write_table(pa.table({"x": X}), tmp_path / "x.parquet")
    graph = three(late)
    with late:
        report = graph.run(tmp_path / "x.parquet", tmp_path / "y.parquet")
    found = pq.read_table(tmp_path / "y.parquet")
    np.testing.assert_allclose(found["y"].to_numpy(), BOTH)
    assert (found["who"].to_pylist(), report.failed) == (["a,b"] * 3, 0)


def test_a_request_is_too_and_says_who_answered(late):
    graph = three(late)
    with graph.serve(block=False, port=0) as live, Client(live.url) as client:
        with late:
            answer = client.infer("voting", {"x": X})
        np.testing.assert_allclose(answer["y"], BOTH)
        assert list(answer["who"]) == ["a,b"] * 3


def test_a_request_whose_rows_fail_by_time_is_late_and_not_wrong(late):
    graph = voting({"a": near("a", 2.0), "c": late.model})
    with graph.serve(block=False, port=0) as live, Client(live.url) as client:
        with late, pytest.raises(MotetError, match=f"c: DeadlineError|not answered within {SOON} ms") as raised:
            client.infer("voting", {"x": X})
        assert raised.value.status == 504
        with urllib.request.urlopen(f"{live.url}/metrics", timeout=20) as answer:
            said = answer.read().decode()
        assert 'motet_late_rows_total{graph="voting",member="c",node="vote"} 3.0' in said
        assert 'motet_late_rows_total{graph="voting",member="a",node="vote"} 0.0' in said


def test_the_explanation_names_who_was_late_and_who_failed(late):
    graph = voting({"a": near("a", 2.0), "b": near("b", 3.0, bad=[5.0]), "c": late.model}, require=1)
    with late:
        told = graph.explain({"x": X}, row=2)
    assert {call.member: [(fault.error, fault.message) for fault in call.faults] for call in told.calls} == {
        "a": [], "b": [("ValueError", "cannot take 5")], "c": [("DeadlineError", f"not answered within {SOON} ms")],
    }  # fmt: skip
    assert told.columns["vote.member"] == "a"
    assert f"failed: DeadlineError: not answered within {SOON} ms" in str(told)


def test_rows_with_too_few_answers_fail_naming_all_who_failed_or_were_late(late):
    graph = voting({"a": near("a", 2.0), "b": near("b", 3.0, bad=[5.0]), "c": late.model})
    with late:
        found = play(graph, {"x": X})
    assert [each["y"] for each in found[:2]] == [2.5, 5.0]
    assert found[2].node == "vote"
    assert found[2].message == (
        f"2 members failed: b: ValueError: cannot take 5; c: DeadlineError: not answered within {SOON} ms"
    )


def test_without_require_all_that_count_must_be_in_time(late):
    graph = voting({"a": near("a", 2.0), "c": late.model}, require=None)
    with late:
        found = play(graph, {"x": X})
    assert [(each.error, each.message) for each in found] == [("DeadlineError", f"not answered within {SOON} ms")] * 3


def test_nobody_in_time_is_a_failure_of_each_row(late):
    graph = voting({"c": late.model, "d": late.model}, require=1)
    with late:
        found = play(graph, {"x": X})
    assert [each.error for each in found] == ["DeadlineError"] * 3
    assert all(f"c: DeadlineError: not answered within {SOON} ms; d: Dead" in each.message for each in found)


def test_nobody_who_can_be_reached_is_no_rows_fault():
    gone = mt.Model("oip+http://127.0.0.1:9/v2/models/gone", "gone", inputs={"x": "float32"}, outputs={"y": "float32"})
    graph = voting({"c": gone, "d": gone}, require=1, within_ms=60_000)
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        graph({"x": X})


@pytest.mark.parametrize("options", [{}, {"within_ms": 60_000}])
def test_who_cannot_be_reached_may_call_its_output_otherwise(options):
    gone = mt.Model("oip+http://127.0.0.1:9/v2/models/gone", "gone", inputs={"x": "float32"}, outputs={"z": "float32"})
    members = {"a": mt.member(near("a", 2.0), output="y"), "c": mt.member(gone, output="z")}
    vote = mt.ensemble(members, x_(), output="u", require=1, name="vote", **options)
    found = mt.Graph("voting", {"u": vote.u, "who": vote.member, "c": vote.c.u})({"x": X})
    assert (found["u"].tolist(), found["who"].tolist()) == ((2 * X).tolist(), ["a"] * 3)
    assert np.isnan(found["c"]).all()


def test_who_cannot_be_reached_keeps_its_own_classes():
    few, more = mt.input("few", "float32[2]"), mt.input("more", "float32[3]")
    there = fake(Affine, "a", "float32[2]", output="y", scale=2.0, settings={"labels": ["cat", "dog"]})
    gone = mt.Model(
        "oip+http://127.0.0.1:9/v2/models/gone", "gone", inputs={"more": "float32[3]"}, outputs={"y": "float32[3]"},
        labels=["dog", "emu", "fox"],
    )  # fmt: skip
    members = {"a": mt.member(there, [few]), "c": mt.member(gone, [more])}
    vote = mt.ensemble(members, combine="union", require=1, name="vote")
    graph = mt.Graph("voting", {"y": vote.y, "c": vote.c.y})
    found = graph({"few": np.array([[1, 2]], np.float32), "more": np.array([[3, 4, 5]], np.float32)})
    assert (found["y"].tolist(), found["c"].shape) == ([[2.0, 4.0, 0.0, 0.0]], (1, 3))
    assert np.isnan(found["c"]).all()


@pytest.mark.parametrize("combine", ["majority_vote", "median", "max", "stack", "average"])
def test_every_combiner_takes_those_who_are_there(combine, late):
    graph = voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": late.model}, combine=combine)
    with late:
        found = graph({"x": X})["y"]
    two = np.stack([2 * X, 3 * X], axis=1)
    wanted = {
        "majority_vote": 2 * X, "median": np.median(two, axis=1), "max": two.max(axis=1), "average": two.mean(axis=1),
        "stack": np.concatenate([two, np.full((3, 1), np.nan)], axis=1),
    }[combine]  # fmt: skip
    np.testing.assert_allclose(found, wanted)


def test_late_calls_are_bounded_and_begun_again_once_they_have_ended():
    graph = voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": gated("quorum", placement=None)}, within_ms=150)
    with shut("quorum") as gate:
        for _ in range(MOST_LATE + 3):
            np.testing.assert_allclose(graph({"x": X})["y"], 2.5 * X)
        assert len(gate.played) == MOST_LATE
        told = graph.explain({"x": X})
        assert len(gate.played) == MOST_LATE
        (fault,) = next(call for call in told.calls if call.member == "c").faults
        assert fault.message == f"not called: {MOST_LATE} late calls of it are still under way"
    late = next(each for key, each in graph.executor.shared.late.items() if key == ("vote", "c"))
    while late.full:
        gate.open.wait()
    graph({"x": X})
    assert len(gate.played) == MOST_LATE + 1


def test_a_member_that_is_a_graph_has_the_same_time(late):
    inner = mt.Graph("inner", {"y": mt.map(same, mt.model(late.model, x_()))})
    graph = voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": inner})
    with late:
        np.testing.assert_allclose(graph({"x": X})["y"], 2.5 * X)
        with graph.serve(block=False, port=0) as live, Client(live.url) as client:
            np.testing.assert_allclose(client.infer("voting", {"x": X})["y"], 2.5 * X)


@mt.returns("float32")
def same(y):
    return y


def test_a_member_that_fails_on_everything_is_done_without():
    graph = voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": near("c", 1.0, bad=None)}, within_ms=60_000)
    rows = np.arange(40, dtype=np.float32)
    np.testing.assert_allclose(graph({"x": rows})["y"], 2.5 * rows)


def test_a_timeout_of_the_call_around_it_holds(late):
    graph = voting({"a": near("a", 2.0), "c": late.model}, within_ms=60_000)
    with late, pytest.raises(DeadlineError, match=r"not answered within 0.2 s"):
        graph({"x": X}, timeout=0.2)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "40", 4e6])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(mt.GraphError, match=r"within_ms"):
        voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": near("c", 1.0)}, within_ms=value)


def test_it_is_written_and_read(tmp_path):
    graph = voting({"a": near("a", 2.0), "b": near("b", 3.0), "c": near("c", 1.0)}, within_ms=40)
    graph.save(tmp_path / "g.yaml")
    assert "require: 2, within_ms: 40" in (tmp_path / "g.yaml").read_text()
    assert mt.load(tmp_path / "g.yaml") == graph
