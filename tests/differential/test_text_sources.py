"""CSV and JSON Lines against other readers: Python's csv and json, pandas, and the suites of other people."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import motet as mt
from helpers.npm import package
from motet.io import open_source, split_faults
from motet.types import ColumnType

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CELLS = st.lists(st.sampled_from([*'ab,;"\n\t 0é\U0001f600', "\r\n"]), max_size=5).map("".join)
BROKEN = st.text(st.sampled_from('a,"\n\r1.é'), max_size=24)


def read(path: Path, rows: int = 3, **options: Any) -> tuple[list[tuple], set[int]]:
    """Rows as tuples, None for those that failed, and which did."""
    found: list[tuple] = []
    failed: set[int] = set()
    for batch in open_source(path, **options).batches(rows):
        plain, faults = split_faults(batch)
        failed |= {len(found) + row for row in faults}
        found += [tuple(row.values()) for row in plain.to_pylist()]
    return found, failed


@FAST
@given(
    table=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    delimiter=st.sampled_from(",;\t"),
    piece=st.integers(1, 40),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_what_csv_writes_is_read(
    tmp_path: Path, table: list[tuple], quoting: Any, end: str, delimiter: str, piece: int, encoding: str
) -> None:
    with open(tmp_path / "x.csv", "w", newline="", encoding=encoding) as file:
        out = csv.writer(file, quoting=quoting, lineterminator=end, delimiter=delimiter)
        out.writerows([("a", "b", "c"), *table])
    with patch("motet.io.utf8._PIECE_BYTES", piece):
        got, failed = read(tmp_path / "x.csv", delimiter=delimiter, empty="text")
    assert got == table
    assert not failed


@settings(FAST, max_examples=300)
@given(body=BROKEN, piece=st.integers(1, 30))
def test_broken_csv_is_read_alike_however_it_is_read(tmp_path: Path, body: str, piece: int) -> None:
    (tmp_path / "x.csv").write_bytes(("x,t\n" + body).encode())
    wanted = {"x": ColumnType("float64")}
    whole = read(tmp_path / "x.csv", wanted=wanted)
    with patch("motet.io.utf8._PIECE_BYTES", piece):
        assert read(tmp_path / "x.csv", wanted=wanted) == whole
    with patch("motet.io.csv.CsvSource._quick", return_value=None):
        assert read(tmp_path / "x.csv", wanted=wanted) == whole
    assert [len(rows) for rows in (read(tmp_path / "x.csv")[0], whole[0])] == [len(whole[0])] * 2


@settings(FAST, max_examples=300)
@given(body=BROKEN)
def test_what_csv_takes_strictly_is_read_as_that(tmp_path: Path, body: str) -> None:
    (tmp_path / "x.csv").write_bytes(("x,t\n" + body).encode())
    got, failed = read(tmp_path / "x.csv", empty="text")
    try:
        rows = [row for row in csv.reader(io.StringIO(body, newline=""), strict=True) if row]
    except csv.Error:  # of a quote that never closes, or only amid text
        lenient = [row for row in csv.reader(io.StringIO(body, newline="")) if row]
        assert len(got) >= len(lenient)
        return
    assert failed == {at for at, row in enumerate(rows) if len(row) != 2}
    assert [row for at, row in enumerate(got) if at not in failed] == [tuple(row) for row in rows if len(row) == 2]


NUMERIC = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**6), 10**6).map(lambda value: f"{value}.0"),
    st.sampled_from(
        ["NA", "", "NaN", "null", "None", "1e3", "+5", " 7", "-0", "1.10", "3.5", "1e400", "x", "1_0", "0x1F", "Inf"]
    ),
)


@FAST
@given(
    texts=st.lists(NUMERIC, min_size=1, max_size=12),
    kind=st.sampled_from(["float64", "float32", "int64", "int16", "uint8"]),
)
def test_numbers_of_csv(tmp_path: Path, texts: list[str], kind: str) -> None:
    (tmp_path / "x.csv").write_text("x,k\n" + "".join(f"{text},k\n" for text in texts))
    got, failed = read(tmp_path / "x.csv", wanted={"x": ColumnType(kind)})
    for row, text in enumerate(texts):
        wanted = _number(text, kind)
        assert (row in failed) == (wanted is ...)
        value = got[row][0]
        assert (
            value is None
            if wanted is None or wanted is ...
            else value == wanted or (value != value and wanted != wanted)
        )


def _number(text: str, kind: str) -> Any:
    """The value by pandas, Decimal and numpy; None where it is missing, ... where it is none."""
    from decimal import Decimal, InvalidOperation

    if pd.read_csv(io.StringIO(f'x\n"{text}"\n'))["x"].isna().all():
        return None
    stripped = text.strip()
    if stripped.lower() in ("inf", "-inf"):
        return float(stripped) if "float" in kind else ...
    if stripped == "0x1F":
        return 31 if "int" in kind else ...
    try:
        number = Decimal(stripped) if "_" not in stripped else None
    except InvalidOperation:
        number = None
    if number is None:
        return ...
    if "float" in kind:
        with np.errstate(over="ignore"):
            value = float(stripped) if kind == "float64" else float(np.float32(np.float64(stripped)))
        return ... if np.isinf(value) else value
    bounds = np.iinfo(kind)
    return int(number) if number == number.to_integral_value() and bounds.min <= number <= bounds.max else ...


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@FAST
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["a", "b", "ü", ""]), JSON), min_size=1, max_size=6),
    ascii_only=st.booleans(),
    spread=st.booleans(),
    piece=st.integers(1, 60),
)
def test_kept_json_comes_back(tmp_path: Path, rows: list[dict], ascii_only: bool, spread: bool, piece: int) -> None:
    rows = [{**row, "x": 1} for row in rows]
    separators = (" , ", " : ") if spread else (",", ":")
    texts = [json.dumps(row, ensure_ascii=ascii_only, separators=separators) for row in rows]
    (tmp_path / "x.jsonl").write_text("\n".join(texts), encoding="utf-8")
    graph = mt.Graph("g", outputs={"y": mt.map(lambda x: x, mt.input("x", "int64"), outputs="int64")})
    with patch("motet.io.utf8._PIECE_BYTES", piece), patch("motet.io.jsonl._BLOCK_BYTES", piece):
        report = graph.run(tmp_path / "x.jsonl", tmp_path / "y.jsonl", batch_rows=2, overwrite=True, workers=1)
    assert report.failed == 0
    names = list(dict.fromkeys(name for row in rows for name in row))
    wanted = [{name: row.get(name) for name in names} | {"y": 1} for row in rows]
    assert [json.loads(line) for line in (tmp_path / "y.jsonl").read_text(encoding="utf-8").split("\n")[:-1]] == wanted


@FAST
@given(lines=st.lists(st.one_of(JSON.map(json.dumps), st.text('{}[]",:1eE+-.anul tr\\', max_size=12)), max_size=6))
def test_broken_json_is_read_alike_however_it_is_read(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "x.jsonl").write_text('{"x":1}\n' + "".join(f'{{"x":{line}}}\n{line}\n' for line in lines))
    for kind in ("float64", "int64", "string"):
        wanted = {"x": ColumnType(kind)}
        whole = read(tmp_path / "x.jsonl", wanted=wanted)
        with patch("motet.io.jsonl._quick", return_value=None):
            assert repr(read(tmp_path / "x.jsonl", wanted=wanted)) == repr(whole)
        with patch("motet.io.jsonl._BLOCK_BYTES", 30), patch("motet.io.utf8._PIECE_BYTES", 20):
            assert repr(read(tmp_path / "x.jsonl", wanted=wanted)) == repr(whole)


SPECTRUM = [
        "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "location_coordinates", "newlines",
        "newlines_crlf", "quotes_and_newlines", "simple", "simple_crlf", "utf8",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SPECTRUM)
def test_csv_spectrum(name: str) -> None:
    folder = package("csv-spectrum", "2.0.0")
    wanted = json.loads((folder / "json" / f"{name}.json").read_text(encoding="utf-8"))
    wanted = (
        wanted if isinstance(wanted, list) else [wanted | {"Contact Phone Number": "2095257564"}]
    )  # as its CSV says
    source = open_source(folder / "csvs" / f"{name}.csv", empty="text")
    got = [row for batch in source.batches(1) for row in batch.to_pylist()]
    assert [{key: value.replace("\r\n", "\n") for key, value in row.items()} for row in got] == [
        {key: value.replace("\r\n", "\n") for key, value in row.items()} for row in wanted
    ]


def test_json_test_suite(tmp_path: Path) -> None:
    text = (package("json-test-suite", "1.0.0") / "data" / "parsing.js").read_text(encoding="utf-8")
    cases = json.loads(text[text.index("[") :].rstrip().rstrip(";"), strict=False)
    assert len(cases) > 200
    graph = mt.Graph("g", outputs={"y": mt.map(lambda x: x, mt.input("x", "int64"), outputs="int64")})
    for case in cases:
        line = f'{{"x":1,"v":{case["input"]}}}'
        if "\n" in line or "\r" in line:
            continue
        (tmp_path / "x.jsonl").write_bytes(f'{{"x":0}}\n{line}\n{{"x":2}}\n'.encode(errors="surrogatepass"))
        report = graph.run(tmp_path / "x.jsonl", tmp_path / "y.jsonl", overwrite=True, workers=1)
        rows = [json.loads(each) for each in (tmp_path / "y.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
        assert [row["y"] for row in rows if row["y"] != 1] == [0, 2], case["name"]
        try:
            wanted = json.loads(line)["v"]
        except (ValueError, RecursionError):
            assert report.failed == 1, case["name"]
            continue
        if report.failed:
            assert case["name"].startswith("i_"), case["name"]  # whether such are taken is left open
        else:
            assert repr(rows[1]["v"]) == repr(wanted), case["name"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("out", [".csv", ".jsonl", ".parquet"])
def test_naughty_strings(tmp_path: Path, suffix: str, out: str) -> None:
    texts = [
        text for text in json.loads((package("blns", "2.0.4") / "resources" / "blns.json").read_text("utf-8")) if text
    ]
    assert len(texts) > 400
    path = tmp_path / f"x{suffix}"
    with open(path, "w", newline="", encoding="utf-8") as file:
        if suffix == ".csv":
            csv.writer(file).writerows([("s", "kept", "x"), *((text, text, row) for row, text in enumerate(texts))])
        else:
            file.writelines(json.dumps({"s": text, "kept": text, "x": row}) + "\n" for row, text in enumerate(texts))
    graph = mt.Graph("g", outputs={"y": mt.map(lambda s: s, mt.input("s", "string"), outputs="string")})
    report = graph.run(path, tmp_path / f"y{out}", batch_rows=50)
    assert report.failed == 0
    if out == ".parquet":
        rows = pq.read_table(tmp_path / "y.parquet").to_pylist()
    elif out == ".jsonl":
        rows = [json.loads(line) for line in (tmp_path / "y.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    else:
        with open(tmp_path / "y.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    assert [row["y"] for row in rows] == texts
    assert [row["kept"] for row in rows] == texts
