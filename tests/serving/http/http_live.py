"""A real server on a uvloop of its own, and clients that say exactly what a test wants them to."""

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass

import motet as mt
from helpers.loops import TIMEOUT_S
from motet.serving.config.limits import Limits
from motet.serving.config.server import ServeConfig
from motet.serving.process.server import Server
from serving.http import http_functions


class Site:
    """A server that listens, with all its graphs ready.

    Args:
        loop: where it runs.
        graphs: what it serves.
        app: answers in the place of the server's own application.
        config: how it is set up.
        limits: its bounds.
    """

    def __init__(self, loop, graphs, app=None, *, tls=None, threads=None, cors=(), **limits):
        self.loop = loop

        async def started():
            config = ServeConfig(port=0, limits=Limits(**limits), tls=tls, threads=threads, cors=cors)
            server = Server(graphs, config)
            if app is not None:
                server.front.app = app
            await server.start()
            await server.load()
            assert server.repository.ready, [each.reason for each in server.repository.served.values()]
            return server

        self.server = loop.run(started())
        self.front, self.repository, self.port = self.server.front, self.server.repository, self.server.port

        self.ended = False

    async def end(self):
        """Stop as on SIGTERM."""
        if not self.ended:
            self.ended = True
            await self.server.close()

    def close(self):
        self.loop.run(self.end(), 40)

    def connect(self, **options):
        return Client(self.port, **options)

    def ask(self, data, methods=(b"GET",), **options):
        """Send bytes, and read the answers to as many requests."""
        with self.connect(**options) as client:
            client.send(data)
            return [client.answer(method) for method in methods]


@dataclass
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes
    version: bytes = b"HTTP/1.1"

    @property
    def closes(self):
        return self.headers.get(b"connection") == b"close"

    def json(self):
        return json.loads(self.body)


class Client:
    """A client that sends bytes as they are, and reads answers strictly."""

    def __init__(self, port, context=None, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.held = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_some(self, data):
        """Send what the server takes: it may have closed already."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Close so that the server is sent a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def more(self):
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError(self.held)
        self.held += data

    def until(self, mark):
        while mark not in self.held:
            self.more()
        found, _, self.held = self.held.partition(mark)
        return found

    def exactly(self, size):
        while len(self.held) < size:
            self.more()
        found, self.held = self.held[:size], self.held[size:]
        return found

    def head(self):
        first, *lines = self.until(b"\r\n\r\n").split(b"\r\n")
        version, status, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers = {}
        for line in lines:
            name, colon, value = line.partition(b": ")
            assert colon
            assert name not in headers, name
            headers[name.lower()] = value
        return int(status), headers

    def answer(self, method=b"GET"):
        status, headers = self.head()
        assert not (b"content-length" in headers and b"transfer-encoding" in headers)
        if method == b"HEAD" or status in (100, 204, 304):
            return Answer(status, headers, b"")
        if b"content-length" in headers:
            return Answer(status, headers, self.exactly(int(headers[b"content-length"])))
        if b"transfer-encoding" in headers:
            assert headers[b"transfer-encoding"] == b"chunked"
            parts = []
            while size := int(self.until(b"\r\n"), 16):
                parts.append(self.exactly(size))
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
            return Answer(status, headers, b"".join(parts))
        assert headers[b"connection"] == b"close"
        return Answer(status, headers, self.rest())

    def rest(self):
        """All that comes before the server closes."""
        with contextlib.suppress(EOFError):
            while True:
                self.more()
        found, self.held = self.held, b""
        return found

    def closed(self):
        """Wait until the server has closed, and sent nothing more before."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return self.held == b""


def infer(values, id="", name="echo", more=b"", version=b"HTTP/1.1", host=b"Host: a\r\n"):
    """A whole request for inference."""
    body = infer_body(values, id)
    head = b"POST /v2/models/%b/infer %b\r\n%bContent-Length: %d\r\n%b\r\n"
    return head % (name.encode(), version, host, len(body), more) + body


def infer_body(values, id=""):
    tensor = {"name": "x", "shape": [len(values)], "datatype": "FP32", "data": list(values)}
    return json.dumps({**({"id": id} if id else {}), "inputs": [tensor]}).encode()


def values_of(answer):
    assert answer.status == 200, answer
    return answer.json()["outputs"][0]["data"]


def chunked(body, *sizes, extension=b"", trailers=b""):
    """A body in chunks of these sizes; the last takes what is left."""
    parts, place = [], 0
    for size in (*sizes, len(body)):
        part = body[place : place + size]
        place += size
        if part:
            parts.append(b"%x%b\r\n%b\r\n" % (len(part), extension, part))
    return b"".join(parts) + b"0\r\n%b\r\n" % trailers


def graphs():
    """`echo` gives what it takes, `wide` a thousand times, `gated` when it may (see `shut`)."""
    x = mt.input("x", "float32")
    yield mt.Graph("echo", outputs={"y": mt.map(http_functions.same, x)})
    yield mt.Graph("wide", outputs={"y": mt.map(http_functions.wide, x)})
    gated = mt.Model(
        "python:serving.http.http_functions:Gated",
        "gate",
        inputs={"x": "float32"},
        outputs={"y": "float32"},
        options={"gate": "http"},
        placement="thread",
    )
    yield mt.Graph("gated", outputs={"y": mt.model(gated, x)})


@contextlib.contextmanager
def shut():
    """While it lasts, the gated model does not answer; gives a function that waits until it is called."""
    gate, entered = http_functions.gates["http"], http_functions.entered["http"]
    gate.clear()
    while entered.acquire(blocking=False):
        pass
    http_functions.played["http"].clear()
    try:
        yield lambda: entered.acquire(timeout=TIMEOUT_S)
    finally:
        gate.set()


class App:
    """An ASGI application: says what it was asked, or does what the path says.

    Attributes:
        streams: how each stream ended.
    """

    def __init__(self):
        self.streams = []
        self.sent_bytes = 0
        self.gate = asyncio.Event()
        self.arrived = 0

    async def __call__(self, scope, receive, send):
        self.arrived += 1
        message = await receive()
        body = message["body"]
        action = scope["path"].strip("/").partition("/")[0]
        if hasattr(self, f"do_{action}"):
            await getattr(self, f"do_{action}")(scope, receive, send)
            return
        said = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "version": scope["http_version"],
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "body": body.decode("latin-1"),
        }
        await answer(send, json.dumps(said).encode())

    async def do_fail(self, scope, receive, send):
        raise RuntimeError("on purpose")

    async def do_failing_stream(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise RuntimeError("on purpose")

    async def do_silent(self, scope, receive, send):
        return

    async def do_none(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def do_gated(self, scope, receive, send):
        await self.gate.wait()
        await answer(send, b"open")

    async def do_short(self, scope, receive, send):
        await answer(send, b"short", length=10)

    async def do_big(self, scope, receive, send):
        await answer(send, bytes(number_in(scope)))

    async def do_stream(self, scope, receive, send):
        """Chunks of 10,000 bytes, as many as the query says."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(number_in(scope)):
                await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
                self.sent_bytes += 10_000
                await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b""})
            self.streams.append("done")
        except BaseException as error:
            self.streams.append(type(error))
            raise

    async def do_waits(self, scope, receive, send):
        """Until the client is gone."""
        message = await receive()
        self.streams.append(message["type"])

    async def do_answers_and_waits(self, scope, receive, send):
        await answer(send, b"answered")
        message = await receive()
        self.streams.append(message["type"])


def number_in(scope):
    query = scope["query_string"]
    return int(query[:8]) if query[:8].isdigit() else 0


async def answer(send, body, length=None):
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % (length or len(body)))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
