"""Tables of Delta Lake: a version as source, rows added in one version as output, whatever ends a run."""

from __future__ import annotations

import datetime
import json
import pickle
import struct
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from helpers.lakes import VALUES, ZONED, killed_and_added_once, negating, put_with_nulls
from motet.cli import cli
from motet.errors import DataError, InputError, OutputExistsError, UnknownNameError
from motet.io import open_source
from motet.io.renamed import RenamedColumns
from motet.io.stream import Stream

deltalake = pytest.importorskip("deltalake")


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """The rows of the newest version, as deltalake reads them."""
    return deltalake.DeltaTable(folder).to_pyarrow_table().to_pylist() if folder.exists() else []


def written(folder: Path, *tables: pa.Table, **options: Any) -> str:
    """A table with a version for each of these; its address."""
    for table in tables:
        deltalake.write_deltalake(folder, table, mode="append", **options)
    return f"delta:{folder}"


def test_a_version_is_read_as_it_was(tmp_path: Path) -> None:
    one, two = pa.table({"x": [1.0, 2.0]}), pa.table({"x": [3.0], "new": ["a"]})
    address = written(tmp_path / "t", one)
    deltalake.write_deltalake(tmp_path / "t", two, mode="append", schema_mode="merge")
    newest = {(row["x"], row["new"], row["y"]) for row in negating().run(address).to_pylist()}
    assert newest == {(1.0, None, -1.0), (2.0, None, -2.0), (3.0, "a", -3.0)}
    first = negating().run(f"{address}?version=0").to_pylist()
    assert first == [{"x": 1.0, "y": -1.0}, {"x": 2.0, "y": -2.0}]
    at = deltalake.DeltaTable(tmp_path / "t").history()[-1]["timestamp"] / 1000
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat().replace("+00:00", "Z")
    assert negating().run(f"{address}?timestamp={moment}").num_rows == 2
    assert open_source(address).description == f"{address}?version=1"


def test_rows_that_were_deleted_are_not_read(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": [1.0, 2.0, 3.0]}))
    deltalake.DeltaTable(tmp_path / "t").delete("x = 2")
    assert negating().run(address)["y"].to_pylist() == [-1.0, -3.0]
    with pytest.raises(InputError, match="is a table of Delta Lake, whose log says which of its files count"):
        negating().run(str(tmp_path / "t"))


def test_columns_that_partition_are_columns(tmp_path: Path) -> None:
    days = [datetime.date(2024, 5, 1), None, datetime.date(2024, 5, 2)]
    rows = pa.table(
        {"x": [1.0, 2.0, 3.0], "day": days, "kind": ["a/b ü", "c", None], "n": pa.array([1, 2, 3], pa.int16())}
    )
    address = written(tmp_path / "t", rows, partition_by=["day", "kind", "n"])
    source = open_source(address)
    assert source.schema.types == [pa.float64(), pa.date32(), pa.string(), pa.int16()]
    found = [row for batch in source.batches(10) for row in batch.to_pylist()]
    assert sorted(found, key=lambda row: row["x"]) == rows.to_pylist()


def test_splits_are_read_by_workers(tmp_path: Path) -> None:
    parts = (pa.table({"x": [float(n), n + 0.5], "kind": ["a", "b"]}) for n in range(4))
    address = written(tmp_path / "t", *parts, partition_by=["kind"])
    source: Any = open_source(address)
    splits = source.splits(1)
    assert len(splits) == 8
    found = [x for split in splits for _, batch in split.batches(10) for x in batch["x"].to_pylist()]
    assert found == [x for batch in source.batches(10) for x in batch["x"].to_pylist()]


def test_what_is_not_read_is_refused(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": [1.0]}))
    for asked, message in (
        (f"{address}?version=9", "cannot be read as a table of Delta Lake: "),
        (f"{address}?version=0&version=1", "has an option twice"),
        (f"{address}?version=x", "version is 'x'; it must be a whole number"),
        (f"{address}?timestamp=may", "timestamp is 'may', which is none"),
        (f"{address}?version=1&timestamp=2024-05-01", "names a version and a timestamp"),
        (f"delta:{tmp_path}/none", "cannot be read as a table of Delta Lake"),
        ("delta://t", "has two slashes, behind which no path begins"),
        ("delta:", "names no table"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(asked)
    with pytest.raises(UnknownNameError, match="mode"):
        open_source(f"{address}?mode=append")
    log = tmp_path / "t" / "_delta_log" / "00000000000000000001.json"
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["x9"], "writerFeatures": ["x9"]}
    log.write_text(json.dumps({"protocol": protocol}))
    with pytest.raises(InputError, match="cannot be read as a table of Delta Lake: .*'x9' is not supported"):
        open_source(address)


def vector(rows: list[int]) -> dict[str, Any]:
    """A vector of deletions that stands in the log, as the protocol of Delta has it: a Roaring bitmap in Z85."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + struct.pack(f"<{len(rows)}H", *rows)
    data = struct.pack("<iqI", 1681511377, 1, 0) + bitmap
    size, text = len(data), ""
    data += bytes(-size % 4)
    for at in range(0, len(data), 4):
        number = int.from_bytes(data[at : at + 4], "big")
        text += "".join(letters[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": size, "cardinality": len(rows)}


def test_rows_that_vectors_mark_as_deleted_are_not_read(tmp_path: Path) -> None:
    rows = pa.table({"x": [float(each) for each in range(60)], "kind": ["a b", "c"] * 30})
    address = written(tmp_path / "t", rows, partition_by=["kind"])
    log = tmp_path / "t" / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            features = ["deletionVectors"]
            line["protocol"] = {
                "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features,
            }  # fmt: skip
        if line.get("add", {}).get("partitionValues", {}).get("kind") == "a b":
            line["add"]["deletionVector"] = vector([0, 4, 7, 11, 29])
    log.write_text("\n".join(map(json.dumps, lines)))
    gone = {0.0, 8.0, 14.0, 22.0, 58.0}
    source: Any = open_source(address)
    assert source.num_rows == 55
    found = [x for batch in source.batches(10) for x in batch["x"].to_pylist()]
    assert sorted(found) == sorted({float(each) for each in range(60)} - gone)
    assert [x for batch in source.batches(7, skip=20) for x in batch["x"].to_pylist()] == found[20:]
    assert [x for batch in source.batches_at([3, 40], 5) for x in batch["x"].to_pylist()] == [found[3], found[40]]
    splits = pickle.loads(pickle.dumps(source.splits(1)))
    assert [x for split in splits for _, batch in split.batches(9) for x in batch["x"].to_pylist()] == found
    assert negating().run(address)["y"].to_pylist() == [-x for x in found]


def mapped(log: Path, mode: str, names: dict[str, str], numbers: dict[str, int]) -> None:
    """Have a log say that files call the columns of the table otherwise.

    Args:
        log: of the first version.
        mode: `name` or `id`.
        names: what files call them, by what the table does; others are none of the table.
        numbers: the numbers of columns, by what files call them.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    own = {stored: name for name, stored in names.items()}

    def told(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for each in fields:
            stored, kind = each["name"], each["type"]
            each["metadata"] = {"delta.columnMapping.id": numbers[stored]}
            each["metadata"]["delta.columnMapping.physicalName"] = stored
            each["name"] = own.get(stored, stored)
            if isinstance(kind, dict):
                inside = kind["elementType"] if kind["type"] == "array" else kind
                inside["fields"] = told([each for each in inside["fields"] if each["name"] in own])
        return fields

    for line in lines:
        if "metaData" in line:
            table = line["metaData"]
            table["configuration"] = {"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "99"}
            schema = json.loads(table["schemaString"])
            schema["fields"] = told([each for each in schema["fields"] if each["name"] in own])
            table["schemaString"] = json.dumps(schema)
            table["partitionColumns"] = [own[name] for name in table["partitionColumns"]]
        if "protocol" in line:
            features = ["columnMapping"]
            line["protocol"] = {
                "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features,
            }  # fmt: skip
    log.write_text("\n".join(map(json.dumps, lines)))


NUMBERS = {"c1": 1, "part": 2, "s": 3, "f1": 4, "f2": 5, "x": 6, "l": 7, "f3": 8}


def test_mapped_columns_have_the_names_of_the_table(tmp_path: Path) -> None:
    """Also inside of others; what was dropped, `x` and `f1`, is not read, though a column is called `x` now."""
    inner = pa.struct({"f1": pa.int64(), "f2": pa.string()})
    rows = pa.table(
        {
            "c1": [1.0, 2.0, 3.0],
            "part": ["a/b", None, "c"],
            "s": pa.array([{"f1": 1, "f2": "a"}, None, {"f1": None, "f2": "b"}], inner),
            "x": [9.0, 9.0, 9.0],
            "l": pa.array([[{"f3": "é"}], None, []], pa.list_(pa.struct({"f3": pa.string()}))),
        }
    )
    address = written(tmp_path / "t", rows, partition_by=["part"])
    log = tmp_path / "t" / "_delta_log" / "00000000000000000000.json"
    mapped(log, "name", {"x": "c1", "Art, 1": "part", "s": "s", "b": "f2", "e": "f3", "list": "l"}, NUMBERS)
    source: Any = open_source(address)
    assert all(field.metadata is None for field in source.schema)
    wanted = [
        {"x": 1.0, "Art, 1": "a/b", "s": {"b": "a"}, "list": [{"e": "é"}]},
        {"x": 2.0, "Art, 1": None, "s": None, "list": None},
        {"x": 3.0, "Art, 1": "c", "s": {"b": "b"}, "list": []},
    ]
    found = [row for batch in source.batches(10) for row in batch.to_pylist()]
    assert sorted(found, key=lambda row: row["x"]) == wanted
    assert [row for batch in source.batches_at([1], 10) for row in batch.to_pylist()] == found[1:2]
    splits = pickle.loads(pickle.dumps(source.splits(1)))
    assert [row for split in splits for _, batch in split.batches(9) for row in batch.to_pylist()] == found
    assert sorted(negating().run(address)["y"].to_pylist()) == [-3.0, -2.0, -1.0]


@pytest.mark.parametrize("made", [pa.list_, pa.large_list])
def test_what_is_inside_of_lists_is_mapped_however_long_they_may_be(tmp_path: Path, made: Any) -> None:
    values = pa.array([[{"f": "x"}], None], made(pa.struct({"f": pa.string()})))
    pq.write_table(pa.table({"l": values}), tmp_path / "x.parquet")
    inside, whole = ({"delta.columnMapping.physicalName": name} for name in ("f", "l"))
    kind = pa.list_(pa.struct([pa.field("e", pa.string(), metadata=inside)]))
    source: Any = RenamedColumns(
        cast(Stream, open_source(tmp_path / "x.parquet")),
        pa.schema([pa.field("all", kind, metadata=whole)]),
        by_id=False,
    )
    found = [row for batch in source.batches(10) for row in batch.to_pylist()]
    assert found == [{"all": [{"e": "x"}]}, {"all": None}]


def test_columns_are_mapped_by_number(tmp_path: Path) -> None:
    """Files of which the table has no column any more have rows nevertheless."""
    field = pa.field("gone", pa.float64(), metadata={"PARQUET:field_id": "6"})
    other = pa.field("anything", pa.float64(), metadata={"PARQUET:field_id": "1"})
    address = written(
        tmp_path / "t", pa.table({"x": [9.0], "c1": [8.0]}), pa.table({"x": [7.0, 7.0], "c1": [6.0, 6.0]})
    )
    first, second = (tmp_path / "t" / "_delta_log" / f"{version:020}.json" for version in (0, 1))
    for log, table in (
        (first, pa.table([[9.0], [8.0]], pa.schema([field, other]))),
        (second, pa.table([[7.0, 7.0]], pa.schema([field]))),
    ):
        actions = map(json.loads, log.read_text().splitlines())
        (path,) = (each["add"]["path"] for each in actions if "add" in each)
        pq.write_table(table, tmp_path / "t" / path)
    mapped(first, "id", {"x": "c1"}, NUMBERS)
    found = [row for batch in open_source(address).batches(10) for row in batch.to_pylist()]
    assert sorted(found, key=str) == [{"x": 8.0}, {"x": None}, {"x": None}]


def test_files_are_those_that_the_log_tells_of(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": [1.0, 2.0, 3.0]}))
    (file,) = (tmp_path / "t").glob("*.parquet")
    pq.write_table(pa.table({"x": [1.0, 2.0]}), file)
    with pytest.raises(InputError, match="has 2 rows, and 3 by the log of the table\n  hint: somebody has replaced it"):
        open_source(address)
    log = tmp_path / "t" / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "add" in line:  # nobody has counted its rows
            line["add"] = {**line["add"], "stats": None}
    log.write_text("\n".join(map(json.dumps, lines)))
    assert negating().run(address)["y"].to_pylist() == [-1.0, -2.0]


def test_rows_are_added_only_where_that_is_said(tmp_path: Path) -> None:
    address, rows = f"delta:{tmp_path}/t", pa.table({"x": [1.0, 2.0]})
    report = negating().run(rows, address)
    assert (report.answered, report.output) == (2, address)
    with pytest.raises(OutputExistsError, match="is there already"):
        negating().run(rows, address)
    negating().run(rows.slice(1), f"{address}?mode=append")
    assert sorted(row["x"] for row in rows_in(tmp_path / "t")) == [1.0, 2.0, 2.0]
    negating().run(pa.table({"x": [7.0], "z": ["new"]}), address, overwrite=True)
    assert rows_in(tmp_path / "t") == [{"x": 7.0, "z": "new", "y": -7.0}]
    negating().run(rows, f"{address}?mode=overwrite", drop=["x"])
    assert rows_in(tmp_path / "t") == [{"y": -1.0}, {"y": -2.0}]
    assert deltalake.DeltaTable(tmp_path / "t").version() == 3  # a version each


def test_values_are_what_they_were(tmp_path: Path) -> None:
    more: dict[str, tuple[pa.DataType, Any, Any]] = {
        "h": (pa.binary(2), b"\0\xff", b"\0\xff"),
        "i": (pa.map_(pa.string(), pa.int64()), [("k", 1)], [("k", 1)]),
        "l": (pa.date32(), ZONED.date(), ZONED.date()),
    }
    wanted = put_with_nulls(f"delta:{tmp_path}/t", {**VALUES, **more})
    assert rows_in(tmp_path / "t") == wanted


def test_a_row_that_cannot_be_held_fails_alone(tmp_path: Path) -> None:
    rows = pa.table({"x": [1.0, 2.0, 3.0], "at": pa.array([1000, 1500, None], pa.timestamp("ns"))})
    report = negating().run(rows, f"delta:{tmp_path}/t")
    assert (report.answered, report.failed) == (2, 1)
    assert "column 'at' cannot be timestamp[us]" in pq.read_table(report.failed_output)["message"][0].as_py()
    assert [row["x"] for row in rows_in(tmp_path / "t")] == [1.0, 3.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pa.table({"x": [1.0], "z": [1]}), "column 'z' is not in the table, which has x, y"),
        (
            pa.table({"x": [1.0], "t": pa.array([1], pa.duration("s"))}),
            "Delta Lake cannot hold column 't', which is duration",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_before_any_is_played(tmp_path: Path, rows: pa.Table, message: str) -> None:
    address = written(tmp_path / "t", pa.table({"x": [0.0], "y": [0.0]}))
    with pytest.raises(InputError, match=message):
        negating().run(rows, f"{address}?mode=append", keep=rows.column_names)
    assert deltalake.DeltaTable(tmp_path / "t").version() == 0


def test_types_of_the_table_are_kept(tmp_path: Path) -> None:
    there = pa.table({"y": [0.0], "n": pa.array([1], pa.int64()), "more": ["m"], "x": [0.0]})
    address = written(tmp_path / "t", there, partition_by=["more"])
    negating().run(pa.table({"n": pa.array([2], pa.int16()), "x": [1.0]}), f"{address}?mode=append")
    added = [row for row in rows_in(tmp_path / "t") if row["n"] == 2]
    assert added == [{"y": -1.0, "n": 2, "more": None, "x": 1.0}]
    with pytest.raises(InputError, match="column 'n' is int64 in the table, and double in the rows"):
        negating().run(pa.table({"n": [0.5], "x": [1.0]}), f"{address}?mode=append")


@pytest.mark.parametrize("when", ["amid", "noted", "committed"])
def test_rows_of_a_killed_run_are_added_once(tmp_path: Path, when: str) -> None:
    written(tmp_path / "t", pa.table({"n": pa.array([], pa.int64()), "m": pa.array([], pa.int64())}))
    killed_and_added_once(tmp_path, f"delta:{tmp_path}/t?mode=append", when, lambda: rows_in(tmp_path / "t"))


def test_a_version_is_known_by_its_number(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": [1.0]}))
    first = open_source(f"{address}?version=0").fingerprint()
    assert first == open_source(address).fingerprint()
    written(tmp_path / "t", pa.table({"x": [2.0]}))
    assert open_source(address).fingerprint() != first == open_source(f"{address}?version=0").fingerprint()


def test_files_that_go_meanwhile_are_told(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": [1.0]}))
    source = open_source(address)
    next((tmp_path / "t").glob("*.parquet")).unlink()
    with pytest.raises(DataError, match="is gone"):
        list(source.batches(10))


def test_a_table_without_files_has_no_rows(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": pa.array([], pa.float64())}))
    source: Any = open_source(address)
    assert (source.num_rows, source.schema.names, source.splits(10)) == (0, ["x"], [])


def test_on_the_command_line(tmp_path: Path) -> None:
    negating_file = tmp_path / "g.yaml"
    negating_file.write_text(
        "motet: 1\nname: g\ninputs: {x: float64}\nnodes: {y: {map: numpy.negative, inputs: [x], outputs: float64}}\noutputs: {y: y}\n"
    )
    address = written(tmp_path / "t", pa.table({"x": [1.0, 2.0]}))
    arguments = ["run", str(negating_file), "--input", address, "--output", f"delta:{tmp_path}/o"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code == 2
    assert "?mode=append behind its name adds to it" in again.output
    for more, message in (
        (["--append"], "is for folders of files"),
        (["--partition-by", "x"], "is for files, and the output is a table"),
        (["--id", "x"], "id is for tables of databases"),
    ):
        refused = CliRunner().invoke(cli, [*arguments, "--overwrite" if more[0] != "--append" else "--quiet", *more])
        assert refused.exit_code == 2, refused.output
        assert message in refused.output
    assert CliRunner().invoke(cli, [*arguments, "--overwrite"]).exit_code == 0
    assert [row["y"] for row in rows_in(tmp_path / "o")] == [-1.0, -2.0]


def test_what_somebody_else_makes_meanwhile_stays(tmp_path: Path) -> None:
    """Also where the run goes on later; who says what becomes of these rows begins anew."""
    theirs, calls = pa.table({"x": [9.0], "y": [-9.0]}), list[Any]()

    def meanwhile(x: np.ndarray) -> np.ndarray:
        if not calls:
            calls.append(deltalake.write_deltalake(tmp_path / "t", theirs))
        return -x

    graph = mt.Graph("g", {"y": mt.map(meanwhile, mt.input("x", "float64"), outputs="float64")})
    rows, address = pa.table({"x": [1.0]}), f"delta:{tmp_path}/t"
    for resume in (False, True):
        with pytest.raises(mt.MotetError, match=r"was made by somebody else[^\n]*\n  hint: begin anew: \?mode=append"):
            graph.run(rows, address, resume=resume)
        assert rows_in(tmp_path / "t") == theirs.to_pylist()
    graph.run(rows, address, overwrite=True)
    assert rows_in(tmp_path / "t") == [{"x": 1.0, "y": -1.0}]


def test_what_was_there_at_no_time_is_not_read(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": [1.0]}))
    with pytest.raises(
        InputError, match="had no version at 2001-01-01T00:00:00.00:00; the first one that is kept is of"
    ):
        open_source(f"{address}?timestamp=2001-01-01")
    assert open_source(f"{address}?timestamp=2091-01-01").description == f"{address}?version=0"
    with pytest.raises(InputError, match="version is 99999999999999999999, which no table has"):
        open_source(f"{address}?version=99999999999999999999")


def test_names_that_the_package_mistakes_are_refused(tmp_path: Path) -> None:
    rows = pa.table({"x": [1.0]})
    for name in ("a%20b", "a[1]", "a|b"):
        for act in (open_source, lambda there: negating().run(rows, there)):
            with pytest.raises(InputError, match="which the package deltalake takes for another"):
                act(f"delta:{tmp_path}/{name}")
    with pytest.raises(InputError, match="has one column 'x', whose letters may be small or large"):
        negating().run(pa.table({"x": [1.0], "X": [2.0]}), f"delta:{tmp_path}/t")
    assert not list(tmp_path.iterdir())


def test_what_can_never_be_written_is_refused_before_a_row_is_played(tmp_path: Path) -> None:
    address = written(tmp_path / "t", pa.table({"x": [1.0], "kind": ["a"]}), partition_by=["kind"])
    rows = pa.table({"x": [1.0]})
    with pytest.raises(
        InputError, match=r"is partitioned by 'kind', which the rows have not\n  hint: keep that column"
    ):
        negating().run(rows, address, overwrite=True)
    negating().run(rows.append_column("kind", [["b"]]), address, overwrite=True)
    assert rows_in(tmp_path / "t") == [{"x": 1.0, "kind": "b", "y": -1.0}]
    with pytest.raises(InputError, match="names no store that the package deltalake knows: .*Unknown scheme: nothing"):
        negating().run(rows, "delta:nothing://h/t")
