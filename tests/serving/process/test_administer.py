"""Who may administer a server: the user that runs it, over its socket; over the network nobody who is not configured."""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest

from motet.system.sockets import own_sockets
from serving.process.serve_process import free_port, serving, written
from serving.process.test_others import CODE
from serving.process.test_others import GRAPH as PICKY
from serving.process.test_services import key_of

GRAPH = {**PICKY, "name": "guarded"}
NGINX = """
daemon off; worker_processes 1; error_log stderr; pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{http}; location / {{ proxy_pass http://127.0.0.1:{port}; }} }}
  server {{ listen 127.0.0.1:{grpc} http2; location / {{ grpc_pass grpc://127.0.0.1:{grpc_port}; }} }}
}}
"""
ACTS = [("load", {}), ("unload", {}), ("scale", {"parameters": {"replicas": 2}})]
HEADERS = [
    {}, {"x-forwarded-for": "127.0.0.1"}, {"forwarded": "for=127.0.0.1"}, {"host": "localhost"}, {"x-real-ip": "127.0.0.1"},
    {"x-api-key": "mk_none"}, {"motet.owner": "1"}, {"origin": "http://localhost:8000"},
]  # fmt: skip


def graph(folder, name="guarded"):
    (folder / "picky.py").write_text(CODE)
    return written(folder / f"{name}.yaml", {**GRAPH, "name": name})


def motet(*arguments, **options):
    command = [sys.executable, "-m", "motet.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.fixture(scope="module", autouse=True)
def _alone():
    """No sockets but those of the servers of these tests."""
    with tempfile.TemporaryDirectory(prefix="motet-") as folder, pytest.MonkeyPatch.context() as patched:
        patched.setenv("MOTET_RUNTIME_DIR", folder)
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server, and the port of its gRPC."""
    grpc_port = free_port()
    with serving(graph(tmp_path_factory.mktemp("g")), grpc=("--grpc-port", str(grpc_port))) as live:
        live.until(live.is_ready)
        failed = httpx.post(f"{live.url}/predict/guarded", json={"x": -4111111})
        assert failed.status_code == 422
        yield live, grpc_port


class Relay(socketserver.BaseRequestHandler):
    """Hands connections on as they are, as sidecars, tunnels and `kubectl port-forward` do."""

    server: Any

    def handle(self):
        with socket.create_connection(("127.0.0.1", self.server.target)) as target:
            there = threading.Thread(target=carry, args=(self.request, target))
            there.start()
            carry(target, self.request)
            there.join()


def carry(one, other):
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relayed(port):
    server: Any
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.target = port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["nothing", "relay", "nginx"])
def between(request, server, tmp_path_factory):
    """What stands before the server: the ports of HTTP and gRPC there."""
    live, grpc_port = server
    if request.param == "nothing":
        yield live.port, grpc_port
    elif request.param == "relay":
        with relayed(live.port) as http, relayed(grpc_port) as grpc:
            yield http, grpc
    else:
        program = shutil.which("nginx")
        if program is None:
            pytest.skip("no nginx")
        folder, http, grpc = tmp_path_factory.mktemp("nginx"), free_port(), free_port()
        folder.chmod(0o755)
        (folder / "nginx.conf").write_text(
            NGINX.format(folder=folder, http=http, grpc=grpc, port=live.port, grpc_port=grpc_port)
        )
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 30
        while not answers(http):
            assert time.monotonic() < end
            assert process.poll() is None
        yield http, grpc
        process.terminate()
        process.wait(30)


def answers(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(("act", "body"), ACTS)
@pytest.mark.parametrize("headers", HEADERS)
def test_nobody_administers_over_the_network(between, act, body, headers):
    http, _ = between
    url = f"http://127.0.0.1:{http}"
    answer = httpx.post(f"{url}/v2/repository/models/guarded/{act}", json=body, headers=headers)
    assert answer.status_code == 403, answer.text
    assert "is not allowed over the network" in answer.json()["error"]
    assert httpx.get(f"{url}/v2/models/guarded/ready").status_code == 200
    for page in ("/status.json", "/graphs.json"):
        assert "4111111" not in httpx.get(url + page, headers=headers).text


@pytest.mark.parametrize("method", ["Load", "Unload"])
@pytest.mark.parametrize("metadata", [(), (("x-forwarded-for", "127.0.0.1"),), (("x-real-ip", "127.0.0.1"),)])
def test_nobody_administers_over_grpc(between, method, metadata):
    from motet.oip import messages

    grpc = pytest.importorskip("grpc")
    _, port = between
    request = getattr(messages, f"RepositoryModel{method}Request")(model_name="guarded")
    path = f"/inference.GRPCInferenceService/RepositoryModel{method}"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(path, lambda m: m.SerializeToString(), lambda b: b)(
                request, timeout=30, metadata=metadata
            )
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        ready = messages.ModelReadyRequest(name="guarded")
        path = "/inference.GRPCInferenceService/ModelReady"
        answer = channel.unary_unary(path, lambda m: m.SerializeToString(), messages.ModelReadyResponse.FromString)(
            ready
        )
        assert answer.ready


def test_rows_are_answered_over_grpc(between):
    from motet.oip.messages import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse

    grpc = pytest.importorskip("grpc")
    rows = 16_384  # more than nginx keeps in memory

    def request(count=1, typed=(), raw=(), name=""):
        made = ModelInferRequest(model_name="guarded", id=name, raw_input_contents=raw)
        tensor = made.inputs.add(name="x", datatype="FP32", shape=[count])
        if typed:
            tensor.contents.fp32_contents.extend(typed)
        return made

    with grpc.insecure_channel(f"127.0.0.1:{between[1]}") as channel:
        path = "/inference.GRPCInferenceService/Model{}Infer"
        infer = channel.unary_unary(path.format(""), ModelInferRequest.SerializeToString, ModelInferResponse.FromString)
        stream = channel.stream_stream(
            path.format("Stream"), ModelInferRequest.SerializeToString, ModelStreamInferResponse.FromString
        )
        given = np.arange(rows, dtype="<f4").tobytes()
        answer = infer(request(rows, raw=[given]), timeout=60)
        assert answer.raw_output_contents[0] == given
        assert infer(request(2, typed=[1, 2]), timeout=60).outputs[0].contents.fp32_contents == [1, 2]
        for wrong, said in (
            (request(typed=[1], raw=[bytes(4)]), "input 'x': has contents, and raw_input_contents is given too"),
            (request(raw=[bytes(4), b""]), "raw_input_contents has 2 tensors where inputs has 1"),
            (request(raw=[bytes(3)]), "input 'x': FP32 of shape [1] takes 4 bytes; got 3"),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                infer(wrong, timeout=60)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert said in refused.value.details()
        sent = [request(typed=[each], name=str(each)) for each in range(5)]
        answers = [each.infer_response for each in stream(iter(sent), timeout=60)]
        assert {each.id: list(each.outputs[0].contents.fp32_contents) for each in answers} == {
            str(each): [each] for each in range(5)
        }


def test_the_user_that_runs_it_administers_over_its_socket(server):
    live, _ = server
    with live.owner() as owner:
        assert "4111111" in owner.get("/status.json").text
        assert owner.post("/v2/repository/models/guarded/unload").status_code == 200
        assert httpx.get(f"{live.url}/v2/models/guarded/ready").status_code == 503
        assert owner.post("/v2/repository/models/guarded/load").status_code == 200
        assert owner.post("/predict/guarded", json={"x": 3}).json() == {"y": 3.0}
        tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [2]}
        infer = owner.post("/v2/models/guarded/infer", json={"inputs": [tensor]})
        assert infer.json()["outputs"][0]["data"] == [2.0]


@pytest.mark.parametrize("named", ["port", "name", "url", "host", "path", "unix"])
def test_commands_find_it(server, named):
    live, _ = server
    (path,) = (each for each in own_sockets() if each.name.startswith(f"{live.port}-"))
    name = {
        "port": str(live.port), "name": "guarded", "url": live.url, "host": f"localhost:{live.port}", "path": str(path),
        "unix": f"unix:{path}",
    }[named]  # fmt: skip
    assert motet("unload", name, "guarded").stdout == "guarded is off line\n"
    assert httpx.get(f"{live.url}/v2/models/guarded/ready").status_code == 503
    assert motet("load", name, "guarded").stdout == "guarded is ready\n"
    shown = motet("status", name)
    assert (shown.returncode, "4111111" in shown.stdout) == (0, True)


def test_a_key_is_asked_for_over_the_network_and_the_socket_needs_none(tmp_path):
    keys = tmp_path / "keys.jsonl"
    known, admin = (key_of(keys, name, "--class", name) for name in ("known", "admin"))
    for allowed in ("key", "socket"):
        admission = {"anonymous": False, "keys": str(keys), "audit": {"file": str(tmp_path / "audit.jsonl")}}
        config = written(tmp_path / "serve.yaml", {"admission": admission, "admin": allowed})
        with serving(graph(tmp_path), "--config", config, "--processes", "2") as live:
            live.until(live.is_ready)
            answer = motet("unload", live.url, "guarded", "--key", admin)
            assert answer.returncode == (0 if allowed == "key" else 2), answer.stderr
            refused = motet("load", live.url, "guarded", "--key", known)
            assert (refused.returncode, "the server answered 403" in refused.stderr) == (2, True)
            assert motet("load", live.port, "guarded").stdout == "guarded is ready\n"
            live.until(lambda: all(ready(live) for _ in range(10)))
            assert motet("unload", live.port, "guarded", "--key", known).stdout == "guarded is off line\n"
            live.until(lambda: not any(ready(live) for _ in range(10)))
            assert motet("status", live.port).returncode == 0
            assert live.stop() == 0
        assert not [each for each in own_sockets() if each.name.startswith(f"{live.port}-")]
    assert '"name":"owner","kind":"owner","class":"admin"' in (tmp_path / "audit.jsonl").read_text()


def ready(live):
    return httpx.get(f"{live.url}/v2/models/guarded/ready").status_code == 200


def test_several_servers_of_a_user_are_told_apart(tmp_path, server):
    live, _ = server
    other = tmp_path / "other"
    other.mkdir()
    with serving(graph(other, "second")) as second:
        second.until(second.is_ready)
        assert motet("unload", "second", "second").returncode == 0
        assert ready(live)
        asked = motet("status")
        assert asked.returncode == 2
        assert "2 servers of this user run: " in asked.stderr
        assert "(guarded)" in asked.stderr
        assert "(second)" in asked.stderr
        second.process.kill()
        second.process.wait()
    gone = motet("status", second.port)
    assert (gone.returncode, f"no server of this user with port {second.port}" in gone.stderr) == (1, True)
    assert motet("status").returncode == 0  # the only one that is left


def test_a_server_that_can_have_no_socket_serves_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTET_RUNTIME_DIR", "/proc/none")
    with serving(graph(tmp_path)) as live:
        live.until(live.is_ready)
        assert any("commands on this machine need a key" in line and "MOTET_RUNTIME_DIR" in line for line in live.log)
