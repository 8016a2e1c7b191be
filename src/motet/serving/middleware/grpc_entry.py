"""What the gRPC server is told of those who call, and what it tells of their calls when they have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote

from motet.errors import MotetError
from motet.serving.batching.request import Identity, Reply, Request

__all__ = ["CALL_NAME", "Desk", "Ended", "Visit", "address_of", "begun", "name_of"]

Headers = Mapping[str, str]
"""Metadata of a call by lower-case name; several values of one name joined with commas; binary ones left out."""
CALL_NAME = "x-request-id"
"""What holds the caller's name of a call."""


@dataclass(slots=True)
class Ended:
    """A call, or one request of a stream, that has ended.

    Attributes:
        method: the name of the method, for example `ModelInfer`.
        model: the name that was asked for; empty where the method has none.
        request: what was played; None where it did not come to that.
        reply: its answer; None where there is none.
        error: why there is none; None where there is one.
        code: the name of the gRPC status, for example `OK`.
        started, ended: on the clock of the event loop.
        received_bytes, sent_bytes: of the messages.
    """

    method: str
    model: str
    request: Request | None
    reply: Reply | None
    error: MotetError | None
    code: str
    started: float
    ended: float
    received_bytes: int = 0
    sent_bytes: int = 0


class Visit(Protocol):
    """A call that was let in.

    Attributes:
        identity: who calls.
    """

    identity: Identity

    def carry(self, request: Request, /) -> None:
        """The request that is about to be played for it."""
        ...

    def leave(self, ended: Ended) -> None:
        """The call has ended, in whatever way; called exactly once, in the thread of the event loop. Must not raise."""
        ...


class Desk(Protocol):
    """Decides who may call. Called in the thread of the event loop."""

    def enter(self, method: str, model: str, headers: Headers, address: str) -> Visit | Awaitable[Visit]:
        """Let a call in, now or when it is its turn; a call that is cancelled while it waits cancels the awaitable.

        Args:
            method: the name of the method; each request of a stream enters alone, as `ModelStreamInfer`.
            model: the name of the model, empty where the method has none.
            headers: the call's metadata: credentials, `traceparent`.
            address: of the peer, without its port; empty for a peer that has none.

        Raises:
            MotetError: when it may not.
        """
        ...


def _headers_of(metadata: object) -> dict[str, str]:
    """The texts of a call's metadata by name."""
    found: dict[str, str] = {}
    for key, value in metadata or ():  # type: ignore[attr-defined]
        if isinstance(value, str):
            found[key] = f"{found[key]}, {value}" if key in found else value
    return found


async def begun(context: Any) -> dict[str, str]:
    """The headers of a call, whose caller is sent its name of the call, `x-request-id`, before the answer or error."""
    headers = _headers_of(context.invocation_metadata())
    if name := headers.get(CALL_NAME):
        await context.send_initial_metadata(((CALL_NAME, name),))
    return headers


def name_of(context: Any) -> tuple[tuple[str, str], ...]:
    """The caller's name of a call, as metadata that gives it back."""
    name = _headers_of(context.invocation_metadata()).get(CALL_NAME)
    return ((CALL_NAME, name),) if name else ()


@lru_cache(maxsize=1024)
def address_of(peer: str) -> str:
    """The address of gRPC's name for a peer: `127.0.0.1` of `ipv4:127.0.0.1:50212`, `::1` of `ipv6:%5B::1%5D:50212`."""
    family, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if family in ("ipv4", "ipv6") else ""
