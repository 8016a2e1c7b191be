"""Runs that are told to go on: no stretch of rows that fail ends them, and what fails on everything does by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.errors import ModelFailedError, TooManyFailuresError
from motet.testing.fakes import Affine, Failing, fake

ROWS, BAD = 1000, 200


@mt.returns("int64")
def camera(x: np.ndarray) -> np.ndarray:
    """Refuses the first rows, as of a camera that is off."""
    if (x < BAD).any():
        raise ValueError("camera off")
    return x + 1


@mt.returns("int64")
def broken(x: np.ndarray) -> np.ndarray:
    """Refuses all."""
    raise ValueError("always off")


def of(function: Any, **options: Any) -> mt.Graph:
    return mt.Graph("g", {"y": mt.map(function, mt.input("x", "int64"), **options)})


def write(folder: Path, kind: str) -> Any:
    """The rows 0, 1, 2, ... in a format; in parts the first are the bad ones."""
    table = pa.table({"x": np.arange(ROWS)})
    if kind == "table":
        return table
    if kind == "parquet":
        pq.write_table(table, folder / "in.parquet", row_group_size=100)
        return folder / "in.parquet"
    if kind == "csv":
        pa.csv.write_csv(table, folder / "in.csv")
        return folder / "in.csv"
    (folder / "in").mkdir()
    for part in range(ROWS // BAD):
        pq.write_table(table.slice(part * BAD, BAD), folder / "in" / f"{part}.parquet")
    return folder / "in"


def rows_of(path: str | Path, name: str) -> list[int]:
    found: list[int] = pq.read_table(path)[name].to_pylist()
    return found


@pytest.mark.parametrize("kind", ["parquet", "csv", "parts", "table"])
@pytest.mark.parametrize("workers", [1, 3])
def test_bad_rows_at_the_start_do_not_end_a_run(tmp_path: Path, kind: str, workers: int) -> None:
    report = of(camera).run(write(tmp_path, kind), tmp_path / "out.parquet", batch_rows=50, workers=workers)
    assert (report.rows, report.answered, report.failed) == (ROWS, ROWS - BAD, BAD)
    assert rows_of(tmp_path / "out.parquet", "y") == list(range(BAD + 1, ROWS + 1))
    assert rows_of(report.failed_output, "row") == list(range(BAD))


def test_they_do_not_for_a_model_a_combiner_and_a_condition_either(tmp_path: Path) -> None:
    rows = pa.table({"x": np.arange(ROWS, dtype=np.float32)})
    model = fake(Failing, "failing", bad=[float(row) for row in range(BAD)])
    x = mt.input("x", "float32")
    graphs = [
        mt.Graph("g", {"y": mt.model(model, x)}),
        mt.Graph("g", {"y": mt.ensemble([fake(Affine, "a"), fake(Affine, "b")], x, combine=refuse_first)}),
    ]
    for place, graph in enumerate(graphs):
        report = graph.run(rows, tmp_path / f"{place}.parquet", batch_rows=50)
        assert (report.answered, report.failed) == (ROWS - BAD, BAD)


def refuse_first(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A combiner that refuses the first rows."""
    if (a < BAD).any():
        raise ValueError("no votes")
    return a + b


def test_what_fails_on_everything_ends_a_run_that_was_not_told_to_go_on(tmp_path: Path) -> None:
    for kind in ("parquet", "csv"):
        with pytest.raises(ModelFailedError, match=r"always off(.|\n)*--max-failures 100% goes on") as caught:
            of(broken).run(write(tmp_path, kind), tmp_path / "out.parquet", batch_rows=50, workers=3)
        assert isinstance(caught.value.__cause__, ValueError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "in.parquet"]


def test_an_iterator_can_be_looked_at_no_further_than_it_was_read(tmp_path: Path) -> None:
    batches = pa.table({"x": np.arange(ROWS)}).to_batches(max_chunksize=100)
    with pytest.raises(ModelFailedError, match="camera off"):
        of(camera).run(iter(batches), tmp_path / "out.parquet", batch_rows=50)
    report = of(camera).run(iter(batches), tmp_path / "out.parquet", batch_rows=50, max_failures="100%", overwrite=True)
    assert (report.answered, report.failed) == (ROWS - BAD, BAD)


@pytest.mark.parametrize("told", [{"max_failures": "100%"}, {"max_failures": ROWS}, {"resume": True}])
def test_nothing_ends_a_run_that_was_told_to_go_on(tmp_path: Path, told: dict[str, Any]) -> None:
    report = of(broken).run(write(tmp_path, "csv"), tmp_path / "out.parquet", batch_rows=50, **told)
    assert (report.rows, report.answered, report.failed) == (ROWS, 0, ROWS)
    assert rows_of(report.failed_output, "row") == list(range(ROWS))
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_a_number_of_failures_ends_it_with_the_failures_told(tmp_path: Path) -> None:
    with pytest.raises(TooManyFailuresError, match=r"more than 300 are too many"):
        of(broken).run(write(tmp_path, "csv"), tmp_path / "out.parquet", batch_rows=50, max_failures=300)


def test_failed_rows_that_fail_again_are_written_again(tmp_path: Path) -> None:
    source = write(tmp_path, "parquet")
    first = of(camera).run(source, tmp_path / "out.parquet", batch_rows=50)
    again = of(camera).run(source, tmp_path / "again.parquet", only_failed=first.failed_output, batch_rows=16)
    assert (again.rows, again.answered, again.failed) == (BAD, 0, BAD)
    assert rows_of(again.failed_output, "row") == list(range(BAD))


def test_few_rows_are_tried_of_a_source_whose_rows_all_fail(tmp_path: Path) -> None:
    called: list[int] = []

    @mt.returns("int64")
    def counted(x: np.ndarray) -> np.ndarray:
        called.append(len(x))
        raise ValueError("off")

    with pytest.raises(ModelFailedError, match="off"):
        of(counted).run({"x": np.arange(100_000)}, tmp_path / "out.parquet", batch_rows=1000, workers=1)
    assert len(called) < 200
