"""A queue between the event loop and a writer's thread, bounded in rows and bytes.

What was taken counts until it is settled, so that the bound holds for all that a sink has in memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from motet.serving.sinks.items import Item

__all__ = ["Buffer"]

_NEVER = 1 << 62


class Buffer:
    """A bounded queue; any thread may put, one may take.

    Args:
        num_rows: rows that may be held.
        num_bytes: bytes that may be held. An item that is bigger is let in when nothing else is held.
    """

    def __init__(self, num_rows: int, num_bytes: int) -> None:
        self._max_rows, self._max_bytes = num_rows, num_bytes
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._queued_rows = 0
        self._idle, self._enough = False, _NEVER
        self.held_rows = self.held_bytes = 0
        self.closed = False

    def put(self, item: Item, times: int = 1) -> bool:
        """Hold an item; False where there is no room, or after `close`.

        Args:
            item: what is put.
            times: how many times the bound this item may go up to.
        """
        num_rows, num_bytes = item.num_rows, item.num_bytes
        with self._changed:
            if self.closed:
                return False
            rows, size = self.held_rows + num_rows, self.held_bytes + num_bytes
            if (rows > self._max_rows * times or size > self._max_bytes * times) and self.held_rows and num_rows:
                return False
            self.held_rows, self.held_bytes = rows, size
            self._queued_rows += num_rows
            self._items.append(item)
            if self._idle or self._queued_rows >= self._enough:
                self._idle, self._enough = False, _NEVER
                self._changed.notify()
            return True

    @property
    def empty(self) -> bool:
        """Whether all that was put was taken."""
        return not self._items

    @property
    def over(self) -> bool:
        """Whether more is held than the bound."""
        return self.held_rows > self._max_rows or self.held_bytes > self._max_bytes

    def take(self, timeout_s: float | None, linger_s: float, num_rows: int) -> list[Item]:
        """What was put, in order: at most `num_rows` rows, and at least one item where there is any.

        Args:
            timeout_s: how long to wait for a first item; None is until one comes or the buffer is closed.
            linger_s: how long to wait for more after it.
            num_rows: enough of them end the wait.
        """
        with self._changed:
            if not self._items and not self.closed:
                self._idle = True
                self._changed.wait(timeout_s)
                self._idle = False
            end = time.monotonic() + linger_s
            while self._items and self._queued_rows < num_rows and not self.closed:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._enough = num_rows
                self._changed.wait(left)
            self._enough = _NEVER
            taken: list[Item] = []
            rows = 0
            while self._items and (not taken or rows + self._items[0].num_rows <= num_rows):
                item = self._items.popleft()
                rows += item.num_rows
                taken.append(item)
            self._queued_rows -= rows
            return taken

    def settle(self, num_rows: int, num_bytes: int) -> None:
        """Give back the room of items that were taken."""
        with self._changed:
            self.held_rows -= num_rows
            self.held_bytes -= num_bytes

    def close(self) -> None:
        """Hold no more; `take` no longer waits."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
