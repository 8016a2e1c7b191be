"""One client's connection: parsing, limits, timeouts, and the order of answers.

`httptools` (llhttp, strict) splits the bytes; what it refuses is answered with 400 and the connection is closed. Here is
the rest: bounds of heads and bodies, one `due` time that a sweep of all connections compares with the clock, requests
that come before earlier ones are answered, clients that read slowly, and clients that close one side.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from motet.errors import InputError, ModelError, MotetError, OverloadedError
from motet.serving.batching.request import Identity
from motet.serving.http.half_closed import HalfClosed
from motet.serving.http.refusals import (
    MAX_HEADERS,
    ExpectationError,
    NotSpokenError,
    Refused,
    TimedOutError,
    VersionError,
    body_too_large,
    check_fields,
    check_size,
    head_too_large,
)
from motet.serving.http.respond import CONTINUE, error_answer
from motet.serving.middleware.call import identity_of
from motet.system.tls import names_in

if TYPE_CHECKING:
    from motet.serving.http.exchange import Exchange
    from motet.serving.http.front import Front, HttpRoute

__all__ = ["Connection"]

_LOG = logging.getLogger("motet.serving")
IDLE, HEAD, BODY, REFUSED = range(4)
"""Between two requests; reading a head; reading a body; an error was answered and what still comes is thrown away."""
LINGER_S = 2.0
"""How long what a refused client still sends is thrown away, so that it can read the answer."""
SAME_HEAD_BYTES = 2048
"""Heads up to this long are remembered, to know them again."""
SMALL_BYTES = 1024
"""Parts of a body shorter than this are put together as they come: each on its own would take more memory than it holds."""
NEVER = float("inf")


class _OverError(Exception):
    """A request behind the last one of a connection; it is not answered."""


class Connection(asyncio.Protocol):
    """Reads the requests of one client and sends the answers in their order.

    Args:
        front: what all connections share.
        peer_identity: who the client is; None where that is known, if at all, by its certificate.
    """

    __slots__ = (
        "_begun", "_body", "_body_bytes", "_chunk", "_closing", "_continues", "_first_byte", "_front", "_half_closed", "_head_bytes",
        "_headers", "_line", "_loop", "_messages", "_parser", "_reading", "_route", "_same", "_same_bytes", "_same_routes",
        "_state", "_transport", "_upgrade", "_url", "_version", "_wire_bytes", "_writing", "due", "known", "method",
        "peer_identity", "prepared",
    )  # fmt: skip

    def __init__(self, front: Front, peer_identity: Identity | None = None) -> None:
        self._front, self._loop, self.peer_identity = front, front.loop, peer_identity
        self._parser = httptools.HttpRequestParser(self)
        self._line: deque[Exchange] = deque()
        self._state = IDLE
        self._head_bytes = self._body_bytes = self._wire_bytes = self._chunk = 0
        self._closing = self._continues = self._upgrade = False
        self._half_closed: HalfClosed | None = None
        self._begun: Exchange | None = None
        self._reading = self._writing = True
        self._url = self.method = b""
        self._version = "1.1"
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes | bytearray] = []
        self.known: dict[bytes, bytes] = {}
        self._route: HttpRoute | None = None
        self._first_byte = 0.0
        self.due = NEVER
        self._messages = self._same_bytes = 0
        self._same = b""
        self._same_routes: object = None
        self.prepared: object = None

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        if certificate := transport.get_extra_info("peercert"):
            self.peer_identity = identity_of(names_in(certificate))
        self.due = self._front.now + self._front.limits.header_timeout_s
        if not self._front.connected(self):
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: nobody waits for what it asked."""
        self._front.disconnected(self)
        self._forget_body()
        self._abandon()
        self._closing = True

    def eof_received(self) -> bool:
        """The client sends no more. What it has asked may still be answered, unless it turns out that it is gone."""
        if not self._line or self.secure:
            return False
        if self._state in (HEAD, BODY):  # of what is not whole nothing will come
            self._forget_body()
            self._state = REFUSED
        self._half_closed = HalfClosed(self._transport, self._front.now, self._front.limits.half_closed_s)
        if self._writing:
            self.due = self._half_closed.due
        return True

    def pause_writing(self) -> None:
        """The client does not take its answers: nothing more is read from it until it does."""
        self._writing = False
        self.due = self._front.now + self._front.limits.write_timeout_s
        self._pause()

    def resume_writing(self) -> None:
        """The client takes its answers again."""
        self._writing = True
        self._resume()
        self._rest()
        if self._line:
            self._line[0].at_head()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._state == REFUSED or self._closing:
            return  # nothing that comes now is answered
        size = len(data)
        self._front.received_bytes += size
        if size == self._same_bytes and self._state == IDLE and data.startswith(self._same) and self._is_again(data):
            return
        self._chunk, self._messages = size, 0
        whole = self._state == IDLE
        self._feed(data)
        state = self._state
        if state == IDLE and whole and self._messages == 1 and self._route is not None:
            self._remember(data)
            return
        self._same_bytes = 0
        if state == HEAD and not self._messages:  # else it began somewhere in these bytes; the next ones count
            self._head_bytes += size
            if self._head_bytes > self._front.limits.header_bytes:
                self._refuse(head_too_large(self._url, self._front.limits.header_bytes))
        elif state == BODY:
            self._part_came(size)
        if not self._reading:
            self._rest()

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse; no protocol is spoken here that a request could change to, so where one wants to, HTTP goes on."""
        left = [data]
        while left:
            piece = left.pop()
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                left.append(memoryview(piece)[upgrade.args[0] :])
                if self._upgrade:
                    self._upgrade = False
                    left.append(self._head_without_upgrade())
            except httptools.HttpParserCallbackError as error:
                cause = error.__context__
                if isinstance(cause, MotetError):
                    self._refuse(cause)
                elif not isinstance(cause, _OverError):
                    _LOG.error("a request failed", exc_info=cause)
                    self._refuse(ModelError(f"the server failed at this request: {type(cause).__name__}"))
                return
            except httptools.HttpParserError as error:
                if self._state != REFUSED and not self._closing:
                    said = _plain(error)
                    if "PRI" in said:  # how HTTP/2 begins (RFC 9113, 3.4)
                        self._refuse(VersionError("HTTP/2 is not spoken here", hint="use HTTP/1.1"))
                    else:
                        self._refuse(InputError(f"the request is no HTTP/1.1: {said}"))
                return

    def _head_without_upgrade(self) -> bytes:
        """The head that was read, to be read again: the parser leaves out the body of a request that wants an upgrade."""
        line = b"%b %b HTTP/%b\r\n" % (self._parser.get_method(), self._url, self._parser.get_http_version().encode())
        fields = [b"%b: %b\r\n" % field for field in self._headers if field[0] != b"upgrade"]
        return b"%b%b\r\n" % (line, b"".join(fields))

    def _part_came(self, size: int) -> None:
        """Bytes of a body have come, which goes on."""
        front = self._front
        limits = front.limits
        self.due = min(front.now + limits.body_timeout_s, self._first_byte + limits.request_timeout_s)
        if not self._messages:
            self._wire_bytes += size
            if self._wire_bytes > 4 * limits.header_bytes + 8 * self._body_bytes:
                self._refuse(InputError("the chunks of the body are hardly anything but their sizes and extensions"))

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
        front, route = self._front, self._route
        if self._same_routes is not front.routes or front.draining or route is None:
            return False
        self.due = NEVER
        line = self._line
        route(self, line, data[len(self._same) :], True)
        if len(line) >= front.limits.pipelined:
            self._pause()
        return True

    # What the parser says, in order.

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._closing:
            raise _OverError
        self._state = HEAD
        self._url = self.method = b""
        self._headers = []
        self._head_bytes = self._wire_bytes = 0
        self._continues = False
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
                raise head_too_large(self._url, self._front.limits.header_bytes)

    def on_headers_complete(self) -> None:
        """The head is there."""
        front, headers = self._front, self._headers
        known = self.known = dict(headers)
        self.prepared = None
        if self._head_bytes + self._chunk > front.limits.header_bytes or len(headers) > MAX_HEADERS:
            check_size(self._url, headers, front.limits.header_bytes)
        if b"upgrade" in known and self._parser.should_upgrade():
            check_size(self._url, headers, front.limits.header_bytes)
            self._upgrade = True
            return
        self.method = method = self._parser.get_method()
        self._route = front.route(self._url) if method == b"POST" else None
        if (
            self._route is None
            or len(known) != len(headers)
            or b"host" not in known
            or b"connection" in known
            or b"transfer-encoding" in known
        ):
            self._check()
        self._state = BODY
        length = known.get(b"content-length")
        if length is not None and int(length) > front.limits.body_bytes:
            raise body_too_large(int(length), front.limits.body_bytes)
        if b"expect" in known:
            self._expected()
        self.due = front.now + front.limits.body_timeout_s

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        front, size = self._front, len(body)
        parts = self._body
        if size >= SMALL_BYTES or not parts:
            parts.append(body)
        elif type(parts[-1]) is bytearray:
            parts[-1] += body
        else:
            parts.append(bytearray(body))
        self._body_bytes += size
        front.buffered_bytes += size
        if self._body_bytes > front.limits.body_bytes:
            raise body_too_large(self._body_bytes, front.limits.body_bytes)
        if front.buffered_bytes > front.limits.buffered_bytes:
            raise OverloadedError("the bodies of the requests being read fill the server's memory", retry_after_s=1)

    def on_message_complete(self) -> None:
        """The request is there: begin with it."""
        if self._upgrade:
            return
        parts = self._body
        body = cast(bytes, parts[0]) if len(parts) == 1 else b"".join(parts)
        if parts:
            self._forget_body()
        self._state = IDLE
        self._messages += 1
        self.due = NEVER
        keep_alive = self._parser.should_keep_alive() and not self._front.draining
        route = self._route
        if not keep_alive or (route is not None and self._version == "1.0"):
            self._check_version()
            keep_alive, self._closing = False, True
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
                self._front.sent_bytes += len(data)
                self._transport.write(data)
            if not exchange.keep_alive:
                if self._state == REFUSED:
                    self._linger()
                else:
                    self._end()
                return
            if not line:
                break
            exchange = line[0]
            if exchange.data is None:
                exchange.at_head()
                break
        if not self._reading:
            self._resume()
        if not line:
            if self._half_closed is not None:
                self._end()
            elif self._state == IDLE and self._writing and not self._front.draining:  # as nearly always
                self.due = self._front.now + self._front.limits.idle_timeout_s
            else:
                self._rest()

    def is_head(self, exchange: Exchange) -> bool:
        """Whether what an exchange writes may go out now."""
        return bool(self._line) and self._line[0] is exchange and self._writing

    def write(self, data: bytes) -> None:
        """Send a part of the answer at the head of the line."""
        self._begun = self._line[0] if self._line else None
        self._front.sent_bytes += len(data)
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
        if not self._writing or self._transport.is_closing():
            self._transport.abort()
        elif self._half_closed is not None and self._line:
            self._look(self._half_closed)
        elif self._state == REFUSED or self._half_closed is not None:
            self._transport.abort()
        elif self._state in (HEAD, BODY):
            what = "head" if self._state == HEAD else "body"
            self._refuse(TimedOutError(f"the {what} of the request did not come in time"))
        else:
            self._end()

    def _look(self, client: HalfClosed) -> None:
        """See whether a client that has closed its side is there, and has waited long enough."""
        now, is_begun = self._front.now, self._line[0] is self._begun
        if client.is_gone():
            self._transport.abort()
        elif client.is_late(now):
            self._abandon()
            if not is_begun:
                wait_s = self._front.limits.half_closed_s
                error = TimedOutError(f"no answer within {wait_s:g} s after the client closed its side")
                self._transport.write(error_answer(error, self._front.date, keep_alive=False))
            self._end()
        else:
            if not (client.asked or is_begun or self._version == "1.0"):
                self._transport.write(CONTINUE)
            client.look_later(now)
            self.due = client.due

    def drain(self) -> None:
        """The server is about to stop: end when what was accepted is answered, and what is on its way has had time to come."""
        if not self._line and self._state == IDLE:
            self.due = self._front.now

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    # The rest.

    def _rest(self) -> None:
        """What is due next: something has begun or ended that it depends on."""
        front, state = self._front, self._state
        limits = front.limits
        if not self._writing:
            self.due = front.now + limits.write_timeout_s
        elif self._half_closed is not None:
            self.due = self._half_closed.due
        elif state == IDLE:
            if self._line:
                self.due = NEVER
            else:
                self.due = front.now if front.draining else front.now + limits.idle_timeout_s
        elif not self._reading:
            self.due = NEVER
        elif state == HEAD:
            self.due = self._first_byte + limits.header_timeout_s
        elif state == BODY:
            self.due = min(front.now + limits.body_timeout_s, self._first_byte + limits.request_timeout_s)
            if self._continues and not self._line:
                self._continues = False
                self._transport.write(CONTINUE)

    def _pause(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._writing and len(self._line) < self._front.limits.pipelined:
            self._reading = True
            self._first_byte = self._front.now  # the time in which nothing was read is not the client's
            if not self._transport.is_closing():
                self._transport.resume_reading()
            if self._line:
                self._rest()

    def _end(self) -> None:
        self._closing = True
        self._abandon()
        if not self._transport.is_closing():
            self.due = self._front.now + self._front.limits.write_timeout_s
            self._transport.close()

    def _forget_body(self) -> None:
        self._front.buffered_bytes -= self._body_bytes
        self._body_bytes, self._body = 0, []

    def _abandon(self) -> None:
        line, self._line = self._line, deque()
        for exchange in line:
            exchange.abandon()

    def _refuse(self, error: MotetError) -> None:
        """Answer an error behind the answers that are to come, and read nothing more."""
        bodiless = self.method == b"HEAD"
        answer = self._front.refused(self, error, self._body_bytes, keep_alive=False, bodiless=bodiless)
        self._forget_body()
        self._state = REFUSED
        self.due = self._front.now + self._front.limits.request_timeout_s
        if self._line:
            self._line.append(Refused(answer))
        else:
            self.write(answer)
            self._linger()

    def _linger(self) -> None:
        """Close our side, and throw away what still comes: a reset would take the answer from the client."""
        self._closing = True
        self._abandon()
        self.due = self._front.now + LINGER_S
        if self._half_closed is not None or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _expected(self) -> None:
        if self.known[b"expect"].lower() != b"100-continue":
            raise ExpectationError(f"the expectation {self.known[b'expect'].decode('latin-1')!r} cannot be met")
        self._check_version()
        if self._version == "1.0":
            return
        if self._line:
            self._continues = True
        else:
            self._transport.write(CONTINUE)

    def _check_version(self) -> None:
        self._version = version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise VersionError(f"HTTP/{version} is not spoken here", hint="use HTTP/1.1")

    def _check(self) -> None:
        """A closer look at a head that is not the plainest."""
        self._check_version()
        if self.method == b"CONNECT":
            raise NotSpokenError("CONNECT is not spoken here: this server is no proxy")
        check_fields(self._headers, self._version)


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())
