"""What came in, whatever its protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from motet.serving.batching.request import OWNER, Identity

__all__ = ["ENTERED", "PEER", "REQUEST_ID", "HeaderFields", "IncomingCall", "identity_of"]

ENTERED = "motet.entered"
"""What is true in the state of an ASGI scope whose request has entered the middleware, which then writes it down."""
PEER = "motet.peer"
"""Who is at the other end of its connection there, as `IncomingCall.peer_identity`."""
REQUEST_ID = "x-request-id"
"""The header, or the metadata of gRPC, that holds the caller's name of a request."""


def identity_of(names: Iterable[str]) -> Identity:
    """Who the client is whose certificate has these names: the first of them, none where it names nobody."""
    return Identity(next(filter(None, names), ""), "certificate")


class HeaderFields(Mapping[str, str]):
    """The fields of a head by their names in lower case, looked for when they are asked for.

    What came several times is joined with commas.

    Args:
        fields: as they came, names in lower case.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Collection[tuple[bytes, bytes]]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        wanted = name.encode("latin-1")
        found = [value for field, value in self._fields if field == wanted]
        if not found:
            raise KeyError(name)
        return b", ".join(found).decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(field.decode("latin-1") for field, _ in self._fields))

    def __len__(self) -> int:
        return len({field for field, _ in self._fields})


@dataclass(slots=True)
class IncomingCall:
    """What came in.

    Attributes:
        protocol: `http` or `grpc`.
        method: of HTTP, or the name of the method of gRPC.
        path: of the address, with or without its query; empty for gRPC.
        target: the graph or model that is asked for; empty for none.
        headers: by lower-case names; what came several times is joined with commas.
        peer: the address at the other end of the connection; empty where it has none.
        received_bytes: of the body, or of the message.
        admin: whether something is to be loaded, unloaded or scaled.
        peer_identity: who is at the other end of the connection: the user that runs the server, over the socket that nobody else
            can reach, or whom the client's certificate names; None where the connection does not say.
        deadline: when the caller gives up, on the clock `time.monotonic`, which is that of the event loop; None for never, or
            where the protocol does not say.
    """

    protocol: str
    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    peer: str
    received_bytes: int = 0
    admin: bool = False
    peer_identity: Identity | None = None
    deadline: float | None = None

    @property
    def owner(self) -> bool:
        """Whether the user that runs the server asks."""
        return self.peer_identity == OWNER

    @property
    def place(self) -> str:
        """The path without its query, which may hold what is nobody's business."""
        return self.path.partition("?")[0]

    @property
    def operation(self) -> str:
        """The method and the path."""
        return f"{self.method} {self.place}" if self.path else self.method
