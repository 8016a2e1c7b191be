"""Parts of one input that differ, and types whose values are told batch by batch: read as one, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from motet.errors import InputError
from motet.io import Source, open_source, split_faults
from motet.types import ColumnType

INT64 = {"x": ColumnType("int64")}
FLOAT64 = {"x": ColumnType("float64")}
GROUPS = [[f"{group}-{place}" for place in range(60)] for group in range(4)]
"""Four groups of other categories each: 240 together, more than int8 can number."""


def write_parts(folder: Path, *parts: pa.Table) -> Path:
    for place, part in enumerate(parts):
        with pa.ipc.new_file(folder / f"{place}.arrow", part.schema) as writer:
            writer.write_table(part, max_chunksize=2)
    return folder


def read(source: Source, rows: int = 3, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    batches = list(source.batches(rows, columns))
    assert all(batch.schema.equals(batches[0].schema) for batch in batches)
    return pa.Table.from_batches(batches).to_pydict()


def categories(values: Sequence[str | None]) -> pa.Array:
    found = pa.array(values).dictionary_encode()
    return pa.DictionaryArray.from_arrays(found.indices.cast(pa.int8()), found.dictionary)


def grouped(make: Callable[[Sequence[str]], pa.Array] = categories) -> list[pa.RecordBatch]:
    return [pa.record_batch([make(values), pa.array([1.0] * len(values))], names=["city", "x"]) for values in GROUPS]


class Foreign:
    """A source of another package."""

    description, reads_again, num_rows = "elsewhere", True, None

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self._batches, self.schema = batches, batches[0].schema

    def batches(self, rows: int, columns: Sequence[str] | None = None, skip: int = 0) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            yield batch.select(list(columns or batch.schema.names))

    def batches_at(self, positions: Any, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return "the same"


def parquet_of(batches: list[pa.RecordBatch], folder: Path) -> Path:
    with pq.ParquetWriter(folder / "x.parquet", batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return folder / "x.parquet"


def stream_of(batches: list[pa.RecordBatch], folder: Path) -> Path:
    with pa.OSFile(str(folder / "x.arrow"), "wb") as file, pa.ipc.new_stream(file, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return folder / "x.arrow"


SOURCES: dict[str, Callable[[list[pa.RecordBatch], Path], Any]] = {
    "parquet": parquet_of,
    "arrow": stream_of,
    "dataset": lambda batches, folder: ds.dataset(parquet_of(batches, folder)),
    "table": lambda batches, folder: pa.Table.from_batches(batches),
    "iterable": lambda batches, folder: batches,
    "foreign": lambda batches, folder: Foreign(batches),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_dictionaries_are_decoded_where_they_are_read(tmp_path: Path, kind: str) -> None:
    source = open_source(SOURCES[kind](grouped(), tmp_path))
    assert source.schema.field("city").type == pa.string()
    assert read(source, 50)["city"] == [text for values in GROUPS for text in values]
    if kind in ("table", "foreign"):
        assert source.fingerprint() == open_source(SOURCES[kind](grouped(), tmp_path)).fingerprint()


def _list(values: Sequence[str]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(range(len(values) + 1), pa.int32()), categories(values))


def _deep(values: Sequence[str]) -> pa.Array:
    inner = pa.StructArray.from_arrays([_list(values), pc.run_end_encode(pa.array(values))], ["tags", "runs"])
    return pa.LargeListArray.from_arrays(pa.array(range(len(values) + 1), pa.int64()), inner)


@pytest.mark.parametrize("kind", ["table", "iterable", "foreign"])
@pytest.mark.parametrize(
    ("make", "decoded"),
    [
        (_list, pa.list_(pa.string())),
        (lambda values: pa.StructArray.from_arrays([categories(values)], ["c"]), pa.struct([("c", pa.string())])),
        (_deep, pa.large_list(pa.struct([("tags", pa.list_(pa.string())), ("runs", pa.string())]))),
        (lambda values: pc.run_end_encode(pa.array(values)), pa.string()),
        (lambda values: pa.array(values, pa.string_view()), pa.string()),
        (lambda values: pa.array([[each.encode()] for each in values], pa.list_view(pa.binary_view())), pa.list_(pa.binary())),
        (lambda values: pa.array([[(each, 1)] for each in values], pa.map_(pa.string_view(), pa.int8())), pa.map_(pa.string(), pa.int8())),
    ],
)  # fmt: skip
def test_no_encoding_is_left_at_any_depth(tmp_path: Path, kind: str, make: Any, decoded: pa.DataType) -> None:
    batches = grouped(make)
    source = open_source(SOURCES[kind](batches, tmp_path))
    assert source.schema.field("city").type == decoded
    assert read(source, 7)["city"] == [value for batch in batches for value in batch.column("city").to_pylist()]


UNIFIED = {
    "nullability": (pa.field("x", pa.float64(), False), [1.0], pa.field("x", pa.float64()), [None], pa.float64()),
    "null": (pa.null(), [None], pa.string(), ["a"], pa.string()),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a"], pa.string(), ["b"], pa.string()),
    "large string": (pa.large_string(), ["a"], pa.string(), ["b"], pa.large_string()),
    "binary": (pa.binary(2), [b"ab"], pa.binary(), [b"c"], pa.binary()),
    "int width": (pa.int32(), [1], pa.int64(), [2**40], pa.int64()),
    "int sign": (pa.uint8(), [255], pa.int8(), [-1], pa.int16()),
    "float width": (pa.float32(), [0.5], pa.float64(), [0.1], pa.float64()),
    "small int, float": (pa.int16(), [7], pa.float32(), [0.5], pa.float32()),
    "int32, float32": (pa.int32(), [2**31 - 1], pa.float32(), [0.5], pa.float64()),
    "unit": (pa.timestamp("s"), [datetime(3000, 1, 1)], pa.timestamp("us"), [datetime(1, 1, 1, microsecond=1)], pa.timestamp("us")),
    "zone": (pa.timestamp("us", "Europe/Berlin"), [datetime(2024, 5, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"), [datetime(2024, 5, 2, tzinfo=UTC)], pa.timestamp("us", "UTC")),
    "date": (pa.date32(), [date(2024, 5, 1)], pa.date64(), [date(9999, 1, 1)], pa.date64()),
    "decimal": (pa.decimal128(5, 2), [Decimal("1.25")], pa.decimal128(12, 4), [Decimal("12345678.1234")], pa.decimal128(12, 4)),
    "list": (pa.list_(pa.int8()), [[1, None]], pa.list_(pa.int32(), 2), [[2, 3]], pa.list_(pa.int32())),
    "struct": (pa.struct([("a", pa.int8())]), [{"a": 1}], pa.struct([("b", pa.string()), ("a", pa.int64())]), [{"b": "t", "a": 2}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
    "map": (pa.map_(pa.string(), pa.int8()), [[("a", 1)]], pa.map_(pa.string(), pa.int64()), [[("b", 2)]], pa.map_(pa.string(), pa.int64())),
}  # fmt: skip


def one_column(field: pa.DataType | pa.Field, values: list[Any]) -> pa.Table:
    field = field if isinstance(field, pa.Field) else pa.field("x", field)
    return pa.table({"x": pa.array(values, field.type), "n": [1] * len(values)}, pa.schema([field, ("n", pa.int64())]))


@pytest.mark.parametrize("case", UNIFIED)
@pytest.mark.parametrize("turned", [False, True])
def test_parts_that_differ_are_one(tmp_path: Path, case: str, turned: bool) -> None:
    one, first, other, second, wanted = UNIFIED[case]
    parts = [one_column(one, first * 3), one_column(other, second * 2)]  # type: ignore[arg-type, operator]
    want = [value for part in parts[:: -1 if turned else 1] for value in part["x"].to_pylist()]
    if case == "struct":  # a struct has every field
        want = [{"a": None, "b": None, **each} for each in want]
    parts[1] = parts[1].select(["n", "x"])  # the order of columns does not matter
    source = open_source(write_parts(tmp_path, *parts[:: -1 if turned else 1]))
    assert unordered(source.schema.field("x").type) == unordered(wanted)
    assert source.schema.field("x").nullable
    assert read(source, 2)["x"] == want
    assert read(source, 2, ["x"])["x"] == want
    (picked,) = source.batches_at([1, 4], 5, ["x"])
    assert picked["x"].to_pylist() == [want[1], want[4]]


def unordered(data_type: Any) -> Any:
    """A struct by its names, whose order is that of the first part."""
    return {field.name: field.type for field in data_type} if pa.types.is_struct(data_type) else data_type


@pytest.mark.parametrize(
    ("one", "other", "values"),
    [
        (pa.int64(), pa.string(), (1, "A7")),
        (pa.int64(), pa.float64(), (2**53 + 1, 0.5)),
        (pa.int64(), pa.uint64(), (-1, 2**63)),
        (pa.bool_(), pa.int8(), (True, 2)),
        (pa.date32(), pa.timestamp("s"), (date(2024, 1, 1), datetime(2024, 1, 1))),
        (pa.timestamp("s"), pa.timestamp("s", "UTC"), (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC))),
        (pa.list_(pa.int8()), pa.list_(pa.string()), ([1], ["a"])),
    ],
)
def test_what_does_not_unify_is_refused_where_it_is_read_alone(
    tmp_path: Path, one: pa.DataType, other: pa.DataType, values: tuple[Any, Any]
) -> None:
    write_parts(tmp_path, one_column(pa.null(), [None]), one_column(one, [values[0]]), one_column(other, [values[1]]))
    source = open_source(tmp_path)
    assert read(source, 2, ["n"])["n"] == [1, 1, 1]
    for columns in (None, ["x"]):
        with pytest.raises(InputError) as caught:
            source.batches(2, columns)
        reason = f"column 'x' differs: it is {one} in {tmp_path}/1.arrow, {other} in {tmp_path}/2.arrow"
        assert reason in str(caught.value)
        assert "--drop x" in str(caught.value)


def test_numbers_of_a_declared_column_are_looked_at_row_by_row(tmp_path: Path) -> None:
    write_parts(tmp_path, one_column(pa.int64(), [2**53 + 1, 7]), one_column(pa.float64(), [3.0, 3.5, float("nan")]))
    (batch,) = open_source(tmp_path, wanted=INT64).batches(9)
    rows, faults = split_faults(batch)
    assert rows["x"].to_pylist() == [2**53 + 1, 7, 3, None, None]  # NaN is a missing whole number
    assert faults == {3: "column 'x' is int64; got 3.5, which is not whole"}
    (batch,) = open_source(tmp_path, wanted=FLOAT64).batches(9)
    rows, faults = split_faults(batch)
    assert rows["x"].to_pylist()[1:4] == [7.0, 3.0, 3.5]
    assert list(faults) == [0]


def test_decimals_beside_numbers_are_the_numbers_that_they_are(tmp_path: Path) -> None:
    decimals = [Decimal("4.50"), None, Decimal("0.10"), Decimal(3)]
    write_parts(tmp_path, one_column(pa.float64(), [1.0]), one_column(pa.decimal128(5, 2), decimals))
    assert read(open_source(tmp_path, wanted=FLOAT64), 2, ["x"]) == {"x": [1.0, 4.5, None, 0.1, 3.0]}
    (batch,) = open_source(tmp_path, wanted=INT64).batches(9)
    rows, faults = split_faults(batch)
    assert rows["x"].to_pylist() == [1, None, None, None, 3]
    reasons = {
        row: f"column 'x' is int64; got {number}, which is not whole" for row, number in ((1, "4.50"), (3, "0.10"))
    }
    assert faults == reasons
    with pytest.raises(InputError, match=r"column 'x' differs: it is double in .*, decimal128\(5, 2\) in "):
        open_source(tmp_path).batches(2)


def test_a_time_that_the_finer_unit_cannot_hold_is_named(tmp_path: Path) -> None:
    write_parts(tmp_path, one_column(pa.timestamp("s"), [datetime(3000, 1, 1)]), one_column(pa.timestamp("ns"), [None]))
    with pytest.raises(InputError, match=r"0\.arrow: column 'x' cannot be timestamp\[ns\]: .*out of bounds"):
        read(open_source(tmp_path))


def test_a_column_that_a_part_lacks_is_null_there(tmp_path: Path) -> None:
    write_parts(tmp_path, pa.table({"n": [1, 2, 3]}), pa.table({"x": ["a"], "n": [4]}), pa.table({"n": [5], "m": [6]}))
    source = open_source(tmp_path)
    assert source.schema.names == ["n", "x", "m"]
    assert read(source, 2) == {"n": [1, 2, 3, 4, 5], "x": [None] * 3 + ["a", None], "m": [None] * 4 + [6]}
    assert read(source, 2, ["m"]) == {"m": [None] * 4 + [6]}
    (batch,) = source.batches(9, ["x"], skip=2)
    assert batch["x"].to_pylist() == [None, "a", None]


def test_a_part_without_rows_counts_for_nothing(tmp_path: Path) -> None:
    write_parts(tmp_path, one_column(pa.string(), []), one_column(pa.int64(), [7]))
    assert read(open_source(tmp_path)) == {"x": [7], "n": [1]}
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in (("0", ""), ("1", "x,code\n"), ("2", "code,x\nA7,1\n"), ("3", "x\n2\n")):
        (texts / f"{name}.csv").write_text(text)
    assert read(open_source(texts, wanted=FLOAT64)) == {"x": [1.0, 2.0], "code": ["A7", None]}
    lines = tmp_path / "lines"
    lines.mkdir()
    for name, text in (("0", ""), ("1", '{"x": 1}\n'), ("2", '{"x": 2, "note": "late"}\n'), ("3", "\n")):
        (lines / f"{name}.jsonl").write_text(text)
    found = read(open_source(lines, wanted=FLOAT64), columns=["x", "note"])
    assert found["x"] == [1.0, 2.0]
    assert len(found["note"]) == 2


def test_two_columns_of_one_name_are_refused_where_they_are_read(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "x", "n"])
    for part in ("a", "b"):
        with pa.OSFile(str(tmp_path / f"{part}.arrow"), "wb") as file, pa.ipc.new_file(file, twice.schema) as writer:
            writer.write_table(twice)
    for path, reason in ((tmp_path / "a.arrow", "there are 2 columns 'x'"), (tmp_path, "one of two columns")):
        source = open_source(path)
        assert read(source, 2, ["n"])["n"] == [3] * (1 if path.suffix else 2)
        with pytest.raises(InputError, match=reason):
            source.batches(2, ["x"])


def test_later_batches_of_an_iterable_are_what_the_first_was() -> None:
    first = {"x": np.arange(2), "t": np.array([None, None], object)}
    whole = open_source([first, {"x": np.array([2.0, np.nan])}], wanted={"t": ColumnType("string")})
    assert read(whole) == {"x": [0, 1, 2, None], "t": [None] * 4}
    typed = open_source([first, {"x": np.array([0.5]), "t": np.array(["a"], object)}], wanted={**FLOAT64, "t": ColumnType("string")})  # fmt: skip
    assert read(typed) == {"x": [0.0, 1.0, 0.5], "t": [None, None, "a"]}
    for later, reason in (
        ({"x": np.array([0.5])}, "column 'x' is int64; got 0.5, which is not whole"),
        ({"x": np.array(["a"], object)}, "column 'x' is string here, and int64 in what came before"),
        ({"x": np.arange(2), "new": np.arange(2)}, "gives the columns new, which its first batch has not"),
    ):
        with pytest.raises(InputError, match=reason):
            read(open_source([first, later]))
