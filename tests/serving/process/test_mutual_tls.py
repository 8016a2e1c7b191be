"""Clients that must have a certificate: who is let in, over each protocol, and who it is then."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from cryptography import x509

import motet
from helpers.authority import DAY, NOW, Authority, Pair
from motet.cli import cli
from motet.client import AsyncClient, Client
from motet.errors import InputError, ModelLoadError, ModelUnavailableError, RequestError
from motet.oip.messages import ModelInferRequest, ModelInferResponse
from motet.serving import start
from serving.process.serve_process import Process, free_port, serving, written

GRAPH = {
    "motet": 1,
    "name": "plus",
    "inputs": {"x": "float32"},
    "nodes": {"y": {"map": "numpy.negative", "inputs": ["x"]}},
    "outputs": {"y": "y"},
}
TENSOR = {"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}
SPIFFE = "spiffe://example.org/ns/prod/sa/shop"


class Secured:
    """A server that asks for certificates.

    Args:
        process: it.
        grpc_port: of gRPC.
        ca: the file of the authority of its own certificate.
        log: the file of its access log.
    """

    def __init__(self, process: Process, grpc_port: int, ca: str, log: Path) -> None:
        self.process, self.grpc_port, self.ca, self.log = process, grpc_port, ca, log
        self.url = f"https://127.0.0.1:{process.port}"

    def context(self, pair: Pair | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=self.ca)
        made.maximum_version = version
        if pair is not None:
            made.load_cert_chain(pair.certificate, pair.key)
        return made

    def client(self, pair: Pair | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.context(pair, version), timeout=30, trust_env=False)

    def infer(self, pair: Pair | None, **headers: str) -> httpx.Response:
        with self.client(pair) as client:
            return client.post("/v2/models/plus/infer", json={"inputs": [TENSOR]}, headers=headers)

    def predict(self, pair: Pair | None) -> httpx.Response:
        with self.client(pair) as client:
            return client.post("/predict/plus", json={"x": 2.0})

    def call(self, pair: Pair | None) -> float:
        """The answer over gRPC."""
        files = (self.ca, *((pair.key, pair.certificate) if pair else ()))
        credentials = grpc.ssl_channel_credentials(*(Path(each).read_bytes() for each in files))
        request = ModelInferRequest(model_name="plus")
        request.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(2.0)
        with grpc.secure_channel(f"localhost:{self.grpc_port}", credentials) as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=ModelInferRequest.SerializeToString,
                response_deserializer=ModelInferResponse.FromString,
            )
            answer = ask(request, timeout=30)
        return float(answer.outputs[0].contents.fp32_contents[0])

    def asked(self) -> set[tuple[str, str]]:
        """Who asked for what, by the access log."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return {(line.get("name", ""), line["path"]) for line in lines}

    def is_ready(self, pair: Pair) -> bool:
        try:
            return self.infer(pair).status_code == 200
        except httpx.HTTPError:
            return False


def secured(folder: Path, config: dict[str, Any], ca: str) -> Any:
    """A server of a configuration; a context manager that gives the process, and what makes a `Secured` of it."""
    graph = written(folder / "graph.yaml", GRAPH)
    port = free_port()
    said = {"observability": {"access_log": "access.jsonl"}, **config}
    process = serving(graph, "--config", written(folder / "serve.yaml", said), grpc=("--grpc-port", str(port)))
    return process, lambda started: Secured(started, port, ca, folder / "access.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutual")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def alice(authority: Authority) -> Pair:
    return authority.issue("alice", "alice")


@pytest.fixture(scope="module")
def server(folder: Path, authority: Authority, alice: Pair) -> Any:
    pair = authority.server()
    tls = {"certificate": Path(pair.certificate).name, "key": Path(pair.key).name, "client_ca": "authority.pem"}
    process, made = secured(folder, {"tls": tls}, authority.file)
    with process as started:
        found = made(started)
        started.until(lambda: found.is_ready(alice))
        yield found


NAMED: dict[str, tuple[str | None, tuple[x509.GeneralName, ...]]] = {
    "carol": ("carol", (x509.DNSName("other.example.org"),)),
    SPIFFE: (None, (x509.UniformResourceIdentifier(SPIFFE), x509.DNSName("shop.example.org"))),
    "shop.example.org": (None, (x509.DNSName("shop.example.org"),)),
    "dave@example.org": (None, (x509.RFC822Name("dave@example.org"),)),
    "Zoë": ("Zoë", ()),
    "": (None, ()),
}


@pytest.mark.parametrize("name", list(NAMED))
def test_whoever_has_a_certificate_is_let_in_and_called_by_its_name(server, authority, name):
    pair = authority.issue("named", *NAMED[name])
    assert server.infer(pair).json()["outputs"][0]["data"] == [-2.0]
    assert server.predict(pair).json()["y"] == -2.0
    assert server.call(pair) == -2.0
    with server.client(pair) as client:
        assert client.get("/v2/health/ready").status_code == 200
        assert client.post("/v2/repository/models/plus/unload").status_code == 403  # it makes nobody an administrator
    infer, unload = "/v2/models/plus/infer", "/v2/repository/models/plus/unload"
    asked = {(name, path) for path in (infer, "/predict/plus", "plus", "/v2/health/ready", unload)}
    server.process.until(lambda: asked <= server.asked())


@pytest.mark.parametrize("who", ["nobody", "of another authority", "expired"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_whoever_has_none_that_holds_is_refused(server, folder, authority, who, version):
    pairs = {
        "of another authority": lambda: Authority(folder, "other").issue("foreign", "alice"),
        "expired": lambda: authority.issue("expired", "alice", ends=NOW - DAY),
    }
    pair = pairs[who]() if who in pairs else None
    server.process.log.clear()
    method, path = ("POST", "/predict/plus") if who == "nobody" else ("GET", "/v2/health/live")
    with server.client(pair, version) as client, pytest.raises(httpx.TransportError, match="(?i)alert"):
        client.request(method, path, content=bytes(100_000))
    server.process.until(lambda: any("a client is not let in: " in line for line in server.process.log))
    if version == ssl.TLSVersion.TLSv1_3:
        with pytest.raises(grpc.RpcError) as refused:
            server.call(pair)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_limits_hold_for_each_name_over_all_protocols(tmp_path, authority, alice):
    pair, bob = authority.server(), authority.issue("bob", "bob")
    tls = {"certificate": pair.certificate, "key": pair.key, "client_ca": authority.file}
    made = motet_keys(tmp_path)
    admission = {"keys": "keys.jsonl", "anonymous": False, "classes": {"known": {"rate": "3/hour"}}}
    process, secure = secured(tmp_path, {"tls": tls, "admission": admission}, authority.file)
    probe = authority.issue("probe", "probe")
    with process as started:
        server = secure(started)
        started.until(lambda: server.is_ready(probe))
        assert [server.infer(alice).status_code, server.predict(alice).status_code, server.call(alice)] == [
            200,
            200,
            -2,
        ]
        for refused in (server.infer, server.predict):
            answer = refused(alice)
            assert (answer.status_code, "more than 3/hour" in answer.text) == (429, True)
        with pytest.raises(grpc.RpcError) as caught:
            server.call(alice)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert server.call(bob) == -2
        assert server.infer(alice, **{"x-api-key": made}).status_code == 200  # a key says more than the certificate
        assert server.infer(alice, **{"x-api-key": "mk_wrong"}).status_code == 401
        nameless = server.infer(authority.issue("nameless"))
        assert (nameless.status_code, "the client's certificate names nobody" in nameless.text) == (401, True)
        server.process.until(lambda: "keyholder" in {name for name, _ in server.asked()})


def motet_keys(folder: Path) -> str:
    """A key of a file `keys.jsonl`."""
    from motet.serving.admission.keys import KeyStore

    return KeyStore(folder / "keys.jsonl").add("keyholder")[0]


@pytest.fixture
def changing(tmp_path, authority, alice):
    """A server whose files change, and what writes its configuration."""
    pair = authority.server()
    ca = tmp_path / "clients.pem"
    ca.write_bytes(Path(authority.file).read_bytes())
    tls = {"certificate": pair.certificate, "key": pair.key, "client_ca": "clients.pem"}
    process, secure = secured(tmp_path, {"tls": tls}, authority.file)
    with process as started:
        server = secure(started)
        started.until(lambda: server.is_ready(alice))

        def reloaded(said: str, **changed: Any) -> None:
            said_of_tls = {key: value for key, value in {**tls, **changed}.items() if value}
            config = {"observability": {"access_log": "access.jsonl"}, "tls": said_of_tls}
            written(tmp_path / "serve.yaml", config)
            started.log.clear()
            started.process.send_signal(signal.SIGHUP)
            started.until(lambda: any(said in line for line in started.log))

        yield server, ca, reloaded


def test_other_authorities_are_taken_over_without_a_restart(changing, tmp_path, alice):
    server, ca, reloaded = changing
    others = Authority(tmp_path, "others")
    bob = others.issue("bob", "bob")
    context = server.context(alice, ssl.TLSVersion.TLSv1_2)
    session = with_session(server, context, None)
    assert session is not None
    with server.client(alice) as open_before:
        assert open_before.get("/v2/health/live").status_code == 200
        ca.write_text("no certificates")
        reloaded("clients.pem is no file of certificates")
        assert server.infer(alice).status_code == 200
        assert server.call(alice) == -2
        ca.write_bytes(Path(others.file).read_bytes())
        reloaded("the configuration was read again")
        assert server.infer(bob).status_code == 200
        assert server.call(bob) == -2
        for refused in (server.infer, server.predict):
            with pytest.raises(httpx.TransportError):
                refused(alice)
        with pytest.raises(grpc.RpcError):
            server.call(alice)
        with pytest.raises(OSError):  # nor does a session of before spare it the certificate
            with_session(server, context, session)
        assert open_before.get("/v2/health/live").status_code == 200
    reloaded("the configuration was read again", client_ca=str(Path(server.ca)))
    assert (server.infer(alice).status_code, server.call(alice)) == (200, -2)
    with pytest.raises(grpc.RpcError):
        server.call(bob)


def with_session(server: Secured, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Ask once over TLS 1.2, in a session of before."""
    raw = socket.create_connection(("127.0.0.1", server.process.port), timeout=30)
    with context.wrap_socket(raw, server_hostname="localhost", session=session) as secure:
        secure.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert secure.recv(12) == b"HTTP/1.1 200"
        return secure.session


def test_whether_clients_are_asked_cannot_change(changing, tmp_path, alice):
    server, _, reloaded = changing
    reloaded("tls cannot change while the server runs", client_ca=None)
    with pytest.raises(httpx.TransportError):
        server.infer(None)
    assert server.infer(alice).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"client_ca": "none.pem"}, "tls.client_ca: cannot read {folder}/none.pem: No such file or directory"),
        ({"client_ca": "."}, "tls.client_ca: cannot read {folder}: Is a directory"),
        ({"client_ca": "server.key"}, "tls.client_ca: {folder}/server.key is no file of certificates"),
        ({"client_ca": "text.pem"}, "tls.client_ca: {folder}/text.pem is no file of certificates"),
        ({"client_ca": 5}, "client_ca"),
        ({"certificate": "none.pem"}, "tls: cannot read {folder}/none.pem: No such file or directory"),
        ({"key": "locked.key", "certificate": "locked.pem"}, "are no certificate and key"),
        ({"key": "locked.key"}, "are no certificate and key"),
    ],
)
def test_files_that_are_wrong_are_refused_before_anything_is_served(tmp_path, wrong, said):
    made = Authority(tmp_path)
    made.server()
    made.issue("locked", "localhost", password=b"secret")
    (tmp_path / "text.pem").write_text("not a certificate\n")
    tls = {"certificate": "server.pem", "key": "server.key", "client_ca": "authority.pem", **wrong}
    processes = 2 if wrong == {"client_ca": "none.pem"} else 1
    graph, config = written(tmp_path / "g.yaml", GRAPH), written(tmp_path / "serve.yaml", {"tls": tls})
    with serving(graph, "--config", config, "--processes", str(processes)) as server:
        assert server.process.wait(timeout=60) == 2
    text = "".join(server.log)
    assert said.format(folder=tmp_path) in text
    assert "Traceback" not in text


WRONG = [
    ({"certificate": "none.pem"}, "cannot read .*none.pem: No such file"),
    ({"certificate": "alice.pem"}, "are no certificate and key"),
    ({"certificate_key": "alice.key"}, "there is the key of a certificate and no certificate"),
]
"""What cannot be shown: files in a folder with Alice's."""


class TestClients:
    @pytest.fixture
    def options(self, server, alice):
        return {"verify": server.ca, "certificate": alice.certificate, "certificate_key": alice.key}

    def test_they_show_a_certificate(self, server, options):
        with Client(server.url, **options) as client:
            assert client.predict("plus", {"x": 2.0}) == {"y": -2.0}

        async def ask() -> Any:
            async with AsyncClient(server.url, **options) as client:
                return await client.predict("plus", {"x": 2.0})

        assert asyncio.run(ask()) == {"y": -2.0}

    def test_both_may_be_in_one_file(self, server, alice, tmp_path):
        both = tmp_path / "both.pem"
        both.write_text(Path(alice.certificate).read_text() + Path(alice.key).read_text())
        with Client(server.url, verify=server.ca, certificate=str(both)) as client:
            assert client.live()

    def test_without_one_it_is_said_that_the_server_did_not_go_on(self, server):
        with (
            Client(server.url, verify=server.ca, retries=0) as client,
            pytest.raises(RequestError, match="the connection broke .* alert certificate required"),
        ):
            client.predict("plus", {"x": 2.0})

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            *WRONG,
            ({"verify": "none.pem"}, "cannot read none.pem"),
            (
                {"verify": ssl.create_default_context(), "certificate": "alice.pem"},
                "there are a certificate and a context",
            ),
        ],
    )
    def test_what_cannot_be_shown_is_said_when_one_is_made(self, server, folder, alice, given, said, kind, monkeypatch):
        monkeypatch.chdir(folder)
        with pytest.raises(InputError, match=said):
            kind(server.url, **{"verify": server.ca, **given})


class TestCommands:
    def run(self, server, *arguments, **files):
        given = [each for name, file in files.items() for each in (f"--{name.replace('_', '-')}", file)]
        return CliRunner().invoke(cli, [*arguments, "--ca", server.ca, *given])

    def test_they_show_a_certificate(self, server, alice, tmp_path):
        both = tmp_path / "both.pem"
        both.write_text(Path(alice.certificate).read_text() + Path(alice.key).read_text())
        for given in ({"certificate": alice.certificate, "certificate_key": alice.key}, {"certificate": str(both)}):
            found = self.run(server, "status", server.url, "--json", **given)
            assert (found.exit_code, json.loads(found.stdout)["ready"]) == (0, True), found.output
            for act in (
                ["load", server.url, "plus"],
                ["unload", server.url, "plus"],
                ["scale", server.url, "plus", "2"],
            ):
                refused = self.run(server, *act, **given)
                assert (refused.exit_code, "the server answered 403" in refused.stderr) == (2, True), refused.output

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "check the certificates: --ca for the server's, --certificate for yours"),
            ({"ca": "alice.pem"}, "check the certificates: --ca for the server's, --certificate for yours"),
            *WRONG,
        ],
    )
    def test_what_is_wrong_with_a_certificate_is_said(self, server, folder, alice, given, said, monkeypatch):
        monkeypatch.chdir(folder)
        for act in (["status", server.url], ["load", server.url, "plus"]):
            found = self.run(server, *act, **given)
            assert found.exit_code == (2 if (given, said) in WRONG else 1)
            assert re.search(said, found.stderr)
            assert "Traceback" not in found.output

    def test_none_are_taken_where_no_tls_is_spoken(self, server):
        for where in (server.url.replace("https", "http"), "unix:/none"):
            found = self.run(server, "status", where)
            assert (found.exit_code, "is asked without TLS" in found.stderr) == (2, True), found.output


class TestModels:
    def graph(self, folder, server, uri, **options):
        host = f"localhost:{server.process.port if 'http' in uri else server.grpc_port}"
        model = {"uri": uri.format(host=host), "with": {"ca": "authority.pem", "retries": 0, **options}}
        kinds = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
        graph = {"motet": 1, "name": "far", "inputs": {"x": "float32"}, "models": {"far": {**model, **kinds}}}
        return written(
            folder / "far.yaml", {**graph, "nodes": {"n": {"model": "far", "inputs": ["x"]}}, "outputs": {"y": "n"}}
        )

    @pytest.mark.parametrize("uri", ["oip+https://{host}/v2/models/plus", "oip+grpcs://{host}/plus"])
    def test_they_show_a_certificate(self, server, folder, alice, uri):
        """Relative paths begin at the folder of the graph."""
        path = self.graph(folder, server, uri, certificate="alice.pem", certificate_key="alice.key")
        with motet.load(path) as graph:
            assert graph({"x": np.array([2], np.float32)})["y"].tolist() == [-2]
        with motet.load(self.graph(folder, server, uri)) as graph, pytest.raises(ModelUnavailableError):
            graph({"x": np.array([2], np.float32)})

    @pytest.mark.parametrize("uri", ["oip+https://{host}/v2/models/plus", "oip+grpcs://{host}/plus"])
    @pytest.mark.parametrize(
        ("options", "said"), [*WRONG, ({"ca": "alice.key"}, "alice.key is no file of certificates")]
    )
    def test_what_cannot_be_shown_is_said_when_one_is_loaded(self, server, folder, alice, uri, options, said):
        with pytest.raises(ModelLoadError, match=said), motet.load(self.graph(folder, server, uri, **options)) as graph:
            graph({"x": np.array([2], np.float32)})


def test_a_server_inside_a_program_asks_for_certificates_too(tmp_path, authority, alice):
    pair = authority.server()
    tls = {"certificate": pair.certificate, "key": pair.key, "client_ca": authority.file}
    with start(written(tmp_path / "graph.yaml", GRAPH), port=0, tls=tls) as server:
        options = {"verify": authority.file, "certificate": alice.certificate, "certificate_key": alice.key}
        with Client(f"https://localhost:{server.port}", **options) as client:
            assert client.predict("plus", {"x": 2.0}) == {"y": -2.0}
