"""ModelStreamInfer, asked by the stock client and by hand."""

import queue

import grpc
import numpy as np
import pytest

from motet.oip.messages import ModelInferRequest, ModelStreamInferResponse
from motet.serving.grpc import GrpcConfig
from serving.grpc.grpc_functions import gates, played, shut
from serving.grpc.grpc_live import STREAM, contents, tensor


def numbers(*given):
    return [tensor("x", np.array(given, dtype=np.float32))]


@pytest.fixture
def stream(client):
    """Sends requests on one stream; `got` has the answers."""
    yield from streamed(client)


@pytest.fixture
def gated_stream(gated):
    yield from streamed(gated)


def streamed(client):
    got = queue.Queue()
    client.start_stream(lambda result, error: got.put((result, error)))
    client.got = got
    yield client
    client.stop_stream()


def written(value, id="", name="gated"):
    message = ModelInferRequest(model_name=name, id=id)
    contents(message, "x", np.array([value], np.float32))
    return message.SerializeToString()


def test_each_request_of_a_stream_is_answered(stream):
    for each in range(200):
        stream.async_stream_infer("echo_float32", numbers(each), request_id=str(each))
    answers = [stream.got.get(timeout=20) for _ in range(200)]
    assert all(error is None for _, error in answers)
    assert {int(result.get_response().id): result.as_numpy("y")[0] for result, _ in answers} == {
        i: i for i in range(200)
    }
    assert all(result.get_response().parameters["triton_final_response"].bool_param for result, _ in answers)


def test_an_error_is_that_of_its_request_alone(stream):
    stream.async_stream_infer("echo_float32", numbers(1), request_id="good")
    stream.async_stream_infer("nothing", numbers(1), request_id="unknown")
    stream.async_stream_infer("picky", numbers(13), request_id="bad")
    stream.async_stream_infer("echo_float32", numbers(2), request_id="also good")
    answers = [stream.got.get(timeout=20) for _ in range(4)]
    texts = sorted(str(error) for _, error in answers if error is not None)
    assert texts[0].startswith("1 of 1 rows failed: row 0: ")
    assert texts[1].startswith("no model 'nothing' is served")
    assert sorted(result.get_response().id for result, error in answers if error is None) == ["also good", "good"]


def test_a_request_that_is_ready_does_not_wait_for_the_one_before(gated_stream):
    with shut("gate") as entered:
        gated_stream.async_stream_infer("gated", numbers(1), request_id="slow")
        assert entered.wait(20)
        gated_stream.async_stream_infer("echo_float32", numbers(2), request_id="quick")
        assert gated_stream.got.get(timeout=20)[0].get_response().id == "quick"
    assert gated_stream.got.get(timeout=20)[0].get_response().id == "slow"


def test_bytes_that_are_no_request_are_answered_too(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.stream_stream(STREAM, response_deserializer=ModelStreamInferResponse.FromString)
        answers = list(call(iter([b"\xff\xff\xff", written(1, "2", "echo_float32")]), timeout=20))
    by_id = {answer.infer_response.id: answer for answer in answers}
    assert by_id[""].error_message.startswith("no ModelInferRequest")
    assert by_id["2"].infer_response.outputs[0].contents.fp32_contents[:] == [1]


def test_no_more_is_read_than_may_be_under_way(live, gated_gateway, door):
    server = live.serve(gated_gateway, middleware=door, grpc=GrpcConfig(stream_requests=3))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, shut("gate") as entered:
        call = channel.stream_stream(STREAM, response_deserializer=ModelStreamInferResponse.FromString)
        answers = call((written(each) for each in range(50)), timeout=20)
        assert entered.wait(20)
        live.until(lambda: len(door.entered) == 3)
        live.call(lambda: None)
        assert len(door.entered) == 3
        gates["gate"].set()
        got = [answer.infer_response.outputs[0].contents.fp32_contents[0] for answer in answers]
    assert got == list(range(50))


def test_requests_of_a_caller_that_is_gone_are_not_played(live, gated_server, gated, door):
    with grpc.insecure_channel(f"127.0.0.1:{gated_server.port}") as channel, shut("gate") as entered:
        call = channel.stream_stream(STREAM, response_deserializer=ModelStreamInferResponse.FromString)
        answers = call((written(each) for each in (1, 2, 3)), timeout=20)
        assert entered.wait(20)
        live.until(lambda: len(door.entered) == 3)
        answers.cancel()
        live.until(lambda: door.codes == ["CANCELLED"] * 3)
    gated.infer("gated", numbers(4))
    assert not {2, 3} & set(played["gate"])


def test_a_server_that_stops_answers_what_it_has_read(live, gated_gateway, door):
    server = live.serve(gated_gateway, middleware=door)
    requests = queue.Queue()
    requests.put(written(5))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, shut("gate") as entered:
        call = channel.stream_stream(STREAM, response_deserializer=ModelStreamInferResponse.FromString)
        answers = call(iter(requests.get, None), timeout=20)
        assert entered.wait(20)
        stopping = live.start(server.stop(20))
        live.until(lambda: server.stopping)
        gates["gate"].set()
        assert next(answers).infer_response.outputs[0].contents.fp32_contents[:] == [5]
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert (caught.value.code().name, caught.value.details()) == ("UNAVAILABLE", "the server is about to stop")
        stopping.result(20)
        requests.put(None)
