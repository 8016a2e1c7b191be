"""The client against a server of the protocol on a real socket."""

import asyncio
import inspect
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from helpers.oip_server import BREAK, DTYPES, HANG, OipServer, Say, Served
from motet.client import AsyncClient, AsyncStreamedText, Client, StreamedText
from motet.errors import (
    DeadlineError,
    ForbiddenError,
    InputError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    RequestError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
)
from motet.oip.info import ModelInfo

BINARY = pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])


def error_body(text: Any) -> Any:
    return json.dumps({"error": text}).encode()


@BINARY
@pytest.mark.parametrize("datatype", list(DTYPES))
def test_every_datatype_comes_back_as_it_went(client: Any, datatype: Any, binary: Any) -> None:
    dtype = np.dtype(DTYPES[datatype]).newbyteorder("=")
    x = np.array([0, 1, 1, 0, 1], dtype) if datatype == "BOOL" else np.arange(5).astype(dtype)
    got = client.infer(datatype.lower(), {"x": x}, binary=binary)
    assert list(got) == ["x"]
    assert got["x"].dtype == dtype
    np.testing.assert_array_equal(got["x"], x)


@BINARY
def test_texts_are_texts_where_the_server_says_so_else_bytes(client: Any, binary: Any) -> None:
    words = ["", "a", "Übung", "漢字"]
    assert client.infer("texts", {"x": words}, binary=binary)["x"].tolist() == words
    assert client.infer("bytes", {"x": words}, binary=binary)["x"].tolist() == [word.encode() for word in words]


def test_bytes_that_are_no_text_travel_as_bytes_even_beside_json(client: Any, server: Any) -> None:
    data = [b"\xff\x00", b""]
    assert client.infer("bytes", {"x": data}, outputs=None, binary=True)["x"].tolist() == data
    server.models["bytes"].function = lambda x: np.array([b"fine", b"fine"], object)
    assert client.infer("bytes", {"x": data}, binary=False)["x"].tolist() == [b"fine", b"fine"]


@BINARY
def test_numbers_that_are_not_finite_survive(client: Any, binary: Any) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.1], np.float32)
    np.testing.assert_array_equal(client.infer("fp32", {"x": x}, binary=binary)["x"], x)


def test_images_just_work_and_answers_can_be_written_to(client: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    got = client.infer("images", {"image": images})["total"]
    assert got.tolist() == images.reshape(3, -1).sum(axis=1).tolist()
    got += 1


def test_binary_is_the_default_and_says_so_in_its_headers(client: Any, server: Any) -> None:
    client.infer("fp32", {"x": np.zeros(2, np.float32)})
    _, path, headers, _ = server.requests[-1]
    assert path == "/v2/models/fp32/infer"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["accept-encoding"] == "identity"
    assert server.infers[-1]["parameters"] == {"timeout": 10_000_000, "binary_data_output": True}
    assert server.infers[-1]["inputs"][0]["parameters"] == {"binary_data_size": 8}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@BINARY
def test_requests_and_answers_can_be_compressed(client: Any, server: Any, encoding: str, binary: Any) -> None:
    x = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(client.infer("fp32", {"x": x}, compress=encoding, binary=binary)["x"], x)
    assert server.requests[-1][2]["content-encoding"] == encoding


def test_outputs_version_parameters_and_id_are_sent(client: Any, server: Any) -> None:
    got = client.infer(
        "two", {"a": np.zeros((1, 2), np.float32), "b": [1]}, outputs=["b"], version="1",
        parameters={"priority": 3, "timeout": 5}, request_id="r1",
    )  # fmt: skip
    assert list(got) == ["b"]
    request = server.infers[-1]
    assert server.requests[-1][1] == "/v2/models/two/versions/1/infer"
    assert (request["id"], request["parameters"]) == ("r1", {"timeout": 5, "priority": 3})
    assert request["outputs"] == [{"name": "b", "parameters": {"binary_data": True}}]


def test_rows_of_different_shapes_go_in_one_call_a_shape(client: Any, server: Any) -> None:
    rows = [np.arange(n, dtype=np.float32) for n in (3, 1, 3, 2, 1)]
    got = client.infer("ragged", {"rows": rows})
    assert got["sum"].tolist() == [3, 0, 3, 1, 0]
    assert isinstance(got["double"], list)
    for row, double in zip(rows, got["double"], strict=True):
        np.testing.assert_array_equal(double, row * 2)
    assert [request["inputs"][0]["shape"] for request in server.infers] == [[2, 3], [2, 1], [1, 2]]


def test_rows_of_one_shape_go_together_where_shapes_may_differ(client: Any, server: Any) -> None:
    assert client.infer("ragged", {"rows": np.ones((4, 2), np.float32)})["double"].shape == (4, 2)
    assert client.infer("ragged", {"rows": [[1.0], [2.0]]})["sum"].tolist() == [1, 2]
    assert len(server.infers) == 2


def test_no_rows_are_an_answer_too(client: Any) -> None:
    assert client.infer("images", {"image": []})["total"].shape == (0,)
    assert client.infer("ragged", {"rows": []})["sum"].shape == (0,)


@given(rows=st.lists(st.integers(0, 4), max_size=8), data=st.data())
def test_what_is_given_in_any_shapes_comes_back_in_order(shared: Any, rows: Any, data: Any) -> None:
    client, server = shared
    given = [data.draw(arrays.arrays(np.float32, size, elements=st.floats(-100, 100, width=32))) for size in rows]
    server.infers.clear()
    got = client.infer("ragged", {"rows": given})
    assert len(server.infers) == max(1, len(set(rows)))
    assert len(got["double"]) == len(rows)
    for row, double in zip(given, got["double"], strict=True):
        np.testing.assert_array_equal(double, row * 2)


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    def sums(rows: Any) -> Any:
        return {"sum": rows.sum(axis=1), "double": rows * 2}

    tensors = [("rows", "FP32", [-1, -1])], [("sum", "FP32", [-1]), ("double", "FP32", [-1, -1])]
    server = OipServer(ragged=Served(sums, *tensors))
    with Client(server.url) as client:
        yield client, server
    server.close()


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("images", {"imag": []}, "unknown input 'imag'; did you mean 'image'? known: image"),
        ("images", {"image": np.zeros((2, 28, 27), np.uint8)}, "input 'image': is uint8[28,28] a row; got uint8[28,27] a row"),
        ("images", {"image": np.zeros((28, 28), np.uint8)}, "write array[None] for one row"),
        ("images", {"image": np.zeros((1, 28, 28), "M8[s]")}, "got datetime64[s][28,28] a row\n  hint: convert it: array.astype('uint8')"),
        ("images", {"image": np.full((1, 28, 28), 0.5)}, "row 0: input 'image' is uint8[28,28]; got 0.5, which is not whole"),
        ("images", {"image": np.uint8(1)}, "must have the row as its first axis; got a single value"),
        ("images", {"image": [[1, 2], [3]]}, "input 'image'"),
        ("fp32", {"x": [1, None]}, "model 'fp32': 1 of 2 rows failed: row 1: input 'x' is null"),
        ("fp32", {"x": ["a"]}, "row 0: input 'x' is float32; got 'a'"),
        ("int8", {"x": [300]}, "row 0: input 'x' is int8; got 300, which is out of its range"),
        ("texts", {"x": [1]}, "row 0: input 'x' is string; got 1"),
        ("texts", {"x": ["a", None]}, "row 1: input 'x' is null"),
        ("two", {"a": np.zeros((3, 2), np.float32), "b": [1]}, "inputs differ in their number of rows: a has 3, b has 1"),
        ("images", [1], "expected inputs by name; got list"),
    ],
)  # fmt: skip
def test_mistakes_are_said_before_anything_is_sent(
    client: Any, server: Any, name: str, inputs: Any, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        client.infer(name, inputs)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"model {name!r}")
    assert server.infers == []


def test_unknown_outputs_and_other_arguments_are_mistakes_too(client: Any, server: Any) -> None:
    x = {"x": np.zeros(1, np.float32)}
    with pytest.raises(InputError, match="unknown output 'y'; it gives x"):
        client.infer("fp32", x, outputs=["y"])
    with pytest.raises(InputError, match="outputs must be a list of names; got 'x'"):
        client.infer("fp32", x, outputs="x")
    with pytest.raises(InputError, match="compress must be 'gzip' or 'deflate'; got 'zip'"):
        client.infer("fp32", x, compress="zip")
    with pytest.raises(InputError, match="timeout_s must be a number of seconds more than 0; got 0"):
        client.infer("fp32", x, timeout_s=0)
    assert server.infers == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://x", "is no server's address"), ("http://", "is no server's address"),
        ("http://u:p@x", "the address holds a credential"), ("ftp://u:p@x", r"ftp://u:\*\*\*@x"), ("http://x?y=1", "is no server's address"),
        ("http://::1:8000", r"address of IPv6 in brackets: \[::1\]:8000"), ("fe80::1:8000", r"brackets: \[::1\]:8000"),
        ("http://[::1", "is no server's address"), ("http://x:y", "Port could not be cast"), ("x:99999", "Port out of range"),
    ],
)  # fmt: skip
def test_an_address_must_be_one(make_client: Any, url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_client(url)


@pytest.mark.parametrize("files", [{"verify": "ca.pem"}, {"certificate": "us.pem"}])
def test_no_certificates_are_taken_where_no_tls_is_spoken(make_client: Any, files: dict[str, str]) -> None:
    with pytest.raises(InputError, match="asked without TLS\n  hint: write https://HOST:PORT"):
        make_client("http://x", **files)


def test_integers_widen_where_nothing_is_lost(client: Any) -> None:
    assert client.infer("int64", {"x": np.array([1, 2], np.int8)})["x"].dtype == np.int64
    assert client.infer("uint8", {"x": [1, 255]})["x"].tolist() == [1, 255]
    assert client.infer("uint8", {"x": np.array([1.0, 255.0])})["x"].tolist() == [1, 255]
    assert client.infer("fp32", {"x": np.array([1, 2**24])})["x"].dtype == np.float32


def test_metadata_are_asked_for_once(client: Any, server: Any) -> None:
    for _ in range(3):
        client.infer("fp32", {"x": np.zeros(1, np.float32)})
    assert server.paths("/fp32") == ["/v2/models/fp32"]


def test_a_model_that_changed_is_asked_for_again_before_a_mistake_is_believed(
    server: Any, make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(server.url)
    monkeypatch.setattr("motet.client.flows.FRESH_S", -1.0)
    client.infer("fp32", {"x": np.zeros(1, np.float32)})
    server.models["fp32"].inputs = server.models["fp32"].outputs = [("x", "INT32", [-1])]
    large = np.array([2**24 + 1], np.int32)  # which FP32 cannot hold
    assert client.infer("fp32", {"x": large})["x"].tolist() == [2**24 + 1]
    assert len(server.paths("/fp32")) == 2


def test_servers_without_metadata_get_what_is_given(client: Any, server: Any) -> None:
    server.then(Say(501, error_body("no metadata")))
    assert client.infer("fp32", {"x": np.ones(2, np.float32)})["x"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputError), (401, UnauthorizedError), (403, ForbiddenError), (404, NotFoundError), (413, TooLargeError),
        (415, InputError), (422, InputError), (429, TooManyRequestsError), (500, RequestError), (503, NotReadyError),
        (504, DeadlineError),
    ],
)  # fmt: skip
def test_what_the_server_says_becomes_the_matching_error(make_client: Any, server: Any, status: int, kind: Any) -> None:
    client = make_client(server.url, retries=0)
    client.metadata("fp32")
    client.infer("fp32", {"x": np.ones(2, np.float32)})
    server.then(Say(status, error_body("row 3 is bad")))
    with pytest.raises(kind, match="row 3 is bad") as caught:
        client.infer("fp32", {"x": np.ones(2, np.float32)})
    assert type(caught.value) is kind


@pytest.mark.parametrize("body", [b'{"detail": "because"}', b"<h1>because</h1>", b'{"message": "because"}'])
def test_errors_of_other_servers_are_shown_too(client: Any, server: Any, body: bytes) -> None:
    server.then(Say(500, body))
    with pytest.raises(RequestError, match="because"):
        client.server()


def test_refused_calls_are_made_again_when_the_server_says(client: Any, server: Any) -> None:
    server.then(Say(503, headers={"Retry-After": "0"}), Say(429, headers={"Retry-After": "0.01"}))
    assert client.infer("fp32", {"x": np.ones(2, np.float32)})["x"].tolist() == [1, 1]
    assert len(server.paths("/fp32")) == 3


def test_a_server_that_asks_for_more_time_than_there_is_is_not_waited_for(client: Any, server: Any) -> None:
    started = time.monotonic()
    server.then(Say(429, error_body("one an hour"), {"Retry-After": "3600"}))
    with pytest.raises(TooManyRequestsError, match="one an hour") as caught:
        client.server()
    assert caught.value.retry_after_s == 3600
    server.then(Say(503, error_body("busy"), {"Retry-After": "3600"}))
    with pytest.raises(OverloadedError, match="busy"):
        client.server()
    assert time.monotonic() - started < 5
    assert len(server.requests) == 2


def test_retries_are_bounded(make_client: Any, server: Any) -> None:
    server.then(*[Say(503)] * 10)
    with pytest.raises(NotReadyError):
        make_client(server.url, retries=3).server()
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [400, 404, 409, 500, 504])
def test_what_cannot_help_is_not_tried_again(client: Any, server: Any, status: int) -> None:
    server.then(Say(status))
    with pytest.raises((RequestError, InputError)):
        client.server()
    assert len(server.requests) == 1


def test_a_connection_that_breaks_is_made_again_but_not_to_load_a_model(client: Any, server: Any) -> None:
    server.then(BREAK)
    assert client.infer("fp32", {"x": np.ones(1, np.float32)})["x"].tolist() == [1]
    server.then(BREAK)
    with pytest.raises(NotReadyError, match="the connection broke before the answer came"):
        client.load("fp32")
    assert len(server.paths("/load")) == 1


def test_the_time_that_is_left_is_sent_when_a_call_is_made_again(client: Any, server: Any) -> None:
    client.infer("fp32", {"x": np.ones(1, np.float32)})
    server.then(Say(503, headers={"Retry-After": "0.02"}))
    client.infer("fp32", {"x": np.ones(1, np.float32)}, timeout_s=2)
    assert server.infers[-1]["parameters"]["timeout"] < 1_980_000


def test_no_answer_in_time_is_an_error(make_client: Any, server: Any) -> None:
    client = make_client(server.url, timeout_s=0.2)
    server.then(HANG)
    started = time.monotonic()
    with pytest.raises(DeadlineError, match="no answer within 0.2 s\n  hint: give a longer timeout_s"):
        client.server()
    assert time.monotonic() - started < 5
    assert len(server.requests) == 1


def test_an_answer_that_trickles_does_not_outlast_the_time(make_client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def trickle() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.02):
                    connection.sendall(b" ")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        with pytest.raises(DeadlineError):
            make_client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_s=0.3).server()
        over.set()
        thread.join()


def test_a_server_that_is_not_there_is_said_and_is_neither_live_nor_ready(make_client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = make_client(f"http://127.0.0.1:{port}", retries=1)
    assert not client.live()
    assert not client.ready()
    with pytest.raises(NotReadyError, match="cannot be reached.*\n  hint: check the address"):
        client.server()


def test_the_server_and_its_models_are_told_of(client: Any, server: Any) -> None:
    assert client.live()
    assert client.ready()
    assert client.ready("fp32")
    assert not client.ready("nothing")
    assert client.server()["name"] == "fake"
    assert {"name": "fp32", "version": "1", "state": "READY"} in client.models()
    assert client.config("fp32") == {"name": "fp32"}
    assert client.statistics("fp32") == {"model_stats": [{"name": "fp32"}]}
    assert len(client.statistics()["model_stats"]) == len(server.models)
    said = client.metadata("images")
    assert (said.name, said.versions, said.platform) == ("images", ("1",), "test")
    assert str(said.signature) == "(image: uint8[28,28]) -> (total: int64)"
    with pytest.raises(NotFoundError, match="unknown model"):
        client.metadata("nothing")


def test_models_are_loaded_and_unloaded(client: Any, server: Any) -> None:
    client.unload("fp32")
    assert not client.ready("fp32")
    with pytest.raises(NotReadyError, match="fp32 is not loaded"):
        client.infer("fp32", {"x": np.ones(1, np.float32)}, timeout_s=1)
    client.load("fp32")
    assert client.ready("fp32")


def test_the_key_is_sent(make_client: Any, server: Any) -> None:
    for key in ("secret", "secret\r\n"):
        make_client(server.url, api_key=key).server()
        assert server.requests[-1][2]["authorization"] == "Bearer secret"
    with pytest.raises(InputError, match=r"^api_key has '\\n' at character 3, which cannot be sent in a header"):
        make_client(server.url, api_key="se\ncret")


def test_rows_go_and_come_in_the_form_for_people(client: Any, server: Any) -> None:
    server.then(Say(200, b'{"rows": [{"label": 1}, {"error": "bad"}]}'), Say(200, b'{"rows": [{"label": 2}]}'))
    rows = [{"image": np.zeros((1, 2), np.uint8), "name": "a", "raw": b"\xff", "n": np.int64(3)}, {"image": [[1, 2]]}]
    assert client.predict("fashion", rows) == [{"label": 1}, {"error": "bad"}]
    _, path, headers, body = server.requests[-1]
    assert (path, headers["content-type"]) == ("/predict/fashion", "application/json")
    assert json.loads(body) == {"rows": [{"image": [[0, 0]], "name": "a", "raw": "/w==", "n": 3}, {"image": [[1, 2]]}]}
    assert client.predict("fashion", rows[1]) == {"label": 2}


def test_a_row_is_explained(client: Any, server: Any) -> None:
    server.then(Say(200, b'{"rows": [{"label": 2, "explain": {}}]}'))
    assert client.explain("fashion", {"x": 1}) == {"label": 2, "explain": {}}
    assert server.requests[-1][1] == "/predict/fashion?explain=1"


@pytest.mark.parametrize("said", [b"{}", b'{"refused": {}}', b'{"refused": [{"row": 1}]}', b'{"refused": [7]}'])
def test_what_was_refused_of_feedback_must_be_said(client: Any, server: Any, said: bytes) -> None:
    server.then(Say(200, said))
    with pytest.raises(RequestError, match="the answer does not say what was refused"):
        client.feedback("fashion", {"a": True})


def test_rows_must_be_mappings_and_answers_as_many(client: Any, server: Any) -> None:
    with pytest.raises(InputError, match="row 1 must be a mapping of inputs by name; got int"):
        client.predict("fashion", [{}, 3])
    with pytest.raises(InputError, match="a value has no JSON form: object is neither"):
        client.predict("fashion", [{"x": object()}])
    server.then(Say(200, b'{"rows": []}'))
    with pytest.raises(RequestError, match="the answer has not one row for each of 1"):
        client.predict("fashion", [{}])


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"no json", {}, "the answer is no JSON"),
        (b"[" * 100_000, {}, "the answer is no JSON"),
        (b"[]", {}, "the answer has no list of outputs"),
        (b'{"outputs": [{"name": "x"}]}', {}, "an output of the answer is not understood: KeyError"),
        (b"{}", {"Inference-Header-Content-Length": "9"}, "is '9', the answer has 2 bytes"),
        (b"{}", {"Inference-Header-Content-Length": "x"}, "is 'x', the answer has 2 bytes"),
        (b'{"outputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}', {}, "binary_data_size is 4; 0 bytes are left"),
        (b'{"outputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1]}]}', {}, "FP32 of shape [2] has 2 elements; got 1"),
        (b'{"outputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["a"]}]}', {}, "FP32 cannot hold what came"),
        (b'{"outputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[1.5]}]}', {}, "INT64 cannot hold what came: int64 is said, and 1.5 is there"),
        (b'{"outputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":[300]}]}', {}, "UINT8 cannot hold what came"),
        (b'{"outputs":[{"name":"x","datatype":"BF16","shape":[1],"data":[1]}]}', {}, "unknown datatype 'BF16'"),
        (b'{"outputs":[{"name":"x","datatype":"FP32","shape":[-1],"data":[1]}]}', {}, "has a negative axis"),
    ],
)  # fmt: skip
def test_answers_that_make_no_sense_are_the_servers_fault(
    client: Any, server: Any, body: Any, headers: Any, message: str
) -> None:
    client.infer("fp32", {"x": np.ones(1, np.float32)})
    server.then(Say(200, body, headers))
    with pytest.raises(RequestError) as caught:
        client.infer("fp32", {"x": np.ones(1, np.float32)})
    assert message in str(caught.value)


def test_a_server_may_answer_in_json_whatever_was_asked(client: Any, server: Any) -> None:
    client.infer("fp32", {"x": np.ones(1, np.float32)})
    server.then(Say(200, b'{"outputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,null],[NaN,2.5]]}]}'))
    got = client.infer("fp32", {"x": np.ones(1, np.float32)})
    assert got["x"].dtype == np.float32
    np.testing.assert_array_equal(got["x"], np.array([[1, np.nan], [np.nan, 2.5]], np.float32))


def test_the_server_of_these_tests_is_one_that_others_clients_understand(server: Any) -> None:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    given = triton.InferInput("rows", x.shape, "FP32")
    given.set_data_from_numpy(x)
    got = client.infer("ragged", [given], outputs=[triton.InferRequestedOutput("double")])
    np.testing.assert_array_equal(got.as_numpy("double"), x * 2)
    client.close()


def test_both_clients_have_the_same_methods_and_say_the_same_of_them() -> None:
    def face(kind: Any) -> Any:
        public = {name: method for name, method in vars(kind).items() if callable(method) and not name.startswith("_")}
        return {name: (str(inspect.signature(method)), inspect.getdoc(method)) for name, method in public.items()}

    here, there = face(Client), face(AsyncClient)
    told, awaited = here.pop("stream")[0], there.pop("stream")[0]
    assert told.replace("'StreamedText'", "'AsyncStreamedText'") == awaited
    assert here == there
    assert get_type_hints(Client.stream)["return"] is StreamedText
    assert get_type_hints(AsyncClient.stream)["return"] is AsyncStreamedText


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_methods_say_that_they_return_what_they_do(kind: Any) -> None:
    returned = {
        name: get_type_hints(getattr(kind, name))["return"] for name in ("infer", "models", "metadata", "ready")
    }
    assert returned == {"infer": dict[str, Any], "models": list[dict[str, Any]], "metadata": ModelInfo, "ready": bool}
    assert inspect.signature(kind.ready).return_annotation == "bool"
    assert inspect.iscoroutinefunction(kind.infer) == (kind is AsyncClient)


def test_outputs_may_be_named_by_any_sequence(client: Any) -> None:
    given = {"x": np.array([1, 2])}
    for outputs in (pd.Index(["x"]), ("x",)):
        assert list(client.infer("int64", given, outputs=outputs)) == ["x"]
    with pytest.raises(InputError, match="unknown output 'y'"):
        client.infer("int64", given, outputs=pd.Index(["x", "y"]))


def test_contexts_close_the_connections(server: Any) -> None:
    async def asked() -> Any:
        async with AsyncClient(server.url) as client:
            return await asyncio.gather(*(client.infer("int64", {"x": [n]}) for n in range(20)))

    assert [answer["x"].tolist() for answer in asyncio.run(asked())] == [[n] for n in range(20)]
    with Client(server.url) as client:
        assert client.live()
    with pytest.raises(RuntimeError):
        client.live()


def test_a_client_may_be_used_by_several_threads(server: Any) -> None:
    with Client(server.url) as client, ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: client.infer("int64", {"x": [n]})["x"].tolist(), range(60)))
    assert got == [[n] for n in range(60)]


def test_many_calls_at_once_share_the_connections_that_there_may_be() -> None:
    open_now = most = made = 0

    async def answer(reader: Any, writer: Any) -> None:
        nonlocal open_now, most, made
        open_now, made = open_now + 1, made + 1
        most = max(most, open_now)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        except asyncio.IncompleteReadError:
            pass
        finally:
            open_now -= 1
            writer.close()

    async def ask() -> Any:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with AsyncClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections=20) as client:
            said = [await asyncio.gather(*[client.server() for _ in range(100)]) for _ in range(2)]
        server.close()
        await server.wait_closed()
        return said

    assert asyncio.run(ask()) == [[{}] * 100] * 2
    assert 8 < most <= 20
    assert made <= 24, "connections are used again"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_arguments_that_are_missing_or_unknown_are_told_by_the_method_that_was_called(kind: Any) -> None:
    client = kind("http://localhost:9")

    async def call(method: Any, *arguments: Any, **options: Any) -> Any:
        asked = method(*arguments, **options)
        return await asked if inspect.isawaitable(asked) else asked

    for name, arguments, options, what in [
        ("infer", ["m"], {}, "infer() missing 1 required positional argument: 'inputs'"),
        ("predict", [], {}, "predict() missing 2 required positional arguments: 'name' and 'rows'"),
        ("ready", ["m"], {"verison": "1"}, "ready() got an unexpected keyword argument 'verison'"),
    ]:
        with pytest.raises(TypeError) as raised:
            asyncio.run(call(getattr(client, name), *arguments, **options))
        assert str(raised.value) == what


HALF = "\ud800"  # of a pair: no text that UTF-8 has
LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("method", "arguments", "options"),
    [
        ("infer", ["ragged", {"rows": [[1.0]]}], {"parameters": {"a": HALF}}),
        ("infer", ["ragged", {"rows": [[1.0]]}], {"parameters": {"a": 1j}}),
        ("infer", ["ragged", {"rows": [[1.0]]}], {"parameters": [1]}),
        ("infer", ["ragged", {"rows": [[1.0]]}], {"parameters": {"a": LOOP}}),
        ("infer", ["ragged", {"rows": [[1.0]]}], {"request_id": HALF}),
        ("infer", ["ragged", {"rows": [[1.0]]}], {"outputs": 5}),
        ("infer", [HALF, {"x": [1.0]}], {}),
        ("infer", [5, {"x": [1.0]}], {}),
        ("metadata", ["ragged", HALF], {}),
        ("load", [HALF], {}),
        ("predict", [None, [{"x": 1}]], {}),
        ("predict", ["ragged", 5], {}),
        ("predict", ["ragged", [{"x": HALF}]], {}),
        ("predict", ["ragged", [{"x": LOOP}]], {}),
        ("predict", ["ragged", [{"x": 1}]], {"parameters": 5}),
    ],
)
@pytest.mark.parametrize("binary", [True, False])
def test_what_no_request_can_hold_is_refused_as_an_input(
    server: Any, method: str, arguments: Any, options: Any, binary: bool
) -> None:
    more = {"binary": binary} if method == "infer" else {}
    with Client(server.url) as client, pytest.raises(InputError):
        getattr(client, method)(*arguments, **options, **more)


@pytest.mark.parametrize("binary", [True, False])
def test_so_is_half_a_character_of_a_text(binary: bool) -> None:
    server = OipServer(text=Served(lambda x: {"y": x}, [("x", "BYTES", [-1])], [("y", "BYTES", [-1])]))
    try:
        with Client(server.url) as client, pytest.raises(InputError, match="model 'text': .*surrogates not allowed"):
            client.infer("text", {"x": ["good", f"bad{HALF}"]}, binary=binary)
    finally:
        server.close()


def test_a_health_path_that_answers_no_json_is_the_servers_mistake(server: Any) -> None:
    server.then(Say(200, b"{nonsense"))
    with Client(server.url) as client, pytest.raises(RequestError, match="/v2/health/ready: the answer is no JSON"):
        client.ready()
