"""What is written down and counted of requests, over every protocol, by a real server."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.grpc
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from motet.cli import cli
from serving.process.serve_process import MLP, body, free_port, serving, written

INFER, PREDICT = "/v2/models/fashion_mlp/infer", "/predict/fashion_mlp"
ROW = {"image": [[7] * 28] * 28}


class Receiver(BaseHTTPRequestHandler):
    """Takes spans."""

    server: Any

    def do_POST(self):
        self.server.taken.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server: Any = HTTPServer(("127.0.0.1", 0), Receiver)
    server.taken = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def counted(server) -> dict[tuple[str, str], float]:
    """Samples by name and the last of their labels."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {(each.name, str([*each.labels.values()][-1:])): each.value for each in samples}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ask_all(url: str, grpc_port: int) -> list[httpx.Response]:
    """Requests of every kind, one after the other; gives the answers over HTTP."""
    answers = [
        httpx.post(f"{url}{INFER}", content=body(2)),
        httpx.post(f"{url}{INFER}", content=body(300), headers={"accept-encoding": "gzip"}),
        httpx.post(f"{url}{INFER}", content=b"{}"),
        httpx.post(f"{url}{INFER}", content=body(), headers={"x-api-key": "wrong"}),
        httpx.post(f"{url}/v2/models/nobody/infer", content=body()),
        httpx.post(f"{url}{PREDICT}", json=ROW),
        httpx.post(f"{url}{PREDICT}?stream=1", json=ROW),
        httpx.post(f"{url}{PREDICT}", content=b"no JSON"),
        httpx.post(f"{url}{PREDICT}", json=ROW, headers={"x-api-key": "wrong"}),
        httpx.get(f"{url}/v2/models/fashion_mlp/config?x=1"),
        httpx.get(f"{url}/nowhere"),
        httpx.delete(f"{url}/v2"),
    ]
    image = tritonclient.grpc.InferInput("image", [1, 28, 28], "UINT8")
    image._raw_content = bytes(784)
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        client.infer("fashion_mlp", [image])
    return answers


def test_every_request_has_a_line_with_its_bytes_and_what_was_not_let_in_is_counted(tmp_path, receiver):
    access, grpc_port = tmp_path / "access.jsonl", free_port()
    keys = tmp_path / "keys.jsonl"
    CliRunner().invoke(cli, ["keys", "add", "ann", "--keys", str(keys)])
    config = {
        "graphs": [written(tmp_path / "mlp.yaml", MLP)],
        "admission": {"keys": str(keys), "classes": {"anonymous": {"rate": "100/hour"}}},
        "observability": {
            "access_log": str(access),
            "trace": {"endpoint": f"http://127.0.0.1:{receiver.server_port}/v1/traces"},
        },
    }
    path = written(tmp_path / "serve.yaml", config)
    with serving("--config", path, grpc=("--grpc-port", str(grpc_port))) as server:
        server.until(server.is_ready)
        before = counted(server)
        answers = ask_all(server.url, grpc_port)
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
            refused = connection.recv(65_536)
        after = counted(server)
        assert server.stop() == 0
    assert [answer.status_code for answer in answers] == [200, 200, 400, 401, 404, 200, 200, 400, 401, 200, 404, 405]
    found = [
        each for each in lines(access) if each["path"] not in ("/metrics", "/v2/health/ready", "/v2/models/fashion_mlp")
    ]
    asked = [(each["method"], each["path"], each["status"], each.get("sent_bytes", 0)) for each in found]
    lengths = [int(each.headers.get("content-length", len(each.content))) for each in answers]
    wanted = [
        (answer.request.method, answer.request.url.path, answer.status_code, length)
        for answer, length in zip(answers, lengths, strict=True)
    ]
    assert asked[: len(wanted)] == wanted
    grpc_line, refused_line = found[len(wanted) :]
    assert (grpc_line["protocol"], grpc_line["method"], grpc_line["path"]) == ("grpc", "ModelInfer", "fashion_mlp")
    assert grpc_line["received_bytes"] > 784
    assert grpc_line["sent_bytes"] > 0
    assert (refused_line["status"], refused_line["path"]) == (400, "/")
    assert refused_line["sent_bytes"] == len(refused.partition(b"\r\n\r\n")[2])
    assert found[0]["received_bytes"] == len(body(2))
    assert found[3]["error"] == "UnauthorizedError"

    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    assert grown["motet_rejected_total", "['credential']"] == 2
    assert grown["motet_requests_total", "['rejected']"] == 2
    assert grown["motet_http_received_bytes_total", "[]"] > sum(len(each.request.content) for each in answers)
    assert grown["motet_http_sent_bytes_total", "[]"] > sum(lengths)
    assert grown["motet_grpc_received_bytes_total", "[]"] == grpc_line["received_bytes"]

    spans = b"".join(receiver.taken)
    played = [each for each in found if each["status"] == 200 and each.get("rows")]
    assert [each.get("protocol", "http") for each in played] == ["http"] * 4 + ["grpc"]
    assert all(bytes.fromhex(str(each["trace"])) in spans for each in played)
    assert spans.count(b"motet.requests") == len(played), "the batch of each request is a span"


def test_rates_and_full_queues_are_counted_by_graph(tmp_path):
    graph = written(tmp_path / "mlp.yaml", MLP)
    config = written(tmp_path / "serve.yaml", {"admission": {"classes": {"anonymous": {"rate": "2/hour"}}}})
    with serving(graph, "--config", config) as server:
        server.until(server.is_ready)
        assert [server.infer("fashion_mlp", body()).status_code for _ in range(3)] == [200, 200, 429]
        assert httpx.post(f"{server.url}{PREDICT}", json=ROW).status_code == 429
        assert counted(server)["motet_rejected_total", "['rate']"] == 2


def test_the_callers_name_of_a_request_is_in_the_logs(tmp_path):
    access, audit, grpc_port = tmp_path / "access.jsonl", tmp_path / "audit.jsonl", free_port()
    config = {
        "graphs": [written(tmp_path / "mlp.yaml", MLP)],
        "admission": {"classes": {"anonymous": {}}, "audit": {"file": str(audit)}},
        "observability": {"access_log": str(access)},
    }
    path = written(tmp_path / "serve.yaml", config)
    image = tritonclient.grpc.InferInput("image", [1, 28, 28], "UINT8")
    image._raw_content = bytes(784)
    with serving("--config", path, grpc=("--grpc-port", str(grpc_port))) as server:
        server.until(server.is_ready)
        with httpx.Client(base_url=server.url, headers={"x-request-id": "a-17 b"}) as client:
            for target, content in (
                (INFER, body()), (INFER, body()), (INFER, b"{}"), ("/v2/models/nobody/infer", body()), (PREDICT, b"no JSON"),
                ("/v2/repository/models/fashion_mlp/load", b""),
            ):  # fmt: skip
                client.post(target, content=content)
            client.get("/nowhere")
            client.post(INFER, content=json.dumps({**json.loads(body()), "id": "own"}))
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as stock:
            stock.infer("fashion_mlp", [image], headers={"x-request-id": "a-17 b"})
            stock.get_model_metadata("fashion_mlp", headers={"x-request-id": "a-17 b"})
        assert server.stop() == 0
    assert [each["id"] for each in lines(access) if "id" in each] == ["a-17 b"] * 7 + ["own", "a-17 b", "a-17 b"]
    assert [each["request"] for each in lines(audit) if each["request"]] == ["a-17 b"] * 5 + ["own", "a-17 b", "a-17 b"]
