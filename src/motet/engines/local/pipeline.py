"""Reading, playing and handing on in order, all at the same time, with a bound on what is under way.

One thread reads ahead; worker threads play whole batches, which gives every core a model to run while Python's own work
of one batch hides behind the compute of another; the caller gets the results in the order of the source.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from motet.threads import Pool, begun, thread_of

__all__ = ["Pipeline"]

T = TypeVar("T")
R = TypeVar("R")

READ_AHEAD = 2
"""Batches that the reader may be ahead of the workers."""


@dataclass
class _Failed:
    error: BaseException


_END = object()


class Pipeline(Generic[T, R]):
    """Plays what an iterator gives, in order, on several threads.

    Args:
        items: what is read; runs in a thread of its own.
        play: answers one item; runs in several threads.
        workers: how many.
    """

    def __init__(self, items: Iterator[T], play: Callable[[T], R], workers: int) -> None:
        self._items, self._play, self._workers = items, play, workers
        self._read: queue.Queue[object] = queue.Queue(READ_AHEAD)
        self._pool: Pool | None = None
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
        pending: deque[Future[R]] = deque()
        window = 2 * self._workers + 1
        self._pool = pool = Pool(self._workers, "motet-worker")
        try:
            while (item := self._next()) is not _END:
                if isinstance(item, _Failed):
                    raise item.error
                pending.append(pool.submit(self._play, item))  # type: ignore[arg-type]
                del item
                if len(pending) >= window:
                    yield self._take(pending)
                while pending and pending[0].done():
                    yield pending.popleft().result()
            while pending:
                yield self._take(pending)
        finally:
            self._stop.set()

    def _next(self) -> object:
        """What was read next."""
        return self._read.get() if self._ahead else self._read_one()

    def _read_one(self) -> object:
        started = time.perf_counter()
        item = next(self._items, _END)
        self.seconds_reading += time.perf_counter() - started
        return item

    def _take(self, pending: deque[Future[R]]) -> R:
        started = time.perf_counter()
        result = pending.popleft().result()
        self.seconds_waiting += time.perf_counter() - started
        return result

    def _run_reader(self) -> None:
        try:
            while not self._stop.is_set():
                item = self._read_one()
                self._read.put(item)
                if item is _END:
                    return
        except BaseException as error:  # noqa: BLE001 (handed to the thread that asked)
            self._read.put(_Failed(error))

    def _drain(self) -> None:
        """Make room, so that a reader that waits to hand on can see that it should stop."""
        try:
            while True:
                self._read.get_nowait()
        except queue.Empty:
            return
