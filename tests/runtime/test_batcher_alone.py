"""Calls whose batch failed as a whole are played again alone, and not more of them at once than there may be."""

import asyncio
import threading
from types import SimpleNamespace

import numpy as np

from motet.graph.node import Answer
from motet.runtime.batcher import Batcher
from motet.runtime.shares import ThreadShares


class Model:
    """Refuses to be called with more than one row, and row 3; says how many calls were under way at once."""

    placement, elsewhere, cost, paid = "thread", False, None, False

    def __init__(self):
        batch = SimpleNamespace(rows=None, max_rows=None, max_wait_ms=None)
        self.model = SimpleNamespace(name="m", concurrent=None, num_replicas=1, batch=batch)
        self.replicas = SimpleNamespace(direct=self)
        self.lock, self.now, self.most, self.rows = threading.Lock(), 0, 0, []

    def play(self, columns, rows, replica):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.rows.append(rows)
        try:
            if rows > 1 or columns[0][0] == 3:
                raise ValueError("no")
            return Answer({"y": columns[0] * 2})
        finally:
            with self.lock:
                self.now -= 1


def test_each_alone_within_the_bound():
    async def main(model):
        batcher = Batcher(model, asyncio.get_running_loop(), ThreadShares(8, "test").share(), 2)
        calls = [batcher([np.array([number])], 1) for number in range(8)]
        return await asyncio.gather(*calls, return_exceptions=True), batcher

    model = Model()
    answers, batcher = asyncio.run(main(model))
    told = [each if isinstance(each, ValueError) else each.columns["y"].tolist() for each in answers]
    assert isinstance(told.pop(3), ValueError)
    assert told == [[0], [2], [4], [8], [10], [12], [14]]
    assert model.rows == [8, *[1] * 8]
    assert model.most <= 2
    assert batcher.idle
    assert batcher.waiting_rows == 0
