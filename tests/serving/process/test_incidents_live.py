"""Each incident of a server is a line of its log and a number of its metrics, with nothing in it that is a caller's."""

from __future__ import annotations

import json
import os
import re
import signal
import threading

import httpx
import pytest

from helpers.processes import children, is_replica
from serving.process.serve_process import body, serving, slow_graph, written

MODEL = """
import os, pathlib, signal
import numpy as np

class Odd:
    def __init__(self):
        marker = pathlib.Path("stop-once")
        if marker.exists():
            marker.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)

    def __call__(self, x):
        if (x == 666).any():
            os._exit(3)
        if (x == 13).any():
            raise ValueError(f"secret {x.tolist()}")
        return x * 2
"""
GRAPH = {
    "motet": 1,
    "name": "g",
    "inputs": {"x": "float32"},
    "models": {
        "odd": {
            "uri": "python:odd:Odd", "inputs": {"x": "float32"}, "outputs": {"y": "float32"}, "placement": "process",
            "replicas": 2, "timeout_s": 2,
        }
    },
    "nodes": {"a": {"model": "odd", "inputs": ["x"]}},
    "outputs": {"y": "a"},
}  # fmt: skip


@pytest.fixture
def graph(tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "g.yaml", GRAPH)


def asked(server, x):
    return httpx.post(f"{server.url}/predict/g", json={"x": x}, timeout=30)


def lines(server):
    return [json.loads(line) for line in list(server.log)]


def said(server, kind):
    return [line for line in lines(server) if line.get("incident") == kind]


def counted(server):
    text = httpx.get(f"{server.url}/metrics", timeout=10).text
    found = re.findall(r'^motet_incidents_total\{incident="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def replicas(server):
    return [each for each in children(server.process.pid) if is_replica(each)]


@pytest.mark.parametrize("how", ["killed while idle", "stopped while idle", "rows that kill it"])
def test_replicas_that_are_lost_and_back(graph, how):
    with serving(graph, "--log-format", "json") as server:
        server.until(server.is_ready)
        assert asked(server, 1).json() == {"y": 2}
        if how == "rows that kill it":
            assert asked(server, 666).status_code == 422
            expected, reason = 2, "ended with exit code 3"
        else:
            number = signal.SIGKILL if how.startswith("killed") else signal.SIGSTOP
            os.kill(replicas(server)[0], number)
            expected = 1
            reason = "was killed by SIGKILL" if how.startswith("killed") else "was stopped for 5 s, and was killed"
        server.until(lambda: len(said(server, "replica_back")) >= expected)
        lost = said(server, "replica_lost")
        assert all(
            re.search(rf"model odd, replica \d is lost: the model's process \(pid \d+\) {reason}", each["message"])
            for each in lost
        )
        assert {each["model"] for each in lost} == {"odd"}
        server.until(
            lambda: all(
                counted(server).get(kind) == len(said(server, kind)) >= expected
                for kind in ("replica_lost", "replica_back")
            )
        )
        assert counted(server).get("deadly_rows", 0) == len(said(server, "deadly_rows")) == (how == "rows that kill it")


def test_a_replica_that_is_stopped_while_it_loads_is_replaced(graph, tmp_path):
    (tmp_path / "stop-once").touch()
    with serving(graph, "--log-format", "json") as server:
        server.until(server.is_ready)
        (line,) = said(server, "replica_lost")
        assert "was stopped for 5 s, and was killed" in line["message"]
        assert asked(server, 1).json() == {"y": 2}


def test_requests_that_fail_are_said_with_their_place_and_without_their_rows(graph):
    with serving(graph, "--log-format", "json") as server:
        server.until(server.is_ready)
        assert asked(server, 13).status_code == 422  # rows at fault are the caller's
        late = {"x-request-timeout-ms": "1"}
        for each in replicas(server):
            os.kill(each, signal.SIGSTOP)
        tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [4711.5]}
        path = f"{server.url}/v2/models/g/infer?api_key=SECRET"
        answer = httpx.post(path, json={"id": "r1", "inputs": [tensor]}, headers=late, timeout=30)
        assert answer.status_code == 504
        server.until(lambda: said(server, "request_failed"))
        (line,) = said(server, "request_failed")
        expected = {"graph": "g", "status": 504, "error": "DeadlineError", "id": "r1", "rows": 1, "level": "error"}
        assert {name: line[name] for name in expected} == expected
        assert counted(server)["request_failed"] == 1
        assert not re.search(r"secret|SECRET|4711", "".join(server.log))


def test_a_queue_that_is_full_is_said_once_with_how_many_it_refused(tmp_path, monkeypatch):
    graph = slow_graph(tmp_path, until=tmp_path / "go")
    config = written(
        tmp_path / "serve.yaml", {"limits": {"queue_rows": 1, "batch_rows": 1}, "threads": 1, "log": {"format": "json"}}
    )
    monkeypatch.chdir(tmp_path)
    with serving(graph, "--config", config) as server:
        server.until(lambda: any("serving" in line for line in server.log))
        (tmp_path / "go").touch()
        server.until(server.is_ready)
        assert server.answers("slow")
        (tmp_path / "go").unlink()
        statuses = []
        askers = [
            threading.Thread(target=lambda: statuses.append(server.infer("slow", body()).status_code)) for _ in range(9)
        ]
        for each in askers:
            each.start()
        server.until(lambda: statuses.count(503) == 7)
        (tmp_path / "go").touch()
        for each in askers:
            each.join()
        assert sorted(statuses) == [200] * 2 + [503] * 7
        server.until(lambda: said(server, "queue_over"))
        assert [(len(said(server, kind)), counted(server)[kind]) for kind in ("queue_full", "queue_over")] == [
            (1, 1),
            (1, 1),
        ]
        assert said(server, "queue_over")[0]["refused"] == 7


def test_callers_are_counted_by_their_class(tmp_path, monkeypatch):
    graph = slow_graph(tmp_path, until=tmp_path / "go")
    (tmp_path / "go").touch()
    admission = {"classes": {"anonymous": {"rate": "2/hour"}}}
    config = written(tmp_path / "serve.yaml", {"admission": admission})
    monkeypatch.chdir(tmp_path)
    with serving(graph, "--config", config) as server:
        server.until(server.is_ready)
        assert [server.infer("slow", body()).status_code for _ in range(3)] == [200, 200, 429]
        assert server.infer("slow", body(), authorization="Bearer no").status_code == 401
        text = httpx.get(f"{server.url}/metrics", timeout=10).text
        found = dict(re.findall(r"^(motet_caller_\w+\{.*\}) (\S+)$", text, re.MULTILINE))
        assert found['motet_caller_responses_total{class="anonymous",code="200"}'] == "2.0"
        assert found['motet_caller_responses_total{class="anonymous",code="429"}'] == "1.0"
        assert found['motet_caller_responses_total{class="",code="401"}'] == "1.0"
        assert found['motet_caller_seconds_count{class="anonymous"}'] == "3.0"


def test_a_server_that_cannot_begin_says_so_in_the_form_that_is_asked_for(tmp_path):
    graph = slow_graph(tmp_path)
    config = written(tmp_path / "serve.yaml", {"log": {"format": "json"}, "limits": {"rows": "many"}})
    with serving(graph, "--config", config, "--log-format", "json") as server:
        assert server.process.wait(60) == 2
    (line,) = lines(server)
    assert line["level"] == "error"
    assert "limits" in line["message"]
