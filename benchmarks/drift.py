"""What looking for drift costs a server, of the processor time of its batches.

    python -m benchmarks.drift [--seconds 0.25] [--rounds 60]

Plays a vote of three of Fashion-MNIST, with pictures by chance, as a batcher does: with its listener that counts, and with one that also
looks for drift at the default sample, in turn, in an order by chance. Twice a second what was
sampled is counted. Prints for batches of 1, 30 and 300 requests
the rows a second, the rows that were looked at, and the median over rounds of the ratio of processor times; its distance from 1
is the cost.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import motet as mt
from motet.batch import Batch
from motet.errors import MotetError
from motet.runtime.executor import Executor, drive
from motet.runtime.host import Host
from motet.runtime.resolve import ModelResolver
from motet.serving.batching.request import Reply, Request
from motet.serving.config.observability import DriftConfig, ObservabilityConfig
from motet.serving.observability.observability import PUBLISH_S, Observability

GRAPH = Path(__file__).parents[1] / "examples" / "fashion" / "fashion.yaml"
REQUESTS = (1, 30, 300)


class Asked(Request):
    """A request that nobody answers."""

    def answered(self, reply: Reply) -> None:
        """Never called."""

    def failed(self, error: MotetError) -> None:
        """Never called."""


class Server:
    """What plays and counts, as one process of a server has it."""

    def __init__(self, graph: mt.Graph, executor: Executor, config: ObservabilityConfig, folder: Path) -> None:
        self.executor, self.seen = executor, Observability(config, folder)
        self.seen.loaded(graph.name, graph.checked)
        self.listener = self.seen.listener(graph.name)
        self.played_s, self.due = 0.0, PUBLISH_S  # of its own time: while the other plays it stands still

    def play(self, images: np.ndarray, seconds: float) -> tuple[float, int, int]:
        """Processor seconds a row, rows, and rows that were looked at."""
        drift = self.seen.drift.of("fashion") if self.seen.drift is not None else None
        ids, rows, looked = np.arange(len(images)), 0, 0
        started, began = time.process_time(), time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            requests = [Asked({"image": images[row : row + 1]}, 1) for row in range(len(images))]
            trace = self.listener.trace(requests)
            played = drive(self.executor.play(Batch.of({"image": images}, ids), trace))
            self.listener.played(requests, played, now, 0.001)
            rows += len(images)
            if drift is not None and self.played_s + now - began >= self.due:
                self.due += PUBLISH_S
                found = drift.take()
                looked += sum(each.rows for each in found)
                drift.add(drift.count(found), 0)
        self.played_s += time.monotonic() - began
        return (time.process_time() - started) / rows, rows, looked


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args(arguments)
    graph = mt.load(GRAPH)
    images = np.random.default_rng(0).integers(0, 256, (2000, 28, 28), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graph.drift_reference({"image": images}).write(folder / "ref.json")
        executor = Executor(graph.checked, Host(ModelResolver()))
        executor.load()
        plain = Server(graph, executor, ObservabilityConfig(), folder / "plain")
        config = ObservabilityConfig(drift=DriftConfig((str(folder / "ref.json"),)))
        watched = Server(graph, executor, config, folder / "watched")
        order = np.random.default_rng(1)
        print("requests a batch      rows/s  looked at/s   ratio (quartiles of rounds)")
        for count in REQUESTS:
            ratios, looked = list[float](), 0
            plain.play(images[:count], 0.3)
            for _ in range(given.rounds):
                costs = dict[Server, float]()
                for server in order.permutation(np.array([plain, watched], dtype=object)):
                    costs[server], rows, found = server.play(images[:count], given.seconds)
                    looked += found
                ratios.append(costs[watched] / costs[plain])
            quartiles = statistics.quantiles(ratios)
            shown = f"{statistics.median(ratios):.4f} ({quartiles[0]:.3f} to {quartiles[2]:.3f})"
            print(
                f"{count:16,}  {rows / given.seconds:10,.0f}  {looked / given.seconds / given.rounds:11,.0f}   {shown}"
            )
        plain.seen.close()
        watched.seen.close()


if __name__ == "__main__":
    main()
