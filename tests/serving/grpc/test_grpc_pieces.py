"""Texts over ModelStreamInfer that come while a model writes them, asked by the stock client."""

import queue
import threading

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

import motet as mt
from models import streaming_models


@pytest.fixture(scope="module")
def writing(live):
    text = mt.input("text", "string")

    def graph(name):
        return mt.Graph(
            name,
            outputs={"text": mt.model(mt.Model(f"python:models.streaming_models:{name}", name), text), "asked": text},
        )

    return live.serve(live.repository(graph("shouting"), graph("endless")))


@pytest.fixture
def stream(writing):
    with triton.InferenceServerClient(f"127.0.0.1:{writing.port}") as client:
        got = queue.Queue()
        client.start_stream(lambda result, error: got.put((result, error)))
        client.got = got
        yield client
        client.stop_stream(cancel_requests=True)


def ask(client, /, *texts, model="shouting", **parameters):
    given = triton.InferInput("text", [len(texts)], "BYTES")
    given.set_data_from_numpy(np.array(texts, object))
    client.async_stream_infer(model, [given], request_id="7", parameters=parameters)


def take(stream):
    result, error = stream.got.get(timeout=60)
    if error is not None:
        return error
    said = result.get_response().parameters
    return result.as_numpy("text").tolist(), said["row"].int64_param, said["triton_final_response"].bool_param


def test_each_piece_is_a_response_and_the_last_one_has_the_whole(stream):
    streaming_models.GATES["slow"] = gate = threading.Event()
    try:
        ask(stream, "slow and steady", stream=True)
        for word in (b"SLOW ", b"AND ", b"STEADY"):
            gate.set()
            assert take(stream) == ([word], 0, False)
        assert take(stream) == ([b"SLOW AND STEADY"], 0, True)
    finally:
        del streaming_models.GATES["slow"]
    ask(stream, "a b", "c", stream=True)
    told = {0: b"", 1: b""}
    while not (found := take(stream))[2]:
        told[found[1]] += found[0][0]
    assert (told, found[0]) == ({0: b"A B", 1: b"C"}, [b"A B", b"C"])


def test_who_does_not_ask_for_pieces_has_one_response(stream):
    ask(stream, "a b")
    assert take(stream) == ([b"A B"], 0, True)


def test_what_else_is_said_of_pieces_is_refused(stream):
    ask(stream, "a b", stream="yes")
    assert "the parameter 'stream' must be true or false; got 'yes'" in str(take(stream))


def test_an_error_after_pieces_is_the_end(stream):
    ask(stream, "a 13", stream=True)
    assert take(stream) == ([b"A "], 0, False)
    assert "13 brings bad luck" in str(take(stream))


def test_a_client_that_leaves_ends_the_writing(writing, live):
    with triton.InferenceServerClient(f"127.0.0.1:{writing.port}") as client:
        got = queue.Queue()
        client.start_stream(lambda result, error: got.put((result, error)))
        ask(client, "left alone", model="endless", stream=True)
        assert got.get(timeout=60)[1] is None
        client.stop_stream(cancel_requests=True)
    live.until(lambda: "left alone" in streaming_models.CLOSED)


def test_a_call_with_one_answer_refuses_to_stream(writing):
    given = triton.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(np.array(["a b"], object))
    with triton.InferenceServerClient(f"127.0.0.1:{writing.port}") as client:
        with pytest.raises(InferenceServerException, match="ask by ModelStreamInfer, or leave the parameter out"):
            client.infer("shouting", [given], parameters={"stream": True})
        assert client.infer("shouting", [given], parameters={"stream": False}).as_numpy("text").tolist() == [b"A B"]
