"""Members that play along without counting, off the way of the answers: a few calls at a time, and dropped where that is not enough."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable

from motet.batch import Column, Ragged
from motet.graph.node import Answer
from motet.nodes.owned import own_objects
from motet.runtime.deadline import unhurried
from motet.threads import begun
from motet.tracebacks import ends_program

__all__ = ["AT_ONCE", "Shadow", "copied"]

AT_ONCE = 4
"""Calls of a shadow on another machine or in another process that are under way; of one that computes here, one."""
MOST_CALLS, MOST_ROWS = 16, 8192
"""Calls of a shadow that wait, and their rows; beyond that rows are dropped."""


class Shadow:
    """The calls of one shadow. Any thread may give it some.

    Attributes:
        played: rows that it answered.
        failed: rows that it failed on.
        dropped: rows that it was not called with, since too many were waiting, or there was no memory for them.
        compared: rows whose answer could be compared with what was answered.
        agreed: those of them for which it was the same.
        at_once: how many calls are under way.
    """

    def __init__(self) -> None:
        self.played = self.failed = self.dropped = self.compared = self.agreed = 0
        self.at_once = 1
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Callable[[], Answer]]] = deque()
        self._rows = self._threads = 0
        self._closed = False

    def offer(self, rows: int, make: Callable[[], Callable[[], Answer]]) -> None:
        """Call it with some rows, later, or drop them.

        Args:
            rows: how many.
            make: makes the call, of columns that stay as they are; not asked where the rows are dropped.
        """
        with self._changed:
            full = len(self._waiting) >= MOST_CALLS or (self._waiting and self._rows + rows > MOST_ROWS)
            if full or self._closed:
                self.dropped += rows
                return
            try:
                context, call = contextvars.copy_context(), make()
            except BaseException as error:
                self.dropped += rows
                if ends_program(error):
                    raise
                return
            self._waiting.append((rows, lambda: context.run(unhurried, call)))
            self._rows += rows
            if self._threads >= self.at_once:
                return
            self._threads += 1
        if not begun(threading.Thread(target=self._work, name="motet-shadow", daemon=True)):
            with self._changed:
                self._threads -= 1
                self._drop()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._threads -= 1
                    self._changed.notify_all()
                    return
                rows, call = self._waiting.popleft()
                self._rows -= rows
            try:
                failed = len(call().faults)
            except BaseException:  # noqa: BLE001 (it is a failure of its rows, of which nobody is told but by their number)
                failed = rows
            with self._changed:
                self.played += rows - failed
                self.failed += failed
            del call

    def compare(self, found: tuple[int, int]) -> None:
        """Count rows that were compared, and those that agreed."""
        with self._changed:
            self.compared += found[0]
            self.agreed += found[1]

    def _drop(self) -> None:
        self.dropped += self._rows
        self._waiting.clear()
        self._rows = 0

    def settle(self, until: float) -> bool:
        """Wait for what waits and what is under way, until then on the clock `time.monotonic`; whether it ended."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._threads, max(0.0, until - time.monotonic()))

    def close(self, until: float) -> bool:
        """Take no more, drop what waits, and wait for what is under way, until then on the clock `time.monotonic`; whether it ended."""
        with self._changed:
            self._closed = True
            self._drop()
            return self._changed.wait_for(lambda: not self._threads, max(0.0, until - time.monotonic()))

    def open(self, *, anew: bool = False) -> None:
        """Take calls again, and count from 0 where it is as new."""
        with self._changed:
            self._closed = False
            if anew:
                self.played = self.failed = self.dropped = self.compared = self.agreed = 0


def copied(column: Column) -> Column:
    """A column that nobody else can change."""
    values = column.values if isinstance(column, Ragged) else column
    own = own_objects(values).copy() if values.dtype == object else values.copy()
    own.setflags(write=False)
    return Ragged(own, column.offsets, column.shapes) if isinstance(column, Ragged) else own
