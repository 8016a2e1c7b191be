"""Outputs whose types nobody declared, over a whole run: numbers widen where none changes, and all else fails its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv, json

import motet as mt


def graph(function: Any) -> mt.Graph:
    return mt.Graph("g", outputs={"y": mt.map(function, mt.input("x", "int64"))})


def column(values: dict[int, Any], first: Any, dtype: Any = None) -> Any:
    """A function of the row's number, each batch of which has the dtype that numpy finds."""
    return lambda x: np.array([values.get(row, first) for row in x.tolist()], dtype)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl"])
@pytest.mark.parametrize("commit_s", [0.0, 100.0])
def test_fractions_after_whole_numbers_make_all_of_them_floats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, commit_s: float
) -> None:
    monkeypatch.setattr("motet.engines.local.pending.COMMIT_SECONDS", commit_s)
    values = {5: 1.5, 7: -0.25}
    out = tmp_path / f"out.{suffix}"
    graph(column(values, 3)).run({"x": np.arange(9)}, out, batch_rows=2)
    read: dict[str, Any] = {"parquet": pq.read_table, "arrow": lambda path: pa.ipc.open_file(path).read_all()}
    read |= {"csv": csv.read_csv, "jsonl": json.read_json}
    table = read[suffix](out)
    assert table.schema.field("y").type == pa.float64()
    assert table["y"].to_pylist() == [values.get(row, 3) for row in range(9)]


def test_wider_numbers_of_one_kind_widen_too(tmp_path: Path) -> None:
    def narrow(x: Any) -> Any:
        return np.zeros(len(x), np.float32) if x[0] < 4 else np.full(len(x), 1e300)

    def vectors(x: Any) -> Any:
        return np.zeros((len(x), 2), np.int32) if x[0] < 4 else np.full((len(x), 2), 1 << 40)

    def lists(x: Any) -> Any:
        return [[1] * (row % 3) if row < 4 else [0.5] * (row % 3) for row in x.tolist()]

    wanted = {
        narrow: [0.0] * 4 + [1e300] * 4,
        vectors: [[0, 0]] * 4 + [[1 << 40] * 2] * 4,
        lists: [[1] * (row % 3) if row < 4 else [0.5] * (row % 3) for row in range(8)],
    }
    for function, want in wanted.items():
        graph(function).run({"x": np.arange(8)}, tmp_path / "out.parquet", batch_rows=2, overwrite=True)
        assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == want


def test_numbers_that_would_change_do_not_widen(tmp_path: Path) -> None:
    report = graph(column({1: (1 << 53) + 1, 5: 1.5}, 0)).run(
        {"x": np.arange(8)}, tmp_path / "out.parquet", batch_rows=2
    )
    table = pq.read_table(tmp_path / "out.parquet")
    assert (report.failed, table.schema.field("y").type) == (1, pa.int64())
    assert table["y"].to_pylist() == [0, (1 << 53) + 1, 0, 0, 0, 0, 0]


def test_a_run_that_goes_on_has_the_type_that_it_had_widened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motet.engines.local.pending.COMMIT_SECONDS", 0.0)
    whole, stopped = tmp_path / "whole.parquet", tmp_path / "stopped.parquet"
    pq.write_table(pa.table({"x": np.arange(40)}), tmp_path / "in.parquet")
    each = graph(column({5: 1.5}, 3))
    each.run(tmp_path / "in.parquet", whole, batch_rows=2)

    def stop(done: int, total: int | None, failed: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each.run(tmp_path / "in.parquet", stopped, batch_rows=2, progress=stop)
    report = each.run(tmp_path / "in.parquet", stopped, batch_rows=2, resume=True)
    assert report.resumed_rows >= 18
    assert stopped.read_bytes() == whole.read_bytes()
