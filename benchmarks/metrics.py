"""What counting a batch costs, beside prometheus_client's own metrics counting the same.

    python -m benchmarks.metrics [--batches 20000] [--rounds 7]

Prints, for batches of 1, 30 and 300 requests, the microseconds a batch of `GraphMetrics.played` and of the same two
counters, four histograms and one gauge of prometheus_client, and their ratio; what a batch's listener costs in all; and
what a reader costs that adds up the processes of a server.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
import prometheus_client

from motet.batch import Batch
from motet.errors import MotetError
from motet.runtime.executor import Played
from motet.serving.batching.request import Reply, Request
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.observability.buckets import ROWS, SHOWN_SECONDS
from motet.serving.observability.counters import Counters
from motet.serving.observability.exposition import expose
from motet.serving.observability.metrics import GraphMetrics
from motet.serving.observability.observability import Observability
from motet.serving.observability.totals import Totals

REQUESTS = (1, 30, 300)
PROCESSES = 8


def microseconds(call: Callable[[], object], times: int, rounds: int) -> float:
    """Processor time of the best of some rounds, in microseconds a call."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(times):
            call()
        best = min(best, time.process_time() - started)
    return best / times * 1e6


class Theirs:
    """What `GraphMetrics` counts, with prometheus_client."""

    def __init__(self) -> None:
        registry = prometheus_client.CollectorRegistry()

        def labelled(kind: type, name: str, **more: object) -> object:
            return kind(name, name, ["graph"], registry=registry, **more).labels("fashion")

        self.requests, self.rows = (labelled(prometheus_client.Counter, name) for name in ("requests", "rows"))
        self.last = labelled(prometheus_client.Gauge, "last")
        self.queue, self.request, self.compute = (
            labelled(prometheus_client.Histogram, name, buckets=SHOWN_SECONDS)
            for name in ("queue", "request", "compute")
        )
        self.batch_rows = labelled(prometheus_client.Histogram, "batch_rows", buckets=ROWS)

    def played(self, queue_s: list[float], rows: int, compute_s: float, since_s: float) -> None:
        self.requests.inc(len(queue_s))
        self.rows.inc(rows)
        self.last.set_to_current_time()
        self.compute.observe(compute_s)
        self.batch_rows.observe(rows)
        for waited in queue_s:
            self.queue.observe(waited)
            self.request.observe(waited + since_s)


class Asked(Request):
    """A request that is only counted."""

    def answered(self, reply: Reply) -> None:
        """Never called: nothing is played."""

    def failed(self, error: MotetError) -> None:
        """Never called, as `answered`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = GraphMetrics(Counters(folder), "fashion"), Theirs()
        seen = Observability(ObservabilityConfig(), f"{folder}/seen")
        listener = seen.listener("fashion")
        print(f"{'requests':>8} {'ours µs':>8} {'theirs µs':>10} {'ratio':>6} {'listener µs':>12}")
        for requests in REQUESTS:
            waited = np.linspace(4e-4, 1e-5, requests).tolist()  # they came one after the other, in one tick
            asked = [Asked({}, 1) for _ in waited]
            now = time.monotonic()
            for request, seconds in zip(asked, waited, strict=True):
                request.arrived = now - seconds
            played = Played(Batch({}, np.arange(requests)), [])
            times = max(100, args.batches // requests)

            def timed(call: Callable[[], object], times: int = times) -> float:
                return microseconds(call, times, args.rounds)

            copy = timed(lambda waited=waited: waited.copy())
            mine = timed(lambda w=waited, n=requests: ours.played(w.copy(), n, 1e-4, 1.1e-4)) - copy
            other = timed(lambda w=waited, n=requests: theirs.played(w.copy(), n, 1e-4, 1.1e-4)) - copy
            heard = timed(lambda a=asked, p=played, now=now: listener.played(a, p, now, 1e-4))
            print(f"{requests:>8} {mine:>8.2f} {other:>10.2f} {other / mine:>6.1f} {heard:>12.2f}")
        many = [Counters(f"{folder}/many") for _ in range(PROCESSES)]
        for cells in many:
            for graph in range(4):
                GraphMetrics(cells, f"graph{graph}")
        totals = Totals(f"{folder}/many")
        print(f"adding up {PROCESSES} processes of 4 graphs: {microseconds(totals.read, 200, 3):.0f} µs")
        numbers = Totals(f"{folder}/seen").read()
        print(f"the text of one graph: {microseconds(lambda: expose(numbers, ''), 50, 3):.0f} µs")
        seen.close()


if __name__ == "__main__":
    main()
