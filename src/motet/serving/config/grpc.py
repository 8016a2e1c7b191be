"""The key `grpc` of serve.yaml."""

from __future__ import annotations

from dataclasses import dataclass, fields

from motet.errors import GraphError
from motet.graph.fields import Fields

__all__ = ["GrpcConfig"]

COMPRESSIONS = ("none", "gzip", "deflate")


@dataclass(frozen=True)
class GrpcConfig:
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

    compression: str = "none"
    calls: int = 4096
    connection_calls: int = 1024
    stream_requests: int = 64
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    idle_s: float = 600.0

    @classmethod
    def read(cls, value: object, where: str) -> GrpcConfig:
        """The configuration of a file.

        Raises:
            GraphError: when a key is unknown, or a value is of another kind or too small.
        """
        known = {each.name: each.default for each in fields(cls)}
        given = Fields(value, where, tuple(known))
        taken: dict[str, object] = {}
        for name, default in known.items():
            if name not in given:
                continue
            if isinstance(default, str):
                taken[name] = given.take(name, str)
                if taken[name] not in COMPRESSIONS:
                    raise GraphError(
                        f"must be one of {', '.join(COMPRESSIONS)}; got {taken[name]!r}", where=given.place(name)
                    )
                continue
            number = given.take(name, int if isinstance(default, int) else float)
            if number <= 0:
                raise GraphError(f"must be more than 0; got {number}", where=given.place(name))
            taken[name] = number
        return cls(**taken)  # type: ignore[arg-type]
