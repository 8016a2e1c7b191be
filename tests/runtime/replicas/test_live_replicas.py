"""A real server with replicas in processes, real clients that never stop asking, and real signals."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
import yaml

from helpers import onnxes
from helpers.live_server import Live
from helpers.owner import owner_of
from helpers.until import until

STUCK_S = 1.0
CLIENTS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module")
def server(folder):
    onnxes.affine(folder / "affine.onnx")
    steady = {
        "uri": "python:helpers.replicated:Steady", "inputs": {"x": "float32"}, "outputs": {"y": "float32"},
        "placement": "process", "replicas": 2, "timeout_s": STUCK_S, "with": {"wrong": str(folder / "wrong")},
    }  # fmt: skip
    rolling = {"uri": "affine.onnx", "placement": "process"}
    paths = []
    for name, model in (("steady", steady), ("rolling", rolling)):
        graph = {
            "motet": 1, "name": name, "inputs": {"x": "float32"}, "models": {f"{name}_model": model},
            "nodes": {"n": {"model": f"{name}_model", "inputs": ["x"]}}, "outputs": {"y": "n"},
        }  # fmt: skip
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump(graph))
    plain = {
        "motet": 1, "name": "plain", "inputs": {"x": "float32"}, "outputs": {"y": "n"},
        "nodes": {"n": {"map": "motet.ops.image.scale", "inputs": ["x"], "with": {"by": 2}}},
    }  # fmt: skip
    paths.append(folder / "plain.yaml")
    paths[-1].write_text(yaml.safe_dump(plain))
    live = Live(folder, *paths)
    live.until_ready()
    yield live
    live.close()


def replicas(server, model="steady_model"):
    with owner_of(server.port) as owner:
        return [each for each in owner.get("/status.json").json()["replicas"] if each["model"] == model]


def versions(server, model):
    return [each["version"] for each in replicas(server, model)]


def all_ready(server, model="steady_model", count=2, without=()):
    """What the server lists when all are ready and none has one of the pids `without`, else None."""
    found = replicas(server, model)
    ready = len(found) == count and all(each["state"] == "READY" for each in found)
    return found if ready and not {each["pid"] for each in found}.intersection(without) else None


def command(server, *arguments):
    verb, *rest = map(str, arguments)
    return subprocess.run(
        [sys.executable, "-m", "motet.cli", verb, server.url, *rest], capture_output=True, text=True, timeout=60
    )


class Asking:
    """Clients that ask all the time, each on a connection of its own."""

    def __init__(self, server, graph="steady", clients=CLIENTS):
        self._url, self._over = f"{server.url}/v2/models/{graph}/infer", threading.Event()
        self.answers = []
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]

    def _ask(self, place):
        with httpx.Client(timeout=30) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                x = float(place * 100_000 + number)
                body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [x]}]}
                got = client.post(self._url, content=json.dumps(body))
                said = got.json()["outputs"][0]["data"][0] if got.status_code == 200 else got.text
                self.answers.append((time.monotonic(), x, got.status_code, said))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *error):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count=40):
        """Wait until so many more were answered."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted)

    def longest_silence_s(self):
        return float(np.diff(sorted(at for at, *_ in self.answers)).max())


def all_right(asking):
    wrong = [each for each in asking.answers if each[2] != 200 or each[3] != each[1] * 3 + 1]
    assert wrong == []


def test_a_replica_that_is_killed_costs_no_request(server):
    before = until(lambda: all_ready(server))
    with Asking(server) as asking:
        for victim in before:
            os.kill(victim["pid"], signal.SIGKILL)
            asking.more()
            again = until(lambda gone=victim["pid"]: all_ready(server, without=[gone]))  # type: ignore[misc]
    all_right(asking)
    assert asking.longest_silence_s() < 3.0
    assert [each["restarts"] - old["restarts"] for each, old in zip(again, before, strict=True)] == [1, 1]
    assert "was killed by SIGKILL" in again[0]["reason"]


def test_all_replicas_killed_at_once_cost_no_request_either(server):
    before = until(lambda: all_ready(server))
    with Asking(server) as asking:
        for victim in before:
            os.kill(victim["pid"], signal.SIGKILL)
        until(lambda: all_ready(server, without=[each["pid"] for each in before]))
        asking.more()
    all_right(asking)


def test_a_replica_that_is_stuck_is_taken_out_within_its_timeout(server):
    (victim, _) = until(lambda: all_ready(server))
    with Asking(server) as asking:
        os.kill(victim["pid"], signal.SIGSTOP)
        until(lambda: replicas(server)[0]["pid"] != victim["pid"])
        asking.more()
        until(lambda: all_ready(server))
    all_right(asking)
    assert "did not answer within 1 s; it was killed" in replicas(server)[0]["reason"]


def test_a_replica_that_answers_wrongly_is_taken_out_and_the_reason_says_so(server, folder):
    (victim, _) = until(lambda: all_ready(server))
    with Asking(server) as asking:
        (folder / "wrong").write_text(str(victim["pid"]))
        until(lambda: replicas(server)[0]["pid"] not in (victim["pid"], None))
        asking.more()
        until(lambda: all_ready(server))
    all_right(asking)
    reason = replicas(server)[0]["reason"]
    assert re.fullmatch(
        r"its answer was wrong: model 'steady_model': output 'y' gave another number of rows: \d+ rows? in, 0 out.*",
        reason,
    ), reason


def test_replicas_are_scaled_and_shown_by_commands(server):
    until(lambda: all_ready(server))
    assert command(server, "scale", "steady_model", 3).stdout == "steady_model is to have 3 replicas\n"
    until(lambda: all_ready(server, count=3))
    shown = command(server, "status")
    assert shown.returncode == 0
    assert ["steady_model", "2", "process", "ready"] in [line.split()[:4] for line in shown.stdout.splitlines()]
    assert json.loads(command(server, "status", "--json").stdout)["replicas"][0]["model"]
    with Asking(server) as asking:
        command(server, "scale", "steady_model", 2)
        asking.more()
    all_right(asking)
    until(lambda: len(replicas(server)) == 2)
    refused = command(server, "scale", "steady_model", 300)
    assert refused.returncode == 2
    refused = command(server, "scale", "plain", 1)
    assert "400: 'plain' has no model that can be scaled" in refused.stderr
    refused = command(server, "scale", "nobody", 3)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the server answered 404: no model 'nobody' is served" in refused.stderr


def test_metrics_show_each_replica(server):
    until(lambda: all_ready(server))
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    assert 'motet_replica_state{model="steady_model",replica="0",state="READY"} 1.0' in lines
    assert any(line.startswith('motet_replica_memory_bytes{model="steady_model",replica="1"} ') for line in lines)


def test_a_new_version_takes_over_without_a_lost_or_wrong_answer(server, folder):
    (before,) = until(lambda: all_ready(server, "rolling_model", 1))
    with Asking(server, "rolling") as asking:
        onnxes.affine(folder / "draft.onnx", scale=5.0)
        os.replace(folder / "draft.onnx", folder / "affine.onnx")
        done = command(server, "load", "rolling")
        assert (done.returncode, done.stdout) == (0, "rolling is ready\n")
        loaded = time.monotonic()
        asking.more()
    listed = until(
        lambda: set(versions(server, "rolling_model")) - {before["version"]}
    )  # it is up to half a second old
    assert len(listed) == 1
    assert all(status == 200 for _, _, status, _ in asking.answers)
    old = [at for at, x, _, y in asking.answers if y == x * 2 + 1]
    new = [at for at, x, _, y in asking.answers if y == x * 5 + 1]
    assert len(old) + len(new) == len(asking.answers)
    assert loaded < max(new)
    assert sum(at > loaded for at in old) <= CLIENTS  # at most what each had asked before


def test_a_version_that_does_not_get_ready_changes_nothing(server, folder):
    (before,) = until(lambda: all_ready(server, "rolling_model", 1))
    good = (folder / "affine.onnx").read_bytes()
    with Asking(server, "rolling") as asking:
        (folder / "draft.onnx").write_bytes(b"no model")
        os.replace(folder / "draft.onnx", folder / "affine.onnx")
        failed = command(server, "load", "rolling")
        assert failed.returncode != 0
        assert "affine.onnx" in failed.stderr
        asking.more()
    assert {status for _, _, status, _ in asking.answers} == {200}
    assert len({y - x * 5 for _, x, _, y in asking.answers}) == 1
    assert [each["pid"] for each in replicas(server, "rolling_model")] == [before["pid"]]
    (folder / "affine.onnx").write_bytes(good)
