"""A real server under load: a canary that grows and is taken back, versions that die, and what killing leaves behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import httpx
import pytest
import yaml

from helpers.live_server import Live
from helpers.processes import below
from helpers.until import until

KILLS = 12
USERS = [f"user {number}" for number in range(300)]


def fetched(server, path):
    """The status and the body of an answer; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"{server.url}{path}", timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


def model(uri="python:helpers.replicated:Steady", **settings):
    types = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    return {"uri": uri, **types, "placement": "process", "replicas": 2, **settings}


def write_canary(folder, weight):
    graph = {
        "motet": 1, "name": "canary", "inputs": {"x": "float32", "user": "string"},
        "models": {"old": model(replicas=1), "new": model("python:helpers.replicated:Newer", replicas=1)},
        "nodes": {
            "arm": {
                "route": {"old": "old", "new": "new"}, "split": {"old": 100 - weight, "new": weight},
                "by": "user", "inputs": ["x"],
            }
        },
        "outputs": {"y": "arm.y", "member": "arm.member"},
    }  # fmt: skip
    write(folder / "canary.yaml", graph)


def write_steady(folder, uri):
    graph = {
        "motet": 1, "name": "steady", "inputs": {"x": "float32"}, "models": {"m": model(uri)},
        "nodes": {"n": {"model": "m", "inputs": ["x"]}}, "outputs": {"y": "n"},
    }  # fmt: skip
    write(folder / "steady.yaml", graph)


def write(path, graph):
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(graph))
    os.replace(draft, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    write_canary(folder, 5)
    write_steady(folder, "python:helpers.replicated:Steady")
    return folder


def begin(folder, *arguments):
    live = Live(folder, *arguments)
    live.until_ready()
    return live


@pytest.fixture(scope="module")
def server(folder):
    live = begin(folder, folder / "canary.yaml", folder / "steady.yaml")
    yield live
    live.close()


def load(server, name):
    command = [sys.executable, "-m", "motet.cli", "load", server.url, name]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def asked(client, server, name, **inputs):
    """The outputs of one row, all of them."""
    kinds = {"x": "FP32", "user": "BYTES"}
    given = [{"name": key, "datatype": kinds[key], "shape": [1], "data": [value]} for key, value in inputs.items()]
    got = client.post(f"{server.url}/v2/models/{name}/infer", content=json.dumps({"inputs": given}))
    assert got.status_code == 200, got.text
    return {each["name"]: each["data"][0] for each in got.json()["outputs"]}


class Asking:
    """One client that asks all the time; what went wrong is raised when it ends."""

    def __init__(self, server, name, **inputs):
        self._over, self.answers, self._error = threading.Event(), [], None
        self._thread = threading.Thread(target=self._ask, args=(server, name, inputs))

    def _ask(self, server, name, inputs):
        try:
            with httpx.Client(timeout=30) as client:
                while not self._over.is_set():
                    self.answers.append(asked(client, server, name, **inputs))
        except (AssertionError, httpx.HTTPError) as error:
            self._error = error

    def __enter__(self):
        self._thread.start()
        return self

    def more(self, count=30):
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted or self._error)

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error


def arms(server):
    """Which version answers each user; every answer is that version's."""
    found = {}
    with httpx.Client(timeout=30) as client:
        for user in USERS:
            answer = asked(client, server, "canary", x=2.0, user=user)
            assert answer["y"] == {"old": 7.0, "new": 9.0}[answer["member"]]
            found[user] = answer["member"]
    return found


def test_a_canary_grows_without_a_lost_request_and_is_taken_back(server, folder):
    few = arms(server)
    assert 3 <= Counter(few.values())["new"] <= 35
    with Asking(server, "canary", x=2.0, user="user 0") as asking:
        write_canary(folder, 50)
        assert load(server, "canary").stdout == "canary is ready\n"
        many = arms(server)
        write_canary(folder, 0)
        assert load(server, "canary").returncode == 0
        asking.more()
    assert 110 <= Counter(many.values())["new"] <= 190
    assert all(many[user] == "new" for user, arm in few.items() if arm == "new")
    assert set(arms(server).values()) == {"old"}
    assert {answer["y"] for answer in asking.answers} <= {7.0, 9.0}


def pids(server):
    found = json.loads(fetched(server, "/status.json")[1])["replicas"]
    return [each["pid"] for each in found if each["model"] == "m" and each["state"] == "READY" and each["pid"]]


def test_a_version_whose_processes_die_while_they_load_changes_nothing(server, folder):
    before = until(lambda: len(found := pids(server)) == 2 and found)
    with Asking(server, "steady", x=2.0) as asking:
        write_steady(folder, "python:helpers.replicated:Dying")
        try:
            failed = load(server, "steady")
        finally:
            write_steady(folder, "python:helpers.replicated:Steady")
        asking.more()
    assert failed.returncode != 0
    assert "ended with exit code 7" in failed.stderr
    assert {answer["y"] for answer in asking.answers} == {7.0}
    assert pids(server) == before
    assert load(server, "steady").returncode == 0


def held(pid):
    """What a process holds: its descriptors, and its mappings of shared memory."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return len(os.listdir(f"/proc/{pid}/fd")), maps.count("memfd:motet")


def test_replicas_that_are_killed_leave_nothing_in_their_server(server):
    until(lambda: len(pids(server)) == 2)
    before = files = None
    with Asking(server, "steady", x=2.0) as asking:
        for _ in range(1 + KILLS):
            victims = until(lambda: len(found := pids(server)) == 2 and found)
            os.kill(victims[0], signal.SIGKILL)
            until(lambda gone=victims[0]: len(found := pids(server)) == 2 and gone not in found)  # type: ignore[misc]
            asking.more()
            if before is None:
                before, files = held(server.process.pid), set(os.listdir("/dev/shm"))

    grown = [now - then for now, then in zip(held(server.process.pid), before, strict=True)]
    assert max(grown) < KILLS / 2, "each had descriptors and blocks of its own"
    assert not [name for name in set(os.listdir("/dev/shm")) - files if "motet" in name]
    assert {answer["y"] for answer in asking.answers} == {7.0}


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_server_that_is_killed_leaves_no_process(folder, tmp_path, options):
    live = begin(tmp_path, folder / "steady.yaml", *options)
    gateways = len(options)  # none or two below the process that was started
    family = until(lambda: len(found := below(live.process.pid)) >= gateways + 2 * max(1, gateways) and found)
    live.process.kill()
    live.process.wait()
    until(lambda: not any(map(running, family)))
