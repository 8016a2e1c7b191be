"""All splits of a source, read in order elsewhere, are the source: the same rows, faults and ids."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from motet.errors import DataError, InputError, RunError
from motet.io import open_source
from motet.io.faults import with_errors
from motet.io.splits import Split, runs
from motet.io.stream import Stream

TABLE = pa.table({"n": range(300), "text": [f"é{row}" for row in range(300)]})
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def splits_of(what: Any, target_bytes: int, **options: Any) -> tuple[Stream, list[Split]]:
    """A source, and its splits as another process has them."""
    source = open_source(what, **options)
    assert isinstance(source, Stream)
    return source, [pickle.loads(pickle.dumps(each)) for each in source.splits(target_bytes)]


def rows_of(batches: Any) -> list[dict[str, Any]]:
    return [row for batch in batches for row in with_errors(batch).to_pylist()]


def check_splits(what: Any, target_bytes: int, rows: int = 7, **options: Any) -> int:
    """See that splits are the source, also where only some columns and rows are read; how many there are."""
    source, splits = splits_of(what, target_bytes, **options)
    expected, found, end = rows_of(source.batches(1000)), [], 0
    for split in splits:
        assert (split.first, split.rows > 0) == (end, True)
        for ids, batch in split.batches(rows):
            assert ids.tolist() == list(range(end, end + len(batch)))
            found.append(batch)
            end += len(batch)
        assert end == split.first + split.rows
    assert repr(rows_of(found)) == repr(expected)  # NaN is NaN
    check_some(splits, expected, source.schema.names[-1:])
    return len(splits)


def check_some(splits: Sequence[Split], expected: Sequence[dict[str, Any]], columns: list[str]) -> None:
    for split in splits:
        ids = np.arange(split.first, split.first + split.rows)[1::3]
        read = [
            (row, found)
            for at, batch in split.batches_at(ids, 5, columns)
            for row, found in zip(at, rows_of([batch]), strict=True)
        ]
        assert [row for row, _ in read] == ids.tolist()
        assert [repr(found[columns[0]]) for _, found in read] == [repr(expected[row][columns[0]]) for row in ids]


def test_parquet_is_cut_at_row_groups(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "x.parquet", row_group_size=32)
    groups = pq.ParquetFile(tmp_path / "x.parquet").metadata
    largest = max(groups.row_group(index).total_byte_size for index in range(groups.num_row_groups))
    assert check_splits(tmp_path / "x.parquet", 1) == groups.num_row_groups == 10
    assert check_splits(tmp_path / "x.parquet", 3 * largest) == 4
    assert check_splits(tmp_path / "x.parquet", 1 << 30) == 1


def test_row_groups_without_rows_are_no_splits(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "x.parquet", TABLE.schema) as writer:
        for part in (TABLE[:0], TABLE[:5], TABLE[:0], TABLE[5:9], TABLE[:0]):
            writer.write_table(part)
    assert check_splits(tmp_path / "x.parquet", 1) == 2
    pq.write_table(TABLE[:0], tmp_path / "none.parquet")
    assert check_splits(tmp_path / "none.parquet", 1) == 0


def test_arrow_files_are_cut_at_batches_and_streams_are_not(tmp_path: Path) -> None:
    feather.write_feather(TABLE, tmp_path / "x.arrow", chunksize=50, compression="lz4")
    assert check_splits(tmp_path / "x.arrow", 1) == 6
    with ipc.new_stream(tmp_path / "s.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=50)
    assert check_splits(tmp_path / "s.arrow", 1) == 1


@pytest.mark.parametrize("target", [1, 40, 700, 1 << 30])
def test_folders_are_cut_between_and_in_files(tmp_path: Path, target: int) -> None:
    for year, rows in ((2023, 3), (2024, 90), (2025, 0), (2026, 5)):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(TABLE[:rows], tmp_path / f"year={year}" / "x.parquet", row_group_size=20)
    pq.write_table(TABLE[:4].rename_columns(["n", "other"]), tmp_path / "y.parquet")
    found = check_splits(tmp_path, target)
    assert found == {1: 8, 1 << 30: 1}.get(target, found)


@pytest.mark.parametrize("target", [1, 100, 1 << 30])
def test_folders_of_text_are_cut(tmp_path: Path, target: int) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,x\n2,\n\n3,z\n")
    (tmp_path / "b.csv").write_text('﻿b,c\n"two\nlines",1.5\nx,"\n')
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"a,b\n4,y\n5,y\n"))
    (tmp_path / "d.csv").write_text("a,b\n")
    assert check_splits(tmp_path, target) == {1: 6, 100: 1, 1 << 30: 1}[target]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_text_of_one_byte_a_byte_is_entered_and_other_is_read_whole(tmp_path: Path, encoding: str, suffix: str) -> None:
    lines = ["a,b", *(f"{row},é{row}" for row in range(40))]
    if suffix == "jsonl":
        lines = [json.dumps({"a": row, "b": f"é{row}"}, ensure_ascii=False) for row in range(40)]
    path = tmp_path / f"x.{suffix}"
    path.write_bytes("\n".join(lines).encode(encoding))
    named = None if encoding == "utf-8-sig" else encoding
    found = check_splits(path, 60, encoding=named)
    assert (found > 4) == encoding.startswith("utf-8")


CSV = st.text(st.sampled_from('a,"\n\r1.é'), max_size=60)
LINES = st.lists(
    st.one_of(st.sampled_from(['{"a": 1}', '{"b": "x", "a": null}', "", " ", '{"a"', "[1]", '{"a": [1, 2.5]}\r'])),
    max_size=12,
)


@SETTINGS
@given(body=CSV, piece=st.integers(1, 30), target=st.integers(1, 40), mark=st.booleans())
def test_any_csv_is_cut_as_it_is_read(tmp_path: Path, body: str, piece: int, target: int, mark: bool) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(("﻿" * mark + "one,two\n" + body).encode())
    with patch("motet.io.utf8._PIECE_BYTES", piece):
        check_splits(path, target, rows=3)


@SETTINGS
@given(lines=LINES, piece=st.integers(1, 30), target=st.integers(1, 40), end=st.sampled_from(["", "\n"]))
def test_any_lines_are_cut_as_they_are_read(
    tmp_path: Path, lines: list[str], piece: int, target: int, end: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(['{"a": 0}', *lines]) + end)
    with patch("motet.io.utf8._PIECE_BYTES", piece), patch("motet.io.jsonl._BLOCK_BYTES", piece):
        check_splits(path, target, rows=3)


def test_a_split_says_the_lines_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 50 + "broken\n" + "1,2\n" * 9)
    _, splits = splits_of(tmp_path / "x.csv", 20)
    said = [row["__motet_error__"] for split in splits for _, batch in split.batches(5) for row in rows_of([batch])]
    assert [(row, text.partition(":")[0]) for row, text in enumerate(said) if text] == [(50, "line 52")]


def test_pictures_are_cut_between_files(tmp_path: Path) -> None:
    for name in "abcde":
        Image.new("RGB", (4, 4), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"")
    assert check_splits(tmp_path, 1) == 5
    _, splits = splits_of(tmp_path, 200)
    assert [split.path_of(row) for split in splits for row in range(split.first, split.first + split.rows)] == [
        str(tmp_path / f"{name}.png") for name in "abcde"
    ]


def test_files_elsewhere_are_read_from_there() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/splits/a.csv", b"a,b\n" + b"1,2\n" * 30)
    fs.pipe_file("/splits/b.csv", b"a,b\n1,x")
    assert check_splits("memory://splits/*.csv", 20) == 7
    with fs.open("/splits/x.parquet", "wb") as file:
        pq.write_table(TABLE, file, row_group_size=100)
    assert check_splits("memory://splits/x.parquet", 1) == 3


def test_groups_and_datasets_are_one_split(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": [1, 1, 2, 3], "n": [1, 2, 3, 4]}), tmp_path / "x.parquet", row_group_size=1)
    assert check_splits(tmp_path / "x.parquet", 1, group_by="key") == 1
    assert check_splits(pds.dataset(tmp_path), 1) == 1


def test_what_only_this_process_reads_is_refused(tmp_path: Path) -> None:
    for what in (TABLE, TABLE.to_pandas(), iter([TABLE])):
        with pytest.raises(InputError, match="is in the memory of this process.*\n  hint: write it to a file"):
            splits_of(what, 100)
    with pytest.raises(InputError, match="is in the memory of this process"):
        splits_of(TABLE, 100, group_by="n")
    pq.write_table(TABLE, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="target_bytes is 0"):
        splits_of(tmp_path / "x.parquet", 0)


def test_a_file_that_changed_is_not_read_as_if_it_had_not(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 30)
    _, splits = splits_of(path, 40)
    path.write_text("a,b\n" + "1,2\n" * 29)
    with pytest.raises(DataError, match="has changed since the run began, from 124 to 120 bytes"):
        list(splits[1].batches(5))


def test_rows_that_are_not_there_any_more_end_the_reading(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "x.parquet")
    source, _ = splits_of(tmp_path / "x.parquet", 100)
    with pytest.raises(RunError, match="rows from 300 on are not there any more"):
        list(Split(source, 290, 20, 290).batches(7))


@pytest.mark.parametrize(
    ("sizes", "target", "expected"),
    [([], 5, []), ([9], 5, [(0, 1)]), ([1, 2, 3, 9, 1], 5, [(0, 2), (2, 3), (3, 4), (4, 5)]), ([0, 0], 1, [(0, 2)])],
)
def test_neighbours_are_put_together(sizes: list[int], target: int, expected: list[tuple[int, int]]) -> None:
    assert [(each.start, each.stop) for each in runs(sizes, target)] == expected


def test_splits_of_parquet_read_each_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"n": range(100), "text": [str(row) for row in range(100)]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=10)
    sizes = [pq.read_metadata(tmp_path / "in.parquet").row_group(group).total_byte_size for group in range(10)]
    source = open_source(tmp_path / "in.parquet")
    assert isinstance(source, Stream)
    read, iter_batches = list[int](), pq.ParquetFile.iter_batches

    def spied(file: Any, rows: int, row_groups: list[int], **options: Any) -> Any:
        read.extend(row_groups)
        return iter_batches(file, rows, row_groups=row_groups, **options)

    splits = pickle.loads(pickle.dumps(source.splits(3 * max(sizes))))
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spied)
    rows = [row for split in splits for _, batch in split.batches(7) for row in batch.to_pylist()]
    assert (len(splits) > 2, rows, read) == (True, table.to_pylist(), list(range(10)))
    some = splits[1]
    ids = np.array([some.first + 1, some.first + some.rows - 1])
    found = [row["n"] for _, batch in some.batches_at(ids, 7) for row in batch.to_pylist()]
    assert found == ids.tolist()
