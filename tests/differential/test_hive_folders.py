"""Folders named for values of columns are read as `pyarrow.dataset` and DuckDB read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.errors import InputError, UnknownNameError
from motet.io import open_source
from motet.types import ColumnType

NULL = "__HIVE_DEFAULT_PARTITION__"


def rows(source: Any, columns: list[str] | None = None) -> list[dict[str, Any]]:
    return [row for batch in source.batches(2, columns) for row in batch.to_pylist()]


def in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: row["x"])


@pytest.fixture
def sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table = pa.table(
        {
            "x": range(12),
            "year": [2019, 2020, 2021] * 4,
            "city": ["a b/c", "=%41", None, "ünï"] * 3,
        }
    )
    pq.write_to_dataset(table, "sales", partition_cols=["year", "city"])
    return Path("sales")


@pytest.mark.parametrize(
    "what", ["sales", "sales/", "./sales", "sales/**/*.parquet", "sales/*/*/*.parquet", "sales/year=20*", "sales/**", "sales/year=*/city=*/*.parquet"]
)  # fmt: skip
def test_columns_of_folders_are_those_of_pyarrow(sales: Path, what: str) -> None:
    source: Any = open_source(what)
    expected = ds.dataset(sales, partitioning="hive").to_table()
    assert source.schema.equals(expected.schema, check_metadata=False)
    assert in_order(rows(source)) == in_order(expected.to_pylist())
    assert source.left_out == ""
    for columns in (["year"], ["city", "x"], ["x"], ["city", "year"]):
        assert [*rows(source, columns)] == [{name: row[name] for name in columns} for row in rows(source)]


def test_one_part_by_name_has_them_as_with_duckdb(sales: Path) -> None:
    for part in sorted(sales.glob("*/*/*.parquet")):
        expected = duckdb.execute("select x, year from read_parquet(?, hive_partitioning=true)", [str(part)]).fetchall()
        assert [(row["x"], row["year"]) for row in rows(open_source(part))] == expected
    both = [str(part) for part in sorted(sales.glob("*/*/*.parquet"))[:2]]
    expected = duckdb.execute("select x, year from read_parquet(?, hive_partitioning=true)", [both]).fetchall()
    assert [(row["x"], row["year"]) for row in rows(open_source(both))] == expected


def test_rows_by_position_and_from_any_row_have_them(sales: Path) -> None:
    source: Any = open_source(sales)
    everything = rows(source)
    for skip in range(13):
        assert [row for batch in source.batches(5, None, skip) for row in batch.to_pylist()] == everything[skip:]
    picked = [row for batch in source.batches_at([0, 3, 11], 2) for row in batch.to_pylist()]
    assert picked == [everything[place] for place in (0, 3, 11)]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=6).filter(
    lambda text: text not in (".", "..", NULL)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(WORDS, st.integers(-(10**10), 10**10), st.none()), min_size=1, max_size=5, unique_by=str))
def test_any_value_comes_out_as_it_was(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("hive")
    texts = [None if value is None else str(value) for value in values]
    table = pa.table({"x": range(len(values)), "key": pa.array(texts)})
    ds.write_dataset(
        table,
        folder,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([table.schema.field("key")]), flavor="hive"),
    )
    read = in_order(rows(open_source(folder, wanted={"key": ColumnType("string")})))
    assert read == table.to_pylist()
    kept = in_order(rows(open_source(folder)))
    assert [None if row["key"] is None else str(row["key"]) for row in kept] == texts


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["1", "20", "-3"], pa.int32()), (["1", "3000000000"], pa.int64()), (["01", "2"], pa.string()), (["1", "a"], pa.string()),
        (["1.5"], pa.string()), (["2020-01-01"], pa.string()), (["99999999999999999999"], pa.string()), ([NULL, "7"], pa.int32()),
        ([NULL], pa.string()), (["+1"], pa.string()), (["-0"], pa.string()), (["true"], pa.string()),
    ],
)  # fmt: skip
def test_what_nobody_declares_stays_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], kind: pa.DataType
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(names):
        write(f"in/k={name}/p.csv", f"x\n{place}\n")
    source: Any = open_source("in")
    assert source.schema.field("k").type == kind
    found = {None if row["k"] is None else str(row["k"]) for row in rows(source)}
    assert found == {None if name == NULL else name for name in names}


def year_graph(kind: str, **more: Any) -> mt.Graph:
    return mt.Graph("g", outputs={"y": mt.map(mt.ops.columns.cast, mt.input("year", kind, **more), dtype="float64")})


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow"])
def test_a_graph_takes_them_and_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.chdir(tmp_path)
    table = pa.table({"x": range(6), "year": [2020, 2021, None] * 2, "month": [1, 1, 2, 2, 3, 3]})
    ds.write_dataset(
        table,
        "in",
        format="parquet",
        partitioning=ds.partitioning(table.select(["year", "month"]).schema, flavor="hive"),
    )
    for part in Path("in").rglob("*.parquet"):
        data = pq.read_table(part, partitioning=None)
        part.unlink()
        with_suffix = part.with_suffix(f".{suffix}")
        if suffix == "csv":
            pc.write_csv(data, with_suffix)
        elif suffix == "jsonl":
            with_suffix.write_text("".join(f'{{"x":{x}}}\n' for x in data["x"].to_pylist()))
        elif suffix == "arrow":
            with pa.ipc.new_file(with_suffix, data.schema) as out:
                out.write_table(data)
        else:
            pq.write_table(data, with_suffix)
    report = year_graph("int64").run("in", "o.parquet", batch_rows=2)
    assert (report.rows, report.failed) == (6, 2)  # a year that is missing, and no default
    found = pq.read_table("o.parquet").to_pylist()
    assert sorted((int(row["x"]), row["year"], row["month"], row["y"]) for row in found) == [
        (x, year, month, float(year)) for x, year, month in zip(*table.to_pydict().values(), strict=True) if year
    ]
    report = year_graph("int64", default=1999).run("in", "o.parquet", batch_rows=2, overwrite=True)
    assert (report.rows, report.failed) == (6, 0)
    assert sorted(pq.read_table("o.parquet")["y"].to_pylist()) == [1999.0] * 2 + [2020.0] * 2 + [2021.0] * 2


def test_a_name_that_is_none_of_the_type_costs_the_rows_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("2020", "2021.0", "soon", "2022.5"):
        write(f"in/year={name}/p.csv", "x\n1\n2\n")
    report = year_graph("int64").run("in", "o.parquet", batch_rows=3)
    assert (report.rows, report.failed) == (8, 4)
    assert sorted(pq.read_table("o.parquet")["y"].to_pylist()) == [2020.0] * 2 + [2021.0] * 2
    messages = pq.read_table(report.failed_output)["message"].to_pylist()
    assert sum("folder year=soon: column 'year'" in message for message in messages) == 2
    assert sum("folder year=2022.5: column 'year'" in message for message in messages) == 2
    only_x = mt.Graph("g", outputs={"y": mt.map(mt.ops.columns.cast, mt.input("x", "int64"), dtype="float64")})
    assert only_x.run("in", "p.parquet").failed == 0


def test_a_column_that_the_files_have_is_read_from_them_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("in/year=2020/p.csv", "x,year\n1,7\n")
    write("in/year=2021/p.csv", "x,year\n2,8\n")
    source: Any = open_source("in")
    assert [(row["x"], row["year"]) for row in rows(source)] == [("1", "7"), ("2", "8")]
    assert source.left_out == "read from the files, and not from the names of their folders: year"


def test_types_may_be_given_and_unknown_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("in/zip=123/p.csv", "x\n1\n")
    assert open_source("in", types={"zip": "string"}).schema.field("zip").type == pa.string()
    with pytest.raises(UnknownNameError):
        open_source("in", types={"zap": "string"})


def test_a_renamed_folder_is_another_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("in/year=2020/p.csv", "x\n1\n")
    before = open_source("in").fingerprint()
    assert open_source("in").fingerprint() == before
    Path("in/year=2020").rename("in/year=2021")
    assert open_source("in").fingerprint() != before


def test_folders_above_what_is_searched_count_only_right_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("exp=3/data/x.csv", "x\n1\n")
    assert open_source("exp=3/data").schema.names == ["x"]
    assert open_source("exp=3/data/x.csv").schema.names == ["x"]
    write("lake/year=2020/more/x.csv", "x\n1\n")
    assert open_source("lake").schema.names == ["x", "year"]


def test_parts_of_different_depths_have_nulls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("in/p.csv", "x\n1\n")
    write("in/year=2020/p.csv", "x\n2\n")
    assert [row["year"] for row in rows(open_source("in"))] == [None, 2020]


def test_groups_may_go_by_them(sales: Path) -> None:
    total = mt.map(lambda x: [each.sum() for each in x], mt.input("x", "int64[?]"), outputs="int64")
    report = mt.Graph("g", outputs={"total": total}).run(str(sales), "o.parquet", group_by="year", keep=["year"])
    expected = duckdb.sql(
        "select year, sum(x)::bigint from 'sales/**/*.parquet' group by year order by year"
    ).fetchall()
    found = pq.read_table("o.parquet").to_pylist()
    assert [(row["year"], row["total"]) for row in found] == expected
    assert report.failed == 0


def test_an_output_of_the_same_name_is_refused(sales: Path) -> None:
    same = mt.Graph("g", outputs={"year": mt.map(mt.ops.columns.cast, mt.input("x", "int64"), dtype="int64")})
    with pytest.raises(InputError, match="year"):
        same.run(str(sales), "o.parquet")
    assert same.run(str(sales), "o.parquet", drop=["year"]).failed == 0
