"""Tables of a real PostgreSQL with pgvector: written by ids, whatever ends a run, and searched."""

from __future__ import annotations

import datetime
import decimal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import motet as mt
from helpers.nearest import check_search, killed_and_resumed, rows_of, searching, storing
from helpers.split_engines import Threads
from motet.databases.address import METRICS, TableAddress
from motet.databases.layout import TableLayout
from motet.databases.postgres import PostgresTable
from motet.databases.retry import tried
from motet.errors import InputError, RunError
from motet.io import open_source

psycopg = pytest.importorskip("psycopg")
pgserver = pytest.importorskip("pgserver")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server of its own, ended with the module."""
    control = pgserver.postgres_server.pg_ctl

    def patient(*arguments: Any, **named: Any) -> Any:
        return control(*arguments, **{**named, "timeout": 120})  # ten seconds are few on a machine with much to do

    with (
        tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder,
        warnings.catch_warnings(action="ignore"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(pgserver.postgres_server, "pg_ctl", patient)
        found = pgserver.get_server(f"{folder}/data")
        yield found.get_uri()
        found.cleanup()


@pytest.fixture(scope="module")
def filled(server: str) -> pa.Table:
    rows = rows_of(60)
    for metric in METRICS:
        assert storing().run(rows, f"{server}&metric={metric}#{metric}").answered == 60
    return rows


def rows_in(server: str, table: str) -> dict[Any, dict[str, Any]]:
    """The rows of a table by id, as the server has them; each once."""
    with psycopg.connect(server, row_factory=psycopg.rows.dict_row) as connection:
        found = connection.execute(f'SELECT * FROM "{table}"').fetchall()
    for row in found:
        row.update(
            {name: np.fromstring(row[name][1:-1], sep=",").tolist() for name in ("image", "words") if row.get(name)}
        )
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def test_workers_of_engines_write_rows_themselves(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = rows_of(40)
    pq.write_table(rows, "in.parquet", row_group_size=5)
    report = storing().run("in.parquet", f"{server}#by_workers", engine=Threads())
    assert (report.rows, report.answered) == (40, 40)
    assert rows_in(server, "by_workers") == {row["id"]: {**row, "less": -row["price"]} for row in rows.to_pylist()}


def test_sqlalchemy_writes_and_reads_the_same_server(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    columns = {
        "id": ["a", "b"], "price": [1.5, None], "at": pa.array([1, None], pa.timestamp("us", "UTC")), "u": pa.array([2**64 - 1, 0], pa.uint64()),
        "flag": [True, None], "list": [[1, 2], None], "odd%s \"name": ["'%s", None],
    }  # fmt: skip
    rows = pa.table(columns)
    address = server.replace("postgresql:", "sqlalchemy+postgresql+psycopg:") + "#by_alchemy"
    graph = mt.Graph("g", {"less": mt.map(np.negative, mt.input("price", "float64", default=0.0), outputs="float64")})
    for _ in range(2):
        assert graph.run(rows, address).answered == 2
    pq.write_table(rows, "in.parquet", row_group_size=1)
    graph.run("in.parquet", address, engine=Threads(), overwrite=True)
    found = [row for batch in open_source(address).batches(1) for row in batch.to_pylist()]
    wanted = {"u": [decimal.Decimal(2**64 - 1), decimal.Decimal(0)], "list": ["[1, 2]", None], "less": [-1.5, 0.0]}
    assert found == pa.table({**rows.to_pydict(), **wanted}).to_pylist()
    query = address.partition("#")[0] + "&query=SELECT id, \"at\" FROM by_alchemy WHERE id LIKE 'b%'&order=id"
    assert [row for batch in open_source(query).batches(9) for row in batch.to_pylist()] == [{"id": "b", "at": None}]


def test_a_run_writes_rows_in_their_places(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows, other = rows_of(40), rows_of(30, seed=1).slice(10)
    storing().run(rows, f"{server}#places", batch_rows=7)
    storing().run(pa.concat_tables([rows.slice(10, 5), other]), f"{server}#places")
    wanted = {row["id"]: {**row, "less": -row["price"]} for row in [*rows.to_pylist(), *other.to_pylist()]}
    assert rows_in(server, "places") == wanted
    assert not list(tmp_path.iterdir())


KINDS = {
    "a": (pa.int8(), st.integers(-128, 127)),
    "b": (pa.uint32(), st.integers(0, 2**32 - 1)),
    "c": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "d": (pa.float32(), st.floats(width=32)),
    "e": (pa.string(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    "f": (pa.binary(), st.binary()),
    "g": (pa.bool_(), st.booleans()),
    "h": (pa.date32(), st.dates()),
    "i": (pa.timestamp("us"), st.datetimes()),
    "j": (
        pa.timestamp("us", "UTC"),
        st.datetimes(timezones=st.just(datetime.UTC), min_value=datetime.datetime(1, 1, 2)),
    ),
    "k": (pa.decimal128(10, 2), st.decimals(-9999, 9999, places=2)),
    "l": (
        pa.list_(pa.string()),
        st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    ),
    "m": (pa.list_(pa.float64()), st.lists(st.floats())),
    "n": (pa.list_(pa.bool_()), st.lists(st.booleans())),
}


@settings(max_examples=15, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.fixed_dictionaries({name: st.none() | values for name, (_, values) in KINDS.items()}), max_size=5))
def test_values_are_what_they_were(values_table: tuple[str, PostgresTable], values: list[dict[str, Any]]) -> None:
    server, table = values_table
    rows = pa.RecordBatch.from_pylist([{"id": place, **row} for place, row in enumerate(values)], schema=VALUES.schema)
    table.upsert(rows)
    found = rows_in(server, "values")
    for place, row in enumerate(rows.to_pylist()):
        there = {
            **found[place],
            "d": None if row["d"] is None else float(np.float32(found[place]["d"])),
        }  # it prints few digits
        assert {name: comparable(row[name]) for name in row} == {name: comparable(there[name]) for name in row}


VALUES = TableLayout("id", {}, pa.schema({"id": pa.int64(), **{name: kind for name, (kind, _) in KINDS.items()}}))


def comparable(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(comparable, value))
    return "NaN" if isinstance(value, float) and value != value else value


@pytest.fixture(scope="module")
def values_table(server: str) -> Iterator[tuple[str, PostgresTable]]:
    table = PostgresTable(TableAddress.parse(f"{server}#values"))
    table.prepare(VALUES)
    yield server, table
    table.close()


def test_a_row_that_the_server_cannot_hold_fails_alone(server: str, tmp_path: Path) -> None:
    rows = rows_of(4).set_column(3, "genre", pa.array(["a", "b\0", None, "d"]))
    report = storing().run(rows, f"{server}#nulls", failed=str(tmp_path / "failed.parquet"))
    assert report.answered == 3
    assert pq.read_table(tmp_path / "failed.parquet")["message"].to_pylist() == [
        "column 'genre' has the character U+0000, which the database cannot hold"
    ]


def test_what_is_acknowledged_stays_when_a_run_is_killed(server: str, tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, f"{server}#killed", lambda: rows_in(server, "killed"))


@given(st.data())
def test_a_search_finds_what_brute_force_finds(server: str, filled: pa.Table, data: st.DataObject) -> None:
    metric = data.draw(st.sampled_from(METRICS))
    check_search(f"{server}#{metric}", filled, metric, data)


def test_tables_of_others_are_written_and_searched(server: str) -> None:
    with psycopg.connect(server) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(
            "CREATE TABLE theirs (made timestamptz DEFAULT now(), id text PRIMARY KEY, v vector(2), n numeric(6,2))"
        )
    rows = pa.table(
        {"id": ["a", "b"], "n": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(6, 2)), "x": [1.0, 2.0]}
    )
    graph = mt.Graph("t", {"v": mt.map(twice, mt.input("x", "float64"))})
    graph.run(rows, f"{server}#theirs", drop=["x"])
    with psycopg.connect(server) as connection:
        found = connection.execute("SELECT id, v::text, n, made IS NOT NULL FROM theirs ORDER BY id").fetchall()
    assert found == [("a", "[1,1]", decimal.Decimal("1.50"), True), ("b", "[2,2]", None, True)]
    got = searching(f"{server}&metric=l2#theirs", {"v": "float32[2]"}, k=1, exact=True)(
        {"v": np.array([[2, 3]], np.float32)}
    )
    assert (got["id"][0].tolist(), got["score"][0].tolist()) == (["b"], [-1.0])


@mt.returns("float32[2]")
def twice(x: np.ndarray) -> np.ndarray:
    return np.stack([x, x], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("id bigint", "no column of the table is unique by itself"),
        (
            "id bigint PRIMARY KEY, price float8, less text",
            "column 'less' is string in the table, and double in the rows",
        ),
        ("id bigint PRIMARY KEY", "column 'price' is not in the table, which has id"),
        ("price double precision PRIMARY KEY", "its ids are in 'price', those of the rows in 'id'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(server: str, made: str, message: str) -> None:
    with psycopg.connect(server) as connection:
        connection.execute(f"DROP TABLE IF EXISTS unfit; CREATE TABLE unfit ({made})")
    with pytest.raises(InputError, match=message):
        storing().run(rows_of(2).select(["id", "price"]), f"{server}#unfit")


def test_names_with_a_percent_stay_what_they_are(server: str) -> None:
    rows = (
        rows_of(3).append_column("100%", pa.array([1, 2, 3])).append_column("tiny", pa.array([0.1] * 3, pa.float32()))
    )
    for _ in range(2):
        storing().run(rows, f"{server}#percent")
    assert [row["100%"] for row in open_source(f"{server}#percent").batches(9).__next__().to_pylist()] == [1, 2, 3]
    where = {"100%": [1, 2.6], "tiny": 0.1}
    graph = searching(f"{server}#percent", {"image": "float32[4]"}, vectors="image", where=where)
    assert graph({"image": np.ones((1, 4), np.float32)})["id"][0].tolist() == [0]


def test_an_address_that_the_driver_cannot_read_is_not_told() -> None:
    address = "postgresql://ann:gehe%im@host/base#t"
    for act in (open_source, lambda each: storing().run(rows_of(2), each)):
        with pytest.raises(InputError, match="is no address that PostgreSQL's driver can read") as raised:
            act(address)
        assert "gehe" not in str(raised.value)


def test_a_report_is_without_the_password(server: str) -> None:
    address = server.replace("postgres:@", "postgres:geheim@") + "#reported"
    assert "geheim" in address
    assert "geheim" not in storing().run(rows_of(2), address).to_json()


@pytest.mark.parametrize("part", [0.5, 1.0])
def test_a_server_that_is_not_there_is_asked_so_often(part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """After pauses that are up to a half shorter, by chance."""
    monkeypatch.setattr("random.uniform", lambda low, high: min(max(part, low), high))
    pauses: list[float] = []
    calls = []

    def call() -> None:
        calls.append(1)
        raise OSError("nobody listens")

    with pytest.raises(RunError, match="store: cannot be reached, after 5 tries: .*nobody listens"):
        tried(call, lambda error: isinstance(error, OSError), "store", pauses.append)
    assert (len(calls), pauses) == (5, [part * longest for longest in (0.2, 0.4, 0.8, 1.6)])


def test_a_broken_connection_is_made_again(server: str) -> None:
    table = PostgresTable(TableAddress.parse(f"{server}#filled_again"))
    assert table.layout() is None
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert table.layout() is None
    table.close()


def test_rows_are_read_as_they_were_written(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = rows_of(25).append_column("when", pa.array([datetime.datetime(2024, 1, 1)] * 25, pa.timestamp("us")))
    rows = rows.append_column("cost", pa.array([decimal.Decimal("1.50")] * 25, pa.decimal128(9, 2)))
    rows = rows.append_column("tags", pa.array([["a", None]] * 24 + [None]))
    storing().run(rows, f"{server}#read")
    source = open_source(f"{server}#read")
    assert source.schema.field("image").type == pa.list_(pa.float32(), 4)
    assert (source.num_rows, source.schema.field("cost").type) == (25, pa.decimal128(9, 2))
    found = [row for batch in source.batches(7) for row in batch.to_pylist()]
    assert found == [{**row, "less": -row["price"]} for row in rows.to_pylist()]
    query = f"{server}&query=SELECT id, price * 2 AS price FROM read WHERE id > 20&order=id"
    report = storing().run(query, str(tmp_path / "o.parquet"))
    assert report.answered == 4
    assert pq.read_table(tmp_path / "o.parquet")["price"].to_pylist() == [
        2 * row["price"] for row in rows.to_pylist()[21:]
    ]
