"""Tables of SQLite as outputs: rows by ids, in transactions, whatever ends a run."""

from __future__ import annotations

import datetime
import decimal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.nearest import killed_and_resumed, rows_of, storing
from motet.errors import InputError


def rows_in(file: Path, table: str = "songs") -> dict[Any, dict[str, Any]]:
    """The rows of a table by id, as SQLite has them."""
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]
    return {row["id"]: row for row in found}


def plain(count: int, seed: int = 0) -> pa.Table:
    return rows_of(count, seed).drop_columns(["image", "words"])


def test_rows_are_written_in_their_places(tmp_path: Path) -> None:
    rows, other = plain(40), plain(30, seed=1).slice(10)
    storing().run(rows, f"sqlite:///{tmp_path}/a.db#songs", batch_rows=7)
    storing().run(pa.concat_tables([rows.slice(12, 1), other]), f"sqlite:///{tmp_path}/a.db?table=songs")
    wanted = {row["id"]: {**row, "less": -row["price"]} for row in [*rows.to_pylist(), *other.to_pylist()]}
    assert rows_in(tmp_path / "a.db") == wanted


def test_values_are_what_they_were_or_their_text(tmp_path: Path) -> None:
    now = datetime.datetime(2024, 5, 1, 10, 0, 0, 250)
    columns = {
        "a": (pa.uint64(), 2**64 - 1, "18446744073709551615"),
        "b": (pa.decimal128(9, 3), decimal.Decimal("1.500"), "1.500"),
        "c": (pa.binary(), b"\0\xff", b"\0\xff"),
        "d": (pa.timestamp("us"), now, "2024-05-01 10:00:00.000250"),
        "e": (pa.date32(), now.date(), "2024-05-01"),
        "f": (pa.list_(pa.string()), ["x", None], '["x", null]'),
        "g": (pa.float64(), float("nan"), "NaN"),
        "h": (pa.string(), "a\0ü", "a\0ü"),
    }
    schema = pa.schema({"id": pa.string(), **{name: kind for name, (kind, _, _) in columns.items()}})
    values = {name: value for name, (_, value, _) in columns.items()}
    rows = pa.Table.from_pylist([{"id": "all", **values}, {"id": "none"}], schema=schema)
    graph = mt.Graph("v", {"o": mt.map(one, mt.input("id", "string"))})
    graph.run(rows, f"sqlite:///{tmp_path}/a.db#songs")
    assert rows_in(tmp_path / "a.db") == {
        "all": {"id": "all", **{name: stored for name, (_, _, stored) in columns.items()}, "o": 1},
        "none": {"id": "none", **dict.fromkeys(columns), "o": 1},
    }


@mt.returns("int64")
def one(ids: np.ndarray) -> np.ndarray:
    return np.ones(len(ids), np.int64)


def test_what_is_acknowledged_stays_when_a_run_is_killed(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/a.db#songs"
    killed_and_resumed(
        tmp_path, address, lambda: rows_in(tmp_path / "a.db"), without=("image", "words"), is_without=True
    )


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("id bigint", "the table has no primary key of one column"),
        ("id bigint, b text, PRIMARY KEY (id, b)", "the table has no primary key of one column"),
        (
            "id bigint PRIMARY KEY, price text, less double",
            "column 'price' is string in the table, and double in the rows",
        ),
        ("id bigint PRIMARY KEY", "column 'price' is not in the table, which has id"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, made: str, message: str) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(f"CREATE TABLE songs ({made})")
    with pytest.raises(InputError, match=message):
        storing().run(plain(2).select(["id", "price"]), f"sqlite:///{tmp_path}/a.db#songs")


def test_vectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SQLite has no vectors, such as 'image'"):
        storing().run(rows_of(2), f"sqlite:///{tmp_path}/a.db#songs")
    assert not (tmp_path / "a.db").exists()


def test_a_table_that_is_gone_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, address = rows_of(50).select(["id", "price"]), f"sqlite:///{tmp_path}/a.db#t"

    def stop(rows: int, total: int | None, failed: int) -> None:
        if rows >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storing().run(rows, address, batch_rows=10, workers=1, progress=stop)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("DROP TABLE t")
    whole, left = sqlite3.connect, []
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: left.append(whole(*given, **named)) or left[-1])
    with pytest.raises(mt.MotetError, match="the table is not there any more"):
        storing().run(rows, address, batch_rows=10, workers=1, resume=True)
    for connection in left:
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            connection.execute("SELECT 1")
    assert left


@pytest.mark.parametrize("declared", ["NUMERIC", "DECIMAL(30, 5)", "STRING", "UNSIGNED BIG INT"])
def test_rows_that_columns_of_numbers_would_change_fail_alone(tmp_path: Path, declared: str) -> None:
    """SQLite makes numbers of some 15 digits of texts, and of decimals, in columns of such types."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(f"CREATE TABLE songs (id TEXT PRIMARY KEY, n {declared}, o BIGINT)")
    address, graph = f"sqlite:///{tmp_path}/a.db#songs", mt.Graph("v", {"o": mt.map(one, mt.input("id", "string"))})
    texts = ["007", "1e3", "1.50", " 5", "+1", "12345678901234567890", "0.1234567890123456789", "-0", "1e1000"]
    kept = ["7", "1.5", "-12", "9007199254740993", "abc", "", "12-3", "0x1F", "1_0", "é"]
    rows = pa.table({"id": [f"{place:02}" for place in range(len(texts + kept))], "n": texts + kept})
    report = graph.run(rows, address)
    assert (report.answered, report.failed) == (len(kept), len(texts))
    assert [str(row["n"]) for row in rows_in(tmp_path / "a.db").values()] == kept
    (first, *_) = pq.read_table(report.failed_output)["message"].to_pylist()
    assert "column 'n' keeps numbers, and would have 7 for 007" in first
    exact = [decimal.Decimal("12.50000"), decimal.Decimal("1234567890.12345"), None]
    lost = [decimal.Decimal("1234567890123456789.12345")]
    numbers = pa.table({"id": ["a", "b", "c", "d"], "n": pa.array(exact + lost, pa.decimal128(30, 5))})
    report = graph.run(numbers, address, overwrite=True)
    assert (report.answered, report.failed) == (3, 1)
    found = rows_in(tmp_path / "a.db")
    assert [found[row]["n"] for row in "abc"] == [12.5, 1234567890.12345, None]


def test_rows_that_columns_of_floats_would_change_fail_alone(tmp_path: Path) -> None:
    """Texts of whole numbers too, which are floats there."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE songs (id TEXT PRIMARY KEY, n DOUBLE PRECISION, o BIGINT)")
    address, graph = f"sqlite:///{tmp_path}/a.db#songs", mt.Graph("v", {"o": mt.map(one, mt.input("id", "string"))})
    texts, kept = ["7", "007", "1.50", "1e1000", "9007199254740993"], ["7.0", "1.5", "-12.25", "abc", ""]
    rows = pa.table({"id": [f"{place:02}" for place in range(len(texts + kept))], "n": texts + kept})
    report = graph.run(rows, address)
    assert (report.answered, report.failed) == (len(kept), len(texts))
    assert [str(row["n"]) for row in rows_in(tmp_path / "a.db").values()] == kept
    (first, *_) = pq.read_table(report.failed_output)["message"].to_pylist()
    assert "column 'n' keeps numbers, and would have 7.0 for 7" in first
