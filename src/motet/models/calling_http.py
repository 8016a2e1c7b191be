"""Calls over HTTP: a line to a server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from motet.models.calling import MAX_ANSWER_BYTES, RemoteOptions, host_and_port
from motet.models.common import framework
from motet.models.handler import ModelSource
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall
from motet.oip.connections import Connections

__all__ = ["HttpLine", "http_line"]

CONNECT_S = 2.0
"""The longest that a connection may take."""
MAX_CONNECTIONS = 32
WHOLE_S = 0.5
"""How long a server may keep an answer open that is whole; then its connection is given up."""


class HttpLine:
    """A line over HTTP. Connections are kept open, until one of them has no answer in time.

    Args:
        make: makes a pool of connections, of urllib3.
        urllib3: the package.
    """

    def __init__(self, make: Callable[[], Any], urllib3: Any) -> None:
        self._pools, self._errors, self._timeout = Connections(make), urllib3.exceptions, urllib3.Timeout

    def send(self, call: RemoteCall) -> RemoteAnswer | LostCall:
        """Send a call; answers are decompressed."""
        return self._pools.send(partial(self._sent, call))

    def _sent(self, call: RemoteCall, pool: Any) -> RemoteAnswer | LostCall:
        end = time.monotonic() + call.timeout_s
        got, whole = 0, False
        timeout = self._timeout(connect=min(CONNECT_S, call.timeout_s), read=call.timeout_s)
        try:
            response = pool.urlopen(
                call.method, call.path, body=call.body, headers=call.headers, timeout=timeout, retries=False,
                redirect=False, preload_content=False, pool_timeout=call.timeout_s,
            )  # fmt: skip
            try:
                headers = {name.lower(): value for name, value in response.headers.items()}
                listen = call.listen if 200 <= response.status < 300 else None
                body = bytearray()
                while part := response.read1(1 << 20, decode_content=True):
                    now, got = time.monotonic(), got + len(part)
                    if whole and (now > end or got > MAX_ANSWER_BYTES):
                        response.close()
                        break
                    if now > end:
                        response.close()
                        return LostCall("timeout", "the answer took too long", listen is not None)
                    if got > MAX_ANSWER_BYTES:
                        response.close()
                        return LostCall(
                            "broken", f"the answer has more than {MAX_ANSWER_BYTES} bytes", listen is not None
                        )
                    if listen is None:
                        body += part
                    elif not whole and _listened(response, listen, headers, part):
                        whole, end = True, min(end, now + WHOLE_S)
                        _hurry(response)
            finally:
                response.release_conn()
        except (self._errors.HTTPError, OSError) as error:
            if whole:  # however its connection ends
                response.close()
                return RemoteAnswer(response.status, headers, b"")
            return self._lost(error, begun=call.listen is not None and got > 0)
        return RemoteAnswer(response.status, headers, body)

    def _lost(self, error: Exception, *, begun: bool) -> LostCall:
        """How a call was lost that urllib3 raised an error for; `begun` as `LostCall` has it."""
        errors = self._errors
        if isinstance(error, (errors.NewConnectionError, errors.ConnectTimeoutError, errors.SSLError)):
            return LostCall("connect", f"the server cannot be reached: {_told(error)}")
        if isinstance(error, errors.EmptyPoolError):
            return LostCall("busy", _told(error))
        if isinstance(error, errors.ReadTimeoutError):
            return LostCall("timeout", _told(error), begun)
        return LostCall("broken", f"the connection broke before the answer came: {_told(error)}", begun)

    def close(self) -> None:
        """Close its connections."""
        self._pools.current.close()


def _listened(
    response: Any, listen: Callable[[Mapping[str, str], bytes], bool], headers: Mapping[str, str], part: bytes
) -> bool:
    """Hand on a part of an answer, and say whether it is whole; the connection is of no further use where that raises."""
    try:
        return listen(headers, part)
    except BaseException:
        response.close()
        raise


def _hurry(response: Any) -> None:
    """Wait no longer for the end of an answer than `WHOLE_S`; the next request of the connection sets its own time."""
    if (sock := getattr(response.connection, "sock", None)) is not None:
        sock.settimeout(WHOLE_S)


def _told(error: Exception) -> str:
    """What an error of urllib3 says, without the object that it names first."""
    text = str(error)
    return text.partition(": ")[2] if text.startswith(("<", "HTTP")) and ": " in text else text


def http_line(
    host: str, remote: RemoteOptions, source: ModelSource, *, tls: bool, connections: int = MAX_CONNECTIONS
) -> HttpLine:
    """A line to a server over HTTP.

    Args:
        host: its name, and its port where it is not the usual one.
        remote: how it is called.
        source: the model, for messages.
        tls: whether it is encrypted.
        connections: how many there are at most; further calls wait for one.

    Raises:
        MissingExtraError: when urllib3 is not installed.
        ModelLoadError: when the address is none, or the certificates cannot be read.
    """
    urllib3 = framework("urllib3", "urllib3", "remote", source)
    name, port = host_and_port(host, source)
    sockets = [*urllib3.connection.HTTPConnection.default_socket_options, *_kept_alive()]
    options: dict[str, Any] = {"maxsize": connections, "block": True, "socket_options": sockets}
    if not tls:
        return HttpLine(partial(urllib3.HTTPConnectionPool, name, port, **options), urllib3)
    options["ssl_context"] = remote.context(source)
    return HttpLine(partial(urllib3.HTTPSConnectionPool, name, port, **options), urllib3)


def _kept_alive() -> list[tuple[int, int, int]]:
    """Options of sockets that keep networks from forgetting idle connections, and find out where they did."""
    times = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
    known = [(getattr(socket, name), value) for name, value in times.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *((socket.IPPROTO_TCP, *each) for each in known)]
