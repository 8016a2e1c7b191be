"""Tables and queries of SQLite as sources of runs: types, order, rows that cannot be read, and going on."""

from __future__ import annotations

import datetime
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from motet.errors import DataError, InputError
from motet.io import open_source


@mt.returns("int64")
def doubled(n: np.ndarray) -> np.ndarray:
    return 2 * n


def graph() -> mt.Graph:
    return mt.Graph("g", {"twice": mt.map(doubled, mt.input("n", "int64"))})


def made(folder: Path, statement: str, rows: list[tuple[Any, ...]]) -> str:
    """A file with a table `t`."""
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        connection.execute(f"CREATE TABLE t ({statement})")
        connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(statement.split(',')))})", rows)
        connection.commit()
    return f"sqlite:///{folder}/a.db"


def read(address: str, rows: int = 3, **named: Any) -> list[dict[str, Any]]:
    return [row for batch in open_source(address).batches(rows, **named) for row in batch.to_pylist()]


def test_types_are_those_that_are_declared(tmp_path: Path) -> None:
    kinds = "id integer primary key, a varchar(10), b real, c boolean, d date, e timestamp, f blob, g whatever"
    now = datetime.datetime(2024, 5, 1, 10, 0)
    rows = [(2, "ü", 1.5, 1, "2024-05-01", "2024-05-01 10:00:00", b"\0", "x"), (1, *[None] * 7)]
    address = f"{made(tmp_path, kinds, rows)}#t"
    assert open_source(address).schema.types == [
        pa.int64(), pa.string(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("us"), pa.binary(), pa.string(),
    ]  # fmt: skip
    assert [tuple(row.values()) for row in read(address)] == [
        (1, *[None] * 7),
        (2, "ü", 1.5, True, now.date(), now, b"\0", "x"),
    ]


def test_a_row_whose_value_is_of_another_type_fails_alone(tmp_path: Path) -> None:
    address = f"{made(tmp_path, 'id integer primary key, n integer', [(1, 5), (2, 'five'), (3, 7)])}#t"
    report = graph().run(address, str(tmp_path / "o.parquet"))
    assert (report.answered, report.failed) == (2, 1)
    assert pq.read_table(report.failed_output)["message"].to_pylist() == ["column 'n' holds 'five', which is no int64"]
    assert pq.read_table(tmp_path / "o.parquet").to_pylist() == [
        {"id": 1, "n": 5, "twice": 10},
        {"id": 3, "n": 7, "twice": 14},
    ]


def test_numbers_are_no_days_and_times(tmp_path: Path) -> None:
    """SQLite may hold seconds or days there, and nothing says since when."""
    rows = [(1, "2024-05-01", "2024-05-01 10:00:00"), (2, 19844, None), (3, None, 1714557600)]
    address = f"{made(tmp_path, 'id integer primary key, d date, e timestamp', rows)}#t"
    graph = mt.Graph("g", {"twice": mt.map(doubled, mt.input("id", "int64"))})
    report = graph.run(address, str(tmp_path / "o.parquet"))
    assert (report.answered, report.failed) == (1, 2)
    assert pq.read_table(report.failed_output)["message"].to_pylist() == [
        "column 'd' holds 19844, which is no date32[day]",
        "column 'e' holds 1714557600, which is no timestamp[us]",
    ]


def test_a_query_is_read_in_its_order(tmp_path: Path) -> None:
    place = made(tmp_path, "k text, n integer", [("b", 1), ("a", 2), ("c", 3), ("d", None)])
    query = "?query=SELECT k, n * 10 AS n FROM t WHERE n IS NOT NULL&order=k"
    assert read(place + query) == [{"k": "a", "n": 20}, {"k": "b", "n": 10}, {"k": "c", "n": 30}]
    assert read(place + query, skip=1, columns=["n"]) == [{"n": 10}, {"n": 30}]


def test_a_query_with_spaces_is_as_it_stands(tmp_path: Path) -> None:
    place = made(tmp_path, "k integer, n integer, s text", [(1, 2, "xaby"), (3, 4, "x%aby")])
    query = "?query=SELECT k, k+n AS n FROM t WHERE s LIKE '%ab%'&order=k"
    assert read(place + query) == [{"k": 1, "n": 3}, {"k": 3, "n": 7}]


def test_rows_that_are_the_same_by_the_order_are_not_parted(tmp_path: Path) -> None:
    place = made(tmp_path, "g text, n integer", [("a", 1), ("b", 2), ("b", 3), (None, 4), (None, 5)])
    query = f"{place}?query=SELECT * FROM t&order="
    assert [row["g"] for row in read(f"{query}g", skip=3)] == ["b", "b"]
    with pytest.raises(InputError, match="rows 0 and 1 are the same by g, so nothing says which of them comes first"):
        read(f"{query}g", skip=1)
    with pytest.raises(InputError, match="rows 3 and 4 are the same by g"):
        read(f"{query}g", skip=4)
    assert [row["n"] for row in read(f"{query}g,n", skip=1)] == [5, 1, 2, 3]


@given(st.lists(st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.text(st.characters(exclude_categories=["Cs"]))), max_size=9), st.integers(1, 5), st.integers(0, 9))  # fmt: skip
def test_all_rows_come_once(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[Any, Any]], size: int, skip: int
) -> None:
    rows = [(place, *value) for place, value in enumerate(values)]
    folder = tmp_path_factory.mktemp("rows")
    address = f"{made(folder, 'id integer primary key, n bigint, s text', rows)}#t"
    assert [tuple(row.values()) for row in read(address, size, skip=skip)] == rows[skip:]


def test_a_run_from_a_table_into_another_goes_on(tmp_path: Path) -> None:
    address = made(tmp_path, "id integer primary key, n integer", [(each, each) for each in range(50)])

    def stop(rows: int, total: int | None, failed: int) -> None:
        if rows >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graph().run(f"{address}#t", f"{address}#out", batch_rows=10, workers=1, progress=stop)
    report = graph().run(f"{address}#t", f"{address}#out", batch_rows=10, workers=1, resume=True)
    assert (report.resumed_rows, report.rows) == (30, 50)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        found = connection.execute("SELECT id, n, twice FROM out ORDER BY id").fetchall()
    assert found == [(each, each, 2 * each) for each in range(50)]


def test_rows_that_were_added_are_another_input(tmp_path: Path) -> None:
    address = f"{made(tmp_path, 'id integer primary key, n integer', [(1, 1)])}#t"
    before = open_source(address).fingerprint()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("INSERT INTO t VALUES (2, 2)")
        connection.commit()
    assert open_source(address).fingerprint() != before
    assert open_source(address).num_rows == 2


def test_other_rows_at_the_end_of_a_run_are_noticed(tmp_path: Path) -> None:
    """Also where there are as many as there were."""
    address = f"{made(tmp_path, 'id integer primary key, n integer', [(1, 1), (2, 2), (3, 3)])}#t"
    source: Any = open_source(address)
    assert sum(map(len, source.batches(2))) == 3
    source.check_unchanged()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("DELETE FROM t WHERE id = 1")
        connection.execute("INSERT INTO t VALUES (9, 9)")
        connection.commit()
    with pytest.raises(DataError, match="has 3 rows, as when the run began, but its first or last one is another"):
        source.check_unchanged()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite:///{}/none.db#t", "there is no such file"),
        ("sqlite:///{}/a.db#none", "there is no such table"),
        ("sqlite:///{}/a.db#plain", r"has no order, by which rows could be told apart\n  hint: name columns that do"),
        ("sqlite:///{}/a.db?query=SELECT 1 AS a", "has no order, by which rows could be told apart"),
        ("sqlite:///{}/a.db?query=SELECT 1 AS a&order=b", "is to be ordered by 'b', which it has not"),
        ("sqlite:///{}/a.db?query=SELEC 1&order=b", "cannot be read: .*syntax error"),
        ("sqlite:///{}/a.db?query=SELECT 1&order=b#t", "names a table and a query"),
        ("sqlite:///{}/a.db?odrer=b#t", "unknown option 'odrer'; did you mean 'order'"),
        ("lancedb:{}/a#t", "tables of lancedb are not read as rows"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, address: str, message: str) -> None:
    made(tmp_path, "id integer primary key", [])
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE plain (a text)")
    with pytest.raises((InputError, mt.GraphError), match=message):
        open_source(address.format(tmp_path))


def test_options_of_files_are_refused(tmp_path: Path) -> None:
    address = f"{made(tmp_path, 'id integer primary key', [])}#t"
    with pytest.raises(InputError, match="a table is read by itself, and has no files"):
        open_source([address, address])
    with pytest.raises(InputError, match="encoding"):
        open_source(address, encoding="latin-1")


def test_a_decimal_that_is_none_fails_its_row_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE t (id integer PRIMARY KEY, price decimal(5, 2), x real)")
        connection.executemany("INSERT INTO t VALUES (?, ?, 0.5)", [(1, "1.25"), (2, "cheap"), (3, None)])
        connection.commit()
    graph = mt.Graph("g", {"y": mt.map(np.negative, mt.input("x", "float64"), outputs="float64")})
    report = graph.run(f"sqlalchemy+sqlite:///{tmp_path}/a.db#t", f"{tmp_path}/out.parquet")
    assert (report.answered, report.failed) == (2, 1)
    assert "column 'price' holds 'cheap', which is no decimal128(5, 2)" in report.first_failures[0]


@pytest.mark.parametrize(("declared", "value"), [("x", 2**60 + 1), ("x REAL", "1_000")])
def test_a_value_that_is_no_float_to_the_digit_fails_its_row_alone(
    tmp_path: Path, declared: str, value: int | str
) -> None:
    rows = [(1, value), (2, 1.5), (3, 2**60), (4, "NaN" if "REAL" in declared else 7)]
    address = f"{made(tmp_path, f'n INTEGER PRIMARY KEY, {declared}', rows)}#t"
    assert open_source(address).schema.field("x").type == pa.float64()
    report = graph().run(address, str(tmp_path / "o.parquet"))
    assert (report.answered, report.failed) == (3, 1)
    told = pq.read_table(report.failed_output)["message"].to_pylist()
    assert told == [f"column 'x' holds {value!r}, which is no double"]
    assert pq.read_table(tmp_path / "o.parquet")["x"].to_pylist()[:2] == [1.5, 2.0**60]
