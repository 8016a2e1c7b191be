"""Clients that have closed their side of a connection: they wait for their answers, or are gone, and look the same.

Only what is sent tells them apart: a client that is gone has it refused. So one that waits for long is sent `100 Continue`,
which every client of HTTP/1.1 passes over (RFC 9110, 15.2).
"""

from __future__ import annotations

import asyncio
import socket

__all__ = ["HalfClosed"]

ASK_S = 5.0
"""How long a client waits before it is asked whether it is there: long enough that few ever are."""
LOOK_S = 1.0
"""How often it is looked whether what was sent was refused."""


class HalfClosed:
    """One such client.

    Args:
        transport: of its connection.
        now: when it closed its side, on the clock of the event loop.
        wait_s: how long it may wait for all its answers.

    Attributes:
        due: when to look at it again.
        asked: whether it was asked if it is there.
    """

    __slots__ = ("_end", "_transport", "asked", "due")

    def __init__(self, transport: asyncio.Transport, now: float, wait_s: float) -> None:
        self._transport, self._end = transport, now + wait_s
        self.due = min(now + ASK_S, self._end)
        self.asked = False

    def is_late(self, now: float) -> bool:
        """Whether it has waited for as long as it may."""
        return now >= self._end

    def is_gone(self) -> bool:
        """Whether what was sent has been refused."""
        raw: socket.socket | None = self._transport.get_extra_info("socket")
        return raw is not None and raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def look_later(self, now: float) -> None:
        """Look at it again soon."""
        self.asked = True
        self.due = min(now + LOOK_S, self._end)
