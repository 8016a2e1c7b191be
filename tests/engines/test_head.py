"""What the first rows of a run tell of what a batch costs, of calls whose cost is known."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from motet.batch import Batch
from motet.engines.local import head
from motet.engines.local.head import Head
from motet.runtime.executor import Played

BATCH = pa.record_batch({"x": pa.array(np.zeros(10_000))})


@pytest.mark.parametrize(
    ("members", "call_s", "row_s", "most_played"),
    [
        (1, 0.010, 1e-5, 512),
        (1, 0.0, 0.0001, 4),
        (40, 0.005, 1e-6, 64),  # each row of the first ones is a call of its own, and each of the last ones is not
        (40, 0.005, 0.002, 512),
    ],
)
def test_the_overhead_of_calls_is_told_from_what_rows_take(
    monkeypatch: pytest.MonkeyPatch, members: int, call_s: float, row_s: float, most_played: int
) -> None:
    now = [0.0]

    class Clock:
        def __init__(self) -> None:
            self.begun = now[0]

        def seconds(self) -> float:
            return now[0] - self.begun

    def play(read: pa.RecordBatch, ids: Any) -> Played:
        asked = members * (1 - (1 - 1 / members) ** read.num_rows)
        now[0] += asked * call_s + read.num_rows * row_s
        return Played(Batch({"y": np.zeros(read.num_rows)}, ids), [])

    monkeypatch.setattr(head, "CallTime", Clock)
    tried = Head(play, members)
    cost = tried.play(BATCH, np.arange(len(BATCH)), 10_000)
    assert cost is not None
    assert cost.of(10_000) == pytest.approx(members * call_s + 10_000 * row_s, rel=0.01)
    assert tried.rows <= most_played
    assert tried.row_bytes == 8
