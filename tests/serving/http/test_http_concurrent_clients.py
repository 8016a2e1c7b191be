"""Requests that differ in their numbers only, from many clients at once: each gets what belongs to it."""

import struct
from contextlib import ExitStack

from serving.http.http_live import shut
from serving.wire.wire_bodies import framed, tensor

COUNT = 8


def ask(*values, name="gated"):
    """A request whose numbers are bytes, and whose answer is to be bytes too."""
    raw = struct.pack(f"<{len(values)}f", *values)
    sent = tensor("x", [len(values)], "FP32", size=len(raw))
    body, length = framed(raw, sent, parameters={"binary_data_output": True})
    head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Inference-Header-Content-Length: {length}\r\n\r\n".encode() + body


def told(answer):
    assert answer.status == 200, answer
    raw = answer.body[int(answer.headers[b"inference-header-content-length"]) :]
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def test_many_clients_get_their_own_answers(site):
    with ExitStack() as stack:
        clients = [stack.enter_context(site.connect()) for _ in range(COUNT)]
        for turn in range(6):
            for place, client in enumerate(clients):
                client.send(ask(turn, place, name="echo"))
            for place, client in enumerate(clients):
                assert told(client.answer()) == [turn, place]


def test_one_batch_of_requests_some_of_which_fail_or_are_abandoned(make_site):
    site = make_site(threads=1)
    batcher = site.repository.find("gated").batcher
    with ExitStack() as stack:
        clients = [stack.enter_context(site.connect()) for _ in range(COUNT)]
        for place, client in enumerate(clients):
            client.send(ask(place))
            assert told(client.answer()) == [place]
        with shut() as entered, site.connect() as first:
            first.send(ask(100.0))
            entered()
            for place, client in enumerate(clients[:-1]):
                client.send(ask(-1.0 if place == 3 else 10.0 + place))
            clients[0].send(ask(7.0))  # before the answer to the one before
            clients[-1].send(ask(1.0, 2.0))  # another JSON
            site.loop.until(lambda: batcher.waiting_rows == COUNT + 2)
            clients[1].reset()
            site.loop.until(lambda: batcher.waiting_rows == COUNT + 1)
        for place, client in enumerate(clients[:-1]):
            if place == 3:
                answer = client.answer()
                assert answer.status == 422
                assert b"below zero" in answer.body
            elif place != 1:
                assert told(client.answer()) == [10.0 + place]
        assert told(clients[0].answer()) == [7.0]
        assert told(clients[-1].answer()) == [1.0, 2.0]


def test_requests_with_the_same_json_are_put_together_without_reading_each(site, monkeypatch):
    route = site.front.route(b"/v2/models/echo/infer")
    with site.connect() as client:
        client.send(ask(1.0, name="echo"))
        assert told(client.answer()) == [1.0]
        monkeypatch.setattr(route.codec, "read", None)
        for number in (2.0, 3.0):
            client.send(ask(number, name="echo"))
            assert told(client.answer()) == [number]
