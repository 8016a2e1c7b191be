"""Tables of BigQuery as outputs, against a server of its write protocol: rows appear once, whatever is lost on the way."""

from __future__ import annotations

import datetime
import decimal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.lakes import killed_and_added_once, negating
from helpers.write_streams import WriteServer, write_server
from motet.databases.retry import TRIES
from motet.errors import InputError, OutputExistsError, RunError, UnknownNameError
from motet.io import open_source
from motet.lake import bigquery

pytest.importorskip("google.cloud.bigquery_storage_v1")
grpc = pytest.importorskip("grpc")

COLUMNS = [("x", "DOUBLE", "NULLABLE"), ("y", "DOUBLE", "NULLABLE"), ("name", "STRING", "NULLABLE")]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("motet.databases.retry.FIRST_PAUSE_S", 0.001)


@pytest.fixture
def server() -> Iterator[tuple[WriteServer, str]]:
    with write_server(COLUMNS) as (made, endpoint):
        yield made, f"bigquery://p/d/t?mode=append&endpoint={endpoint}"


def rows_of(count: int) -> pa.Table:
    return pa.table({"x": np.arange(float(count)), "name": [f"n{each}" for each in range(count)]})


def wanted(rows: pa.Table) -> list[dict[str, Any]]:
    return [{"x": row["x"], "y": -row["x"], "name": row.get("name")} for row in rows.to_pylist()]


def test_rows_appear_when_all_are_there(server: tuple[WriteServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigquery, "REQUEST_BYTES", 200)
    made, address = server
    report = negating().run(rows_of(50), address, batch_rows=20)
    assert (report.answered, report.output) == (50, "bigquery://p/d/t")
    assert made.rows == wanted(rows_of(50))
    assert made.requests > 3
    negating().run(rows_of(2), address)
    assert (len(made.rows), len(made.committed)) == (52, 2)


@pytest.mark.parametrize("taken", [False, True])
def test_a_lost_connection_is_made_anew_behind_what_is_there(
    server: tuple[WriteServer, str], monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """Lost before a request is taken, and after, when its offset is there already."""
    monkeypatch.setattr(bigquery, "REQUEST_BYTES", 200)
    made, address = server
    lost: list[int] = []

    def fault(request: Any, context: Any, now: bool) -> None:
        if now is taken and made.requests % 3 == 2 and request.offset not in lost:
            lost.append(request.offset)
            context.abort(grpc.StatusCode.UNAVAILABLE, "lost")

    made.faults = fault
    negating().run(rows_of(60), address, batch_rows=20)
    assert len(lost) > 1
    assert made.rows == wanted(rows_of(60))


def test_tries_are_bounded(server: tuple[WriteServer, str]) -> None:
    made, address = server
    made.faults = lambda request, context, taken: context.abort(grpc.StatusCode.UNAVAILABLE, "always")
    with pytest.raises(RunError, match="bigquery://p/d/t: cannot be written: .*always"):
        negating().run(rows_of(3), address)
    assert made.requests == TRIES
    made.faults = lambda request, context, taken: None
    assert negating().run(rows_of(3), address, resume=True).answered == 3
    assert made.rows == wanted(rows_of(3))


def test_a_connection_that_hangs_is_made_anew(server: tuple[WriteServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigquery, "CONNECTION_S", 0.5)
    made, address = server
    ended = threading.Event()

    def hang(request: Any, context: Any, taken: bool) -> None:
        if taken and made.requests == 1 and context.add_callback(ended.set):
            assert ended.wait(60)

    made.faults = hang
    negating().run(rows_of(3), address)
    assert made.requests >= 2
    assert made.rows == wanted(rows_of(3))


def test_a_commit_whose_answer_is_lost_is_no_second_one(server: tuple[WriteServer, str]) -> None:
    made, address = server
    made.commits = lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
    negating().run(rows_of(3), address)
    assert made.rows == wanted(rows_of(3))


@pytest.mark.parametrize("when", ["noted", "committed"])
def test_rows_of_a_killed_run_are_added_once(tmp_path: Path, when: str) -> None:
    with write_server([("n", "INT64", "REQUIRED"), ("m", "INT64", "NULLABLE")]) as (made, endpoint):
        killed_and_added_once(
            tmp_path, f"bigquery://p/d/t?mode=append&endpoint={endpoint}", when, lambda: list(made.rows)
        )


def test_a_stream_that_is_gone_is_told(server: tuple[WriteServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made, address = server
    whole = bigquery.BigQueryTable._commit
    monkeypatch.setattr(
        bigquery.BigQueryTable, "_commit", lambda self, stream: (_ for _ in ()).throw(RunError("later"))
    )
    pq.write_table(rows_of(3), "in.parquet")
    with pytest.raises(RunError, match="later"):
        negating().run("in.parquet", address)
    monkeypatch.setattr(bigquery.BigQueryTable, "_commit", whole)
    made.streams.clear()
    with pytest.raises(RunError, match="the stream cannot be committed: STREAM_NOT_FOUND: as it says"):
        negating().run("in.parquet", address, resume=True)


def test_rows_that_the_service_refuses_are_named(server: tuple[WriteServer, str]) -> None:
    made, address = server
    rows = pa.table({"x": [1.0, 2.0], "name": ["a", "refused"]})
    with pytest.raises(RunError, match="cannot be written: row 1: it is refused"):
        negating().run(rows, address)
    assert not made.rows


def test_values_are_what_they_were_and_what_cannot_be_fails_alone() -> None:
    zoned = datetime.datetime(2024, 5, 1, 10, tzinfo=datetime.UTC)
    columns: dict[str, tuple[pa.DataType, str, Any, Any]] = {
        "a": (pa.uint64(), "NUMERIC", 2**64 - 1, decimal.Decimal(2**64 - 1)), "b": (pa.int8(), "INT64", -7, -7),
        "c": (pa.float16(), "DOUBLE", 1.5, 1.5), "d": (pa.timestamp("ns", "Europe/Paris"), "TIMESTAMP", zoned, zoned),
        "e": (pa.date32(), "DATE", zoned.date(), zoned.date()), "f": (pa.time64("us"), "TIME", zoned.time(), zoned.time()),
        "g": (pa.bool_(), "BOOL", True, True), "h": (pa.binary(), "BYTES", b"\0", b"\0"),
        "i": (pa.timestamp("s"), "DATETIME", zoned.replace(tzinfo=None), zoned.replace(tzinfo=None)),
    }  # fmt: skip
    fields = [(name, kind, "NULLABLE") for name, (_, kind, _, _) in columns.items()]
    with write_server([*COLUMNS, *fields, ("l", "INT64", "REPEATED")]) as (made, endpoint):
        kinds = {name: kind for name, (kind, _, _, _) in columns.items()}
        schema = pa.schema({"x": pa.float64(), **kinds, "l": pa.list_(pa.int32())})
        values = {name: value for name, (_, _, value, _) in columns.items()}
        rows = [{"x": 1.0, **values, "l": [1, 2]}, {"x": 2.0, "l": [1, None]}, {"x": 3.0, "l": []}]
        table = pa.Table.from_pylist(rows, schema)
        report = negating().run(table, f"bigquery://p/d/t?mode=append&endpoint={endpoint}", keep=schema.names)
        assert (report.answered, report.failed) == (2, 1)
        assert "column 'l' has nulls in a list" in report.first_failures[0]
        kept = {name: stored for name, (_, _, _, stored) in columns.items()}
        assert made.rows == [
            {"x": 1.0, "y": -1.0, "name": None, **kept, "l": [1, 2]},
            {"x": 3.0, "y": -3.0, "name": None, **dict.fromkeys(kept), "l": []},
        ]


def test_rows_that_do_not_fit_are_refused_before_any_is_played(server: tuple[WriteServer, str]) -> None:
    made, address = server
    rows = rows_of(2)
    for given, message in (
        (rows.append_column("z", pa.array([1, 2])), "column 'z' is not in the table, which has x, y, name"),
        (pa.table({"x": [1.0], "name": [5]}), "column 'name' is string in the table, and int64 in the rows"),
    ):
        with pytest.raises(InputError, match=message):
            negating().run(given, address)
    made.columns = [*COLUMNS, ("must", "INT64", "REQUIRED")]
    with pytest.raises(InputError, match="column 'must' of the table may not be null, and the rows have none"):
        negating().run(rows, address)
    assert made.requests == 0


def test_what_is_not_there_or_not_done_is_told(
    server: tuple[WriteServer, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, address = server
    rows = rows_of(1)
    with pytest.raises(InputError, match="there is no such table") as raised:
        negating().run(rows, address.replace("d/t", "d/none"))
    assert raised.value.hint == "make it first: bq mk --table p:d.none x:FLOAT64,name:STRING,y:FLOAT64"
    with pytest.raises(OutputExistsError, match="is there already"):
        negating().run(rows, address.replace("mode=append&", ""))
    with pytest.raises(InputError, match="rows of a table of BigQuery are not replaced"):
        negating().run(rows, address.replace("append", "overwrite"))
    with pytest.raises(InputError, match="rows of a table of BigQuery are not replaced"):
        negating().run(rows, address.replace("mode=append&", ""), overwrite=True)
    with pytest.raises(InputError, match="tables of BigQuery are written to, and not read"):
        open_source("bigquery://p/d/t")
    with pytest.raises(InputError, match="names no table"):
        negating().run(rows, "bigquery://p/d")
    with pytest.raises(UnknownNameError, match="version"):
        negating().run(rows, "bigquery://p/d/t?version=3")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="no credentials were found: .*none.json"):
        negating().run(rows, "bigquery://p/d/t?mode=append")
