"""What stands in a connection's line of answers."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Exchange"]


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
