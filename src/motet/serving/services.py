"""What a process does for every request beside playing it: who may ask, what is counted, kept and written down.

Every part is there only where it is configured; without any of them a request costs no more than a few attribute looks.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from motet.errors import MotetError
from motet.serving.config import ServeConfig
from motet.serving.gateway import Gateway, Served
from motet.serving.lane import Listener
from motet.serving.request import Reply

if TYPE_CHECKING:
    from motet.serving.http.asgi import App, Message
    from motet.serving.http.front import Front
    from motet.serving.http.infer import InferExchange

__all__ = ["Services"]

_LOG = logging.getLogger("motet.serving")


class Services:
    """The parts of a server around its gateway, in one process.

    Args:
        config: how the server is set up.
        folder: what the processes of the server share; None makes one that ends with this process.

    Attributes:
        gateway, front: set by the server that makes them.
    """

    gateway: Gateway
    front: Front

    def __init__(self, config: ServeConfig, folder: str | None) -> None:
        self.config = config
        self._own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="motet-serve-")
        self._app: App | None = None

    def check(self, served: Served) -> None:
        """See that what is configured fits a graph that was added.

        Raises:
            MotetError: when it does not.
        """

    def listener(self, name: str) -> Listener | None:
        """Who is told what the lane of a graph does."""
        return None

    async def app(self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        """Answer what no inference route does; made when it is first asked, so that a server starts without it."""
        if self._app is None:
            from motet.serving.app import create_app

            self._app = create_app(self.gateway)
        await self._app(scope, receive, send)

    def receive(self, exchange: InferExchange, body: bytes) -> None:
        """A request for inference was read."""
        exchange.submit(body)

    def done(self, exchange: InferExchange, reply: Reply | None, error: MotetError | None) -> bytes:
        """A request for inference is answered; further fields of the answer's head."""
        return b""

    async def start(self) -> None:
        """Begin what works beside requests."""

    async def reload(self, config: ServeConfig) -> None:
        """Take over another configuration."""
        self.config = config

    async def close(self) -> None:
        """Finish what works beside requests, within its own bounds."""
        await asyncio.sleep(0)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
