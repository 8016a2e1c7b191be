"""What is a request, what is none, and how a connection goes on after each (RFC 9112)."""

import pytest

from motet.serving.wire.infer import InferCodec
from serving.http.http_live import chunked, infer, infer_body, values_of

GET = b"GET /said HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = infer_body([1.0, 2.0])
INFER = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\n"
APP = b"POST /said HTTP/1.1\r\nHost: a\r\n"


def test_a_request_for_inference(site):
    (answer,) = site.ask(infer([1.0, 2.0], id="seven"))
    assert values_of(answer) == [1.0, 2.0]
    assert answer.json()["id"] == "seven"
    assert answer.headers[b"content-type"] == b"application/json"
    assert b"date" in answer.headers
    assert not answer.closes


def test_a_request_for_the_application(site):
    (answer,) = site.ask(APP + b"Content-Length: 3\r\nX-Y: z\r\n\r\nabc")
    said = answer.json()
    assert (said["method"], said["path"], said["body"], said["version"]) == ("POST", "/said", "abc", "1.1")
    assert ["x-y", "z"] in said["headers"]


@pytest.mark.parametrize("start", [INFER, APP], ids=["inference", "app"])
@pytest.mark.parametrize(
    ("more", "status"),
    [
        pytest.param(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="both lengths"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 400, id="both, other order"),
        pytest.param(b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, id="lengths that differ"),
        pytest.param(b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, id="lengths that agree"),
        pytest.param(b"Content-Length: 1, 1\r\n\r\na", 400, id="a list of lengths"),
        pytest.param(b"Content-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(b"Content-Length: +1\r\n\r\na", 400, id="length with a sign"),
        pytest.param(b"Content-Length: 0x1\r\n\r\na", 400, id="length in hex"),
        pytest.param(b"Content-Length: 1 1\r\n\r\na", 400, id="length with a space"),
        pytest.param(b"Content-Length:\r\n\r\n", 400, id="no length"),
        pytest.param(b"Content-Length: 18446744073709551616\r\n\r\n", 400, id="length beyond 64 bits"),
        pytest.param(b"Content-Length: 99999999999\r\n\r\n", 413, id="long body"),
        pytest.param(b"Content-Length : 1\r\n\r\na", 400, id="space before the colon"),
        pytest.param(b"X-Y: a\r\n b\r\nContent-Length: 0\r\n\r\n", 400, id="folded line"),
        pytest.param(b"X-Y: a\nContent-Length: 0\r\n\r\n", 400, id="bare line feed"),
        pytest.param(b"X-Y: a\rContent-Length: 0\r\n\r\n", 400, id="bare carriage return"),
        pytest.param(b"X-Y: a\0b\r\nContent-Length: 0\r\n\r\n", 400, id="null in a value"),
        pytest.param(b"X\0Y: a\r\nContent-Length: 0\r\n\r\n", 400, id="null in a name"),
        pytest.param(b"X Y: a\r\nContent-Length: 0\r\n\r\n", 400, id="space in a name"),
        pytest.param(b": a\r\nContent-Length: 0\r\n\r\n", 400, id="no name"),
        pytest.param(b"X-Y\r\nContent-Length: 0\r\n\r\n", 400, id="no colon"),
        pytest.param(b"Transfer-Encoding: gzip\r\n\r\n", 501, id="gzip alone"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, id="chunked is not last"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, id="no such coding"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, id="gzip before chunked"),
        pytest.param(
            b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, id="the same in two fields"
        ),
        pytest.param(b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, id="chunked twice"),
        pytest.param(b"Host: b\r\nContent-Length: 0\r\n\r\n", 400, id="two hosts"),
        pytest.param(b"Host: a\r\nContent-Length: 0\r\n\r\n", 400, id="the same host twice"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nx\r\n", 400, id="chunk size that is no number"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400, id="negative chunk size"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1ffffffffffffffff\r\n", 400, id="chunk size beyond 64 bits"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n", 400, id="space before a chunk size"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400, id="chunk size and a line feed"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400, id="chunk longer than it says"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n\r\n", 400, id="no chunk size"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\n\r\n", 400, id="a length behind the body"
        ),
        pytest.param(b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n", 417, id="unknown expectation"),
    ],
)
def test_what_is_no_request_is_refused_and_ends_the_connection(site, start, more, status):
    with site.connect() as client:
        client.send(start + more + GET)
        answer = client.answer()
        assert (answer.status, answer.closes) == (status, True)
        assert answer.json()["error"]
        assert client.closed()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /said HTTP/1.1\r\n\r\n", 400),  # no host
        (b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
        (b"GET /said\r\n\r\n", (400, 505)),  # HTTP/0.9
        (b"GET /said HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET /said HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /said HTTP/2.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", 505),
        (b"POST /v2/models/echo/infer HTTP/2.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 505),
        (
            b"POST /v2/models/echo/infer HTTP/2.0\r\nHost: a\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
            505,
        ),
        (b"GET /said HTTP/3.0\r\nHost: a\r\n\r\n", (400, 505)),
        (b"GET /said HTTP/1.7\r\nHost: a\r\n\r\n", (400, 505)),
        (b"GET /said HTTPS/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /ä HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
        (b"GET /sa id HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET\t/said HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b" GET /said HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /said HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        (b"GET /said HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"get /said HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"NOSUCH /said HTTP/1.1\r\nHost: a\r\n\r\n", (400, 501)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS where none is spoken
        (b"\xff\xfe\xfd\r\n\r\n", 400),
    ],
)
def test_bad_first_lines(site, line, status):
    with site.connect() as client:
        client.send(line)
        answer = client.answer()
        assert answer.status in (status if isinstance(status, tuple) else (status,)), answer
        assert answer.closes
        assert client.closed()


def test_a_host_is_not_needed_in_http_1_0(site):
    (answer,) = site.ask(b"GET /said HTTP/1.0\r\n\r\n")
    assert answer.json()["version"] == "1.0"
    assert answer.closes


@pytest.mark.parametrize("path", [b"/said", b"/v2/models/echo/infer"])
def test_keeping_alive_in_http_1_0(site, path):
    """Where the connection stays, the answer says so: clients of that version expect its end otherwise."""
    with site.connect() as client:
        head = b"POST %b HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n"
        client.send(head % (path, len(BODY)) + BODY)
        answer = client.answer()
        assert answer.status == 200
        if answer.headers[b"connection"] == b"keep-alive":
            client.send(infer([3.0]))
            assert values_of(client.answer()) == [3.0]
        else:
            assert answer.closes
            assert client.closed()


def test_transfer_encoding_in_http_1_0_is_refused(site):
    with site.connect() as client:
        client.send(b"POST /said HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert client.answer().status == 400
        assert client.closed()


@pytest.mark.parametrize(
    "request_", [infer([1.0], more=b"Connection: close\r\n"), GET[:-2] + b"Connection: close\r\n\r\n"]
)
def test_nothing_is_answered_behind_the_last_request(site, request_):
    with site.connect() as client:
        client.send(request_ + infer([2.0]) + GET)
        answer = client.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert client.closed()


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
@pytest.mark.parametrize("start", [b"GET /said HTTP/1.1\r\nHost: a\r\n", INFER + b"Content-Length: %d\r\n" % len(BODY)])
def test_an_upgrade_is_ignored_and_the_connection_goes_on(site, start, upgrade):
    more = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
    body = BODY if b"Length" in start else b""
    with site.connect() as client:
        client.send(start + more % upgrade + body + infer([5.0]))
        assert client.answer().status == 200
        assert values_of(client.answer()) == [5.0]
        client.send(infer([6.0]))
        assert values_of(client.answer()) == [6.0]


def test_connect_is_refused(site):
    with site.connect() as client:
        client.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n\x16\x03\x01")
        answer = client.answer()
        assert 400 <= answer.status < 502
        assert answer.closes
        assert client.closed()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a%20b?c=%20", "/a b"),
        (b"/%ff%fe", "/\ufffd\ufffd"),
        (b"/%C3%A4", "/ä"),
        (b"/a/../b", "/a/../b"),
        (b"/%2e%2e/b", "/../b"),
        (b"//b/c", "//b/c"),
        (b"/a%2Fb", "/a/b"),
        (b"/%", "/%"),
        (b"/%zz", "/%zz"),
        (b"http://example.org/x", "/x"),
        (b"http://example.org", "/"),
        (b"*", "*"),
    ],
)
def test_targets(site, target, path):
    method = b"OPTIONS" if target == b"*" else b"GET"
    (answer,) = site.ask(b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target))
    assert answer.json()["path"] == path
    assert not answer.closes


def test_inference_in_absolute_form(site):
    head = b"POST http://a:8000/v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    (answer,) = site.ask(head % len(BODY) + BODY)
    assert values_of(answer) == [1.0, 2.0]


@pytest.mark.parametrize(
    "address", [b"/v2/models/%65cho/infer", b"/v2/models/echo/infer?a=b", b"/v2/models/echo/versions/1/infer"]
)
def test_other_addresses_of_inference(site, address):
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    (answer,) = site.ask(head % (address, len(BODY)) + BODY)
    assert values_of(answer) == [1.0, 2.0]


@pytest.mark.parametrize("start", [INFER, APP], ids=["inference", "app"])
@pytest.mark.parametrize("extension", [b"", b";a=b", b";a=" + b"x" * 2000])
@pytest.mark.parametrize("trailers", [b"", b"X-Sum: 7\r\nHost: b\r\n"])
def test_chunked_bodies(site, start, extension, trailers):
    body = start + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, 1, 5, extension=extension, trailers=trailers)
    first, second = site.ask(body + body, (b"POST", b"POST"))
    assert first.body == second.body
    said = first.json()
    if start == APP:
        assert said["body"].encode() == BODY
        assert ["x-sum", "7"] not in said["headers"]
        assert ["host", "b"] not in said["headers"]
    else:
        assert values_of(first) == [1.0, 2.0]


def test_the_coding_is_named_in_any_case(site):
    (answer,) = site.ask(INFER + b"transfer-encoding: Chunked\r\n\r\n" + chunked(BODY))
    assert values_of(answer) == [1.0, 2.0]


def test_empty_lines_before_a_request_are_passed_over(site):
    first, second = site.ask(b"\r\n\r\n" + GET + b"\r\n" + infer([1.0]), (b"GET", b"POST"))
    assert first.status == second.status == 200


@pytest.mark.parametrize("path", [b"/said", b"/stream?3", b"/none", b"/fail", b"/v2/models/echo/infer"])
def test_head_has_no_body(site, path):
    with site.connect() as client:
        client.send(b"HEAD %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        answer = client.answer(b"HEAD")
        if path == b"/fail":
            assert (answer.status, client.closed()) == (500, True)
        else:
            client.send(GET)
            assert client.answer().json()["path"] == "/said"


class TestExpect:
    @pytest.mark.parametrize("start", [INFER, APP], ids=["inference", "app"])
    def test_the_client_is_told_to_go_on(self, site, start):
        with site.connect() as client:
            client.send(start + b"Expect: 100-Continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
            assert client.head() == (100, {})
            client.send(BODY)
            assert client.answer().status == 200

    def test_not_when_the_body_is_too_large(self, site):
        with site.connect() as client:
            client.send(INFER + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
            assert client.answer().status == 413
            assert client.closed()

    def test_not_in_http_1_0(self, site):
        head = b"POST /v2/models/echo/infer HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        (answer,) = site.ask(head % len(BODY) + BODY)
        assert answer.status == 200

    def test_behind_a_request_that_is_under_way(self, site, app, http_loop):
        app.gate.clear()
        with site.connect() as client:
            client.send(b"GET /gated HTTP/1.1\r\nHost: a\r\n\r\n" + INFER)
            client.send(b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
            http_loop.loop.call_soon_threadsafe(app.gate.set)
            assert client.answer().body == b"open"
            assert client.head() == (100, {})
            client.send(BODY)
            assert values_of(client.answer()) == [1.0, 2.0]


def test_a_head_that_begins_within_another_is_not_taken_for_one_of_its_own(site):
    """A value that looks like a request must not say later what a request with these bytes is."""
    inner = infer([1.0], name="wide", host=b"Host: a\r\n")
    outer = b"POST /v2/models/echo/infer HTTP/1.1\r\nX-Y: "
    with site.connect() as client:
        client.send(outer)
        client.socket.recv(0)
        site.loop.until(lambda: any(each._state == 1 for each in site.front.connections))
        client.send(inner)
        assert client.answer().json()["model_name"] == "echo"
        client.send(inner)
        assert client.answer().json()["model_name"] == "wide"


def named(data):
    """A request with the caller's name of it."""
    return data.replace(b"\r\n", b"\r\nX-Request-Id: a-17 b\r\n", 1)


class TestMistakesOfOurs:
    """They are answered with 500 and the caller's name of the request, are in the log, and harm no other request."""

    def told(self, site, data):
        (answer,) = site.ask(named(data))
        assert (answer.status, answer.headers[b"x-request-id"]) == (500, b"a-17 b")
        assert b"ZeroDivisionError" in answer.body
        assert values_of(site.ask(infer([1.0, 2.0]))[0]) == [1.0, 2.0]

    @pytest.mark.parametrize("place", ["find", "submit", "find_loaded"])
    def test_in_what_every_request_passes(self, make_site, monkeypatch, caplog, place):
        site = make_site(app=None, rows=100_000)

        def wrong(*_):
            monkeypatch.undo()
            raise ZeroDivisionError("oh")

        monkeypatch.setattr(type(site.repository), place, wrong)
        self.told(site, infer([1.0]) if place != "find_loaded" else b"GET /v2/models/echo HTTP/1.1\r\nHost: a\r\n\r\n")
        assert "oh" in caplog.text

    @pytest.mark.parametrize("work", ["read", "write"])
    @pytest.mark.parametrize("count", [3, 30_000])
    def test_in_reading_and_writing_also_in_a_thread(self, make_site, monkeypatch, work, count):
        def wrong(*_):
            monkeypatch.undo()
            raise ZeroDivisionError("oh")

        site = make_site(app=None, rows=100_000)
        monkeypatch.setattr(InferCodec, work, wrong)
        self.told(site, infer([float(n) for n in range(count)]))

    def test_what_is_refused_before_it_is_read_has_its_name_too(self, site):
        for data, status in ((b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400), (infer([1.0], name="no"), 404)):
            (answer,) = site.ask(named(data))
            assert (answer.status, answer.headers[b"x-request-id"]) == (status, b"a-17 b")
