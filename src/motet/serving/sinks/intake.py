"""The side of a sink that faces the event loop: lets items into the buffer, and tells those who wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.buffer import Buffer
from motet.serving.sinks.items import Item, Marker
from motet.serving.sinks.stats import SinkStats

__all__ = ["Intake", "tell"]


@dataclass(slots=True, eq=False)
class _Waiting:
    """An item that waits for room."""

    item: Item
    future: asyncio.Future[bool]
    timer: asyncio.TimerHandle
    admitted: bool = False


class Intake:
    """Lets items into a buffer. All is for the thread of the event loop, but `put`, `confirm`, `made_room` and `soon`.

    Args:
        config: of the sink.
        stats: where what is dropped is counted.
    """

    def __init__(self, config: SinkConfig, stats: SinkStats) -> None:
        self._config, self._stats = config, stats
        self.buffer = Buffer(config.buffer_rows, config.buffer_bytes)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._acks: deque[tuple[Marker, asyncio.Future[bool]]] = deque()
        self._waiting: deque[_Waiting] = deque()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, known from `start` on."""
        assert self._loop is not None
        return self._loop

    def start(self) -> bool:
        """Begin to take items, in the event loop that runs; false where that was done."""
        if self._loop is not None:
            return False
        self._loop = asyncio.get_running_loop()
        return True

    def offer(self, item: Item, deadline: float | None) -> asyncio.Future[bool] | None:
        """Take an item.

        Args:
            item: what is to be written.
            deadline: when nobody waits any more, on the clock of the event loop.

        Returns:
            None when there is nothing to wait for; else what becomes true when the item is safe, or false when it was
            dropped, or is not safe in time.
        """
        if not self._waiting and self.buffer.put(item):
            return self.settled(deadline) if self._config.durable else None
        if self._config.full == "drop" or self.buffer.closed:
            self._drop(item)
            return None
        future: asyncio.Future[bool] = self.loop.create_future()
        waiting = _Waiting(item, future, self.loop.call_at(self._until(deadline), self._give_up, future))
        future.add_done_callback(lambda done: self._given_up(waiting) if done.cancelled() else None)
        self._waiting.append(waiting)
        self.loop.call_soon(self._admit)
        return future

    def put(self, item: Item) -> None:
        """Take an item that nobody can wait for.

        Where others wait for room, it may go up to twice the bound: `room` lets the answer wait instead.
        """
        if not self.buffer.put(item, 2 if self._config.full == "block" else 1):
            self._drop(item)

    def room(self, deadline: float | None) -> asyncio.Future[bool] | None:
        """What to wait for after `put`: that what was put is safe, or that there is room again."""
        if self._config.full == "block" and self.buffer.over:
            return self.offer(Marker(1), deadline)
        return self.settled(deadline) if self._config.durable else None

    def settled(self, deadline: float | None = None) -> asyncio.Future[bool]:
        """What becomes true when all that was taken until now is safe; false where it is not in time."""
        future: asyncio.Future[bool] = self.loop.create_future()
        marker = Marker()
        self._acks.append((marker, future))
        if not self.buffer.put(marker):
            self._acks.pop()
            future.set_result(False)
            return future
        timer = self.loop.call_at(self._until(deadline), tell, future, False)
        future.add_done_callback(lambda _: timer.cancel())
        return future

    def _until(self, deadline: float | None) -> float:
        """When nobody waits any more, on the clock of the event loop."""
        longest = self.loop.time() + self._config.block_s
        return longest if deadline is None else min(deadline, longest)

    def _drop(self, item: Item) -> None:
        if not isinstance(item, Marker):
            self._stats.add("dropped", item.num_rows)

    def _admit(self) -> None:
        """Let those in who wait for room, in their order."""
        while self._waiting:
            waiting = self._waiting[0]
            if waiting.future.done():
                self._waiting.popleft()
            elif self.buffer.put(waiting.item):
                self._waiting.popleft()
                waiting.timer.cancel()
                waiting.admitted = True
                if self._config.durable:
                    self.settled().add_done_callback(partial(_hand_on, waiting.future))
                else:
                    waiting.future.set_result(True)
            elif self.buffer.closed:
                self._give_up(waiting.future)
            else:
                return

    def _give_up(self, future: asyncio.Future[bool]) -> None:
        """An item waited too long."""
        for waiting in self._waiting:
            if waiting.future is future and not future.done():
                self._drop(waiting.item)
                waiting.timer.cancel()
                future.set_result(False)

    def _given_up(self, waiting: _Waiting) -> None:
        """Who waited for an item is gone."""
        waiting.timer.cancel()
        if not waiting.admitted:
            self._drop(waiting.item)
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def made_room(self, num_rows: int, num_bytes: int) -> None:
        """Items that were taken hold nothing any more."""
        self.buffer.settle(num_rows, num_bytes)
        if self._waiting:
            self.soon(self._admit)

    def confirm(self, markers: Sequence[Marker], safe: bool) -> None:
        """Tell those who wait for these markers whether what is before them is safe."""
        if markers:
            self.soon(partial(self._confirm, markers, safe))

    def _confirm(self, markers: Sequence[Marker], safe: bool) -> None:
        for marker in markers:
            while self._acks:
                known, future = self._acks.popleft()
                tell(future, safe)
                if known is marker:
                    break

    def soon(self, call: Callable[[], object]) -> None:
        """Do something in the event loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Take nothing more."""
        self.buffer.close()
        self._admit()

    def forget(self) -> None:
        """Tell those who still wait that nothing more will be done."""
        while self._acks:
            tell(self._acks.popleft()[1], False)


def tell(future: asyncio.Future[bool], safe: bool) -> None:
    """Give a future its result, if it has none."""
    if not future.done():
        future.set_result(safe)


def _hand_on(future: asyncio.Future[bool], done: asyncio.Future[bool]) -> None:
    tell(future, not done.cancelled() and done.result())
