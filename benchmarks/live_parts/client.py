"""A client on asyncio: what drives where wrk is missing, and the good traffic beside abuse.

    python -m benchmarks.live_parts.client PORT CONNECTIONS SECONDS FILE...

It prints what wrk's script prints. It is slower than wrk: figures of the two do not compare.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.live_parts.load import Driven

__all__ = ["Seen", "Traffic", "split_answer"]

ANSWER_BYTES: Final = 64 << 20
ANSWER_TIMEOUT_S: Final = 10.0
AGAIN_S: Final = 0.05
TIMES: Final = 10_000_000
"""Times that are kept; beyond it only counts go on."""


def split_answer(data: bytes | bytearray) -> tuple[int, dict[str, str], int, int] | None:
    """Status, headers (names in lower case), start and end of the body; None while the answer is not whole.

    Raises:
        ValueError: when it is no answer with a length.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    start = end + 4
    last = start + int(headers["content-length"]) if "content-length" in headers else -1
    if last < 0 or last - start > ANSWER_BYTES:
        raise ValueError(f"an answer without a length, or of too much: {bytes(data[:200])!r}")
    return (int(first.split()[1]), headers, start, last) if len(data) >= last else None


@dataclass
class Seen:
    """What a client saw.

    Attributes:
        started: when, in seconds of `time.perf_counter`.
        times: seconds to each answer, the first TIMES of them.
        requests: answers.
        bad_status: those of another status than 2xx.
        broken: connections that failed under way, and answers that did not come.
        wrong: what was wrong with answers of status 2xx, the first ten.
        num_wrong: how many were wrong.
    """

    started: float = field(default_factory=time.perf_counter)
    times: list[float] = field(default_factory=list)
    requests: int = 0
    bad_status: int = 0
    broken: int = 0
    wrong: list[str] = field(default_factory=list)
    num_wrong: int = 0

    def driven(self) -> Driven:
        """As figures, up to now."""
        seconds = time.perf_counter() - self.started
        times = sorted(self.times) or [0.0]
        p50, p99, most = (times[min(len(times) - 1, int(len(times) * part))] * 1000 for part in (0.5, 0.99, 1.0))
        return Driven(self.requests, seconds, p50, p99, most, self.bad_status, self.broken)


class Traffic:
    """Steady traffic from this process's loop, until it is told to stop.

    Args:
        port: where the server listens on loopback.
        requests: what is sent, in turn.
        connections: how many, each with one request under way.
        check: told the place of a request, and headers and body of its answer; gives what is wrong, or nothing.
        pause_s: between an answer and the next request of a connection.
    """

    def __init__(
        self,
        port: int,
        requests: Sequence[bytes],
        connections: int,
        check: Callable[[int, dict[str, str], bytes], str] | None = None,
        pause_s: float = 0.0,
    ) -> None:
        self._port, self._requests, self._check, self._pause_s = port, requests, check, pause_s
        self._num_connections, self._next = connections, 0
        self._open: set[_Connection] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        self.seen = Seen()

    async def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._keep()) for _ in range(self._num_connections)]
        self.seen = Seen()

    async def stop(self) -> Seen:
        """Stop asking, wait for what is under way, and give what was seen."""
        self._stopped = True
        await asyncio.gather(*self._tasks)
        return self.seen

    def fresh(self) -> Seen:
        """What was seen since the last time, which is forgotten."""
        before, self.seen = self.seen, Seen()
        return before

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopped:
            try:
                _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
            except OSError:
                self.seen.broken += 1
                await asyncio.sleep(AGAIN_S)
                continue
            await connection.ended

    def next_request(self) -> tuple[int, bytes] | None:
        """The place of the next request, and its bytes; None where there is none."""
        if self._stopped:
            return None
        place = self._next
        self._next = (place + 1) % len(self._requests)
        return place, self._requests[place]

    def answered(self, place: int, seconds: float, status: int, headers: dict[str, str], body: bytes) -> float:
        """Count an answer, and give how long to pause."""
        seen = self.seen
        seen.requests += 1
        if len(seen.times) < TIMES:
            seen.times.append(seconds)
        if not 200 <= status < 300:
            seen.bad_status += 1
            self._note(f"status {status}: {body[:200]!r}")
        elif self._check is not None and (reason := self._check(place, headers, body)):
            seen.num_wrong += 1
            self._note(reason)
        return self._pause_s

    def _note(self, reason: str) -> None:
        if len(self.seen.wrong) < 10:
            self.seen.wrong.append(reason)


class _Connection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._place, self._sent = -1, 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self._ask()

    def _ask(self) -> None:
        found = self._traffic.next_request()
        if found is None or self._transport.is_closing():
            self._place = -1
            self._transport.close()
            return
        self._place, request = found
        self._sent = time.perf_counter()
        self._timer = self._loop.call_later(ANSWER_TIMEOUT_S, self._transport.abort)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            found = split_answer(self._data)
        except ValueError:
            self._transport.abort()
            return
        if found is None or self._place < 0:
            return
        status, headers, start, end = found
        if self._timer is not None:
            self._timer.cancel()
        seconds, body = time.perf_counter() - self._sent, bytes(self._data[start:end])
        del self._data[:end]
        place, self._place = self._place, -1
        pause_s = self._traffic.answered(place, seconds, status, headers, body)
        if headers.get("connection") == "close":
            self._transport.close()
        elif pause_s:
            self._loop.call_later(pause_s, self._ask)
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._place >= 0:
            self._traffic.seen.broken += 1
        if not self.ended.done():
            self.ended.set_result(None)


async def _main(port: int, connections: int, seconds: float, files: Sequence[str]) -> None:
    traffic = Traffic(port, [Path(name).read_bytes() for name in files], connections)
    await traffic.start()
    await asyncio.sleep(seconds)
    driven = (await traffic.stop()).driven()
    report: dict[str, float] = {f"{name}_us": getattr(driven, f"{name}_ms") * 1000 for name in ("p50", "p99", "max")}
    report |= {"requests": driven.requests, "duration_us": driven.seconds * 1e6}
    print(json.dumps(report | {"bad_status": driven.bad_status, "broken": driven.broken}))


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
