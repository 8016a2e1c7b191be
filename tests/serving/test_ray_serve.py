"""`motet serve --engine ray`: the same routes behind Ray's HTTP, from replicas on a cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from click.testing import CliRunner

import motet as mt
from helpers import onnxes
from helpers.until import until
from motet.cli import cli
from motet.errors import RunError
from motet.serving.config.server import ServeConfig
from motet.serving.process import ray_serve
from motet.serving.process.ray_serve import NAME, _deploy


def graph(folder: Path, **options: Any) -> mt.Graph:
    onnxes.classifier(folder / "a.onnx")
    model = mt.Model(str(folder / "a.onnx"), **options)
    made = mt.Graph("g", {"p": mt.model(model, mt.input("x", "float32[4]"), name="scored")})
    made.save(folder / "g.yaml")
    return made


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def predicted(port: int, name: str, **row: Any) -> Any:
    asked = Request(
        f"http://127.0.0.1:{port}/predict/{name}", json.dumps(row).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(asked) as answered:
        return json.load(answered)


@pytest.mark.timeout(600)
def test_a_cluster_answers_as_a_call_does(ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import serve

    monkeypatch.chdir(tmp_path)
    client = pytest.importorskip("tritonclient.http")
    made = graph(tmp_path, replicas={"min": 2, "max": 3})
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "beside_it.py").write_text("def twice(n):\n    return 2 * n\n")
    (tmp_path / "apart" / "h.yaml").write_text(
        "{motet: 1, name: h, inputs: {n: int64},"
        " nodes: {two: {map: beside_it.twice, inputs: [n], outputs: int64}}, outputs: {y: two}}"
    )
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "motet.cli",
        "serve",
        "g.yaml",
        "apart/h.yaml",
        "--engine",
        "ray",
        "--port",
        str(port),
    ]
    options = ["--", "--address", ray_cluster.address, "--num-cpus", "0.25"]
    log = tmp_path / "log"
    with log.open("wb") as said:
        server = subprocess.Popen([*command, *options], cwd=tmp_path, stderr=said)
    try:
        until(lambda: server.poll() is not None or b"serving on a cluster" in log.read_bytes(), 300, log.read_text)
        assert server.poll() is None, log.read_text()
        rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
        wanted = made({"x": rows})["p"]
        until(lambda: predicted(port, "h", n=4) == {"y": 8})  # Ray's proxy is told of routes a moment later
        np.testing.assert_allclose(predicted(port, "g", x=rows[0].tolist())["p"], wanted[0], rtol=1e-5)
        with client.InferenceServerClient(f"127.0.0.1:{port}") as asking:
            assert asking.is_server_ready()
            assert asking.is_model_ready("g")
            assert asking.get_model_metadata("g")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
            for binary in (True, False):
                given = client.InferInput("x", rows.shape, "FP32")
                given.set_data_from_numpy(rows, binary_data=binary)
                found = asking.infer("g", [given], outputs=[client.InferRequestedOutput("p", binary_data=binary)])
                np.testing.assert_allclose(found.as_numpy("p"), wanted, rtol=1e-5)
            with pytest.raises(Exception, match="no model 'nobody' is served"):
                asking.get_model_metadata("nobody")
        states = serve.status().applications["motet"].deployments["motet"].replica_states
        assert states == {"RUNNING": 2}
        again = CliRunner().invoke(cli, ["serve", "g.yaml", "--engine", "ray", "--port", str(port)])
        assert (again.exit_code, "another command serves on this cluster already" in again.output) == (2, True), (
            again.output
        )
        other = CliRunner().invoke(cli, ["serve", "g.yaml", "--engine", "ray", "--port", str(port + 1)])
        assert (other.exit_code, f"say --host 127.0.0.1 --port {port}" in other.output) == (2, True), other.output
        server.send_signal(signal.SIGTERM)
        assert server.wait(120) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()


@pytest.mark.timeout(600)
def test_a_model_that_no_replica_can_load_ends_the_command_with_its_own_error(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn_model.py").write_text(
        "class Torn:\n    def __init__(self):\n        raise OSError('the weights are torn')\n"
        "    def __call__(self, n):\n        return n\n"
    )
    (tmp_path / "g.yaml").write_text(
        "{motet: 1, name: g, inputs: {n: int64}, models: {m: {uri: 'python:torn_model:Torn',"
        " inputs: {n: int64}, outputs: {y: int64}}}, nodes: {p: {model: m, inputs: [n]}}, outputs: {y: p}}"
    )
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(cli, ["serve", "g.yaml", "--engine", "ray", "--port", str(free_port())])
    assert (told.exit_code, "OSError: the weights are torn" in told.output) == (1, True), told.output
    assert "Traceback" not in told.output


@pytest.fixture
def plain_signals() -> Iterator[None]:
    """What Python does on signals by itself, not what a client of Ray has them do."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


class FakeServe:
    """Ray Serve, to which a signal comes in the midst of a call, and which tells what is called."""

    def __init__(self, at: str) -> None:
        self.at, self.called = at, list[str]()

    def __call__(self, *args: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.called.append(name)
            if name == self.at:
                os.kill(os.getpid(), signal.SIGTERM)
                pytest.fail("the signal has not come")
            return self

        return call


@pytest.mark.parametrize("at", ["start", "run"])
def test_a_signal_in_mid_start_leaves_nothing_on_the_cluster(
    at: str, plain_signals: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph(tmp_path)
    fake = FakeServe(at)
    ray = SimpleNamespace(
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}],
        get_actor=lambda name, namespace: int(name),  # no number: a ValueError, as where there is none
    )
    monkeypatch.setattr(ray_serve, "connected", lambda *args: nullcontext())
    monkeypatch.setattr(ray_serve, "imported", lambda name, engine: {"ray": ray, "ray.serve": fake}[name])
    with pytest.raises(KeyboardInterrupt):
        ray_serve.run_on_ray([str(tmp_path / "g.yaml")], ServeConfig(), [], lambda: pytest.fail("it does not serve"))
    assert (fake.called[-1], at in fake.called) == ("shutdown", True)


def test_a_second_signal_ends_the_end_but_not_the_same_one(
    plain_signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([10.0, 10.2, 11.0])
    monkeypatch.setattr(ray_serve, "time", SimpleNamespace(monotonic=lambda: next(times)))
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    told = []

    def end() -> None:
        with ray_serve._signals():
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            told.append("the first")
            os.kill(os.getpid(), signal.SIGTERM)
            told.append("the same")
            os.kill(os.getpid(), signal.SIGTERM)
            told.append("nothing")

    with pytest.raises(KeyboardInterrupt):
        end()
    assert told == ["the first", "the same"]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


TRACE = """The deployment failed to start 3 times in a row. See controller logs for details. Error:
ray::ServeReplica:motet:motet.initialize_and_get_metadata() (pid=14937, ip=192.0.2.2)
RuntimeError: Traceback (most recent call last):
  File "motet/graph/yaml.py", line 154, in load_graph
    raise (error.located(name) if name else error) from error.__cause__
motet.errors.GraphError: g.yaml: no module named 'beside'
  hint: the module must be importable
"""


@pytest.mark.parametrize(
    ("message", "said", "hint"),
    [
        (TRACE, "engine ray: g.yaml: no module named 'beside'", "the module must be importable"),
        ("It failed.", "engine ray: replicas cannot begin: RuntimeError: Deploying application", "logs of their nodes"),
    ],
)
def test_replicas_that_cannot_begin_say_why(message: str, said: str, hint: str) -> None:
    deployment = SimpleNamespace(message=message)
    status = SimpleNamespace(applications={NAME: SimpleNamespace(deployments={NAME: deployment})})

    def run(application: Any, **options: Any) -> None:
        raise RuntimeError("Deploying application motet failed")

    with pytest.raises(RunError) as told:
        _deploy(SimpleNamespace(run=run, status=lambda: status), None)
    assert str(told.value).startswith(said)
    assert hint in told.value.hint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--processes", "2"], "processes is not served by Ray's HTTP"),
        (["--grpc-port", "8001"], "grpc_port is not served by Ray's HTTP"),
        (["--port", "0"], "port 0 is not served by Ray's HTTP"),
        (["--", "--num-cpus", "-1"], "argument --num-cpus: must be a part of 1"),
        (["--", "--fast"], "unrecognized arguments: --fast"),
        (["--", "--one-stage"], "--split-bytes and --one-stage are of runs"),
        (["--", "--split-bytes", "1"], "--split-bytes and --one-stage are of runs"),
    ],
)
def test_what_ray_does_not_serve_is_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    graph(tmp_path)
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(cli, ["serve", "g.yaml", "--engine", "ray", *arguments])
    assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    local = CliRunner().invoke(cli, ["serve", "g.yaml", "--", "--fast"])
    assert (local.exit_code, "the engine local takes no options of its own; got --fast" in local.output) == (2, True)
