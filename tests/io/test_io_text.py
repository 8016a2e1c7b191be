"""CSV and JSON Lines: types inferred and declared, and damaged rows that cost no neighbour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from motet.errors import InputError
from motet.io import open_source, split_faults, to_column
from motet.types import ColumnType


def types(**kinds: str) -> dict[str, ColumnType]:
    return {name: ColumnType.parse(text) for name, text in kinds.items()}


def read(path: Path, **options: Any) -> tuple[list[dict], dict[int, str]]:
    batch, faults = split_faults(next(iter(open_source(path, **options).batches(100_000))))
    return batch.to_pylist(), faults


def test_csv_columns_are_text_unless_declared(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('a,b,c,d\n1,x,1.5,aGk=\n2,"y, z\n2",,aG8=\n')
    assert read(path)[0] == [
        {"a": "1", "b": "x", "c": "1.5", "d": "aGk="},
        {"a": "2", "b": "y, z\n2", "c": None, "d": "aG8="},
    ]
    source: Any = open_source(path, wanted=types(a="float32", c="float16", d="bytes", missing="int8"))
    assert [field.type for field in source.schema] == [pa.float32(), pa.string(), pa.float16(), pa.binary()]
    (batch,) = source.batches(10)
    assert batch["d"].to_pylist() == [b"hi", b"ho"]
    assert batch["c"].to_pylist() == [1.5, None]


def test_a_damaged_csv_row_costs_no_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,x\n2\n3,y,z\n4,w\n\nfive,v\n6,u\n")
    rows, faults = read(path, wanted=types(a="int64"))
    assert [row["a"] for row in rows] == [1, None, None, 4, None, 6]
    assert [row["b"] for row in rows] == ["x", None, None, "w", None, "u"]
    assert faults == {
        1: "line 3: has 1 fields, the first line names 2",
        2: "line 4: has 3 fields, the first line names 2",
        4: "line 7: column 'a' is int64; got 'five'",
    }
    only_b = read(path, wanted=types(a="int64"))[0]
    assert only_b[4]["b"] is None
    batches = list(open_source(path).batches(2, ["b"]))
    assert [split_faults(batch)[1] for batch in batches] == [
        {1: "line 3: has 1 fields, the first line names 2"},
        {0: "line 4: has 3 fields, the first line names 2"},
        {},
    ]


def test_a_value_that_is_damaged_late_costs_nothing_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    lines = [f"{row},{'t' * 100}" for row in range(30_000)]
    lines[25_000] = "oops,t"
    path.write_text("a,b\n" + "\n".join(lines) + "\n")
    for rows, skip in [(1000, 0), (999, 12_345), (4096, 24_999), (10, 29_990)]:
        seen, bad = [], []
        start = skip
        for batch in open_source(path, types=types(a="int64")).batches(rows, ["a"], skip):
            plain, faults = split_faults(batch)
            seen += plain["a"].to_pylist()
            bad += [start + row for row in faults]
            start += len(batch)
        assert seen == [None if row == 25_000 else row for row in range(skip, 30_000)]
        assert bad == ([25_000] if skip <= 25_000 else [])


def test_bytes_that_are_no_utf8_are_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,x\n2,\xff\n3,z\n")
    rows, faults = read(path, wanted=types(b="string"))
    assert [row["b"] for row in rows] == ["x", None, "z"]
    assert list(faults) == [1]
    assert faults[1].startswith("line 3: column 'b' is no text of the encoding: b'\\xff'")


def test_base64_that_is_none_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\naGk=\n!!\naG8=\n")
    rows, faults = read(path, wanted=types(a="bytes"))
    assert [row["a"] for row in rows] == [b"hi", None, b"ho"]
    assert list(faults) == [1]
    assert faults[1].startswith("line 3: column 'a' is no base64: ")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("damaged", [False, True])
def test_bytes_may_be_the_address_of_a_picture(tmp_path: Path, suffix: str, damaged: bool) -> None:
    texts = ["data:image/png;base64,aGk=", "aG8=", *(["!!"] if damaged else [])]
    path = tmp_path / f"x{suffix}"
    path.write_text(
        'a\n"' + '"\n"'.join(texts) + '"\n' if suffix == ".csv" else "".join(f'{{"a":"{t}"}}\n' for t in texts)
    )
    rows, faults = read(path, wanted=types(a="bytes"))
    assert [row["a"] for row in rows][:2] == [b"hi", b"ho"]
    assert list(faults) == ([2] if damaged else [])


def test_a_csv_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(InputError, match=r"x\.csv: is no CSV file that can be read: it is empty"):
        open_source(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(InputError, match=r"y\.csv: has two columns named 'a'"):
        open_source(tmp_path / "y.csv")


def test_a_csv_without_rows_has_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n")
    source: Any = open_source(tmp_path / "x.csv", wanted=types(a="float32"))
    assert source.schema.field("a").type == pa.float32()
    assert list(source.batches(10)) == []


def test_json_types_are_inferred_or_declared(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"a": 1, "day": "2020-01-01", "v": [1, 2]}\n\n{"a": 2, "day": "2021-01-01", "v": [3, 4], "new": 1}\n'
    )
    source: Any = open_source(path, wanted=types(a="float32", day="string", v="float32[2]"))
    (batch,) = source.batches(10, ["day", "a", "v"])
    assert batch["day"].to_pylist() == ["2020-01-01", "2021-01-01"]
    assert batch["a"].type == pa.float32()
    np.testing.assert_array_equal(to_column(batch["v"], ColumnType.parse("float32[2]"))[0], [[1, 2], [3, 4]])
    assert read(path)[0][0]["new"] is None


@pytest.mark.parametrize("image", ["[[1, 2], [3, 4]]", "[1, 2, 3, 4]"])
def test_an_array_in_json_is_flat_or_nested(tmp_path: Path, image: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"image": {image}}}\n{{"image": [300]}}\n{{"image": {image}}}\n')
    wanted = ColumnType.parse("uint8[2,2]")
    (batch,) = open_source(path, types={"image": wanted}).batches(10)
    batch, faults = split_faults(batch)
    column, bad = to_column(batch["image"], wanted)
    np.testing.assert_array_equal(column, [[[1, 2], [3, 4]]] * 2)
    assert list(faults) == list(bad) == [1]


def test_a_damaged_json_line_costs_no_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = ['{"a": 1}', "nonsense", '{"a": "two"}', '{"a": 3}', '{"a": 4}{"a": 5}', "[6]", "", '{"a": 7', '{"a": 8}']
    path.write_text("\n".join(lines))
    rows, faults = read(path, wanted=types(a="int64"))
    assert [row["a"] for row in rows] == [1, None, None, 3, None, None, None, 8]
    assert faults[1].startswith("line 2: is no JSON object: ")
    assert faults[2] == "line 3: column 'a' is int64; got \"two\""
    assert faults[4].startswith("line 5: is no JSON object: ")
    assert sorted(faults) == [1, 2, 4, 5, 6]
    batches = list(open_source(path, wanted=types(a="int64")).batches(3, skip=3))
    assert [split_faults(batch)[1].keys() for batch in batches] == [{1, 2}, {0}]


def test_lines_keep_their_place_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.jsonl._BLOCK_BYTES", 50)
    path = tmp_path / "x.jsonl"
    lines = [f'{{"a": {row}, "pad": "{"x" * (row % 70)}"}}' for row in range(200)]
    lines[150] = '{"a": '
    path.write_text("\n".join(lines) + "\n")
    for skip in (0, 1, 77, 151, 199):
        batches = [split_faults(batch) for batch in open_source(path).batches(32, ["a"], skip)]
        values = [value for batch, _ in batches for value in batch["a"].to_pylist()]
        assert values == [None if row == 150 else row for row in range(skip, 200)]
        reasons = [reason for _, faults in batches for reason in faults.values()]
        assert all(reason.startswith("line 151: ") for reason in reasons)
        assert len(reasons) == (skip <= 150)


def test_what_is_no_json_lines_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"a": 1}]')
    with pytest.raises(InputError, match="is one JSON array, not JSON Lines\n  hint: write one object a line: jq"):
        open_source(path)
    path.write_text("hello\nworld\n")
    with pytest.raises(InputError, match="holds no line that is a JSON object; the first one is no JSON object"):
        open_source(path)
    path.write_bytes('{"x": 1, "city": "Gen\u00e8ve"}\n'.encode("latin-1"))
    with pytest.raises(
        InputError, match=r"the first one is no text of the encoding: b'.*\\xe8ve.*\n  hint: .*say encoding"
    ):
        open_source(path)


@pytest.mark.parametrize("end", ['"}', '"}\n', '"}\n\n{"a": 3}', '"}\r\n{"a": 3}\n', '"} {"a": 3}\n'])
@pytest.mark.parametrize("size", [2 << 20, 9_999_999])
def test_a_line_that_is_too_long_fails_alone(
    size: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motet.io.jsonl._BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr("motet.io.jsonl.LINE_BYTES", 1 << 20)
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": "' + "x" * size + end, newline="")
    source: Any = open_source(path, wanted=types(a="int64"))
    found, faults = [], []
    for batch in source.batches(10):
        plain, reasons = split_faults(batch)
        found += plain["a"].to_pylist()
        faults += reasons.values()
    assert found == [1, None] + [3] * end.count("\n{")
    assert faults == ["line 2: is longer than 1 MiB"]
    assert source.count() == len(found)


def test_a_file_of_one_line_without_end_is_no_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.jsonl.LINE_BYTES", 1 << 20)
    (tmp_path / "x.jsonl").write_text("x" * (2 << 20))
    with pytest.raises(InputError, match="the first one is longer than 1 MiB"):
        open_source(tmp_path / "x.jsonl")


def test_an_empty_file_has_the_declared_columns(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("")
    source: Any = open_source(tmp_path / "x.jsonl", wanted=types(a="float32", v="uint8[2]"))
    assert source.schema.names == ["a", "v"]
    assert list(source.batches(10)) == []
