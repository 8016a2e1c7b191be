"""Tables and queries of DuckDB as outputs and sources: rows by ids, in its own types, whatever ends a run."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from helpers.lakes import negating
from helpers.nearest import killed_and_resumed, rows_of, storing
from motet.errors import InputError
from motet.io import open_source

duckdb = pytest.importorskip("duckdb")


def rows_in(file: Path, table: str = "songs") -> dict[Any, dict[str, Any]]:
    """The rows of a table by id, as DuckDB has them."""
    with duckdb.connect(file, read_only=True) as connection:
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        names = [each[0] for each in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in found:
        row.update({name: list(row[name]) for name in ("image", "words") if row.get(name) is not None})
    return {row["id"]: row for row in found}


def test_rows_are_written_in_their_places(tmp_path: Path) -> None:
    rows, other = rows_of(40), rows_of(30, seed=1).slice(10)
    storing().run(rows, f"duckdb:///{tmp_path}/a.db#songs", batch_rows=7)
    storing().run(pa.concat_tables([rows.slice(12, 1), other]), f"duckdb:///{tmp_path}/a.db?table=songs")
    wanted = {row["id"]: {**row, "less": -row["price"]} for row in [*rows.to_pylist(), *other.to_pylist()]}
    assert rows_in(tmp_path / "a.db") == wanted


def test_what_is_acknowledged_stays_when_a_run_is_killed(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, f"duckdb:///{tmp_path}/a.db#songs", lambda: rows_in(tmp_path / "a.db"))


def test_values_are_what_they_were_both_ways(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 5, 1, 10, 0, 0, 250)
    columns: dict[str, tuple[pa.DataType, Any]] = {
        "a": (pa.uint64(), 2**64 - 1), "b": (pa.decimal128(9, 3), decimal.Decimal("1.500")), "c": (pa.binary(), b"\0\xff"),
        "d": (pa.timestamp("us"), moment), "e": (pa.timestamp("us", "UTC"), moment.replace(tzinfo=datetime.UTC)),
        "f": (pa.list_(pa.string()), ["x", None]), "g": (pa.float64(), float("inf")), "h": (pa.string(), "ü'\""),
        "i": (pa.date32(), moment.date()), "j": (pa.list_(pa.float32(), 2), [1.0, 2.0]), "k": (pa.bool_(), True),
        "l": (pa.time64("us"), moment.time()), "m": (pa.int8(), -7),
    }  # fmt: skip
    schema = pa.schema({"id": pa.string(), "x": pa.float64(), **{name: kind for name, (kind, _) in columns.items()}})
    values = {name: value for name, (_, value) in columns.items()}
    rows = pa.Table.from_pylist([{"id": "all", "x": 1.0, **values}, {"id": "none", "x": 2.0}], schema=schema)
    negating().run(rows, f"duckdb:///{tmp_path}/a.db#t", keep=schema.names)
    source = open_source(f"duckdb:///{tmp_path}/a.db#t")
    assert source.schema.names == [*schema.names, "y"]
    assert source.schema.types == [*schema.types, pa.float64()]
    found = [row for batch in source.batches(1) for row in batch.to_pylist()]
    assert found == [{**row, "y": -row["x"]} for row in rows.to_pylist()]


def test_queries_are_read_in_their_order_and_gone_on_with(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "a.db") as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT range AS id, range / 2.0 AS x, INTERVAL 1 DAY AS gap FROM range(10)"
        )
    address = f"duckdb:///{tmp_path}/a.db?query=SELECT * FROM t WHERE id >= 3&order=id"
    source = open_source(address)
    assert [row["id"] for batch in source.batches(2, skip=3) for row in batch.to_pylist()] == [6, 7, 8, 9]
    assert source.schema.field("gap").type == pa.string()
    assert negating().run(address, keep=["id"])["y"].to_pylist() == [-each / 2 for each in range(3, 10)]
    report = negating().run(address, f"duckdb:///{tmp_path}/a.db#u", drop=["gap"])  # into the same file
    assert report.answered == 7
    with pytest.raises(InputError, match="has no order, by which rows could be told apart"):
        open_source(f"duckdb:///{tmp_path}/a.db#t")


def test_what_arrow_has_nothing_like_is_text_as_duckdb_says_it(tmp_path: Path) -> None:
    kinds = {
        "huge": ("uhugeint", str(2**128 - 1)), "bits": ("bit", "101"), "at": ("timetz", "01:02:03+02"),
        "gap": ("interval", "3 days"), 'od"d': ("uuid", "00000000-0000-0000-0000-000000000005"),
    }  # fmt: skip
    with duckdb.connect(tmp_path / "a.db") as connection:
        quoted = {name.replace('"', '""'): kind for name, (kind, _) in kinds.items()}
        columns = ", ".join(f'"{name}" {kind}' for name, kind in quoted.items())
        connection.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, {columns}, x double)")
        values = ", ".join(f"'{value}'" for _, value in kinds.values())
        connection.execute(f"INSERT INTO t VALUES (1, {values}, 0.5), (2, NULL, NULL, NULL, NULL, NULL, 1.5)")
    source = open_source(f"duckdb:///{tmp_path}/a.db#t")
    said = {name: value for name, (_, value) in kinds.items()}
    found = [row for batch in source.batches(1) for row in batch.to_pylist()]
    assert found == [{"id": 1, **said, "x": 0.5}, {"id": 2, **dict.fromkeys(said), "x": 1.5}]
    assert source.num_rows == 2


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("id bigint", "the table has no primary key of one column"),
        (
            "id bigint PRIMARY KEY, price varchar, less double",
            "column 'price' is string in the table, and double in the rows",
        ),
        ("id bigint PRIMARY KEY", "column 'price' is not in the table, which has id"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, made: str, message: str) -> None:
    with duckdb.connect(tmp_path / "a.db") as connection:
        connection.execute(f"CREATE TABLE songs ({made})")
    with pytest.raises(InputError, match=message):
        storing().run(rows_of(2).select(["id", "price"]), f"duckdb:///{tmp_path}/a.db#songs")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("duckdb:///none.db#t", "there is no such file"),
        ("duckdb://host/a.db#t", "names a host, which DuckDB has none of"),
        ("duckdb:///a.db", "names no table"),
    ],
)
def test_what_cannot_be_read_says_why(address: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(address)


def test_relations_are_inputs_as_they_are() -> None:
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT range::DOUBLE AS x FROM range(4)")
        assert negating()(relation)["y"].tolist() == [0.0, -1.0, -2.0, -3.0]
        relation = connection.sql("SELECT range::DOUBLE AS x FROM range(4)")
        assert negating().run(relation)["y"].to_numpy().tolist() == (-np.arange(4.0)).tolist()
