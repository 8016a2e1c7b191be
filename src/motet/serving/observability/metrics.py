"""What is counted: for each served graph, over HTTP and over gRPC.

All of it is written into the process's cells, in the thread of the event loop; a batch costs about as much as two calls
of `prometheus_client`'s histograms, however many requests it has.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from motet.errors import CancelledError, DeadlineError, Failure, MotetError, NotReadyError, OverloadedError
from motet.serving.observability.buckets import ROWS, SECONDS
from motet.serving.observability.counters import Counters

__all__ = ["CallerMetrics", "CodeMetrics", "GraphMetrics", "Histogram"]

MOST_FAILURES = 64
"""Pairs of a node and a class of error that are counted apart for one graph; others are counted as `other`."""
_REASONS: tuple[tuple[type[MotetError], str], ...] = (
    (OverloadedError, "queue_full"),
    (NotReadyError, "not_ready"),
)


class Histogram:
    """How many values lie in each bucket, and their sum.

    Args:
        cells: where it is counted.
        name: of the metric.
        bounds: of the buckets, ascending; a value that equals a bound lies below it.
        labels: what it is of.
    """

    __slots__ = ("_at", "_bounds", "_sum", "_values")

    def __init__(self, cells: Counters, name: str, bounds: Sequence[float], **labels: str) -> None:
        self._values, self._bounds = cells.values, bounds
        self._at = cells.at("counter", name, len(bounds) + 2, **labels)
        self._sum = self._at + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count one value."""
        values = self._values
        values[self._at + bisect_left(self._bounds, value)] += 1
        values[self._sum] += value

    def observe_sorted(self, many: Sequence[float], plus: float = 0.0) -> None:
        """Count several values: costs by the buckets they lie in more than by how many they are.

        Args:
            many: the values in ascending order, at least one.
            plus: what is added to each.
        """
        values, bounds, at, before = self._values, self._bounds, self._at, 0
        last = bisect_left(bounds, many[-1] + plus)
        for place in range(bisect_left(bounds, many[0] + plus), last):
            below = bisect_right(many, bounds[place] - plus, before)
            if below != before:
                values[at + place] += below - before
                before = below
        values[at + last] += len(many) - before
        values[self._sum] += sum(many) + plus * len(many)


class GraphMetrics:
    """What is counted for one served graph or model.

    Args:
        cells: where it is counted.
        graph: its name.
    """

    def __init__(self, cells: Counters, graph: str) -> None:
        self._cells, self._values, self._graph = cells, cells.values, graph

        def counter(name: str, **labels: str) -> int:
            return cells.at("counter", name, 1, graph=graph, **labels)

        self._ok, self._failed, self._error = (
            counter("motet_requests", outcome=outcome) for outcome in ("ok", "failed", "error")
        )
        self._not_played = {
            outcome: counter("motet_requests", outcome=outcome) for outcome in ("rejected", "late", "cancelled")
        }
        self._dropped = {reason: counter("motet_dropped", reason=reason) for reason in ("late", "cancelled")}
        self._rejected = {reason: counter("motet_rejected", reason=reason) for _, reason in _REASONS}
        self._rows = counter("motet_rows")
        self._cached = counter("motet_cached_requests")
        self._failed_s = counter("failed_seconds")
        self._last = cells.at("latest", "last_batch", graph=graph)
        self._failures: dict[tuple[str, str], int] = {}
        self._queue = Histogram(cells, "motet_queue_seconds", SECONDS, graph=graph)
        self._request = Histogram(cells, "motet_request_seconds", SECONDS, graph=graph)
        self._compute = Histogram(cells, "motet_compute_seconds", SECONDS, graph=graph)
        self._batch_rows = Histogram(cells, "motet_batch_rows", ROWS, graph=graph)

    def played(self, queue_s: list[float], rows: int, compute_s: float, since_s: float) -> None:
        """A batch was played.

        Args:
            queue_s: seconds that each of its requests waited; put in order here.
            rows: how many rows it had.
            compute_s: seconds that it was played.
            since_s: seconds from the end of the wait to the answer.
        """
        values = self._values
        requests = len(queue_s)
        values[self._ok] += requests
        values[self._rows] += rows
        values[self._last] = time.time()
        self._compute.observe(compute_s)
        self._batch_rows.observe(rows)
        if requests == 1:
            self._queue.observe(queue_s[0])
            self._request.observe(queue_s[0] + since_s)
        elif requests:
            queue_s.sort()
            self._queue.observe_sorted(queue_s)
            self._request.observe_sorted(queue_s, since_s)

    def cached(self) -> None:
        """A request was given an answer that was kept."""
        self._values[self._ok] += 1
        self._values[self._cached] += 1

    def failed(self, failures: Iterable[Failure], requests: int) -> None:
        """Rows of a batch that was played have failed.

        Args:
            failures: one for each row.
            requests: how many requests have such rows; they were counted as `ok` by `played`.
        """
        self._values[self._ok] -= requests
        self._values[self._failed] += requests
        for failure in failures:
            self._values[self._failure(failure.node, failure.error)] += 1

    def refused(self, error: MotetError, rows: int, waited_s: float) -> None:
        """A request was not answered: it was rejected, late, abandoned, or its batch failed as a whole.

        Args:
            error: why.
            rows: of the request.
            waited_s: seconds since it came.
        """
        self._values[self._failed_s] += waited_s
        if isinstance(error, DeadlineError):
            self._drop("late")
        elif isinstance(error, CancelledError):
            self._drop("cancelled")
        else:
            for kind, reason in _REASONS:
                if isinstance(error, kind):
                    self.rejected(reason)
                    return
            self._values[self._error] += 1
            self._values[self._failure("", type(error).__name__)] += rows

    def rejected(self, reason: str) -> None:
        """A request was not let in.

        Args:
            reason: `queue_full`, `not_ready`, or another from a fixed set, for example `rate` or `credential`.
        """
        place = self._rejected.get(reason)
        if place is None:
            place = self._cells.at("counter", "motet_rejected", graph=self._graph, reason=reason)
            self._rejected[reason] = place
        self._values[place] += 1
        self._values[self._not_played["rejected"]] += 1

    def _drop(self, reason: str) -> None:
        self._values[self._dropped[reason]] += 1
        self._values[self._not_played[reason]] += 1

    def _failure(self, node: str, error: str) -> int:
        place = self._failures.get((node, error))
        if place is None:
            labels = (node, error) if len(self._failures) < MOST_FAILURES else ("other", "other")
            place = self._cells.at("counter", "motet_failures", graph=self._graph, node=labels[0], error=labels[1])
            if len(self._failures) < MOST_FAILURES:
                self._failures[node, error] = place
        return place


class CodeMetrics:
    """Answers by their code, for HTTP and for gRPC.

    Args:
        cells: where they are counted.
        name: of the metric, which is labelled `code`.
        labels: further ones.
    """

    __slots__ = ("_cells", "_labels", "_name", "_places", "_values")

    def __init__(self, cells: Counters, name: str, **labels: str) -> None:
        self._cells, self._name, self._labels, self._values = cells, name, labels, cells.values
        self._places: dict[int | str, int] = {}

    def answered(self, code: int | str) -> None:
        """An answer was given."""
        place = self._places.get(code)
        if place is None:
            place = self._places[code] = self._cells.at("counter", self._name, 1, code=str(code), **self._labels)
        self._values[place] += 1


class CallerMetrics:
    """What is counted of the callers of one class; a configuration has few of them.

    Args:
        cells: where it is counted.
        klass: the class.
    """

    def __init__(self, cells: Counters, klass: str) -> None:
        labels = {"class": klass}
        self._codes = CodeMetrics(cells, "motet_caller_responses", **labels)
        self._seconds = Histogram(cells, "motet_caller_seconds", SECONDS, **labels)

    def answered(self, status: int, seconds: float) -> None:
        """A request is over, with this status of HTTP, so many seconds after it came."""
        self._codes.answered(status)
        self._seconds.observe(seconds)
