"""What these tests share: requests and batches as a batcher has them, and processes that count."""

import subprocess
import sys
import time

import numpy as np

from motet.batch import Batch
from motet.errors import Failure
from motet.runtime.executor import Played
from motet.serving.batching.request import Request
from motet.serving.observability.totals import Totals


class Asked(Request):
    """A request that only counts: nobody plays it."""

    def __init__(self, rows=1, waited_s=0.0, id="", settled=False):
        super().__init__({}, rows, id=id)
        self.arrived = time.monotonic() - waited_s
        self.settled = settled

    def answered(self, reply):
        raise AssertionError("it was played")

    def failed(self, error):
        raise error


def played(rows, failed=(), node="vote", error="ValueError"):
    """What the executor gives for a batch of `rows` rows of which those in `failed` failed."""
    kept = [row for row in range(rows) if row not in failed]
    failures = [Failure(row, node, "m", "1", error, f"row {row} is bad") for row in failed]
    return Played(Batch({}, np.array(kept, dtype=np.int64)), failures)


def numbers(folder):
    """The totals of a folder, by a reader that has seen nothing of it before."""
    totals = Totals(folder)
    try:
        return totals.read()
    finally:
        totals.close()


def total(folder, name, **labels):
    """One number of the totals; None where nobody has counted it."""
    return next((float(v[0]) for each, v in numbers(folder).of(name) if labels.items() <= each.items()), None)


COUNT = """
import sys
from motet.serving.observability.counters import Counters
from motet.serving.observability.metrics import GraphMetrics
folder, graph, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
cells = Counters(folder)
metrics = GraphMetrics(cells, graph)
cells.values[cells.at("gauge", "motet_in_flight", graph=graph)] = 7
for _ in range(times):
    metrics.played([0.001, 0.002], 3, 0.004, 0.005)
print("counted", flush=True)
for line in sys.stdin:
    metrics.played([0.001], 1, 0.004, 0.005)
    print("counted", flush=True)
"""


class Counter:
    """A process that has counted `times` batches of two requests and three rows, and lives until it is killed."""

    def __init__(self, folder, graph="fashion", times=10):
        self._process = subprocess.Popen(
            [sys.executable, "-c", COUNT, str(folder), graph, str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def counted(self):
        """Wait until it has counted what it was told to."""
        assert self._process.stdout.readline() == "counted\n"

    def again(self):
        """Have it count one batch more."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.counted()

    def kill(self):
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
