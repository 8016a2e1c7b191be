"""Reading, playing and handing on in order, all at the same time, with a bound on what is under way.

One thread reads ahead; worker threads play whole batches, which gives every core a model to run while Python's own work
of one batch hides behind the compute of another; the caller gets the results in the order of the source.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from motet.system.limits import at_most
from motet.threads import ThreadPool, begun, thread_of

__all__ = ["Pipeline"]

T = TypeVar("T")
R = TypeVar("R")

READ_AHEAD = 2
"""Batches that the reader may be ahead of the workers."""
LARGE_BYTES = 32 << 20
"""Of larger ones it is ahead by one."""
IN_FLIGHT_BYTES, WORKER_BYTES = 256 << 20, 32 << 20
"""What may be under way behind the reader, or so much a worker, or an eighth of the memory: what was read and is not played, and
answers that wait for those before them. One batch always may."""


@dataclass
class _Failed:
    error: BaseException


@dataclass
class _InFlight(Generic[R]):
    """A batch that is played: its bytes, of what was read, then of the answers."""

    bytes: int
    future: Future[R] = field(init=False)


_END = object()


class Pipeline(Generic[T, R]):
    """Plays what an iterator gives, in order, on several threads.

    Args:
        items: what is read; runs in a thread of its own.
        play: answers one item; runs in several threads.
        workers: how many.
        sizes: bytes of what was read, and of what was answered.
        cut: makes what was read smaller, just before it is played.
    """

    def __init__(
        self,
        items: Iterator[T],
        play: Callable[[T], R],
        workers: int,
        sizes: tuple[Callable[[T], int], Callable[[R], int]],
        cut: Callable[[Iterator[T]], Iterator[T]] = iter,
    ) -> None:
        self._items, self._play, self._workers, self._cut = items, play, workers, cut
        self._size, self._answered_size = sizes
        self._most_bytes = at_most(max(IN_FLIGHT_BYTES, workers * WORKER_BYTES), part=8)
        self._read: queue.Queue[object] = queue.Queue(READ_AHEAD)
        self._pool: ThreadPool | None = None
        self._stop = threading.Event()
        self._reader, self._ahead = thread_of(self._run_reader, "motet-reader"), False
        self.seconds_reading = 0.0
        self.seconds_waiting = 0.0

    def start(self) -> None:
        """Begin to read ahead, where a thread can be begun."""
        self._ahead = begun(self._reader)

    def close(self) -> None:
        """End the threads, and wait until they have. Closing again does nothing."""
        self._stop.set()
        if self._pool is not None:
            self._pool.close()
        while self._reader.is_alive():
            self._drain()
            self._reader.join(timeout=0.05)

    def __iter__(self) -> Iterator[R]:
        """The results, in order; reading has begun. Tells the threads to end, also when it is left early: `close` waits.

        Raises:
            Exception: the first error of reading or playing.
        """
        pending: deque[_InFlight[R]] = deque()
        window = 2 * self._workers + 1
        self._pool = pool = ThreadPool(self._workers, "motet-worker")
        try:
            for item in self._cut(self._all_read()):
                pending.append(self._submitted(pool, item))
                del item
                while len(pending) >= window or self._is_much(pending):
                    yield self._take(pending)
                while pending and pending[0].future.done():
                    yield pending.popleft().future.result()
            while pending:
                yield self._take(pending)
        finally:
            self._stop.set()

    def _submitted(self, pool: ThreadPool, item: T) -> _InFlight[R]:
        batch: _InFlight[R] = _InFlight(self._size(item))
        batch.future = pool.submit(self._played, (batch, item))
        return batch

    def _played(self, given: tuple[_InFlight[R], T]) -> R:
        batch, item = given
        result = self._play(item)
        batch.bytes = self._answered_size(result)
        return result

    def _is_much(self, pending: Sequence[_InFlight[R]]) -> bool:
        """Whether no more should be played before the oldest is handed on."""
        return len(pending) > 1 and sum(batch.bytes for batch in pending) > self._most_bytes

    def _all_read(self) -> Iterator[T]:
        """What was read, piece by piece; nothing is held while it is played."""
        while (item := [self._next()])[0] is not _END:
            if isinstance(item[0], _Failed):
                raise item[0].error
            yield item.pop()  # type: ignore[misc]

    def _next(self) -> object:
        """What was read next."""
        if not self._ahead:
            return self._read_one()
        item = self._read.get()
        self._read.task_done()
        return item

    def _read_one(self) -> object:
        started = time.perf_counter()
        item = next(self._items, _END)
        self.seconds_reading += time.perf_counter() - started
        return item

    def _take(self, pending: deque[_InFlight[R]]) -> R:
        started = time.perf_counter()
        result = pending.popleft().future.result()
        self.seconds_waiting += time.perf_counter() - started
        return result

    def _run_reader(self) -> None:
        try:
            while not self._stop.is_set():
                item = self._read_one()
                if item is not _END and self._size(item) > LARGE_BYTES:  # type: ignore[arg-type]
                    self._read.join()
                self._read.put(item)
                if item is _END:
                    return
                del item
        except BaseException as error:  # noqa: BLE001 (handed to the thread that asked)
            self._read.put(_Failed(error))

    def _drain(self) -> None:
        """Make room, so that a reader that waits to hand on can see that it should stop."""
        try:
            while True:
                self._read.get_nowait()
                self._read.task_done()
        except queue.Empty:
            return
