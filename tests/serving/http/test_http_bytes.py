"""Requests in any pieces are answered the same; bytes that are no requests harm nobody."""

import asyncio
import contextlib
import itertools
import random
import re
from collections import Counter

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from helpers.until import until_async
from serving.http.http_live import App, chunked, infer, infer_body, values_of

HEADS = [b"", b"X-Y: z\r\n", b"Connection: keep-alive\r\n", b"Accept: */*\r\nUser-Agent: t\r\n"]
GET = b"GET /said?%d HTTP/1.1\r\nHost: a\r\n\r\n"


def chunked_infer(value):
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunked(infer_body([value]), 7, 1, 30, trailers=b"X-Sum: 1\r\n")


numbers = st.integers(0, 9)
requests = st.one_of(
    st.builds(lambda n: (b"POST", infer([float(n)])), numbers),
    st.builds(lambda n: (b"POST", infer([float(n)], name="wide")), numbers),
    st.builds(lambda n, head: (b"POST", infer([float(n)], more=head)), numbers, st.sampled_from(HEADS)),
    st.builds(lambda n: (b"POST", infer([float(n)] * n, id=str(n))), numbers),
    st.builds(lambda n: (b"POST", infer([float(n)], name="nosuch")), numbers),
    st.builds(lambda n: (b"POST", chunked_infer(float(n))), numbers),
    st.builds(
        lambda n: (b"POST", b"POST /said HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % n + b"x" * n), numbers
    ),
    st.builds(lambda n: (b"GET", GET % n), numbers),
    st.builds(lambda n: (b"HEAD", b"HEAD /said?%d HTTP/1.1\r\nHost: a\r\n\r\n" % n), numbers),
    st.builds(lambda n: (b"GET", b"GET /stream?2 HTTP/1.1\r\nHost: a\r\n\r\n"), numbers),
    st.just((b"POST", b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{}}")),
)

known = {}


def alone(site, method, request):
    """What a request is answered that has a connection to itself."""
    if request not in known:
        (known[request],) = site.ask(request, (method,))
    return known[request]


def same(answer, other):
    return (answer.status, answer.body, {**answer.headers, b"date": b""}) == (
        other.status,
        other.body,
        {**other.headers, b"date": b""},
    )


class TestPieces:
    """Bytes are handed to the connection as they could come from the network; the answers leave by its socket."""

    def check(self, site, asked, cuts):
        expected = [alone(site, method, request) for method, request in asked]
        data = b"".join(request for _, request in asked)
        places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
        before = set(site.front.connections)
        with site.connect() as client:
            site.loop.until(lambda: site.front.connections - before)
            (connection,) = site.front.connections - before

            async def fed():
                for first, end in itertools.pairwise(places):
                    while not connection._reading:
                        await asyncio.sleep(0)
                    connection.data_received(data[first:end])
                    if cuts and cuts[0] % 2:
                        await asyncio.sleep(0)

            site.loop.run(fed())
            for (method, request), answer in zip(asked, expected, strict=True):
                assert same(client.answer(method), answer), request
            client.half_close()
            assert client.closed()
        site.loop.until(lambda: not site.front.connections and not site.front.buffered_bytes)

    @given(asked=st.lists(requests, min_size=1, max_size=12), cuts=st.lists(st.integers(0, 5000), max_size=40))
    def test_any_pieces(self, site, asked, cuts):
        self.check(site, asked, cuts)

    @given(asked=st.lists(requests, min_size=1, max_size=12))
    def test_a_piece_a_request(self, site, asked):
        """So that heads are known again."""
        ends = [sum(len(request) for _, request in asked[: place + 1]) for place in range(len(asked))]
        self.check(site, asked, ends)

    @given(
        asked=st.lists(st.builds(lambda n: (b"POST", infer([float(n)])), numbers), min_size=2, max_size=8),
        shift=st.integers(-60, 60),
    )
    def test_a_piece_of_the_length_of_a_request_that_begins_elsewhere(self, site, asked, shift):
        ends = [sum(len(request) for _, request in asked[: place + 1]) for place in range(len(asked))]
        self.check(site, asked, [ends[0], *(max(0, end + shift) for end in ends[1:])])

    @pytest.mark.parametrize("request_", [infer([1.0]), GET % 1, chunked_infer(1.0)])
    def test_every_cut(self, site, request_):
        for cut in range(1, len(request_)):
            self.check(site, [(b"POST", request_), (b"POST", infer([2.0]))], [cut])

    @pytest.mark.parametrize("request_", [infer([1.0]), GET % 1, chunked_infer(1.0)])
    def test_every_byte_on_its_own(self, site, request_):
        self.check(site, [(b"GET", request_)] * 2, range(1, 2 * len(request_)))


SEEDS = [
    infer([1.0]),
    infer([1.0], more=b"Expect: 100-continue\r\n"),
    chunked_infer(1.0),
    GET % 1,
    b"HEAD /stream?2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/said HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST /said HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
]
TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b";", b",", b"\xff", b"0", b"-1", b"ffffffff", b"chunked", b"\r\n\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"HTTP/1.0",
    b"HTTP/2.0", b"Content-Encoding: gzip\r\n", b"Inference-Header-Content-Length: 9\r\n", b"?", b"%00", b"%",
    b"Upgrade: x\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n", b"X" * 3000,
]  # fmt: skip


def mutated(chance):
    data = bytearray(b"".join(chance.choices(SEEDS, k=chance.randint(1, 3))))
    for _ in range(chance.randint(1, 4)):
        place, kind = chance.randrange(len(data) + 1), chance.randrange(4)
        if kind == 0:
            data[place:place] = chance.choice(TOKENS)
        elif kind == 1:
            del data[place : place + chance.randint(1, 20)]
        elif kind == 2 and data:
            data[place % len(data)] = chance.randrange(256)
        else:
            data[place:place] = data[place : place + chance.randint(1, 60)]
    return bytes(data)


class TestFuzz:
    @pytest.mark.parametrize("seed", range(4))
    def test_nothing_breaks(self, make_site, seed):
        """Every connection ends; answers are whole and have a right status; good requests go on beside it."""
        site = make_site(header_timeout_s=0.3, body_timeout_s=0.3, idle_timeout_s=0.3, body_bytes=1_000_000)
        chance, statuses = random.Random(seed), Counter()
        for _ in range(20):
            data = [mutated(chance) for _ in range(10)]
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(site.connect()) for _ in data]
                good = stack.enter_context(site.connect())
                for client, each in zip(clients, data, strict=True):
                    client.send_some(each)
                    if chance.random() < 0.95:  # the others wait until the server has enough of them
                        client.half_close()
                good.send(infer([2.0]))
                assert values_of(good.answer()) == [2.0]
                for client, each in zip(clients, data, strict=True):
                    statuses.update(check_answers(client.rest(), each))
        site.loop.until(lambda: not site.front.connections and not site.front.buffered_bytes and not site.front.tasks)
        assert site.repository.find("echo").batcher.idle
        assert {200, 400} <= set(statuses), statuses


def check_answers(rest, data):
    """Whole answers one after the other, as far as can be told without knowing which were HEAD."""
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z][\w ]*\r\n", rest)]
    assert all(status < 500 or status in (501, 503, 505) for status in statuses), (data, rest)
    assert rest == b"" or rest.startswith(b"HTTP/1.1 "), (data, rest)
    return statuses


class TestBesideUvicorn:
    """The application sees and answers the same behind both."""

    @pytest.fixture(scope="class")
    @classmethod
    def uvicorn_port(cls, http_loop):
        config = uvicorn.Config(App(), port=0, http="httptools", ws="none", lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]

        async def started():
            task = asyncio.create_task(server._serve())
            await until_async(lambda: server.started)
            return task, server.servers[0].sockets[0].getsockname()[1]

        task, port = http_loop.run(started())
        yield port
        server.should_exit = True

        async def ended():
            await task

        http_loop.run(ended())

    @pytest.mark.parametrize(
        "request_",
        [
            GET % 1,
            b"POST /said/a%20b?c=d&e HTTP/1.1\r\nHost: a\r\nX-Y: 1\r\nX-Y:  2 \r\nContent-Length: 3\r\n\r\nabc",
            b"POST /said HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"GET /said HTTP/1.0\r\n\r\n",
            b"GET /said HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"HEAD /said HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET /stream?3 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PUT /%C3%A4/%ff HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            b"DELETE /said HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    def test_answers(self, site, uvicorn_port, request_):
        from serving.http.http_live import Client

        method = request_.partition(b" ")[0]
        ours, theirs = [], []
        for port, answers in ((site.port, ours), (uvicorn_port, theirs)):
            with Client(port) as client:
                client.send(request_)
                answers.append(client.answer(method))
        for answer in (ours[0], theirs[0]):
            for name in (b"date", b"server"):
                answer.headers.pop(name, None)
        assert (ours[0].status, ours[0].headers) == (theirs[0].status, theirs[0].headers)
        assert ours[0].body == theirs[0].body


def test_a_stock_client(site):
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}") as client:
        for _ in range(3):
            answer = client.post("/v2/models/echo/infer", content=infer_body([1.0, 2.0]))
            assert answer.json()["outputs"][0]["data"] == [1.0, 2.0]
            assert client.get("/said").json()["path"] == "/said"
