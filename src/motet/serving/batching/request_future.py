"""A request whose answer is a future."""

from __future__ import annotations

import asyncio
from typing import Any

from motet.errors import MotetError
from motet.serving.batching.request import Reply, Request

__all__ = ["RequestFuture"]


class RequestFuture(Request):
    """A request whose answer is awaited.

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
