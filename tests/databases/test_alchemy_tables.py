"""Tables and queries of databases that SQLAlchemy knows, tried with SQLite and PostgreSQL: by ids, in order, once."""

from __future__ import annotations

import datetime
import decimal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from helpers.lakes import negating
from helpers.nearest import killed_and_resumed, rows_of, storing
from motet.databases.address import QUERIED, TableAddress, is_table
from motet.databases.alchemy import AlchemyTable, _values
from motet.databases.layout import TableLayout
from motet.errors import InputError, RunError
from motet.io import open_source

sa = pytest.importorskip("sqlalchemy")


def rows_in(file: Path, table: str = "songs") -> dict[Any, dict[str, Any]]:
    """The rows of a table by id, as SQLite has them."""
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]
    return {row["id"]: {**row, **({"new": bool(row["new"])} if "new" in row else {})} for row in found}


def plain(count: int, seed: int = 0) -> pa.Table:
    return rows_of(count, seed).drop_columns(["image", "words"])


def test_rows_are_written_in_their_places(tmp_path: Path) -> None:
    rows, other = plain(40), plain(30, seed=1).slice(10)
    address = f"sqlalchemy+sqlite:///{tmp_path}/a.db"
    report = storing().run(rows, f"{address}#songs", batch_rows=7)
    assert report.output == f"{address}#songs"
    storing().run(pa.concat_tables([rows.slice(12, 1), other]), f"{address}?table=songs")
    wanted = {row["id"]: {**row, "less": -row["price"]} for row in [*rows.to_pylist(), *other.to_pylist()]}
    assert rows_in(tmp_path / "a.db") == wanted


def test_what_is_acknowledged_stays_when_a_run_is_killed(tmp_path: Path) -> None:
    address = f"sqlalchemy+sqlite:///{tmp_path}/a.db#songs"
    found = lambda: rows_in(tmp_path / "a.db")  # noqa: E731
    killed_and_resumed(tmp_path, address, found, without=("image", "words"), is_without=True)


def test_columns_that_the_rows_have_not_are_kept(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE songs (id bigint PRIMARY KEY, price double, less double, more text)")
        connection.execute("INSERT INTO songs VALUES (1, 0, 0, 'kept')")
        connection.commit()
    storing().run(plain(3).select(["id", "price"]), f"sqlalchemy+sqlite:///{tmp_path}/a.db#songs")
    assert [row["more"] for row in rows_in(tmp_path / "a.db").values()] == ["kept", None, None]


def test_another_who_inserts_the_same_row_is_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = AlchemyTable(TableAddress.parse(f"sqlalchemy+sqlite:///{tmp_path}/a.db#songs"))
    rows = plain(3).select(["id", "price"]).to_batches()[0]
    table.prepare(TableLayout.of(rows.schema, None, None, "here"))
    whole, calls = sa.insert, []

    def between(*given: Any) -> Any:
        if not calls:
            calls.append(1)
            raise sa.exc.IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))
        return whole(*given)

    monkeypatch.setattr(table._sa, "insert", between)
    table.upsert(rows)
    assert sorted(rows_in(tmp_path / "a.db")) == [0, 1, 2]
    monkeypatch.undo()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("DROP TABLE songs")
    with pytest.raises(RunError, match="cannot be written: .*no such table: songs"):
        table.upsert(rows)
    table.close()


def test_values_are_what_they_were_both_ways(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 5, 1, 10, 0, 0, 250)
    columns: dict[str, tuple[pa.DataType, Any, Any]] = {
        "a": (pa.uint64(), 2**64 - 1, str(2**64 - 1)), "b": (pa.decimal128(28, 3), decimal.Decimal("-12345678901234567890.500"), "-12345678901234567890.500"),
        "c": (pa.binary(), b"\0\xff", b"\0\xff"), "d": (pa.timestamp("us"), moment, moment),
        "f": (pa.list_(pa.string()), ["x", None], '["x", null]'), "h": (pa.string(), "ü'\"%", "ü'\"%"),
        "i": (pa.date32(), moment.date(), moment.date()), "k": (pa.bool_(), True, True),
        "l": (pa.time64("us"), moment.time(), "10:00:00.000250"), "m": (pa.int8(), -7, -7),
        "n": (pa.timestamp("us", "Europe/Berlin"), moment.replace(tzinfo=datetime.UTC), moment),
    }  # fmt: skip
    schema = pa.schema({"id": pa.string(), "x": pa.float64(), **{name: kind for name, (kind, _, _) in columns.items()}})
    values = {name: value for name, (_, value, _) in columns.items()}
    rows = pa.Table.from_pylist([{"id": "all", "x": 1.0, **values}, {"id": "none", "x": 2.0}], schema=schema)
    negating().run(rows, f"sqlalchemy+sqlite:///{tmp_path}/a.db#t", keep=schema.names)
    negating().run(rows, f"sqlalchemy+sqlite:///{tmp_path}/a.db#t", keep=schema.names)  # the types are found again
    found = [
        row for batch in open_source(f"sqlalchemy+sqlite:///{tmp_path}/a.db#t").batches(1) for row in batch.to_pylist()
    ]
    kept = {name: stored for name, (_, _, stored) in columns.items()}
    assert found == [
        {"id": "all", "x": 1.0, **kept, "y": -1.0},
        {"id": "none", "x": 2.0, **dict.fromkeys(columns), "y": -2.0},
    ]


def test_nan_is_a_null_where_the_database_has_none(tmp_path: Path) -> None:
    """Also where its driver would refuse it, and with it all rows of a write."""
    rows = pa.table({"id": [1, 2, 3], "x": [1.0, float("nan"), float("inf")]})
    negating().run(rows, f"sqlalchemy+sqlite:///{tmp_path}/a.db#t", keep=["id"])
    assert {key: row["y"] for key, row in rows_in(tmp_path / "a.db", "t").items()} == {
        1: -1.0,
        2: None,
        3: -float("inf"),
    }
    assert _values(pa.array([1.5, float("nan"), None]), digits=False, has_nan=False) == [1.5, None, None]
    assert str(_values(pa.array([1.5, float("nan"), None]), digits=False, has_nan=True)) == "[1.5, nan, None]"


def test_queries_are_read_in_their_order(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute('CREATE TABLE t (id integer PRIMARY KEY, x real, "od%d ""name" text)')
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", [(each, each / 2, f"%s{each}") for each in range(10)])
        connection.commit()
    query = 'SELECT * FROM t WHERE id >= 3 AND "od%d ""name" LIKE \'%\''
    source = open_source(f"sqlalchemy+sqlite:///{tmp_path}/a.db?query={query}&order=id")
    assert [row["id"] for batch in source.batches(2, skip=3) for row in batch.to_pylist()] == [6, 7, 8, 9]
    assert source.num_rows == 7
    assert source.fingerprint() == source.fingerprint()
    table = open_source(f"sqlalchemy+sqlite:///{tmp_path}/a.db#t")
    assert next(table.batches(3))['od%d "name'].to_pylist() == ["%s0", "%s1", "%s2"]


def test_addresses_are_told_from_others() -> None:
    for text, shown in (
        ("mysql+pymysql://ann:geheim@host/base?charset=utf8mb4#t", "mysql+pymysql://...@host/base#t"),
        ("mssql+pyodbc://ann:ge%40heim@host/base#dbo.t", "mssql+pyodbc://...@host/base#dbo.t"),
        ("sqlalchemy+snowflake://ann:geheim@host/base#t", "sqlalchemy+snowflake://...@host/base#t"),
    ):
        address = TableAddress.parse(text, QUERIED)
        assert str(address) == shown
        assert "geheim" not in repr(address) + address.beside
        assert address.takes_writers
    assert (
        TableAddress.parse("mysql://h/b?charset=utf8mb4&query=SELECT 1&order=id", QUERIED).place
        == "mysql://h/b?charset=utf8mb4"
    )
    assert not is_table("mysqlish://x")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlalchemy+nothing://host/base#t", "SQLAlchemy has no such dialect or driver"),
        ("mysql+pymysql://ann:geheim@host/base#t", "its driver 'pymysql' is not installed"),
        ("sqlalchemy+sqlite:////none/none/a.db#t", "cannot be read: .*unable to open database file"),
        ("sqlalchemy+sqlite:///a.db", "names no table"),
        ("sqlalchemy+postgresql+psycopg://ann:geheim@127.0.0.1:1/base#t", "cannot be read: .*"),
        ("sqlalchemy+sqlite://a:geheim@b:c/d#t", "is no URL of SQLAlchemy|cannot be read"),
    ],
)
def test_what_cannot_be_read_says_why_without_secrets(
    address: str, message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for act in (lambda: open_source(address), lambda: storing().run(plain(2), address)):
        with pytest.raises(InputError, match=message) as raised:
            act()
        assert "geheim" not in f"{raised.value}{raised.value.hint}"


def test_vectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SQLAlchemy has no vectors, such as 'image'"):
        storing().run(rows_of(2), f"sqlalchemy+sqlite:///{tmp_path}/a.db#songs")
