"""Calls over gRPC: a line to a server, and its statuses as those of HTTP that mean the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from motet.errors import InputError
from motet.models.calling import MAX_ANSWER_BYTES, RemoteOptions, host_and_port
from motet.models.common import framework
from motet.models.handler import ModelSource
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall
from motet.oip.connections import Connections

__all__ = ["GrpcLine", "grpc_line", "message_in"]

Options = tuple[tuple[str, int], ...]
_OPTIONS: Options = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES - 1),
    ("grpc.max_send_message_length", MAX_ANSWER_BYTES - 1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # as over HTTP: proxies of the environment are left alone
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
)
_STATUS = {
    "CANCELLED": 499, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403, "UNAUTHENTICATED": 401, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 503, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
}  # fmt: skip
"""The statuses of HTTP that mean the same as gRPC's; those that are not here are 500."""
_TOO_LARGE = re.compile(
    r"larger than max|too large|exceed\w* maximum|more than \d+ (bytes|rows)|OOM when allocating", re.IGNORECASE
)
"""What servers say of a call that fewer rows would mend; the last is TensorFlow's."""
_UNREACHED = re.compile(r"failed to connect|connection refused|dns|name resol|handshake|no route", re.IGNORECASE)


def grpc_line(
    service: str, methods: Sequence[str], host: str, remote: RemoteOptions, source: ModelSource, *, tls: bool, port: int
) -> GrpcLine:
    """A line to a server over gRPC.

    Args:
        service: the full name of the service.
        methods: the names of the methods that are called.
        host: its name, and its port where it is not the usual one.
        remote: how it is called.
        source: the model, for messages.
        tls: whether it is encrypted.
        port: the usual one without encryption; with it, it is 443.

    Raises:
        MissingExtraError: when grpcio is not installed.
        ModelLoadError: when the address is none, or the certificates cannot be read.
    """
    grpc = framework("grpc", "grpcio", "grpc", source)
    name, given = host_and_port(host, source)
    target = f"{name}:{given or (443 if tls else port)}"
    metadata = tuple((key.lower(), value) for key, value in remote.headers.items())
    options = (*_OPTIONS, *_keepalive(remote.timeout_s))
    if tls:
        remote.context(source)  # gRPC says of no file what is wrong with it
        files = remote.ca, remote.certificate_key or remote.certificate, remote.certificate
        credentials = grpc.ssl_channel_credentials(*map(_content, files))
        make = partial(grpc.secure_channel, target, credentials, options)
    else:
        make = partial(grpc.insecure_channel, target, options)
    paths = {method: f"/{service}/{method}" for method in methods}
    return GrpcLine(partial(_Channel, make, paths), metadata, grpc)


def _keepalive(timeout_s: float) -> Options:
    """How a connection on which nothing comes is found out while there is time for another try.

    A call asks at most twice, which servers bear that allow it once in five minutes.
    """
    answer_ms = max(250, round(timeout_s * 400))
    return (
        ("grpc.keepalive_time_ms", max(250, round(timeout_s * 250))),
        ("grpc.keepalive_timeout_ms", answer_ms),
        ("grpc.http2.ping_timeout_ms", answer_ms),
        ("grpc.http2.max_pings_without_data", 2),
    )


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


class _Channel:
    """A channel, and what calls its methods by their names."""

    def __init__(self, make: Callable[[], Any], paths: Mapping[str, str]) -> None:
        channel = make()
        self.methods = {name: channel.unary_unary(path) for name, path in paths.items()}
        self.close: Callable[[], None] = channel.close


class GrpcLine:
    """A line over gRPC: a call's method is the name of an RPC, its body a message.

    Args:
        make: makes a channel to the server.
        metadata: sent with each call.
        grpc: the package.
    """

    def __init__(self, make: Callable[[], _Channel], metadata: tuple[tuple[str, str], ...], grpc: Any) -> None:
        self._channels, self._metadata, self._error = Connections(make), metadata, grpc.RpcError

    def send(self, call: RemoteCall) -> RemoteAnswer | LostCall:
        """Send a call; errors become answers with the status of HTTP that means the same."""
        return self._channels.send(partial(self._sent, call), ("broken", "timeout"))

    def _sent(self, call: RemoteCall, channel: _Channel) -> RemoteAnswer | LostCall:
        try:
            body = channel.methods[call.method](call.body, timeout=call.timeout_s, metadata=self._metadata)
        except self._error as error:
            return _refused(error)
        return RemoteAnswer(200, {}, body)

    def close(self) -> None:
        """Close its connections."""
        self._channels.current.close()


def _refused(error: Any) -> RemoteAnswer | LostCall:
    code, said = error.code().name, error.details() or ""
    if code == "UNAVAILABLE" and _UNREACHED.search(said):
        return LostCall("connect", f"the server cannot be reached: {said}")
    if code == "UNAVAILABLE" and re.search(
        r"socket closed|connection reset|goaway|ping timeout|keepalive", said, re.IGNORECASE
    ):
        return LostCall("broken", f"the connection broke before the answer came: {said}")
    if code == "DEADLINE_EXCEEDED":
        return LostCall("timeout", said)
    status = _STATUS.get(code, 500)
    if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE.search(said):
        status = 413
    headers = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    return RemoteAnswer(status, headers, json.dumps({"error": f"{code}: {said}"}).encode())


def message_in(kind: Any, body: bytes | bytearray, what: str, where: str) -> Any:
    """The message that a server sent.

    Args:
        kind: its class.
        body: as it came.
        what: begins the sentence that it is not understood: `the answer is`.
        where: the model, for messages.

    Raises:
        InputError: when it is no such message.
    """
    from google.protobuf.message import DecodeError  # optional, and there where a message is

    try:
        return kind.FromString(bytes(body))
    except DecodeError as error:
        raise InputError(f"{what} not understood: {error}", where=where) from error
