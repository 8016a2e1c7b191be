"""What an engine over splits must do, whatever becomes of its workers: every row once, and as the engine local says.

    @pytest.mark.parametrize("check", engines.CHECKS, ids=lambda check: check.__name__)
    def test_engine(check, tmp_path):
        check(MyEngine(), tmp_path)

Each check runs one graph over a small file in many splits, and compares with a run of the engine `local`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from motet.batch import Array
from motet.engines.local.report import ModelReport, NodeReport, RunReport
from motet.engines.splits.engine import SplitEngine
from motet.errors import ModelFailedError, MotetError
from motet.facade import Graph
from motet.input_columns import input
from motet.io import open_source
from motet.nodes import map_, model
from motet.runtime.resources.need import Need
from motet.testing.fakes import Affine, fake
from motet.types import returns

__all__ = ["CHECKS"]

T = TypeVar("T")
R = TypeVar("R")
Check = Callable[[SplitEngine, Path], None]
CHECKS: list[Check] = []
"""All checks: called with an engine and an empty folder that its workers reach, they raise `AssertionError` where it fails one."""

ROWS, GROUP = 240, 40
OUTPUTS = ("out.csv", "out.parquet", "parts/")


def check(function: Check) -> Check:
    """Register a check."""
    CHECKS.append(function)
    return function


@returns("float32")
def _halve(n: Array) -> Array:
    """Half of whole numbers; one that is 13 or 13 more than a multiple of 100 fails."""
    if (n % 100 == 13).any():
        raise ValueError("thirteen")
    return (n / 2).astype(np.float32)


@returns("int64")
def _killed_once(n: Array, marker: str) -> Array:
    """The numbers; the first process that has 50 among them is killed, before it answers."""
    if (n == 50).any():
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return n
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@returns("int64")
def _broken(n: Array) -> Array:
    """Answers nothing."""
    raise RuntimeError("the model is broken")


class _Changed(SplitEngine):
    """An engine whose tasks are changed before they are mapped."""

    def __init__(self, engine: SplitEngine) -> None:
        self._engine, self.name = engine, engine.name

    def connected(self, needs: Sequence[Need] = ()) -> AbstractContextManager[None]:
        """See `SplitEngine.connected`."""
        return self._engine.connected(needs)


class _Twice(_Changed):
    """Plays every task twice, at the same time where there are two workers."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """See `SplitEngine.map`."""
        return self._engine.map(function, [item for item in items for _ in range(2)])


class _Stopped(_Changed):
    """Plays two tasks, and stops."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """See `SplitEngine.map`."""
        yield from self._engine.map(function, items[:2])
        raise RuntimeError("stopped on purpose")


def _source(folder: Path) -> str:
    table = pa.table({"n": range(ROWS), "text": [f"é{row}" for row in range(ROWS)]})
    pq.write_table(table, folder / "in.parquet", row_group_size=GROUP)
    return str(folder / "in.parquet")


def _graph(function: Callable[..., Any], **options: Any) -> Graph:
    n = input("n", "int64")
    half = map_(function, n, name="halved", **options)
    return Graph("checked", outputs={"half": half, "twice": model(fake(Affine, "twice", "int64", scale=2.0), n)})


def _rows(path: Path) -> list[dict[str, Any]]:
    """What an output holds."""
    batches = open_source(path).batches(1000)
    return [row for batch in batches for row in batch.to_pylist()]


def _run(engine: SplitEngine, graph: Graph, folder: Path, output: str, **options: Any) -> Any:
    """Run in splits of one row group each."""
    engine.split_bytes = 1
    return graph.run(_source(folder), f"{folder}/{output}", engine=engine, **options)


def _counts(report: RunReport) -> dict[str, tuple[int, int]]:
    """Rows of each node and model, and those that failed there."""
    reports: list[NodeReport | ModelReport] = [*report.nodes, *report.models]
    return {each.name: (each.rows, each.failed) for each in reports}


def _error_of(run: Callable[[], Any]) -> str:
    """What ends a run; empty where nothing does."""
    try:
        run()
    except MotetError as error:
        return str(error)
    return ""


@check
def every_output_is_that_of_the_engine_local(engine: SplitEngine, folder: Path) -> None:
    """Answers, kept columns, failures and counts, also of each node and model; files and folders."""
    graph, alone = _graph(_halve), folder / "local"
    alone.mkdir()
    for output in OUTPUTS:
        report = _run(engine, graph, folder, output, row_ids="row")
        expected = graph.run(_source(alone), f"{alone}/{output}", row_ids="row")
        assert (report.rows, report.failed) == (expected.rows, expected.failed) == (ROWS, 3), report
        assert _counts(report) == _counts(expected), report
        assert _rows(folder / output) == _rows(alone / output), output
        failed = [_rows(Path(each.failed_output)) for each in (report, expected)]
        assert [dict(row, input="") for row in failed[0]] == [dict(row, input="") for row in failed[1]], output
    assert len(pq.ParquetDataset(folder / "parts").files) == ROWS // GROUP
    assert sorted(path.name for path in folder.iterdir() if "unfinished" in path.name) == []


@check
def a_task_that_is_played_twice_counts_once(engine: SplitEngine, folder: Path) -> None:
    """Also where both attempts go on at the same time."""
    report = _run(_Twice(engine), _graph(_halve), folder, "parts/")
    assert (report.rows, report.failed) == (ROWS, 3), report
    assert _counts(report)["halved"] == (ROWS, 3), report
    assert [row["n"] for row in _rows(folder / "parts")] == [n for n in range(ROWS) if n % 100 != 13]


@check
def a_worker_that_is_killed_costs_no_row(engine: SplitEngine, folder: Path) -> None:
    """Nor doubles one."""
    graph = _graph(_killed_once, marker=str(folder / "killed"))
    report = _run(engine, graph, folder, "out.csv")
    assert (folder / "killed").exists(), "no worker was killed"
    assert (report.rows, report.failed) == (ROWS, 0), report
    assert pyarrow.csv.read_csv(folder / "out.csv")["n"].to_pylist() == list(range(ROWS))


@check
def a_broken_model_ends_the_run_with_its_own_error(engine: SplitEngine, folder: Path) -> None:
    """And is not tried for every split."""
    said, kind = "", None
    try:
        _run(engine, _graph(_broken), folder, "out.parquet")
    except MotetError as error:
        said, kind = str(error), type(error)
    assert "RuntimeError: the model is broken" in said, said
    assert kind is ModelFailedError, kind
    assert not (folder / "out.parquet").exists()


@check
def a_run_that_stopped_goes_on_where_it_did(engine: SplitEngine, folder: Path) -> None:
    """What is finished is not played again."""
    graph = _graph(_halve)
    said = _error_of(lambda: _run(_Stopped(engine), graph, folder, "parts/"))
    assert "stopped on purpose" in said, said
    report = graph.run(folder / "in.parquet", f"{folder}/parts/", engine=engine, resume=True)
    assert (report.rows, report.failed, report.resumed_rows) == (ROWS, 3, 2 * GROUP), report
    assert [row["n"] for row in _rows(folder / "parts")] == [n for n in range(ROWS) if n % 100 != 13]
