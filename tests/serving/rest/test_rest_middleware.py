"""Who may ask, and who may load and unload."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from motet.errors import ForbiddenError, TooManyRequestsError, UnauthorizedError
from motet.serving.batching.request import OWNER, Identity
from motet.serving.config.server import ServeConfig
from motet.serving.middleware.administration import check_admin
from motet.serving.middleware.call import IncomingCall
from motet.serving.middleware.context import RequestContext
from motet.serving.middleware.middleware import Middleware
from motet.serving.rest.calls import enter
from serving.rest.app_graphs import gated, shut, tens


def asked(owner=False, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path = "/v2/repository/models/m/load"
    return IncomingCall("http", "POST", path, "m", named, "127.0.0.1", 0, True, OWNER if owner else None)


OWN, FOREIGN = {"host": "localhost:8000", "origin": "http://localhost:8000"}, {"origin": "https://site.example"}


@pytest.mark.parametrize(
    ("admin", "klass", "headers", "may"),
    [
        ("socket", "", {}, False),
        ("socket", "admin", {}, False),
        ("socket", "", {"x_forwarded_for": "127.0.0.1", "host": "localhost"}, False),
        ("key", "", {}, False),
        ("key", "known", {}, False),
        ("key", "admin", {}, True),
        ("key", "admin", FOREIGN, True),  # which no browser sends by itself
        ("open", "", {}, True),
        ("open", "", OWN, True),
        ("open", "", OWN | FOREIGN, False),
        ("open", "", OWN | {"origin": "null"}, False),
        ("open", "", OWN | {"origin": "https://own.example"}, True),  # in `cors`
    ],
)
def test_who_may_load_and_unload(admin, klass, headers, may):
    if may:
        check_admin(admin, asked(**headers), klass, ["https://own.example"])
    else:
        with pytest.raises(
            ForbiddenError, match="loading, unloading, scaling and deciding on experiments is not allowed"
        ):
            check_admin(admin, asked(**headers), klass, ["https://own.example"])
    check_admin(admin, asked(owner=True, **headers), klass)


def test_a_page_of_another_site_cannot_unload(live):
    served = live.serve(tens("tens_owned"))
    answer = served.post("/v2/repository/models/tens_owned/unload", headers={"origin": "https://site.example"})
    assert (answer.status_code, served.repository.find("tens_owned").state) == (403, "READY")


class Door(Middleware):
    """Knows one key, and notes how requests end."""

    def __init__(self, repository):
        super().__init__(repository, ServeConfig(admin="open"))
        self.ended, self.waiting = [], asyncio.Event()

    def enter(self, call, deadline=None):
        key = call.headers.get("x-api-key")
        if key == "late":
            return self.waiting.wait()
        if key == "many":
            raise TooManyRequestsError("more than 1/hour", retry_after_s=12.2)
        if key != "good":
            raise UnauthorizedError("a credential is missing")
        context = super().enter(call, deadline)
        context.identity = Identity("ann", "key")
        return context

    def finished(self, context):
        call, rows = context.call, None if context.request is None else context.request.rows
        error = "" if context.error is None else type(context.error).__name__
        self.ended.append((call.path, call.target, rows, context.reply is not None, context.status, error))


def test_every_request_ends_once_and_says_how(live):
    served = live.serve(tens("tens_behind"), middleware=Door)
    door = served.middleware
    good = {"x-api-key": "good"}
    path = "/predict/tens_behind"
    assert served.post(path, json={"x": 1}).status_code == 401
    assert served.post(path, json={"x": 1}).headers["www-authenticate"] == 'Bearer realm="motet"'
    answer = served.post(path, json={"x": 1}, headers={"x-api-key": "many"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "13")
    assert door.ended == []
    served.post(path, json={"rows": [{"x": 1}, {"x": 13}, {"x": "no"}]}, headers=good)
    served.post(path, json={"x": 13}, headers=good)
    served.post(path, content=b"{", headers=good)
    served.post(path, json={"x": 1, "stream": True}, headers=good)
    served.post(path, json={"rows": [{"x": 1}], "stream": True}, headers=good)
    served.post("/v2/repository/models/tens_behind/unload", headers=good)
    served.post("/v2/repository/models/nothing/load", headers=good)
    assert door.ended == [
        (path, "tens_behind", 2, True, 200, ""),
        (path, "tens_behind", 1, True, 422, "RowFailedError"),
        (path, "tens_behind", 0, False, 400, "InputError"),
        (path, "tens_behind", 0, False, 400, "InputError"),
        (path, "tens_behind", 1, True, 200, ""),
        ("/v2/repository/models/tens_behind/unload", "tens_behind", None, False, 200, ""),
        ("/v2/repository/models/nothing/load", "nothing", None, False, 404, "NotFoundError"),
    ]


def test_who_gives_up_at_the_door_or_while_it_is_played_is_noticed(live):
    served = live.serve(gated("gated_behind"), middleware=Door)
    door = served.middleware
    with httpx.Client(base_url=served.address) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/predict/gated_behind", json={"x": 1}, headers={"x-api-key": "late"}, timeout=0.2)
        with shut("gated_behind"):
            with pytest.raises(httpx.ReadTimeout):
                client.post("/predict/gated_behind", json={"x": 1}, headers={"x-api-key": "good"}, timeout=0.2)
            live.until(lambda: door.ended)
    assert door.ended == [("/predict/gated_behind", "gated_behind", 1, False, 499, "CancelledError")]


def test_what_a_request_was_let_in_with_is_given_back_when_it_is_given_up_in_that_moment():
    async def given_up():
        turn, left = asyncio.Event(), asyncio.Event()
        let_in = Middleware(None).enter(asked(owner=True))

        async def entered():
            await turn.wait()
            left.set()
            return let_in

        request: Any = SimpleNamespace(
            scope={"state": {}, "headers": [], "path": "/"}, client=None, method="POST", receive=asyncio.Event().wait
        )
        door: Any = SimpleNamespace(enter=lambda call, deadline: entered())
        waiting = asyncio.create_task(enter(door, request, "m", 0))
        await asyncio.sleep(0)
        turn.set()
        await left.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return let_in.status

    assert asyncio.run(given_up()) == 499


class Late(Middleware):
    """Lets each request in as one that has waited for an hour."""

    def __init__(self, repository):
        super().__init__(repository)
        self.busy = True

    def enter(self, call, deadline=None):
        context = super().enter(call, deadline)
        assert isinstance(context, RequestContext)
        context.began -= 3600
        return context


def test_the_time_that_a_caller_gives_counts_while_its_request_waits_for_its_turn(live):
    served = live.serve(tens("tens_waited"), middleware=Late)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    statuses = [
        served.post("/v2/models/tens_waited/infer", json=body, headers=headers).status_code
        for headers in ({}, {"x-request-timeout-ms": "7200000"}, {"x-request-timeout-ms": "60000"})
    ]
    assert statuses == [200, 200, 504]


class Lines(Middleware):
    """Notes what has not entered."""

    logs = True

    def __init__(self, repository):
        super().__init__(repository)
        self.noted = []

    def unadmitted(self, call, status, **about):
        self.noted.append((call.method, call.path, status, call.headers.get("x-request-id")))


def test_requests_that_come_before_others_are_answered_are_written_down_as_they_came(live):
    served = live.serve(tens("tens_lined"), middleware=Lines)
    heads = [("GET", "/v2", "a"), ("POST", "/nowhere", "b"), ("DELETE", "/v2", "c")]
    sent = "".join(f"{method} {path} HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\n\r\n" for method, path, id in heads)
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(sent.encode())
        live.until(lambda: len(served.middleware.noted) == 3)
    assert sorted(served.middleware.noted) == [
        ("DELETE", "/v2", 405, "c"),
        ("GET", "/v2", 200, "a"),
        ("POST", "/nowhere", 404, "b"),
    ]


def test_pages_of_other_origins_may_ask_where_it_is_allowed(live):
    served = live.serve(tens("tens_shared"), cors=("https://own.example",))
    asking = {"origin": "https://own.example", "access-control-request-method": "POST"}
    answer = served.client.options("/predict/tens_shared", headers=asking)
    assert answer.headers["access-control-allow-origin"] == "https://own.example"
    answer = served.post("/predict/tens_shared", json={"x": 1}, headers={"origin": "https://own.example"})
    assert answer.headers["access-control-allow-origin"] == "https://own.example"
    answer = served.post("/predict/tens_shared", json={"x": "no"}, headers={"origin": "https://own.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (400, "https://own.example")
    answer = served.post("/predict/tens_shared", json={"x": 1}, headers={"origin": "https://site.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_no_origin_is_allowed_by_default(fashion):
    answer = fashion.get("/v2", headers={"origin": "https://site.example"})
    assert "access-control-allow-origin" not in answer.headers
