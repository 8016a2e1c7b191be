"""What looks on while a batcher plays: who counts, who keeps answers, who is told of calls; and rows that are explained."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from motet.batch import Batch, Column, Ragged
from motet.errors import Failure, MotetError
from motet.runtime.executor import Call, Executor, Played, Trace, drive, joined
from motet.serving.batching.request import Reply, Request

__all__ = ["AnswerHook", "Both", "CallHook", "FollowedRequests", "PlayHook", "alike", "explained", "give_later"]

_LOG = logging.getLogger("motet.serving")
T = TypeVar("T")


class PlayHook(Protocol):
    """Is told what a batcher does, in the thread of the event loop."""

    def played(self, requests: Sequence[Request], played: Played, started: float, compute_s: float) -> None:
        """A batch was played, and its requests are about to be answered; `started` is on the clock of the event loop."""
        ...

    def refused(self, request: Request, error: MotetError) -> None:
        """A request is not answered: refused, late, abandoned, or its batch failed as a whole."""
        ...

    def unread(self, failures: Sequence[Failure], id: str) -> None:
        """Rows of a request could not be read, so that they are not played."""
        ...

    def trace(self, requests: Sequence[Request]) -> Trace | None:
        """Is given every call of a batch's models, in any thread; None where nobody looks on."""
        ...

    def cached(self, request: Request) -> None:
        """A request is about to be given an answer that was kept."""
        ...


class AnswerHook(Protocol):
    """Keeps answers, in the thread of the event loop."""

    def trace(self, requests: Sequence[Request]) -> Trace | None:
        """Is given every call of a batch's models, in any thread; None where nobody looks on.

        Each of the requests is handed to `answer` or `refused` afterwards; a batch that is played again is traced again.
        """
        ...

    def completed(
        self, requests: Sequence[Request], played: Played, calls: Sequence[Sequence[Call]]
    ) -> Mapping[str, Column]:
        """The columns of what was played, with others that `answer` takes out again; asked once a batch, before answers are kept.

        Args:
            requests: of the batch.
            played: what became of it.
            calls: of each row, where rows were played one by one.
        """
        ...

    def refused(self, request: Request, error: MotetError) -> None:
        """A request is not answered."""
        ...

    def answer(self, request: Request, reply: Reply) -> None:
        """Keep an answer, and give it to its request, now or later."""
        ...


class FollowedRequests(Generic[T]):
    """What an `AnswerHook` knows of each request until it is answered or refused. For the thread of the event loop.

    It keeps the requests themselves, so that nothing is known of a new one that stands where a lost one stood: a batcher that ends
    hands requests on without a word to its hook.
    """

    def __init__(self) -> None:
        self._known: dict[Request, tuple[T, int]] = {}

    def follow(self, requests: Sequence[Request], each: Sequence[T]) -> None:
        """The requests of a batch, and what is known of each; one that is played again is known anew."""
        first = 0
        for request, known in zip(requests, each, strict=True):
            self._known[request] = known, first
            first += request.rows

    def known(self, request: Request) -> T | None:
        """What is known of a request; it stays so."""
        found = self._known.get(request)
        return None if found is None else found[0]

    def take(self, request: Request) -> tuple[T | None, int]:
        """What is known of a request, and its first row in its batch; from now on nothing is."""
        return self._known.pop(request, (None, 0))


def give_later(wait: Awaitable[object] | None, give: Callable[[], object]) -> None:
    """Give an answer: now, or when what is to be waited for is over, however it ends."""
    if wait is None:
        give()
    else:
        asyncio.ensure_future(wait).add_done_callback(lambda _: give())


class CallHook:
    """A trace that tells a request of its calls, in the thread of the event loop, where such requests are played.

    Args:
        watch: is given each call.
    """

    def __init__(self, watch: Callable[[Call], object]) -> None:
        self._watch = watch

    def append(self, call: Call, /) -> None:
        """Take a call."""
        try:
            self._watch(call)
        except Exception:  # noqa: BLE001 (the request is answered all the same)
            _LOG.exception("a request could not take a call of %s", call.uses)


class Both:
    """Two traces.

    Args:
        first, second: the traces; the second may be missing.
    """

    def __init__(self, first: Trace, second: Trace | None) -> None:
        self._first, self._second = first, second

    @property
    def afterwards(self) -> Trace | None:
        """What takes calls that end when the batch has been answered: those of the two that do."""
        found = [
            each for trace in (self._first, self._second) if (each := getattr(trace, "afterwards", None)) is not None
        ]
        return Both(found[0], found[1]) if len(found) > 1 else next(iter(found), None)

    def append(self, call: Call, /) -> None:
        """Take a call."""
        self._first.append(call)
        if self._second is not None:
            self._second.append(call)


def explained(executor: Executor, batch: Batch) -> tuple[Played, float, list[list[Call]]]:
    """Play each row alone.

    Returns:
        What was played, the seconds that took, and for each row its calls.
    """
    started = time.perf_counter()
    if not len(batch):
        return executor.nothing([]), 0.0, []
    tracing = executor.looking_on()
    traces: list[list[Call]] = [[] for _ in range(len(batch))]
    parts = [drive(tracing.play(batch.take([row]), traces[row])) for row in range(len(batch))]
    executor.count_of(tracing)
    played = joined(parts)
    return Played(played.outputs, played.failures), time.perf_counter() - started, traces


def alike(request: Request, other: Request) -> bool:
    """Whether the columns of two requests can be put together without changing what is in them."""
    return all(_held(column) == _held(other.columns[name]) for name, column in request.columns.items())


def _held(column: Column) -> tuple[Any, ...]:
    if isinstance(column, Ragged):
        return column.dtype, column.shapes.shape[1]
    return column.dtype, column.shape[1:]
