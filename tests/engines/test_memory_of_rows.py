"""What a run holds is bounded by bytes: large rows are few in a batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from motet.engines.local.layout import HELD_BYTES, choose_batch_rows, choose_window_rows
from motet.io import open_source
from motet.io.stream import Stream, rows_to_read
from motet.types import ColumnType

RUN = """
import json, sys
import motet as mt
import numpy as np
lengths = mt.map(lambda s: np.array([len(each) for each in s]), mt.input("s", "string"), outputs="int64")
report = mt.Graph("g", {"n": lengths}).run(sys.argv[1], sys.argv[2], drop=json.loads(sys.argv[3]))
print(json.dumps([report.rows, report.failed, report.peak_memory_bytes >> 20]))
"""
DOCUMENT = "0123456 " * 12_500


@pytest.mark.parametrize("drop", [["s"], []])
def test_documents_of_100_kb_stream(tmp_path: Path, drop: list[str]) -> None:
    """6,000 of them are 600 MB."""
    some = pa.table({"s": [f"{row} {DOCUMENT}" for row in range(100)]})
    with pq.ParquetWriter(tmp_path / "x.parquet", some.schema, use_dictionary=False, compression="zstd") as out:
        for _ in range(60):
            out.write_table(some)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "x.parquet"), str(tmp_path / "o.parquet"), json.dumps(drop)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows, failed, peak = json.loads(done.stdout)
    assert (rows, failed) == (6000, 0)
    assert peak < 560, peak


def row_bytes(path: Path, *columns: str) -> float:
    source = open_source(path)
    assert isinstance(source, Stream)
    return source.row_bytes(columns or source.schema.names)


@pytest.mark.parametrize("format", ["parquet", "arrow", "csv", "jsonl"])
def test_rows_are_measured(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"x.{format}"
    table = pa.table({"x": np.arange(50), "s": ["a" * 1000] * 50})
    if format == "parquet":
        pq.write_table(table, path)
    elif format == "arrow":
        pyarrow.feather.write_feather(table, path, "uncompressed")
    elif format == "csv":
        path.write_text("x,s\n" + "".join(f"{row},{'a' * 1000}\n" for row in range(50)))
    else:
        path.write_text("".join(f'{{"x":{row},"s":"{"a" * 1000}"}}\n' for row in range(50)))
    assert 1000 <= row_bytes(path) <= 1100
    if format in ("parquet", "arrow"):
        assert row_bytes(path, "x") == 8


def test_the_largest_rows_count_where_row_groups_differ(tmp_path: Path) -> None:
    table = pa.table({"s": ["a"] * 100 + [f"{row}{'b' * 10_000}" for row in range(100)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100, use_dictionary=False)
    assert row_bytes(tmp_path / "x.parquet") >= 10_000


def test_large_rows_are_few_in_a_batch() -> None:
    kinds = [ColumnType("string")]
    assert choose_batch_rows(kinds, None, 2, models=False) == 32_768
    assert choose_batch_rows(kinds, None, 2, models=False, played=100_000, held=100_000) == 16
    assert choose_batch_rows(kinds, None, 2, models=False, held=24_000) == 512
    assert choose_batch_rows(kinds, 60, 2, models=True, played=20e6, held=20e6) == 1
    assert choose_window_rows(kinds, None, 2, held=1e6) * 1e6 <= HELD_BYTES


def test_a_batch_that_is_large_is_read_in_parts() -> None:
    assert rows_to_read(10, 8) % 10 == 0
    assert rows_to_read(5000, 100_000) * 100_000 <= 16 << 20
    assert rows_to_read(5, 1e9) == 1
