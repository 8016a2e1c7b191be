"""Who may ask, and who may load and unload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from motet.errors import ForbiddenError
from motet.serving.batching.request import ANONYMOUS, Identity, Reply, Request

__all__ = ["Desk", "OpenDesk", "RestCall", "Visit", "check_admin"]

ADMIN = "admin"
"""The class of callers who may load and unload."""


@dataclass(frozen=True, slots=True)
class RestCall:
    """What came in.

    Attributes:
        method, path: of the request.
        target: the graph or model that is asked for; empty for none.
        headers: by lower-case names; what came several times is joined with commas.
        peer: the address at the other end of the connection; empty where it has none.
        admin: whether something is to be loaded or unloaded.
        received_bytes: of the body.
        owner: whether the user that runs the server asks, over the socket that nobody else can reach.
    """

    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    peer: str
    admin: bool
    received_bytes: int
    owner: bool = False


class Visit(Protocol):
    """A request that was let in.

    Attributes:
        identity: who asks.
        sent_bytes: of the answer's body; set before `end`.
    """

    identity: Identity
    sent_bytes: int

    def carry(self, request: Request, /) -> None:
        """The request that is about to be played for it."""
        ...

    def end(self, request: Request | None, reply: Reply | None, status: int, error: str, /) -> None:
        """It is over, in whatever way; `error` is the class of the error, empty for none. Must not raise."""
        ...


class Desk(Protocol):
    """Decides who may ask. Called in the thread of the event loop."""

    async def enter(self, asked: RestCall, /) -> Visit:
        """Let a request in, now or when it is its turn; cancelling it gives the turn up.

        Raises:
            MotetError: when it may not come in.
        """
        ...

    def administers(self, asked: RestCall, /) -> bool:
        """Whether the caller may see what the requests of others were; lets nobody in."""
        ...


class _Anybody:
    """A visit of which nothing is known, and nothing is kept."""

    identity = ANONYMOUS
    sent_bytes = 0

    def carry(self, request: Request, /) -> None:
        """Nothing follows it."""

    def end(self, request: Request | None, reply: Reply | None, status: int, error: str, /) -> None:
        """Nothing was held."""


class OpenDesk:
    """Lets everybody ask, and those load and unload who may.

    Args:
        admin: `socket`, `key` or `open`; see `check_admin`.
        origins: other origins whose pages may ask.
    """

    def __init__(self, admin: str = "key", origins: Sequence[str] = ()) -> None:
        self._admin, self._origins = admin, origins

    async def enter(self, asked: RestCall, /) -> Visit:
        """Let a request in.

        Raises:
            ForbiddenError: when it is to load or unload, and may not.
        """
        if asked.admin:
            check_admin(self._admin, asked, "", self._origins)
        return _Anybody()

    def administers(self, asked: RestCall, /) -> bool:
        """Whether the caller may load and unload."""
        try:
            check_admin(self._admin, asked, "", self._origins)
        except ForbiddenError:
            return False
        return True


def check_admin(admin: str, asked: RestCall, klass: str, origins: Sequence[str] = ()) -> None:
    """See that a caller may load, unload and scale. Where it calls from decides nothing: a proxy calls for others.

    Args:
        admin: who may over the network: `key` those of the class `admin`, `open` everybody but pages of other sites,
            `socket` nobody. The user that runs the server may in any case, over its socket.
        asked: what came in.
        klass: the class of the caller; empty where there are no classes.
        origins: other origins whose pages may ask.

    Raises:
        ForbiddenError: when it may not; says who may.
    """
    if asked.owner or (klass == ADMIN and admin != "socket"):
        return
    if admin != "open":
        elsewhere = "" if admin == "socket" else f", elsewhere use a key of class {ADMIN!r}"
        raise ForbiddenError(
            "loading, unloading and scaling is not allowed over the network",
            hint=f"on the server's machine, as the user that runs it, use motet load, unload and scale{elsewhere}",
        )
    origin = asked.headers.get("origin")
    if origin is not None and origin not in origins and origin.partition("://")[2] != asked.headers.get("host"):
        raise ForbiddenError("loading, unloading and scaling is not allowed from pages of other sites")
