"""Files that are changed in place under a server of several processes, some of which are lost then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

import motet
from serving.process.serve_process import FASHION, MLP, body, serving, written

MODELS = FASHION / "models"
AGREES = """
import asyncio, sys
from motet.serving.process.same_files import SameFiles
from motet.serving.repository.repository import ModelRepository

async def main():
    repository = ModelRepository()
    repository.add(sys.argv[1])
    await repository.load_all()
    await SameFiles(sys.argv[2], repository).agree()
    print("agrees", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""
PLUS = "class Plus:\n    def __call__(self, x):\n        return x + {}\n"


def answer(server):
    """What whichever process takes the connection says; None where none does."""
    try:
        found = server.infer("fashion_mlp", body(1, 200))
    except httpx.HTTPError:
        return None
    return found.json()["outputs"][1]["data"] if found.status_code == 200 else None


def put(model, place):
    """A model in the place of another, with other times, as a deployment puts it there."""
    shutil.copyfile(MODELS / model, place.with_suffix(".new"))
    place.with_suffix(".new").replace(place)


@pytest.fixture
def changed(tmp_path):
    """A graph, the file of its model, and the score of a row by each of two models."""
    place, row = tmp_path / "model.onnx", {"image": np.full((1, 28, 28), 200, np.uint8)}
    path = written(tmp_path / "graph.yaml", {**MLP, "models": {"mlp": {"uri": "model.onnx"}}})
    scores = []
    for model in ("linear.onnx", "mlp.onnx"):
        put(model, place)
        scores.append(motet.load(path)(row)["score"].tolist())
    assert scores[0] != scores[1]
    return path, place, *scores


def num_listening(server):
    """How many processes listen on the server's port: each that serves."""
    port = f":{int(server.url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(port) and line[3] == "0A" for line in lines)


def lose(server, *places):
    """Kill processes, and wait until others have their places; gives those that are left and those that are new."""
    before = server.children()
    for each in places:
        os.kill(before[each], signal.SIGKILL)
    now = server.until_replaced(before, len(places))
    return now & set(before), now - set(before)


def waits(server, pid):
    return any(f"process {pid} does not serve: the files of graph fashion_mlp" in line for line in server.log)


def serves(server, pid):
    return any(f"process {pid} serves in the place of one that was lost" in line for line in server.log)


def test_what_processes_said_holds_while_one_of_them_lives(tmp_path, changed):
    """The moment in which one says it has the lock, and not what somebody hears of it later, decides."""
    path, place = changed[:2]

    def agrees(model):
        put(model, place)
        command, pipe = [sys.executable, "-c", AGREES, path, str(tmp_path)], subprocess.PIPE
        return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe)

    with agrees("linear.onnx") as first, agrees("linear.onnx") as second:
        assert [each.stdout.readline() for each in (first, second)] == ["agrees\n"] * 2
        first.kill()
        first.wait()
        with agrees("mlp.onnx") as third:
            assert "are not those that the other processes have loaded" in third.stderr.readline()
            second.kill()
            assert third.stdout.readline() == "agrees\n"
            third.kill()
    with agrees("linear.onnx") as last:
        assert last.stdout.readline() == "agrees\n"
        last.kill()


@pytest.mark.parametrize("how", ["loaded anew", "brought back", "others lost"])
def test_a_process_in_the_place_of_another_does_not_serve_other_files_beside_it(changed, how):
    path, place, old, new = changed
    put("linear.onnx", place)
    with serving(path, "--processes", "2", ready="fashion_mlp") as server:
        server.until(lambda: num_listening(server) == 2)
        put("mlp.onnx", place)
        left, (late,) = lose(server, 1)
        server.until(lambda: waits(server, late))
        assert [answer(server) for _ in range(30)] == [old] * 30
        if how == "loaded anew":
            with server.owner() as owner:
                assert owner.post("/v2/repository/models/fashion_mlp/load").status_code == 200
            expected = new
        elif how == "brought back":
            put("linear.onnx", place)
            expected = old
        else:
            (kept,) = left
            os.kill(kept, signal.SIGKILL)
            expected = new
        server.until(lambda: serves(server, late))
        server.until(lambda: len(server.children()) == 2 and answer(server) == expected)
        assert {tuple(answer(server) or ()) for _ in range(30)} <= {tuple(expected), ()}
        assert server.stop() == 0
        assert sum("does not serve: the files" in line for line in server.log) == 1


def test_a_process_in_the_place_of_another_serves_the_same_files(changed):
    path, place, _, new = changed
    with serving(path, "--processes", "2", ready="fashion_mlp") as server:
        server.until(lambda: num_listening(server) == 2)
        put("mlp.onnx", place)  # the same content, written anew
        for number in (0, 1):
            (late,) = lose(server, number)[1]
            server.until(partial(serves, server, late))
            assert answer(server) == new
        assert not any("does not serve" in line for line in server.log)


def test_a_graph_that_cannot_be_loaded_beside_processes_that_have_it_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init = "    def __init__(self):\n        if __import__('os').path.exists('full'):\n            raise OSError('no place')\n"
    (tmp_path / "classes.py").write_text(PLUS.format(1).replace("\n", f"\n{init}", 1))
    kinds = {"inputs": {"x": "int64"}, "outputs": {"y": "int64"}}
    graph = {"motet": 1, "name": "fashion_mlp", "inputs": {"x": "int64"}, "outputs": {"y": "m"}}
    graph |= {"models": {"plus": {"uri": "python:classes:Plus", **kinds}}}
    path = written(tmp_path / "g.yaml", {**graph, "nodes": {"m": {"model": "plus", "inputs": ["x"]}}})
    with serving(path, "--processes", "2") as server:
        server.until(server.is_ready)
        server.until(lambda: num_listening(server) == 2)
        (tmp_path / "full").touch()
        (late,) = lose(server, 1)[1]
        server.until(lambda: waits(server, late))
        said = [line for line in server.log if "does not serve" in line]
        assert ["no place" in line for line in said] == [True], server.log
        assert all(server.is_ready() for _ in range(20))
        (tmp_path / "full").unlink()
        server.until(lambda: serves(server, late))


def test_the_digest_of_a_graph_is_the_same_in_every_process(tmp_path):
    (tmp_path / "sets.py").write_text("def map_one(x):\n    return x if 'a' in {'a', 'b', ('c', 'd'), 'e'} else 0\n")
    nodes = {"n": {"map": "sets.map_one", "inputs": ["x"]}}
    graph = {"motet": 1, "name": "g", "inputs": {"x": "int64"}, "nodes": nodes, "outputs": {"y": "n"}}
    path = written(tmp_path / "g.yaml", graph)
    asked = "import motet, sys; from motet.engines.local.manifest import graph_digest"
    asked += "; print(graph_digest(motet.load(sys.argv[1]).checked))"
    found = {
        subprocess.run(
            [sys.executable, "-c", asked, path],
            env={**os.environ, "PYTHONHASHSEED": str(seed)}, cwd=tmp_path, check=True, capture_output=True,
        ).stdout
        for seed in range(1, 5)
    }  # fmt: skip
    assert len(found) == 1


@pytest.mark.parametrize("changes", ["graph", "function", "class"])
def test_a_graph_and_its_functions_are_files_too(tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "arrows.py"
    module.write_text("def map_one(x):\n    return x + (1 if 'a' in {'a', 'b', 'c'} else 0)\n")
    (tmp_path / "classes.py").write_text(PLUS.format(0))
    kinds = {"inputs": {"x": "int64"}, "outputs": {"y": "int64"}}
    graph = {"motet": 1, "name": "g", "inputs": {"x": "int64"}, "outputs": {"y": "m"}}
    graph["models"] = {"plus": {"uri": "python:classes:Plus", **kinds}}
    graph["nodes"] = {"n": {"map": "arrows.map_one", "inputs": ["x"]}, "m": {"model": "plus", "inputs": ["n"]}}
    path = written(tmp_path / "g.yaml", graph)
    asked = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}

    def ask():
        return httpx.post(f"{server.url}/v2/models/g/infer", json=asked).json()["outputs"][0]["data"]

    with serving(path, "--processes", "2") as server:
        server.until(lambda: server.is_ready())
        server.until(lambda: num_listening(server) == 2)
        if changes == "graph":
            written(tmp_path / "g.yaml", {**graph, "outputs": {"y": "x"}})
        elif changes == "function":
            module.write_text("def map_one(x):\n    return x + 10\n")
        else:
            (tmp_path / "classes.py").write_text(PLUS.format(10))
        late = lose(server, 0)[1].pop()
        server.until(lambda: any(f"process {late} does not serve: the files of graph g" in line for line in server.log))
        assert [ask() for _ in range(20)] == [[2]] * 20
