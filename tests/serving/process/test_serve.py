"""The command `motet serve`: one process and several, signals, what is refused before it serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import httpx
import numpy as np
import pytest

import motet
from motet.serving.config.limits import Limits
from motet.serving.config.server import ServeConfig, Tls
from motet.serving.process.server import Server
from serving.process.serve_process import FASHION, MLP, body, free_port, serving, slow_graph, until_gone, written

HELD = """
import os, pathlib, time
import numpy as np

HERE = pathlib.Path(__file__).parent

class Held:
    def __init__(self):
        late = os.environ["MOTET_SERVE_LATE"] == "1"
        (HERE / f"loading{late:d}").touch()
        while not (HERE / f"go{late:d}").exists():
            time.sleep(0.01)

    def __call__(self, image):
        return np.full(len(image), os.getpid())
"""


@pytest.fixture
def mlp(tmp_path):
    return written(tmp_path / "mlp.yaml", MLP)


def test_a_graph_and_each_of_its_models_answer_as_when_called(mlp):
    expected = motet.load(mlp)({"image": np.full((2, 28, 28), 9, np.uint8)})
    with serving(mlp, ready="fashion_mlp") as server:
        answer = server.infer("fashion_mlp", body(2, 9)).json()
        assert answer["model_name"] == "fashion_mlp"
        found = {each["name"]: each["data"] for each in answer["outputs"]}
        assert found["label"] == expected["label"].tolist()
        assert np.array_equal(np.float32(found["score"]), expected["score"])
        pixels = {"name": "image", "shape": [1, 28, 28], "datatype": "FP32", "data": [0.5] * 784}
        for name in ("mlp", "fashion_mlp.mlp"):
            alone = httpx.post(f"{server.url}/v2/models/{name}/infer", json={"inputs": [pixels]}).json()
            assert alone["outputs"][0]["shape"] == [1, 10]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_sigterm_ends_it_when_what_was_accepted_is_answered(tmp_path, processes):
    go = tmp_path / "go"
    go.touch()
    with serving(slow_graph(tmp_path, until=go), "--processes", processes, ready="slow") as server:
        server.until(lambda: all(server.is_ready() for _ in range(20)))
        go.unlink()
        statuses: list[int] = []
        askers = [
            threading.Thread(target=lambda: statuses.append(server.infer("slow", body()).status_code)) for _ in range(4)
        ]
        for asker in askers:
            asker.start()
        server.until(lambda: server.in_flight("slow") == len(askers))
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: not server.is_ready())
        go.touch()
        assert server.process.wait(timeout=60) == 0
        for asker in askers:
            asker.join()
        assert statuses == [200] * 4


def test_ctrl_c_ends_it_too(mlp):
    with serving(mlp, ready="fashion_mlp") as server:
        assert server.stop(signal.SIGINT) == 0


def test_several_processes_share_the_port_and_one_that_is_killed_is_replaced(mlp):
    with serving(mlp, "--processes", "2", ready="fashion_mlp") as server:
        before = server.children()
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        assert before[0] not in server.until_replaced(before)
        server.until(lambda: all(server.answers("fashion_mlp") for _ in range(20)))
        assert server.stop() == 0
        assert any("another takes its place" in line for line in server.log)


@pytest.mark.parametrize("first", [0, 1])
def test_a_process_that_still_loads_is_asked_nothing(tmp_path, first):
    """Each of two processes loads until a file is there: that which listens from the start, 0, before the other or after it."""
    (tmp_path / "held.py").write_text(HELD)
    model = {"uri": "python:held:Held", "inputs": {"image": "uint8[28,28]"}, "outputs": {"pid": "int64"}}
    graph = {"motet": 1, "name": "held", "inputs": {"image": "uint8[28,28]"}, "models": {"held": model}}
    graph |= {"nodes": {"n": {"model": "held", "inputs": ["image"]}}, "outputs": {"pid": "n"}}
    with serving(written(tmp_path / "held.yaml", graph), "--processes", "2") as server:

        def processes() -> set[int]:
            answers = [server.infer("held", body()) for _ in range(20)]
            assert {answer.status_code for answer in answers} == {200}
            return {int(answer.json()["outputs"][0]["data"][0]) for answer in answers}

        server.until(lambda: all((tmp_path / f"loading{each}").exists() for each in (0, 1)))
        children = server.children()
        assert not server.is_ready()
        (tmp_path / f"go{first}").touch()
        if first == 0:
            server.until(server.is_ready)
            assert len(processes()) == 1
        (tmp_path / "go0").touch()
        (tmp_path / "go1").touch()
        server.until(server.is_ready)
        server.until(lambda: processes() == set(children))


def test_processes_end_with_their_parent_however_it_ended(mlp):
    with serving(mlp, "--processes", "2", ready="fashion_mlp") as server:
        children = server.children()
        server.process.kill()
        server.process.wait()
        for child in children:
            until_gone(child)


def test_what_one_process_unloads_and_loads_is_so_in_all(tmp_path, mlp):
    from motet.oip.messages import RepositoryModelLoadRequest, RepositoryModelUnloadRequest

    grpc = pytest.importorskip("grpc")
    grpc_port = free_port()
    config = written(tmp_path / "serve.yaml", {"admin": "open"})
    with serving(
        mlp, "--config", config, "--processes", "2", ready="fashion_mlp", grpc=("--grpc-port", str(grpc_port))
    ) as server, grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:  # fmt: skip

        def call(method: str, message: object) -> None:
            path = f"/inference.GRPCInferenceService/{method}"
            channel.unary_unary(path, lambda m: m.SerializeToString(), lambda b: b)(message, timeout=30)

        call("RepositoryModelUnload", RepositoryModelUnloadRequest(model_name="fashion_mlp"))
        server.until(lambda: not any(server.answers("fashion_mlp") for _ in range(20)))
        call("RepositoryModelLoad", RepositoryModelLoadRequest(model_name="fashion_mlp"))
        server.until(lambda: all(server.answers("fashion_mlp") for _ in range(20)))


def test_sighup_reads_the_configuration_and_the_graphs_again(tmp_path, mlp):
    config = {"graphs": [mlp], "limits": {"rows": 4}}
    path = written(tmp_path / "serve.yaml", config)
    with serving("--config", path, ready="fashion_mlp") as server:
        assert server.infer("fashion_mlp", body(8)).status_code == 413
        written(tmp_path / "serve.yaml", {**config, "limits": {"rows": 16}})
        written(tmp_path / "mlp.yaml", {**MLP, "outputs": {"best": "top.index"}})
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: server.infer("fashion_mlp", body(8)).status_code == 200)
        assert [each["name"] for each in server.infer("fashion_mlp", body()).json()["outputs"]] == ["best"]
        written(tmp_path / "serve.yaml", {**config, "limits": {"rows": "many"}})
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: any("limits.rows" in line for line in server.log))
        assert server.answers("fashion_mlp")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"admission": {"classes": {"anonymous": {"rate": "often"}}}}, "'often' is no rate"),
        ({"admission": {"keys": "broken.jsonl"}}, "broken.jsonl, line 1"),
        ({"admission": {"keys": "none.jsonl"}}, "none.jsonl' does not exist"),
        ({"admission": {"keys": "none.jsonl", "anonymous": False}}, "none.jsonl' does not exist"),
        ({"cache": {"max_byte": 1}}, "unknown key 'max_byte'"),
        ({"admin": "local"}, "expected socket, key or open; got 'local'"),
        ({"observability": {"access_log": "/dev/null/a.jsonl"}}, "/dev/null"),
        ({"observability": {"access_log": "a.jsonl"}, "admission": {"audit": {"file": "/dev/null/a"}}}, "be written"),
        ({"tls": {"certificate": "a.pem", "key": "a.key"}}, "cannot read"),
    ],
)
def test_a_configuration_that_is_wrong_anywhere_changes_nothing(reloaded, wrong, said):
    server, config, path = reloaded
    (path.parent / "broken.jsonl").write_text("no key\n")
    server.log.clear()
    written(path, {**config, **wrong, "limits": {"rows": 16}})
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: any("the configuration stays as it is" in line and said in line for line in server.log))
    assert server.infer("fashion_mlp", body(8)).status_code == 413
    assert server.answers("fashion_mlp")
    assert not (path.parent / "a.jsonl").exists()


def test_what_cannot_change_is_said_and_what_was_unloaded_stays_so(reloaded):
    server, config, path = reloaded
    server.log.clear()
    assert httpx.post(f"{server.url}/v2/repository/models/fashion_mlp/unload").status_code == 200
    written(path, {**config, "graphs": [], "sinks": "kept.jsonl"})
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: any("the configuration was read again" in line for line in server.log))
    assert any("graphs, sinks cannot change while the server runs" in line for line in server.log)
    assert not server.answers("fashion_mlp")
    assert httpx.post(f"{server.url}/v2/repository/models/fashion_mlp/load").status_code == 200


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    """A server, its configuration, and where that is written."""
    folder = tmp_path_factory.mktemp("reloaded")
    config = {"graphs": [written(folder / "mlp.yaml", MLP)], "limits": {"rows": 4}, "admin": "open"}
    path = folder / "serve.yaml"
    with serving("--config", written(path, config), ready="fashion_mlp") as server:
        yield server, config, path


@pytest.fixture
def tls(tmp_path):
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        "-keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    return Tls(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))


def test_a_process_that_does_not_listen_yet_reads_its_configuration_again(batcher_loop, mlp, tls):
    """As the later ones of several, while they load."""
    config = ServeConfig(port=0, tls=tls)

    async def main():
        server = Server([mlp], config, reconfigure=lambda: replace(config, limits=Limits(rows=7)))
        await server.start(late=True)
        await server.reload()
        rows = server.repository.limits.rows
        await server.close()
        return rows

    assert batcher_loop.run(main()) == 7


def test_a_server_that_ends_while_it_reads_its_configuration_accepts_nothing_more(batcher_loop, mlp, tls, monkeypatch):
    config = ServeConfig(port=0, tls=tls)

    async def main():
        server, accepting, made = Server([mlp], config, reconfigure=lambda: config), Server._accepting, []

        async def ends_meanwhile(*arguments):
            made.append(await accepting(*arguments))
            if len(made) == 2:
                await server.close()
            return made[-1]

        monkeypatch.setattr(Server, "_accepting", ends_meanwhile)
        await server.start()
        await server.reload()
        return [each.is_serving() for each in made]

    assert batcher_loop.run(main()) == [False, False]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "motet.cli", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_wrong_arguments_are_refused_before_anything_is_served(tmp_path, mlp):
    assert "name the file of a graph" in run().stderr
    assert run(str(tmp_path / "none.yaml")).returncode == 2
    twice = run(mlp, mlp, "--port", "0", "--grpc-port", "-1")
    assert twice.returncode == 2
    assert "two graphs are called 'fashion_mlp'" in twice.stderr
    wrong = run("--config", written(tmp_path / "s.yaml", {"graphs": [mlp], "limit": {}}))
    assert wrong.returncode == 2
    assert "unknown key 'limit'; did you mean 'limits'?" in wrong.stderr


def test_a_port_that_is_taken_is_said(mlp):
    with serving(mlp, ready="fashion_mlp") as server:
        for processes in ("1", "2"):
            taken = run(mlp, "--port", str(server.port), "--grpc-port", "-1", "--processes", processes)
            assert taken.returncode == 2
            assert f"cannot listen on 127.0.0.1:{server.port}: Address already in use" in taken.stderr


def test_a_graph_whose_model_cannot_be_loaded_is_said_and_the_others_are_served(tmp_path, mlp):
    (tmp_path / "broken.py").write_text("class Broken:\n    def __init__(self):\n        raise OSError('no weights')\n")
    broken = {
        **MLP, "name": "broken", "models": {"mlp": {
            "uri": "python:broken:Broken", "inputs": {"image": "float32[28,28]"}, "outputs": {"output": "float32[10]"},
        }},
    }  # fmt: skip
    with serving(mlp, written(tmp_path / "broken.yaml", broken), ready="fashion_mlp") as server:
        answer = server.infer("broken", body())
        assert answer.status_code == 503
        assert answer.json()["error"] == "broken is not ready: model 'mlp' cannot be loaded (ModelLoadError)"
        assert any("broken cannot be served" in line and "no weights" in line for line in server.log)


def test_the_example_of_three_models_is_served():
    with serving(str(FASHION / "fashion.yaml"), ready="fashion") as server:
        outputs = [each["name"] for each in server.infer("fashion", body()).json()["outputs"]]
        assert outputs == ["label", "name", "score"]


def test_a_graph_made_in_python_serves_itself(mlp):
    port = free_port()
    code = f"import motet; motet.load({mlp!r}).serve(port={port})"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        for _ in range(3000):
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}/v2/models/fashion_mlp/infer", content=body(), timeout=30)
            except httpx.TransportError:
                threading.Event().wait(0.01)
                continue
            if answer.status_code == 200:
                break
        assert answer.json()["model_name"] == "fashion_mlp"
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def test_options_of_serve_that_do_not_exist_are_said(mlp):
    with pytest.raises(motet.errors.InputError, match="unknown option 'prot' of serve; did you mean 'port'"):
        motet.load(mlp).serve(prot=1)  # type: ignore[call-overload]
