"""What is seen of the batcher of one graph or model: counted, traced, watched for drift."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motet.errors import DeadlineError, Failure, MotetError, OverloadedError, RequestError
from motet.runtime.executor import Played, Trace
from motet.serving.batching.hooks import Both
from motet.serving.batching.request import Request
from motet.serving.observability.counters import Counters
from motet.serving.observability.drift import GraphDrift
from motet.serving.observability.errors import Errors
from motet.serving.observability.incidents import Overflow, say_failed
from motet.serving.observability.metrics import GraphMetrics

if TYPE_CHECKING:
    from motet.serving.observability.observability import Observability

__all__ = ["GraphHook"]


class GraphHook:
    """Counts what the batcher of one graph does, and makes the spans of its batches: a `Listener` of the batcher.

    Args:
        seen: of the process.
        name: of the graph or model.
        cells: where it is counted.
        errors: the last errors.

    Attributes:
        overflow: says when its queue is full, and no more.
        drift: counts a sample of its rows; None where it is not watched.
    """

    def __init__(self, seen: Observability, name: str, cells: Counters, errors: Errors) -> None:
        self._seen, self._name, self._cells, self._errors = seen, name, cells, errors
        self._time = time.monotonic
        self.overflow = Overflow(name)
        self.drift: GraphDrift | None = None
        self._made = None if "." in name else GraphMetrics(cells, name)

    @property
    def metrics(self) -> GraphMetrics:
        """What is counted; for a model that is called alone made when it first is."""
        if self._made is None:
            self._made = GraphMetrics(self._cells, self._name)
        return self._made

    def trace(self, requests: Sequence[Request]) -> Trace | None:
        """A batch is about to be played: is given its calls, where one of its requests is traced, or drift is looked for."""
        tracing, drift = self._seen.tracing, self.drift
        trace = None if tracing is None else tracing.batch(requests, self._name)
        if drift is None:
            return trace
        calls = drift.trace(requests)
        return trace if calls is None else Both(calls, trace)

    def played(self, requests: Sequence[Request], played: Played, started: float, compute_s: float) -> None:
        """A batch was played, and its requests are about to be answered; `started` is on the clock of the event loop."""
        metrics = self._made or self.metrics
        waited = [started - request.arrived for request in requests if not request.settled]
        rows = len(played.outputs.ids)
        if played.failures:
            rows += len({failure.row for failure in played.failures})
            self._failed(requests, played, metrics)
        metrics.played(waited, rows, compute_s, self._time() - started)
        if self._seen.tracing is not None:
            self._seen.tracing.played(requests)
        if self.drift is not None:
            self.drift.played(requests, played)

    def cached(self, request: Request) -> None:
        """A request is about to be given an answer that was kept."""
        self.metrics.cached()

    def refused(self, request: Request, error: MotetError) -> None:
        """A request is not answered: refused, late, abandoned, or its batch failed as a whole."""
        if self.drift is not None:
            self.drift.refused(request)
        arrived = request.arrived
        self.metrics.refused(error, request.rows, self._time() - arrived if arrived else 0.0)
        if isinstance(error, OverloadedError):
            self.overflow.refused(error)
        else:
            say_failed(self._name, error, request.id, request.rows)
        if not isinstance(error, RequestError) or isinstance(error, DeadlineError):
            self._errors.add(self._name, "", type(error).__name__, str(error), request.id, request.rows)

    def unread(self, failures: Sequence[Failure], id: str) -> None:
        """Rows of a request could not be read, so that they are not played."""
        self.metrics.failed(failures, 0)
        one = failures[0]
        self._errors.add(self._name, one.node, one.error, one.message, id, len(failures))

    def _failed(self, requests: Sequence[Request], played: Played, metrics: GraphMetrics) -> None:
        """Some rows failed: count them, and show one of each request."""
        failed, first = 0, 0
        rest = list(played.failures)
        for request in requests:
            end = first + request.rows
            mine = [failure for failure in rest if failure.row < end]
            rest = rest[len(mine) :]
            first = end
            if mine:
                failed += not request.settled
                one = mine[0]
                self._errors.add(self._name, one.node, one.error, one.message, request.id, len(mine))
        metrics.failed(played.failures, failed)
