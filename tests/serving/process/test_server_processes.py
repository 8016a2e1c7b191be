"""A gateway's process that is killed takes only the connections with it that were its own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest
import yaml

from helpers import onnxes
from helpers.until import until

PROCESSES = 3
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [3]}]})


class Several:
    """`motet serve` with three processes."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "motet.cli", "serve", str(folder / "g.yaml"), "--processes", str(PROCESSES)]
        with (folder / "log").open("w") as log:
            end = ["--port", str(self.port), "--grpc-port", "-1"]
            self.process = subprocess.Popen([*command, *end], stdout=log, stderr=log)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    onnxes.affine(folder / "affine.onnx")
    graph = {
        "motet": 1, "name": "g", "inputs": {"x": "float32"}, "models": {"m": "affine.onnx"},
        "nodes": {"n": {"model": "m", "inputs": ["x"]}}, "outputs": {"y": "n"},
    }  # fmt: skip
    (folder / "g.yaml").write_text(yaml.safe_dump(graph))
    live = Several(folder)
    until(lambda: all_answer(live))
    yield live
    live.process.terminate()
    live.process.wait(30)


def children(live):
    pid = live.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


ESTABLISHED = "01"


def owner(live, connection):
    """The process that has the other end of a connection."""
    here = f":{connection.sock.getsockname()[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [line for line in lines if line[1].endswith(f":{live.port:04X}") and line[2].endswith(here)]
    (inode,) = [line[9] for line in ends if line[3] == ESTABLISHED]  # not one that had these ports before
    for pid in children(live):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                if os.readlink(fd) == f"socket:[{inode}]":
                    return pid
    return None


def ask(connection):
    connection.request("POST", "/v2/models/g/infer", BODY)
    answer = connection.getresponse()
    data = answer.read()
    return answer.status == 200 and json.loads(data)["outputs"][0]["data"] == [7]


def connected(live):
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    connection.connect()
    return connection


def all_answer(live):
    found = set()
    for _ in range(12):
        with closing(connected(live)) as connection:
            if ask(connection):
                found.add(owner(live, connection))
    return len(found) == PROCESSES


def test_a_killed_gateway_process_loses_only_its_own_connections_and_is_replaced(server):
    connections = [connected(server) for _ in range(12)]
    assert all(map(ask, connections))
    whose = [owner(server, connection) for connection in connections]
    before = children(server)
    victim = whose[0]
    lost, over = [False] * len(connections), threading.Event()

    def keep_asking(place):
        while not over.is_set() and not lost[place]:
            try:
                assert ask(connections[place])
            except (OSError, http.client.HTTPException):
                lost[place] = True

    threads = [threading.Thread(target=keep_asking, args=(place,)) for place in range(len(connections))]
    for thread in threads:
        thread.start()
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in children(server) and all_answer(server))
    over.set()
    for thread in threads:
        thread.join()
    assert lost == [pid == victim for pid in whose]
    assert set(children(server)) - set(before)
    for connection in connections:
        connection.close()
