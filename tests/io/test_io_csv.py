"""CSV: what is declared is its type in every row, what is not stays its text, and damage costs its own row only."""

from __future__ import annotations

import csv
import io
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.errors import InputError, MotetError, ResumeError, UnknownNameError
from motet.io import open_source, split_faults
from motet.io import records as records_module
from motet.types import ColumnType


def read(path: Path, rows: int = 3, skip: int = 0, **options: Any) -> tuple[list[dict], dict[int, str]]:
    """All rows and the reasons by position, read a few at a time."""
    kinds = {name: ColumnType.parse(str(kind)) for name, kind in dict(options.pop("wanted", {})).items()}
    found: list[dict] = []
    reasons: dict[int, str] = {}
    for batch in open_source(path, wanted=kinds, **options).batches(rows, skip=skip):
        plain, faults = split_faults(batch)
        reasons |= {len(found) + row: reason for row, reason in faults.items()}
        found += plain.to_pylist()
    return found, reasons


def graph(kind: str = "float64", **options: Any) -> mt.Graph:
    return mt.Graph("g", outputs={"y": mt.map(_same, mt.input("x", kind, **options), outputs=kind)})


def _same(x: object) -> object:
    return x


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


KEPT = [
    "00123", "12345678901234567890", "9007199254740993", "1.10", "1e5", "True", "TRUE", "yes", "NA", "nan", "null", "-0",
    "2024-05-01", "2024-05-01T10:00:00+02:00", " padded ", "=1+1", "a\tb", "é", "\U0001f600", "0x10", "+7", "1_000", "#N/A",
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".arrow"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_columns_that_are_only_kept_stay_the_same_text(tmp_path: Path, suffix: str, quoting: int) -> None:
    with open(tmp_path / "in.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, quoting=quoting)  # type: ignore[arg-type]
        out.writerow(["kept", "x"])
        out.writerows([text, row] for row, text in enumerate(KEPT))
    report = graph().run(tmp_path / "in.csv", tmp_path / f"out{suffix}", batch_rows=5)
    assert report.failed == 0
    path = tmp_path / f"out{suffix}"
    if suffix == ".csv":
        got = pd.read_csv(path, dtype=str, keep_default_na=False)["kept"].tolist()
    elif suffix == ".jsonl":
        got = pd.read_json(path, lines=True, dtype=False)["kept"].tolist()
    else:
        table = pq.read_table(path) if suffix == ".parquet" else pa.ipc.open_file(path).read_all()
        got = table["kept"].to_pylist()
    assert got == KEPT


def test_a_late_text_in_a_kept_column_fails_no_row(tmp_path: Path) -> None:
    lines = [f"{row},1\n" for row in range(200_000)] + ["A7,5\n", "00123,6\n"]
    path = write(tmp_path / "in.csv", "code,x\n" + "".join(lines))
    report = graph().run(path, tmp_path / "out.parquet")
    assert report.failed == 0
    assert pq.read_table(tmp_path / "out.parquet")["code"].to_pylist()[-2:] == ["A7", "00123"]


def test_an_empty_field_is_missing_in_every_type(tmp_path: Path) -> None:
    kinds = {"i": "int64", "f": "float32", "b": "bool", "s": "string", "r": "bytes"}
    path = write(tmp_path / "x.csv", 'i,f,b,s,r,kept\n,,,,,\n"","","","","",""\n1,2.5,true,NA,aGk=,NA\n')
    rows, reasons = read(path, wanted=kinds)
    assert rows[:2] == [dict.fromkeys("ifbsr") | {"kept": None}] * 2
    assert rows[2] == {"i": 1, "f": 2.5, "b": True, "s": "NA", "r": b"hi", "kept": "NA"}
    assert reasons == {}
    rows, _ = read(path, wanted=kinds, empty="text")
    assert rows[:2] == [{"i": None, "f": None, "b": None, "s": "", "r": b"", "kept": ""}] * 2


def test_an_empty_text_takes_the_default_or_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'x\na\n\n""\nb\n')
    graph("string", default="z").run(path, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == ["a", "z", "b"]
    report = graph("string").run(path, tmp_path / "out.parquet", overwrite=True)
    assert (report.rows, report.failed) == (3, 1)
    graph("string").run(path, tmp_path / "out.parquet", overwrite=True, empty="text")
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == ["a", "", "b"]


@pytest.mark.parametrize("damage", ["", "oops"])
def test_missing_numbers_are_those_of_pandas(tmp_path: Path, damage: str) -> None:
    texts = ["#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
             "NULL", "NaN", "None", "n/a", "nan", "null", "", "7"]  # fmt: skip
    path = write(tmp_path / "x.csv", "x,i,t\n" + "".join(f"{text},{text},t\n" for text in texts) + f"{damage},1,t\n")
    wanted = pd.read_csv(io.StringIO(path.read_text().replace(damage or "\0", "")))
    rows, reasons = read(path, wanted={"x": "float64", "i": "int64"})
    assert [row["x"] for row in rows] == [None if pd.isna(value) else value for value in wanted["x"]]
    assert [row["i"] for row in rows[:-1]] == [None] * 19 + [7]
    assert list(reasons) == ([20] if damage else [])


NUMBERS = [
    ("int64", "40.0", 40), ("int64", "6.", 6), ("int64", "1e3", 1000), ("int64", "+7", 7), ("int64", " 7 ", 7),
    ("int64", "007", 7), ("int64", "-0", 0), ("int64", "3.5", None), ("int64", "9223372036854775807", 2**63 - 1),
    ("int64", "9223372036854775808", None), ("int64", "9007199254740993.0", 9007199254740993), ("int64", "1e999999999", None),
    ("int64", "12345678901234567890", None), ("int64", "five", None), ("int64", "1_0", None), ("int64", "\u0661", None),
    ("int64", "true", None), ("int64", "0x1F", 31), ("int8", "0xFF", None),
    ("int16", "0X8000", None), ("int64", "0xFFFFFFFFFFFFFFFF", None), ("uint8", "0xFF", 255), ("int64", "9" * 5000, None),
    ("uint64", "18446744073709551615", 2**64 - 1), ("uint64", "-1", None), ("uint64", "18446744073709551615.00", 2**64 - 1),
    ("int8", "127", 127), ("int8", "128", None), ("int8", "-128.0", -128), ("uint8", "2.55e2", 255), ("uint8", "256", None),
    ("float64", "12345678901234567890", 12345678901234567890.0), ("float64", "+1.5", 1.5), ("float64", ".5", 0.5),
    ("float64", "1e400", None), ("float64", "inf", float("inf")), ("float64", "-Infinity", float("-inf")),
    ("float64", "1,5", None), ("float64", "1e-400", 0.0), ("float64", "9007199254740993", 9007199254740992.0),
    ("float32", "0.1", 0.10000000149011612), ("float32", "1e39", None), ("float32", "16777217", 16777216.0),
    ("float32", "1.00000017881393432617187499", 1.0000001192092896), ("float16", "0.1", 0.0999755859375), ("float16", "1e6", None),
    ("bool", "TRUE", True), ("bool", "0", False), ("bool", "yes", None), ("bool", "2", None),
]  # fmt: skip


@pytest.mark.parametrize("beside", ["1", "oops", "1.0"])
@pytest.mark.parametrize(("kind", "text", "value"), NUMBERS, ids=[f"{kind}-{text[:24]}" for kind, text, _ in NUMBERS])
def test_numbers_are_read_whatever_stands_beside_them(
    tmp_path: Path, kind: str, text: str, value: object, beside: str
) -> None:
    path = write(tmp_path / "x.csv", f'x,k\n1,a\n"{text}",b\n{beside},c\n')
    rows, reasons = read(path, 10, wanted={"x": kind})
    assert rows[0]["x"] == 1
    assert rows[1]["x"] == value
    assert type(rows[1]["x"]) in (type(value), float)
    assert (1 in reasons) == (value is None)
    if value is None:
        assert reasons[1].startswith(f"line 3: column 'x' is {kind}; got '{text[:10]}")
    good = beside != "oops" and (kind != "bool" or beside == "1")
    assert (2 in reasons) != good


def test_a_row_that_fails_names_its_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'n,t\n1,"a\nb"\n\n3.5,"c\nd"\n4,e\n5\n6,f,g\n')
    rows, reasons = read(path, wanted={"n": "int64"})
    assert [(row["n"], row["t"]) for row in rows] == [(1, "a\nb"), (None, None), (4, "e"), (None, None), (None, None)]
    assert reasons == {
        1: "line 5: column 'n' is int64; got '3.5'",
        3: "line 8: has 1 fields, the first line names 2",
        4: "line 9: has 3 fields, the first line names 2",
    }


def test_one_byte_of_another_encoding_costs_its_own_row_at_most(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"x,city\n1,Rome\n2,Gen\xe8ve\n3,Lima\n4,Bern!\n")
    report = graph().run(path, tmp_path / "out.parquet")
    assert report.failed == 1
    assert pq.read_table(tmp_path / "out.parquet")["city"].to_pylist() == ["Rome", "Lima", "Bern!"]
    (failure,) = pq.read_table(f"{tmp_path / 'out.parquet'}.failed.parquet").to_pylist()
    assert failure["message"] == r"line 3: column 'city' is no text of the encoding: b'Gen\xe8ve', at byte 4"
    assert graph().run(path, tmp_path / "out.parquet", drop=["city"], overwrite=True).failed == 0
    for encoding in ("cp1252", "latin-1"):
        assert graph().run(path, tmp_path / "out.parquet", encoding=encoding, overwrite=True).failed == 0
        assert pq.read_table(tmp_path / "out.parquet")["city"].to_pylist()[1] == "Genève"


def test_a_header_of_another_encoding_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"x,gr\xf6sse\n1,a\n")
    with pytest.raises(
        InputError, match=r"x\.csv: line 1: names a column b'gr\\xf6sse', .*UTF-8\n.*encoding="
    ) as error:
        open_source(path)
    assert "cp1252" in str(error.value)
    assert open_source(path, encoding="cp1252").schema.names == ["x", "größe".replace("ß", "ss")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "x.csv", "größe,x\né,1\n\U0001f600,2\n".encode(encoding))
    assert read(path)[0] == [{"größe": "é", "x": "1"}, {"größe": "\U0001f600", "x": "2"}]
    assert read(path, encoding=encoding)[0] == read(path)[0]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("damage", ["", "1\n"])
def test_a_byte_order_mark_behind_the_header_is_text(tmp_path: Path, mark: str, damage: str) -> None:
    path = write(tmp_path / "x.csv", f"{mark}k,x\n\ufeffa,1\n\ufeffb,2\n{damage}")
    rows, _ = read(path, wanted={"x": "int64"})
    assert rows[:2] == [{"k": "\ufeffa", "x": 1}, {"k": "\ufeffb", "x": 2}]


def test_utf16_without_a_mark_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "a,x\ny,1\n".encode("utf-16-le"))
    with pytest.raises(InputError, match=r"zero bytes in UTF-8\n.*utf-16"):
        open_source(path)
    assert read(path, encoding="utf-16-le")[0] == [{"a": "y", "x": "1"}]


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "utf-16-be", "gb18030", "ascii"])
def test_what_an_encoding_does_not_know_fails_its_row(tmp_path: Path, encoding: str) -> None:
    damage = {"utf-16-be": b"\xd8\x00\x00x"}.get(encoding, b"\x81\xff" if encoding != "ascii" else b"\xc3")
    text = "x,t\n1,a\n2,".encode(encoding) + damage + "\n3,c\n".encode(encoding)
    rows, reasons = read(write(tmp_path / "x.csv", text), wanted={"x": "int64"}, encoding=encoding)
    assert [row["x"] for row in rows] == [1, None, 3]
    assert list(reasons) == [1]


STRAY = {
    "never closed": ('{row},"3/4\n', 1),
    "at the end of the file": ("{row},s\n", 0),
    "within a plain field": ('{row},3" pipe\n', 0),
    "closed and more": ('{row},"3" pipe"\n', 0),
}


@pytest.mark.parametrize("kind", STRAY)
def test_a_quote_that_never_closes_costs_its_line_only(tmp_path: Path, kind: str) -> None:
    stray, failed = STRAY[kind]
    lines = [stray.format(row=row) if row == 5 else f"{row},s\n" for row in range(1, 10_001)]
    path = write(tmp_path / "x.csv", "x,size\n" + "".join(lines))
    report = graph("int64").run(path, tmp_path / "out.csv", batch_rows=1000)
    assert (report.rows, report.failed) == (10_000, failed)
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["y"].tolist() == [row for row in range(1, 10_001) if row != 5 or not failed]
    if failed:
        (failure,) = pq.read_table(f"{tmp_path / 'out.csv'}.failed.parquet").to_pylist()
        assert failure["row"] == 4
        assert failure["message"] == "line 6: a quote opens in field 2 and does not close"


@pytest.mark.parametrize("second", ['{row},"3/4\n', '{row},3/4"\n', '{row},"3/4"\n', '{row},3/4"x\n'])
@pytest.mark.parametrize("apart", [30, 9000])
def test_two_stray_quotes_swallow_nothing(tmp_path: Path, second: str, apart: int) -> None:
    lines = [f"{row},s\n" for row in range(1, 10_001)]
    lines[4], lines[4 + apart] = '5,"3/4\n', second.format(row=5 + apart)
    rows, reasons = read(write(tmp_path / "x.csv", "x,size\n" + "".join(lines)), 999, wanted={"x": "int64"})
    assert len(rows) == 10_000
    assert reasons[4].startswith("line 6: a quote ")
    lost = {4} | ({4 + apart} if second == '{row},"3/4\n' else set())
    assert set(reasons) == lost
    assert [row["x"] for row in rows] == [None if at in lost else at + 1 for at in range(10_000)]


def test_a_last_quote_that_never_closes_fails(tmp_path: Path) -> None:
    for ending in ("", "\n"):
        rows, reasons = read(write(tmp_path / "x.csv", f'x,k\n1,a\n2,"b{ending}'))
        assert [row["x"] for row in rows] == ["1", None]
        assert list(reasons) == [1]


def test_fields_of_many_lines_are_one_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "RECORD_BYTES", 1 << 20)
    text = "\n".join(f'line {line}, with a comma and "quotes"' for line in range(5000))
    table = "\n".join(f"{line},{line},{line}" for line in range(50))
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["t", "x"], [text, 1], ["a\r\nb", 2], [table, 3], ["", 4], ["one\nCity, Land\n" * 6, 5]]
        )
    rows, reasons = read(tmp_path / "x.csv", wanted={"x": "int64"})
    assert [row["t"] for row in rows] == [text, "a\r\nb", table, None, "one\nCity, Land\n" * 6]
    assert reasons == {}


def test_a_quoted_field_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "RECORD_BYTES", 1 << 20)
    path = write(tmp_path / "x.csv", 'x,t\n1,"open\n' + "".join(f"{row},t\n" for row in range(2, 300_000)))
    rows, reasons = read(path, 65_536, wanted={"x": "int64"})
    assert [row["x"] for row in rows] == [None, *range(2, 300_000)]
    assert reasons == {0: "line 2: a quote opens in field 2 and does not close within 1 MiB"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("piece", [97, 1000, 1 << 14])
def test_a_record_that_is_too_long_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, quote: str, end: str
) -> None:
    """Of long ones on one line those are read that may be held, whatever quotes may hold of many lines."""
    monkeypatch.setattr("motet.io.utf8._PIECE_BYTES", piece)
    monkeypatch.setattr(records_module, "RECORD_BYTES", 1 << 12)
    monkeypatch.setattr(records_module, "LINE_BYTES", 1 << 14)
    for at, last in product((1, 3, 5), ("", end)):
        for size in (5_000, 9_000, 16_000, 40_000, 70_001):
            lines = [f"{row},{quote}t{quote}" for row in range(1, 6)]
            lines[at - 1] = f"{at},{quote}{'y' * size}{quote}"
            path = write(tmp_path / "x.csv", end.join(["x,t", *lines]) + last)
            with open(path, newline="") as file:
                expected = [dict(row, x=int(row["x"])) for row in csv.DictReader(file)]
            rows, reasons = read(path, wanted={"x": "int64"})
            if size > 2 * (1 << 14):
                expected[at - 1] = {"x": None, "t": None}
                assert list(reasons) == [at - 1]
                assert f"line {at + 1}: is longer than" in reasons[at - 1]
            else:
                assert reasons == {}
            assert rows == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_behind_one_that_is_too_long_are_numbered_right_wherever_pieces_end(
    end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "LINE_BYTES", 20)
    data = end.join([b"1,2", b"x" * 60, b"3,4", b"5,6"])
    for place in range(31, len(data)):
        pieces = iter([data[:30], data[30:place], data[place:]])
        found = list(records_module.blocks(pieces, b"", 1, b",", 2))
        assert [line for block in found for line in block.lines] == [1, 2, 3, 4]


@pytest.mark.parametrize("piece", [1, 2, 7, 50])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blocks_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, end: str) -> None:
    monkeypatch.setattr("motet.io.utf8._PIECE_BYTES", piece)
    lines = ["x,t", '1,"a, ""b"""', '2,"c\nd"', "", "3,é", '4,""', '5,f"g', '6,"h"i', "7,j,k", "8"]
    path = write(tmp_path / "x.csv", end.join(lines))
    for skip in range(9):
        rows, reasons = read(path, 2, skip, wanted={"x": "int64"})
        texts = ['a, "b"', "c\nd", "é", None, 'f"g', "hi", None, None]
        assert [row["t"] for row in rows] == texts[skip:]
        assert list(reasons) == [row - skip for row in (6, 7) if row >= skip]


def test_delimiters(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'x;t\n1;"a;b"\n2;c,d\n')
    assert read(path, delimiter=";", wanted={"x": "int64"})[0] == [{"x": 1, "t": "a;b"}, {"x": 2, "t": "c,d"}]
    with pytest.raises(InputError, match=r"x\.csv: is separated by ';', not by commas\n  hint: --delimiter ';'"):
        read(path, wanted={"x": "int64"})
    path = write(tmp_path / "y.tsv", "x\tt\n1\ta\n")
    for name in ("\t", "tab", "\\t"):
        assert read(path, format="csv", delimiter=name)[0] == [{"x": "1", "t": "a"}]
    for wrong in (";;", "", '"', "\n", "é"):
        with pytest.raises(InputError, match="is no delimiter"):
            open_source(path, format="csv", delimiter=wrong)


def test_types_of_columns_that_nobody_takes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "x,zip,acc\n1,00123,40.0\n")
    source = open_source(path, types={"zip": "string", "acc": "int64"}, wanted={"x": ColumnType("float64")})
    assert source.schema.types == [pa.float64(), pa.string(), pa.int64()]
    with pytest.raises(UnknownNameError, match=r"x\.csv: types: unknown column 'axx'; known: x, zip, acc"):
        open_source(path, types={"axx": "int64"})
    with pytest.raises(InputError, match="types: column 'x' is int64, and float64 is wanted of it"):
        open_source(path, types={"x": "int64"}, wanted={"x": ColumnType("float64")})
    with pytest.raises(MotetError, match="types: x"):
        open_source(path, types={"x": "integer"})
    assert open_source(path, types={"x": "int64"}, wanted={"x": ColumnType("any")}).schema.types[0] == pa.int64()


@pytest.mark.parametrize(
    ("option", "value"), [("encoding", "cp1252"), ("delimiter", ";"), ("types", {"x": "string"}), ("empty", "text")]
)
def test_formats_that_know_better_refuse_options(tmp_path: Path, option: str, value: object) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=rf"x\.parquet: {option} is an option of csv.*; this is parquet"):
        open_source(tmp_path / "x.parquet", **{option: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"a dict: {option} is an option of csv.*; this is in memory"):
        open_source({"x": [1.0]}, **{option: value})  # type: ignore[arg-type]


def test_what_is_no_option_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "x\n1\n")
    with pytest.raises(InputError, match="there is no encoding 'klingon'\n  hint: such as utf-8"):
        open_source(path, encoding="klingon")
    with pytest.raises(InputError, match="there is no encoding 'base64'"):
        open_source(path, encoding="base64")
    with pytest.raises(InputError, match="'null' is nothing an empty field can be"):
        open_source(path, empty="null")


def test_a_run_goes_on_only_with_the_same_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.engines.local.pending.COMMIT_SECONDS", 0.0)
    path = write(tmp_path / "x.csv", "x,k\n" + "1,\n" * 40)
    with pytest.raises(MotetError):
        graph("int64").run(path, tmp_path / "out.csv", progress=_stop, batch_rows=4)
    for options in ({"empty": "text"}, {"encoding": "cp1252"}, {"types": {"k": "int64"}}):
        with pytest.raises(ResumeError, match="the input changed"):
            graph("int64").run(path, tmp_path / "out.csv", resume=True, **options)
    assert graph("int64").run(path, tmp_path / "out.csv", resume=True).rows == 40


def _stop(done: int, total: int | None, failed: int) -> None:
    if done >= 8:
        raise InputError("stop")


def test_groups_of_rows_of_text(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,amount\nann,1\nbob,5\nann,3.5\n")
    source = open_source(path, group_by="user", wanted={"amount": ColumnType.parse("float64[?]")})
    (batch,) = source.batches(10)
    assert batch["amount"].to_pylist() == [[1.0, 3.5], [5.0]]
