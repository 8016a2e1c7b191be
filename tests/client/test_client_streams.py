"""Texts of servers that are read while they are written, by the clients and by `motet call`."""

import asyncio
import gc
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers.until import until
from models import streaming_models
from motet.cli import cli
from motet.client import AsyncClient, Client
from motet.client.events import PieceEvents
from motet.client.streams import text_of
from motet.errors import DeadlineError, InputError, NotFoundError, NotReadyError, RequestError
from motet.oip.info import ModelInfo
from motet.serving import start

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HELLO = {"text": "hello"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    text = mt.input("text", "string")

    def graph(name: str) -> mt.Graph:
        return mt.Graph(
            name,
            outputs={"text": mt.model(mt.Model(f"python:models.streaming_models:{name}", name), text), "asked": text},
        )

    with start(graph("shouting"), graph("endless"), graph("titled"), port=0) as server:
        yield server.url


class Awaited:
    """Reads streams of an asynchronous client as those of the blocking one."""

    def __init__(self, url: str, **options: Any) -> None:
        self.loop, self.client = asyncio.new_event_loop(), AsyncClient(url, **options)

    def stream(self, *arguments: Any, **options: Any) -> Any:
        return _Reader(self.loop, self.client.stream(*arguments, **options))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.loop.run_until_complete(self.client.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class _Reader:
    def __init__(self, loop: Any, stream: Any) -> None:
        self.loop, self.stream = loop, stream

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            return self.loop.run_until_complete(anext(self.stream))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self.loop.run_until_complete(self.stream.close())

    @property
    def answer(self) -> Any:
        return self.stream.answer


@pytest.fixture(params=[Client, Awaited], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(kind: Any, url: str) -> Iterator[Any]:
    with kind(url, timeout_s=30) as made:
        yield made


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    streaming_models.GATES["slow"] = made = threading.Event()
    yield made
    del streaming_models.GATES["slow"]


def test_pieces_come_while_they_are_written(client: Any, gate: threading.Event) -> None:
    stream = client.stream("shouting", {"text": "slow and steady"})
    with pytest.raises(InputError, match="there is no answer before the last piece has come"):
        stream.answer  # noqa: B018
    for word in ("SLOW ", "AND ", "STEADY"):
        gate.set()
        assert next(stream) == word
    assert list(stream) == []
    assert stream.answer == {"text": "SLOW AND STEADY", "asked": "slow and steady"}


def test_a_text_that_does_not_come_in_pieces_comes_whole(client: Any) -> None:
    assert list(client.stream("titled", HELLO)) == ["hello!"]
    assert list(client.stream("shouting", HELLO, output="asked")) == ["hello"]
    assert "".join(client.stream("shouting", {"text": "é 漢 👍🏽 e\u0301"})) == "É 漢 👍🏽 E\u0301"


def test_two_streams_at_once_are_told_apart(client: Any) -> None:
    one, two = client.stream("shouting", {"text": "a b c"}), client.stream("shouting", {"text": "x y z"})
    found = [next(one), next(two)]
    assert (found[0] + "".join(one), found[1] + "".join(two)) == ("A B C", "X Y Z")


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_who_stops_to_read_ends_the_writing(kind: Any, url: str, how: str) -> None:
    streaming_models.CLOSED.clear()
    with kind(url) as client:
        stream = client.stream("endless", {"text": how})
        assert next(stream).startswith("on and on")
        if how == "closed":
            stream.close()
            assert list(stream) == []
        else:
            del stream
            gc.collect()
        if kind is Awaited:
            client.loop.run_until_complete(asyncio.sleep(0.01))  # in which the loop closes what was dropped
        until(lambda: how in streaming_models.CLOSED)


def test_a_row_that_fails_raises_and_so_does_what_is_not_there(client: Any) -> None:
    stream = client.stream("shouting", {"text": "a 13"})
    assert next(stream) == "A "
    with pytest.raises(InputError, match="13 brings bad luck"):
        next(stream)
    with pytest.raises(InputError, match="text"):
        next(client.stream("shouting", {"text": 7}))
    with pytest.raises(NotFoundError):
        next(client.stream("nothing", HELLO))
    with pytest.raises(NotFoundError):
        next(client.stream("nothing", HELLO, output="text"))
    with pytest.raises(InputError, match="a row must be a mapping of inputs by name; got list"):
        next(client.stream("shouting", [HELLO]))
    with pytest.raises(InputError, match="there is no output 'other'; it gives text, asked"):
        list(client.stream("shouting", HELLO, output="other"))


def test_late_is_late(client: Any) -> None:
    with pytest.raises(DeadlineError):
        list(client.stream("endless", {"text": "late"}, timeout_s=0.3))


@pytest.fixture
def told() -> Iterator[Any]:
    """A server that answers each request with the next of some bytes, and stays connected where the last of them is None."""
    said: list[list[bytes | None]] = []
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            for part in said.pop(0):
                if part is None:
                    closing.wait(60)
                else:
                    self.wfile.write(part)
                    self.wfile.flush()
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", said
        closing.set()
        server.shutdown()
        thread.join()


def event(name: str, value: Any, line: str = "\n") -> bytes:
    return f"event: {name}{line}data: {json.dumps(value)}{line}{line}".encode()


def piece(text: str) -> bytes:
    return event("piece", {"row": 0, "output": "text", "text": text})


RESULT = event("result", {"rows": [{"text": "a b"}]})


@pytest.mark.parametrize(
    ("parts", "raised", "what"),
    [
        ([SSE, piece("a")], RequestError, "the answer was cut off before its end"),
        ([SSE, piece("x"), RESULT], RequestError, "the answer has another text than its pieces"),
        ([SSE, b"event: piece\ndata: {\n\n"], RequestError, "an event of the answer is not understood"),
        ([SSE, event("error", {"error": "too much", "status": 422})], InputError, "too much"),
        ([SSE, piece("a"), None], DeadlineError, r"no answer within 0\.5 s"),
    ],
    ids=["cut", "another", "malformed", "error", "stalled"],
)
def test_what_goes_wrong_with_a_stream(kind: Any, told: Any, parts: Any, raised: Any, what: str) -> None:
    url, said = told
    said.append(parts)
    with kind(url, timeout_s=0.5) as client, pytest.raises(raised, match=what):
        list(client.stream("g", HELLO, output="text"))


def test_a_connection_that_stays_open_is_not_waited_for(kind: Any, told: Any) -> None:
    url, said = told
    said.append([SSE, b": hello\r\n\r\n", event("piece", {"output": "text", "text": "a "}, "\r\n"), RESULT, None])
    with kind(url, timeout_s=30) as client:
        assert list(client.stream("g", HELLO, output="text")) == ["a ", "b"]


def test_it_is_asked_for_again_until_it_begins(kind: Any, told: Any) -> None:
    url, said = told
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    said += [[busy], [SSE, RESULT]]
    with kind(url, timeout_s=30) as client:
        assert list(client.stream("g", HELLO, output="text")) == ["a b"]
    assert said == []
    with kind("http://127.0.0.1:9", retries=0) as client, pytest.raises(NotReadyError, match="cannot be reached"):
        next(client.stream("g", HELLO, output="text"))


def held_by(client: Any) -> Any:
    """What holds the connections of a client."""
    return client.client._pools if isinstance(client, Awaited) else client._clients


def test_a_stream_waits_for_a_connection_no_longer_than_its_time(kind: Any, told: Any) -> None:
    url, said = told
    said += [[SSE, piece("a"), None], [SSE, RESULT]]
    with kind(url, timeout_s=30, connections=1) as client:
        before, stream = held_by(client).current, client.stream("g", HELLO, output="text")
        assert next(stream) == "a"
        with pytest.raises(DeadlineError, match=r"no connection was free within 0\.1 s"):
            next(client.stream("g", HELLO, output="text", timeout_s=0.1))
        stream.close()
        assert list(client.stream("g", HELLO, output="text")) == ["a b"]
        assert held_by(client).current is before


def test_a_stream_that_does_not_begin_in_time_condemns_its_connections(kind: Any, told: Any) -> None:
    url, said = told
    said += [[None], [SSE, RESULT]]
    with kind(url, timeout_s=30) as client:
        before = held_by(client).current
        with pytest.raises(DeadlineError, match=r"no answer within 0\.2 s"):
            next(client.stream("g", HELLO, output="text", timeout_s=0.2))
        assert held_by(client).current is not before
        assert list(client.stream("g", HELLO, output="text")) == ["a b"]


def test_why_an_answer_ended_is_not_taken_for_its_text() -> None:
    def info(*names: str) -> Any:
        outputs = [
            {"name": name, "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "str"}} for name in names
        ]
        said = {"name": "g", "platform": "", "inputs": [], "outputs": outputs}
        return ModelInfo.read(json.dumps(said).encode(), "g")

    assert text_of(info("words", "finish_reason"), "g") == "words"
    assert text_of(info("finish_reason"), "g") == "finish_reason"
    with pytest.raises(InputError, match="it is not said which output is the text"):
        text_of(info("one", "other"), "g")


@given(st.lists(st.sampled_from(["a", "é", "👍🏽", "漢", "\n", "\r"]), max_size=6), st.integers(1, 9))
def test_events_may_be_cut_anywhere(pieces: list[str], size: int) -> None:
    events, data = PieceEvents("text", "g", 1.0), b": hi\n\n" + b"".join(map(piece, pieces))
    data += event("result", {"rows": [{"text": "".join(pieces) + "!"}]})
    found = [each for first in range(0, len(data), size) for each in events.take(data[first : first + size])]
    assert found == [*pieces, "!"]
    events.end()


def called(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["call", *arguments])


def test_a_row_is_asked_about_from_a_shell(url: str) -> None:
    assert json.loads(called(url, "shouting", "text=a b").stdout) == {"text": "A B", "asked": "a b"}
    assert called(url, "shouting", "text=a b", "--stream").stdout == "A B\n"
    assert called(url, "shouting", 'text:="a b"', "--stream", "--output", "asked").stdout == "a b\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["shouting", "text"], "'text' is no value; write COLUMN=TEXT or COLUMN:=JSON"),
        (["shouting", "text:=a"], "the value of 'text' is no JSON"),
        (["shouting", "text=a", "text=b"], "there are two values of 'text'"),
        (["shouting", "text=a", "--output", "text"], "--output is of --stream alone"),
        (["shouting", "text:=7"], "text"),
        (["shouting", "text=13"], "13 brings bad luck"),
        (["shouting", "text=a 13", "--stream"], "13 brings bad luck"),
        (["nothing", "text=a"], "404"),
        (["nothing", "text=a", "--stream"], "404"),
    ],
)
def test_what_is_wrong_is_said_to_the_shell(url: str, arguments: list[str], what: str) -> None:
    found = called(url, *arguments)
    assert found.exit_code == 2
    assert re.search(re.escape(what), found.output)
