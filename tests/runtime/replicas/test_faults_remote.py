"""Models of other servers, which are killed, stand still, are slow, and come back: real processes on real sockets."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers.live_server import Live
from helpers.oip_server import OipServer, Say, Served
from helpers.until import until
from motet.errors import ModelUnavailableError

X = np.arange(5, dtype=np.float32)
RIGHT = (X * 3 + 1).tolist()
TYPES: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}


class Peer:
    """Another server: three times x, plus one. It always comes back to the same port."""

    def __init__(self, folder):
        self.folder, self.port = folder, 0
        model = mt.Model("python:helpers.replicated:Steady", "m", **TYPES)
        mt.Graph("there", {"y": mt.model(model, mt.input("x", "float32"))}).save(str(folder / "there.yaml"))
        self.begin()
        self.uri = f"oip+http://127.0.0.1:{self.port}/v2/models/there"

    def begin(self):
        self.live = Live(self.folder, self.folder / "there.yaml", port=self.port)
        self.port = self.live.port
        self.live.until_ready()

    def kill(self):
        self.live.process.kill()
        self.live.process.wait()

    def tell(self, number):
        """Send a signal to all of it."""
        pid = self.live.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, number)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    made = [Peer(tmp_path_factory.mktemp(name)) for name in ("one", "other")]
    yield made
    for peer in made:
        peer.kill()


@pytest.fixture
def peers(both):
    """Two servers that are there, whatever became of them before."""
    for peer in both:
        if peer.live.process.poll() is not None:
            peer.begin()
    return both


@pytest.fixture
def closing():
    graphs = []
    yield lambda graph: graphs.append(graph) or graph
    for graph in graphs:
        graph.executor.host.close()


def graph_of(uris, uri=None, timeout_s=2.0, **settings):
    given = {**TYPES, "uris": uris, **settings}
    if uri is None:
        uri, *given["uris"] = uris
        given["options"] = {"timeout_s": timeout_s, "retries": 0}
    return mt.Graph("g", {"y": mt.model(mt.Model(uri, "m", **given), mt.input("x", "float32"))})


def replicas(graph):
    (hosted,) = graph.executor.host.models
    return {each.name: each for each in hosted.replicas.status()}


def ask_until(graph, holds):
    """Ask, with every answer right, until something holds."""

    def asked():
        assert graph({"x": X})["y"].tolist() == RIGHT
        return holds()

    return until(asked)


def test_an_address_that_goes_away_is_left_alone_and_taken_back_when_it_is_there_again(peers, closing):
    gone, stays = peers
    graph = closing(graph_of([gone.uri, stays.uri]))
    ask_until(graph, lambda: all(each.calls for each in replicas(graph).values()))
    gone.kill()
    ask_until(graph, lambda: replicas(graph)[gone.uri].state == "BACKOFF")
    assert "the server cannot be reached" in replicas(graph)[gone.uri].reason
    until(lambda: replicas(graph)[gone.uri].state == "SUSPECT")
    assert replicas(graph)[gone.uri].at_once == 1
    gone.begin()
    calls = replicas(graph)[gone.uri].calls
    ask_until(graph, lambda: replicas(graph)[gone.uri].calls > calls + 3)
    assert {str(each.state) for each in replicas(graph).values()} == {"READY"}


def test_the_only_address_answers_again_as_soon_as_it_is_back(peers, closing):
    peer, _ = peers
    graph = closing(graph_of([peer.uri]))
    ask_until(graph, lambda: True)
    peer.kill()
    for _ in range(10):
        with pytest.raises(ModelUnavailableError, match="model 'm': the (server cannot be reached|connection broke)"):
            graph({"x": X})
    peer.begin()

    def answered():
        try:
            return graph({"x": X})["y"].tolist() == RIGHT
        except ModelUnavailableError:
            return False

    until(answered)


def test_a_server_that_stands_still_costs_its_time_once_and_no_answer(peers, closing):
    still, goes = peers
    graph = closing(graph_of([still.uri, goes.uri], timeout_s=0.5))
    ask_until(graph, lambda: all(each.calls for each in replicas(graph).values()))
    still.tell(signal.SIGSTOP)
    try:
        ask_until(graph, lambda: replicas(graph)[still.uri].state == "BACKOFF")
        assert "no answer within 0.5 s" in replicas(graph)[still.uri].reason
    finally:
        still.tell(signal.SIGCONT)
    ask_until(graph, lambda: replicas(graph)[still.uri].state == "READY")


def test_a_process_and_a_server_answer_as_one_model_and_each_stands_in_for_the_other(peers, closing):
    peer, _ = peers
    settings = {"placement": "process", "replicas": 1, "timeout_s": 20.0}
    graph = closing(graph_of([peer.uri], "python:helpers.replicated:Steady", **settings))
    ask_until(graph, lambda: all(each.calls for each in replicas(graph).values()))
    assert {name: each.kind for name, each in replicas(graph).items()} == {"0": "process", peer.uri: "remote"}

    pid = replicas(graph)["0"].pid
    os.kill(pid, signal.SIGKILL)
    ask_until(graph, lambda: replicas(graph)["0"].pid not in (pid, None))
    peer.kill()
    ask_until(graph, lambda: replicas(graph)[peer.uri].state != "READY")
    calls = replicas(graph)["0"].calls
    ask_until(graph, lambda: replicas(graph)["0"].calls > calls + 5)
    peer.begin()
    ask_until(graph, lambda: replicas(graph)[peer.uri].state == "READY")


class Narrow:
    """A model that answers one call after the other, and how many waited for it at most."""

    def __init__(self, seconds):
        self.seconds, self.lock, self.turn = seconds, threading.Lock(), threading.Lock()
        self.now = self.most = self.calls = 0

    def __call__(self, x):
        with self.lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)
        with self.turn:
            time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return x * 3 + 1


@pytest.fixture
def serving():
    servers = []

    def begin(function):
        model = Served(function, [("x", "FP32", [-1])], [("y", "FP32", [-1])])
        servers.append(OipServer(m=model))
        return servers[-1], f"oip+http://127.0.0.1:{servers[-1].port}/v2/models/m"

    yield begin
    for server in servers:
        server.close()


def ask_from_many(graph, threads=24, calls=20):
    answers, errors = [], []

    def ask():
        try:
            answers.extend(graph({"x": X})["y"].tolist() for _ in range(calls))
        except mt.MotetError as error:
            errors.append(error)

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert errors == []
    assert answers == [RIGHT] * threads * calls


def test_a_slow_server_gets_few_calls_at_once_and_a_quick_one_the_others(serving, closing):
    slow, quick = Narrow(0.02), Narrow(0.001)
    (_, there), (_, here) = serving(slow), serving(quick)
    graph = closing(graph_of([there, here], timeout_s=30.0))
    graph({"x": X})
    ask_from_many(graph)
    assert slow.calls < quick.calls / 3
    assert slow.most < 16
    assert replicas(graph)[there].at_once < 16


def test_a_server_that_refuses_for_a_while_is_given_calls_one_by_one_until_it_answers(serving, closing):
    model = Narrow(0.0)
    (server, uri), (_, other) = serving(model), serving(Narrow(0.0))
    graph = closing(graph_of([uri, other]))
    ask_until(graph, lambda: model.calls)
    server.then(*[Say(503, b'{"error": "too busy"}')] * 3)
    ask_until(graph, lambda: not server.next and replicas(graph)[uri].state == "READY")
    assert replicas(graph)[uri].reason == "its server answered 503"
