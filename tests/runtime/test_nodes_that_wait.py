"""Models on other machines wait together: members of a node, and nodes that need nothing of each other; called, in bulk and served.

The servers answer once as many requests are there as should be under way at the same time: played one after the other, they
would never.
"""

import asyncio
import contextvars
import threading
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.oip_server import OipServer, Served
from helpers.rows import play
from motet.client import Client
from motet.runtime.side_by_side import SEEN, SLOW_S
from motet.testing.fakes import Affine, Failing, fake


class Meeting:
    """Servers' models that answer `x + add` once so many of them are asked, for as long as that is wanted."""

    def __init__(self):
        self.barrier, self.calls, self.bad = None, [], ()

    def model(self, name, add):
        def answer(x):
            self.calls.append((name, x.tolist()))
            if self.barrier is not None:
                self.barrier.wait()
            return {"y": x + np.float32(add)}

        return Served(answer, [("x", "FP32", [-1])], [("y", "FP32", [-1])])

    @contextmanager
    def of(self, parties):
        self.barrier = threading.Barrier(parties, timeout=20)
        try:
            yield self
        finally:
            self.barrier = None


@pytest.fixture(scope="module")
def server():
    meeting = Meeting()
    made: Any = OipServer(one=meeting.model("one", 1), two=meeting.model("two", 2), three=meeting.model("three", 3))
    made.meeting = meeting
    yield made
    made.close()


def far(server, name):
    return mt.Model(
        f"oip+http://127.0.0.1:{server.port}/v2/models/{name}", name, inputs={"x": "float32"}, outputs={"y": "float32"},
        timeout_s=25,
    )  # fmt: skip


def x_():
    return mt.input("x", "float32")


def voting(server):
    x = x_()
    vote = mt.ensemble([far(server, "one"), far(server, "two"), fake(Affine, "near", scale=4.0, output="y")], x)
    return mt.Graph("voting", {"y": vote})


def apart(server):
    """Two nodes that need nothing of each other, one behind the other's kind, and what joins them."""
    x = x_()
    first = mt.model(far(server, "one"), x, name="first")
    other = mt.model(far(server, "two"), mt.map(doubled, x, name="double"), name="other")
    return mt.Graph("apart", {"y": mt.map(added, first, other, name="sum")})


def split(server):
    x = x_()
    arms = {"low": far(server, "one"), "high": far(server, "two")}
    return mt.Graph("split", {"y": mt.route(arms, x, when={"low": "x < 10"}, otherwise="high", name="arm").y})


@mt.returns("float32")
def doubled(x):
    return x * 2


@mt.returns("float32")
def added(one, two):
    return one + two


def nested(server):
    x = x_()
    inner = voting(server)
    return mt.Graph("nested", {"y": mt.ensemble([inner, far(server, "three")], x)})


X = np.array([1, 20], np.float32)
GRAPHS = {
    "voting": (voting, 2, lambda x: ((x + 1) + (x + 2) + 4 * x) / 3),
    "apart": (apart, 2, lambda x: (x + 1) + (2 * x + 2)),
    "split": (split, 2, lambda x: np.where(x < 10, x + 1, x + 2)),
    "nested": (nested, 3, lambda x: (((x + 1) + (x + 2) + 4 * x) / 3 + (x + 3)) / 2),
}


@pytest.fixture(scope="module", params=GRAPHS)
def case(request, server):
    make, parties, oracle = GRAPHS[request.param]
    graph = make(server)
    graph({"x": X[:1]})  # what servers say of themselves is known then
    return graph, parties, oracle


def test_a_call_waits_for_all_at_the_same_time(case, server):
    graph, parties, oracle = case
    with server.meeting.of(parties):
        np.testing.assert_allclose(graph({"x": X})["y"], oracle(X))


def test_the_first_call_of_a_graph_does_so_already(server):
    with server.meeting.of(2):
        assert voting(server)({"x": np.array([0], np.float32)})["y"].tolist() == [1.0]


def test_a_run_waits_for_all_at_the_same_time(case, server, tmp_path):
    graph, parties, oracle = case
    pq.write_table(pa.table({"x": X}), tmp_path / "x.parquet")
    with server.meeting.of(parties):
        graph.run(tmp_path / "x.parquet", tmp_path / "y.parquet")
    np.testing.assert_allclose(pq.read_table(tmp_path / "y.parquet")["y"].to_numpy(), oracle(X))


def test_an_explanation_waits_for_all_at_the_same_time(case, server):
    graph, _, oracle = case
    parties = 1 if graph.name == "split" else case[1]
    with server.meeting.of(parties):
        told = graph.explain({"x": X[:1]})
    np.testing.assert_allclose(told.outputs["y"], oracle(X)[0])
    assert len(told.calls) == {"voting": 3, "apart": 2, "split": 1, "nested": 5}[graph.name]


def test_an_awaited_call_and_one_with_a_timeout_wait_for_all_at_the_same_time(case, server):
    graph, parties, oracle = case
    with server.meeting.of(parties):
        np.testing.assert_allclose(graph({"x": X}, timeout=20)["y"], oracle(X))
    with server.meeting.of(parties):
        np.testing.assert_allclose(asyncio.run(graph.acall({"x": X}))["y"], oracle(X))


# rows that fail


def test_of_a_row_that_several_nodes_fail_on_the_first_in_order_says_why(server):
    x = x_()
    one = mt.model(fake(Failing, "one", bad=[1.0, 2.0]), x, name="a")
    two = mt.model(fake(Failing, "two", bad=[2.0, 3.0], scale=10.0), x, name="b")
    three = mt.model(far(server, "three"), x, name="c")
    graph = mt.Graph("g", {"y": mt.map(added, mt.map(added, one, two, name="ab"), three, name="abc")})
    found = play(graph, {"x": np.array([0, 1, 2, 3, 4], np.float32)})
    assert [(each.node, each.message) for each in found if not isinstance(each, dict)] == [
        ("a", "cannot take 1"), ("a", "cannot take 2"), ("b", "cannot take 3"),
    ]  # fmt: skip
    assert [each["y"] for each in found if isinstance(each, dict)] == [3, 51]
    assert graph.executor._parts.together


def test_rows_that_all_fail_on_one_side_fail_all(server):
    x = x_()
    one = mt.model(fake(Failing, "one"), x, name="a")
    graph = mt.Graph("g", {"y": mt.map(added, one, mt.model(far(server, "two"), x, name="b"), name="sum")})
    found = play(graph, {"x": np.array([5, 6], np.float32)})
    assert [(each.row, each.node) for each in found] == [(0, "a"), (1, "a")]


def test_a_server_that_is_gone_is_said_and_nothing_is_left_behind(server):
    gone = mt.Model("oip+http://127.0.0.1:9/v2/models/gone", "gone", inputs={"x": "float32"}, outputs={"y": "float32"})
    x = x_()
    graph = mt.Graph("g", {"y": mt.map(added, mt.model(gone, x), mt.model(far(server, "two"), x), name="sum")})
    with pytest.raises(mt.ModelError, match="gone"):
        graph({"x": X})
    assert "motet-calls" not in {thread.name for thread in threading.enumerate()}


number = contextvars.ContextVar("number", default=0)


@mt.returns("float32")
def of_context(x):
    return x * 0 + number.get()


def test_context_variables_are_those_of_the_caller(server):
    models = [
        mt.Model(f"oip+http://127.0.0.1:{server.port}/v2/models/{name}", name, inputs={"x": "float32"},
                 outputs={"y": "float32"}, before=[of_context])
        for name in ("one", "two")
    ]  # fmt: skip
    graph = mt.Graph("g", {"y": mt.ensemble(models, x_())})
    token = number.set(7)
    try:
        assert graph({"x": X})["y"].tolist() == [8.5, 8.5]
    finally:
        number.reset(token)


pair = None


@mt.returns("float32")
def waits(x):
    """Waits for the other one where there is a pair, else for a while that is worth a thread."""
    threading.Event().wait(4 * SLOW_S) if pair is None else pair.wait()
    return x


def test_functions_that_were_seen_to_wait_wait_together():
    global pair
    x = x_()
    graph = mt.Graph("g", {"y": mt.map(added, mt.map(waits, x, name="a"), mt.map(waits, x, name="b"), name="sum")})
    for _ in range(SEEN + 1):
        assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
    pair = threading.Barrier(2, timeout=20)
    try:
        assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
    finally:
        pair = None


def test_nodes_of_models_that_compute_are_played_one_after_the_other():
    x = x_()
    nodes = [mt.model(fake(Affine, name, scale=2.0), x) for name in "abc"]
    graph = mt.Graph("g", {"y": mt.map(added, mt.map(added, nodes[0], nodes[1]), nodes[2])})
    assert graph({"x": X})["y"].tolist() == [6, 120]
    assert graph.executor._parts.any
    assert not graph.executor._parts.together


# served


def test_requests_wait_for_all_at_the_same_time(case, server):
    graph, parties, oracle = case
    with graph.serve(block=False, port=0) as live, Client(live.url) as client, server.meeting.of(parties):
        np.testing.assert_allclose(client.infer(graph.name, {"x": X})["y"], oracle(X))
