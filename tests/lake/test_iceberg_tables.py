"""Tables of Iceberg, with a catalog in SQLite: a snapshot as source, rows added by one commit, whatever ends a run."""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import motet as mt
from helpers.lakes import VALUES, killed_and_added_once, negating, put_with_nulls
from motet.errors import DataError, InputError, OutputExistsError, RunError
from motet.io import open_source
from motet.lake.address import LakeAddress

catalogs = pytest.importorskip("pyiceberg.catalog")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs keep beside the table, in the current folder, is of each test alone."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Any]:
    """A catalog with the namespace `shop`, in a file of SQLite."""
    made = catalogs.load_catalog("local", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/lake")
    made.create_namespace("shop")
    yield made
    made.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"iceberg://local/shop.sales?uri=sqlite:///{tmp_path}/catalog.db&warehouse=file://{tmp_path}/lake"


def rows_in(catalog: Any) -> list[dict[str, Any]]:
    """The rows of the current snapshot, as pyiceberg reads them."""
    there = catalog.table_exists("shop.sales")
    return catalog.load_table("shop.sales").scan().to_arrow().to_pylist() if there else []


def written(catalog: Any, *tables: pa.Table) -> Any:
    """A table with a snapshot for each of these."""
    made = catalog.create_table("shop.sales", tables[0].schema)
    for each in tables:
        made.append(each)
    return made


def test_a_snapshot_is_read_as_it_was(catalog: Any, address: str) -> None:
    table = written(catalog, pa.table({"x": [1.0, 2.0]}), pa.table({"x": [3.0]}))
    kind = table.schema().find_field("x").field_type
    with table.update_schema() as update:
        update.rename_column("x", "old")
    with table.update_schema() as update:
        update.add_column("x", kind)
    assert sorted(map(str, read(address))) == sorted(map(str, rows_in(catalog)))
    assert read(address)[0]["x"] is None
    first = table.snapshots()[0].snapshot_id
    assert negating().run(f"{address}&snapshot={first}")["y"].to_pylist() == [-1.0, -2.0]
    assert open_source(f"{address}&snapshot={first}").description == f"iceberg://local/shop.sales?snapshot={first}"
    assert open_source(f"{address}&snapshot={first}").fingerprint() != open_source(address).fingerprint()


def read(address: str) -> list[dict[str, Any]]:
    return [row for batch in open_source(address).batches(10) for row in batch.to_pylist()]


def test_rows_that_were_deleted_are_not_read(catalog: Any, address: str) -> None:
    table = written(catalog, pa.table({"x": [1.0, 2.0, 3.0]}), pa.table({"x": [2.0, 5.0]}))
    table.delete("x = 2.0")
    assert sorted(row["y"] for row in negating().run(address).to_pylist()) == [-5.0, -3.0, -1.0]


def test_files_of_deletes_are_honoured(catalog: Any, address: str, tmp_path: Path) -> None:
    """A file of deletes by position, as Spark and Flink write them; pyiceberg itself writes none."""
    import pyarrow.parquet as pq
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.table import FileScanTask

    written(catalog, pa.table({"x": [1.0, 2.0, 3.0, 4.0]}))
    source: Any = open_source(address)
    (task,) = source._tasks
    path = f"{tmp_path}/deletes.parquet"
    pq.write_table(pa.table({"file_path": [task.file.file_path] * 2, "pos": pa.array([1, 3], pa.int64())}), path)
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES, file_path=f"file://{path}", file_format=FileFormat.PARQUET,
        partition=task.file.partition, record_count=2, file_size_in_bytes=1,
    )  # fmt: skip
    marked = FileScanTask(task.file, {deletes})
    assert source._count(marked) == 2
    assert [x for batch in source._read(marked, ["x"]) for x in batch["x"].to_pylist()] == [1.0, 3.0]
    more = pa.table({"file_path": [task.file.file_path] * 3, "pos": pa.array([0, 1, 3], pa.int64())})
    pq.write_table(more, path)
    with pytest.raises(DataError, match="has 1 rows, and 2 to 4 by its manifest"):
        source._count(marked)


def test_files_are_those_that_manifests_tell_of(catalog: Any, address: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    written(catalog, pa.table({"x": [1.0, 2.0, 3.0]}), pa.table({"x": [4.0]}))
    for wanted, file in ((3, 0), (1, 1)):
        files = sorted((tmp_path / "lake").rglob("*.parquet"), key=lambda path: -pq.ParquetFile(path).metadata.num_rows)
        table = pq.read_table(files[file])
        pq.write_table(pa.concat_tables([table, table]), files[file])
        with pytest.raises(DataError, match=f"has {2 * wanted} rows, and {wanted} by its manifest"):
            list(open_source(address).batches(10))
        pq.write_table(table, files[file])
    assert len(read(address)) == 4


def test_splits_are_files(catalog: Any, address: str) -> None:
    written(catalog, *(pa.table({"x": [float(n), n + 0.5]}) for n in range(4)))
    source: Any = open_source(address)
    splits = pickle.loads(pickle.dumps(source.splits(1)))
    assert [split.rows for split in splits] == [2, 2, 2, 2]
    found = [x for split in splits for _, batch in split.batches(10) for x in batch["x"].to_pylist()]
    assert found == [x for batch in source.batches(3) for x in batch["x"].to_pylist()]
    assert found[5:] == [x for batch in source.batches(2, skip=5) for x in batch["x"].to_pylist()]


def test_rows_are_added_only_where_that_is_said(catalog: Any, address: str) -> None:
    rows = pa.table({"x": [1.0, 2.0]})
    report = negating().run(rows, address)
    assert (report.answered, report.output) == (2, "iceberg://local/shop.sales")
    with pytest.raises(OutputExistsError, match="is there already"):
        negating().run(rows, address)
    negating().run(rows.slice(1), f"{address}&mode=append")
    assert sorted(row["x"] for row in rows_in(catalog)) == [1.0, 2.0, 2.0]
    runs = [each.summary.additional_properties["motet.run"] for each in catalog.load_table("shop.sales").snapshots()]
    assert len(set(runs)) == 2
    negating().run(pa.table({"x": [7.0], "z": ["new"]}), address, overwrite=True)
    assert rows_in(catalog) == [{"x": 7.0, "z": "new", "y": -7.0}]


def test_values_are_what_they_were(catalog: Any, address: str) -> None:
    moment = datetime.time(1, 2, 3, 4)
    wanted = put_with_nulls(address, {**VALUES, "h": (pa.time64("us"), moment, moment)})
    assert rows_in(catalog) == wanted
    assert read(address) == wanted


def test_partitioned_tables_are_added_to_in_groups(catalog: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.lake.iceberg.GROUP_BYTES", 1)
    table = catalog.create_table("shop.sales", pa.schema({"x": pa.float64(), "kind": pa.string(), "y": pa.float64()}))
    with table.update_spec() as spec:
        spec.add_identity("kind")
    rows = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "kind": ["a", "b", "a", None]})
    negating().run(rows, f"{address}&mode=append", batch_rows=2)
    found = sorted(rows_in(catalog), key=lambda row: row["x"])
    assert found == [{**row, "y": -row["x"]} for row in rows.to_pylist()]
    assert len(catalog.load_table("shop.sales").snapshots()) == 2  # of one commit


@pytest.mark.parametrize("when", ["amid", "committed"])
def test_rows_of_a_killed_run_are_added_once(catalog: Any, address: str, tmp_path: Path, when: str) -> None:
    written(catalog, pa.table({"n": pa.array([], pa.int64()), "m": pa.array([], pa.int64())}))
    killed_and_added_once(tmp_path, f"{address}&mode=append", when, lambda: rows_in(catalog))


def test_a_commit_between_is_met(catalog: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from motet.lake import iceberg

    table = written(catalog, pa.table({"x": [0.0], "y": [0.0]}))
    whole = iceberg._grouped
    calls: list[int] = []

    def between(*given: Any) -> Any:
        if not calls:
            catalog.load_table("shop.sales").append(pa.table({"x": [9.0], "y": [9.0]}))
        calls.append(1)
        return whole(*given)

    monkeypatch.setattr(iceberg, "_grouped", between)
    monkeypatch.setattr(iceberg, "pause", lambda _: None)
    negating().run(pa.table({"x": [1.0]}), f"{address}&mode=append")
    assert sorted(row["x"] for row in rows_in(catalog)) == [0.0, 1.0, 9.0]
    assert len(table.refresh().snapshots()) == 3


def test_commits_that_are_always_met_by_others_end(catalog: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyiceberg.exceptions import CommitFailedException

    from motet.lake import iceberg

    waits: list[float] = []

    def refused(*_: Any) -> Any:
        raise CommitFailedException("branch main has changed")

    written(catalog, pa.table({"x": [0.0], "y": [0.0]}))
    monkeypatch.setattr(iceberg, "_grouped", refused)
    monkeypatch.setattr(iceberg, "pause", waits.append)
    with pytest.raises(RunError, match="cannot be written: .*branch main has changed"):
        negating().run(pa.table({"x": [1.0]}), f"{address}&mode=append")
    assert len(waits) == 4
    assert all(0.1 * 2**place <= wait <= 0.2 * 2**place for place, wait in enumerate(waits))
    monkeypatch.undo()
    monkeypatch.chdir(Path(address.partition("file://")[2]).parent)
    negating().run(pa.table({"x": [1.0]}), f"{address}&mode=append", resume=True)
    assert sorted(row["x"] for row in rows_in(catalog)) == [0.0, 1.0]


@pytest.mark.parametrize("lost", ["snap-*.avro", "*-m0.avro", "*.parquet"])
def test_files_that_are_gone_are_told(catalog: Any, address: str, tmp_path: Path, lost: str) -> None:
    written(catalog, pa.table({"x": [0.0]}))
    (file,) = (tmp_path / "lake").rglob(lost)
    file.unlink()
    with pytest.raises(InputError, match=f"iceberg://local/shop.sales.*: cannot be read .*{file.name}"):
        read(address)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("shop.sales", "shop.none", "Table does not exist: shop.none"),
        ("sales?", "sales?snapshot=5&", "has no snapshot 5; the last ones are"),
        ("catalog.db", "none/none.db", "cannot be read as a table of Iceberg: .*unable to open database file"),
        ("shop.sales", "sales", "names no table"),
    ],
)
def test_what_is_not_there_is_told(catalog: Any, address: str, old: str, new: str, message: str) -> None:
    written(catalog, pa.table({"x": [0.0]}))
    with pytest.raises(InputError, match=message):
        open_source(address.replace(old, new))


def test_a_namespace_that_is_not_there_is_told_before_rows_are_played(catalog: Any, address: str) -> None:
    with pytest.raises(InputError, match="the catalog has no namespace 'none'"):
        negating().run(pa.table({"x": [1.0]}), address.replace("shop.", "none."))


def test_what_is_secret_is_in_no_message() -> None:
    text = "iceberg://local/shop.sales?uri=postgresql://ann:hidden@127.0.0.1:1/x&token=hidden&type=sql"
    assert "hidden" not in repr(LakeAddress.parse(text, written=True)) + str(LakeAddress.parse(text, written=True))
    for act in (lambda: open_source(text), lambda: negating().run(pa.table({"x": [1.0]}), text)):
        with pytest.raises(InputError) as raised:
            act()
        assert "hidden" not in f"{raised.value}{raised.value.hint}{raised.value.where}"


def test_empty_tables_are_replaced(catalog: Any, address: str) -> None:
    nothing = pa.table({"x": pa.array([], pa.float64())})
    for _ in range(2):
        negating().run(nothing, address, overwrite=True)
        assert read(address) == []
    negating().run(pa.table({"x": [1.0]}), address, overwrite=True)
    assert rows_in(catalog) == [{"x": 1.0, "y": -1.0}]
    with pytest.raises(InputError, match="its columns have names, and one of the rows has none"):
        negating().run(pa.table({"x": [1.0], "": [2]}), f"{address}&mode=overwrite")


def test_what_somebody_else_makes_meanwhile_stays(catalog: Any, address: str) -> None:
    theirs = pa.table({"x": [9.0], "y": [-9.0]})

    def meanwhile(x: np.ndarray) -> np.ndarray:
        if not catalog.table_exists("shop.sales"):
            written(catalog, theirs)
        return -x

    graph = mt.Graph("g", {"y": mt.map(meanwhile, mt.input("x", "float64"), outputs="float64")})
    with pytest.raises(mt.MotetError, match="was made by somebody else while the run went on"):
        graph.run(pa.table({"x": [1.0]}), address)
    assert rows_in(catalog) == theirs.to_pylist()


@pytest.mark.parametrize("uri", ["postgresql://ann:ge/heim/secret@127.0.0.1:none/base", "foo://ann:secret@host/b"])
def test_parts_of_what_is_secret_are_in_no_message(uri: str) -> None:
    with pytest.raises(InputError, match="cannot be read as a table of Iceberg: ValueError: ") as raised:
        open_source(f"iceberg://local/shop.sales?uri={uri}&token=&warehouse=w")
    assert not {part for part in ("secret", "heim", "'ge") if part in str(raised.value)}
    assert "..." not in str(raised.value).partition("ValueError")[0]


def test_what_the_table_is_partitioned_by_is_kept(catalog: Any, address: str) -> None:
    table = written(catalog, pa.table({"x": [1.0], "kind": ["a"]}))
    with table.update_spec() as update:
        update.add_identity("kind")
    with pytest.raises(InputError, match="is partitioned by 'kind', which the rows have not"):
        negating().run(pa.table({"x": [1.0]}), address, overwrite=True)
    assert rows_in(catalog) == [{"x": 1.0, "kind": "a"}]
