"""How the parent of several processes knows that one of them hangs: each sends it a byte from its event loop, again and again.

A process that is stopped, or whose code holds the interpreter or the loop, sends nothing. Both ends are those of one pair
of sockets, which also tells the process when its parent is gone. Starting, loading and ending may hold the interpreter for
long by themselves: the byte says so, and more silence is allowed, but to a process that somebody has stopped.

The parent has no metrics: the incidents that it says itself it tells a process over the same sockets, which counts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from motet.system.processes import is_stopped

__all__ = ["Heartbeat", "Pulse"]

BEAT_S = 0.25
"""How often a process says that it goes on."""
BUSY_S = 600.0
"""The silence that is allowed to a process that starts, loads or ends."""
LOOK_S = 1.0
"""The most that one look adds to a silence: while the parent itself was stopped it heard nobody."""
SERVING, BUSY = b".", b"+"


class Heartbeat:
    """Sends the beats of this process, in the thread of its event loop.

    Args:
        link: to the parent.
        busy: whether something goes on that may hold the process for long.
    """

    def __init__(self, link: socket.socket, busy: Callable[[], bool]) -> None:
        self._link, self._busy = link, busy

    def start(self) -> None:
        """Send one, and the next ones as long as the event loop runs."""
        self.send()
        asyncio.get_running_loop().call_later(BEAT_S, self.start)

    def send(self) -> None:
        """Send one, as is due at once when the process is no longer busy: the next request may hold it."""
        with contextlib.suppress(OSError):  # nobody has read for long, or the parent is gone, which another thread sees
            self._link.send(BUSY if self._busy() else SERVING, socket.MSG_DONTWAIT)


class Pulse:
    """What the parent hears of one process.

    Args:
        link: to that process.
        pid: its number.
        hang_s: the silence after which a process that serves hangs.
        now: the time on a clock that only goes up, in seconds.

    Attributes:
        heard: whether it has ever said anything.
        serving: whether it has ever served.
        silent_s: how long it has said nothing.
    """

    def __init__(self, link: socket.socket, pid: int, hang_s: float, now: float) -> None:
        self._link, self._pid, self._hang_s, self._looked = link, pid, hang_s, now
        self.silent_s, self._last = 0.0, BUSY
        self.serving = self.heard = False

    def listen(self, now: float) -> None:
        """Take in what it has said."""
        self.silent_s += min(now - self._looked, LOOK_S)
        self._looked = now
        if beats := self._heard():
            self.silent_s, self._last, self.heard = 0.0, beats[-1:], True
            self.serving = self.serving or SERVING in beats

    def hangs(self, now: float) -> bool:
        """Listen; whether it was silent for too long."""
        self.listen(now)
        if self.silent_s <= self._hang_s:
            return False
        return self._last == SERVING or self.silent_s > BUSY_S or is_stopped(self._pid)

    def count(self, kind: str) -> bool:
        """Have an incident counted that the parent has said; False where the process cannot be told."""
        try:
            return self._link.send(f"{kind}\n".encode(), socket.MSG_DONTWAIT) > 0
        except OSError:
            return False

    def _heard(self) -> bytes:
        try:
            return self._link.recv(1 << 16, socket.MSG_DONTWAIT)
        except OSError:  # nothing has come, or it has ended
            return b""

    def close(self) -> None:
        """Let the process go: what is left of it ends as without a parent."""
        self._link.close()
