"""What callers see of the requests of others, and what logs have of addresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from motet.cli import cli
from serving.process.serve_process import serving, written
from serving.process.test_services import key_of

CODE = """
import motet as mt

@mt.returns("float32")
def picky(x):
    if (x < 0).any():
        raise ValueError(f"negative in row {x.tolist()}")
    return x
"""
GRAPH = {
    "motet": 1, "name": "g", "inputs": {"x": "float32"}, "nodes": {"a": {"map": "picky.picky", "inputs": ["x"]}},
    "outputs": {"y": "a"},
}  # fmt: skip
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [-4111111]}]})
SECRETS = ("4111111", "picky.py", "mine-7", "/broken")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    (folder / "picky.py").write_text(CODE)
    (folder / "cannot.py").write_text("class Cannot:\n    def __init__(self):\n        open('/broken.onnx')\n")
    types = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    broken = {**GRAPH, "name": "broken", "models": {"m": {"uri": "python:cannot:Cannot", **types}}}
    written(folder / "broken.yaml", {**broken, "nodes": {"a": {"model": "m", "inputs": ["x"]}}})
    written(folder / "g.yaml", GRAPH)
    return folder


@pytest.fixture(scope="module", params=["told apart", "anybody"])
def server(request, folder):
    """A server that needs a credential, or none; and the headers of a caller, an administrator and a stranger."""
    config: dict[str, Any] = {"observability": {"access_log": str(folder / f"{request.param}.access")}}
    callers: dict[str, dict[str, str]] = {}
    if request.param == "told apart":
        keys = folder / "keys.jsonl"
        callers = {name: {"x-api-key": key_of(keys, name, "--class", name)} for name in ("known", "admin")}
        audit = {"file": str(folder / "audit.jsonl")}
        config["admission"] = {"anonymous": False, "keys": str(keys), "audit": audit}
    else:
        callers = {"known": {}}
    callers["stranger"] = {}
    path = written(folder / "serve.yaml", config)
    with serving(str(folder / "g.yaml"), "--config", path) as live:
        live.until(live.is_ready)
        yield live, callers


def ask(live, headers, query=""):
    body = json.loads(BODY) | {"id": "mine-7"}
    return httpx.post(f"{live.url}/v2/models/g/infer{query}", json=body, headers=headers, timeout=30)


def test_rows_and_paths_of_others_are_for_administrators(server):
    live, callers = server
    assert ask(live, callers["known"]).status_code == 422
    administrators = [live.owner()]
    if "admin" in callers:
        administrators.append(httpx.Client(base_url=live.url, headers=callers["admin"]))
    for client in administrators:
        with client:
            everything = client.get("/status.json").json()["errors"][0]
        assert "4111111" in everything["message"]
        assert everything["id"] == "mine-7"
    for headers in (callers["stranger"], callers["known"]):
        answer = httpx.get(f"{live.url}/status.json", headers=headers)
        assert answer.status_code == 200
        (error, *_) = answer.json()["errors"]
        assert {name: error[name] for name in ("graph", "node", "error", "rows")} == {
            "graph": "g", "node": "a", "error": "ValueError", "rows": 1,
        }  # fmt: skip
        assert set(error) == {"graph", "node", "error", "rows", "time"}
        assert not any(secret in answer.text for secret in SECRETS)


def test_the_command_shows_callers_what_they_may_see(server):
    live, callers = server
    ask(live, callers["known"])
    shown = CliRunner().invoke(cli, ["status", live.url, "--key", callers["known"].get("x-api-key", "none")])
    assert shown.exit_code == 0, shown.output
    assert "last errors: g a ValueError\n" in shown.output
    assert not any(secret in shown.output for secret in SECRETS)
    shown = CliRunner().invoke(cli, ["status", str(live.url).rpartition(":")[2]])
    assert "last errors: g a ValueError: " in shown.output


def test_runs_of_workflows_are_for_administrators(server):
    live, callers = server
    administrators = [live.owner()]
    if "admin" in callers:
        administrators.append(httpx.Client(base_url=live.url, headers=callers["admin"]))
    for client in administrators:
        with client:
            found = client.get("/workflows")
        assert (found.status_code, "<h1>Runs</h1>" in found.text) == (200, True)
        assert "default-src 'none'" in found.headers["content-security-policy"]
    for headers in (callers["stranger"], callers["known"]):
        for path in ("/workflows", "/workflows/", "/workflows/runs.json", "/workflows/run/last"):
            refused = httpx.get(live.url + path, headers=headers)
            assert refused.status_code in (401, 403)
            assert "Runs" not in refused.text


@pytest.mark.parametrize(
    "path", ["/v2/models/g/infer", "/predict/g", "/v2/models/g", "/status.json", "/nothing", "/v2/models/none/infer"]
)
def test_no_log_has_the_query_of_an_address(server, folder, path):
    live, callers = server
    for method in ("GET", "POST"):
        httpx.request(method, f"{live.url}{path}?api_key=SECRETQ&token=SECRETQ", headers=callers["known"], content=BODY)
    logs = [each for pattern in ("*.access", "audit.jsonl") for each in Path(folder).glob(pattern)]
    live.until(lambda: any(f'{path}"' in each.read_text() for each in logs))
    assert not any("SECRETQ" in each.read_text() for each in logs)
    assert not any("SECRETQ" in line for line in live.log)


def test_why_a_graph_is_not_served_is_for_administrators(folder):
    with serving(str(folder / "broken.yaml")) as live:
        state = lambda: httpx.get(f"{live.url}/status.json").json()["states"]["broken"]["state"]  # noqa: E731
        live.until(lambda: listens(live) and state() == "UNAVAILABLE")
        with live.owner() as owner:
            assert "broken.onnx" in owner.get("/status.json").json()["states"]["broken"]["reason"]
            assert "broken.onnx" in owner.get("/v2/health/ready").json()["reason"]
            assert "broken.onnx" in owner.get("/v2/models/broken/ready").json()["error"]
            assert "broken.onnx" in owner.get("/v1/models/broken").text
            assert "broken.onnx" in owner.post("/v2/repository/index").text
        why = "model 'm' cannot be loaded (ModelLoadError)"
        ready = httpx.get(f"{live.url}/v2/health/ready")
        assert (ready.status_code, ready.json()) == (
            503,
            {
                "ready": False,
                "reason": f"broken is not ready: {why}",
                "waiting": {"broken": {"state": "UNAVAILABLE", "reason": why}},
            },
        )
        tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
        answers = [
            httpx.get(live.url + page)
            for page in (
                "/status.json",
                "/graphs.json",
                "/readyz",
                "/v2/models/broken/ready",
                "/v1/models/broken",
                "/v1/models/broken.m",
            )
        ]
        answers += [
            httpx.post(f"{live.url}/v2/repository/index"),
            httpx.post(f"{live.url}/predict/broken", json={"x": 1}),
            httpx.post(f"{live.url}/v1/models/broken:predict", json={"instances": [1]}),
            httpx.post(f"{live.url}/v2/models/broken/infer", json={"inputs": [tensor]}),
            httpx.post(f"{live.url}/v2/models/broken.m/infer", json={"inputs": [tensor]}),
        ]
        for answer in answers:
            assert why in answer.text
            assert "broken.onnx" not in answer.text
            assert str(folder) not in answer.text


def listens(live):
    try:
        return httpx.get(f"{live.url}/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False
