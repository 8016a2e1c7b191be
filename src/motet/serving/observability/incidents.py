"""What the log says of requests that are not answered: each that fails with 500 to 504, and queues that are full, in short."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from motet.errors import (
    CancelledError,
    DeadlineError,
    ModelUnavailableError,
    MotetError,
    NotReadyError,
    OverloadedError,
)
from motet.system.incidents import INCIDENTS

__all__ = ["Overflow", "error_name", "say_failed", "say_stall"]

_LOG = logging.getLogger("motet.serving")
QUIET_S = 5.0
"""A queue is full until it has refused nothing for so long."""
STALL_S = 1.0
"""How late a loop comes back that is said to have stood still."""
_OURS = (DeadlineError, ModelUnavailableError, NotReadyError, OverloadedError)
"""Errors whose text is ours, and quotes no rows."""


def say_failed(graph: str, error: MotetError, id: str = "", rows: int = 0) -> None:
    """Say that a request is answered with 500 to 504; what an error of others' code says is left out, as it may quote rows.

    Args:
        graph: what was asked.
        error: why; of another status nothing is said.
        id: of the request, empty where it has none.
        rows: of the request.
    """
    if not 500 <= error.status <= 504 or error.status == 501 or isinstance(error, CancelledError):
        return
    name = error_name(error)
    place = f" at {error.where}" if error.where and error.where != graph else ""
    cause = error.__cause__
    why = f": {error.what}" if isinstance(error, _OURS) else f", of {type(cause).__name__}" if cause is not None else ""
    text = "graph %s answers %d: %s%s%s"
    fields = {"graph": graph, "status": error.status, "error": name, "where": error.where, "id": id, "rows": rows}
    of = f"{graph} {name}"
    INCIDENTS.say(_LOG, "request_failed", text, graph, error.status, name, place, why, of=of, **fields)


def error_name(error: BaseException) -> str:
    """The name of an error's class, as users know it."""
    return next(each.__name__ for each in type(error).__mro__ if not each.__name__.startswith("_"))


def say_stall(log: logging.Logger, late_s: float) -> None:
    """Say that a loop stood still, where it came back much too late.

    Args:
        log: of the part that has the loop.
        late_s: by how much it did, in seconds.
    """
    if late_s > STALL_S:
        text = "process %d stood still for %.1f s: it or the machine was stopped, or code held it"
        INCIDENTS.say(log, "stalled", text, os.getpid(), late_s, seconds=late_s)


class Overflow:
    """Says when the queue of a graph begins to refuse requests, and when it has ended to, with how many it has refused.

    Args:
        graph: its name.
        ticks: seconds that only go up.
    """

    def __init__(self, graph: str, ticks: Callable[[], float] = time.monotonic) -> None:
        self._graph, self._ticks = graph, ticks
        self._began = self._last = 0.0
        self._refused = 0

    def refused(self, error: OverloadedError) -> None:
        """A request is refused."""
        self._last = self._ticks()
        if not self._refused:
            self._began = self._last
            text = "graph %s refuses requests: %s"
            INCIDENTS.say(_LOG, "queue_full", text, self._graph, error.what, of=self._graph, graph=self._graph)
        self._refused += 1

    def look(self) -> None:
        """Say that it is over, where it is; to be called from time to time."""
        if self._refused and self._ticks() - self._last >= QUIET_S:
            refused, seconds, self._refused = self._refused, self._last - self._began, 0
            text = "graph %s refuses no requests any more; it has refused %d in %.1f s"
            fields = {"graph": self._graph, "refused": refused, "seconds": seconds}
            INCIDENTS.say(_LOG, "queue_over", text, self._graph, refused, seconds, of=self._graph, **fields)
