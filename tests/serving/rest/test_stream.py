"""Server-sent events."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from motet.errors import CancelledError
from motet.serving.batching.request_future import RequestFuture
from motet.serving.rest.stream import EventStream
from serving.rest.app_graphs import gated, shut, tens, two_speeds

SSE = {"accept": "text/event-stream"}


def events(lines):
    """Events as pairs of their name and what they say, one after another; comments are left out."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_each_member_is_sent_when_it_is_done_and_then_the_whole(fashion, picture):
    body = {"rows": [{"image": picture.tolist()}], "stream": True}
    answer = fashion.post("/predict/fashion", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *members, (last, result) = events(answer.text.splitlines())
    assert {(name, said["node"], said["member"], *said["rows"]) for name, said in members} == {
        ("member", "vote", member, 0) for member in ("linear", "mlp", "cnn")
    }
    assert all(len(said["outputs"]["probabilities"][0]) == 10 for _, said in members)
    assert last == "result"
    assert result == fashion.post("/predict/fashion", json={"rows": body["rows"]}).json()


def test_a_quick_member_does_not_wait_for_a_slow_one(live):
    served = live.serve(two_speeds())
    with (
        shut("two_speeds") as gate,
        served.client.stream("POST", "/predict/two_speeds", json={"x": 4}, headers=SSE) as answer,
    ):
        found = events(answer.iter_lines())
        name, said = next(found)  # the gate is shut
        assert (name, said["member"], said["outputs"]) == ("member", "quick", {"y": [8.0]})
        gate.set()
        assert next(found)[1]["member"] == "slow"
        name, said = next(found)
    assert name == "result"
    assert said["both"] == [8.0, 8.0]


def test_a_stream_can_be_explained(fashion, picture):
    body = {"rows": [{"image": picture.tolist()}, {"image": (255 - picture).tolist()}], "stream": True, "explain": True}
    *_, (_, result) = events(fashion.post("/predict/cascade", json=body).text.splitlines())
    for row in result["rows"]:
        assert [call["uses"] for call in row["explain"]["calls"]][-1] == row["member"]
        assert all(call["rows"] == 1 for call in row["explain"]["calls"])


def test_rows_that_fail_are_said_in_their_place(live):
    served = live.serve(tens("tens_streamed"))
    body = {"rows": [{"x": "no"}, {"x": 1}, {"x": 13}], "stream": True}
    member, result = events(served.post("/predict/tens_streamed", json=body).text.splitlines())
    assert member[1]["rows"] == [1]
    assert member[1]["failed"][0]["row"] == 2
    rows = result[1]["rows"]
    assert rows[1] == {"y": 10.0}
    assert "13 brings bad luck" in rows[2]["error"]
    body = {"rows": [{"x": "no"}], "stream": True}
    assert list(events(served.post("/predict/tens_streamed", json=body).text.splitlines())) == [
        ("result", {"rows": [{"error": "input 'x' is float32; got 'no'"}]})
    ]


def test_what_is_refused_at_once_has_its_status(live):
    served = live.serve(tens("tens_gone"))
    served.post("/v2/repository/models/tens_gone/unload")
    answer = served.post("/predict/tens_gone", json={"x": 1}, headers=SSE)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/json"


def test_what_fails_later_is_an_event(live):
    served = live.serve(gated("gated_stream"))
    with shut("gated_stream"):
        answer = served.post("/predict/gated_stream?timeout=50000", json={"x": 1}, headers=SSE)
    ((name, said),) = events(answer.text.splitlines())
    assert (name, said["status"]) == ("error", 504)


def test_a_reader_that_leaves_takes_its_rows_along(live):
    served = live.serve(gated("gated_unread"))
    batcher = served.repository.find("gated_unread").batcher
    with shut("gated_unread"):
        with (
            httpx.Client(base_url=served.address) as client,
            client.stream("POST", "/predict/gated_unread", json={"x": 1}, headers=SSE) as answer,
        ):
            assert answer.status_code == 200
        live.until(lambda: all(request.cancelled for each in batcher._playing for request in each.requests))
    live.until(lambda: batcher.idle)


def test_a_reader_that_is_gone_when_something_is_sent_is_no_mistake_of_the_server():
    async def failed_with():
        errors: list[BaseException] = []
        given: Any = SimpleNamespace(single=True, explain=False)
        stream = EventStream(given, None, RequestFuture({}, 0), errors.append, SimpleNamespace(sent_bytes=0))  # type: ignore[arg-type]

        async def send(message):
            if message["type"] == "http.response.body":
                raise OSError("gone")  # see Disconnected Client in the specification of ASGI

        await stream({"type": "http", "headers": []}, asyncio.Event().wait, send)  # type: ignore[arg-type]
        return errors

    assert [type(error) for error in asyncio.run(failed_with())] == [CancelledError]


def test_silence_is_filled_with_comments(live, monkeypatch):
    monkeypatch.setattr("motet.serving.rest.stream.HEARTBEAT_S", 0.02)
    served = live.serve(gated("gated_silent"))
    with (
        shut("gated_silent") as gate,
        served.client.stream("POST", "/predict/gated_silent", json={"x": 1}, headers=SSE) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(3)] == [": accepted", "", ": waiting"]
        gate.set()
        assert [name for name, _ in events(lines)] == ["member", "result"]


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_nobody_gets_a_stream_who_did_not_ask(fashion, picture, accept):
    answer = fashion.post("/predict/fashion", json={"image": picture.tolist()}, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"
