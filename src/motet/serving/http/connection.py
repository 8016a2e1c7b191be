"""One client's connection: parsing, limits, timeouts, and the order of answers.

`httptools` (llhttp, strict) splits the bytes; what it refuses is answered with 400 and the connection is closed. Here is
the rest: bounds of heads and bodies, one `due` time that a sweep of all connections compares with the clock, requests
that come before earlier ones are answered, clients that read slowly, and clients that close one side.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from motet.errors import InputError, MotetError, OverloadedError, RequestError, TooLargeError
from motet.serving.http.respond import CONTINUE, error_answer

if TYPE_CHECKING:
    from motet.serving.http.exchange import Exchange
    from motet.serving.http.front import Front, Route

__all__ = ["Connection"]

IDLE, HEAD, BODY, REFUSED = range(4)
"""Between two requests; reading a head; reading a body; an error was answered and what still comes is thrown away."""
MAX_HEADERS = 100
LINGER_S = 2.0
"""How long what a refused client still sends is thrown away, so that it can read the answer."""
SAME_HEAD_BYTES = 2048
"""Heads up to this long are remembered, to know them again."""
NEVER = float("inf")


class HeadTooLargeError(RequestError):
    """More bytes of headers than a request may have."""

    status = 431


class TargetTooLongError(RequestError):
    """A longer address than a request may have."""

    status = 414


class TimedOutError(RequestError):
    """A request that did not come in time."""

    status = 408


class VersionError(RequestError):
    """A version of HTTP that is not spoken here."""

    status = 505


class ExpectationError(RequestError):
    """An expectation that cannot be met."""

    status = 417


class _OverError(Exception):
    """A request behind the last one of a connection; it is not answered."""


class Connection(asyncio.Protocol):
    """Reads the requests of one client and sends the answers in their order.

    Args:
        front: what all connections share.
    """

    __slots__ = (
        "_body", "_body_bytes", "_chunk", "_closing", "_continues", "_first_byte", "_front", "_half_closed",
        "_head_bytes", "_headers", "_line", "_loop", "_messages", "_parser", "_reading", "_route", "_same",
        "_same_bytes", "_same_routes", "_state", "_transport", "_upgrade", "_url", "_version", "_writing", "due", "known",
        "method", "prepared",
    )  # fmt: skip

    def __init__(self, front: Front) -> None:
        self._front, self._loop = front, front.loop
        self._parser = httptools.HttpRequestParser(self)
        self._line: deque[Exchange] = deque()
        self._state = IDLE
        self._head_bytes = self._body_bytes = self._chunk = 0
        self._closing = self._half_closed = self._upgrade = self._continues = False
        self._reading = self._writing = True
        self._url = self.method = b""
        self._version = "1.1"
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self.known: dict[bytes, bytes] = {}
        self._route: Route | None = None
        self._first_byte = 0.0
        self.due = NEVER
        self._messages = self._same_bytes = 0
        self._same: bytes | None = None
        self._same_routes: object = None
        self.prepared: object = None

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self.due = self._front.now + self._front.limits.header_timeout_s
        if not self._front.connected(self):
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: nobody waits for what it asked."""
        self._front.disconnected(self)
        self._front.buffered_bytes -= self._body_bytes
        self._body_bytes = 0
        self._abandon()
        self._closing = True

    def eof_received(self) -> bool:
        """The client sends no more. What it has asked may still be answered, for a short while."""
        if self._state in (HEAD, BODY, REFUSED) or not self._line:
            return False
        self._half_closed = True
        self.due = self._front.now + self._front.limits.half_closed_s
        return True

    def pause_writing(self) -> None:
        """The client does not take its answers: nothing more is read from it until it does."""
        self._writing = False
        self.due = self._front.now + self._front.limits.write_timeout_s
        self._pause()

    def resume_writing(self) -> None:
        """The client takes its answers again."""
        self._writing = True
        self._rest()
        self._resume()
        if self._line:
            self._line[0].at_head()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._state == REFUSED or self._closing:
            return  # nothing that comes now is answered
        self._chunk = size = len(data)
        if size == self._same_bytes and self._is_again(data):
            return
        self._messages = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade = True  # not spoken here: the request is answered as it is, and the connection ends
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, MotetError):
                self._refuse(cause)
            elif not isinstance(cause, _OverError):
                raise
        except httptools.HttpParserError as error:
            if self._state != REFUSED and not self._closing:
                self._refuse(InputError(f"the request is no HTTP/1.1: {_plain(error)}"))
        if self._state == HEAD:
            self._head_bytes += self._chunk
            if self._head_bytes > self._front.limits.header_bytes:
                self._refuse(self._too_large())
        elif self._state == IDLE and self._messages == 1 and self._route is not None:
            self._remember(data)
        else:
            self._same_bytes = 0

    def _remember(self, data: bytes) -> None:
        """One whole request for a route came in one piece: the next one often has the same head, to the byte."""
        known = self.known
        length = known.get(b"content-length")
        self._same_bytes = 0
        if length is None or b"expect" in known or self._closing:
            return
        head = data[: len(data) - int(length)]
        if len(head) <= SAME_HEAD_BYTES and head.endswith(b"\r\n\r\n") and head.startswith(b"POST "):
            self._same, self._same_bytes, self._same_routes = head, len(data), self._front.routes

    def _is_again(self, data: bytes) -> bool:
        """Begin with a request that has the head of the one before it, to the byte: the parser would find the same."""
        same, front, route = self._same, self._front, self._route
        if self._state != IDLE or same is None or route is None or not data.startswith(same):
            return False
        if self._same_routes is not front.routes or front.draining:
            return False
        self.due = NEVER
        line = self._line
        route(self, line, data[len(same) :], True)
        if len(line) >= front.limits.pipelined:
            self._pause()
        return True

    # What the parser says, in order.

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._upgrade or self._closing:
            raise _OverError
        self._state = HEAD
        self._url = b""
        self._headers = []
        self._head_bytes = 0
        self._first_byte = now = self._front.now
        self.due = now + self._front.limits.header_timeout_s
        self._version = "1.1"

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or one after a chunked body, which is thrown away."""
        if self._state == HEAD:
            self._headers.append((name.lower(), value))
        else:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > self._front.limits.header_bytes:
                raise self._too_large()

    def on_headers_complete(self) -> None:
        """The head is there."""
        front, headers = self._front, self._headers
        known = self.known = dict(headers)
        self.prepared = None
        if self._head_bytes + self._chunk > front.limits.header_bytes or len(headers) > MAX_HEADERS:
            self._check_head()
        self.method = method = self._parser.get_method()
        self._route = front.route(self._url) if method == b"POST" else None
        if self._route is None or len(known) != len(headers) or b"host" not in known:
            self._check_host()
        self._state = BODY
        length = known.get(b"content-length")
        if length is not None and int(length) > front.limits.body_bytes:
            raise self._body_too_large(int(length))
        if b"expect" in known:
            self._expected()
        self.due = front.now + front.limits.body_timeout_s

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        front, size = self._front, len(body)
        self._body.append(body)
        self._body_bytes += size
        front.buffered_bytes += size
        if self._body_bytes != size:  # not the first part
            if self._body_bytes > front.limits.body_bytes:
                raise self._body_too_large(self._body_bytes)
            now = self._front.now
            last = self._first_byte + front.limits.request_timeout_s
            self.due = min(now + front.limits.body_timeout_s, last)
        if front.buffered_bytes > front.limits.buffered_bytes:
            raise OverloadedError("the bodies of the requests being read fill the server's memory", retry_after_s=1)

    def on_message_complete(self) -> None:
        """The request is there: begin with it."""
        parts = self._body
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if parts:
            self._body = []
            self._front.buffered_bytes -= self._body_bytes
            self._body_bytes = 0
        self._state = IDLE
        self._messages += 1
        self.due = NEVER
        keep_alive = self._parser.should_keep_alive() and not self._front.draining and not self._upgrade
        if not keep_alive:
            self._check_version()
            self._closing = True
        route = self._route
        if route is not None:
            route(self, self._line, body, keep_alive)
        else:
            self._front.ask_app(self, self._line, body, keep_alive)
        if len(self._line) >= self._front.limits.pipelined:
            self._pause()

    # What those who answer say.

    def finished(self, exchange: Exchange) -> None:
        """An answer is complete: it is sent when all before it are."""
        line = self._line
        if not line or line[0] is not exchange:
            return
        while True:
            line.popleft()
            data = exchange.data
            if data:
                self._transport.write(data)
            if not exchange.keep_alive:
                self._end()
                return
            if not line:
                break
            exchange = line[0]
            if exchange.data is None:
                exchange.at_head()
                break
        if not line:
            if self._half_closed:
                self._end()
                return
            self._rest()
        if not self._reading:
            self._resume()

    def is_head(self, exchange: Exchange) -> bool:
        """Whether what an exchange writes may go out now."""
        return bool(self._line) and self._line[0] is exchange and self._writing

    def write(self, data: bytes) -> None:
        """Send a part of the answer at the head of the line."""
        self._transport.write(data)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields of the request's head, names in lower case."""
        return self._headers

    @property
    def url(self) -> bytes:
        """The address as it was sent."""
        return self._url

    @property
    def version(self) -> str:
        """`1.0` or `1.1`."""
        return self._version

    def address(self, kind: str = "peername") -> tuple[str, int] | None:
        """The client's address and port (or, for `sockname`, ours)."""
        found: Any = self._transport.get_extra_info(kind)
        return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self._transport.get_extra_info("sslcontext") is not None

    # What the sweep and the server say.

    def timed_out(self) -> None:
        """The time that was due has passed."""
        if not self._writing or self._state == REFUSED or self._half_closed:
            self._transport.abort()
        elif self._state in (HEAD, BODY):
            what = "head" if self._state == HEAD else "body"
            self._refuse(TimedOutError(f"the {what} of the request did not come in time"))
        else:
            self._end()

    def drain(self) -> None:
        """The server is about to stop: end when what was accepted is answered."""
        if not self._line and self._state == IDLE:
            self._end()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    # The rest.

    def _rest(self) -> None:
        """Nothing is under way: the next request may take its time, or the one being read goes on."""
        if self._line:
            self.due = NEVER
        elif self._state == IDLE:
            if self._front.draining:
                self._end()
            self.due = self._front.now + self._front.limits.idle_timeout_s

    def _pause(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._writing and len(self._line) < self._front.limits.pipelined:
            self._reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _end(self) -> None:
        self._closing = True
        self._abandon()
        if not self._transport.is_closing():
            self._transport.close()

    def _abandon(self) -> None:
        line, self._line = self._line, deque()
        for exchange in line:
            exchange.abandon()

    def _refuse(self, error: MotetError) -> None:
        """Answer an error behind the answers that are to come, and read nothing more."""
        answer = error_answer(error, self._front.date, keep_alive=False, bodiless=self.method == b"HEAD")
        self._front.statuses[error.status] += 1
        self._front.buffered_bytes -= self._body_bytes
        self._body_bytes, self._body = 0, []
        self._state = REFUSED
        self.due = self._front.now + self._front.limits.request_timeout_s
        if self._line:
            self._line.append(_Refused(answer))
        else:
            self._transport.write(answer)
            self._linger()

    def _linger(self) -> None:
        """Close our side, and throw away what still comes: a reset would take the answer from the client."""
        self._closing = True
        self.due = self._front.now + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _expected(self) -> None:
        if self.known[b"expect"].lower() != b"100-continue":
            raise ExpectationError(f"the expectation {self.known[b'expect'].decode('latin-1')!r} cannot be met")
        if self._version == "1.1" and not self._line:
            self._transport.write(CONTINUE)

    def _check_head(self) -> None:
        limit = self._front.limits.header_bytes
        if len(self._url) > limit // 2:
            raise TargetTooLongError(f"the address has {len(self._url)} bytes; at most {limit // 2} may be sent")
        size = sum(len(name) + len(value) + 4 for name, value in self._headers) + len(self._url)
        if size > limit or len(self._headers) > MAX_HEADERS:
            raise self._too_large()

    def _check_version(self) -> None:
        self._version = version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise VersionError(f"HTTP/{version} is not spoken here", hint="use HTTP/1.1")

    def _check_host(self) -> None:
        self._check_version()
        hosts = [value for name, value in self._headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self._version == "1.1"):
            raise InputError(f"a request has one Host field; got {len(hosts)}")
        lengths = {value for name, value in self._headers if name == b"content-length"}
        if len(lengths) > 1:
            raise InputError(
                f"the lengths {b', '.join(sorted(lengths)).decode('latin-1')} of the body contradict each other"
            )

    def _too_large(self) -> MotetError:
        limit = self._front.limits.header_bytes
        return HeadTooLargeError(f"the head of the request has more than {limit} bytes or {MAX_HEADERS} fields")

    def _body_too_large(self, size: int) -> MotetError:
        limit = self._front.limits.body_bytes
        return TooLargeError(
            f"the body has {size} bytes or more; at most {limit} may be sent", hint="send fewer rows a request"
        )


class _Refused:
    """An error that ends a connection."""

    __slots__ = ("data", "keep_alive")

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data
        self.keep_alive = False

    def at_head(self) -> None:
        """Its data is there from the beginning."""

    def abandon(self) -> None:
        """Nothing was begun."""


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())
