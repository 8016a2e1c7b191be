"""Models played through their replicas: in bulk while processes are killed, by key, behind addresses."""

import contextlib
import os
import random
import signal
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.live_server import Live
from helpers.processes import children, is_replica
from motet.errors import GraphError, ModelUnavailableError
from motet.testing.fakes import Affine, fake

KILLS = 20


def steady(name="m", **settings):
    given = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}, **settings}
    return mt.Model("python:helpers.replicated:Steady", name, **given)


def graph_of(model, kind="float32"):
    return mt.Graph("g", {"y": mt.model(model, mt.input("x", kind))})


@pytest.fixture
def closing():
    graphs = []
    yield lambda graph: graphs.append(graph) or graph
    for graph in graphs:
        graph.executor.host.close()


def replica_pids():
    """The processes with models that any thread of this one has started."""
    return {pid for pid in children("self") if is_replica(pid)}


def test_twenty_kills_during_a_bulk_run_change_no_bit_of_its_output(tmp_path):
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    pq.write_table(pa.table({"x": values}), tmp_path / "x.parquet")
    killed, begun, over = [], threading.Event(), threading.Event()

    def kill():
        chance, seen = random.Random(0), {}
        begun.wait(60)
        while not over.is_set() and len(killed) < KILLS:
            now = time.monotonic()
            alive = {pid: seen.setdefault(pid, now) for pid in replica_pids() - set(killed)}
            if grown := sorted(pid for pid, since in alive.items() if now - since > 0.5):
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(chosen := chance.choice(grown), signal.SIGKILL)
                    killed.append(chosen)
            over.wait(0.05)

    def said(rows, total, failed):
        begun.set()

    def run(output, seconds=0.0, **settings):
        model = steady(options={"seconds": seconds}, batch=mt.Batching(max_rows=16), **settings)
        return graph_of(model).run(str(tmp_path / "x.parquet"), str(tmp_path / output), batch_rows=512, progress=said)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        report = run("killed.parquet", 0.03, placement="process", replicas=3)
    finally:
        over.set()
        begun.set()
        killer.join()
    run("whole.parquet")
    assert len(killed) == KILLS
    assert (report.answered, report.failed) == (10_000, 0)
    assert pq.read_table(tmp_path / "killed.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))


DEADLY = """
import os
import signal


class Deadly:
    def __call__(self, x):
        if (x == 13).any():
            os.kill(os.getpid(), signal.SIGSEGV)
        return x * 2
"""


def test_a_row_that_kills_every_process_it_meets_fails_alone(tmp_path, monkeypatch, closing):
    (tmp_path / "deadly_model.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    types: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    model = mt.Model("python:deadly_model:Deadly", "m", placement="process", replicas=2, **types)
    graph = closing(graph_of(model))
    x = np.arange(10, 18, dtype=np.float32)
    answers, failures = graph({"x": x}, failures="return")
    assert answers["y"].tolist() == [2 * each for each in x if each != 13]
    assert [(each.row, each.error) for each in failures] == [(3, "DeadlyRowsError")]
    assert "3 replicas were lost on the same 1 rows; the last one: " in failures[0].message


def test_rows_with_the_same_key_meet_the_same_replica(closing):
    who = "python:helpers.replicated:Who"
    types: dict[str, Any] = {"inputs": {"x": "int64"}, "outputs": {"pid": "int64"}}
    settings: dict[str, Any] = {"placement": "process", "replicas": 2, "balance": "hash", "balance_by": "x", **types}
    graph = closing(graph_of(mt.Model(who, "m", **settings), "int64"))
    keys = np.tile(np.arange(40), 3)
    first = graph({"x": keys})["y"]
    assert len(set(first.tolist())) == 2
    assert (first.reshape(3, 40) == first[:40]).all()
    assert (graph({"x": keys[::-1]})["y"] == first[::-1]).all()


def test_the_key_must_be_an_input_of_the_model():
    model = steady(balance="hash", balance_by="user", placement="process")
    with pytest.raises(GraphError, match="model 'm': balance_by is 'user'; the model takes x"):
        graph_of(model).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"uri": "oip+http://h/v2/models/m", "placement": "process"}, "is an address; it cannot be process"),
        ({"uri": "oip+http://h/v2/models/m", "replicas": 2}, "is an address, whose replicas are not ours to count"),
        ({"uri": "python:helpers.replicated:Steady", "timeout_s": 3}, "cannot be stopped after timeout_s"),
    ],
)
def test_what_a_model_cannot_have_where_it_is_is_refused_when_the_graph_is_built(settings, message):
    model = mt.Model(settings.pop("uri"), "m", inputs={"x": "float32"}, outputs={"y": "float32"}, **settings)
    with pytest.raises(GraphError, match=message):
        graph_of(model).check()


def test_a_canary_gets_its_weight_and_keeps_its_users_when_the_weight_grows(closing):
    users = np.array([f"user {number}" for number in range(4000)], dtype=object)
    shares = []
    for weight in (5, 25):
        old, new = steady("old"), fake(Affine, "new", "float32", output="y")
        arm = mt.route(
            {"old": old, "new": new}, mt.input("x", "float32"), split={"old": 100 - weight, "new": weight},
            by=mt.input("user", "string"), name="arm",
        )  # fmt: skip
        graph = closing(mt.Graph("canary", {"y": arm.y, "who": arm.member}))
        answers = graph({"x": np.ones(len(users), np.float32), "user": users})
        shares.append(answers["who"] == "new")
        assert (answers["y"][shares[-1]] == 1).all()
        assert (answers["y"][~shares[-1]] == 4).all()
        assert np.isclose(shares[-1].mean(), weight / 100, atol=0.02)
    assert shares[1][shares[0]].all()


@pytest.mark.parametrize("warm_up", [None, True, {"x": [1.0, 2.0]}])
def test_a_replica_answers_its_warm_up_before_it_is_called(closing, tmp_path, warm_up):
    log = tmp_path / "calls"
    model = mt.Model(
        "python:helpers.replicated:Noting", "m", inputs={"x": "float32"}, outputs={"y": "float32"}, warm_up=warm_up,
        placement="process", options={"path": str(log)},
    )  # fmt: skip
    graph = closing(graph_of(model))
    graph.executor.load()
    assert log.read_text() == ("[1.0, 2.0]\n" if isinstance(warm_up, dict) else "[0.0]\n")


@pytest.mark.parametrize(
    ("warm_up", "message"),
    [
        ({"y": [1.0]}, "warm_up: the model takes x; got rows of y"),
        ({"x": ["one"]}, "warm_up: 'x' is float32; got 'one'"),
        ({"x": [-1.0]}, "warm_up: it does not answer the rows given: ValueError: negative"),
    ],
)
def test_rows_that_do_not_fit_the_model_do_not_warm_it_up(closing, tmp_path, warm_up, message):
    settings: dict[str, Any] = {
        "inputs": {"x": "float32"},
        "outputs": {"y": "float32"},
        "options": {"path": str(tmp_path / "calls")},
    }
    model = mt.Model("python:helpers.replicated:Noting", "m", warm_up=warm_up, **settings)
    with pytest.raises(mt.MotetError, match=message):
        closing(graph_of(model)).executor.load()


@pytest.fixture(scope="module")
def two_servers(tmp_path_factory):
    servers = []
    for place in range(2):
        folder = tmp_path_factory.mktemp(f"server{place}")
        path = folder / "there.yaml"
        mt.Graph("there", {"y": mt.model(steady("m"), mt.input("x", "float32"))}).save(str(path))
        servers.append(Live(folder, path))
    for server in servers:
        server.until_ready()
    yield servers
    for server in servers:
        server.process.kill()
        server.process.wait()


def test_addresses_answer_together_and_one_that_dies_costs_no_call(two_servers, closing):
    uris = [f"oip+http://{server.url.removeprefix('http://')}/v2/models/there" for server in two_servers]
    graph = closing(graph_of(mt.Model(uris[0], "m", uris=uris[1:], inputs={"x": "float32"}, outputs={"y": "float32"})))
    x = np.arange(5, dtype=np.float32)
    for _ in range(6):
        assert graph({"x": x})["y"].tolist() == (x * 3 + 1).tolist()
    (hosted,) = graph.executor.host.models
    assert [(each.name, each.kind, each.calls) for each in hosted.replicas.status()] == [
        (uri, "remote", 3) for uri in uris
    ]
    two_servers[0].process.kill()
    two_servers[0].process.wait()
    for _ in range(6):
        assert graph({"x": x})["y"].tolist() == (x * 3 + 1).tolist()
    states = {each.name: str(each.state) for each in hosted.replicas.status()}
    assert states[uris[0]] in ("BACKOFF", "SUSPECT")
    assert states[uris[1]] == "READY"
    two_servers[1].process.kill()
    two_servers[1].process.wait()
    with pytest.raises(ModelUnavailableError, match="the server cannot be reached"):
        graph({"x": x})
