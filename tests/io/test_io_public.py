"""The public face of `motet.io`."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import motet.io
from motet.io.take import take_batch

SLOW = ["pyarrow.parquet", "pyarrow.dataset", "pyarrow.csv", "pyarrow.json", "fsspec", "PIL"]


def test_names_are_sorted_and_exist() -> None:
    constants_first = sorted(motet.io.__all__, key=lambda name: (not name.isupper(), name))
    assert motet.io.__all__ == constants_first
    assert all(hasattr(motet.io, name) for name in motet.io.__all__)


def test_importing_it_imports_nothing_slow() -> None:
    code = f"import sys, motet.io.arrow, motet.io.source, motet.io.sink; print([n for n in {SLOW} if n in sys.modules])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("start", [0, 1])
def test_rows_are_taken_right_from_slices_of_nested_fixed_lists(start: int) -> None:
    rows = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    fixed = pa.array(rows.tolist(), pa.list_(pa.list_(pa.uint8(), 2), 2))
    batch = pa.RecordBatch.from_arrays([fixed, pa.array(range(6))], names=["image", "row"]).slice(start)
    for positions in ([3, 0, 3], []):
        taken = take_batch(batch, np.array(positions, np.int64))
        assert taken["image"].to_pylist() == rows[start:][positions].tolist()
        assert taken["row"].to_pylist() == [position + start for position in positions]
