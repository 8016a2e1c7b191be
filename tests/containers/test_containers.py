"""Runs, a server and a workflow in a container: as its first process, with a read-only root, by an account without a name or home."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.container import container
from helpers.until import until
from motet.engines.local.journal import JournalPiece

MODELS = Path(__file__).parents[2] / "examples" / "fashion" / "models"
FUNCTIONS = """
import os, pathlib, subprocess, time
import motet as mt

HERE = pathlib.Path(__file__).parent

@mt.returns("int64")
def add(x):
    return x + 1

@mt.returns("int64")
def slow(x):
    if 20 in x and not (HERE / "go on").exists():
        with open(HERE / "told", "w") as told:  # a named pipe: the test waits for it
            told.write("there")
    if not (HERE / "go on").exists():
        time.sleep(0.02)
    return x + 1

@mt.returns("int64")
def orphans(x):
    subprocess.run(["sh", "-c", "sleep 0 & exit 0"], check=True)
    for _ in range(1000):
        if not [each for each in map(state, os.listdir("/proc")) if each == "Z 1"]:
            return x + 1
        time.sleep(0.01)
    raise RuntimeError("an orphan was not waited for")

def state(number):
    try:
        fields = pathlib.Path("/proc", number, "stat").read_text().rpartition(")")[2].split()
        return " ".join(fields[:2])
    except (OSError, ValueError):
        return ""

class Doubles:
    def __call__(self, x):
        return x * 2
"""
GRAPH = "motet: 1\nname: g\ninputs: {x: int64}\nnodes: {a: {map: functions_of_containers.%s, inputs: [x]}}\noutputs: {y: a}\n"
CNN = """
motet: 1
name: fashion
inputs: {x: "float32[28,28]"}
models: {cnn: {uri: %s/cnn.onnx}}
nodes: {scores: {model: cnn, inputs: [x]}}
outputs: {p: scores.probabilities}
"""
PROCESS = """
motet: 1
name: replicas
inputs: {x: int64}
models:
  m: {uri: "python:functions_of_containers:Doubles", placement: process, inputs: {x: int64}, outputs: {y: int64}}
nodes: {a: {model: m, inputs: [x]}}
outputs: {y: a.y}
"""
WORKFLOW = """
import motet as mt

@mt.step(cache=True)
def three() -> int:
    return 3

@mt.workflow
def flow():
    return three()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "functions_of_containers.py").write_text(FUNCTIONS)
    for name in ("add", "slow", "orphans"):
        (tmp_path / f"{name}.yaml").write_text(GRAPH % name)
    (tmp_path / "cnn.yaml").write_text(CNN % MODELS)
    (tmp_path / "replicas.yaml").write_text(PROCESS)
    (tmp_path / "flow.py").write_text(WORKFLOW)
    pq.write_table(pa.table({"x": range(400)}), tmp_path / "in.parquet")
    return tmp_path


def run(folder: Path, graph: str) -> list[str]:
    names = [str(folder / name) for name in (f"{graph}.yaml", "in.parquet", "out.parquet")]
    return ["run", names[0], "--input", names[1], "--output", names[2], "--batch-rows", "2", "--workers", "1"]


def answers(folder: Path) -> list[int]:
    return pq.read_table(folder / "out.parquet").column("y").to_pylist()


@pytest.mark.parametrize("temporary", [True, False])
@pytest.mark.parametrize(
    ("graph", "expected"), [("add", range(1, 401)), ("orphans", range(1, 401)), ("replicas", range(0, 800, 2))]
)
def test_a_run(folder: Path, graph: str, expected: range, temporary: bool) -> None:
    code, out, err = container(folder, *run(folder, graph), temporary=temporary).ended()
    assert code == 0, err
    assert "400 rows, 400 answered, 0 failed" in out
    assert answers(folder) == list(expected)
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_run_is_stopped_and_gone_on_with_in_another_container(folder: Path, number: int, code: int) -> None:
    os.mkfifo(folder / "told")
    first = container(folder, *run(folder, "slow"))
    assert (folder / "told").read_text() == "there"
    os.kill(first.first, number)
    stopped, _, err = first.ended()
    assert (stopped, err.rpartition("stopped")[2].partition(";")[2]) == (
        code,
        " --resume goes on with what is finished\n",
    )
    pieces = [JournalPiece.named(path.name) for path in (folder / "out.parquet.unfinished").iterdir()]
    done = sum(piece.rows for piece in pieces if piece is not None)
    assert 14 <= done < 400
    (folder / "go on").touch()
    report = str(folder / "report.json")
    second, _, err = container(folder, *run(folder, "slow"), "--resume", "--report", report).ended()
    assert second == 0, err
    assert json.loads(Path(report).read_text())["resumed_rows"] == done
    assert answers(folder) == list(range(1, 401))


def test_a_model_and_what_cannot_be_kept(folder: Path) -> None:
    images = pa.array([[0.5] * 784] * 40, pa.list_(pa.float32(), 784))
    pq.write_table(pa.table({"x": images}), folder / "in.parquet")
    code, _, err = container(folder, *run(folder, "cnn"), temporary=False).ended()
    assert code == 0, err
    assert pq.read_table(folder / "out.parquet").num_rows == 40
    assert err.count("MOTET_CACHE_DIR") <= 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_server_answers_and_ends_when_it_is_told_to(folder: Path, processes: int) -> None:
    port = free_port()
    args = ["serve", str(folder / "add.yaml"), "--port", str(port), "--grpc-port", "-1", "--processes", str(processes)]
    server = container(folder, *args)
    url = f"http://127.0.0.1:{port}"
    until(lambda: urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5).status == 200)
    asked = urllib.request.Request(f"{url}/predict/g", b'{"x": 41}', {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        assert json.load(answer)["y"] == 42
    os.kill(server.first, signal.SIGTERM)
    code, _, err = server.ended()
    assert (code, "Traceback" in err) == (0, False), err


def test_a_server_without_a_place_for_what_it_shares_names_the_variable(folder: Path) -> None:
    code, _, err = container(
        folder, "serve", str(folder / "add.yaml"), "--port", str(free_port()), temporary=False
    ).ended()
    assert code == 1
    assert "no folder for temporary files can be written to\n  hint: set TMPDIR to one that can" in err


def test_a_workflow(folder: Path) -> None:
    args = ["workflow", "run", str(folder / "flow.py")]
    code, _, err = container(folder, *args).ended()
    assert code == 0, err
    assert "there is no home folder" in err or "cannot be written to" in err
    kept: dict[str, Any] = {"MOTET_CACHE_DIR": str(folder / "cache")}
    assert [container(folder, *args, **kept).ended()[0] for _ in range(2)] == [0, 0]
    assert list((folder / "cache/workflow/cache/entries").glob("*/*.json"))


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
