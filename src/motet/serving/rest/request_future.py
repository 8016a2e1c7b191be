"""A request whose answer is awaited, and given up when the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import Request

from motet.errors import CancelledError, DeadlineError, MotetError
from motet.serving.batching.request import Reply
from motet.serving.batching.request import Request as Played
from motet.serving.http.asgi import OWNER, VISITED
from motet.serving.middleware.rest_entry import Desk, RestCall

__all__ = ["Awaited", "administers", "asked_of", "gone", "headers_of", "unless_gone"]

T = TypeVar("T")


class Awaited(Played):
    """A request whose answer is a future.

    Attributes:
        future: of the `Reply`; fails with a `MotetError`.
    """

    __slots__ = ("future",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    @property
    def reply(self) -> Reply | None:
        """The answer, where there is one."""
        future = self.future
        return future.result() if future.done() and not future.cancelled() and future.exception() is None else None

    def answered(self, reply: Reply) -> None:
        """Take the answer."""
        if not self.future.done():
            self.future.set_result(reply)

    def failed(self, error: MotetError) -> None:
        """Take the reason why there is none."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # looked at, also where nobody waits any more


async def unless_gone(request: Request, awaitable: Awaitable[T], deadline: float | None = None) -> T:
    """Await something as long as the client is there; cancels it when the client goes.

    Args:
        request: whose body has been read.
        awaitable: what is awaited.
        deadline: when it is of no use any more, on the clock of the event loop.

    Raises:
        CancelledError: when the client has gone.
        DeadlineError: when it is too late.
    """
    waited = asyncio.ensure_future(awaitable)
    if waited.done():
        return waited.result()
    leaving = asyncio.ensure_future(gone(request))
    loop = asyncio.get_running_loop()
    left = None if deadline is None else max(0.0, deadline - loop.time())
    try:
        await asyncio.wait((waited, leaving), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if waited.done():
            return waited.result()
        if leaving.done():
            raise CancelledError("the caller is gone")
        raise DeadlineError("not answered in time")
    finally:
        leaving.cancel()
        waited.cancel()


async def gone(request: Request) -> None:
    """Wait until the client has gone; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def headers_of(request: Request) -> dict[str, str]:
    """Headers by lower-case names; what came several times is joined with commas."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def asked_of(
    request: Request, target: str, received_bytes: int, *, admin: bool = False, visited: bool = True
) -> RestCall:
    """What came in, for the desk, which makes a visit of it, unless it is only asked who it is of (`visited`)."""
    state = request.scope["state"]
    if visited:
        state[VISITED] = True
    peer = "" if request.client is None else request.client.host
    return RestCall(
        request.method,
        request.url.path,
        target,
        headers_of(request),
        peer,
        admin,
        received_bytes,
        owner=state.get(OWNER, False),
    )


def administers(desk: Desk, request: Request) -> bool:
    """Whether the caller may know what may name files and addresses, and what others asked."""
    return desk.administers(asked_of(request, "", 0, visited=False))
