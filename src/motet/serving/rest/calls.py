"""What came in over REST, for the middleware; what is awaited as long as the client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request

from motet.errors import CancelledError
from motet.serving.middleware.call import ENTERED, PEER, HeaderFields, IncomingCall
from motet.serving.middleware.context import RequestContext
from motet.serving.middleware.middleware import Middleware

__all__ = ["administers", "enter", "gone", "unless_gone"]

T = TypeVar("T")


def _call_of(request: Request, target: str, received_bytes: int, *, admin: bool) -> IncomingCall:
    peer, headers = "" if request.client is None else request.client.host, HeaderFields(request.scope["headers"])
    path, identity = request.scope["path"], request.scope["state"].get(PEER)
    return IncomingCall("http", request.method, path, target, headers, peer, received_bytes, admin, identity)


async def enter(
    middleware: Middleware,
    request: Request,
    target: str,
    received_bytes: int,
    deadline: Callable[[], Awaitable[float | None]] | None = None,
    *,
    admin: bool = False,
) -> RequestContext:
    """Let a request in, now or when it is its turn, as long as the client is there.

    Args:
        middleware: of the server.
        request: whose body has been read.
        target: the graph or model that is asked for.
        received_bytes: of the body.
        deadline: says when its answer is of no use any more, see `Middleware.enter`.
        admin: whether something is to be loaded, unloaded or scaled.

    Raises:
        MotetError: when it may not come in, or the client has gone.
    """
    request.scope["state"][ENTERED] = True
    entered = middleware.enter(_call_of(request, target, received_bytes, admin=admin), deadline)
    if isinstance(entered, RequestContext):
        return entered
    turn = asyncio.ensure_future(entered)
    try:
        return await unless_gone(request, turn)
    except BaseException as error:
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            turn.result().end(error)  # its turn came in the moment in which it was given up
        raise


def administers(middleware: Middleware, request: Request) -> bool:
    """Whether the caller may know what may name files and addresses, and what others asked."""
    return middleware.administers(_call_of(request, "", 0, admin=True))


async def unless_gone(request: Request, awaitable: Awaitable[T]) -> T:
    """Await something as long as the client is there; cancels it when the client goes.

    Args:
        request: whose body has been read.
        awaitable: what is awaited.

    Raises:
        CancelledError: when the client has gone.
    """
    waited = asyncio.ensure_future(awaitable)
    if waited.done():
        return waited.result()
    leaving = asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait((waited, leaving), return_when=asyncio.FIRST_COMPLETED)
        if waited.done():
            return waited.result()
        raise CancelledError("the caller is gone")
    finally:
        leaving.cancel()
        waited.cancel()


async def gone(request: Request) -> None:
    """Wait until the client has gone; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
