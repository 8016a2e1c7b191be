"""ModelInfer, asked by the stock client and by hand."""

import asyncio
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.utils import InferenceServerException

from motet import errors
from motet.oip.messages import SERVICE, ModelInferRequest, RetryInfo, Status, message_class
from motet.oip.tensors import to_raw
from motet.serving.config.limits import Limits
from motet.serving.grpc import GrpcConfig, codec, infer
from serving.grpc.grpc_functions import played, shut
from serving.grpc.grpc_live import DTYPES, NUMPY, OIP, Door, as_sent, ask, contents, echo, tensor, values

TYPED = [dtype for dtype in DTYPES if dtype != "float16"]
FLOAT = "echo_float32"


def refusal(call, *args, **options):
    """The status and the text of a call that fails."""
    with pytest.raises((InferenceServerException, grpc.RpcError)) as caught:
        call(*args, **options)
    error = caught.value
    if isinstance(error, grpc.RpcError):
        return error.code().name, error.details()
    return str(error.status()).removeprefix("StatusCode."), error.message()


def numbers(*given):
    return tensor("x", np.array(given, dtype=np.float32))


def typed_answer(answer):
    """The only output, from its typed contents."""
    (output,) = answer.outputs
    filled = [list(elements) for _, elements in output.contents.ListFields()]
    dtype = object if output.datatype == "BYTES" else NUMPY[output.datatype]
    return np.array(filled[0] if filled else [], dtype).reshape(list(output.shape))


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_raw_tensor_of_every_datatype_comes_back_as_it_was(client, dtype, rows):
    sent = values(dtype, rows)
    got = client.infer(f"echo_{dtype}", [tensor("x", sent)], request_id="7")
    np.testing.assert_array_equal(got.as_numpy("y"), as_sent(sent))
    assert got.as_numpy("y").dtype == as_sent(sent).dtype
    answer = got.get_response()
    assert (answer.id, answer.model_name, answer.model_version) == ("7", f"echo_{dtype}", "1")
    assert len(answer.raw_output_contents) == 1


@pytest.mark.parametrize("dtype", TYPED)
def test_typed_contents_of_every_datatype_are_answered_by_typed_contents(server, dtype):
    sent = values(dtype, 4)
    message = ModelInferRequest(model_name=f"echo_{dtype}")
    contents(message, "x", sent)
    answer = ask(server, "ModelInfer", message)
    assert not answer.raw_output_contents
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (OIP[dtype], [4])
    np.testing.assert_array_equal(typed_answer(answer), as_sent(sent))


def test_typed_contents_are_answered_raw_where_that_is_asked_for(server):
    message = ModelInferRequest(model_name=FLOAT)
    contents(message, "x", np.array([1, 2], np.float32))
    message.parameters["binary_data_output"].bool_param = True
    assert triton.InferResult(ask(server, "ModelInfer", message)).as_numpy("y").tolist() == [1, 2]


@given(st.sampled_from([dtype for dtype in TYPED if dtype not in ("string", "bytes")]), st.data())
def test_typed_and_raw_are_two_forms_of_the_same(server, dtype, data):
    sent = data.draw(arrays.arrays(dtype, st.integers(0, 20)))
    typed, raw = (ModelInferRequest(model_name=f"echo_{dtype}") for _ in range(2))
    contents(typed, "x", sent)
    raw.inputs.add(name="x", datatype=OIP[dtype], shape=sent.shape)
    raw.raw_input_contents.append(sent.tobytes())
    np.testing.assert_array_equal(typed_answer(ask(server, "ModelInfer", typed)), sent)
    np.testing.assert_array_equal(triton.InferResult(ask(server, "ModelInfer", raw)).as_numpy("y"), sent)


def test_elements_without_a_place_of_their_own_are_answered_raw(server):
    message = ModelInferRequest(model_name="half")
    contents(message, "x", np.array([1.5, 2.5], np.float32))
    answer = ask(server, "ModelInfer", message)
    assert answer.outputs[0].datatype == "FP16"
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float16), [1.5, 2.5])


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("echo_uint8_28_28", "uint8", (28, 28)),
        ("echo_float32_n_2", "float32", (5, 2)),
        ("echo_float32_n_2", "float32", (0, 2)),
        ("echo_string_2", "string", (2,)),
        ("echo_any", "int64", (3,)),
        ("echo_any", "bytes", ()),
    ],
)
def test_axes_beside_the_row_are_kept(client, name, dtype, shape):
    sent = values(dtype, 3, shape)
    np.testing.assert_array_equal(client.infer(name, [tensor("x", sent)]).as_numpy("y"), as_sent(sent))


def test_an_answer_is_what_the_graph_gives_when_it_is_called(client, repository):
    x = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    got = client.infer("classes", [tensor("x", x)]).as_numpy("probabilities")
    np.testing.assert_array_equal(got, repository.find("classes").graph({"x": x})["probabilities"])


def test_a_model_of_a_graph_can_be_called_alone(client):
    x = np.ones((2, 4), np.float32)
    whole = client.infer("classes", [tensor("x", x)]).as_numpy("probabilities")
    for name in ("scores", "classes.scores"):
        got = client.infer(name, [tensor("x", x)])
        np.testing.assert_array_equal(got.as_numpy("probabilities"), whole)
        assert got.get_response().model_name == name


def test_an_input_that_has_a_default_may_be_left_out(client):
    got = client.infer("two", [tensor("a", np.ones((3, 2), np.float32))])
    assert got.as_numpy("b").tolist() == [7, 7, 7]


def test_only_the_outputs_that_are_asked_for_are_answered(client):
    outputs = [triton.InferRequestedOutput("b")]
    got = client.infer("two", [tensor("a", np.ones((1, 2), np.float32))], outputs=outputs).get_response()
    assert [output.name for output in got.outputs] == ["b"]


def test_the_best_classes_are_answered_where_they_are_asked_for(client):
    x = np.ones((2, 4), np.float32)
    scores = client.infer("classes", [tensor("x", x)]).as_numpy("probabilities")
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    got = client.infer("classes", [tensor("x", x)], outputs=outputs).as_numpy("probabilities")
    best = np.argsort(-scores, axis=1)[:, :2]
    wanted = [[f"{scores[row, place]:f}:{place}".encode() for place in best[row]] for row in range(2)]
    assert got.tolist() == wanted


@pytest.mark.parametrize("dtype", [*TYPED, "float16"])
@pytest.mark.parametrize("axes", [(1,), (1, 1, 1)])
def test_scalars_may_have_axes_of_one_behind_the_rows(server, client, dtype, axes):
    sent = values(dtype, 3)
    got = client.infer(f"echo_{dtype}", [tensor("x", sent.reshape(3, *axes))]).as_numpy("y")
    np.testing.assert_array_equal(got, as_sent(sent))
    if dtype != "float16":
        message = ModelInferRequest(model_name=f"echo_{dtype}")
        contents(message, "x", sent.reshape(3, *axes))
        np.testing.assert_array_equal(typed_answer(ask(server, "ModelInfer", message)), as_sent(sent))


def named(name, *outputs, **options):
    return "two", [tensor("a", np.ones((1, 2), np.float32))], [triton.InferRequestedOutput(name, **options), *outputs]


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        ((FLOAT, []), "INVALID_ARGUMENT", "input 'x' is missing; the model takes x: float32"),
        ((FLOAT, [numbers(1), numbers(1)]), "INVALID_ARGUMENT", "input 'x' is given twice"),
        ((FLOAT, [tensor("y", np.ones(1))]), "INVALID_ARGUMENT", "unknown input 'y'; known: x"),
        ((FLOAT, [tensor("x", np.ones(1))]), "INVALID_ARGUMENT", "input 'x': is float32, so its datatype is FP32; got FP64"),
        ((FLOAT, [tensor("x", np.ones((1, 2), np.float32))]), "INVALID_ARGUMENT",
         "input 'x': is float32, so its shape is [-1]; got [1, 2]"),
        (("image", [tensor("image", np.ones((2, 28, 27), np.uint8))]), "INVALID_ARGUMENT",
         "input 'image': is uint8[28,28], so its shape is [-1, 28, 28]; got [2, 28, 27]"),
        (("two", [tensor("a", np.ones((2, 2), np.float32)), tensor("b", np.ones(3, np.int64))]), "INVALID_ARGUMENT",
         "inputs differ in their number of rows: 'b' has 3, those before it 2"),
        (("two", []), "INVALID_ARGUMENT", "input 'a' is missing; the model takes a: float32[2], b: int64"),
        (("echo_string", [tensor("x", np.array([b"\xff"], object))]), "INVALID_ARGUMENT",
         "input 'x': element 0 is not UTF-8: invalid start byte at byte 0"),
        (("nothing", [numbers(1)]), "NOT_FOUND", "no model 'nothing' is served"),
        (("picky", [numbers(1, 13, 2, 13)]), "INVALID_ARGUMENT", "2 of 4 rows failed"),
        (("lists", [numbers(1, 2)]), "INVALID_ARGUMENT", "output 'y': rows differ in shape, and a tensor has one shape"),
        (("odd", [numbers(1)]), "INVALID_ARGUMENT", "output 'y': row 0 of any is dict, and BYTES has texts and bytes only"),
        (named("c"), "INVALID_ARGUMENT", "unknown output 'c'; known: a, b"),
        (named("b", triton.InferRequestedOutput("b")), "INVALID_ARGUMENT", "output 'b' is asked for twice"),
        (named("b", class_count=1), "INVALID_ARGUMENT",
         "output 'b': classification takes numbers of shape [rows, classes]; got int64 ['rows']"),
    ],
)  # fmt: skip
def test_a_mistake_is_said(client, asked, code, text):
    name, inputs, outputs = (*asked, None)[:3]
    status, message = refusal(client.infer, name, inputs, outputs=outputs)
    assert (status, message[: len(text)]) == (code, text)


def test_rows_that_fail_are_named_and_harm_no_neighbour(client):
    _, message = refusal(client.infer, "picky", [numbers(1, 13, 2)])
    assert "row 1: node" in message
    assert "ValueError: cannot take 13" in message
    assert "hint" not in message
    assert client.infer("picky", [numbers(1, 2)]).as_numpy("y").tolist() == [1, 2]


def test_a_long_error_fits_into_its_header(client):
    status, message = refusal(client.infer, "ü" * 3000, [numbers(1)])
    assert status == "NOT_FOUND"
    assert message.endswith(" ...")


def written(change, name=FLOAT):
    message = ModelInferRequest(model_name=name)
    message.inputs.add(name="x", datatype="FP32", shape=[1])
    message.raw_input_contents.append(bytes(4))
    change(message)
    return message


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.raw_input_contents.append(b""), "raw_input_contents has 2 tensors where inputs has 1"),
        (lambda m: m.inputs[0].contents.fp32_contents.append(1), "input 'x': has contents, and raw_input_contents is given too"),
        (lambda m: m.raw_input_contents.__setitem__(0, b"123"), "input 'x': FP32 of shape [1] takes 4 bytes; got 3"),
        (lambda m: m.inputs[0].shape.__setitem__(0, -1), "input 'x': shape [-1] has a negative axis"),
        (lambda m: m.inputs[0].ClearField("shape"), "input 'x': the shape is empty; its first axis must be the row"),
        (lambda m: setattr(m.inputs[0], "datatype", "FP"), "input 'x': unknown datatype 'FP'; did you mean"),
        (lambda m: setattr(m.inputs[0], "datatype", "BF16"), "input 'x': unknown datatype 'BF16'"),
        (lambda m: setattr(m.inputs[0].parameters["shared_memory_region"], "string_param", "r"),
         "input 'x': shared memory is not offered"),
        (lambda m: setattr(m.outputs.add(name="y").parameters["shared_memory_region"], "string_param", "r"),
         "output 'y': shared memory is not offered"),
        (lambda m: setattr(m.outputs.add(name="y").parameters["classification"], "int64_param", -1),
         "output 'y': classification must be a whole number from 1; got -1"),
        (lambda m: setattr(m.parameters["timeout"], "int64_param", -1), "parameter 'timeout' (microseconds) must be a number "),
        (lambda m: setattr(m.parameters["priority"], "string_param", "x"), "parameter 'priority' must be a whole number; got 'x'"),
        (lambda m: (m.ClearField("raw_input_contents"), m.inputs[0].contents.fp64_contents.append(1)),
         "input 'x': elements of FP32 are expected in fp32_contents; got fp64_contents"),
        (lambda m: m.ClearField("raw_input_contents"), "input 'x': FP32 of shape [1] has 1 elements; got 0"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_said(server, change, text):
    status, message = refusal(ask, server, "ModelInfer", written(change))
    assert (status, message[: len(text)]) == ("INVALID_ARGUMENT", text)


@pytest.mark.parametrize(
    ("name", "datatype", "raw", "text"),
    [
        ("echo_bool", "BOOL", b"\x02", "input 'x': a BOOL must be 0 or 1"),
        ("echo_bytes", "BYTES", b"\x05\0\0\0abc", "input 'x': element 0 of BYTES should have 5 bytes; 3 are left"),
        (
            "echo_bytes",
            "BYTES",
            b"\x01\0\0\0abc",
            "input 'x': the shape has 1 elements; got 1, and 2 bytes that belong to none",
        ),
        ("echo_bytes", "BYTES", b"", "input 'x': the shape has 1 elements; got 0"),
        ("echo_bytes", "BYTES", b"\0\0", "input 'x': the shape has 1 elements; got 0, and 2 bytes that belong to none"),
    ],
)
def test_malformed_elements_are_said(server, name, datatype, raw, text):
    message = ModelInferRequest(model_name=name, raw_input_contents=[raw])
    message.inputs.add(name="x", datatype=datatype, shape=[1])
    assert refusal(ask, server, "ModelInfer", message) == ("INVALID_ARGUMENT", text)


@pytest.mark.parametrize(("dtype", "value"), [("int8", 128), ("int16", -32769), ("uint8", 256), ("uint16", 65536)])
def test_an_element_that_its_datatype_cannot_hold_is_said(server, dtype, value):
    message = ModelInferRequest(model_name=f"echo_{dtype}")
    contents(message, "x", np.array([1], dtype))
    field = message.inputs[0].contents.ListFields()[0][1]
    field[0] = value
    wanted = ("INVALID_ARGUMENT", f"input 'x': {value} is out of range of {OIP[dtype]}")
    assert refusal(ask, server, "ModelInfer", message) == wanted


@pytest.mark.parametrize("shape", [[0, 2**62, 2], [1, 0, 2**40], [2**62, 2**62, 2], [2**40, 0, 2]])
def test_a_shape_that_no_memory_holds_is_refused_at_once(server, shape):
    message = ModelInferRequest(model_name="echo_float32_n_2", raw_input_contents=[b""])
    message.inputs.add(name="x", datatype="FP32", shape=shape)
    assert refusal(ask, server, "ModelInfer", message)[0] in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_the_callers_mistake(server, data):
    code, _ = refusal(ask, server, "ModelInfer", data)
    assert code in ("INVALID_ARGUMENT", "NOT_FOUND")


@given(st.data())
def test_a_request_with_changed_bytes_is_answered_or_refused(server, data):
    message = ModelInferRequest(model_name="echo_int8", id="1")
    contents(message, "x", np.array([1, 2, 3], np.int8))
    whole = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        ask(server, "ModelInfer", bytes(whole))
    except grpc.RpcError as error:
        assert error.code().name in ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")  # noqa: PT017


def test_more_rows_or_bytes_than_a_request_may_have_are_refused(live, server, repository):
    few = live.repository(echo("float32"), echo("any"), limits=Limits(rows=10, body_bytes=1000))
    small = live.serve(few)
    with triton.InferenceServerClient(f"127.0.0.1:{small.port}") as client:
        wanted = ("RESOURCE_EXHAUSTED", "input 'x': 11 rows; a request may have 10")
        assert refusal(client.infer, FLOAT, [tensor("x", np.ones(11, np.float32))]) == wanted
        code, text = refusal(client.infer, "echo_any", [tensor("x", np.ones((1, 1000), np.uint8))])
        assert code == "RESOURCE_EXHAUSTED"
        assert "larger than max" in text
        bomb = [tensor("x", np.zeros((1, 50_000_000), np.uint8))]
        for algorithm in ("gzip", "deflate"):
            assert refusal(client.infer, "echo_any", bomb, compression_algorithm=algorithm)[0] == "RESOURCE_EXHAUSTED"
        assert client.infer(FLOAT, [numbers(1)]).as_numpy("y").tolist() == [1]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_requests_and_answers_may_be_compressed(live, repository, algorithm):
    server = live.serve(repository, grpc=GrpcConfig(compression=algorithm))
    sent = np.zeros((3, 28, 28), np.uint8)
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        got = client.infer("image", [tensor("image", sent)], compression_algorithm=algorithm)
    np.testing.assert_array_equal(got.as_numpy("image"), sent)


def test_priorities_of_the_stock_client_are_those_of_schedule_policy(live, gated, gated_gateway):
    batcher = gated_gateway.find("gated").batcher
    live.call(setattr, batcher, "limits", Limits(batch_rows=1))
    answered = []
    with shut("gate") as entered:
        gated.async_infer("gated", [numbers(0)], lambda result, error: answered.append(error))
        assert entered.wait(20)
        for count, (value, priority) in enumerate([(9, 0), (3, 3), (1, 1), (2, 2), (4, 3)], 2):
            gated.async_infer(
                "gated", [numbers(value)], lambda result, error: answered.append(error), priority=priority
            )
            live.until(lambda count=count: batcher.in_flight == count)
    live.until(lambda: len(answered) == 6)
    live.call(setattr, batcher, "limits", Limits())
    assert answered == [None] * 6
    assert played["gate"] == [0, 1, 2, 3, 4, 9]


def test_a_deadline_travels_with_the_request(gated):
    with shut("gate") as entered:
        gated.async_infer("gated", [numbers(1)], lambda result, error: None)
        assert entered.wait(20)
        late = refusal(gated.infer, "gated", [numbers(2)], client_timeout=0.05)
        told = refusal(gated.infer, "gated", [numbers(3)], timeout=50_000)
    assert late[0] == "DEADLINE_EXCEEDED"
    assert told[0] == "DEADLINE_EXCEEDED"
    assert "not answered in time" in told[1]
    assert gated.infer("gated", [numbers(4)]).as_numpy("y").tolist() == [4]
    assert not {2, 3} & set(played["gate"])


def test_a_request_whose_caller_is_gone_is_not_played(live, gated, door):
    with shut("gate") as entered:
        gated.async_infer("gated", [numbers(1)], lambda result, error: None)
        assert entered.wait(20)
        gone = gated.async_infer("gated", [numbers(2)], lambda result, error: None)
        live.until(lambda: len(door.entered) == 2)
        gone.cancel()
        live.until(lambda: door.codes == ["CANCELLED"])
    assert gated.infer("gated", [numbers(3)]).as_numpy("y").tolist() == [3]
    assert 2 not in played["gate"]


def test_the_stock_client_of_asyncio(live, server):
    async def many():
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert await client.is_server_live()
            asked = [client.infer(FLOAT, [numbers(each)], request_id=str(each)) for each in range(100)]
            return [(each.get_response().id, each.as_numpy("y")[0]) for each in await asyncio.gather(*asked)]

    assert live.run(many()) == [(str(each), each) for each in range(100)]


def test_the_middleware_knows_who_calls_and_what_came_of_it(live, repository):
    door = Door(repository)
    server = live.serve(repository, middleware=door)
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        client.infer(FLOAT, [numbers(1)], headers={"x-api-key": "ann", "traceparent": "00-1-2-01"})
        refusal(client.infer, "picky", [numbers(1, 13)])
        refusal(client.infer, "nothing", [numbers(1)])
        client.get_model_metadata(FLOAT)
        assert client.is_server_ready()
    assert door.entered[0] == ("ModelInfer", FLOAT, "00-1-2-01", "127.0.0.1")
    fine, failed, unknown, metadata = door.ended
    assert door.codes == ["OK", "INVALID_ARGUMENT", "NOT_FOUND", "OK"]
    assert (fine.request.identity.name, fine.request.rows, fine.reply.end) == ("ann", 1, 1)
    assert (failed.status, str(failed.error)[:18]) == (422, "1 of 2 rows failed")
    assert (unknown.status, unknown.request) == (404, None)
    assert (metadata.call.method, metadata.call.target) == ("ModelMetadata", FLOAT)
    assert all(each.since_s >= 0 for each in door.ended)


class Queue(Door):
    """Lets each request in a moment later."""

    def enter(self, call, deadline=None):
        async def turn():
            await asyncio.sleep(0)
            return super(Queue, self).enter(call)

        return turn()


def test_a_request_that_waits_for_its_turn_with_a_wrong_timeout_is_refused_and_written_down(live, repository):
    door = Queue(repository)
    server = live.serve(repository, middleware=door)
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        code, said = refusal(client.infer, FLOAT, [numbers(1)], timeout=-5)
        assert client.infer(FLOAT, [numbers(2)], timeout=10**7).as_numpy("y").tolist() == [2]
    assert (code, "'timeout'" in said) == ("INVALID_ARGUMENT", True)
    assert door.codes == ["INVALID_ARGUMENT", "OK"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("UnauthorizedError", "UNAUTHENTICATED"),
        ("ForbiddenError", "PERMISSION_DENIED"),
        ("TooManyRequestsError", "RESOURCE_EXHAUSTED"),
        ("OverloadedError", "UNAVAILABLE"),
        ("NotReadyError", "UNAVAILABLE"),
        ("DeadlineError", "DEADLINE_EXCEEDED"),
        ("TooLargeError", "RESOURCE_EXHAUSTED"),
    ],
)
def test_a_refusal_has_its_status_and_says_when_to_try_again(live, repository, kind, code):
    server = live.serve(repository, middleware=Door(repository, getattr(errors, kind)("no", retry_after_s=1.5)))
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, "ModelInfer", written(lambda m: None))
    assert (caught.value.code().name, caught.value.details()) == (code, "no")
    trailing = dict(caught.value.trailing_metadata())
    assert (trailing["retry-after"], trailing["grpc-retry-pushback-ms"]) == ("2", "1500")
    status, info = Status.FromString(trailing["grpc-status-details-bin"]), RetryInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (caught.value.code().value[0], "no")
    assert info.retry_delay.ToNanoseconds() == 1_500_000_000


def test_a_mistake_of_ours_is_said_without_ending_anything(live, repository, caplog):
    server = live.serve(repository, middleware=Door(repository, ZeroDivisionError("oh")))
    wanted = ("INTERNAL", "ZeroDivisionError in the server; its log says more")
    assert refusal(ask, server, "ModelInfer", written(lambda m: None)) == wanted
    assert refusal(ask, server, "ServerMetadata", b"") == wanted
    assert "ModelInfer failed" in caplog.text
    for method, message in (("ModelInfer", written(lambda m: None)), ("ServerMetadata", b"")):
        with pytest.raises(grpc.RpcError) as caught:
            ask(server, method, message, metadata=(("x-request-id", "a-17 b"),))
        for metadata in (caught.value.initial_metadata(), caught.value.trailing_metadata()):
            assert dict(metadata)["x-request-id"] == "a-17 b"


@pytest.mark.parametrize("count", [100, 15_000])
@pytest.mark.parametrize(
    ("dtype", "form"), [("float32", "raw"), ("float32", "typed"), ("string", "raw"), ("string", "typed")]
)
def test_what_takes_long_is_read_and_written_beside_the_loop(live, server, monkeypatch, dtype, form, count):
    """Other requests are answered meanwhile; what is quick costs no thread. Raw numbers are quick to write."""
    for name, bound in (("LONG_RAW_BYTES", 40 << 10), ("LONG_BYTES", 20 << 10), ("LONG_ELEMENTS", 8000)):
        monkeypatch.setattr(codec, name, bound)
    threads = []

    def noted(work):
        return lambda *args: threads.append(threading.current_thread()) or work(*args)

    for name in ("read_columns", "write_answer"):
        monkeypatch.setattr(infer, name, noted(getattr(infer, name)))
    sent = np.array([f"text {n}" for n in range(count)], object) if dtype == "string" else np.arange(count, dtype=dtype)
    message = ModelInferRequest(model_name=f"echo_{dtype}")
    contents(message, "x", sent)
    if form == "raw":
        message.inputs[0].ClearField("contents")
        message.raw_input_contents.append(to_raw(sent))
    answer = ask(server, "ModelInfer", message)
    got = triton.InferResult(answer).as_numpy("y") if form == "raw" else typed_answer(answer)
    np.testing.assert_array_equal(got, as_sent(sent))
    long = count > 10_000
    assert [each is not live.thread for each in threads] == [long, long and (form, dtype) != ("raw", "float32")]


@pytest.mark.parametrize(("name", "code"), [(FLOAT, None), ("nothing", "NOT_FOUND")])
def test_the_callers_name_of_a_call_is_given_back(server, name, code):
    for asked in ("ModelInfer", "ModelMetadata"):
        kind, answer = (message_class(f"inference.{asked}{which}") for which in ("Request", "Response"))
        message = kind(**{"model_name" if asked == "ModelInfer" else "name": name})
        if asked == "ModelInfer":
            contents(message, "x", np.ones(1, np.float32))
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_unary(f"/{SERVICE}/{asked}", kind.SerializeToString, answer.FromString)
            for metadata, wanted in (((("x-request-id", "a-17 b"),), "a-17 b"), ((), None)):
                _, done = (
                    call.with_call(message, metadata=metadata)
                    if code is None
                    else (None, _failed(call, message, metadata))
                )
                assert dict(done.initial_metadata()).get("x-request-id") == wanted
                assert code is None or dict(done.trailing_metadata()).get("x-request-id") == wanted
                assert done.code().name == (code or "OK")


def _failed(call, message, metadata):
    with pytest.raises(grpc.RpcError) as caught:
        call(message, metadata=metadata)
    return caught.value


def test_shared_memory_is_not_offered_to_the_stock_client(client):
    for call, *args in (
        (client.unregister_system_shared_memory,), (client.get_system_shared_memory_status,),
        (client.register_system_shared_memory, "a", "/a", 8), (client.unregister_cuda_shared_memory,),
        (client.get_cuda_shared_memory_status,),
    ):  # fmt: skip
        assert refusal(call, *args) == (
            "UNIMPLEMENTED",
            "shared memory is not offered\n  hint: send and ask for the elements",
        )


def test_answers_are_raw_unless_typed_contents_were_sent(server):
    """Where there are no rows there is neither: such a request is answered as one that came raw."""
    message = ModelInferRequest(model_name=FLOAT)
    message.inputs.add(name="x", datatype="FP32", shape=[0])
    assert [*ask(server, "ModelInfer", message).raw_output_contents] == [b""]
    typed = ModelInferRequest(model_name=FLOAT)
    contents(typed, "x", np.ones(1, np.float32))
    assert not ask(server, "ModelInfer", typed).raw_output_contents
