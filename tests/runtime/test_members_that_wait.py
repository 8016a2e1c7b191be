"""Members that wait are called at the same time, once they were seen to; members that compute are not."""

import json
import threading
import urllib.request
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import waiting
from helpers.oip_server import OipServer, Served
from motet.runtime.side_by_side import SEEN, SLOW_S, Members


def waits():
    threading.Event().wait(4 * SLOW_S)  # as for an address that answers late
    return threading.get_ident()


def test_calls_that_wait_are_made_together():
    members = Members()
    for _ in range(SEEN + 1):
        assert set(members([waits, waits], "ab")) == {threading.get_ident()}
    barrier = threading.Barrier(2, timeout=30)
    assert sorted(members([barrier.wait, barrier.wait], "ab")) == [0, 1]


def test_calls_that_are_quick_are_made_one_after_the_other():
    members = Members()
    for _ in range(10):
        assert set(members([threading.get_ident, threading.get_ident], "ab")) == {threading.get_ident()}


def test_the_first_error_is_the_one_that_is_raised():
    members = Members()
    for _ in range(SEEN + 1):
        members([waits, waits], "ab")

    def fails():
        raise LookupError("odd")

    with pytest.raises(LookupError, match="odd"):
        members([waits, fails], "ab")


def test_members_of_an_ensemble_that_wait_are_asked_at_the_same_time():
    kinds: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    first, second = (mt.Model(f"python:helpers.waiting:{name}", name, **kinds) for name in ("first", "second"))
    graph = mt.Graph("g", {"y": mt.ensemble([first, second], mt.input("x", "float32"))})
    for _ in range(SEEN + 1):
        assert graph({"x": np.array([4], np.float32)})["y"].tolist() == [5.0]
    waiting.together = threading.Barrier(2, timeout=30)
    try:
        assert graph({"x": np.array([4], np.float32)})["y"].tolist() == [5.0]
    finally:
        waiting.together = None


class Meeting:
    """What two servers do with each row: they answer once both have been asked for it."""

    def __init__(self) -> None:
        self.barriers: dict[float, threading.Barrier] = defaultdict(lambda: threading.Barrier(2, timeout=30))
        self.lock = threading.Lock()

    def __call__(self, x: Any) -> Any:
        with self.lock:
            barrier = self.barriers[float(x[0])]
        barrier.wait()
        return x * 2


@pytest.fixture(scope="module")
def addresses():
    servers = [OipServer(m=Served(None, [("x", "FP32", [-1])], [("y", "FP32", [-1])])) for _ in range(2)]
    yield servers
    for server in servers:
        server.close()


def by_call(graph):
    return graph({"x": np.array([7, 8], np.float32)})["y"].tolist()


def by_run(graph):
    return graph.run({"x": np.array([7, 8], np.float32)}, workers=1)["y"].to_pylist()


def by_request(graph):
    with graph.serve(block=False, port=0) as server:
        body = json.dumps({"rows": [{"x": 7}, {"x": 8}]}).encode()
        request = urllib.request.Request(f"{server.url}/predict/g", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return [each["y"] for each in json.load(answer)["rows"]]


@pytest.mark.parametrize("ask", [by_call, by_run, by_request])
def test_members_behind_addresses_are_asked_at_the_same_time_from_the_first_call_on(ask, addresses):
    meeting = Meeting()
    for server in addresses:
        server.models["m"].function = meeting
    kinds: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}, "timeout_s": 60}
    members = [
        mt.Model(f"oip+{server.url}/v2/models/m", name, **kinds) for server, name in zip(addresses, "ab", strict=True)
    ]
    graph = mt.Graph("g", {"y": mt.ensemble(members, mt.input("x", "float32"))})
    assert ask(graph) == [14.0, 16.0]
    graph.executor.close()
