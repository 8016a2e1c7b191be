"""Models behind an address, against servers of their protocols on real sockets."""

import json
import socket
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest

import motet as mt
from helpers.oip_server import BREAK, DTYPES, HANG, OipServer, Say, Served
from helpers.tfserving_server import EXAMPLES, TfServing
from motet.errors import (
    DeadlineError,
    GraphError,
    ModelFailedError,
    ModelLoadError,
    ModelUnavailableError,
    RowErrors,
    UnknownNameError,
)
from motet.models import ModelSource, find_handler
from motet.models.calling import RemoteCaller, RemoteOptions
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall
from motet.oip.messages import SERVICE, message_class
from motet.types import ColumnType

MLP = EXAMPLES / "fashion" / "models" / "mlp.onnx"
X = np.arange(6, dtype=np.float32).reshape(3, 2)


def picky(x):
    if (x == 13).any():
        raise ValueError("13 is unlucky")
    return x.sum(axis=1)


def served():
    return {
        "sum": Served(picky, [("x", "FP32", [-1, 2])], [("total", "FP32", [-1])]),
        "words": Served(lambda x: x, [("x", "BYTES", [-1], "str")], [("x", "BYTES", [-1], "str")]),
        "blobs": Served(lambda x: x, [("x", "BYTES", [-1])], [("x", "BYTES", [-1])]),
        "fixed": Served(picky, [("x", "FP32", [4, 2])], [("total", "FP32", [4])]),
        "double": Served(lambda x: x * 2, [("x", "FP32", [-1, -1])], [("y", "FP32", [-1, -1])]),
    }


@pytest.fixture
def server():
    server = OipServer(**served())
    yield server
    server.close()


def remote(uri, options=None, inputs=None, outputs=None):
    """A handler and a source."""
    handler, location = find_handler(uri)
    taken, given = ({name: ColumnType.parse(kind) for name, kind in (each or {}).items()} for each in (inputs, outputs))
    return handler, ModelSource("m", location, options or {}, taken, given)


def load(uri, options=None, **types):
    handler, source = remote(uri, options, **types)
    return handler.load(source)


def uri_of(server, name, scheme="oip+http"):
    return f"{scheme}://127.0.0.1:{server.port}/v2/models/{name}"


def graph_of(uri, kind="float32[2]", **options):
    return mt.Graph("g", outputs={"y": mt.model(mt.Model(uri, "far", **options), mt.input("x", kind))})


@pytest.fixture
def nobody():
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


# --- the Open Inference Protocol over REST ---


def test_what_it_takes_and_gives_is_asked_of_the_server_once(server):
    handler, source = remote(uri_of(server, "sum"))
    for _ in range(3):
        assert str(handler.signature(source)) == "(x: float32[2]) -> (total: float32)"
    assert server.paths() == ["/v2/models/sum"]
    assert (handler.has_file, handler.batch_invariant, handler.remote) == (False, False, True)


@pytest.mark.parametrize("binary", [True, False])
def test_a_remote_model_is_called_like_any_other(server, binary):
    graph = graph_of(uri_of(server, "sum"), options={"binary": binary})
    assert graph({"x": X})["y"].tolist() == [1, 5, 9]
    assert server.infers[-1]["parameters"]["timeout"] == 5_000_000
    assert server.infers[-1]["outputs"] == [{"name": "total", "parameters": {"binary_data": binary}}]


@pytest.mark.parametrize("datatype", list(DTYPES))
def test_every_datatype_comes_back_as_it_went(datatype):
    server = OipServer(m=Served(lambda x: x, [("x", datatype, [-1])], [("x", datatype, [-1])]))
    dtype = np.dtype(DTYPES[datatype])
    x = np.array([0, 1, 1], dtype)
    got = load(uri_of(server, "m"))({"x": x})["x"]
    server.close()
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, x)


def test_texts_are_texts_where_server_or_graph_say_so(server):
    texts = np.array(["a", "ü"], object)
    assert load(uri_of(server, "words"))({"x": texts})["x"].tolist() == ["a", "ü"]
    assert (
        str(remote(uri_of(server, "blobs"))[0].signature(remote(uri_of(server, "blobs"))[1])) == "(x: any) -> (x: any)"
    )
    assert load(uri_of(server, "blobs"))({"x": texts})["x"].tolist() == [b"a", "ü".encode()]
    declared = load(uri_of(server, "blobs"), inputs={"x": "string"}, outputs={"x": "string"})
    assert declared({"x": texts})["x"].tolist() == ["a", "ü"]
    graph = graph_of(uri_of(server, "blobs"), "string", outputs={"x": "string"})
    assert graph({"x": ["a", "ü"]})["y"].tolist() == ["a", "ü"]


def test_rows_that_differ_in_shape_go_in_calls_of_equal_shape(server):
    graph = graph_of(uri_of(server, "double"), "float32[?]")
    got = graph({"x": [np.array([1], np.float32), np.array([1, 2], np.float32), np.array([3], np.float32)]})["y"]
    assert [row.tolist() for row in got] == [[2], [2, 4], [6]]
    assert sorted(call["inputs"][0]["shape"] for call in server.infers) == [[1, 2], [2, 1]]


def test_a_server_with_a_fixed_number_of_rows_gets_so_many(server):
    handler, source = remote(uri_of(server, "fixed"))
    assert handler.signature(source).fixed_rows == 4
    assert graph_of(uri_of(server, "fixed"))({"x": X})["y"].tolist() == [1, 5, 9]
    assert server.infers[-1]["inputs"][0]["shape"] == [4, 2]


def test_a_declared_model_is_not_asked_for_and_may_be_down_when_the_graph_is_loaded(nobody):
    graph = graph_of(f"oip+http://127.0.0.1:{nobody}/v2/models/m", inputs={"x": "float32[2]"}, outputs={"y": "float32"})
    with pytest.raises(ModelUnavailableError, match="the server cannot be reached.*\n  hint: check the address"):
        graph({"x": X})


def test_the_address_of_a_model_is_for_the_log_and_not_for_those_who_call_a_server(nobody, caplog):
    uri = f"oip+http://127.0.0.1:{nobody}/v2/models/m"
    graph = graph_of(uri, inputs={"x": "float32[2]"}, outputs={"y": "float32"})
    for _ in range(2):  # asked, and refused at once since the server is down
        with pytest.raises(ModelUnavailableError) as caught:
            graph({"x": X})
        assert str(nobody) not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)
    assert f"//127.0.0.1:{nobody}/v2/models/m: " in caught.value.__notes__[0]
    assert f"//127.0.0.1:{nobody}/v2/models/m: " in caplog.records[0].getMessage()
    assert [each.name for each in caplog.records].count("motet.models") == 1


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_what_a_server_says_that_is_not_of_rows_is_for_the_log(server, status, caplog):
    model = load(uri_of(server, "sum"), {"retries": 0})
    server.then(Say(status, b'{"error": "known: salaries"}'))
    with pytest.raises(ModelLoadError, match=f"its server answered {status}\n") as caught:
        model({"x": X})
    assert "salaries" not in str(caught.value)
    assert "salaries" in caplog.text


def test_an_undeclared_model_that_is_down_says_how_to_do_without(nobody):
    with pytest.raises(ModelUnavailableError) as caught:
        graph_of(f"oip+http://127.0.0.1:{nobody}/v2/models/m").check()
    assert "the server cannot be reached" in str(caught.value)
    assert "hint: declare its inputs and outputs in the graph; then its server is not asked for them" in str(
        caught.value
    )


def test_what_is_declared_wins_and_must_fit(server):
    handler, source = remote(uri_of(server, "sum"), outputs={"total": "float32"})
    assert str(handler.signature(source)) == "(x: float32[2]) -> (total: float32)"
    handler, source = remote(uri_of(server, "sum"), outputs={"totals": "float32"})
    with pytest.raises(UnknownNameError, match="unknown output of the model 'totals'; did you mean 'total'"):
        handler.signature(source)


def test_a_model_that_the_server_has_not_is_said(server):
    with pytest.raises(ModelLoadError, match="its server answered 404: unknown model"):
        load(uri_of(server, "nothing"))
    lost = load(uri_of(server, "nothing"), inputs={"x": "float32"}, outputs={"y": "float32"})
    with pytest.raises(ModelLoadError, match="hint: check the name and the version in the URI"):
        lost({"x": X[:, 0]})


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("oip+http://h:1/v2/models/m", ""), ("oip+http://h/v2/models/m/versions/3", "3"),
        ("oip+https://h/a/b/v2/models/m/versions/3/infer", "3"), ("oip+grpc://h:1/m", ""), ("oip+grpcs://h:1/m/7", "7"),
        ("tfs+http://h:1/v1/models/m:predict", ""), ("tfs+https://h/x/v1/models/m/versions/2:predict", "2"),
        ("tfs+http://h/v1/models/m/labels/stable", "stable"),
    ],
)  # fmt: skip
def test_addresses_name_models_and_versions(uri, version):
    handler, source = remote(uri, inputs={"x": "float32"}, outputs={"y": "float32"})
    assert handler.version(source.location) == version
    handler.load(source).close()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("oip+http://h:1/models/m", "is no address of a model\n  hint: write oip+http://localhost:8000/v2/models/NAME"),
        ("oip+http:h", "is no address of a model"),
        ("oip+http://u:p@h/v2/models/m", "the URI holds a credential\n  hint: give it as `with: {api_key: env:NAME}`"),
        ("oip+http://h:x/v2/models/m", "'h:x' is no address"),
        ("oip+http://::1:8000/v2/models/m", "hint: write an address of IPv6 in brackets: [::1]:8000"),
        ("oip+grpc://fe80::1:8001/m", "hint: write an address of IPv6 in brackets: [::1]:8000"),
        ("tfs+grpc://::1/m", "hint: write an address of IPv6 in brackets: [::1]:8000"),
        ("oip+grpc://h:1/", "is no address of a model\n  hint: write oip+grpc://localhost:8001/NAME"),
        ("tfs+http://h/v2/models/m", "is no address of a model\n  hint: write tfs+http://localhost:8501/v1/models/NAME:predict"),
    ],
)  # fmt: skip
def test_an_address_that_is_none_says_how_to_write_it(uri, message):
    with pytest.raises(ModelLoadError) as caught:
        load(uri, inputs={"x": "float32"}, outputs={"y": "float32"})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 1}, "unknown option 'timeout'; did you mean 'timeout_s'"),
        ({"timeout_s": 0}, "timeout_s must be more than 0 and at most 3600 seconds; got 0"),
        ({"retries": -1}, "retries must be a whole number from 0 to 100; got -1"),
        ({"headers": "x"}, "headers must be a mapping; got a value of type str"),
        ({"api_key": "se\ncret"}, "api_key has '\\n' at character 3, which cannot be sent in a header"),
        ({"headers": {"X-Team": "\u20ac"}}, "the header X-Team has '\u20ac' at character 1"),
        ({"api_key": "env:NOT_THERE_AT_ALL"}, "the environment variable 'NOT_THERE_AT_ALL' is not set"),
    ],
)
@pytest.mark.parametrize("uri", ["oip+http://h/v2/models/m", "oip+grpc://h/m", "tfs+http://h/v1/models/m"])
def test_options_must_be_right(uri, options, message):
    with pytest.raises((ModelLoadError, UnknownNameError)) as caught:
        load(uri, options, inputs={"x": "float32"}, outputs={"y": "float32"})
    assert message in str(caught.value)


def test_keys_and_headers_are_sent_and_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("FAR_KEY", "secret\n")
    graph_of(uri_of(server, "sum"), options={"api_key": "env:FAR_KEY", "headers": {"X-Team": "a"}})({"x": X})
    for _, _, headers, _ in server.requests:
        assert (headers["authorization"], headers["x-team"]) == ("Bearer secret", "a")


# --- what goes wrong ---


def test_rows_that_the_server_refuses_are_found_and_the_others_answered(server):
    x = np.zeros((40, 2), np.float32)
    x[7, 0] = x[31, 1] = 13
    with pytest.raises(RowErrors) as caught:
        graph_of(uri_of(server, "sum"), batch=mt.Batching(max_rows=40))({"x": x})
    assert [(failure.row, failure.model, failure.error) for failure in caught.value.failures] == [
        (7, "far", "InputError"), (31, "far", "InputError"),
    ]  # fmt: skip
    assert "its server answered 400: 13 is unlucky" in caught.value.failures[0].message
    assert len(caught.value.ids) == 38
    assert len(server.infers) < 40


def test_a_server_that_is_down_is_not_asked_row_by_row(server, nobody):
    graph = graph_of(f"oip+http://127.0.0.1:{nobody}/v2/models/m", inputs={"x": "float32[2]"}, outputs={"y": "float32"})
    with pytest.raises(ModelUnavailableError):
        graph({"x": np.zeros((500, 2), np.float32)})
    server.then(Say(200, server_metadata(server)), *[Say(503, b'{"error": "busy"}')] * 50)
    with pytest.raises(ModelUnavailableError, match="its server answered 503: busy"):
        graph_of(uri_of(server, "sum"))({"x": np.zeros((500, 2), np.float32)})
    assert len(server.paths("/infer")) == 3


def server_metadata(server, name="sum"):
    return json.dumps(server.models[name].metadata(name)).encode()


def test_calls_that_are_too_large_are_halved_and_the_limit_is_kept(server):
    def small(x):
        if len(x) > 8:
            raise OverflowError
        return x.sum(axis=1)

    kinds = []

    def infer(handler, name, model, body, headers):
        try:
            return original(handler, name, model, body, headers)
        except OverflowError:
            kinds.append(413)
            return 413, b'{"error": "more than 8 rows"}', {}

    bound = server.server.RequestHandlerClass
    original = bound.__mro__[1].infer
    bound.infer = infer
    server.models["sum"].function = small
    graph = graph_of(uri_of(server, "sum"), batch=mt.Batching(max_rows=32))
    x = np.random.default_rng(0).random((64, 2), np.float32)
    np.testing.assert_allclose(graph({"x": x})["y"], x.sum(axis=1), rtol=1e-6)
    before = len(kinds)
    assert before
    graph({"x": x})
    assert len(kinds) == before


@pytest.mark.parametrize(
    ("first", "calls"), [(BREAK, 2), (Say(503), 2), (Say(429, headers={"Retry-After": "0"}), 2), (Say(502), 2)]
)
def test_what_may_help_is_tried_again(server, first, calls):
    model = load(uri_of(server, "sum"))
    server.then(first)
    assert model({"x": X})["total"].tolist() == [1, 5, 9]
    assert len(server.paths("/infer")) == calls


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (400, ValueError, "its server answered 400: why"), (401, ModelLoadError, "give its credential"),
        (403, ModelLoadError, "does not allow this"), (404, ModelLoadError, "check the name"),
        (413, MemoryError, "its server answered 413: why"), (422, ValueError, "422"), (500, RuntimeError, "500"),
        (504, ModelUnavailableError, "try again later"),
    ],
)  # fmt: skip
def test_statuses_say_whose_fault_it_is(server, status, kind, text):
    model = load(uri_of(server, "sum"))
    server.then(Say(status, b'{"error": "why"}'))
    with pytest.raises(kind, match=text):
        model({"x": X})
    assert len(server.paths("/infer")) == 1


def test_a_call_that_takes_too_long_ends(server):
    model = load(uri_of(server, "sum"), {"timeout_s": 0.2})
    server.then(HANG)
    with pytest.raises(ModelUnavailableError, match=r"no answer within 0.2 s\n  hint: allow more time with"):
        model({"x": X})


def test_answers_that_are_not_what_was_promised_end_it(server):
    model = load(uri_of(server, "sum"))
    server.then(Say(200, b"none"))
    with pytest.raises(ModelFailedError, match="the answer is no JSON"):
        model({"x": X})
    declared = graph_of(uri_of(server, "sum"), inputs={"x": "float32[2]"}, outputs={"total": "string"})
    with pytest.raises(RowErrors, match="output 'total' gave float32; it must be string"):
        declared({"x": X})


def test_types_that_do_not_fit_are_found_when_the_graph_is_checked(server):
    with pytest.raises(GraphError, match=r"float32\[2\].*float32\[3\]|float32\[3\].*float32\[2\]"):
        graph_of(uri_of(server, "sum"), "float32[3]").check()


class Scripted:
    """A line that gives what it is told to, and notes what it was asked."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), []

    def send(self, call):
        self.calls.append(call)
        return self.answers.pop(0)

    def close(self):
        pass


def test_after_a_server_could_not_be_reached_calls_fail_at_once_for_a_second():
    now = [0.0]
    line = Scripted(LostCall("connect", "refused"), RemoteAnswer(200, {}, b""))
    caller = RemoteCaller(line, RemoteOptions(5, 0, {}, ""), "m", clock=lambda: now[0], sleep=lambda seconds: None)
    for _ in range(3):
        with pytest.raises(ModelUnavailableError, match="refused"):
            caller(lambda left_s: RemoteCall("GET", "/"))
    assert len(line.calls) == 1
    now[0] = 1.5
    assert caller(lambda left_s: RemoteCall("GET", "/")).status == 200


def test_many_threads_share_the_connections(server):
    model = load(uri_of(server, "sum"))
    with futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda n: model({"x": np.full((2, 2), 100 + n, np.float32)})["total"].tolist(), range(100)))
    assert got == [[200 + 2 * n] * 2 for n in range(100)]
    model.close()


# --- over gRPC ---


class GrpcServer:
    """The same models over gRPC, with fields written by hand."""

    def __init__(self, models):
        self.models, self.requests, self.metadata, self.next = models, [], [], []
        self.raw, self.garbage = True, b""
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name), message_class(f"inference.{name}Request").FromString,
                lambda answer: self.garbage or answer.SerializeToString(),
            )
            for name in ("ModelMetadata", "ModelInfer")
        }  # fmt: skip
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def close(self):
        self.server.stop(None).wait()

    def ModelMetadata(self, request, context):
        if request.name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {request.name}")
        answer = message_class("inference.ModelMetadataResponse")(name=request.name, versions=["1"], platform="test")
        model = self.models[request.name]
        for listed, tensors in ((model.inputs, answer.inputs), (model.outputs, answer.outputs)):
            for name, datatype, shape, *_ in listed:
                tensors.add(name=name, datatype=datatype, shape=shape)
        return answer

    def ModelInfer(self, request, context):
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.next:
            context.set_trailing_metadata((("retry-after", "0"),))
            context.abort(*self.next.pop(0))
        arrays = {}
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            arrays[tensor.name] = np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tensor.shape)
        model = self.models[request.model_name]
        try:
            found = model.function(**arrays)
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        name, datatype, _ = model.outputs[0]
        answer = message_class("inference.ModelInferResponse")(model_name=request.model_name)
        tensor = answer.outputs.add(name=name, datatype=datatype, shape=found.shape)
        if self.raw:
            answer.raw_output_contents.append(found.astype(DTYPES[datatype]).tobytes())
        else:
            tensor.contents.fp32_contents.extend(found.reshape(-1).tolist())
        return answer


@pytest.fixture
def grpc_server():
    server = GrpcServer(served())
    yield server
    server.close()


@pytest.mark.parametrize("raw", [True, False])
def test_a_model_is_called_over_grpc(grpc_server, raw):
    grpc_server.raw = raw
    graph = graph_of(f"oip+grpc://127.0.0.1:{grpc_server.port}/sum/1", options={"api_key": "k", "parameters": {"a": 1}})
    assert graph({"x": X})["y"].tolist() == [1, 5, 9]
    request = grpc_server.requests[-1]
    assert (request.model_version, [each.name for each in request.outputs]) == ("1", ["total"])
    assert request.parameters["a"].int64_param == 1
    assert grpc_server.metadata[-1]["authorization"] == "Bearer k"


def test_rows_at_fault_are_found_over_grpc(grpc_server):
    x = np.zeros((40, 2), np.float32)
    x[7, 0] = 13
    with pytest.raises(RowErrors) as caught:
        graph_of(f"oip+grpc://127.0.0.1:{grpc_server.port}/sum", batch=mt.Batching(max_rows=40))({"x": x})
    assert [failure.row for failure in caught.value.failures] == [7]
    assert "its server answered 400: INVALID_ARGUMENT: 13 is unlucky" in caught.value.failures[0].message


@pytest.mark.parametrize(
    ("code", "said", "kind", "calls"),
    [
        (grpc.StatusCode.UNAVAILABLE, "busy", None, 2),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "one an hour", None, 2),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", MemoryError, 1),
        (grpc.StatusCode.UNAUTHENTICATED, "who", ModelLoadError, 1),
        (grpc.StatusCode.NOT_FOUND, "what", ModelLoadError, 1),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", ModelUnavailableError, 1),
        (grpc.StatusCode.INTERNAL, "broken", RuntimeError, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, "wrong", ValueError, 1),
    ],
)
def test_codes_of_grpc_say_whose_fault_it_is(grpc_server, code, said, kind, calls):
    model = load(f"oip+grpc://127.0.0.1:{grpc_server.port}/sum")
    grpc_server.next.append((code, said))
    if kind is None:
        assert model({"x": X})["total"].tolist() == [1, 5, 9]
    else:
        with pytest.raises(kind):
            model({"x": X})
    assert len(grpc_server.requests) == calls
    model.close()


def test_what_is_no_message_is_said_over_grpc(grpc_server):
    uri = f"oip+grpc://127.0.0.1:{grpc_server.port}/sum"
    model = load(uri)
    grpc_server.garbage = b"\xff\xff"
    with pytest.raises(ModelFailedError, match="the answer is not understood"):
        model({"x": X})
    model.close()
    handler, source = remote(f"{uri}/2")
    with pytest.raises(ModelLoadError, match="the metadata of the model are not understood"):
        handler.signature(source)


def test_nobody_at_the_other_end_is_said_over_grpc_too(nobody, grpc_server):
    with pytest.raises(ModelUnavailableError, match="the server cannot be reached"):
        load(f"oip+grpc://127.0.0.1:{nobody}/m")
    with pytest.raises(ModelLoadError, match="its server answered 404: NOT_FOUND: unknown model nothing"):
        load(f"oip+grpc://127.0.0.1:{grpc_server.port}/nothing")


# --- TensorFlow Serving ---


@pytest.fixture(scope="module")
def tfserving():
    server = TfServing(MLP, "mlp")
    yield server
    server.close()


def test_a_model_of_tensorflow_serving_answers_as_its_file(tfserving):
    uri = f"tfs+http://127.0.0.1:{tfserving.port}/v1/models/mlp:predict"
    handler, source = remote(uri)
    assert str(handler.signature(source)) == "(image: float32[28,28]) -> (probabilities: float32[10])"
    x = np.random.default_rng(0).random((20, 28, 28), np.float32)
    here, there = (load(each)({"image": x})["probabilities"] for each in (str(MLP), uri))
    assert here.dtype == there.dtype
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("path", ["mlp/versions/1:predict", "mlp"])
def test_versions_may_be_named(tfserving, path):
    uri = f"tfs+http://127.0.0.1:{tfserving.port}/v1/models/{path}"
    assert load(uri)({"image": np.zeros((1, 28, 28), np.float32)})["probabilities"].shape == (1, 10)


def test_what_tensorflow_serving_refuses_is_shown(tfserving):
    address = f"tfs+http://127.0.0.1:{tfserving.port}/v1/models"
    with pytest.raises(ModelLoadError, match="404: Servable not found for request: Latest\\(nothing\\)"):
        load(f"{address}/nothing:predict")
    with pytest.raises(ModelLoadError, match="unknown signature_name 'serving'; did you mean 'serving_default'"):
        load(f"{address}/mlp:predict", {"signature_name": "serving"})
    wrong = load(f"{address}/mlp", inputs={"image": "float32[3]"}, outputs={"probabilities": "float32[10]"})
    with pytest.raises(ValueError, match="its server answered 400: input image: expected shape"):
        wrong({"image": np.zeros((1, 3), np.float32)})


class Canned:
    """Answers every request with the same JSON, and keeps what it was sent."""

    def __init__(self, answer):
        owner = self
        self.bodies = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                owner.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.block_on_close = True, False
        self.uri = f"tfs+http://127.0.0.1:{self.server.server_port}/v1/models/m"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_columns_are_sent_by_name_bytes_as_base64_and_nan_as_the_word():
    types = {"inputs": {"t": "string", "b": "bytes", "f": "float32[2]"}, "outputs": {"y": "float32"}}
    columns = {"t": np.array(["ü"], object), "b": np.array([b"\xff"], object), "f": np.array([[np.nan, 1]], np.float32)}
    with Canned(b'{"outputs": [NaN]}') as server:
        assert np.isnan(load(server.uri, **types)({**columns})["y"]).all()
        columns["f"][:] = 0.5
        load(server.uri, {"signature_name": "s"}, **types)(columns)
    assert "NaN" in server.bodies[0]
    assert server.bodies[1] == '{"signature_name":"s","inputs":{"t":["ü"],"b":[{"b64":"/w=="}],"f":[[0.5,0.5]]}}'


@pytest.mark.parametrize(
    ("answer", "outputs", "wanted"),
    [
        (b'{"outputs": [[1, 2]]}', {"y": "float32[2]"}, {"y": [[1, 2]]}),
        (b'{"outputs": {"y": [1], "z": ["a"]}}', {"z": "string", "y": "int64"}, {"z": ["a"], "y": [1]}),
        (b'{"outputs": {"y": [{"b64": "/w=="}]}}', {"y": "bytes"}, {"y": [b"\xff"]}),
        (b'{"outputs": [["a", "b"]]}', {"y": "bytes[2]"}, {"y": [[b"a", b"b"]]}),
        (b'{"predictions": [[1], [2]]}', {"y": "int64[1]"}, {"y": [[1], [2]]}),
        (b'{"predictions": [{"y": 1, "z": 2}]}', {"y": "int64", "z": "int64"}, {"y": [1], "z": [2]}),
    ],
)
def test_answers_come_in_columns_or_rows(answer, outputs, wanted):
    with Canned(answer) as server:
        got = load(server.uri, inputs={"x": "float32"}, outputs=outputs)({"x": X[:1, 0]})
    assert {name: column.tolist() for name, column in got.items()} == wanted
    assert {name: str(column.dtype) for name, column in got.items() if outputs[name] == "int64"} == {
        name: "int64" for name in got if outputs[name] == "int64"
    }


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"{}", "it has neither outputs nor predictions"),
        (b"no", "the answer is no JSON"),
        (b'{"outputs": 3}', "a list of rows is expected; got 3"),
        (b'{"outputs": [[1], [2, 3]]}', "the answer is not understood"),
        (b'{"outputs": {"z": [1]}}', "a list of rows is expected"),
    ],
)
def test_answers_that_make_no_sense_end_it(answer, message):
    with Canned(answer) as server, pytest.raises(ModelFailedError, match=message):
        load(server.uri, inputs={"x": "float32"}, outputs={"y": "float32[1]"})({"x": X[:1, 0]})


def test_an_impatient_caller_does_not_make_a_server_unavailable(server):
    graph = graph_of(uri_of(server, "sum"), options={"timeout_s": 30})
    server.then(HANG)
    with pytest.raises(DeadlineError, match=r"not answered within 0.2 s"):
        graph({"x": X}, timeout=0.2)
    del server.next[:]  # where it was not even sent
    assert graph({"x": X})["y"].tolist() == [1, 5, 9]
