"""mosec: a front in Rust, the model in a worker process, batches of up to 64 requests that wait `--wait-ms`.

Without waiting each request is a batch of its own: mosec's least waiting time is 1 ms.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import msgspec
import numpy as np
from mosec import Server, Worker  # type: ignore[import-not-found]

from benchmarks.live_parts.peers.answering import Images, Models, images_of, options, packed

BATCH_REQUESTS: Final = 64
JOB: Final = "BENCHMARK_JOB"


class Binary(Worker):  # type: ignore[misc]
    """Answers `/binary`."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        self._models = Models(os.environ[JOB])

    def deserialize(self, data: bytes) -> Images:
        """The images of a body."""
        return images_of(data)

    def serialize(self, data: Any) -> bytes:
        """The body of an answer."""
        return packed(*data)

    def forward(self, data: Any) -> Any:
        """Play a batch of requests, or one where the batch is 1."""
        if self.max_batch_size == 1:
            return self._models(data)
        labels, scores = self._models(np.concatenate(data))
        ends = np.cumsum([len(images) for images in data])[:-1]
        return list(zip(np.split(labels, ends), np.split(scores, ends), strict=True))


class Body(msgspec.Struct):
    """A JSON request."""

    image: list[int]


class Json(Binary):
    """Answers `/json`; msgspec reads and writes it sooner than mosec's own way, the standard library."""

    resp_mime_type = "application/json"

    def __init__(self) -> None:
        super().__init__()
        self._decode = msgspec.json.Decoder(Body).decode
        self._encode = msgspec.json.Encoder().encode

    def deserialize(self, data: bytes) -> Images:
        """The images of a body."""
        return images_of(self._decode(data).image)

    def serialize(self, data: Any) -> bytes:
        """The body of an answer."""
        labels, scores = data
        return self._encode({"label": labels.tolist(), "score": scores.tolist()})


if __name__ == "__main__":
    chosen = options()
    os.environ[JOB] = chosen.job
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(chosen.port), "--log-level", "error"]
    batch = {"max_batch_size": BATCH_REQUESTS, "max_wait_time": chosen.wait_ms} if chosen.wait_ms else {}
    server = Server()
    server.append_worker(
        Json if chosen.encoding == "json" else Binary, **batch, num=chosen.workers, route=f"/{chosen.encoding}"
    )
    server.run()
