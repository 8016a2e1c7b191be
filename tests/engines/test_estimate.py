"""Dry runs: all is checked, a few rows are played, nothing is written, and what is told is what the run then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from helpers import functions
from motet.cli import cli
from motet.engines.local.estimate import Tried, estimated_seconds, try_rows
from motet.engines.local.head import Cost
from motet.errors import InputError, ModelFailedError, MotetError, OutputExistsError
from motet.testing import fakes
from motet.testing.fakes import Counting, fake

ROWS = 1000


def graph() -> mt.Graph:
    return mt.Graph("g", {"y": mt.map(functions.refuse_negative, mt.input("x", "float32"))})


def parts(folder: Path) -> Path:
    (folder / "in").mkdir()
    for part in range(4):
        x = np.arange(part * 250, (part + 1) * 250, dtype=np.float32)
        pq.write_table(pa.table({"x": x, "id": x.astype(int), "l": [[1]] * 250}), folder / "in" / f"{part}.parquet")
    return folder / "in"


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_it_tells_what_the_run_does_and_writes_nothing(tmp_path: Path) -> None:
    source = parts(tmp_path)
    before = everything(tmp_path)
    told = graph().run(source, tmp_path / "out.csv", dry_run=True, row_ids="row", batch_rows=100, workers=2, skip=100)
    assert everything(tmp_path) == before
    report = graph().run(source, tmp_path / "out.csv", row_ids="row", batch_rows=100, workers=2, skip=100)
    assert told.rows == report.rows == ROWS - 100
    assert (told.files, told.bytes) == (4, sum(path.stat().st_size for path in source.iterdir()))
    assert told.columns == tuple(pa.csv.read_csv(tmp_path / "out.csv").column_names)
    assert told.columns_left_out == tuple(report.columns_left_out) == ("l",)
    assert (told.batch_rows, told.workers) == (report.batch_rows, report.workers) == (100, 2)
    assert told.tried > 0
    assert told.failures == ()
    assert told.seconds > 0
    assert told.memory_bytes > 0
    text = str(told)
    assert "g: 900 rows in 4 files of" in text
    assert "columns left out: l" in text
    assert json.loads(told.to_json())["rows"] == 900


def test_rows_that_only_reading_tells_are_said_to_be_unknown(tmp_path: Path) -> None:
    pa.csv.write_csv(pa.table({"x": np.arange(50.0)}), tmp_path / "in.csv")
    told = graph().run(tmp_path / "in.csv", tmp_path / "out.parquet", dry_run=True, batch_rows=16)
    assert told.rows is None
    assert "only reading them all would tell" in str(told)
    assert "for a million rows" in str(told)
    counted = graph().run(tmp_path / "in.csv", tmp_path / "out.parquet", dry_run=True, sample=20)
    assert (counted.rows, counted.tried) == (20, 20)
    whole = graph().run(tmp_path / "in.csv", tmp_path / "out.parquet", dry_run=True)
    assert whole.rows == 50


def test_failures_of_the_rows_tried_are_shown(tmp_path: Path) -> None:
    x = np.arange(100, dtype=np.float32)
    x[[2, 5]] = -1
    rows = pa.table({"x": pa.array([None if row == 9 else value for row, value in enumerate(x)], pa.float32())})
    told = graph().run(rows, tmp_path / "out.parquet", dry_run=True, batch_rows=100)
    assert [failure.row for failure in told.failures] == [2, 5, 9]
    assert "tried 100 rows, 3 failed" in str(told)
    assert "row 2: node refuse_negative_1" in str(told)
    assert everything(tmp_path) == []


def test_no_rows_are_no_trouble(tmp_path: Path) -> None:
    told = graph().run({"x": np.empty(0, np.float32)}, tmp_path / "out.parquet", dry_run=True)
    assert (told.rows, told.tried, told.failures) == (0, 0, ())
    str(told)


@pytest.mark.parametrize(
    ("source", "output", "options", "error"),
    [
        ("missing.parquet", "out.parquet", {}, "there is no file"),
        ("in", "out.xyz", {}, "cannot tell the format"),
        ("in", "there.parquet", {}, "is there already"),
        ("in", "in/0.parquet", {"overwrite": True}, "would write over it"),
        ("in", "out.csv", {"keep": ["l"]}, "CSV cannot hold column 'l'"),
        ("in", "out.csv", {"keep": ["nothing"]}, "nothing"),
        ("in", "out.csv", {"shard": "3/3"}, "is no shard"),
    ],
)
def test_what_a_run_refuses_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, output: str, options: dict[str, Any], error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    parts(tmp_path)
    Path("there.parquet").write_bytes(b"")
    before = everything(tmp_path)
    for dry in (True, False):
        with pytest.raises((InputError, OutputExistsError, MotetError), match=error):
            graph().run(source, output, dry_run=dry, **options)
    assert everything(tmp_path) == before
    with pytest.raises(InputError, match="name an output"):
        graph().run("in", dry_run=True)  # type: ignore[call-overload]


def test_what_fails_on_everything_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelFailedError, match="negative"):
        graph().run({"x": np.full(200, -1, np.float32)}, tmp_path / "out.parquet", dry_run=True)


def test_few_rows_are_played_each_once(tmp_path: Path) -> None:
    what = mt.Graph("g", {"y": mt.model(fake(Counting, "asked", scale=2.0, log="asked"), mt.input("x", "float32"))})
    rows = {"x": np.arange(200_000, dtype=np.float32)}
    told = what.run(rows, tmp_path / "out.parquet", dry_run=True, workers=1)
    assert sum(fakes.calls["asked"]) == told.tried <= told.batch_rows


def test_the_cost_of_rows_is_told_from_that_of_calls() -> None:
    assert estimated_seconds(Tried(1, (), Cost(0.5, 0.001), 8, 8), 10_000, 1000, 2, 0.0, 3.0) == pytest.approx(10.5)
    assert estimated_seconds(Tried(1, (), Cost(0.5, 0.001), 8, 8), 10_000, 1000, 2, 0.01, 3.0) == pytest.approx(103)
    batch = pa.record_batch({"x": np.arange(100)})
    seen: list[int] = []
    tried = try_rows(batch, np.arange(100), lambda read, ids: (seen.extend(ids.tolist()) or [], 8 * len(ids)))
    assert seen == list(range(100))
    assert (tried.rows, tried.read_bytes, tried.written_bytes) == (100, 8, 8)


def test_the_command_prints_it_and_ends_with_0_or_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts(tmp_path)
    graph().save("g.yaml")
    before = everything(tmp_path)
    done = CliRunner().invoke(cli, ["run", "g.yaml", "--input", "in", "--output", "out.parquet", "--dry-run"])
    assert (done.exit_code, everything(tmp_path)) == (0, before), done.output
    assert "1,000 rows in 4 files" in done.output
    wrong = CliRunner().invoke(cli, ["run", "g.yaml", "--input", "no", "--output", "out.parquet", "--dry-run"])
    assert wrong.exit_code == 2
