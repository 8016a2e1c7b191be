"""Tables as outputs of engines of clusters: rows once and in their places, whatever workers do twice."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.lakes import negating
from helpers.split_engines import Here
from motet.databases.address import TableAddress
from motet.errors import ModelFailedError, ResumeError, RunError

T = TypeVar("T")
R = TypeVar("R")


class Doubling(Here):
    """Plays each task, has it forgotten what it did, and plays it again; `fails` gives up after the first."""

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        for given in items:
            function, item = pickle.loads(pickle.dumps((function, given)))  # as workers elsewhere have them
            first = function(item)
            folder = Path(function.plan.folder)  # type: ignore[attr-defined]
            if self._fails:
                raise RuntimeError("the cluster is gone")
            for record in folder.glob("_split-*.json"):
                record.unlink()
            second: Any = function(item)
            assert second.rows == first.rows  # type: ignore[attr-defined]
            for record in folder.glob("_split-*.json"):
                record.rename(record.with_suffix(".kept"))
            yield second
        for record in folder.glob("_split-*.kept"):
            record.rename(record.with_suffix(".json"))


def stored(folder: Path) -> tuple[str, pa.Table]:
    rows = pa.table({"id": pa.array([*range(60), None]), "x": np.arange(61.0)})
    pq.write_table(rows, folder / "in.parquet", row_group_size=10)
    return str(folder / "in.parquet"), rows.slice(0, 60)


def in_sqlite(file: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT id, x, y FROM t ORDER BY id").fetchall()


@pytest.mark.parametrize("engine", [Here(), Doubling()], ids=["once", "twice"])
def test_a_table_in_a_file_is_written_by_the_driver(engine: Here, tmp_path: Path) -> None:
    source, rows = stored(tmp_path)
    report = negating().run(source, f"sqlite:///{tmp_path}/a.db#t", engine=engine)
    assert (report.rows, report.answered, report.failed) == (61, 60, 1)
    assert in_sqlite(tmp_path / "a.db") == [(row["id"], row["x"], -row["x"]) for row in rows.to_pylist()]
    failed = pq.read_table(report.failed_output).to_pylist()
    assert [(each["row"], each["node"], each["message"]) for each in failed] == [
        (60, "output", "column 'id' has no value, which is the row's id")
    ]


@pytest.mark.parametrize("engine", [Here(), Doubling()], ids=["once", "twice"])
def test_a_table_of_a_server_is_written_by_workers(
    engine: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands for the server, which the tests of its database have."""
    monkeypatch.setattr(TableAddress, "takes_writers", True)
    source, rows = stored(tmp_path)
    address = f"sqlite:///{tmp_path}/a.db#t"
    with pytest.raises(RunError, match="the cluster is gone"):
        negating().run(source, address, engine=Doubling(fails=True))
    assert [row[0] for row in in_sqlite(tmp_path / "a.db")] == list(range(10))
    report = negating().run(source, address, engine=engine, resume=True)
    assert (report.rows, report.answered, report.failed) == (61, 60, 1)
    assert in_sqlite(tmp_path / "a.db") == [(row["id"], row["x"], -row["x"]) for row in rows.to_pylist()]
    assert sorted(each.name for each in tmp_path.iterdir() if "unfinished" in each.name) == []


def test_a_table_that_is_gone_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TableAddress, "takes_writers", True)
    source, _ = stored(tmp_path)
    address = f"sqlite:///{tmp_path}/a.db#t"
    with pytest.raises(RunError, match="the cluster is gone"):
        negating().run(source, address, engine=Doubling(fails=True))
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("DROP TABLE t")
    with pytest.raises(mt.MotetError, match="the table is not there any more"):
        negating().run(source, address, engine=Here(), resume=True)


def test_a_version_of_delta_is_read_by_workers_and_added_to_once(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    for part in range(3):
        deltalake.write_deltalake(tmp_path / "in", pa.table({"x": np.arange(10.0) + 10 * part}), mode="append")
    report = negating().run(f"delta:{tmp_path}/in", f"delta:{tmp_path}/out", engine=Doubling())
    assert (report.rows, report.answered) == (30, 30)
    found = deltalake.DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist()
    assert sorted(row["x"] for row in found) == list(range(30))
    assert deltalake.DeltaTable(tmp_path / "out").version() == 0


def test_a_run_goes_on_over_the_version_that_it_began_with(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    for part in range(3):
        deltalake.write_deltalake(tmp_path / "in", pa.table({"x": np.arange(100.0) + 100 * part}), mode="append")
    with pytest.raises(RunError, match="the cluster is gone"):
        negating().run(f"delta:{tmp_path}/in", f"{tmp_path}/out.parquet", engine=Doubling(fails=True))
    deltalake.write_deltalake(tmp_path / "in", pa.table({"x": [99.0]}), mode="append")
    with pytest.raises(ResumeError, match="the input changed since the run stopped"):
        negating().run(f"delta:{tmp_path}/in?version=3", f"{tmp_path}/out.parquet", engine=Here(), resume=True)
    report = negating().run(f"delta:{tmp_path}/in", f"{tmp_path}/out.parquet", engine=Here(), resume=True)
    assert (report.rows, report.resumed_rows, report.source) == (300, 100, f"delta:{tmp_path}/in?version=2")


def test_rows_that_a_lake_cannot_hold_fail_alone(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    rows = pa.table(
        {"x": np.arange(20.0), "at": pa.array([1000 + each // 19 for each in range(20)], pa.timestamp("ns"))}
    )
    pq.write_table(rows, tmp_path / "in.parquet", row_group_size=5)
    report = negating().run(str(tmp_path / "in.parquet"), f"delta:{tmp_path}/out", engine=Here())
    assert (report.answered, report.failed) == (19, 1)
    assert "cannot be timestamp[us]" in report.first_failures[0]
    assert deltalake.DeltaTable(tmp_path / "out").to_pyarrow_table().num_rows == 19


def test_nothing_is_made_where_a_model_fails_on_everything(tmp_path: Path) -> None:
    source, _ = stored(tmp_path)
    graph = mt.Graph("g", {"y": mt.map(refuse, mt.input("x", "float64"))})
    with pytest.raises((ModelFailedError, RunError)):
        graph.run(source, f"delta:{tmp_path}/out", engine=Here())
    assert not (tmp_path / "out").exists()


@mt.returns("float64")
def refuse(x: np.ndarray) -> np.ndarray:
    raise ValueError("no")


@pytest.mark.parametrize("mode", ["", "?mode=append"])
def test_what_was_added_before_the_driver_went_is_not_added_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    deltalake = pytest.importorskip("deltalake")
    from motet.lake.delta import DeltaLakeTable

    source, _ = stored(tmp_path)
    whole, address = DeltaLakeTable.commit, f"delta:{tmp_path}/out{mode}"

    def commit(self: Any, *given: Any, **named: Any) -> None:
        whole(self, *given, **named)
        raise RunError("the driver is gone")

    with monkeypatch.context() as patched:
        patched.setattr(DeltaLakeTable, "commit", commit)
        with pytest.raises(RunError, match="the driver is gone"):
            negating().run(source, address, engine=Here(), keep=["x"])
    report = negating().run(source, address, engine=Here(), keep=["x"], resume=True)
    assert (report.rows, report.resumed_rows) == (61, 61)
    table = deltalake.DeltaTable(tmp_path / "out")
    assert (table.version(), table.to_pyarrow_table().num_rows) == (0, 61)
