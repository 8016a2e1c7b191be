"""Opening sources: formats, folders, patterns, URLs, memory; exact batches, skips, single rows, fingerprints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from motet.batch import Batch, Ragged
from motet.errors import DataError, InputError, MissingExtraError, RunError, UnknownNameError
from motet.io import Source, open_source, open_writer
from motet.types import ColumnType

ROWS = 1000
TABLE = pa.table(
    {
        "a": np.arange(ROWS),
        "b": [f"text {row}" for row in range(ROWS)],
        "c": np.arange(ROWS) / 8,
    }
)


def write(path: Path, table: pa.Table = TABLE, rows: int = 64) -> Path:
    writer = open_writer(path, table.schema, row_group_rows=rows)
    for batch in table.to_batches(100):
        writer.write(batch)
    writer.close()
    return path


def parts(folder: Path, suffix: str) -> Path:
    folder.mkdir()
    for index, start in enumerate((0, 10, 10, 700)):
        stop = (10, 10, 700, ROWS)[index]
        write(folder / f"part-{index}{suffix}", TABLE.slice(start, stop - start))
    (folder / "_SUCCESS").write_text("")
    (folder / "_ignored.parquet").write_text("no parquet")
    (folder / ".hidden.csv").write_text("no,csv")
    return folder


def stream_file(path: Path) -> Path:
    with pa.ipc.new_stream(path, TABLE.schema) as out:
        out.write_table(TABLE, max_chunksize=70)
    return path


def remote(path: str) -> str:
    url = f"memory://{path}"
    writer = open_writer(url, TABLE.schema, row_group_rows=64)
    for batch in TABLE.to_batches():
        writer.write(batch)
    writer.close()
    return url


OPENERS: dict[str, Callable[[Path], object]] = {
    "parquet": lambda tmp: write(tmp / "x.parquet"),
    "pq": lambda tmp: write(tmp / "x.pq"),
    "arrow": lambda tmp: write(tmp / "x.arrow"),
    "arrow_stream": lambda tmp: stream_file(tmp / "x.ipc"),
    "csv": lambda tmp: write(tmp / "x.csv"),
    "csv.gz": lambda tmp: write(tmp / "x.csv.gz"),
    "jsonl": lambda tmp: write(tmp / "x.jsonl"),
    "json.zst": lambda tmp: write(tmp / "x.json.zst"),
    "folder": lambda tmp: parts(tmp / "parts", ".parquet"),
    "folder_csv": lambda tmp: [str(path) for path in sorted(parts(tmp / "parts", ".csv").glob("part-[023]*"))],
    "pattern": lambda tmp: str(parts(tmp / "parts", ".arrow") / "part-*.arrow"),
    "memory_url": lambda tmp: remote("/sources/x.parquet"),
    "memory_url_arrow": lambda tmp: remote("/sources/x.arrow"),
    "memory_url_jsonl": lambda tmp: remote("/sources/x.jsonl.gz"),
    "memory_url_folder": lambda tmp: remote("/folder/x.parquet").removesuffix("/x.parquet"),
    "table": lambda tmp: TABLE,
    "dataset": lambda tmp: ds.dataset(parts(tmp / "parts", ".parquet")),
    "record_batch": lambda tmp: TABLE.to_batches()[0],
    "dict": lambda tmp: {
        "a": np.arange(ROWS),
        "b": TABLE["b"].to_pylist(),
        "c": np.arange(ROWS) / 8,
    },
    "list_of_batches": lambda tmp: TABLE.to_batches(33),
    "list_of_dicts": lambda tmp: [
        {"a": np.arange(s, s + 100), "b": TABLE["b"].to_pylist()[s : s + 100], "c": np.arange(s, s + 100) / 8}
        for s in range(0, ROWS, 100)
    ],
}


@pytest.fixture(params=sorted(OPENERS))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return open_source(OPENERS[request.param](tmp_path), wanted={"a": ColumnType("int64"), "c": ColumnType("float64")})


def test_every_source_follows_the_protocol(source: Source) -> None:
    assert isinstance(source, Source)
    assert source.schema.names == ["a", "b", "c"]
    assert source.num_rows in (None, ROWS)


@pytest.mark.parametrize(
    ("rows", "skip"), [(1, 950), (7, 0), (64, 1), (64, 64), (64, 700), (1000, 0), (5000, 999), (7, 1000), (64, 1001)]
)
def test_batches_are_of_an_exact_size_from_any_row(source: Source, rows: int, skip: int) -> None:
    batches = list(source.batches(rows, ["c", "a"], skip))
    assert [len(batch) for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert all(batch.schema.names == ["c", "a"] for batch in batches)
    assert [value for batch in batches for value in batch["a"].to_pylist()] == list(range(min(skip, ROWS), ROWS))


def test_rows_can_be_read_by_position(source: Source) -> None:
    positions = np.array([999, 0, 5, 64, 65, 700, 5])
    batches = list(source.batches_at(positions, 4, ["a", "b"]))
    assert [len(batch) for batch in batches] == [4, 2]
    assert [value for batch in batches for value in batch["a"].to_pylist()] == [0, 5, 64, 65, 700, 999]
    assert list(source.batches_at(np.array([], np.int64), 4)) == []


def test_a_position_past_the_end_is_refused(source: Source) -> None:
    with pytest.raises(InputError, match="row 1000 is past the end"):
        list(source.batches_at([3, 1000], 4))
    with pytest.raises(InputError, match="row -1 is before the first"):
        source.batches_at([-1], 4)


def test_an_unknown_column_is_refused_at_once(source: Source) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown column 'd'; known: a, b, c"):
        source.batches(10, ["a", "d"])
    with pytest.raises(InputError, match="no columns were named"):
        source.batches(10, [])
    with pytest.raises(InputError, match="rows is 0 and skip is 0"):
        source.batches(0)


def test_reading_can_stop_anywhere(source: Source) -> None:
    reading = iter(source.batches(10))
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert next(iter(source.batches(10)))["a"][0].as_py() == 0


FILES = ["parquet", "arrow", "arrow_stream", "csv", "jsonl", "folder", "memory_url"]


@pytest.mark.parametrize("name", FILES)
def test_a_fingerprint_is_the_same_until_the_input_changes(name: str, tmp_path: Path) -> None:
    what = OPENERS[name](tmp_path)
    before = open_source(what).fingerprint()
    assert open_source(what).fingerprint() == before
    if name == "memory_url":
        table = TABLE.slice(1)
        writer = open_writer(str(what), table.schema)
        writer.write(table.to_batches()[0])
        writer.close()
    else:
        path = max(Path(str(what)).glob("part-*")) if os.path.isdir(str(what)) else Path(str(what))
        stat = path.stat()
        content = bytearray(path.read_bytes())
        content[-30 if name == "csv" else len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_size == stat.st_size
        from motet.io.files import find_files, fingerprint_files

        assert fingerprint_files(find_files(path)) != before
        return
    assert open_source(what).fingerprint() != before


def test_a_table_is_known_by_its_content() -> None:
    chunked = pa.concat_tables([TABLE.slice(0, 10), TABLE.slice(10)])
    assert open_source(chunked).fingerprint() == open_source(TABLE).fingerprint()
    assert open_source(TABLE.slice(1)).fingerprint() != open_source(TABLE).fingerprint()


def test_an_iterable_has_no_fingerprint() -> None:
    with pytest.raises(InputError, match="a list: has no identity, so a run over it cannot be resumed"):
        open_source(TABLE.to_batches(10)).fingerprint()
    with pytest.raises(InputError, match="is not made of files, so a run over it cannot be resumed"):
        open_source(ds.dataset(TABLE)).fingerprint()


def test_a_scanner_gives_the_rows_that_it_chose() -> None:
    source = open_source(ds.dataset(TABLE).scanner(columns=["a"], filter=ds.field("a") > 3))
    assert [row["a"] for batch in source.batches(7) for row in batch.to_pylist()] == TABLE["a"].to_pylist()[4:]


def test_a_reader_without_batches_has_columns() -> None:
    source = open_source(TABLE.schema.empty_table().to_reader())
    assert source.schema.names == TABLE.schema.names
    assert list(source.batches(7)) == []


def test_an_encrypted_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PARE" + bytes(60) + b"PARE")
    with pytest.raises(InputError, match=r"x\.parquet: is encrypted, and no keys were given"):
        open_source(tmp_path / "x.parquet")


def test_an_iterator_is_read_once() -> None:
    def rows() -> Iterator[Batch]:
        for start in range(0, 10, 2):
            yield Batch({"x": np.arange(start, start + 2), "r": Ragged.from_rows([[1.0], [2.0, 3.0]])})

    source = open_source(rows())
    assert [len(batch) for batch in source.batches(4)] == [4, 4, 2]
    with pytest.raises(InputError, match="an iterator can be read once"):
        list(source.batches(4))
    reader = pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(100))
    assert sum(len(batch) for batch in open_source(reader).batches(64)) == ROWS


def test_an_iterable_must_keep_its_columns() -> None:
    source = open_source([{"x": np.arange(2)}, {"x": np.array(["a"], object)}])
    with pytest.raises(InputError, match=r"a list: column 'x' is string here, and int64 in what came before"):
        list(source.batches(4))
    with pytest.raises(InputError, match="holds nothing, not even columns"):
        open_source([])
    with pytest.raises(InputError, match="gives int, which holds no rows"):
        open_source(iter([1]))
    with pytest.raises(InputError, match="int is nothing to read rows from"):
        open_source(3)


def test_a_missing_file_names_the_near_ones(tmp_path: Path) -> None:
    write(tmp_path / "images.parquet")
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / "image.parquet")
    assert str(caught.value) == f"there is no file '{tmp_path}/image.parquet'\n  hint: near it: images.parquet"
    with pytest.raises(InputError, match="does not exist either"):
        open_source(tmp_path / "nowhere" / "x.parquet")
    with pytest.raises(InputError, match="no file fits"):
        open_source(str(tmp_path / "*.csv"))
    with pytest.raises(InputError, match=r"there is no file 'memory://nothing/here.parquet'"):
        open_source("memory://nothing/here.parquet")


def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "x.xls").write_text("?")
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / "x.xls")
    assert "cannot tell the format of 'x.xls' by its suffix; known: .parquet, .pq, .arrow" in str(caught.value)
    with pytest.raises(UnknownNameError, match="unknown source format 'parket'; did you mean 'parquet'"):
        open_source(tmp_path / "x.xls", format="parket")


def test_format_overrides_the_suffix(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet").rename(tmp_path / "x.data")
    assert open_source(path, format="parquet").num_rows == ROWS


def test_a_folder_holds_one_format(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet")
    write(tmp_path / "y.csv")
    with pytest.raises(InputError, match="holds files of several formats: 1 csv, 1 parquet"):
        open_source(tmp_path)
    assert open_source(tmp_path, format="csv").description == str(tmp_path / "y.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        open_source(tmp_path / "empty")


@pytest.mark.parametrize("content", ["this is text and nothing else", ""])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: str) -> None:
    for name in ("x.parquet", "x.arrow"):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=f"{name}: is no .* file that can be read"):
            open_source(tmp_path / name)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "y.parquet")
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match=r"y\.parquet: cannot be read any further: "):
        list(open_source(path).batches(10))


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
def test_damaged_arrow_files_are_read_or_refused(tmp_path: Path, make: Callable[..., Any]) -> None:
    """Wherever they are damaged; what Arrow says of it is an error of the input."""
    rows = pa.table({"x": range(60), "s": [f"text {each}" for each in range(60)]})
    path = tmp_path / "x.arrow"
    with make(path, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=20)
    content, refused = path.read_bytes(), 0
    for at in range(0, len(content), 29):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            read = sum(map(len, open_source(path).batches(10)))
        except (DataError, InputError):
            refused += 1
        else:
            assert read in (60, 40, 20, 0)
    assert refused > 10


def test_only_named_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet")
    asked: list[object] = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, *args, **keywords: (
            asked.append((keywords["columns"], keywords["row_groups"])),
            real(self, *args, **keywords),
        )[1],
    )
    list(open_source(path).batches(10, ["a"], skip=640))
    assert asked == [(["a"], [10, 11, 12, 13, 14, 15])]
    asked.clear()
    list(open_source(path).batches_at([0, 5, 999], 10, ["a"]))
    assert asked == [(["a"], [0]), (["a"], [15])]


def test_a_file_system_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(MissingExtraError) as caught:
        open_source("s3://bucket/x.parquet")
    assert (
        str(caught.value)
        == "opening s3:// addresses needs s3fs, which is not installed\n  hint: pip install 'motet[s3]'"
    )


def test_other_packages_may_add_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        ("motet.sources", "made"): EntryPoint("made", "plugin_for_tests:source", "motet.sources"),
        ("motet.sinks", "made"): EntryPoint("made", "plugin_for_tests:sink", "motet.sinks"),
    }
    (tmp_path / "plugin_for_tests.py").write_text(
        "from motet.io.memory import TableSource\nimport pyarrow as pa\n"
        "def source(what, types): return TableSource(pa.table({'what': [what]}))\n"
        "def sink(path, schema): return ('sink', path, schema.names)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        metadata, "entry_points", lambda group, name: [entry] if (entry := found.get((group, name))) else []
    )
    for what, format in [("x.made", None), ("made://x", None), ("x.data", "made")]:
        assert next(iter(open_source(what, format=format).batches(1)))["what"].to_pylist() == [what]
    written = open_writer("y.made", TABLE.schema)
    assert vars(written)["_writer"] == ("sink", "y.made", ["a", "b", "c"])
