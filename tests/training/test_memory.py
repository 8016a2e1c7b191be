"""Datasets ten times as large as the memory that a process may have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import resource, sys
import numpy as np
import motet as mt

LIMIT, ROW_BYTES = 96 << 20, 1 << 16
NUM_ROWS = 10 * LIMIT // ROW_BYTES
kind, folder = sys.argv[1:]

def rows(first, stop):
    label = np.arange(first, stop) % 2
    x = np.zeros((stop - first, ROW_BYTES), np.uint8)
    x[:, 0] = label * 200
    return {"x": x, "label": label}

def blocks():
    for first in range(0, NUM_ROWS, 64):
        yield rows(first, min(first + 64, NUM_ROWS))

resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
try:
    np.ones(LIMIT, np.uint8)
    raise SystemExit("the limit does not hold")
except MemoryError:
    pass
data = mt.data.blocks(blocks, NUM_ROWS)
data = data.shuffle(1, window_rows=256) if kind == "stream" else data.cache(folder).shuffle(1)
weight, bias = 0.0, 0.0
num_rows = 0
for epoch in range(1 if kind == "stream" else 2):
    for batch in data.batches(32, epoch=epoch):
        signal = batch["x"][:, 0] / 255 - 0.4
        error = 1 / (1 + np.exp(-(weight * signal + bias))) - batch["label"]
        weight -= 5.0 * float((error * signal).mean())
        bias -= 5.0 * float(error.mean())
        num_rows += len(batch["label"])
right = np.mean([(weight * (label * 200 / 255 - 0.4) + bias > 0) == label for label in (0, 1)])
print(num_rows, NUM_ROWS, right)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process by RLIMIT_DATA")
@pytest.mark.parametrize("kind", ["stream", "disk"])
def test_a_dataset_ten_times_the_memory_trains(kind: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    command = [sys.executable, "-c", CHILD, kind, str(tmp_path)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert child.returncode == 0, child.stderr
    num_rows, expected, right = child.stdout.split()
    assert int(num_rows) == int(expected) * (1 if kind == "stream" else 2)
    assert float(right) == 1
