"""Who may load, unload and scale, and decide on experiments."""

from __future__ import annotations

from collections.abc import Sequence

from motet.errors import ForbiddenError
from motet.serving.middleware.call import IncomingCall

__all__ = ["check_admin"]

ADMIN = "admin"
"""The class of callers who may."""
_WHAT = "loading, unloading, scaling and deciding on experiments"


def check_admin(admin: str, call: IncomingCall, klass: str, origins: Sequence[str] = ()) -> None:
    """See that a caller may load, unload and scale, and decide on experiments.

    Where it calls from decides nothing: a proxy calls for others.

    Args:
        admin: who may over the network: `key` those of the class `admin`, `open` everybody but pages of other sites,
            `socket` nobody. The user that runs the server may in any case, over its socket.
        call: what came in.
        klass: the class of the caller; empty where there are no classes.
        origins: other origins whose pages may ask.

    Raises:
        ForbiddenError: when it may not; says who may.
    """
    if call.owner or (klass == ADMIN and admin != "socket"):
        return
    if admin != "open":
        elsewhere = "" if admin == "socket" else f", elsewhere use a key of class {ADMIN!r}"
        hint = "on the server's machine, as the user that runs it, use motet load, unload, scale and experiment"
        raise ForbiddenError(f"{_WHAT} is not allowed over the network", hint=hint + elsewhere)
    origin = call.headers.get("origin")
    if origin is not None and origin not in origins and origin.partition("://")[2] != call.headers.get("host"):
        raise ForbiddenError(f"{_WHAT} is not allowed from pages of other sites")
