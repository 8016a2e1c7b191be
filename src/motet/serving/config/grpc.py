"""The key `grpc` of serve.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from motet.graph.section import Seconds, Section, between

__all__ = ["GrpcConfig"]


@dataclass(frozen=True)
class GrpcConfig(Section):
    """How the gRPC port behaves; the bounds of requests themselves are those of the server's `limits`.

    Attributes:
        compression: of answers: `none`, `gzip` or `deflate`, for clients that accept it. Requests may always be compressed.
        calls: calls under way at the same time; beyond it they are refused with RESOURCE_EXHAUSTED.
        connection_calls: calls under way on one connection; beyond it clients wait.
        stream_requests: requests of one ModelStreamInfer call under way; beyond it no more are read.
        keepalive_s: how often a silent connection is asked whether it is still there.
        keepalive_timeout_s: how long that may take; then the connection is closed, and its calls are cancelled.
        idle_s: a connection without calls is closed after this time.
    """

    compression: Literal["none", "gzip", "deflate"] = "none"
    calls: Annotated[int, between(1)] = 4096
    connection_calls: Annotated[int, between(1)] = 1024
    stream_requests: Annotated[int, between(1)] = 64
    keepalive_s: Seconds = 60.0
    keepalive_timeout_s: Seconds = 20.0
    idle_s: Seconds = 600.0
