"""Runs over inputs that are damaged at random: rows in are answers and failures, as many as independent readers find.

CSV is counted by Python's csv module, JSON Lines by their line feeds, Parquet by its own footer. `MOTET_DAMAGED=1000` runs a
thousand cases.
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import functions
from motet.errors import InputError, MotetError, RunError
from motet.io import open_source

CASES = int(os.environ.get("MOTET_DAMAGED", "240"))
DOUBLE = mt.Graph("g", {"y": mt.map(functions.double, mt.input("x", "int64"), outputs="int64")})
STRAY = [b'"', b"\0", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b",", b'"\n', b"\xff", b"{", b"}", b"\\", b"\n\n", b'""']


def damaged(content: bytes, random: Random, keep: int) -> bytes:
    """Some bytes flipped, deleted, inserted or cut off, behind the first `keep`."""
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if len(data) <= keep:
            break
        at = random.randrange(keep, len(data))
        how = random.random()
        if how < 0.25:
            data[at] ^= 1 << random.randrange(8)
        elif how < 0.45:
            del data[at : at + random.randint(1, 30)]
        elif how < 0.9:
            data[at:at] = random.choice(STRAY) if how < 0.8 else random.randbytes(random.randint(1, 20))
        else:
            del data[at:]
    return bytes(data)


def run(path: Path, random: Random) -> mt.RunReport:
    report = DOUBLE.run(
        path,
        str(path.with_name("out.parquet")),
        batch_rows=random.choice([1, 3, 16, 100, None]),
        workers=random.choice([1, 2, 3]),
        max_failures="100%",
        overwrite=True,
    )
    failed = pq.read_table(report.failed_output)["row"].to_pylist() if report.failed else []
    assert report.rows == report.answered + report.failed
    assert pq.read_metadata(path.with_name("out.parquet")).num_rows == report.answered
    assert len(set(failed)) == len(failed) == report.failed
    assert all(0 <= row < report.rows for row in failed)
    return report


def csv_rows(content: bytes) -> tuple[int, bool]:
    """Rows behind the header, and whether there are no more: quotes that never close, or may be stray, cost only their line."""
    text = content.decode("utf-8", "surrogateescape")
    try:
        found = [
            (row, reader.line_num)
            for reader in [csv.reader(io.StringIO(text, newline=""), strict=True)]
            for row in reader
        ]
    except csv.Error:
        found = [(row, 0) for row in csv.reader(io.StringIO(text, newline=""))]
        return sum(bool(row) for row, _ in found) - 1, False
    lines = np.diff([0, *(line for _, line in found)])
    return sum(bool(row) for row, _ in found) - 1, not (lines >= 8).any()


@pytest.mark.parametrize("case", range(CASES // 3))
def test_damaged_csv(tmp_path: Path, case: int) -> None:
    random = Random(case)
    rows = random.choice([1, 7, 60, 400])
    cells = ["plain", '"quoted, text"', '"two\nlines"', '"a ""word"""', "", "é"] if case % 2 else ["plain", "", "é"]
    header = "x,k,t\n"
    body = "".join(f"{row},{random.choice(cells)},{random.choice(cells)}\n" for row in range(rows))
    content = damaged((header + body).encode(), random, len(header))
    (tmp_path / "x.csv").write_bytes(content)
    with patch("motet.io.utf8._PIECE_BYTES", random.choice([5, 64, 1 << 19])):
        report = run(tmp_path / "x.csv", random)
    there, exact = csv_rows(content)
    assert report.rows == there if exact else report.rows >= there


@pytest.mark.parametrize("case", range(CASES // 3))
def test_damaged_json_lines(tmp_path: Path, case: int) -> None:
    random = Random(case)
    rows = random.choice([2, 7, 60, 400])
    lines = (f'{{"x": {row}, "k": "{random.choice(["plain", "é", ""])}", "l": [{row}]}}\n' for row in range(rows))
    content = damaged("".join(lines).encode(), random, 30)
    (tmp_path / "x.jsonl").write_bytes(content)
    sizes = patch("motet.io.utf8._PIECE_BYTES", random.choice([5, 64, 1 << 19]))
    with sizes, patch("motet.io.jsonl._BLOCK_BYTES", random.choice([20, 300, 4 << 20])):
        try:
            report = run(tmp_path / "x.jsonl", random)
        except MotetError as error:
            if "x.jsonl: holds no line that is a JSON object" not in str(error):
                raise
            return
    assert report.rows == sum(bool(line.strip(b" \t\r")) for line in content.split(b"\n"))


@pytest.mark.parametrize("case", range(CASES // 3))
def test_damaged_parquet(tmp_path: Path, case: int) -> None:
    """With checksums, what is read is what was written, or an error that names the file."""
    random = Random(case)
    rows = random.choice([1, 60, 1000])
    table = pa.table({"x": np.arange(rows), "k": [f"text {row}" for row in range(rows)]})
    pq.write_table(
        table, tmp_path / "x.parquet", row_group_size=random.choice([7, 100, 5000]), write_page_checksum=True,
        compression=random.choice(["none", "zstd", "snappy"]), use_dictionary=random.choice([True, False]),
    )  # fmt: skip
    content = (tmp_path / "x.parquet").read_bytes()
    metadata = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    data = bytearray(content[:metadata])
    for _ in range(random.randint(1, 3)):
        data[random.randrange(4, len(data))] ^= 1 << random.randrange(8)
    whole = bytes(data) + content[metadata:]
    cut = whole[: random.randrange(len(whole))] if case % 4 == 0 else whole
    (tmp_path / "x.parquet").write_bytes(cut)
    try:
        report = run(tmp_path / "x.parquet", random)
    except (RunError, InputError) as error:
        if "x.parquet" not in str(error):
            raise
        return
    assert report.rows == rows
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == (2 * np.arange(rows)).tolist()


def test_a_byte_order_mark_alone_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf\n \n")
    assert list(open_source(tmp_path / "x.jsonl").batches(10)) == []
