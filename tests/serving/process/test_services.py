"""What a server does beside playing, all parts together: admission, the audit log, sinks, the cache."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.grpc
from click.testing import CliRunner

from motet.cli import cli
from serving.process.serve_process import MLP, body, free_port, serving, slow_graph, written


@pytest.fixture
def config(tmp_path):
    """Writes a configuration that serves one graph."""

    def write(**parts: Any) -> str:
        graph = written(tmp_path / "mlp.yaml", MLP)
        return written(tmp_path / "serve.yaml", {"graphs": [graph], **parts})

    return write


def key_of(path: Path, name: str, *options: str) -> str:
    made = CliRunner().invoke(cli, ["keys", "add", name, "--keys", str(path), *options])
    assert made.exit_code == 0, made.output
    return next(word for word in made.output.split() if word.startswith("mk_"))


def test_a_rate_holds_exactly_across_processes(config):
    limits = {"admission": {"classes": {"anonymous": {"rate": "10/hour"}}}}
    with serving("--config", config(**limits), "--processes", "2") as server:
        server.until(lambda: all(server.is_ready() for _ in range(20)))
        statuses: list[int] = []

        def ask() -> None:
            # a connection each, so that both processes are asked
            statuses.extend(server.infer("fashion_mlp", body()).status_code for _ in range(5))

        askers = [threading.Thread(target=ask) for _ in range(6)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert statuses.count(200) == 10
        assert statuses.count(429) == 20
        refused = server.infer("fashion_mlp", body())
        assert int(refused.headers["retry-after"]) > 1000
        assert "10/hour" in refused.json()["error"]


def _listens(server: object) -> bool:
    """Whether models are loaded, found out without using up a rate: a credential that does not hold is refused at once."""
    try:
        return server.infer("fashion_mlp", body(), authorization="Bearer no").status_code in (401, 429)  # type: ignore[attr-defined]
    except httpx.HTTPError:
        return False


def test_keys_let_in_and_wrong_or_revoked_ones_do_not(tmp_path, config):
    keys = tmp_path / "keys.jsonl"
    alice = key_of(keys, "alice", "--class", "known")
    limits = {"admission": {"anonymous": False, "keys": str(keys), "classes": {"known": {"concurrent": 3}}}}
    with serving("--config", config(**limits)) as server:
        server.until(lambda: _listens(server))
        server.until(lambda: server.infer("fashion_mlp", body(), **{"x-api-key": alice}).status_code == 200)  # type: ignore[arg-type]
        assert server.infer("fashion_mlp", body()).status_code == 401
        assert server.infer("fashion_mlp", body(), authorization=f"Bearer {alice}").status_code == 200
        assert server.infer("fashion_mlp", body(), authorization=f"Bearer {alice[:-1]}").status_code == 401
        assert CliRunner().invoke(cli, ["keys", "revoke", "alice", "--keys", str(keys)]).exit_code == 0
        server.until(lambda: server.infer("fashion_mlp", body(), **{"x-api-key": alice}).status_code == 401)  # type: ignore[arg-type]


def test_wrong_keys_are_bounded_by_network_over_http_rest_and_grpc(tmp_path, config):
    keys, port = tmp_path / "keys.jsonl", free_port()
    alice = key_of(keys, "alice")
    parts = {"admission": {"anonymous": False, "keys": str(keys)}, "trusted_proxies": ["127.0.0.1"]}
    with serving("--config", config(**parts), grpc=("--grpc-port", str(port))) as server:
        server.until(server.is_ready)
        row = {"image": [[0] * 28] * 28}

        def rest(key: str, address: str) -> httpx.Response:
            headers = {"x-api-key": key, "x-forwarded-for": address}
            return httpx.post(f"{server.url}/predict/fashion_mlp", json=row, headers=headers)

        def http(key: str, address: str) -> httpx.Response:
            return server.infer("fashion_mlp", body(), None, **{"x-api-key": key, "x-forwarded-for": address})

        def grpc(key: str, address: str) -> str:
            with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
                try:
                    client.get_model_config("fashion_mlp", headers={"x-api-key": key, "x-forwarded-for": address})
                except tritonclient.grpc.InferenceServerException as error:
                    return str(error.status())
            return "OK"

        wrong, bad = f"{alice[:-2]}AA", "192.0.2.7"
        assert [ask(wrong, bad).status_code for _ in range(4) for ask in (http, rest)] == [401] * 8
        assert [grpc(wrong, bad) for _ in range(2)] == ["StatusCode.UNAUTHENTICATED"] * 2
        for refused in (http(wrong, bad), rest(wrong, bad)):
            assert refused.status_code == 429
            assert 0 < int(refused.headers["retry-after"]) <= 60
        assert grpc(wrong, bad) == "StatusCode.RESOURCE_EXHAUSTED"
        assert (http(wrong, "192.0.2.8").status_code, grpc(wrong, "192.0.2.8")) == (401, "StatusCode.UNAUTHENTICATED")
        for address in (bad, "192.0.2.8"):
            assert (http(alice, address).status_code, rest(alice, address).status_code) == (200, 200)
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'motet_incidents_total{incident="wrong_credentials"} 1.0' in metrics
        assert 'motet_rejected_total{graph="fashion_mlp",reason="wrong_credentials"} 3.0' in metrics
        assert sum("wrong credentials" in line for line in server.log) == 1


def test_slots_bound_what_runs_at_once_and_a_full_queue_is_refused(tmp_path, config):
    path = slow_graph(tmp_path)
    limits = {"classes": {"anonymous": {"concurrent": 1, "queue": 1}}}
    serve = written(tmp_path / "serve.yaml", {"admission": limits})
    with serving(path, "--config", serve, ready="slow") as server:
        statuses: list[int] = []
        askers = [threading.Thread(target=lambda: statuses.append(_ask_slow(server))) for _ in range(4)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert sorted(statuses) == [200, 200, 429, 429]


def _ask_slow(server: object) -> int:
    return int(server.infer("slow", body()).status_code)  # type: ignore[attr-defined]


def test_the_audit_log_says_who_asked_what_and_how_it_ended(tmp_path, config):
    keys, audit = tmp_path / "keys.jsonl", tmp_path / "audit.jsonl"
    alice = key_of(keys, "alice", "--class", "known")
    admission = {"keys": str(keys), "classes": {"anonymous": {}, "known": {}}, "audit": {"file": str(audit)}}
    with serving("--config", config(admission=admission), ready="fashion_mlp") as server:
        server.infer("fashion_mlp", body(3, id="r-1"), **{"x-api-key": alice})  # type: ignore[arg-type]
        server.infer("fashion_mlp", b"{}", **{"x-api-key": alice})  # type: ignore[arg-type]
        server.stop()
    good, bad = [json.loads(line) for line in audit.read_text().splitlines()][-2:]
    assert (good["name"], good["class"], good["request"], good["rows"]) == ("alice", "known", "r-1", 3)
    assert (good["status"], good["asked"]) == (200, "POST /v2/models/fashion_mlp/infer")
    assert good["compute_s"] > 0
    assert (bad["status"], bad["error"]) == (400, "InputError")
    assert alice not in audit.read_text()


@pytest.mark.parametrize("written_by", ["x-forwarded-for", "forwarded"])
def test_the_address_of_a_caller_is_what_trusted_proxies_say_over_http_and_grpc(tmp_path, config, written_by):
    audit, port = tmp_path / "audit.jsonl", free_port()
    parts = {
        "admission": {"classes": {"anonymous": {}}, "audit": {"file": str(audit)}},
        "trusted_proxies": ["127.0.0.1", "10.0.0.0/8"],
        "proxy_header": written_by,
    }
    path = "/v2/models/fashion_mlp/infer"
    entry = {"x-forwarded-for": "{}", "forwarded": "for={};proto=http"}[written_by]
    headers = [(written_by, entry.format(each)) for each in ("6.6.6.6", "192.0.2.7", "10.1.1.1")]
    other = {"x-forwarded-for": ("forwarded", "for=6.6.6.6"), "forwarded": ("x-forwarded-for", "6.6.6.6")}[written_by]
    grpc_port = ("--grpc-port", str(port))
    with serving("--config", config(**parts), ready="fashion_mlp", grpc=grpc_port) as server:
        assert httpx.post(f"{server.url}{path}", content=body(), headers=[*headers, other]).status_code == 200
        row = {"image": [[0] * 28] * 28}
        assert httpx.post(f"{server.url}/predict/fashion_mlp", json=row, headers=[*headers, other]).status_code == 200
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            client.get_server_metadata(headers={written_by: ", ".join(value for _, value in headers)})
        server.stop()
    entries = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(each.get("protocol", "http"), each["address"]) for each in entries][-3:] == [
        ("http", "192.0.2.7"), ("http", "192.0.2.7"), ("grpc", "192.0.2.7"),
    ]  # fmt: skip


def test_answers_are_kept_once_a_row_and_once_a_member(tmp_path, config):
    database = tmp_path / "predictions.db"
    sinks = [
        {"to": f"sqlite:///{database}", "table": "predictions", "record": "join"},
        {"to": f"sqlite:///{database}", "table": "members", "record": "stack"},
    ]
    with serving("--config", config(sinks=sinks), ready="fashion_mlp") as server:
        labels = server.infer("fashion_mlp", body(2, id="mine")).json()["outputs"][0]["data"]
        assert server.stop() == 0
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select output_label from predictions where request = 'mine' order by row").fetchall()
        assert [label for (label,) in rows] == labels
        members = connection.execute("select model, row from members where request = 'mine' order by row").fetchall()
        assert members == [("mlp", 0), ("mlp", 1)]


def test_an_answer_is_given_again_without_playing(tmp_path, config):
    audit = tmp_path / "audit.jsonl"
    admission = {"classes": {"anonymous": {}}, "audit": {"file": str(audit)}}
    with serving(
        "--config", config(cache={"max_bytes": "1MiB"}, admission=admission, admin="open"), ready="fashion_mlp"
    ) as server:
        first = server.infer("fashion_mlp", body(1, 200))
        again = server.infer("fashion_mlp", body(1, 200))
        assert first.json() == again.json()
        assert httpx.post(f"{server.url}/v2/repository/models/fashion_mlp/unload").status_code == 200
        assert server.infer("fashion_mlp", body()).status_code == 503
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'motet_cached_requests_total{graph="fashion_mlp"} 1.0' in metrics
        assert 'motet_requests_total{graph="fashion_mlp",outcome="ok"} 3.0' in metrics  # one of them to see it ready
        assert re.search(r'motet_rejected_total{graph="fashion_mlp",reason="not_ready"} [1-9]', metrics)
        server.stop()
    entries = [json.loads(line) for line in audit.read_text().splitlines()]
    costs = [each["compute_s"] for each in entries if each["status"] == 200 and each.get("rows")][-2:]
    assert costs[0] > 0
    assert costs[1] == 0


def test_the_time_that_a_caller_gives_holds_while_it_waits_for_its_turn_whatever_the_protocol(tmp_path):
    """The only slot is taken all the while, so that an answer is one to a request that waits."""
    go, audit, port = tmp_path / "go", tmp_path / "audit.jsonl", free_port()
    classes = {"anonymous": {"concurrent": 1, "queue": 20, "wait_s": 3600}}
    serve = written(tmp_path / "serve.yaml", {"admission": {"classes": classes, "audit": {"file": str(audit)}}})
    infer, short = json.loads(body()), {"x-request-timeout-ms": "40"}
    said, row = {"parameters": {"timeout": 40_000}}, {"image": [[0] * 28] * 28}
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "parameters": {"binary_data_size": 784}}
    head = json.dumps({"inputs": [tensor], **said}).encode()
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v2/models/slow/infer", {"json": infer, "headers": short}),
        ("/v2/models/slow/infer", {"content": b"{", "headers": short}),
        ("/v2/models/slow/infer", {"json": {**infer, **said}}),
        (
            "/v2/models/slow/infer",
            {"json": {**infer, "inputs": [{**infer["inputs"][0], "data": [float("nan")]}], **said}},
        ),
        ("/v2/models/slow/infer", {"content": json.dumps({**json.loads(body(20)), **said})}),
        (
            "/v2/models/slow/infer",
            {"content": head + bytes(784), "headers": {"inference-header-content-length": str(len(head))}},
        ),
        (
            "/v2/models/slow/infer",
            {"content": gzip.compress(json.dumps({**infer, **said}).encode()), "headers": {"content-encoding": "gzip"}},
        ),
        ("/predict/slow", {"json": row, "headers": short}),
        ("/predict/slow?timeout=40000", {"json": row}),
        ("/predict/slow", {"json": {"rows": [row], **said}}),
        ("/predict/slow?timeout=40000", {"data": {"image": json.dumps(row["image"])}}),
        ("/v1/models/slow:predict", {"json": {"instances": [row], **said}}),
        ("/v1/models/slow:predict?timeout=40000", {"json": {"instances": [row]}}),
    ]
    image = tritonclient.grpc.InferInput("image", [1, 28, 28], "UINT8")
    image._raw_content = bytes(784)
    with serving(slow_graph(tmp_path, go), "--config", serve, grpc=("--grpc-port", str(port))) as server:
        go.touch()  # it is warmed
        server.until(server.is_ready)
        go.unlink()
        first = threading.Thread(target=lambda: server.infer("slow", body()))
        first.start()
        server.until(lambda: server.in_flight("slow") == 1)
        for path, request in asked:
            if "json" in request:  # which may hold NaN
                request["content"] = json.dumps(request.pop("json"))
            answer = httpx.post(f"{server.url}{path}", timeout=60, **request)
            assert (answer.status_code, "not answered in time" in answer.text) == (504, True), (path, answer.text)
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            for times in ({"client_timeout": 0.1}, {"timeout": 40_000}):
                with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
                    client.infer("slow", [image], **times)
                assert refused.value.status() == "StatusCode.DEADLINE_EXCEEDED"
            with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
                client.get_model_metadata("slow", client_timeout=0.1)
            assert refused.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        late = f'motet_rejected_total{{graph="slow",reason="late"}} {len(asked) + 3}.0'
        server.until(lambda: late in httpx.get(f"{server.url}/metrics").text)
        go.touch()
        first.join()
        assert server.stop() == 0
    entries = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [each["status"] for each in entries if each["target"] == "slow"] == [504] * (len(asked) + 3) + [200]
