"""Bounds, times, order, and the ends of connections."""

import asyncio
import gc
import http.client
import json
import socket
import ssl
import subprocess
import time

import pytest

from motet.serving.config.server import Tls
from motet.serving.http import half_closed
from motet.serving.http.front import SWEEP_S
from serving.http import http_functions
from serving.http.http_live import Site, chunked, graphs, infer, infer_body, shut, values_of

GET = b"GET /said HTTP/1.1\r\nHost: a\r\n\r\n"
INFER = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\n"
APP = b"POST /said HTTP/1.1\r\nHost: a\r\n"
BOTH = pytest.mark.parametrize("start", [INFER, APP], ids=["inference", "app"])


@pytest.fixture(scope="module")
def small(http_loop, app):
    site = Site(http_loop, graphs(), app, body_bytes=1000, header_bytes=1000, buffered_bytes=1500)
    yield site
    site.close()


class TestBounds:
    @BOTH
    @pytest.mark.parametrize(
        ("more", "status"),
        [
            (b"X: " + b"x" * 900 + b"\r\nContent-Length: 1001\r\n\r\n", 413),
            (b"X: " + b"x" * 1000 + b"\r\nContent-Length: 0\r\n\r\n", 431),
            (b"X: " + b"x" * 5000, 431),
            (b"a:\r\n" * 101 + b"\r\n", 431),
            (b"Transfer-Encoding: chunked\r\n\r\n" + chunked(bytes(1001)), 413),
            (b"Transfer-Encoding: chunked\r\n\r\n" + chunked(bytes(1001), *[1] * 1000), 413),
            (b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * 1001 + b"\r\n\r\n", 431),
        ],
        ids=["length", "head", "head without end", "fields", "chunk", "chunks", "trailers"],
    )
    def test_more_is_refused(self, small, start, more, status):
        with small.connect() as client:
            client.send_some(start + more)
            answer = client.answer()
            assert (answer.status, answer.closes) == (status, True)
            client.send_some(bytes(100_000))  # the answer is not lost when more comes

    @pytest.mark.parametrize("method", [b"GET", b"POST"])
    def test_a_long_address_is_refused(self, small, method):
        for end in (b" HTTP/1.1\r\nHost: a\r\n\r\n", b""):
            (answer,) = small.ask(method + b" /" + b"x" * 1001 + end)
            assert answer.status == 414

    @BOTH
    def test_a_head_in_pieces_counts_as_a_whole(self, small, start):
        with small.connect() as client:
            client.send(start)
            for _ in range(50):
                client.send_some(b"X: " + b"x" * 50 + b"\r\n")
            assert client.answer().status == 431

    @BOTH
    def test_as_much_as_may_be(self, small, start):
        padding = b"X: " + b"x" * (900 - len(start)) + b"\r\n"
        body = infer_body([1.0]).ljust(1000)
        (answer,) = small.ask(start + padding + b"Content-Length: 1000\r\n\r\n" + body)
        assert answer.status == 200

    def test_a_head_behind_a_long_body_does_not_count_the_body(self, site):
        """Both come in one piece, which is longer than a head may be."""
        body = infer_body([1.0]).ljust(40_000)
        with site.connect() as client:
            client.send(INFER + b"Content-Length: 40000\r\n\r\n" + body + INFER)
            assert client.answer().status == 200
            client.send(b"Content-Length: 40000\r\n\r\n" + body)
            assert client.answer().status == 200

    def test_bodies_of_all_together(self, small):
        with small.connect() as first, small.connect() as second:
            for client in (first, second):
                client.send(APP + b"Content-Length: 1000\r\n\r\n" + bytes(800))
                small.loop.until(lambda client=client: small.front.buffered_bytes == 800 or client is second)
            answer = second.answer()
            assert answer.status == 503
            assert b"retry-after" in answer.headers
            first.send(bytes(200))
            assert first.answer().status == 200
        small.loop.until(lambda: small.front.buffered_bytes == 0)

    @pytest.mark.parametrize("end", ["close", "reset", "half_close"])
    def test_bodies_that_do_not_end_are_given_back(self, small, end):
        with small.connect() as client:
            client.send(APP + b"Content-Length: 1000\r\n\r\n" + bytes(800))
            small.loop.until(lambda: small.front.buffered_bytes == 800)
            if end == "close":
                client.socket.close()
            else:
                getattr(client, end)()
            small.loop.until(lambda: small.front.buffered_bytes == 0 and not small.front.connections)

    def test_chunks_that_are_nothing_but_extensions(self, small):
        with small.connect() as client:
            client.send(APP + b"Transfer-Encoding: chunked\r\n\r\n1;")
            for _ in range(100):
                client.send_some(b"x" * 1000)
            assert client.answer().status == 400

    def test_a_body_in_tiny_chunks_takes_no_more_memory_than_it_holds(self, site):
        size = 20_000
        (answer,) = site.ask(APP + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"y" * size, *[1] * size))
        assert answer.json()["body"] == "y" * size

    def test_too_many_connections(self, make_site):
        site = make_site(connections=2)
        with site.connect() as first, site.connect() as second:
            site.loop.until(lambda: len(site.front.connections) == 2)
            with site.connect() as third:
                assert third.closed()
            for client in (first, second):
                client.send(GET)
                assert client.answer().status == 200
            first.socket.close()
            site.loop.until(lambda: len(site.front.connections) == 1)
            with site.connect() as fourth:
                fourth.send(GET)
                assert fourth.answer().status == 200

    def test_junk_does_not_fill_the_known_addresses(self, site):
        with site.connect() as client:
            for number in range(10):
                client.send(b"POST /junk/%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % number)
                client.answer()
        assert not [url for url in site.front.routes if b"junk" in url]


class TestTimes:
    def test_a_head_that_does_not_come(self, make_site):
        site = make_site(header_timeout_s=0.3)
        with site.connect() as silent, site.connect() as slow:
            slow.send(GET[:10])
            answer = slow.answer()
            assert (answer.status, answer.closes) == (408, True)
            assert slow.closed()
            assert silent.closed()

    def test_a_head_that_comes_a_byte_at_a_time(self, make_site):
        site = make_site(header_timeout_s=0.3)
        with site.connect() as client:
            client.socket.settimeout(0.02)
            begun = time.monotonic()
            client.send(b"GET / HTTP/1.1\r\nX: ")
            while not client.held and time.monotonic() < begun + 10:
                client.send_some(b"x")
                try:
                    client.more()
                except TimeoutError:
                    continue
            assert client.answer().status == 408

    @BOTH
    def test_a_body_that_does_not_come(self, make_site, start):
        site = make_site(body_timeout_s=0.3)
        with site.connect() as client:
            client.send(start + b"Content-Length: 100\r\n\r\nabc")
            answer = client.answer()
            assert (answer.status, answer.closes) == (408, True)
            assert client.closed()
        site.loop.until(lambda: site.front.buffered_bytes == 0)

    def test_a_body_that_comes_too_slowly_as_a_whole(self, make_site):
        site = make_site(body_timeout_s=5.0, request_timeout_s=0.5)
        with site.connect() as client:
            client.socket.settimeout(0.02)
            client.send(APP + b"Content-Length: 100000\r\n\r\n")
            begun = time.monotonic()
            while not client.held and time.monotonic() < begun + 10:
                client.send_some(b"x")
                try:
                    client.more()
                except TimeoutError:
                    continue
            assert client.answer().status == 408

    def test_a_body_whose_parts_come_in_time(self, make_site):
        """Each within the time that is allowed between two, all of them not."""
        site = make_site(body_timeout_s=0.6)
        with site.connect() as client:
            client.socket.settimeout(0.25)
            client.send(APP + b"Content-Length: 5\r\n\r\n")
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    client.more()
                client.send(b"x")
            client.socket.settimeout(20)
            assert client.answer().json()["body"] == "xxxxx"

    def test_an_idle_connection(self, make_site):
        site = make_site(idle_timeout_s=0.3)
        with site.connect() as client:
            client.send(GET)
            assert client.answer().status == 200
            assert client.closed()

    def test_a_connection_that_waits_for_its_answer_is_not_idle(self, make_site):
        site = make_site(idle_timeout_s=0.2, header_timeout_s=0.2, body_timeout_s=0.2)
        with shut() as entered, site.connect() as client:
            client.send(infer([1.0], name="gated") + infer([2.0])[:40])  # the second one is late
            entered()
            site.loop.until(lambda: site.front.statuses[408] == 1)
            open_gate()
            assert values_of(client.answer()) == [1.0]
            assert client.answer().status == 408
            assert client.closed()

    def test_what_is_not_read_is_not_late(self, make_site):
        """The server reads no more while too much of a connection is under way."""
        site = make_site(pipelined=1, header_timeout_s=0.3, body_timeout_s=0.3)
        second = infer([2.0])
        with shut() as entered, site.connect() as client, site.connect() as clock:
            client.send(infer([1.0], name="gated") + second[:40])
            entered()
            assert clock.closed()  # as long as a head may take
            client.send(second[40:])
            open_gate()
            assert values_of(client.answer()) == [1.0]
            assert values_of(client.answer()) == [2.0]


def open_gate():
    http_functions.gates["http"].set()


class TestOrder:
    def test_priorities_are_those_of_schedule_policy(self, make_site):
        """1 goes before 2, and that before those that say none, also where they say 0."""
        site = make_site(threads=1, batch_rows=1)

        def inferred(value, priority):
            body = json.loads(infer_body([value])) | (
                {} if priority is None else {"parameters": {"priority": priority}}
            )
            body = json.dumps(body).encode()
            return INFER.replace(b"echo", b"gated") + b"Content-Length: %d\r\n\r\n" % len(body) + body

        sent = [
            inferred(9.0, None), inferred(10.0, 0), inferred(12.0, 101), inferred(3.0, 3), inferred(1.0, 1),
            inferred(2.0, 2), inferred(4.0, 3), inferred(11.0, 0), inferred(1.5, 1),
        ]  # fmt: skip
        with shut() as entered, site.connect() as client:
            client.send(infer([0.0], name="gated"))
            entered()
            for count, each in enumerate(sent, 2):
                client.send(each)
                site.loop.until(lambda count=count: site.repository.find("gated").batcher.in_flight == count)
            open_gate()
            assert [client.answer().status for _ in range(10)] == [200] * 10
        played = [value for batch in http_functions.played["http"] for value in batch]
        assert played == [0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0, 10.0, 11.0, 12.0]

    @pytest.mark.parametrize("priority", [-1, 1.5, "2", True])
    def test_other_priorities_are_refused(self, site, priority):
        body = json.dumps(json.loads(infer_body([1.0])) | {"parameters": {"priority": priority}}).encode()
        (answer,) = site.ask(INFER + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert (answer.status, answer.json()["error"].partition("must be ")[0]) == (400, "parameter 'priority' ")

    def test_answers_come_in_the_order_of_the_requests(self, site, app):
        app.gate.clear()
        with shut() as entered, site.connect() as client:
            client.send(
                infer([1.0], name="gated")
                + b"GET /gated HTTP/1.1\r\nHost: a\r\n\r\n"
                + infer([2.0])
                + GET
                + infer([3.0], name="nosuch")
                + b"GET /stream?3 HTTP/1.1\r\nHost: a\r\n\r\n"
                + infer([4.0], name="wide")
                + infer([5.0])
            )
            entered()
            with site.connect() as other:
                other.send(infer([6.0]))
                assert values_of(other.answer()) == [6.0]  # nobody else waits
            open_gate()
            assert values_of(client.answer()) == [1.0]
            site.loop.loop.call_soon_threadsafe(app.gate.set)
            assert client.answer().body == b"open"
            assert values_of(client.answer()) == [2.0]
            assert client.answer().json()["path"] == "/said"
            assert client.answer().status == 404
            assert client.answer().body == bytes(30_000)
            assert values_of(client.answer()) == [4.0] * 1000
            assert values_of(client.answer()) == [5.0]

    @pytest.mark.parametrize("pipelined", [1, 3, 64])
    def test_more_than_may_be_under_way(self, make_site, pipelined):
        site = make_site(pipelined=pipelined)
        number = 500
        with site.connect() as client:
            for first in range(0, number, 10):
                client.send(b"".join(infer([float(each)]) for each in range(first, first + 10)))
            assert [values_of(client.answer())[0] for _ in range(number)] == [float(each) for each in range(number)]

    def test_no_more_is_read_than_may_be_under_way(self, make_site):
        site = make_site(pipelined=4)
        with shut() as entered, site.connect() as client:
            for _ in range(12):
                client.send(infer([1.0], name="gated"))
                site.loop.call(lambda: None)
            entered()
            (connection,) = site.front.connections
            site.loop.until(lambda: not connection._reading)
            assert site.loop.call(lambda: len(connection._line)) <= 12
            open_gate()
            for _ in range(12):
                assert values_of(client.answer()) == [1.0]

    def test_a_refusal_comes_behind_the_answers(self, site):
        with shut() as entered, site.connect() as client:
            client.send(infer([1.0], name="gated") + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
            entered()
            open_gate()
            assert values_of(client.answer()) == [1.0]
            answer = client.answer()
            assert (answer.status, answer.closes) == (400, True)
            client.send_some(bytes(100_000))
            assert client.closed()


class TestEnds:
    @pytest.mark.parametrize("partial", [b"", GET[:10], INFER + b"Content-Length: 9\r\n\r\nabc"])
    def test_a_half_closed_client_gets_its_answers(self, site, partial):
        with site.connect() as client:
            client.send(infer([1.0]) + GET + infer([2.0]) + partial)
            client.half_close()
            assert values_of(client.answer()) == [1.0]
            assert client.answer().status == 200
            assert values_of(client.answer()) == [2.0]
            assert client.closed()
        site.loop.until(lambda: site.front.buffered_bytes == 0)

    def test_a_half_closed_client_gets_a_refusal(self, site):
        with site.connect() as client:
            client.send(infer([1.0]) + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
            client.half_close()
            assert values_of(client.answer()) == [1.0]
            assert client.answer().status == 400
            assert client.closed()

    def test_a_half_closed_client_does_not_wait_for_ever(self, make_site):
        site = make_site(half_closed_s=0.3)
        with shut() as entered, site.connect() as client:
            client.send(infer([1.0], name="gated"))
            entered()
            client.half_close()
            answer = client.answer()
            assert (answer.status, answer.closes) == (408, True)
            assert answer.json()["error"] == "no answer within 0.3 s after the client closed its side"
            assert client.closed()
        site.loop.until(lambda: site.repository.find("gated").batcher.idle)

    def test_a_half_closed_client_that_waits_is_asked_once_and_answered(self, site, monkeypatch):
        monkeypatch.setattr(half_closed, "ASK_S", 0.0)
        monkeypatch.setattr(half_closed, "LOOK_S", 0.0)
        with shut() as entered, site.connect() as client:
            client.send(infer([1.0], name="gated") + infer([2.0]))
            entered()
            client.half_close()
            assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
            sweeps = site.front.now
            site.loop.until(lambda: site.front.now > sweeps + 2.5 * SWEEP_S)
            open_gate()
            assert values_of(client.answer()) == [1.0]
            assert values_of(client.answer()) == [2.0]
            assert client.closed()

    def test_a_client_of_http_1_0_is_not_asked(self, site, monkeypatch):
        monkeypatch.setattr(half_closed, "ASK_S", 0.0)
        with shut() as entered, site.connect() as client:
            client.send(infer([1.0], name="gated").replace(b"HTTP/1.1", b"HTTP/1.0"))
            entered()
            client.half_close()
            sweeps = site.front.now
            site.loop.until(lambda: site.front.now > sweeps + 2.5 * SWEEP_S)
            open_gate()
            assert values_of(client.answer()) == [1.0]
            assert client.closed()

    def test_stock_clients_pass_over_the_question(self, site, monkeypatch):
        monkeypatch.setattr(half_closed, "ASK_S", 0.0)
        body = infer([1.0], name="gated").partition(b"\r\n\r\n")[2]
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
        with shut() as entered:
            connection.request("POST", "/v2/models/gated/infer", body)
            connection.sock.shutdown(socket.SHUT_WR)
            entered()
            sweeps = site.front.now
            site.loop.until(lambda: site.front.now > sweeps + 2.5 * SWEEP_S)
            open_gate()
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["outputs"][0]["data"]) == (200, [1.0])
        connection.close()

    def test_what_a_client_has_asked_that_closed_everything_is_not_played(self, make_site, monkeypatch):
        """It looks like one that has closed its side alone, until it is asked."""
        monkeypatch.setattr(half_closed, "ASK_S", 0.0)
        monkeypatch.setattr(half_closed, "LOOK_S", 0.0)
        site = make_site(threads=1)
        with shut() as entered, site.connect() as client, site.connect() as other:
            other.send(infer([1.0], name="gated"))
            entered()
            client.send(infer([7.0], name="gated"))
            site.loop.until(lambda: site.repository.find("gated").batcher.in_flight == 2)
            client.socket.close()
            site.loop.until(lambda: site.front.statuses[499] == 1)
            open_gate()
            assert values_of(other.answer()) == [1.0]
        assert http_functions.played["http"] == [[1.0]]

    def test_what_a_client_that_is_gone_has_asked_is_not_played(self, make_site):
        site = make_site(threads=1)
        with shut() as entered, site.connect() as client, site.connect() as other:
            other.send(infer([1.0], name="gated"))
            entered()
            client.send(infer([7.0], name="gated"))
            site.loop.until(lambda: site.repository.find("gated").batcher.in_flight == 2)
            client.reset()
            site.loop.until(lambda: site.front.statuses[499] == 1)
            open_gate()
            assert values_of(other.answer()) == [1.0]
        assert http_functions.played["http"] == [[1.0]]

    @pytest.mark.parametrize("data", [b"", GET[:20], INFER + b"Content-Length: 9\r\n\r\nabc", infer([1.0]), GET * 5])
    def test_resets(self, site, data):
        for _ in range(5):
            client = site.connect()
            client.send(data)
            client.reset()
        with site.connect() as client:
            client.send(infer([1.0]))
            assert values_of(client.answer()) == [1.0]
        site.loop.until(lambda: not site.front.connections and not site.front.tasks)

    def test_a_stream_ends_when_its_client_is_gone(self, site, app):
        app.streams.clear()
        with site.connect() as client:
            client.send(b"GET /stream?1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            client.head()
            client.reset()
        site.loop.until(lambda: app.streams)
        assert issubclass(app.streams[0], OSError)
        site.loop.until(lambda: not site.front.tasks)

    def test_an_application_that_waits_is_told_that_the_client_is_gone(self, site, app):
        app.streams.clear()
        arrived = app.arrived
        with site.connect() as client:
            client.send(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
            site.loop.until(lambda: app.arrived > arrived)
        site.loop.until(lambda: app.streams == ["http.disconnect"])

    def test_an_application_that_has_answered_is_told_so(self, site, app):
        app.streams.clear()
        with site.connect() as client:
            client.send(b"GET /answers_and_waits HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            assert client.answer().body == b"answered"
            assert client.answer().status == 200
            site.loop.until(lambda: app.streams == ["http.disconnect"])

    def test_a_slow_reader_of_a_stream_holds_little_memory_and_not_for_ever(self, make_site, app):
        site = make_site(write_timeout_s=0.6)
        app.streams.clear()
        app.sent_bytes = 0
        with site.connect(receive_bytes=4096) as client:
            client.send(b"GET /stream?100000 HTTP/1.1\r\nHost: a\r\n\r\n")
            site.loop.until(lambda: app.streams)
        assert app.sent_bytes < 20_000_000  # what the system holds, and a chunk
        assert issubclass(app.streams[0], OSError)

    @pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
    def test_a_slow_reader_of_a_long_answer(self, make_site, more):
        site = make_site(write_timeout_s=0.6)
        with site.connect(receive_bytes=4096) as client:
            client.send(b"GET /big?50000000 HTTP/1.1\r\nHost: a\r\n%b\r\n" % more)
            client.head()
            site.loop.until(lambda: not site.front.connections)

    def test_a_slow_reader_of_many_answers(self, make_site):
        site = make_site(write_timeout_s=0.6)
        with site.connect(receive_bytes=4096) as client:
            client.socket.setblocking(False)
            data = infer([1.0], name="nosuch") * 100

            def filled():
                try:
                    client.socket.send(data)
                except BlockingIOError:
                    return not site.front.connections
                except (BrokenPipeError, ConnectionResetError):
                    return True
                return False

            site.loop.until(filled)
            site.loop.until(lambda: not site.front.connections)

    def test_a_reader_that_goes_on_in_time_gets_all(self, make_site):
        site = make_site(write_timeout_s=5.0)
        with site.connect(receive_bytes=4096) as client:
            client.send(
                b"GET /big?8000000 HTTP/1.1\r\nHost: a\r\n\r\nGET /stream?300 HTTP/1.1\r\nHost: a\r\n\r\n" + GET
            )
            assert len(client.answer().body) == 8_000_000
            assert len(client.answer().body) == 3_000_000
            assert client.answer().status == 200


class TestApplications:
    @pytest.fixture(autouse=True)
    def quiet(self, caplog):
        yield
        caplog.clear()

    @pytest.mark.parametrize("path", [b"/fail", b"/silent"])
    def test_no_answer(self, site, path):
        (answer,) = site.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        assert (answer.status, answer.closes) == (500, True)

    def test_an_answer_that_breaks_off_has_no_end(self, site):
        with site.connect() as client:
            client.send(b"GET /failing_stream HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            assert client.head()[0] == 200
            assert client.rest() == b"4\r\nsome\r\n"

    def test_an_answer_shorter_than_it_says_ends_the_connection(self, site):
        with site.connect() as client:
            client.send(b"GET /short HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            with pytest.raises(EOFError):
                client.answer()

    def test_an_answer_without_a_body(self, site):
        first, second = site.ask(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n" + GET, (b"GET", b"GET"))
        assert (first.status, second.status) == (204, 200)
        assert b"content-length" not in first.headers

    def test_a_stream_in_http_1_0_ends_with_the_connection(self, site):
        (answer,) = site.ask(b"GET /stream?3 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        assert answer.closes
        assert answer.body == bytes(30_000)


class TestDraining:
    def test_what_was_accepted_is_answered(self, make_site, app):
        site = make_site(idle_timeout_s=30.0)
        app.gate.clear()
        with shut() as entered, site.connect() as client, site.connect() as reading, site.connect() as idle:
            idle.send(GET)
            assert idle.answer().status == 200
            client.send(infer([1.0], name="gated") + b"GET /gated HTTP/1.1\r\nHost: a\r\n\r\n" + infer([2.0]))
            entered()
            reading.send(infer([3.0])[:-5])
            site.loop.until(lambda: site.front.buffered_bytes > 0)
            closing = site.loop.start(site.end())
            site.loop.until(lambda: site.front.draining)
            assert idle.closed()
            reading.send(infer([3.0])[-5:])
            answer = reading.answer()
            assert (values_of(answer), answer.closes) == ([3.0], True)
            open_gate()
            assert values_of(client.answer()) == [1.0]
            site.loop.loop.call_soon_threadsafe(app.gate.set)
            assert client.answer().body == b"open"
            assert values_of(client.answer()) == [2.0]
            assert client.closed()
            closing.result(20)

    def test_a_request_that_is_on_its_way_is_answered(self, make_site):
        site = make_site()
        with site.connect() as client:
            client.send(GET)
            assert client.answer().status == 200

            async def sent_and_closed():
                client.send(infer([1.0]))  # the loop has not seen it when it is told to stop
                await site.end()

            site.loop.run(sent_and_closed())
            answer = client.answer()
            assert (values_of(answer), answer.closes) == ([1.0], True)

    def test_none_is_lost_under_load(self, make_site):
        """Every request is answered whole, or not begun with: its connection was closed before."""
        site = make_site()
        ready = []

        async def asks():
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            answered = 0
            try:
                while True:
                    writer.write(infer([float(answered)]))
                    line = await reader.readline()
                    if not line:
                        return answered, "closed"
                    assert line == b"HTTP/1.1 200 OK\r\n", line
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                    assert b"%.1f" % answered in await reader.readexactly(length)
                    answered += 1
                    ready.append(1)
                    if b"connection: close" in head:
                        return answered, "told"
            finally:
                writer.close()

        async def all_ask():
            return await asyncio.gather(*(asks() for _ in range(16)))

        asking = asyncio.run_coroutine_threadsafe(all_ask(), site.loop.loop)
        site.loop.until(lambda: len(ready) > 500)
        site.loop.run(site.end())
        ends = [how for _, how in asking.result(20)]
        assert ends == ["told"] * 16


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return Tls(str(folder / "cert.pem"), str(folder / "key.pem"))


@pytest.fixture(scope="module")
def secure(http_loop, app, certificate):
    site = Site(http_loop, graphs(), app, tls=certificate, header_timeout_s=0.5, body_bytes=1000)
    yield site
    site.close()


class TestTls:
    @pytest.fixture
    def context(self, certificate):
        return ssl.create_default_context(cafile=certificate.certificate)

    def test_requests(self, secure, context):
        with secure.connect(context=context) as client:
            client.send(infer([1.0]) + GET + b"GET /stream?100 HTTP/1.1\r\nHost: a\r\n\r\n" + infer([2.0]))
            assert values_of(client.answer()) == [1.0]
            assert client.answer().status == 200
            assert len(client.answer().body) == 1_000_000
            assert values_of(client.answer()) == [2.0]

    def test_a_refusal(self, secure, context):
        with secure.connect(context=context) as client:
            client.send(INFER + b"Content-Length: 1001\r\n\r\n" + bytes(500))
            assert client.answer().status == 413
            assert client.closed()

    def test_a_client_that_closes_its_side(self, secure, context):
        with secure.connect(context=context) as client:
            client.send(infer([1.0]))
            assert values_of(client.answer()) == [1.0]
            client.socket.unwrap()
        with secure.connect(context=context) as client:
            client.send(GET[:20])
            client.reset()
        secure.loop.until(lambda: not secure.front.connections)

    def test_a_client_that_is_late(self, secure, context):
        with secure.connect(context=context) as client:
            client.send(GET[:20])
            assert client.answer().status == 408

    def test_plain_http(self, secure):
        with secure.connect() as client:
            client.send(GET)
            assert b"200" not in client.rest()


def test_connections_leave_nothing_behind(site):
    """They are freed as soon as they are gone."""
    from motet.serving.http.connection import Connection

    def left():
        gc.collect()
        return {id(each) for each in gc.get_objects() if type(each) is Connection}

    before = site.loop.call(left)  # those of servers that other tests have
    with site.connect() as client:
        client.send(infer([1.0]) + GET)
        client.answer()
        client.answer()
    site.loop.until(lambda: not site.front.connections)
    assert site.loop.call(left) <= before
