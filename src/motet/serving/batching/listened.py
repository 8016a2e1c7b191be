"""A request that is listened to: played in a thread, each row alone, as long as somebody waits for it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from motet.errors import DeadlineError
from motet.runtime.deadline import Halted
from motet.runtime.executor import Executor, Played, Trace
from motet.runtime.streaming import play_streamed
from motet.serving.batching.hooks import Both, CallHook
from motet.serving.batching.in_flight import InFlight
from motet.serving.batching.request import Request
from motet.system.patience import WAITED_FOR

__all__ = ["play_listened"]

MOST_ROWS = 16
"""Rows of a request that are written at the same time, where that is waited for."""


class _Waits:
    """Whoever waits for a request."""

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def left_s(self) -> float:
        """How many seconds they wait still."""
        deadline = self._request.deadline
        return math.inf if deadline is None else deadline - time.monotonic()

    def check(self) -> None:
        """Raise where nobody waits any more."""
        if self._request.cancelled or self._request.settled:
            raise Halted("not waited for")
        if self.left_s < 0:
            raise Halted("not answered in time")


def play_listened(
    executor: Executor,
    playing: InFlight,
    streamed: Mapping[tuple[str, str], Mapping[str, str]],
    trace: Trace | None,
    loop: asyncio.AbstractEventLoop,
    *,
    waits: bool,
) -> tuple[Played, float]:
    """Play the one request of a batch; what was played, and the seconds that took.

    Raises:
        DeadlineError: when nobody waits for it any more, or it is too late.

    Args:
        executor: plays in the thread that asks.
        playing: the batch.
        streamed: the calls that say their texts, see `streamed_outputs`.
        trace: is given every call; None for nobody.
        loop: in whose thread those who look on are told of calls.
        waits: whether its calls wait for another process or machine, so that several rows are played at the same time.
    """
    (request,) = playing.requests
    assert request.pieces is not None
    if (watch := request.watch) is not None:
        trace = Both(CallHook(lambda call: loop.call_soon_threadsafe(watch, call)), trace)
    started, token = time.perf_counter(), WAITED_FOR.set(_Waits(request))
    try:
        give, at_once = request.pieces.give, MOST_ROWS if waits else 1
        played = play_streamed(executor, playing.batch(), streamed, give, trace, at_once)
    except Halted as error:
        raise DeadlineError(error.what, where=executor.checked.graph.name) from None
    finally:
        WAITED_FOR.reset(token)
    return played, time.perf_counter() - started
