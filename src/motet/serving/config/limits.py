"""Bounds of a server: each with a value that is right for someone who configures nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from motet.graph.section import Bytes, Seconds, Section, between

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits(Section):
    """Bounds of a server.

    Attributes:
        body_bytes: of a request's body, also after it is inflated.
        header_bytes: of a request's line and headers together.
        buffered_bytes: of the bodies of all requests together that are being read or wait.
        rows: of one request.
        batch_rows: rows of several requests that are played together.
        queue_rows: rows that may wait for one graph; beyond it requests are refused with 503.
        connections: beyond it new ones are closed at once.
        pipelined: requests of one connection that may be under way at the same time.
        header_timeout_s: from the first byte of a request to the end of its headers.
        body_timeout_s: between two parts of a body.
        request_timeout_s: from the first byte of a request to its last.
        idle_timeout_s: between two requests of a connection.
        write_timeout_s: how long a client may take none of its answer.
        answer_timeout_s: from a request's last byte to its answer, where the caller does not say; 0 for no bound.
        half_closed_s: how long requests go on whose client has closed its side of the connection and still reads, before
            they are answered 408. A client that is gone is found out after five seconds.
        drain_timeout_s: how long accepted requests may take when the server is told to stop.
        hang_timeout_s: how long one of several processes may give no sign of life while it serves: then it is killed, and
            another takes its place.
    """

    body_bytes: Annotated[Bytes, between(1)] = 64 << 20
    header_bytes: Annotated[Bytes, between(1)] = 32 << 10
    buffered_bytes: Annotated[Bytes, between(1)] = 1 << 30
    rows: Annotated[int, between(1)] = 16_384
    batch_rows: Annotated[int, between(1)] = 2048
    queue_rows: Annotated[int, between(1)] = 32_768
    connections: Annotated[int, between(1)] = 20_000
    pipelined: Annotated[int, between(1)] = 64
    header_timeout_s: Seconds = 10.0
    body_timeout_s: Seconds = 10.0
    request_timeout_s: Seconds = 120.0
    idle_timeout_s: Seconds = 75.0
    write_timeout_s: Seconds = 30.0
    answer_timeout_s: Annotated[float, between(0)] = 60.0
    half_closed_s: Seconds = 60.0
    drain_timeout_s: Seconds = 30.0
    hang_timeout_s: Seconds = 5.0
