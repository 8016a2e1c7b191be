"""JSON Lines: declared keys are read from every line, others are kept as they were written, and damage costs its own row."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.errors import InputError
from motet.io import open_source, open_writer, split_faults
from motet.types import ColumnType


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.jsonl._BLOCK_BYTES", 64)
    monkeypatch.setattr("motet.io.utf8._PIECE_BYTES", 40)


def _same(x: object) -> object:
    return x


def graph(kind: str = "float64", **options: Any) -> mt.Graph:
    return mt.Graph("g", outputs={"y": mt.map(_same, mt.input("x", kind, **options), outputs=kind)})


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def read(path: Path, rows: int = 3, **options: Any) -> tuple[list[dict], dict[int, str]]:
    kinds = {name: ColumnType.parse(kind) for name, kind in options.pop("wanted", {}).items()}
    found: list[dict] = []
    reasons: dict[int, str] = {}
    for batch in open_source(path, wanted=kinds, **options).batches(rows):
        plain, faults = split_faults(batch)
        reasons |= {len(found) + row: reason for row, reason in faults.items()}
        found += plain.to_pylist()
    return found, reasons


def exact(line: str) -> Any:
    """A line with every digit of its numbers."""
    return json.loads(line, parse_float=lambda text: ("float", text), parse_int=lambda text: ("int", text))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_key_that_begins_late_is_read(tmp_path: Path, reverse: bool) -> None:
    lines = [json.dumps({"id": row, **({"x": 0.9, "note": "n"} if row >= 50 else {})}) for row in range(60)]
    path = write(tmp_path / "x.jsonl", *(lines[::-1] if reverse else lines))
    graph(default=0.5).run(path, tmp_path / "out.parquet", batch_rows=7)
    table = pq.read_table(tmp_path / "out.parquet").sort_by("id")
    assert table["y"].to_pylist() == [0.5] * 50 + [0.9] * 10
    assert table["note"].to_pylist() == [None] * 50 + ["n"] * 10
    report = graph().run(path, tmp_path / "out.parquet", batch_rows=7, overwrite=True, keep=["note"])
    assert (report.answered, report.failed) == (10, 50)


def test_a_damaged_line_hides_no_key(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"id":1}', '{"id": broken', '{"id":2,"x":5.0}')
    report = graph(default=1.0).run(path, tmp_path / "out.parquet")
    assert report.failed == 1
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == [1.0, 5.0]


KEPT = [
    ["18446744073709551615", "9007199254740993"],
    ["9223372036854775807", "-9223372036854775808", "0"],
    ["123456789012345678901234567890", "1"],
    ["1.10", "1e5", "1E+2", "-0", "-0.0", "0.1", "1e-7", "1e400", "3.141592653589793238462643"],
    ["1", "1.5"], ["1.5", "0.1", "1e-05"], ["1", '"s"', "true", "null", "1.10"],
    ['"2024-05-01T10:00:00+02:00"', '"2024-05-01"', '""', '"NA"', '"00123"'],
    ["true", "false", "null"], ["null", "null"],
    ['{"a":1.10,"b":[1,{"c":"\\u00e9"}]}', "[1, 2]", "[]", "{}", '"x"'],
    ["[[1,2],[3,4]]", "[[5,6]]"],
]  # fmt: skip


@pytest.mark.parametrize("values", KEPT, ids=lambda values: values[0])
def test_kept_values_are_written_as_they_were(tmp_path: Path, values: list[str]) -> None:
    lines = [f'{{"x":{row},"v":{value}}}' for row, value in enumerate(values)]
    path = write(tmp_path / "in.jsonl", *lines)
    report = graph().run(path, tmp_path / "out.jsonl", batch_rows=2)
    assert report.failed == 0
    got = [exact(line)["v"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert got == [exact(line)["v"] for line in lines]


def test_kept_values_in_other_formats(tmp_path: Path) -> None:
    columns = {
        "whole": ["1", "-9223372036854775808"], "large": ["18446744073709551615", "1"], "float": ["1.5", "0.1"],
        "written": ["1.10", "1"], "exact": ["9007199254740993", "1.5"], "mixed": ['"s"', "1.10"], "object": ['{"a":"b"}', '"c"'],
        "text": ['"a"', '"b"'], "bool": ["true", "null"], "nan": ["NaN", "1.0"],
    }  # fmt: skip
    lines = [
        f'{{{",".join(f"{chr(34)}{name}{chr(34)}:{v[row]}" for name, v in columns.items())},"x":1}}' for row in (0, 1)
    ]
    path = write(tmp_path / "in.jsonl", *lines)
    graph().run(path, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    got = {name: table[name].to_pylist() for name in columns}
    assert np.isnan(got.pop("nan")[0])
    assert got == {
        "whole": [1, -(2**63)], "large": ["18446744073709551615", "1"], "float": [1.5, 0.1], "written": [1.1, 1.0],
        "exact": ["9007199254740993", "1.5"], "mixed": ["s", "1.10"], "object": ['{"a":"b"}', "c"], "text": ["a", "b"],
        "bool": [True, None],
    }  # fmt: skip
    assert table.schema.field("written").type == pa.float64()
    graph().run(path, tmp_path / "out.csv")
    assert open_source(tmp_path / "out.csv").schema.names == [*columns, "x", "y"]
    rows = read(tmp_path / "out.csv")[0]
    assert [row["mixed"] for row in rows] == ["s", "1.10"]
    assert [Decimal(row["large"]) for row in rows] == [18446744073709551615, 1]


def test_parts_have_the_keys_and_kinds_of_all(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "1.jsonl", '{"x":1,"v":1,"w":1}', '{"x":2,"v":2,"w":2.5}')
    write(tmp_path / "in" / "2.jsonl", '{"w":1.10,"late":"a","v":"A7","x":3}')
    write(tmp_path / "in" / "3.jsonl")
    graph().run(tmp_path / "in", tmp_path / "out.jsonl")
    got = [exact(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["v"], row["w"][1], row["late"], row["y"][1]) for row in got] == [
        (("int", "1"), "1", None, "1.0"), (("int", "2"), "2.5", None, "2.0"), ("A7", "1.10", "a", "3.0"),
    ]  # fmt: skip


NUMBERS = [
    ("int64", "40.0", 40), ("int64", "1e3", 1000), ("int64", "3.5", None), ("int64", "9223372036854775808", None),
    ("int64", "9007199254740993.0", 9007199254740993), ("int64", '"5"', None), ("int64", "true", None), ("int64", "[1]", None),
    ("uint64", "18446744073709551615", 2**64 - 1), ("uint8", "256", None), ("float64", "1e400", None), ("float64", "1", 1.0),
    ("float64", "12345678901234567890", 12345678901234567890.0), ("float32", "0.1", 0.10000000149011612), ("float32", "1e39", None),
    ("float64", "Infinity", float("inf")), ("float64", '"1.5"', None), ("bool", "1", None), ("bool", "true", True),
    ("string", "5", None), ("string", '"\\u00e9"', "é"), ("bytes", '"aGk="', b"hi"), ("bytes", '"!"', None),
]  # fmt: skip


@pytest.mark.parametrize("beside", ["null", '{"odd": 1}'])
@pytest.mark.parametrize(("kind", "text", "value"), NUMBERS)
def test_declared_values_whatever_stands_beside_them(
    tmp_path: Path, kind: str, text: str, value: object, beside: str
) -> None:
    path = write(tmp_path / "x.jsonl", f'{{"x":{text},"k":1}}', f'{{"x":{beside},"k":2}}', '{"k":3}')
    rows, reasons = read(path, 9, wanted={"x": kind})
    assert [row["x"] for row in rows] == [value, None, None]
    assert [row["k"] for row in rows] == [1 if value is not None else None, 2 if beside == "null" else None, 3]
    assert sorted(reasons) == [*([0] if value is None else []), *([1] if beside != "null" else [])]
    if value is None:
        assert reasons[0].startswith("line 1: column 'x' is ")


def test_lists_may_be_flat_or_nested_and_are_halved(tmp_path: Path) -> None:
    wanted = {"v": "int16[?,2]"}
    lines = ['{"v":[]}', '{"v":[[1,2]]}', '{"v":[[1,2],[3,4]]}', '{"v":"x"}', '{"v":[[[1]]]}', '{"v":null}']
    rows, reasons = read(write(tmp_path / "x.jsonl", *lines), wanted=wanted)
    assert [row["v"] for row in rows] == [[], [[1, 2]], [[1, 2], [3, 4]], None, None, None]
    assert sorted(reasons) == [3, 4]


def test_one_byte_of_another_encoding_costs_its_own_row(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"x":1,"city":"Rome"}', b'{"x":2,"city":"Gen\xe8ve"}', '{"x":3,"city":"Bern!"}')
    rows, reasons = read(path, wanted={"x": "int64"})
    assert [row["city"] for row in rows] == ["Rome", None, "Bern!"]
    assert list(reasons) == [1]
    assert reasons[1].startswith(r"line 2: is no text of the encoding: b'ty")
    assert read(path, encoding="cp1252")[0][1]["city"] == "Genève"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.jsonl").write_bytes('{"größe":"é"}\n{"größe":"\U0001f600"}\n'.encode(encoding))
    assert read(tmp_path / "x.jsonl")[0] == [{"größe": "é"}, {"größe": "\U0001f600"}]


def test_objects_may_not_share_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"a":1,', '"b":2}', '{"a":3}{"a":4}', '{"a":5}', '{"a":6}')
    rows, reasons = read(path, 9, wanted={"a": "int64"})
    assert [row["a"] for row in rows] == [None, None, None, 5, 6]
    assert sorted(reasons) == [0, 1, 2]


def test_the_last_of_two_equal_keys_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"a":1,"k":"x","a":2,"k":"y"}', '{"a":3,"k":"z"}')
    assert read(path, wanted={"a": "int64"}) == ([{"a": 2, "k": "y"}, {"a": 3, "k": "z"}], {})


def test_numbers_that_are_none_as_python_writes_them(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.jsonl", '{"x": NaN, "k": 1.10, "w": "NaN"}', '{"x": -Infinity, "k": NaN, "w": ["Infinity"]}'
    )
    graph().run(path, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [exact(line)["w"] for line in lines] == ["NaN", ["Infinity"]]
    assert exact(lines[0])["k"] == ("float", "1.10")
    rows, reasons = read(path, wanted={"x": "float64", "k": "float32"})
    assert np.isnan(rows[0]["x"])
    assert rows[1]["x"] == float("-inf")
    assert reasons == {}


def test_values_of_any_kind_are_given_as_they_are(tmp_path: Path) -> None:
    seen: list[object] = []

    def look(x: np.ndarray) -> np.ndarray:
        seen.extend(x.tolist())
        return np.zeros(len(x))

    made = mt.Graph("g", outputs={"y": mt.map(look, mt.input("x", "any", default=None), outputs="float64")})
    made.run(write(tmp_path / "x.jsonl", '{"x":1}', '{"x":"1"}', '{"x":[1.5]}', "{}"), tmp_path / "out.csv", workers=1)
    assert seen[-4:] == [1, "1", [1.5], None]
    made.run(write(tmp_path / "x.jsonl", '{"x":1}', '{"x":1.5}'), tmp_path / "out.csv", workers=1, overwrite=True)
    assert seen[-2:] == [1.0, 1.5]


def test_keys_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.keys.MAX_KEYS", 10)
    with pytest.raises(InputError, match=r"x\.jsonl: has lines of more than 10 different keys together"):
        open_source(write(tmp_path / "x.jsonl", *(f'{{"k{row}":1}}' for row in range(11))))


def test_writers_of_other_packages_get_plain_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[pa.RecordBatch] = []

    class Made:
        def __init__(self, path: str, schema: pa.Schema) -> None:
            self.write, self.schema = got.append, schema

        def close(self) -> None: ...
        def abort(self) -> None: ...

    monkeypatch.setattr("motet.io.sink.find_plugin", lambda group, what, format: Made)
    source = open_source(write(tmp_path / "x.jsonl", '{"v":"s","n":1}', '{"v":1.10,"n":1.50}'))
    writer = open_writer(tmp_path / "x.made", source.schema)
    writer.write(next(source.batches(9)))
    writer.close()
    assert got[0].to_pydict() == {"v": ["s", "1.10"], "n": [1.0, 1.5]}
