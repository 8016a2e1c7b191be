"""Models behind TensorFlow Serving's protocol over gRPC, against servers of it on real sockets."""

import socket
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers.tfserving_server import MLP, tfserving_over_grpc
from motet.errors import InputError, ModelFailedError, ModelLoadError, ModelUnavailableError, RowErrors
from motet.models import ModelSource, find_handler
from motet.models.tfs import messages
from motet.models.tfs.tensors import read_tensor, write_tensor
from motet.oip.generate import compiled
from motet.oip.tensors import DATATYPES, tensor_of
from motet.types import ANY, ColumnType

TYPES = {"inputs": {"x": "float32[2]"}, "outputs": {"y": "float32"}}
ASKED = (
    b"\n\x18\n\x01m\x12\x02\x08\x03\x1a\x0fserving_default\x12\x1b\n\x01x\x12\x16\x08\x01\x12\x08\x12\x02\x08\x01\x12"
    b'\x02\x08\x02"\x08\x00\x00\x80?\x00\x00\x00@\x1a\x01y'
)
"""Of `tensorflow-serving-api` 2.21: a request for the output y of m, version 3, with [[1, 2]] as its input x."""
ANSWERED = {
    "BOOL": (b"\x08\n\x12\x04\x12\x02\x08\x02Z\x02\x01\x00", [True, False]),
    "FP64": (b"\x08\x02\x12\x04\x12\x02\x08\x022\x10\x9a\x99\x99\x99\x99\x99\xb9?\x9cu\x00\x88<\xe47~", [0.1, 1e300]),
    "INT16": (b"\x08\x05\x12\x04\x12\x02\x08\x02:\x0b\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02", [-2, 2]),
    "FP32": (b"\x08\x01\x12\x04\x12\x02\x08\x02*\x08\x00\x00\xc0?\x00\x00\x00\xc0", [1.5, -2.0]),
    "FP16": (b"\x08\x13\x12\x04\x12\x02\x08\x02j\x05\x80x\x80\x80\x03", [1.0, -2.0]),
    "INT32": (b"\x08\x03\x12\x04\x12\x02\x08\x02:\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x07", [-1, 7]),
    "INT64": (b"\x08\t\x12\x04\x12\x02\x08\x02R\x0b\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x05", [-(2**63), 5]),
    "UINT16": (b"\x08\x11\x12\x04\x12\x02\x08\x02:\x04\xff\xff\x03\x01", [65535, 1]),
    "UINT64": (
        b"\x08\x17\x12\x04\x12\x02\x08\x02\x8a\x01\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01",
        [2**64 - 1, 1],
    ),
    "BYTES": (b"\x08\x07\x12\x04\x12\x02\x08\x02B\x01aB\x02\xc3\xbc", [b"a", b"\xc3\xbc"]),
    "INT8": (b"\x08\x06\x12\x04\x12\x02\x08\x02:\x0b\x80\xff\xff\xff\xff\xff\xff\xff\xff\x01\x7f", [-128, 127]),
    "UINT8": (b"\x08\x04\x12\x04\x12\x02\x08\x02:\x03\x00\xff\x01", [0, 255]),
    "UINT32": (b"\x08\x16\x12\x04\x12\x02\x08\x02\x82\x01\x06\xff\xff\xff\xff\x0f\x00", [2**32 - 1, 0]),
    "BF16": (b"\x08\x0e\x12\x04\x12\x02\x08\x02j\x05\x80\x7f\x80\x80\x03", [1.0, -2.0]),
}
"""Of the same package: tensors of two elements in the lists of their types."""


def load(uri, options=None, inputs=None, outputs=None):
    handler, location = find_handler(uri)
    taken, given = ({name: ColumnType.parse(kind) for name, kind in (each or {}).items()} for each in (inputs, outputs))
    return handler.load(ModelSource("m", location, options or {}, taken, given))


def graph_of(uri, **options):
    model = mt.Model(uri, "far", inputs=TYPES["inputs"], outputs=TYPES["outputs"], **options)
    return mt.Graph("g", outputs={"y": mt.model(model, mt.input("x", "float32[2]"))})


# --- tensors ---


def test_the_compiled_messages_are_those_of_the_proto_files():
    folder = Path(messages.__file__).parent
    assert (folder / "descriptors.binpb").read_bytes() == compiled(folder)


def test_a_request_is_that_of_the_stock_client():
    request = messages.PredictRequest(
        model_spec={"name": "m", "version": {"value": 3}, "signature_name": "serving_default"}, output_filter=["y"]
    )
    write_tensor(request.inputs["x"], "FP32", np.array([[1, 2]], np.float32))
    assert request.SerializeToString(deterministic=True) == ASKED


@pytest.mark.parametrize("datatype", ANSWERED)
def test_answers_of_every_type_are_read_from_their_lists(datatype):
    raw, values = ANSWERED[datatype]
    column = read_tensor(messages.TensorProto.FromString(raw), ANY, "output 'y'")
    assert column.dtype == np.dtype(object if datatype == "BYTES" else DATATYPES.get(datatype, "float32"))
    assert column.tolist() == values


@given(st.sampled_from([*DATATYPES]), st.lists(st.integers(0, 1), max_size=6), st.integers(0, 3))
def test_what_is_written_is_read_again(datatype, values, width):
    dtype = DATATYPES[datatype]
    texts = dtype == "bytes"
    column = np.array([[bytes([each]) if texts else each] * width for each in values], object if texts else dtype)
    column = column.reshape(len(values), width)
    tensor = messages.TensorProto()
    write_tensor(tensor, *tensor_of(column, ANY, "x"))
    read = read_tensor(messages.TensorProto.FromString(tensor.SerializeToString()), ANY, "y")
    assert (read.dtype, read.shape) == (column.dtype, column.shape)
    assert read.tolist() == column.tolist()


def tensor(dtype, shape, **values):
    return messages.TensorProto(dtype=dtype, tensor_shape={"dim": [{"size": size} for size in shape]}, **values)


def test_a_list_that_is_short_stands_for_its_last_value_again_and_again():
    assert read_tensor(tensor("DT_INT32", [2, 2], int_val=[1, 2]), ANY, "y").tolist() == [[1, 2], [2, 2]]
    assert read_tensor(tensor("DT_FLOAT", [3], float_val=[np.float32(7).tobytes()]), ANY, "y").tolist() == [7, 7, 7]
    assert read_tensor(tensor("DT_STRING", [2], string_val=[b"a"]), ANY, "y").tolist() == [b"a", b"a"]
    assert read_tensor(tensor("DT_FLOAT", [2]), ANY, "y").tolist() == [0, 0]
    assert read_tensor(tensor("DT_FLOAT", [0, 2]), ANY, "y").shape == (0, 2)
    assert read_tensor(tensor("DT_BFLOAT16", [0]), ANY, "y").dtype == np.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (tensor("DT_COMPLEX64", [1]), "there is no column of DT_COMPLEX64"),
        (messages.TensorProto(dtype=99), "there is no column of 99"),
        (tensor("DT_FLOAT", [], float_val=[b"\0\0\0\0"]), "the shape is empty; its first axis must be the row"),
        (tensor("DT_FLOAT", [-1]), "has a negative axis"),
        (tensor("DT_FLOAT", [2], tensor_content=b"\0\0\0\0"), "FP32 of shape [2] takes 8 bytes; got 4"),
        (tensor("DT_BFLOAT16", [2], tensor_content=b"\0\0"), "DT_BFLOAT16 of shape [2] takes 4 bytes"),
        (tensor("DT_INT32", [1], int_val=[1, 2]), "the tensor has 1 elements; got 2"),
        (tensor("DT_INT64", [2**40, 2**20], int64_val=[1]), "takes more than 2147483648 bytes"),
        (tensor("DT_STRING", [2**40], string_val=[b""]), "takes more than 2147483648 bytes"),
        (tensor("DT_STRING", [1], tensor_content=b"\1a"), "strings are expected one by one"),
        (messages.TensorProto.FromString(b"\x08\x01\x12\x04\x12\x02\x08\x01\x2d\0\0\x80?"), "is not packed"),
    ],
)
def test_tensors_that_make_no_column_say_why(wrong, message):
    with pytest.raises(InputError) as caught:
        read_tensor(wrong, ANY, "output 'y'")
    assert message in str(caught.value)


# --- the example's server ---


@pytest.fixture(scope="module")
def served():
    server, port = tfserving_over_grpc(MLP, "mlp")
    yield port
    server.stop(None).wait()


@pytest.mark.parametrize("path", ["mlp", "mlp/1", "mlp/versions/1/"])
def test_a_model_answers_as_its_file(served, path):
    uri = f"tfs+grpc://127.0.0.1:{served}/{path}"
    handler, location = find_handler(uri)
    assert str(handler.signature(ModelSource("m", location))) == (
        "(image: float32[28,28]) -> (probabilities: float32[10])"
    )
    x = np.random.default_rng(0).random((20, 28, 28), np.float32)
    here, there = (load(each)({"image": x})["probabilities"] for each in (str(MLP), uri))
    assert here.dtype == there.dtype
    np.testing.assert_array_equal(here, there)


def test_what_it_refuses_is_shown(served):
    address = f"tfs+grpc://127.0.0.1:{served}"
    with pytest.raises(ModelLoadError, match=r"404: NOT_FOUND: Servable not found for request: Latest\(nothing\)"):
        load(f"{address}/nothing")
    with pytest.raises(ModelLoadError, match=r"Servable not found for request: Specific\(mlp, 7\)"):
        load(f"{address}/mlp/7")
    with pytest.raises(ModelLoadError, match="Unrecognized servable version label: canary"):
        load(f"{address}/mlp/labels/canary")
    with pytest.raises(ModelLoadError, match="unknown signature_name 'serving'; did you mean 'serving_default'"):
        load(f"{address}/mlp", {"signature_name": "serving"})
    types = {"inputs": {"image": "float32[3]"}, "outputs": {"probabilities": "float32[10]"}}
    with pytest.raises(ValueError, match="its server answered 400: INVALID_ARGUMENT: .*Invalid rank"):
        load(f"{address}/mlp", **types)({"image": np.zeros((1, 3), np.float32)})
    with pytest.raises(ValueError, match='its server answered 400: INVALID_ARGUMENT: Serving signature name: "s"'):
        load(f"{address}/mlp", {"signature_name": "s"}, **types)({"image": np.zeros((1, 3), np.float32)})


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("tfs+grpc://h:1/m", ""),
        ("tfs+grpc://h:1/m/12", "12"),
        ("tfs+grpc://h:1/m/versions/12", "12"),
        ("tfs+grpcs://h/m/labels/stable", "stable"),
    ],
)
def test_addresses_name_models_and_versions(uri, version):
    handler: Any
    handler, location = find_handler(uri)
    assert handler.version(location) == version


@pytest.mark.parametrize("uri", ["tfs+grpc://h:1", "tfs+grpc://h:1/m/stable", "tfs+grpc://h:1/m/1/2"])
def test_an_address_that_is_none_says_how_to_write_it(uri):
    with pytest.raises(ModelLoadError, match="write tfs\\+grpc://localhost:8500/NAME"):
        load(uri)


# --- a server that does as it is told ---


class Told:
    """Sums the rows of x, refuses those with a 13, and aborts as often as it is told."""

    def __init__(self):
        self.requests, self.metadata, self.next, self.raw, self.wait_s = [], [], [], None, 0.0
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        method = grpc.unary_unary_rpc_method_handler(self.predict)
        handlers = {"Predict": method, "GetModelMetadata": grpc.unary_unary_rpc_method_handler(self.about)}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(messages.SERVICE, handlers),))
        self.uri = f"tfs+grpc://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}/m"
        self.server.start()

    def about(self, _, context):
        return b"\xff\xff"

    def predict(self, question, context):
        request = messages.PredictRequest.FromString(question)
        self.requests.append(request)
        self.metadata.append((dict(context.invocation_metadata()), context.time_remaining()))
        if self.next:
            context.set_trailing_metadata((("retry-after", "0"),))
            context.abort(*self.next.pop(0))
        if self.raw is not None:
            return self.raw
        x = read_tensor(request.inputs["x"], ANY, "x")
        if (x == 13).any():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "13 is unlucky")
        answer = messages.PredictResponse()
        write_tensor(answer.outputs["y"], "FP32", x.sum(axis=1))
        return answer.SerializeToString()


@pytest.fixture
def told():
    told = Told()
    yield told
    told.server.stop(None).wait()


X = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_what_is_sent_names_the_version_the_signature_and_the_outputs(told):
    model = load(f"{told.uri}/labels/st%C3%A4ble", {"signature_name": "s", "api_key": "k", "timeout_s": 7}, **TYPES)
    assert model({"x": X})["y"].tolist() == [1, 5, 9]
    model.close()
    (request,), ((headers, left_s),) = told.requests, told.metadata
    spec = request.model_spec
    assert (spec.name, spec.signature_name, spec.version_label) == ("m", "s", "stäble")
    assert list(request.output_filter) == ["y"]
    assert headers["authorization"] == "Bearer k"
    assert 0 < left_s < 8  # timeouts travel rounded up


def test_rows_at_fault_are_found(told):
    x = np.zeros((40, 2), np.float32)
    x[7, 0] = 13
    with pytest.raises(RowErrors) as caught:
        graph_of(told.uri, batch=mt.Batching(max_rows=40))({"x": x})
    assert [failure.row for failure in caught.value.failures] == [7]
    assert "its server answered 400: INVALID_ARGUMENT: 13 is unlucky" in caught.value.failures[0].message


@pytest.mark.parametrize(
    ("code", "said", "kind", "calls"),
    [
        ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full", None, 2),
        ("RESOURCE_EXHAUSTED", "OOM when allocating tensor with shape[9,9]", MemoryError, 1),
        ("NOT_FOUND", "Servable not found for request: Latest(m)", ModelLoadError, 1),
        ("FAILED_PRECONDITION", "Serving signature", ValueError, 1),
        ("DEADLINE_EXCEEDED", "late", ModelUnavailableError, 1),
        ("INTERNAL", "broken", RuntimeError, 1),
    ],
)
def test_codes_say_whose_fault_it_is(told, code, said, kind, calls):
    model = load(told.uri, **TYPES)
    told.next.append((grpc.StatusCode[code], said))
    if kind is None:
        assert model({"x": X})["y"].tolist() == [1, 5, 9]
    else:
        with pytest.raises(kind):
            model({"x": X})
    assert len(told.requests) == calls
    model.close()


def test_answers_that_are_none_end_it(told):
    model = load(told.uri, **TYPES)
    told.raw = b"\xff\xff"
    with pytest.raises(ModelFailedError, match="the answer is not understood"):
        model({"x": X})
    answer = messages.PredictResponse()
    write_tensor(answer.outputs["y"], "FP32", X)
    answer.outputs["y"].tensor_content = b"123"
    told.raw = answer.SerializeToString()
    with pytest.raises(ModelFailedError, match="model 'm': output 'y': FP32 of shape \\[3, 2\\] takes 24 bytes; got 3"):
        model({"x": X})
    model.close()
    told.raw = b""
    with pytest.raises(RowErrors, match="its signature promises 'y'"):
        graph_of(told.uri)({"x": X})
    with pytest.raises(ModelLoadError, match="the metadata of the model are not understood"):
        load(told.uri)


def test_a_call_that_takes_too_long_ends():
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        model = load(f"tfs+grpc://127.0.0.1:{silent.getsockname()[1]}/m", {"timeout_s": 0.2, "retries": 0}, **TYPES)
        begun = time.monotonic()
        with pytest.raises(ModelUnavailableError, match=r"no answer within 0.2 s"):
            model({"x": X})
        assert time.monotonic() - begun < 10
        model.close()


def test_nobody_at_the_other_end_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ModelUnavailableError, match="the server cannot be reached"):
        load(f"tfs+grpc://127.0.0.1:{port}/m")
