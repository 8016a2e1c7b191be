"""uvicorn with a bare ASGI application that plays each request by itself, or, with `--tick`, those of a tick together."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import uvicorn

from benchmarks.live_parts.peers.answering import Images, Models, Tick, images_of, options, packed


class Body(msgspec.Struct):
    """A JSON request."""

    image: list[int]


class App:
    """The ASGI application.

    Args:
        models: plays requests.
        together: whether those of one tick of the loop are one batch.
    """

    def __init__(self, models: Models, *, together: bool) -> None:
        self._models, self._together = models, together
        self._decode = msgspec.json.Decoder(Body).decode
        self._encode = msgspec.json.Encoder().encode
        self._tick: Tick | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["path"] == "/json":
            labels, scores = await self._play(images_of(self._decode(body).image))
            kind, answer = b"application/json", self._encode({"label": labels.tolist(), "score": scores.tolist()})
        else:
            kind, answer = b"application/octet-stream", packed(*await self._play(images_of(body)))
        headers = [(b"content-type", kind), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _play(self, images: Images) -> Any:
        if not self._together:
            return self._models(images)
        loop = asyncio.get_running_loop()
        if self._tick is None:
            self._tick = Tick(self._models, loop.call_soon)
        future: asyncio.Future[Any] = loop.create_future()
        self._tick.put(images, lambda labels, scores: future.set_result((labels, scores)))
        return await future


if __name__ == "__main__":
    chosen = options()
    uvicorn.run(
        App(Models(chosen.job), together=chosen.tick),
        host="127.0.0.1",
        port=chosen.port,
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
