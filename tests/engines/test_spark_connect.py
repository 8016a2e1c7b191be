"""Graphs and whole jobs through a server of Spark Connect; what plain Python says of the rows is right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from motet.batch import Array
from motet.cli import cli
from motet.engines.engine import find_engine
from motet.errors import InputError, ModelFailedError
from motet.testing import engines
from motet.types import returns

ROWS = 40
FAILED = [n for n in range(ROWS) if n % 10 == 3]
pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")]


@returns("float32")
def half(n: Array) -> Array:
    """Half of each number; one that ends in 3 fails."""
    if (n % 10 == 3).any():
        raise ValueError("three")
    return (n / 2).astype(np.float32)


@returns("int64")
def broken(n: Array) -> Array:
    raise RuntimeError("the model is broken")


N = mt.input("id", "int64")


def halves() -> mt.Graph:
    return mt.Graph("g", outputs={"y": mt.map(half, N, name="halved")})


@pytest.fixture(scope="module")
def server_session(connect_url: str) -> Iterator[Any]:
    """A session of the server, of which the program is told nothing."""
    from motet.engines.spark.connect import session_at

    with session_at(connect_url) as found:
        del os.environ["SPARK_CONNECT_MODE_ENABLED"]
        yield found


@pytest.fixture
def session(server_session: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """It, as a program has it that has no other."""
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")
    return server_session


@pytest.fixture
def alone(connect_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the server is, for a program that has no session."""
    monkeypatch.setattr("pyspark.SparkContext._active_spark_context", None)
    return connect_url


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"id": range(ROWS)}), tmp_path / "in.parquet", row_group_size=10)
    return tmp_path / "in.parquet"


def test_frames_of_a_server_are_played(session: Any) -> None:
    frame = session.range(0, ROWS, 1, 4)
    with halves().on_spark(frame, row_ids="nr") as played:
        assert sorted((row.id, row.y) for row in played.answers.collect()) == [
            (n, n / 2) for n in range(ROWS) if n not in FAILED
        ]
        failed = played.failures.collect()
    assert sorted((row.row.id, row.node, row.error) for row in failed) == [(n, "halved", "ValueError") for n in FAILED]
    with pytest.raises(Exception, match="ModelFailedError: node 'z': .*RuntimeError: the model is broken"):
        mt.Graph("g", outputs={"y": mt.map(broken, N, name="z")}).on_spark(frame).answers.collect()


def test_whole_jobs_are_played_by_a_server(alone: str, rows: Path, tmp_path: Path) -> None:
    halves().save(tmp_path / "g.yaml")
    line = ["run", f"{tmp_path}/g.yaml", "--input", str(rows), "--output", f"{tmp_path}/out/", "--failed", f"{tmp_path}/no.parquet"]  # fmt: skip
    done = CliRunner().invoke(cli, [*line, "--engine", "spark", "--", "--split-bytes", "1", "--master", alone])
    assert done.exit_code == 3, done.output  # some rows failed
    found = pq.read_table(tmp_path / "out").to_pydict()
    assert found == {
        "id": [n for n in range(ROWS) if n not in FAILED],
        "y": [n / 2 for n in range(ROWS) if n not in FAILED],
    }
    assert pq.read_table(tmp_path / "no.parquet")["row"].to_pylist() == FAILED
    assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 4
    assert "SPARK_CONNECT_MODE_ENABLED" not in os.environ


def test_a_programs_own_session_is_used(session: Any, rows: Path, tmp_path: Path) -> None:
    report = halves().run(rows, tmp_path / "out.parquet", engine="spark", engine_options=["--split-bytes", "1"])
    assert (report.rows, report.failed) == (ROWS, len(FAILED))
    assert session.range(3).count() == 3, "it is not ended"
    with pytest.raises(InputError, match="--master and --conf are not used: the program has a session already"):
        halves().run(rows, tmp_path / "o.parquet", engine="spark", engine_options=["--master", "local"])
    with pytest.raises(ModelFailedError, match="node 'z': .*RuntimeError: the model is broken") as caught:
        mt.Graph("g", outputs={"y": mt.map(broken, N, name="z")}).run(rows, tmp_path / "b.parquet", engine="spark")
    assert "stacktrace" not in str(caught.value)


def test_what_a_server_does_not_give_is_refused(alone: str, rows: Path, tmp_path: Path) -> None:
    for options, said in (
        (["--master", "sc://localhost:1"], "engine spark: no server of Spark Connect answers at sc://localhost:1: "),
        (["--master", "sc://localhost:x;token=hidden"], "no server of Spark Connect answers at sc://localhost:x: "),
        (["--master", alone, "--conf", "spark.executor.memory=1g"], "spark.executor.memory"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            halves().run(rows, tmp_path / "out.parquet", engine="spark", engine_options=options)
        assert "hidden" not in str(caught.value)
    assert "SPARK_CONNECT_MODE_ENABLED" not in os.environ


@pytest.mark.parametrize(
    "check", [engines.every_output_is_that_of_the_engine_local, engines.a_broken_model_ends_the_run_with_its_own_error]
)
def test_the_engine_passes_the_suite_through_a_server(check: Any, alone: str, tmp_path: Path) -> None:
    check(find_engine("spark", ["--master", alone]), tmp_path)
