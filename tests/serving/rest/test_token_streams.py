"""Texts of live servers that come while a model writes them: as OpenAI's chunks and as events."""

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

import motet as mt
from helpers.openai_server import Events, OpenAIServer
from models import streaming_models
from motet.errors import InputError
from motet.serving.batching.request_future import RequestFuture
from motet.serving.config.limits import Limits
from motet.serving.config.server import ServeConfig
from motet.serving.middleware.middleware import Middleware
from motet.serving.rest.stream import AnswerStream

SSE = {"accept": "text/event-stream"}


@pytest.fixture(scope="module")
def endpoint():
    made = OpenAIServer()
    yield made
    made.close()


class Door(Middleware):
    """Notes how requests end."""

    def __init__(self, repository):
        super().__init__(repository, ServeConfig(admin="open"))
        self.ended: list[tuple[str, int]] = []

    def finished(self, context):
        super().finished(context)
        self.ended.append((context.call.target, context.status))


@pytest.fixture(scope="module")
def served(live, endpoint):
    text = mt.input("text", "string")

    def graph(name, model):
        return mt.Graph(name, outputs={"text": mt.model(model, text)})

    def writer(name):
        return mt.Model(f"python:models.streaming_models:{name}", name)

    far = mt.model(mt.Model(endpoint.uri(), "far", options={"usage": True}), text)
    names = ("text", "prompt_tokens", "completion_tokens")
    return live.serve(
        graph("shout", writer("shouting")),
        graph("endless", writer("endless")),
        mt.Graph("far", outputs={name: getattr(far, name) for name in names}),
        middleware=Door,
    )


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture
def gate():
    streaming_models.GATES["slow"] = made = threading.Event()
    yield made
    del streaming_models.GATES["slow"]


def user(text):
    return [{"role": "user", "content": text}]


def events(lines):
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            yield kind, json.loads(line[6:])


def test_a_chat_is_told_while_it_is_written(client, gate):
    gate.set()
    stream = client.chat.completions.create(model="shout", messages=user("slow and steady"), stream=True)
    found = []
    for word in ("SLOW ", "AND ", "STEADY"):
        found.append(next(stream))
        assert found[-1].choices[0].delta.content == word
        gate.set()  # now that it is here: two that are written at once are one piece
    assert [each.choices[0].delta.role for each in found] == ["assistant", None, None]
    (last,) = stream
    assert (last.choices[0].delta.content, last.choices[0].finish_reason) == (None, "stop")
    assert {each.object for each in [*found, last]} == {"chat.completion.chunk"}
    assert len({each.id for each in [*found, last]}) == 1


def test_completions_of_several_prompts_are_told_apart(client):
    texts = {0: "", 1: ""}
    for each in client.completions.create(model="shout", prompt=["a b", "c d"], stream=True):
        texts[each.choices[0].index] += each.choices[0].text
    assert texts == {0: "A B", 1: "C D"}


def test_an_endpoints_pieces_go_through_with_what_they_cost(client, endpoint):
    going = threading.Event()
    asked = {"model": "far", "messages": user("hi you"), "stream": True, "stream_options": {"include_usage": True}}
    right = [f"data: {json.dumps(each)}\n\n" for each in _parts(["you ", "there"])]
    endpoint.then("hi you", Events([right[0], going, *right[1:]]))
    stream = client.chat.completions.create(**asked)
    assert next(stream).choices[0].delta.content == "you "
    going.set()
    *rest, last = stream
    assert "".join(each.choices[0].delta.content or "" for each in rest) == "there"
    assert (last.choices, last.usage.prompt_tokens, last.usage.total_tokens) == ([], 2, 4)


def _parts(pieces):
    for piece in pieces:
        yield {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}}


def test_what_fails_before_the_first_piece_has_its_status(client):
    with pytest.raises(openai.UnprocessableEntityError, match="13 brings bad luck"):
        client.chat.completions.create(model="shout", messages=user("13"), stream=True)
    with pytest.raises(openai.BadRequestError, match="'stream' must be true or false; got 'yes'"):
        client.chat.completions.create(model="shout", messages=user("a"), extra_body={"stream": "yes"})


class Late(AnswerStream):
    """Begins with the first piece of a text."""

    is_eager = False

    def _of_call(self, call):
        return b"call"

    def _of_piece(self, row, output, piece):
        return piece.encode()

    def _of_reply(self, reply):
        return b"reply"

    def _of_error(self, error):
        return b"error" if self._begun else b""


@pytest.mark.parametrize(("taken", "wanted"), [(["", "late"], []), (["soon ", "late"], [b"soon ", b"lateerror"])])
def test_a_piece_that_comes_with_an_error_begins_nothing(taken, wanted):
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message.get("body"))

    async def answered():
        played: Any = RequestFuture({}, 0)
        rows: Any = SimpleNamespace()
        context: Any = SimpleNamespace(sent_bytes=0)
        failed: list[BaseException] = []
        stream = Late(rows, played, failed.append, context)
        each = iter(taken)
        played.pieces = SimpleNamespace(take=lambda: [(0, "text", piece) for piece in [next(each)] if piece])
        error = InputError("no")
        played.failed(error)
        await stream({"type": "http"}, receive, send)
        assert failed == [error]
        return sent

    assert [each for each in asyncio.run(answered()) if each is not None] == wanted


def test_what_fails_later_is_an_error_and_no_end(served, client):
    body = {"model": "shout", "messages": user("a 13"), "stream": True}
    told = served.post("/v1/chat/completions", json=body).text
    assert "[DONE]" not in told
    first, last = (json.loads(line[6:]) for line in told.splitlines() if line)
    assert first["choices"][0]["delta"]["content"] == "A "
    assert "13 brings bad luck" in last["error"]["message"]
    with pytest.raises(openai.APIError, match="13 brings bad luck"):
        list(client.chat.completions.create(model="shout", messages=user("a 13"), stream=True))


def test_what_is_late_ends_with_an_error(served):
    body = {"model": "endless", "messages": user("late"), "stream": True}
    told = served.post("/v1/chat/completions?timeout=800000", json=body).text
    last = [line for line in told.splitlines() if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["message"].startswith("endless: not answered in time")
    served.live.until(lambda: served.repository.find("endless").batcher.idle)


def test_a_client_that_leaves_ends_the_writing(served):
    batcher = served.repository.find("endless").batcher
    body = {"model": "endless", "messages": user("leaving"), "stream": True}
    with (
        httpx.Client(base_url=served.address) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()  # which is open as long as it is held
        assert next(lines).startswith("data: ")
        assert not batcher.idle
        assert ("endless", 499) not in served.middleware.ended  # what it holds, it holds until the end
    served.live.until(lambda: "leaving" in streaming_models.CLOSED and batcher.idle)
    served.live.until(lambda: ("endless", 499) in served.middleware.ended)


def test_a_client_that_reads_no_more_is_left(live):
    model = mt.Model("python:models.streaming_models:endless", "endless")
    graph = mt.Graph("unread", outputs={"text": mt.model(model, mt.input("text", "string"))})
    served = live.serve(graph, limits=Limits(write_timeout_s=0.5))
    batcher = served.repository.find("unread").batcher
    body = {"model": "unread", "messages": user("stopping"), "stream": True}
    with (
        httpx.Client(base_url=served.address, timeout=60) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()  # which is open as long as it is held
        assert next(lines).startswith("data: ")
        live.until(lambda: "stopping" in streaming_models.CLOSED and batcher.idle)


def test_pieces_are_events_beside_the_others(served, gate):
    with served.client.stream("POST", "/predict/shout", json={"text": "slow two"}, headers=SSE) as answer:
        found = events(answer.iter_lines())
        for word in ("SLOW ", "TWO"):
            gate.set()
            assert next(found) == ("piece", {"row": 0, "output": "text", "text": word})
        name, said = next(found)
        assert (name, said["outputs"]) == ("member", {"output": ["SLOW TWO"]})
        assert list(found) == [("result", {"text": "SLOW TWO"})]


def test_rows_of_one_request_are_told_apart(served):
    body = {"rows": [{"text": 7}, {"text": "a b"}, {"text": "13"}], "stream": True}
    *others, (name, result) = events(served.post("/predict/shout", json=body).text.splitlines())
    assert "".join(each["text"] for kind, each in others if kind == "piece") == "A B"
    assert {each["row"] for kind, each in others if kind == "piece"} == {1}
    assert name == "result"
    assert result["rows"][1] == {"text": "A B"}
    assert "13 brings bad luck" in result["rows"][2]["error"]


def test_a_server_that_stops_waits_for_streams(live, gate):
    text = mt.input("text", "string")
    model = mt.Model("python:models.streaming_models:shouting", "shouting")
    served = live.serve(mt.Graph("draining", outputs={"text": mt.model(model, text)}))
    body = {"model": "draining", "messages": user("slow end"), "stream": True}
    gate.set()
    with served.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert "SLOW " in next(lines)
        drained = asyncio.run_coroutine_threadsafe(served.repository.drain(60), live.loop)
        served.live.until(lambda: served.repository.draining)
        assert not drained.done()
        gate.set()
        assert "data: [DONE]" in list(lines)
        drained.result(60)
