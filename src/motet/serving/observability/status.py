"""What the page shows: rates and latencies of the last seconds; and what Triton's clients ask as statistics."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from motet.batch import Array
from motet.serving.observability.buckets import SECONDS, quantile
from motet.serving.observability.totals import Numbers, Totals

__all__ = ["Status", "statistics"]

WINDOW_S = 10.0
"""What counts as lately."""


class Status:
    """Totals of the last seconds. Used by one thread.

    Args:
        totals: of the server.
        clock: seconds, monotonic.
    """

    def __init__(self, totals: Totals, clock: Callable[[], float] = time.monotonic) -> None:
        self._totals, self._clock = totals, clock
        self._kept: deque[tuple[float, Array]] = deque(maxlen=64)

    def sample(self) -> Numbers:
        """Remember the totals of this moment; call it about once a second."""
        numbers, now = self._totals.read(), self._clock()
        while len(self._kept) > 1 and self._kept[1][0] <= now - WINDOW_S:
            self._kept.popleft()
        if not self._kept or now - self._kept[-1][0] >= WINDOW_S / 32:
            self._kept.append((now, numbers.values))
        return numbers

    def snapshot(self) -> dict[str, Any]:
        """What the page shows, as JSON can hold it.

        Keys: `time` (s since 1970), `processes`, `window_s` (seconds that rates and quantiles are of), `graphs` by name,
        `models` by name, `sinks` by name (records `written`, `spooled`, `dropped`, `rejected`, and writes `retried`, in all;
        `queued_rows` and `spool_bytes` now), `errors` (the last first: `time`, `graph`, `node`, `error`, `message`, `id`, `rows`).
        A graph has `requests`, `rows`, `failed_rows` (in all), `outcomes` (in all, by outcome), `requests_per_s`,
        `rows_per_s`, `p50_s`, `p99_s`, `queue_p50_s`, `queue_p99_s` (None where nothing was asked lately), `batch_rows`
        (mean), `in_flight`, `queued_rows`, and `nodes` by path: `rows`, `failed_rows` (in all), `rows_per_s`,
        `seconds_per_row` (lately; in all where there was nothing), `busy` (seconds in it each second). A node with shadows has
        `shadows` by member: rows `played`, `failed`, `dropped`, `compared` and `agreed`, in all.
        A model has the same as a node, and `calls`.
        """
        numbers = self.sample()
        at, before = self._kept[0]
        window_s = self._clock() - at
        lately = numbers.values.copy()
        lately[: len(before)] -= before
        recent = Numbers(lately, numbers.series, numbers.processes)
        graphs: dict[str, dict[str, Any]] = {}
        for labels, values in numbers.of("motet_rows"):
            graphs[labels["graph"]] = {"rows": int(values[0]), "nodes": {}}
        for name, graph in graphs.items():
            _of_graph(graph, name, numbers, recent, window_s)
        for labels, played in _played(numbers, recent, "motet_node", window_s):
            graphs.setdefault(labels["graph"], {"nodes": {}})["nodes"][labels["node"]] = played
        for count in ("played", "failed", "dropped", "compared", "agreed"):
            for labels, values in numbers.of(f"motet_shadow_{count}_rows"):
                node = graphs.setdefault(labels["graph"], {"nodes": {}})["nodes"].setdefault(labels["node"], {})
                node.setdefault("shadows", {}).setdefault(labels["member"], {})[count] = int(values[0])
        models = {labels["model"]: played for labels, played in _played(numbers, recent, "motet_model", window_s)}
        for labels, calls in numbers.of("motet_model_calls"):
            models[labels["model"]]["calls"] = int(calls[0])
        return {
            "time": time.time(),
            "processes": numbers.processes,
            "window_s": window_s,
            "graphs": graphs,
            "models": models,
            "sinks": _sinks(numbers),
            "errors": self._totals.errors(),
        }


def statistics(numbers: Numbers, name: str) -> dict[str, Any]:
    """Triton's statistics of what is served under a name, of all processes since the server began.

    Returns:
        `inference_count` (rows), `execution_count` (batches), `last_inference` (ms since 1970), and pairs of a count and
        nanoseconds by the names of Triton's durations: `success`, `fail`, `queue`, `compute_input`, `compute_infer`,
        `compute_output`, `cache_hit`.
    """
    request = _one(numbers, "motet_request_seconds", graph=name)
    queue = _one(numbers, "motet_queue_seconds", graph=name)
    compute = _one(numbers, "motet_compute_seconds", graph=name)
    if request is None or queue is None or compute is None:
        return {}
    outcomes = {labels["outcome"]: int(v[0]) for labels, v in numbers.of("motet_requests") if labels["graph"] == name}
    answered, failed = int(request[:-1].sum()), sum(outcomes.values()) - outcomes["ok"] - outcomes["failed"]
    return {
        "inference_count": int(_number(numbers, "motet_rows", graph=name)),
        "execution_count": int(compute[:-1].sum()),
        "last_inference": int(_number(numbers, "last_batch", graph=name) * 1e3),
        "success": (answered, _ns(request[-1])),
        "fail": (failed, _ns(_number(numbers, "failed_seconds", graph=name))),
        "queue": (answered, _ns(queue[-1])),
        "compute_input": (answered, 0),
        "compute_infer": (answered, _ns(request[-1] - queue[-1])),
        "compute_output": (answered, 0),
        "cache_hit": (int(_number(numbers, "motet_cached_requests", graph=name)), 0),
    }


def _sinks(numbers: Numbers) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for count in ("written", "spooled", "dropped", "rejected", "retried", "queued_rows", "spool_bytes"):
        for labels, values in numbers.of(f"motet_sink_{count}"):
            found.setdefault(labels["sink"], {})[count] = int(values[0])
    return found


def _of_graph(graph: dict[str, Any], name: str, numbers: Numbers, recent: Numbers, window_s: float) -> None:
    outcomes = {labels["outcome"]: int(v[0]) for labels, v in numbers.of("motet_requests") if labels["graph"] == name}
    asked = sum(float(v[0]) for labels, v in recent.of("motet_requests") if labels["graph"] == name)
    failures = [float(v[0]) for labels, v in numbers.of("motet_failures") if labels["graph"] == name]
    graph |= {"requests": sum(outcomes.values()), "outcomes": outcomes, "failed_rows": int(sum(failures))}
    graph["requests_per_s"] = _rate(asked, window_s)
    graph["rows_per_s"] = _rate(_number(recent, "motet_rows", graph=name), window_s)
    for prefix, metric in (("", "motet_request_seconds"), ("queue_", "motet_queue_seconds")):
        counts = _one(recent, metric, graph=name)
        for part in (50, 99):
            value = None if counts is None else quantile(counts[:-1], SECONDS, part / 100)
            graph[f"{prefix}p{part}_s"] = value
    rows = _one(recent, "motet_batch_rows", graph=name)
    batches = 0.0 if rows is None else float(rows[:-1].sum())
    graph["batch_rows"] = float(rows[-1]) / batches if rows is not None and batches else 0.0
    graph["in_flight"] = int(_number(numbers, "motet_in_flight", graph=name))
    graph["queued_rows"] = int(_number(numbers, "motet_queued_rows", graph=name))


def _played(
    numbers: Numbers, recent: Numbers, prefix: str, window_s: float
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """What nodes or models have done."""
    found: list[tuple[dict[str, str], dict[str, Any]]] = []
    for labels, rows in numbers.of(f"{prefix}_rows"):
        seconds = _number(numbers, f"{prefix}_seconds", **labels)
        lately, busy = _number(recent, f"{prefix}_rows", **labels), _number(recent, f"{prefix}_seconds", **labels)
        of, during = (lately, busy) if lately else (float(rows[0]), seconds)
        played = {
            "rows": int(rows[0]),
            "failed_rows": int(_number(numbers, f"{prefix}_failed_rows", **labels)),
            "rows_per_s": _rate(lately, window_s),
            "seconds_per_row": during / of if of else None,
            "busy": _rate(busy, window_s),
        }
        found.append((labels, played))
    return found


def _one(numbers: Numbers, name: str, **labels: str) -> Array | None:
    return next((values for each, values in numbers.of(name) if each == labels), None)


def _number(numbers: Numbers, name: str, **labels: str) -> float:
    found = _one(numbers, name, **labels)
    return 0.0 if found is None else float(found[0])


def _rate(count: float, window_s: float) -> float:
    return count / window_s if window_s > 0 else 0.0


def _ns(seconds: float) -> int:
    return int(np.rint(float(seconds) * 1e9))
