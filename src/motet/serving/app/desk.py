"""Who may ask, and who may load and unload."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from motet.errors import ForbiddenError
from motet.serving.request import ANONYMOUS, Identity, Reply, Request

__all__ = ["Asked", "Desk", "OpenDesk", "Visit", "check_admin"]

ADMIN = "admin"
"""The class of callers who may always load and unload."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came in.

    Attributes:
        method, path: of the request.
        target: the graph or model that is asked for; empty for none.
        headers: by lower-case names; what came several times is joined with commas.
        peer: the address at the other end of the connection; empty where it has none.
        admin: whether something is to be loaded or unloaded.
        received_bytes: of the body.
    """

    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    peer: str
    admin: bool
    received_bytes: int


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

    async def enter(self, asked: Asked, /) -> Visit:
        """Let a request in, now or when it is its turn; cancelling it gives the turn up.

        Raises:
            MotetError: when it may not come in.
        """
        ...

    def administers(self, asked: Asked, /) -> bool:
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
        admin: `local`, `key` or `open`; see `check_admin`.
        origins: other origins whose pages may ask.
    """

    def __init__(self, admin: str = "local", origins: Sequence[str] = ()) -> None:
        self._admin, self._origins = admin, origins

    async def enter(self, asked: Asked, /) -> Visit:
        """Let a request in.

        Raises:
            ForbiddenError: when it is to load or unload, and may not.
        """
        if asked.admin:
            check_admin(self._admin, asked, asked.peer, "", self._origins)
        return _Anybody()

    def administers(self, asked: Asked, /) -> bool:
        """Whether the caller may load and unload."""
        try:
            check_admin(self._admin, asked, asked.peer, "", self._origins)
        except ForbiddenError:
            return False
        return True


def check_admin(admin: str, asked: Asked, address: str, klass: str, origins: Sequence[str] = ()) -> None:
    """See that a caller may load and unload.

    Where being local is enough, a page of another origin that a browser on this machine shows is not local, nor is what
    a proxy on this machine hands on that is not trusted to say for whom.

    Args:
        admin: `open` lets everybody, `local` callers on this machine, `key` only those of the class `admin`, who may in
            any case.
        asked: what came in.
        address: of the client, behind proxies that are trusted.
        klass: the class of the caller; empty where there are no classes.
        origins: other origins whose pages may ask.

    Raises:
        ForbiddenError: when it may not; says who may.
    """
    if klass == ADMIN or admin == "open":
        return
    if admin == "key":
        raise ForbiddenError("loading and unloading is not allowed", hint=f"use a key of class {ADMIN!r}")
    if not _is_loopback(address) or (address == asked.peer and _is_forwarded(asked.headers)):
        raise ForbiddenError(
            "loading and unloading is allowed from this machine only",
            hint=f"call from there, use a key of class {ADMIN!r}, or set admin: open",
        )
    origin = asked.headers.get("origin")
    foreign = origin is not None and origin not in origins and origin.partition("://")[2] != asked.headers.get("host")
    if foreign or not _is_own_name(asked.headers.get("host", "")):
        raise ForbiddenError("loading and unloading is not allowed from pages of other sites")


def _is_loopback(address: str) -> bool:
    try:
        return not address or ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_forwarded(headers: Mapping[str, str]) -> bool:
    return "x-forwarded-for" in headers or "forwarded" in headers


def _is_own_name(host: str) -> bool:
    """Whether a Host is an address or `localhost`: another name may be a site's that points here (DNS rebinding)."""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
