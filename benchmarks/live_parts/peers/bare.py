"""The ceiling: a Protocol on uvloop and httptools, one batch a tick, and nothing else; no limits, timeouts or checks."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import msgspec
import uvloop

from benchmarks.live_parts.peers.answering import Models, Tick, images_of, options, packed

OK = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s"


class Body(msgspec.Struct):
    """A JSON request."""

    image: list[int]


class Connection(asyncio.Protocol):
    """One client, which waits for its answer before it asks again.

    Args:
        tick: plays requests.
    """

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._parser = httptools.HttpRequestParser(self)
        self._decode = msgspec.json.Decoder(Body).decode
        self._encode = msgspec.json.Encoder().encode
        self._url = self._body = b""

    def connection_made(self, transport: Any) -> None:
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """httptools: the address."""
        self._url = url

    def on_body(self, body: bytes) -> None:
        """httptools: a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """httptools: the request is there."""
        body, self._body = self._body, b""
        if self._url == b"/json":
            self._tick.put(images_of(self._decode(body).image), self._answer_json)
        else:
            self._tick.put(images_of(body), self._answer_binary)

    def _answer_json(self, labels: Any, scores: Any) -> None:
        body = self._encode({"label": labels.tolist(), "score": scores.tolist()})
        self._write(OK % (b"application/json", len(body), body))

    def _answer_binary(self, labels: Any, scores: Any) -> None:
        body = packed(labels, scores)
        self._write(OK % (b"application/octet-stream", len(body), body))


async def serve() -> None:
    """Serve until the process ends."""
    chosen = options()
    loop = asyncio.get_running_loop()
    tick = Tick(Models(chosen.job), loop.call_soon)
    server = await loop.create_server(lambda: Connection(tick), "127.0.0.1", chosen.port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
