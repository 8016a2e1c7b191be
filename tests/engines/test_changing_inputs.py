"""Inputs that change while they are read, and inputs that are damaged: a run ends with an error that names the file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

import motet as mt
from helpers import functions
from motet.engines.local import pending
from motet.errors import RunError
from motet.io import open_source

DOUBLE = mt.Graph("g", {"y": mt.map(functions.double, mt.input("x", "int64"), outputs="int64")})
ROWS = 20_000


def sizes(image: Any) -> Any:
    return np.array([len(each) for each in image])


def write(path: Path, rows: int = ROWS, first: int = 0) -> None:
    """Rows in many small blocks, so that a part is read for some time."""
    table = pa.table({"x": np.arange(first, first + rows), "k": [f"text {row}" for row in range(rows)]})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=500, compression="none")
    elif path.suffix == ".arrow":
        pyarrow.feather.write_feather(table, path, "uncompressed", chunksize=500)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(f'{{"x":{first + row},"k":"text {row}"}}\n' for row in range(rows)))


def replaced(path: Path) -> None:
    write(path.with_name(f"new{path.suffix}"), 1500, 7)
    os.replace(path.with_name(f"new{path.suffix}"), path)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"5,text\n")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def removed(path: Path) -> None:
    path.unlink()


CHANGES: list[Callable[[Path], None]] = [replaced, grown, truncated, emptied, removed]


class At:
    """Something that is done once, when so many rows are done."""

    def __init__(self, rows: int, do: Callable[[], None]) -> None:
        self._rows, self._do, self.done = rows, do, False

    def __call__(self, done: int, total: int | None, failed: int) -> None:
        if done >= self._rows and not self.done:
            self.done = True
            self._do()


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl"])
def test_a_part_that_changes_ends_the_run(
    tmp_path: Path, suffix: str, change: Callable[[Path], None], part: int
) -> None:
    """Whether it is being read, or comes later."""
    paths = [tmp_path / f"part-{number}.{suffix}" for number in range(2)]
    for path in paths:
        write(path)
    at = At(1000, lambda: change(paths[part]))
    with pytest.raises(
        RunError, match=rf"part-{part}\.{suffix}: (has changed since the run began|is gone|cannot be read)"
    ):
        DOUBLE.run(tmp_path / f"part-*.{suffix}", str(tmp_path / "o.parquet"), batch_rows=500, workers=1, progress=at)
    assert at.done
    assert not (tmp_path / "o.parquet").exists()


def test_a_run_goes_on_where_the_part_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)
    path, out = tmp_path / "x.parquet", str(tmp_path / "o.parquet")
    write(path)

    def move_away() -> None:
        path.rename(tmp_path / "kept")
        replaced(path)

    with pytest.raises(RunError, match="has changed"):
        DOUBLE.run(path, out, batch_rows=500, progress=At(1000, move_away))
    (tmp_path / "kept").replace(path)
    assert DOUBLE.run(path, out, resume=True).resumed_rows > 0
    assert pq.read_table(out)["y"].to_pylist() == [2 * row for row in range(ROWS)]


def test_a_picture_that_changes_ends_the_run(tmp_path: Path) -> None:
    for name in range(40):
        Image.new("L", (2, 2)).save(tmp_path / f"{name:02}.png")
    seen = mt.Graph("p", {"n": mt.map(sizes, mt.input("image", "bytes"), outputs="int64")})
    change = At(2, lambda: Image.new("L", (9, 9)).save(tmp_path / "30.png"))
    with pytest.raises(RunError, match=r"30\.png: has changed since the run began"):
        seen.run(tmp_path, str(tmp_path.with_suffix(".parquet")), batch_rows=2, workers=1, progress=change)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_file_that_is_cut_off_while_it_is_read_is_an_error_and_no_signal(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    write(path, 400_000)
    code = (
        "import os, sys; from motet.io import open_source\n"
        "batches = open_source(sys.argv[1]).batches(100); next(batches); os.truncate(sys.argv[1], 5000)\n"
        "try: list(batches)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "DataError\n")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_checksums_of_pages_are_verified(tmp_path: Path, version: str, compression: str) -> None:
    """A bit that is flipped in a page, wherever it is."""
    table = pa.table({"x": np.arange(300)})
    pq.write_table(
        table, tmp_path / "x.parquet", write_page_checksum=True, use_dictionary=False, compression=compression,
        data_page_version=version, row_group_size=100,
    )  # fmt: skip
    content = (tmp_path / "x.parquet").read_bytes()
    column = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(1).column(0)
    end = column.data_page_offset + column.total_compressed_size
    for place in range(end - 60, end, 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / "y.parquet").write_bytes(damaged)
        with pytest.raises(RunError, match=r"y\.parquet: cannot be read any further: .*CRC"):
            DOUBLE.run(tmp_path / "y.parquet", str(tmp_path / "o.parquet"), overwrite=True)


def test_arrow_files_that_point_anywhere_are_refused(tmp_path: Path) -> None:
    text = pa.array(["ab", "cd", "ef"] * 100)
    pyarrow.feather.write_feather(pa.table({"x": np.arange(300), "s": text}), tmp_path / "x.arrow", "uncompressed")
    content = (tmp_path / "x.arrow").read_bytes()
    at = content.find(np.arange(10, 600, 2, dtype=np.int32)[:8].tobytes())
    (tmp_path / "x.arrow").write_bytes(content[:at] + b"\xff\xff\xff\x7f" + content[at + 4 :])
    with pytest.raises(RunError, match=r"x\.arrow: cannot be read any further"):
        DOUBLE.run(tmp_path / "x.arrow", str(tmp_path / "o.parquet"))


def _packed(content: bytes, codec: str) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, codec) as packed:
        packed.write(content)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize("damage", ["truncated", "foreign", "trailing"])
@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("bz2", "bz2"), ("zst", "zstd")])
@pytest.mark.parametrize("rows", [10, 300_000])
def test_compressed_text_that_is_damaged_is_named_once(
    tmp_path: Path, suffix: str, codec: str, damage: str, rows: int
) -> None:
    plain = b"x\n" + b"".join(b"%d\n" % row for row in range(rows))
    packed = _packed(plain, codec)
    content = {"truncated": packed[:-20], "foreign": plain, "trailing": packed + b"garbage" * 9}[damage]
    path: Any = tmp_path / f"x.csv.{suffix}"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"^\S*x\.csv\.{suffix}: cannot be read any further") as caught:
        DOUBLE.run(path, str(tmp_path / "o.parquet"))
    assert str(caught.value).count("x.csv") == 1


def test_members_behind_each_other_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(_packed(b"x\n1\n", "gzip") + _packed(b"2\n", "gzip"))
    assert [len(batch) for batch in open_source(tmp_path / "x.csv.gz").batches(10)] == [2]
