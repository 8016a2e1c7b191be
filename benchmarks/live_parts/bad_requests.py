"""Requests that no server should take, each of a kind of its own, and whether a server says so."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.live_parts.bodies import Ask, oip_ask
from benchmarks.live_parts.client import split_answer
from benchmarks.live_parts.peers.answering import Images

__all__ = ["Bad", "Verdict", "bad_requests", "judge", "send_all", "settle"]

ANSWER_TIMEOUT_S: Final = 15.0
BOMB_BYTES: Final = 128 << 20
READ_BYTES: Final = 1 << 16
SHOWN: Final = 160


@dataclass(frozen=True)
class Bad:
    """A bad request.

    Attributes:
        name: what is bad about it.
        data: as it goes over the wire.
        also: statuses beside 4xx that say so too.
    """

    name: str
    data: bytes
    also: frozenset[int] = frozenset()


@dataclass
class Verdict:
    """What a server said to the requests of one kind.

    Attributes:
        statuses: how often it gave each.
        wrong: what was wrong with its answers, and how often.
        said: one of its errors.
        longest_s: the longest that it took to answer, the wait for its turn to be sent not counted.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    said: str = ""
    longest_s: float = 0.0


def bad_requests(model: str, images: Images) -> list[Bad]:
    """One request of each kind.

    Args:
        model: what a good request would ask, with the input `image`.
        images: uint8 [1, 28, 28], what a good one would send.
    """
    return [*_of_http(oip_ask(model, images, "binary")), *_of_json(model, images), *_of_binary(model, images)]


def _of_http(good: Ask) -> list[Bad]:
    """Requests that are bad before their body is looked at."""
    place, body = good.path.encode(), good.body
    length = b"Content-Length: %d" % len(body)
    binary = b"Inference-Header-Content-Length: " + dict(good.headers)["Inference-Header-Content-Length"].encode()

    def with_headers(*lines: bytes, first: bytes = b"POST %s HTTP/1.1" % place, host: bytes = b"Host: h") -> bytes:
        return b"\r\n".join([first, *filter(None, [host]), *lines, b"", b""])

    return [
        Bad("not HTTP: a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
        Bad("a first line of one word", b"nonsense\r\n\r\n"),
        Bad("version 9.9", with_headers(length, binary, first=b"POST %s HTTP/9.9" % place) + body, frozenset({505})),
        Bad(
            "a method nobody knows",
            with_headers(length, binary, first=b"BREW %s HTTP/1.1" % place) + body,
            frozenset({501}),
        ),
        Bad("GET of an inference", with_headers(first=b"GET %s HTTP/1.1" % place)),
        Bad("no Host", with_headers(length, binary, host=b"") + body),
        Bad("two Hosts", with_headers(b"Host: other", length, binary) + body),
        Bad("two lengths that differ", with_headers(length, b"Content-Length: 1", binary) + body),
        Bad("a length and chunks", with_headers(length, b"Transfer-Encoding: chunked", binary) + b"0\r\n\r\n"),
        Bad("a negative length", with_headers(b"Content-Length: -1", binary)),
        Bad("a length that is no number", with_headers(b"Content-Length: many", binary)),
        Bad("a length beyond 2**64", with_headers(b"Content-Length: 36893488147419103232", binary)),
        Bad("a blank before a colon", with_headers(b"Content-Length : %d" % len(body), binary) + body),
        Bad("a chunk size that is no number", with_headers(b"Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n"),
        Bad(
            "an encoding of the transfer nobody knows",
            with_headers(b"Transfer-Encoding: nonsense", binary) + body,
            frozenset({501}),
        ),
        Bad("NUL in a header", with_headers(length, binary, b"X: a\x00b") + body),
        Bad("a header that is folded", with_headers(length, binary, b"X: a\r\n b") + body),
        Bad("a header of 100,000 bytes", with_headers(length, binary, b"X: " + b"a" * 100_000) + body),
        Bad("5,000 headers", with_headers(length, binary, *[b"X-%d: a" % number for number in range(5000)]) + body),
        Bad("an address of 100,000 bytes", with_headers(length, first=b"POST /%s HTTP/1.1" % (b"a" * 100_000)) + body),
        Bad("a body of 10 GB", with_headers(b"Content-Length: 10000000000", binary)),
        Bad("an address nobody knows", with_headers(length, first=b"POST /v2/nothing HTTP/1.1") + body),
        Bad("a model nobody knows", with_headers(length, binary, first=b"POST /v2/models/none/infer HTTP/1.1") + body),
        Bad(
            "a version nobody knows",
            with_headers(length, binary, first=b"POST %s HTTP/1.1" % place.replace(b"/infer", b"/versions/77/infer"))
            + body,
        ),
    ]


def _of_json(model: str, images: Images) -> list[Bad]:
    """Requests whose JSON is bad."""
    good = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": images.ravel().tolist()}

    def tensor(**changes: object) -> bytes:
        return json.dumps({"inputs": [good | changes]}).encode()

    zeros = gzip.compress(bytes(BOMB_BYTES), 1)
    bodies = {
        "JSON that ends early": tensor()[:-9],
        "JSON that is not UTF-8": b'{"inputs": "\xff\xfe"}',
        "100,000 brackets": b"[" * 100_000,
        "an empty body": b"",
        "no inputs": b"{}",
        "inputs that are no list": b'{"inputs": 7}',
        "an input nobody knows": tensor(name="picture"),
        "an input twice": json.dumps({"inputs": [good, good]}).encode(),
        "another shape": tensor(shape=[1, 27, 28]),
        "a negative shape": tensor(shape=[-1, 28, 28]),
        "a shape of 10**18 values": tensor(shape=[10**15, 28, 28]),
        "a shape that is no number": tensor(shape=["1", 28, 28]),
        "another datatype": tensor(datatype="FP32"),
        "a datatype nobody knows": tensor(datatype="UINT7"),
        "fewer values than the shape says": tensor(data=[0] * 783),
        "a value that does not fit": tensor(data=[300] * 784),
        "a value that is text": tensor(data=["a"] * 784),
        "a value that is null": tensor(data=[None] * 784),
        "an output nobody knows": json.dumps({"inputs": [good], "outputs": [{"name": "none"}]}).encode(),
    }
    encoded = {
        "gzip that is none": (b"nonsense", "gzip"),
        "an encoding nobody knows": (tensor(), "rot13"),
        f"gzip of {BOMB_BYTES >> 20} MB": (zeros, "gzip"),
    }
    path, kind = f"/v2/models/{model}/infer", ("Content-Type", "application/json")
    plain = [Bad(name, Ask(path, body, (kind,)).data()) for name, body in bodies.items()]
    return plain + [
        Bad(name, Ask(path, body, (kind, ("Content-Encoding", coding))).data())
        for name, (body, coding) in encoded.items()
    ]


def _of_binary(model: str, images: Images) -> list[Bad]:
    """Requests whose binary form is bad."""
    good = oip_ask(model, images, "binary")
    length = int(dict(good.headers)["Inference-Header-Content-Length"])

    def ask(name: str, body: bytes, said: object) -> Bad:
        return Bad(name, Ask(good.path, body, (("Inference-Header-Content-Length", str(said)),)).data())

    return [
        ask("a header longer than the body", good.body, len(good.body) + 1),
        ask("a header length that is no number", good.body, "many"),
        ask("a negative header length", good.body, -5),
        ask("a header that is cut", good.body, length - 3),
        ask("fewer bytes than the header says", good.body[:-1], length),
        ask("more bytes than the header says", good.body + b"\0", length),
        ask("a size that is not the shape's", good.body.replace(b":784", b":783"), length),
        ask("a size that is negative", good.body.replace(b":784", b":-84"), length),
    ]


def judge(bad: Bad, data: bytes) -> tuple[int, str, str]:
    """Status, what is wrong with the answer (empty for nothing), and the error that it says.

    Args:
        bad: what was sent.
        data: what came back, to the end of the first answer or of the connection.
    """
    try:
        found = split_answer(data)
    except (ValueError, IndexError) as error:
        return 0, f"no answer of HTTP: {str(error)[:SHOWN]}", ""
    if found is None:
        return 0, f"no whole answer: {data[:SHOWN]!r}" if data else "no answer", ""
    status, _, start, end = found
    body = data[start:end]
    if not 400 <= status < 500 and status not in bad.also:
        return status, f"status {status}: {body[:SHOWN]!r}", ""
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return status, f"status {status} without an error: {body[:SHOWN]!r}", ""
    reason = "" if isinstance(said, str) and said else f"status {status}, an error that is no text: {said!r}"
    return status, reason, str(said)


async def settle(port: int, bad: Bad) -> bytes:
    """Send a bad request on a connection of its own; what comes back, to the end of the answer or the connection."""
    data = bytearray()
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(bad.data)
                while part := await reader.read(READ_BYTES):
                    data += part
                    if split_answer(data):
                        break
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, ValueError):
        pass
    return bytes(data)


async def send_all(port: int, kinds: Sequence[Bad], requests: int, at_once: int) -> Mapping[str, Verdict]:
    """Send bad requests, kinds in turn, some at once; what the server said, by kind."""
    verdicts = {bad.name: Verdict() for bad in kinds}
    gate = asyncio.Semaphore(at_once)

    async def one(bad: Bad) -> None:
        verdict = verdicts[bad.name]
        async with gate:
            begun = time.perf_counter()
            status, reason, said = judge(bad, await settle(port, bad))
            verdict.longest_s = max(verdict.longest_s, time.perf_counter() - begun)
        verdict.statuses[status] += 1
        verdict.said = said or verdict.said
        if reason:
            verdict.wrong[reason] += 1

    await asyncio.gather(*(one(kinds[place % len(kinds)]) for place in range(requests)))
    return verdicts
