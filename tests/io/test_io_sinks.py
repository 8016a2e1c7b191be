"""Writers: the same rows give the same bytes, files appear whole or not at all, formats hold what they can."""

from __future__ import annotations

import base64
import csv
import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motet.batch import Column, Ragged
from motet.errors import InputError, UnknownNameError
from motet.io import BatchWriter, from_column, open_source, open_writer, sink, to_column
from motet.io.sizes import fixed_width, row_sizes
from motet.types import ColumnType

ROWS = 40
KINDS = {
    "number": "float32",
    "flag": "bool",
    "half": "float16",
    "text": "string",
    "raw": "bytes",
    "image": "uint8[2,3]",
    "series": "float64[?]",
    "frames": "int16[?,2]",
}


def columns(rows: int = ROWS) -> dict[str, Column]:
    random = np.random.default_rng(0)
    return {
        "number": random.random(rows).astype(np.float32),
        "flag": random.random(rows) > 0.5,
        "half": np.arange(rows, dtype=np.float16),
        "text": np.array([f"row {row}" if row % 7 else None for row in range(rows)], object),
        "raw": np.array([bytes([row % 256]) * (row % 5) for row in range(rows)], object),
        "image": random.integers(0, 255, (rows, 2, 3)).astype(np.uint8),
        "series": Ragged.from_rows([np.arange(row % 4) / 2 for row in range(rows)], np.float64),
        "frames": Ragged.from_rows([np.ones((row % 3, 2)) * row for row in range(rows)], np.int16, 2),
    }


def batch_of(names: list[str], rows: int = ROWS) -> pa.RecordBatch:
    held = columns(rows)
    return pa.RecordBatch.from_arrays([from_column(held[n], ColumnType.parse(KINDS[n])) for n in names], names=names)


def write(path: Any, batches: list[pa.RecordBatch], **options: Any) -> None:
    writer = open_writer(path, batches[0].schema, **options)
    for batch in batches:
        writer.write(batch)
    writer.close()
    writer.close()


WHOLE = batch_of(list(KINDS))
FLAT = batch_of(["number", "flag", "half", "text", "raw"])


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, ROWS), max_size=6), group=st.integers(1, 50))
def test_bytes_depend_on_rows_and_not_on_batches(tmp_path: Path, suffix: str, cuts: list[int], group: int) -> None:
    batch = FLAT if ".csv" in suffix else WHOLE
    ends = sorted([0, *cuts, ROWS])
    split = [batch.slice(start, stop - start) for start, stop in pairwise(ends)]
    write(tmp_path / f"one{suffix}", [batch], row_group_rows=group)
    write(tmp_path / f"many{suffix}", split, row_group_rows=group)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"many{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl"])
def test_every_type_comes_back(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"x{suffix}", [WHOLE])
    types = {name: ColumnType.parse(text) for name, text in KINDS.items()}
    (batch,) = open_source(tmp_path / f"x{suffix}", wanted=types).batches(ROWS)
    for name, wanted in columns().items():
        got, bad = to_column(batch[name], types[name], name=name, nullable=True)
        assert bad == {}
        assert len(got) == ROWS
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(one).reshape(np.shape(other)), other)


def test_csv_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", [FLAT.drop_columns("text")])
    types = {name: ColumnType.parse(text) for name, text in KINDS.items()}
    (batch,) = open_source(tmp_path / "x.csv", wanted=types).batches(ROWS)
    wanted = [value or None for value in FLAT["raw"].to_pylist()]  # an empty field is missing, in every type
    assert batch["raw"].to_pylist() == wanted
    assert batch.drop_columns("raw").equals(FLAT.drop_columns(["text", "raw"]))


def test_row_groups_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write(path, [WHOLE.slice(0, 5), WHOLE.slice(5, 30), WHOLE.slice(35)], row_group_rows=16)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [16, 16, 8]
    write(tmp_path / "x.arrow", [WHOLE.slice(0, 5), WHOLE.slice(5, 30), WHOLE.slice(35)], row_group_rows=16)
    with pa.ipc.open_file(tmp_path / "x.arrow") as file:
        assert [len(file.get_batch(index)) for index in range(file.num_record_batches)] == [16, 16, 8]
    with pytest.raises(InputError, match="row_group_rows is 0; it must be 1 or more"):
        open_writer(path, WHOLE.schema, row_group_rows=0)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_what_is_held_is_bounded_by_the_rows_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(sink, "GROUP_BYTES", 100)
    batch = pa.RecordBatch.from_pydict({"raw": [b"x" * size for size in (10, 200, 30, 30, 30, 30, 5)]})
    write(tmp_path / f"one{suffix}", [batch])
    write(tmp_path / f"many{suffix}", [batch.slice(start, 1) for start in range(len(batch))])
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"many{suffix}").read_bytes()
    if suffix == ".parquet":
        metadata = pq.read_metadata(tmp_path / "one.parquet")
        assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [1, 1, 3, 2]


def test_rows_know_their_size() -> None:
    array = pa.array([{"a": "xyz", "b": 1}, {"a": "", "b": None}])
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([1, 2], pa.int64()),
            pa.array(["four", None]),
            pa.array([[1, 2, 3], None], pa.list_(pa.int16())),
            pa.array([["ab", "c"], []], pa.list_(pa.string())),
            from_column(np.zeros((2, 3), np.float32)),
            array,
        ],
        names=list("abcdef"),
    )
    assert row_sizes(batch).tolist() == [1 + 8 + 4 + 6 + 3 + 12 + 11, 1 + 8 + 0 + 0 + 0 + 12 + 8]
    assert row_sizes(batch.slice(1)).tolist() == [29]


def test_rows_of_one_width_are_those_that_measuring_finds() -> None:
    halves = pa.list_(pa.float16(), 3)
    columns = {
        "flags": (pa.array([[True, None], None], pa.list_(pa.bool_(), 2)), 2),
        "nested": (pa.array([[[1.0, 2.0, 3.0]] * 2, None], pa.list_(halves, 2)), 2 * 3 * 2),
        "empty": (pa.array([[], None], pa.list_(pa.int8(), 0)), 0),
        "tensor": (from_column(np.zeros((2, 3, 5), np.float32)), 3 * 5 * 4),
        "time": (pa.array([1, None], pa.timestamp("ms")), 8),
    }
    batch = pa.record_batch({name: array for name, (array, _) in columns.items()})
    assert fixed_width(batch.schema) == 1 + sum(width for _, width in columns.values())
    assert row_sizes(batch).tolist() == [fixed_width(batch.schema)] * 2
    for array in (pa.array(["ab", ""]), pa.array([[1], [2, 3]]), pa.array([b"ab", None], pa.binary(2))):
        assert fixed_width(pa.schema([("x", array.type)])) is None
        assert len({*row_sizes(pa.record_batch({"x": array})).tolist()}) == 2


def test_json_lines_are_what_people_expect(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl.gz", [WHOLE.slice(5, 1)])
    (line,) = gzip.decompress((tmp_path / "x.jsonl.gz").read_bytes()).splitlines()
    held = columns()
    assert json.loads(line) == {
        "number": float(held["number"][5]),
        "flag": bool(held["flag"][5]),
        "half": 5.0,
        "text": "row 5",
        "raw": base64.b64encode(held["raw"][5]).decode(),
        "image": held["image"][5].tolist(),
        "series": [0.0],
        "frames": [[5, 5], [5, 5]],
    }
    nothing = pa.RecordBatch.from_pydict({"x": [float("nan"), None, float("inf")]})
    write(tmp_path / "n.jsonl", [nothing])
    assert (tmp_path / "n.jsonl").read_text() == '{"x":null}\n' * 3
    tensors = pa.RecordBatch.from_arrays(
        [pa.concat_arrays([WHOLE["image"][:1], pa.nulls(1, WHOLE["image"].type)])], ["i"]
    )
    write(tmp_path / "t.jsonl", [tensors])
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    assert [json.loads(line)["i"] for line in lines] == [held["image"][0].tolist(), None]


@pytest.mark.parametrize("values", [pa.array([None, 1.5, None]), pa.array(["a", None, ""]), pa.nulls(2)])
def test_a_null_of_the_only_column_is_a_row_of_csv_too(tmp_path: Path, values: pa.Array) -> None:
    write(tmp_path / "x.csv", [pa.RecordBatch.from_arrays([values], names=["x"])])
    with (tmp_path / "x.csv").open(newline="") as file:
        assert [row["x"] for row in csv.DictReader(file)] == [str(each or "") for each in values.to_pylist()]


@pytest.mark.parametrize("name", ["series", "frames"])
def test_csv_refuses_what_it_cannot_hold(tmp_path: Path, name: str) -> None:
    batch = batch_of(["number", name])
    with pytest.raises(InputError) as caught:
        open_writer(tmp_path / "x.csv", batch.schema)
    assert f"CSV cannot hold column '{name}', which is " in str(caught.value)
    assert "hint: write .parquet, .arrow or .jsonl, or leave it out: --drop" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    writer = open_writer(path, FLAT.schema)
    assert isinstance(writer, BatchWriter)
    writer.write(FLAT)
    assert not path.exists()
    writer.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.parquet"]
    with pytest.raises(InputError, match=r"x\.parquet: has been closed"):
        writer.write(FLAT)


def test_what_was_there_stays_until_then(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write(path, [FLAT])
    before = path.read_bytes()
    writer = open_writer(path, FLAT.schema)
    writer.write(FLAT.slice(1))
    writer.abort()
    writer.abort()
    writer.close()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.parquet"]


def test_no_rows_are_a_file_too(tmp_path: Path) -> None:
    for suffix in (".parquet", ".arrow", ".csv", ".jsonl"):
        open_writer(tmp_path / f"x{suffix}", FLAT.schema).close()
        source = open_source(tmp_path / f"x{suffix}")
        assert list(source.batches(10)) == []


def test_urls_are_uploaded_on_close() -> None:
    url = "memory://sinks/deep/x.parquet"
    fs = fsspec.filesystem("memory")
    writer = open_writer(url, FLAT.schema)
    writer.write(FLAT)
    assert not fs.exists("/sinks/deep/x.parquet")
    writer.close()
    (batch,) = open_source(url).batches(ROWS)
    assert batch.equals(FLAT)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            FLAT.drop_columns("raw"),
            "got the columns number, flag, half, text; was opened for number, flag, half, text, raw",
        ),
        (FLAT.set_column(0, "number", pa.nulls(ROWS, pa.float64())), "column 'number' is double; was opened for float"),
    ],
)
def test_a_batch_of_other_columns_is_refused(tmp_path: Path, batch: pa.RecordBatch, message: str) -> None:
    writer = open_writer(tmp_path / "x.parquet", FLAT.schema)
    with pytest.raises(InputError) as caught:
        writer.write(batch)
    assert str(caught.value) == f"{tmp_path}/x.parquet: {message}"
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_write_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_writer(tmp_path / "nowhere" / "x.parquet", FLAT.schema)
    assert str(caught.value).endswith(f"there is no folder '{tmp_path}/nowhere' to write to\n  hint: make it first")
    with pytest.raises(InputError, match=r"cannot tell the format of .*x\.xls' by its suffix; known: \.parquet, \.pq"):
        open_writer(tmp_path / "x.xls", FLAT.schema)
    with pytest.raises(UnknownNameError, match="unknown sink format 'parket'; did you mean 'parquet'"):
        open_writer(tmp_path / "x.xls", FLAT.schema, format="parket")
