"""The port, what is said of the server and its models, and health."""

import datetime
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tritonclient.utils import InferenceServerException

import motet as mt
from motet.errors import GraphError, InputError
from motet.oip.messages import SERVICE, HealthCheckRequest, HealthCheckResponse, ModelInferRequest, ModelReadyRequest
from motet.serving.config.server import ServeConfig, Tls
from motet.serving.grpc import GrpcConfig, GrpcServer
from serving.grpc.grpc_functions import gates, shut
from serving.grpc.grpc_live import WATCH, ask, echo, tensor

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


def health(server, service=""):
    return ask(server, "Check", HealthCheckRequest(service=service)).status


def test_the_server_says_what_it_is(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata(as_json=True)
    assert (metadata["name"], metadata["version"]) == ("motet", mt.__version__)
    known = {"classification", "model_configuration", "model_repository", "parameters", "schedule_policy", "statistics"}
    assert set(metadata["extensions"]) == known  # binary_tensor_data is of HTTP


def test_a_model_says_what_it_takes_and_gives(client):
    assert client.get_model_metadata("two", as_json=True) == {
        "name": "two",
        "versions": ["1"],
        "platform": "motet_graph",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": ["-1", "2"]},
            {"name": "b", "datatype": "INT64", "shape": ["-1"]},
        ],
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": ["-1", "2"]},
            {"name": "b", "datatype": "INT64", "shape": ["-1"]},
        ],
    }
    ragged = client.get_model_metadata("echo_float32_n_2", "1")
    assert list(ragged.inputs[0].shape) == [-1, -1, 2]


def test_a_model_has_a_configuration(client):
    config = client.get_model_config("two", as_json=True)["config"]
    assert (config["name"], config["platform"], config["backend"]) == ("two", "motet_graph", "motet")
    assert config["max_batch_size"] == 16_384
    assert config["input"] == [
        {"name": "a", "data_type": "TYPE_FP32", "dims": ["2"]},
        {"name": "b", "data_type": "TYPE_INT64", "optional": True},
    ]
    assert [each["name"] for each in config["output"]] == ["a", "b"]


def test_readiness_is_said_of_each_model(client):
    assert client.is_model_ready("two")
    assert client.is_model_ready("two", "1")
    assert not client.is_model_ready("two", "2")
    assert not client.is_model_ready("nothing")


@pytest.mark.parametrize(
    "method", ["get_model_metadata", "get_model_config", "get_inference_statistics", "load_model", "unload_model"]
)
def test_what_is_not_served_is_not_found(client, method):
    with pytest.raises(InferenceServerException, match="no model 'nothing' is served") as caught:
        getattr(client, method)("nothing")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_statistics_are_those_that_are_counted(live, repository, client):
    assert client.get_inference_statistics("two").model_stats[0].inference_count == 0
    counted = {
        "inference_count": 12,
        "execution_count": 3,
        "last_inference": 99,
        "success": (4, 5000),
        "queue": (4, 700),
    }
    server = live.serve(repository, numbers=lambda served: counted if served.name == "two" else {})
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as made:
        (stats,) = made.get_inference_statistics("two").model_stats
        assert len(made.get_inference_statistics().model_stats) == len(repository.served)
    assert (stats.name, stats.version, stats.inference_count, stats.last_inference) == ("two", "1", 12, 99)
    assert (stats.inference_stats.success.count, stats.inference_stats.success.ns) == (4, 5000)
    assert stats.inference_stats.queue.ns == 700
    assert stats.inference_stats.fail.count == 0


def test_graphs_are_loaded_and_unloaded(live):
    server = live.serve(live.repository(echo("float32"), echo("int8")))
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        client.unload_model("echo_int8")
        states = {each.name: (each.state, each.reason) for each in client.get_model_repository_index().models}
        assert states == {"echo_float32": ("READY", ""), "echo_int8": ("UNAVAILABLE", "unloaded")}
        with pytest.raises(InferenceServerException, match="not ready") as caught:
            client.infer("echo_int8", [tensor("x", np.ones(1, np.int8))])
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
        assert (health(server, "echo_int8"), health(server, "echo_float32")) == (NOT_SERVING, SERVING)
        assert not client.is_model_ready("echo_int8")
        client.load_model("echo_int8")
        assert client.infer("echo_int8", [tensor("x", np.ones(1, np.int8))]).as_numpy("y").tolist() == [1]
        with pytest.raises(InferenceServerException, match="parameters config are given") as caught:
            client.load_model("echo_int8", config="{}")
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_health_is_that_of_the_server_and_of_each_model(server):
    for service in ("", "inference.GRPCInferenceService", "grpc.health.v1.Health", "two"):
        assert health(server, service) == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health(server, "nothing")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_those_who_watch_are_told_of_changes(live):
    repository = live.repository(echo("float32"))
    server = live.serve(repository)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = channel.unary_stream(WATCH, response_deserializer=HealthCheckResponse.FromString)
        model, whole = (
            watch(HealthCheckRequest(service=service).SerializeToString(), timeout=20)
            for service in ("echo_float32", "")
        )
        nothing = watch(HealthCheckRequest(service="nothing").SerializeToString(), timeout=20)
        assert [next(each).status for each in (model, whole, nothing)] == [SERVING, SERVING, SERVICE_UNKNOWN]
        live.run(repository.unload("echo_float32"))
        assert next(model).status == NOT_SERVING
        live.run(server.stop(5))
        assert next(whole).status == NOT_SERVING
        assert list(whole) == list(model) == list(nothing) == []


def test_a_method_that_does_not_exist_is_said(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/CudaSharedMemoryStatus")(b"", timeout=20)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_none_is_the_callers_mistake(server):
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, "ModelMetadata", b"\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("no ModelMetadataRequest")


def test_servers_share_a_port_where_that_is_wanted(live, repository):
    first = live.serve(repository, reuse_port=True)
    second = live.serve(repository, grpc_port=first.port, reuse_port=True)
    assert first.port == second.port
    live.run(first.stop(0))
    with triton.InferenceServerClient(f"127.0.0.1:{first.port}") as client:
        assert client.is_server_live()


def test_a_port_that_is_taken_is_said(live, repository, server):
    with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{server.port} for gRPC"):
        live.serve(repository, grpc_port=server.port)


@pytest.mark.skipif(not socket.has_ipv6, reason="the machine has no IPv6")
def test_it_listens_on_ipv6(live, repository):
    try:
        server = live.serve(repository, host="::1")
    except InputError:
        pytest.skip("the machine has no IPv6 loopback")
    with triton.InferenceServerClient(f"[::1]:{server.port}") as client:
        assert client.is_server_live()


def test_calls_under_way_finish_when_the_server_stops(live, gated_gateway, door):
    server = live.serve(gated_gateway, middleware=door)
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client, shut("gate") as entered:
        got = []
        client.async_infer(
            "gated", [tensor("x", np.ones(1, np.float32))], lambda result, error: got.append((result, error))
        )
        assert entered.wait(20)
        stopping = live.start(server.stop(20))
        live.until(lambda: server.stopping)
        gates["gate"].set()
        stopping.result(20)
        live.until(lambda: got)
    ((result, error),) = got
    assert error is None
    assert result.as_numpy("y").tolist() == [1]


def test_calls_that_have_come_and_not_begun_are_answered_when_the_server_stops(live, repository):
    """A call is accepted when it has come; gRPC cancels what has come and not begun (github.com/grpc/grpc/issues/41785)."""
    server, elsewhere = live.serve(repository), grpc.server(ThreadPoolExecutor(1))
    held, go_on, stopping = threading.Event(), threading.Event(), []

    def hold_the_loop():
        held.set()
        assert go_on.wait(20)
        stopping.append(live.loop.create_task(server.stop(20)))

    request = ModelInferRequest(model_name="echo_float32", inputs=[{"name": "x", "datatype": "FP32", "shape": [1]}])
    request.inputs[0].contents.fp32_contents.append(1)
    port = elsewhere.add_insecure_port("127.0.0.1:0")
    elsewhere.start()
    with (
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as asked,
        grpc.insecure_channel(f"127.0.0.1:{port}") as beside,
    ):
        infer, nothing = (each.unary_unary(f"/{SERVICE}/ModelInfer") for each in (asked, beside))
        infer(request.SerializeToString(), timeout=20)
        live.loop.call_soon_threadsafe(hold_the_loop)
        assert held.wait(20)
        calls = [infer.future(request.SerializeToString(), timeout=20) for _ in range(32)]
        with pytest.raises(grpc.RpcError):  # an answer, after which what was sent before has come as well
            nothing(b"", timeout=20)
        go_on.set()
        codes = [call.code() for call in calls]
    elsewhere.stop(0)
    live.until(lambda: stopping[0].done())
    assert codes == [grpc.StatusCode.OK] * 32


def test_more_calls_than_may_be_under_way_are_refused(live, gated_gateway, door):
    server = live.serve(gated_gateway, middleware=door, grpc=GrpcConfig(calls=1))
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client, shut("gate") as entered:
        client.async_infer("gated", [tensor("x", np.ones(1, np.float32))], lambda result, error: None)
        assert entered.wait(20)
        with pytest.raises(InferenceServerException) as caught:
            client.is_server_live()
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_without_its_extra_it_says_how_to_install_it():
    program = "import sys; sys.modules['grpc'] = None\nimport motet.serving.grpc"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "serving over gRPC needs grpcio, which is not installed" in done.stderr
    assert "pip install 'motet[grpc]'" in done.stderr


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return Tls(str(folder / "cert.pem"), str(folder / "key.pem"))


def test_it_speaks_tls(live, repository, tmp_path):
    tls = certificate(tmp_path)
    server = live.serve(repository, tls=tls)
    options = {"ssl": True, "root_certificates": tls.certificate}
    with triton.InferenceServerClient(f"localhost:{server.port}", **options) as client:
        assert client.is_server_live()


def test_a_new_certificate_is_taken_over_by_new_connections(live, repository, tmp_path):
    tls = certificate(tmp_path)
    server = live.serve(repository, tls=tls)
    before = ssl.get_server_certificate(("127.0.0.1", server.port))
    certificate(tmp_path)
    after = ssl.get_server_certificate(("127.0.0.1", server.port))
    assert before != after == Path(tls.certificate).read_text()
    Path(tls.certificate).write_text("no certificate")
    assert ssl.get_server_certificate(("127.0.0.1", server.port)) == after
    Path(tls.key).unlink()
    assert ssl.get_server_certificate(("127.0.0.1", server.port)) == after


def test_a_server_is_made_as_it_is_configured(live, repository, door):
    async def made():
        server = GrpcServer(repository, ServeConfig(grpc_port=0), door)
        await server.start()
        return server

    server = live.run(made())
    assert ask(server, "ModelReady", ModelReadyRequest(name="two")).ready
    ask(server, "ServerMetadata", b"")
    assert [each.call.method for each in door.ended] == ["ServerMetadata"]
    live.run(server.stop(0))


def test_files_of_tls_that_cannot_be_used_are_said(live, repository, tmp_path):
    with pytest.raises(InputError, match="tls: cannot read .*nothing.pem: No such file"):
        live.serve(repository, tls=Tls(str(tmp_path / "nothing.pem"), str(tmp_path / "nothing.pem")))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"call": 1}, "serve.grpc: unknown key 'call'; did you mean 'calls'?"),
        ({"calls": 0}, "serve.grpc.calls: must be at least 1; got 0"),
        ({"idle_s": "x"}, "serve.grpc.idle_s: expected a number; got 'x'"),
        ({"compression": "br"}, "serve.grpc.compression: expected none, gzip or deflate; got 'br'"),
    ],
)
def test_mistakes_in_the_configuration_are_said(value, text):
    with pytest.raises(GraphError) as caught:
        GrpcConfig.read(value, "serve.grpc")
    assert str(caught.value).startswith(text)


def test_what_is_configured_is_read():
    assert GrpcConfig.read({}, "serve.grpc") == GrpcConfig()
    read = GrpcConfig.read({"compression": "gzip", "idle_s": 3, "calls": 7}, "serve.grpc")
    assert (read.compression, read.idle_s, read.calls) == ("gzip", 3, 7)
