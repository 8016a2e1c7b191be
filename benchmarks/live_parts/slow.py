"""Slow, half-closed and silent connections, many at once.

    python -m benchmarks.live_parts.slow PORT CONNECTIONS REQUEST_FILE

Opens them, prints `ready`, keeps them until its input ends, then prints one line of JSON: of each kind, how many were
still open, how many were closed without an answer, and how many were answered with which status. The request is a good
one, as it goes over the wire; kinds are pieces of it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["KINDS", "UNREAD", "Slow", "hold", "more_files"]

STEP_S: Final = 1.0
"""Between two bytes."""
AT_ONCE: Final = 200
"""Connections that are being opened at the same time."""
CONNECT_TIMEOUT_S: Final = 10.0
PIPELINED: Final = 1000
"""Requests of a client that reads no answer."""
MOST_UNREAD: Final = 16
"""Clients that read no answer: their requests are work, so there are few."""
READ_BUFFER_BYTES: Final = 4096

Step = Callable[[int], bytes]
"""The bytes of a step, by its number from 1."""


@dataclass(frozen=True)
class Slow:
    """A kind of slow client.

    Attributes:
        name: its name.
        begin: what it sends at once, made from a good request.
        step: what it sends each second; None for nothing more.
        half_close: whether it closes its own side after the beginning.
        reads: whether it reads what it is answered.
    """

    name: str
    begin: Callable[[bytes], bytes]
    step: Step | None = None
    half_close: bool = False
    reads: bool = True


def _head(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[0]


def _chunked(request: bytes) -> bytes:
    lines = _head(request).split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"content-length")]
    return b"\r\n".join([*kept, b"Transfer-Encoding: chunked", b"", b""])


KINDS: Final = (
    Slow("silent", lambda request: b""),
    Slow("kept open after an answer", lambda request: request),
    Slow("a header that does not end", lambda request: _head(request) + b"\r\nX-Slow: ", lambda number: b"a"),
    Slow("headers that do not end", _head, lambda number: b"\r\nX-%d: a" % number),
    Slow("a body that does not end", lambda request: _head(request) + b"\r\n\r\n", lambda number: b" "),
    Slow("chunks that do not end", _chunked, lambda number: b"1\r\n \r\n"),
    Slow("half a request, half-closed", lambda request: request[: len(request) // 2], half_close=True),
    Slow("a request, half-closed", lambda request: request, half_close=True),
)
UNREAD: Final = Slow("answers that are not read", lambda request: request * PIPELINED, reads=False)


class _Connection(asyncio.Protocol):
    """One connection of a kind."""

    def __init__(self, kind: Slow, request: bytes) -> None:
        self._kind, self._request = kind, request
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self.status = ""
        self.closed = False

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        if not self._kind.reads:
            transport.pause_reading()
        if begin := self._kind.begin(self._request):
            transport.write(begin)
        if self._kind.half_close:
            transport.write_eof()
        if self._kind.step is not None:
            self._timer = self._loop.call_later(STEP_S, self._step)

    def _step(self) -> None:
        assert self._kind.step is not None
        self._number += 1
        self._transport.write(self._kind.step(self._number))
        self._timer = self._loop.call_later(STEP_S, self._step)

    def data_received(self, data: bytes) -> None:
        if not self.status:
            self.status = data[:12].decode("latin-1").partition(" ")[2]

    def eof_received(self) -> bool:
        self.closed = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def fate(self) -> str:
        """What became of it."""
        after = f"answered {self.status}" if self.status else ""
        if self.closed:
            return f"{after}, closed" if after else "closed"
        return f"{after}, open" if after else "open"


async def hold(port: int, connections: int, request: bytes) -> Mapping[str, Mapping[str, int]]:
    """Open connections of all kinds in turn, hold them until this process's input ends, and say what became of them."""
    gate = asyncio.Semaphore(AT_ONCE)
    made: list[tuple[str, _Connection | None]] = []

    async def opened(kind: Slow) -> None:
        async with gate:
            try:
                made.append((kind.name, await asyncio.wait_for(_connect(port, kind, request), CONNECT_TIMEOUT_S)))
            except (OSError, TimeoutError):
                made.append((kind.name, None))

    unread = min(MOST_UNREAD, connections // (len(KINDS) + 1))
    kinds = [UNREAD] * unread + [KINDS[place % len(KINDS)] for place in range(connections - unread)]
    await asyncio.gather(*map(opened, kinds))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    fates: dict[str, Counter[str]] = {}
    for name, connection in made:
        fates.setdefault(name, Counter())[connection.fate() if connection else "not opened"] += 1
        if connection:
            connection.end()
    return fates


async def _connect(port: int, kind: Slow, request: bytes) -> _Connection:
    sock = socket.socket()
    sock.setblocking(False)
    if not kind.reads:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BUFFER_BYTES)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    _, connection = await loop.create_connection(lambda: _Connection(kind, request), sock=sock)
    return connection


def more_files() -> None:
    """Let this process open as many files as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    more_files()
    print(json.dumps(asyncio.run(hold(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).read_bytes()))))
