"""What stands in a connection's line of answers, and what it asks of the connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from motet.serving.batching.request import Identity
from motet.serving.middleware.call import HeaderFields, IncomingCall

__all__ = ["Exchange", "Origin", "call_of"]


class Exchange(Protocol):
    """A request whose answer is given, or is to come; answers leave in the order of the requests.

    Attributes:
        data: the bytes that end the answer; None until they are there.
        keep_alive: whether the connection stays when they are sent.
    """

    data: bytes | None
    keep_alive: bool

    def at_head(self) -> None:
        """Every answer before it has been sent: what it writes from now on may go out."""
        ...

    def abandon(self) -> None:
        """The client is gone."""
        ...


class Origin(Protocol):
    """Where a request comes from, and what is known of it: a connection, or a server around this one.

    Attributes:
        method: of the request.
        known: the fields of its head by their names in lower case; of those that came several times the last.
        prepared: what was made of them before, for a request that has the same head; None for nothing.
        peer_identity: see `IncomingCall`.
    """

    method: bytes
    known: dict[bytes, bytes]
    prepared: object
    peer_identity: Identity | None

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The fields of the request's head, names in lower case."""
        ...

    @property
    def url(self) -> bytes:
        """The address as it was sent."""
        ...

    def address(self, kind: str = "peername") -> tuple[str, int] | None:
        """The client's address and port (or, for `sockname`, ours)."""
        ...

    def finished(self, exchange: Exchange, /) -> None:
        """An answer is complete."""
        ...


def call_of(
    origin: Origin,
    path: str,
    received_bytes: int,
    *,
    target: str = "",
    method: str = "",
    fields: Collection[tuple[bytes, bytes]] = (),
) -> IncomingCall:
    """What came in, for the middleware.

    Args:
        origin: where it came from.
        path: what was asked for.
        received_bytes: of the body.
        target: the graph or model; empty for none.
        method: of the request; empty for that of the one that came from there last.
        fields: of its head; none likewise.
    """
    peer, headers = origin.address(), HeaderFields(fields or origin.headers)
    method = method or origin.method.decode() or "-"
    return IncomingCall(
        "http", method, path, target, headers, peer[0] if peer else "", received_bytes, False, origin.peer_identity
    )
