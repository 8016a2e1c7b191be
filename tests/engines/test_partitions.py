"""Outputs partitioned by columns, read back by pyarrow and DuckDB."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import motet as mt
from motet.errors import GraphError, InputError, RunError

STRANGE = ["a b", "ü", "50%", "x/y", "k=v", "", "..", "NaN", None, "_x", "#?", "a\nb", "'", "1"]


def graph() -> mt.Graph:
    return mt.Graph("plus", outputs={"y": mt.map(lambda x: x + 1, mt.input("x", "int64"), outputs="int64")})


def table(rows: int = 200) -> pa.Table:
    x = np.arange(rows)
    return pa.table({"x": x, "year": 2020 + x % 3, "name": [STRANGE[row % len(STRANGE)] for row in range(rows)]})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def expected(source: pa.Table) -> list[dict[str, Any]]:
    return source.append_column("y", pc.add(source["x"], 1)).sort_by("x").to_pylist()


def test_pyarrow_reads_what_was_written(tmp_path: Path) -> None:
    report = graph().run(table(), f"{tmp_path}/out/", partition_by=["year", "name"], batch_rows=7)
    schema = pa.schema([("year", pa.int64()), ("name", pa.string())])
    found = ds.dataset(tmp_path / "out", partitioning=ds.partitioning(schema, flavor="hive")).to_table()
    assert report.rows == 200
    assert found.select(["x", "year", "name", "y"]).sort_by("x").to_pylist() == expected(table())
    assert json.loads((tmp_path / "out" / "_finished.json").read_text()) == {"parts": 3 * len(STRANGE), "rows": 200}


def test_duckdb_reads_what_was_written(tmp_path: Path) -> None:
    source = table().filter(pc.field("name") != "")
    graph().run(source, f"{tmp_path}/out/", partition_by=["year", "name"])
    query = "select x, year, name, y from read_parquet(?, hive_partitioning=true, hive_types={'year': bigint, 'name': varchar}) order by x"
    found = duckdb.sql(query, params=[f"{tmp_path}/out/**/*.parquet"]).to_arrow_table()
    assert found.to_pylist() == expected(source)


def test_motet_reads_what_was_written(tmp_path: Path) -> None:
    source = table().select(["x", "year"])
    graph().run(source, f"{tmp_path}/out/", partition_by=["year"])
    again = graph().run(str(tmp_path / "out"), drop=["y"])
    assert sorted(again["x"].to_pylist()) == source["x"].to_pylist()
    assert set(again["year"].to_pylist()) <= {2020, 2021, 2022, "2020", "2021", "2022"}


@pytest.mark.parametrize(
    "values",
    [
        pa.array([True, False, None, True]),
        pa.array([datetime.date(2020, 1, 1), None, datetime.date(1, 1, 1), datetime.date(2020, 1, 1)]),
        pa.array([1.5, None, float("nan"), 1.5]),
        pa.array([2**63, 0, 1, 2**64 - 1], pa.uint64()),
        pa.array(["a", "b", "a", None]).dictionary_encode(),
    ],
)
def test_columns_of_all_types_name_folders(tmp_path: Path, values: pa.Array) -> None:
    graph().run(pa.table({"x": range(4), "key": values}), f"{tmp_path}/out/", partition_by=["key"])
    plain = values.cast(pa.string()).to_pylist() if not pa.types.is_dictionary(values.type) else values.to_pylist()
    read = ds.dataset(tmp_path / "out", partitioning=ds.partitioning(pa.schema([("key", pa.string())]), flavor="hive"))
    assert read.to_table().sort_by("x")["key"].to_pylist() == plain


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.text(max_size=8)), st.integers(-3, 3)), min_size=1, max_size=40),
    st.integers(1, 50),
    st.integers(1, 9),
)
def test_any_values_are_read_as_they_were(
    tmp_path: Path, rows: list[tuple[str | None, int]], part_rows: int, batch_rows: int
) -> None:
    rows = [(text if text is None else text.replace("\0", ""), number) for text, number in rows]
    source = pa.table(
        {"x": range(len(rows)), "s": pa.array([s for s, _ in rows], pa.string()), "n": [n for _, n in rows]}
    )
    output = f"{tmp_path}/out/"
    graph().run(source, output, partition_by=["s", "n"], part_rows=part_rows, batch_rows=batch_rows, overwrite=True)
    schema = pa.schema([("s", pa.string()), ("n", pa.int64())])
    found = ds.dataset(output, partitioning=ds.partitioning(schema, flavor="hive")).to_table()
    assert found.select(["x", "s", "n", "y"]).sort_by("x").to_pylist() == expected(source)
    for part in Path(output).rglob("*.parquet"):
        ids = pa.parquet.read_table(part, partitioning=None)["x"].to_pylist()
        assert ids == sorted(ids)
        assert len(ids) <= part_rows


def test_the_same_rows_give_the_same_bytes_however_they_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch_rows in (3, 64, 200):
        graph().run(table(), f"{tmp_path}/{batch_rows}/", partition_by=["year"], part_rows=70, batch_rows=batch_rows)
    assert files(tmp_path / "3") == files(tmp_path / "64") == files(tmp_path / "200")
    assert [name for name in files(tmp_path / "3") if name.startswith("year=2020")] == [
        f"year=2020/part-{stretch:05d}.parquet" for stretch in range(3)
    ]


def test_a_partitioned_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.engines.local.pending.COMMIT_SECONDS", 0.0)
    options: dict[str, Any] = {"partition_by": ["year"], "part_rows": 50}

    def stop(done: int, *_: Any) -> None:
        if done >= 90:
            raise KeyError("stop")

    with pytest.raises(KeyError):
        graph().run(table(), f"{tmp_path}/out/", batch_rows=10, workers=1, progress=stop, **options)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_unfinished"]
    report = graph().run(table(), f"{tmp_path}/out/", resume=True, **options)
    assert report.resumed_rows == 90
    graph().run(table(), f"{tmp_path}/whole/", batch_rows=10, **options)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_another_partitioning_replaces_all_of_the_earlier_one(tmp_path: Path) -> None:
    graph().run(table(), f"{tmp_path}/out/", partition_by=["year", "name"])
    graph().run(table(), f"{tmp_path}/out/", partition_by=["year"], overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_finished.json",
        "year=2020",
        "year=2021",
        "year=2022",
    ]
    assert not [path for path in (tmp_path / "out" / "year=2020").iterdir() if path.is_dir()]
    graph().run(table(), f"{tmp_path}/out/", overwrite=True)
    assert list(files(tmp_path / "out")) == ["_finished.json", "part-00000.parquet"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_finished.json", "part-00000.parquet"]


def test_files_of_others_below_are_not_mixed_with_parts(tmp_path: Path) -> None:
    (tmp_path / "out" / "year=2020").mkdir(parents=True)
    (tmp_path / "out" / "year=2020" / "0-of-others.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds year=2020/0-of-others\.parquet, which no run wrote"):
        graph().run(table(), f"{tmp_path}/out/", partition_by=["year"], overwrite=True)


def test_parts_are_of_the_format_that_is_named(tmp_path: Path) -> None:
    graph().run(table().select(["x", "year"]), f"{tmp_path}/out/", partition_by=["year"], output_format="csv")
    found = pacsv.read_csv(tmp_path / "out" / "year=2021" / "part-00000.csv")
    assert found.to_pydict() == {"x": list(range(1, 200, 3)), "y": list(range(2, 201, 3))}
    graph().run(table(), f"{tmp_path}/flat/", output_format="jsonl.gz", part_rows=150)
    assert sorted(files(tmp_path / "flat")) == ["_finished.json", "part-00000.jsonl.gz", "part-00001.jsonl.gz"]


def test_outputs_of_the_graph_name_folders_too(tmp_path: Path) -> None:
    parity = mt.Graph("parity", outputs={"odd": mt.map(lambda x: x % 2, mt.input("x", "int64"))})
    parity.run(table(20), f"{tmp_path}/out/", partition_by=["odd"], keep=["x"])
    assert pa.parquet.read_table(tmp_path / "out" / "odd=1" / "part-00000.parquet", partitioning=None)[
        "x"
    ].to_pylist() == list(range(1, 20, 2))


@pytest.mark.parametrize(
    ("by", "source", "message"),
    [
        (["month"], table(), "unknown column 'month'"),
        (["x", "y"], table().select(["x"]), "no column is left to write"),
        (["l"], pa.table({"x": [1], "l": [[1]]}), r"no folder can be named by column 'l' \(list"),
        (["a=b"], pa.table({"x": [1], "a=b": [1]}), "no folder can be named by column 'a=b'"),
    ],
)
def test_what_names_no_folder_is_refused(tmp_path: Path, by: list[str], source: pa.Table, message: str) -> None:
    with pytest.raises((InputError, GraphError), match=message):
        graph().run(source, f"{tmp_path}/out/", partition_by=by)
    assert not list(tmp_path.rglob("*.parquet"))


def test_too_many_partitions_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.engines.local.folder_output.MOST_PARTITIONS", 10)
    with pytest.raises(RunError, match="there are more than 10 partitions by x"):
        graph().run(table(), f"{tmp_path}/out/", partition_by=["x"])


def test_a_value_that_stands_for_null_is_refused(tmp_path: Path) -> None:
    source = pa.table({"x": [1, 2], "s": ["a", "__HIVE_DEFAULT_PARTITION__"]})
    with pytest.raises(RunError, match="no folder can be named __HIVE_DEFAULT_PARTITION__, which stands for null"):
        graph().run(source, f"{tmp_path}/out/", partition_by=["s"])


def test_partitions_in_a_store(tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    graph().run(table(), "memory://partitions/out/", partition_by=["year"], overwrite=True)
    graph().run(table(30), "memory://partitions/out/", partition_by=["year"], overwrite=True, limit=2)
    names = sorted(path.removeprefix("/partitions/out/") for path in store.find("/partitions/out"))
    assert names == ["_finished.json", "year=2020/part-00000.parquet", "year=2021/part-00000.parquet"]
