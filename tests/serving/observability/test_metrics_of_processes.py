"""A real server of two processes shows one truth, also when one of them is killed."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from helpers.until import until

GRAPH = """
motet: 1
name: scaled
inputs: {image: "uint8[2,2]"}
nodes:
  pixels: {map: motet.ops.image.scale, inputs: [image], with: {by: 255}}
outputs: {pixels: pixels}
serve:
  processes: 2
  observability: {access_log: access.jsonl}
"""
BODY = json.dumps({"inputs": [{"name": "image", "shape": [1, 2, 2], "datatype": "UINT8", "data": [1, 2, 3, 4]}]})


class Server:
    """`motet serve` in a process of its own."""

    def __init__(self, folder):
        (folder / "scaled.yaml").write_text(GRAPH)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "motet.cli",
            "serve",
            "scaled.yaml",
            "--port",
            str(self.port),
            "--grpc-port",
            "-1",
        ]
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def ask(self, method, path, body=None):
        """One answer, over a connection of its own, so that any of the processes may give it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def counted(self):
        """Samples by name and outcome, node or nothing."""
        status, text = self.ask("GET", "/metrics")
        assert status == 200
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(each.name, each.labels.get("outcome", each.labels.get("node", ""))): each.value for each in samples}

    def until(self, true):
        """Ask again until something is true of what is counted."""

        def asked():
            found = self.counted()
            return found if true(found) else None

        return until(asked)


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.wait(20)


def children(of):
    with open(f"/proc/{of}/task/{of}/children") as file:
        return [int(each) for each in file.read().split()]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="it is not known here what processes a server has")
def test_two_processes_show_one_truth_and_a_kill_takes_nothing_away(server, tmp_path):
    server.until(lambda found: found["motet_processes", ""] == 2)
    answers = [server.ask("POST", "/v2/models/scaled/infer", BODY)[0] for _ in range(40)]
    asked = answers.count(200)
    assert asked
    assert set(answers) <= {200, 503}  # 503: one of them is not ready yet
    found = server.until(lambda found: found["motet_node_rows_total", "pixels"] == asked)
    assert found["motet_requests_total", "ok"] == found["motet_request_seconds_count", ""] == asked
    killed = children(server.process.pid)[0]
    os.kill(killed, signal.SIGKILL)
    server.until(lambda found: killed not in (now := children(server.process.pid)) and len(now) == 2)
    found = server.until(lambda found: found["motet_processes", ""] == 2)
    assert found["motet_requests_total", "ok"] == found["motet_rows_total", ""] == asked
    assert found["motet_node_rows_total", "pixels"] == asked
    assert found["motet_batch_rows_sum", ""] == asked
    until(lambda: server.ask("POST", "/v2/models/scaled/infer", BODY)[0] == 200)
    assert server.counted()["motet_requests_total", "ok"] == asked + 1
    status = json.loads(server.ask("GET", "/status.json")[1])
    assert status["processes"] == 2
    assert status["graphs"]["scaled"]["outcomes"]["ok"] == asked + 1
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(20)
    lines = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    assert {(line["method"], line["path"]) for line in lines if "infer" in line["path"]} == {
        ("POST", "/v2/models/scaled/infer")
    }
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"]) for line in lines)
