"""Every Arrow type, kept into every format, is what pyarrow makes of it, or is refused before the run.

All types are columns of one source, in parts, read in small batches, through the journal and after a stop in the middle.
"""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import motet as mt
from differential.arrow_values import VALUES, csv_rows, json_rows, kept_table, parquet_type, plain
from motet.engines.local import pending
from motet.errors import InputError
from motet.types import DTYPES

PARTS, BATCH_ROWS = 3, 7


def reads_back(array: pa.Array) -> bool:
    """Whether pyarrow reads what it writes to Parquet; before version 26 it does not read lists of a fixed size that are null."""
    file = pa.BufferOutputStream()
    try:
        pq.write_table(pa.table({"values": array}), file)
        pq.read_table(pa.BufferReader(file.getvalue()))
    except pa.ArrowNotImplementedError:  # a type that becomes another one in Parquet
        return True
    except pa.ArrowInvalid:
        return False
    return True


HELD = {
    "parquet": [
        name for name, array in VALUES.items() if parquet_type(plain(array.type)) is not None and reads_back(array)
    ],
    "arrow": list(VALUES),
    "csv": [name for name, array in VALUES.items() if csv_rows(array) is not None],
    "jsonl": [name for name, array in VALUES.items() if json_rows(array) is not None],
}
READABLE = [name for name, array in VALUES.items() if parquet_type(array.type) is not None and reads_back(array)]
"""The types that pyarrow writes to Parquet, so that they can be read from there."""


class Stopped(BaseException):
    """What stops a run from outside."""


def halved(x: np.ndarray) -> np.ndarray:
    return x / 2


def again(x: np.ndarray) -> np.ndarray:
    return x


def graph() -> mt.Graph:
    return mt.Graph("g", {"y": mt.map(halved, mt.input("x", "float64"), outputs="float64")})


def part(place: int) -> pa.Table:
    """A part: the values of each type, beginning elsewhere, so that dictionaries and neighbours differ."""
    rows = max(map(len, VALUES.values()))
    columns = {}
    for name, array in VALUES.items():
        turned = [array.slice(place % len(array)), array.slice(0, place % len(array))]
        columns[name] = pa.chunked_array((turned * rows)[: 2 * rows], array.type).slice(0, rows).combine_chunks()
    if isinstance(columns["dictionary<int8>"], pa.ChunkedArray) or place:  # 120 other categories in each part
        names = [f"part {place}, category {row}" for row in range(120)]
        columns["dictionary<int8>"] = pa.array([*names, *names][:rows], pa.dictionary(pa.int8(), pa.string()))
    return pa.table({"x": np.arange(float(rows)), **columns})


TABLES = [part(place) for place in range(PARTS)]


def expected(name: str) -> pa.Array:
    chunks = [chunk for table in TABLES for chunk in table[name].chunks]
    return chunks, [value for chunk in chunks for value in _rows_of(chunk)]


def _rows_of(chunk: pa.Array) -> list[Any]:
    """Values that tell apart what Python's own do not: counts of times, and NaN as a text."""
    kind = plain(chunk.type)
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind) and not pa.types.is_nested(kind):
        return [_count(value) for value in chunk]
    return [str(value) if isinstance(value, float) else value for value in chunk.to_pylist()]


def _count(value: Any) -> int | None:
    """Nanoseconds, days times a day: the same for each unit."""
    kind = value.type
    if not value.is_valid:
        return None
    per = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
    return value.value * (
        per[kind.unit]
        if hasattr(kind, "unit") and not pa.types.is_date(kind)
        else 1
        if pa.types.is_date64(kind)
        else 86_400_000
    )


def write_parts(folder: Path, kind: str, names: list[str]) -> Path:
    folder.mkdir()
    for place, table in enumerate(TABLES):
        chosen = table.select(["x", *names])
        if kind == "parquet":
            pq.write_table(chosen, folder / f"{place}.parquet", row_group_size=11)
            continue
        with pa.ipc.new_stream(folder / f"{place}.arrow", chosen.schema) as writer:
            writer.write_table(chosen, max_chunksize=11)
    return folder


def run(source: Any, output: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> mt.RunReport:
    """A run that is stopped in the middle, and gone on with."""
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)

    def progress(done: int, total: int | None, failed: int) -> None:
        if done > 150:
            raise Stopped

    with pytest.raises(Stopped):
        graph().run(source, output, batch_rows=BATCH_ROWS, workers=1, progress=progress, **options)
    report = graph().run(source, output, resume=True, **options)
    assert report.resumed_rows > 100
    assert report.failed == 0
    return report


def check_typed(found: pa.Table, names: list[str]) -> None:
    for name in names:
        assert [value for chunk in found[name].chunks for value in _rows_of(chunk)] == expected(name)[1], name


def same(found: Any, wanted: Any) -> bool:
    """Whether a value of JSON is the one that is wanted; numbers by their value."""
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict) and list(found) == list(wanted) and all(map(same, found.values(), wanted.values()))
        )
    if isinstance(wanted, float):
        return found is None if not math.isfinite(wanted) else found == wanted
    return found == wanted and type(found) is type(wanted)


def field_of(value: Any, kind: pa.DataType) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        kind = kind if pa.types.is_floating(kind) else pa.float64()
        return pa.scalar(value, kind).cast(pa.string()).as_py()
    return str(value)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("output", HELD)
def test_kept_values_are_pyarrows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, output: str) -> None:
    names = [name for name in HELD[output] if kind == "arrow" or name in READABLE]
    source = write_parts(tmp_path / "in", kind, names)
    path = tmp_path / f"out.{output}"
    run(source, path, monkeypatch)
    if output == "parquet":
        found = pq.read_table(path)
        check_typed(found, names)
        assert all(
            found.schema.field(name).type.equals(parquet_type(plain(VALUES[name].type)))
            for name in names
            if kind == "arrow"
        )
    elif output == "arrow":
        found = pa.ipc.open_file(path).read_all()
        check_typed(found, names)
        assert all(found.schema.field(name).type == plain(VALUES[name].type) for name in names if kind == "arrow")
    elif output == "jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(lines) == sum(len(table) for table in TABLES)
        for name in names:
            read = _stored(expected(name)[0], kind)
            wanted = [value for chunk in read for value in json_rows(chunk)]
            got = [line[name] for line in lines]
            assert all(map(same, got, wanted)), (name, got[:5], wanted[:5])
    else:
        with path.open(newline="") as file:
            fields = list(csv.DictReader(file))
        for name in names:
            read = _stored(expected(name)[0], kind)
            for place, wanted in enumerate(row for chunk in read for row in csv_rows(chunk)):  # type: ignore[assignment]
                leaf = pa.float32() if "tensor" in name else VALUES[name].type
                got = {at: fields[place][f"{name}{at}"] for at in wanted}  # type: ignore[assignment]
                assert got == {at: field_of(value, leaf) for at, value in wanted.items()}, (name, place)  # type: ignore[attr-defined]


def _stored(chunks: list[pa.Array], kind: str) -> list[pa.Array]:
    """What pyarrow itself reads back from the file that the source is: Parquet has no seconds."""
    kept = parquet_type(chunks[0].type) if kind == "parquet" else None
    if kept is None or not pa.types.is_temporal(kept):
        return chunks
    return [chunk.cast(kept) for chunk in chunks]


@pytest.mark.parametrize("output", ["csv", "jsonl", "arrow", "parquet"])
@pytest.mark.parametrize("kind", ["table", "iterable", "dataset"])
def test_what_is_in_memory_is_kept_as_well(tmp_path: Path, kind: str, output: str) -> None:
    names = [name for name in HELD[output] if kind != "dataset" or name in READABLE]
    tables = [table.select(["x", *names]) for table in TABLES]
    if kind == "dataset":
        source: Any = ds.dataset(write_parts(tmp_path / "in", "parquet", names))
    else:
        source = pa.concat_tables(tables) if kind == "table" else tables
    report = graph().run(source, tmp_path / f"out.{output}", batch_rows=5)
    assert (report.failed, report.rows, report.columns_left_out) == (0, sum(map(len, tables)), ())
    if output == "arrow":
        check_typed(pa.ipc.open_file(tmp_path / "out.arrow").read_all(), names)


@pytest.mark.parametrize("output", ["parquet", "csv", "jsonl"])
def test_what_a_format_cannot_hold_is_refused_before_the_run_or_left_out_by_name(tmp_path: Path, output: str) -> None:
    rows = {row["type"]: row[output] for row in kept_table()}
    missing = [name for name in VALUES if name not in HELD[output] and reads_back(VALUES[name])]
    assert missing == [name for name in VALUES if rows[name] in ("refused", "left out")]
    for name in missing:
        source = pa.table({"x": [1.0] * len(VALUES[name]), name: VALUES[name]})
        path = tmp_path / f"{name}.{output}"
        if rows[name] == "left out":
            assert graph().run(source, path).columns_left_out == (name,)
        kept: dict[str, Any] = {"keep": [name]} if rows[name] == "left out" else {}
        with pytest.raises(InputError) as caught:
            graph().run(source, path, overwrite=True, **kept)
        assert f"{path}: " in str(caught.value)
        assert f"cannot hold column '{name}', which is {plain(VALUES[name].type)}" in str(caught.value)
        assert f"--drop {name}" in str(caught.value)
        assert graph().run(source, path, drop=[name], overwrite=True).failed == 0


DECLARED = {
    **{name: name for name in VALUES if name in DTYPES and name not in ("any", "bytes")},
    **dict.fromkeys(("large_string", "string_view", "dictionary<int8>", "run_end_encoded"), "string"),
    **dict.fromkeys(("binary", "large_binary", "binary_view", "fixed_size_binary"), "bytes"),
    "dictionary<uint32, ordered>": "int64",
    "tensor": "float32[2,3]",
    "tensor, permuted": "float32[3,2]",
}
"""The column types that stored types are as inputs of a graph."""


@pytest.mark.parametrize("output", HELD)
@pytest.mark.parametrize("name", DECLARED)
def test_declared_values_are_pyarrows(tmp_path: Path, name: str, output: str) -> None:
    stored = pc.run_end_decode(VALUES[name]) if name == "run_end_encoded" else VALUES[name]
    values = pa.concat_arrays([stored.slice(row, 1) for row in np.flatnonzero(stored.is_valid())])
    what = mt.Graph("g", {"y": mt.map(again, mt.input("x", DECLARED[name]), outputs=DECLARED[name])})
    path = tmp_path / f"out.{output}"
    report = what.run([pa.record_batch([values], names=["x"])] * 2, path, keep=[], batch_rows=2)
    assert (report.failed, report.rows) == (0, 2 * len(values))
    if output == "csv":
        with path.open(newline="") as file:
            found = [list(row.values()) for row in csv.DictReader(file)]
        leaf = pa.float32() if "tensor" in name else values.type
        assert found == [[field_of(value, leaf) for value in row.values()] for row in csv_rows(values)] * 2
    elif output == "jsonl":
        found = [json.loads(line)["y"] for line in path.read_text().splitlines()]
        assert all(map(same, found, json_rows(values) * 2))
    else:
        table = pq.read_table(path) if output == "parquet" else pa.ipc.open_file(path).read_all()
        found = [value for chunk in table["y"].chunks for value in json_rows(chunk)]
        assert all(map(same, found, json_rows(values) * 2))


def test_durations_are_read_back_by_pandas(tmp_path: Path) -> None:
    units = [1, -1, 90_061_000_000_001, -(2**62), 0, 86_400 * 10**9]
    graph().run(pa.table({"x": [0.0] * 6, "d": pa.array(units, pa.duration("ns"))}), tmp_path / "o.csv")
    assert [pd.Timedelta(text).value for text in pd.read_csv(tmp_path / "o.csv")["d"]] == units


def test_a_zone_that_nobody_knows_is_refused_before_the_run(tmp_path: Path) -> None:
    source = pa.table({"x": [1.0], "t": pa.array([1], pa.timestamp("us", "Nowhere/Land"))})
    for output in ("csv", "jsonl"):
        with pytest.raises(InputError, match=r"cannot hold column 't', which is timestamp\[us, tz=Nowhere/Land\]"):
            graph().run(source, tmp_path / f"o.{output}")
    assert graph().run(source, tmp_path / "o.parquet").failed == 0


@pytest.mark.parametrize(
    "dtype", ["datetime64[D]", "datetime64[s]", "datetime64[ns]", "timedelta64[s]", "timedelta64[ns]"]
)
@pytest.mark.parametrize("output", ["csv", "jsonl", "parquet", "arrow"])
def test_times_that_a_function_gives_are_pyarrows(tmp_path: Path, dtype: str, output: str) -> None:
    values = np.array([1, 2, 3, "NaT", 86_400], dtype)

    def times(x: np.ndarray) -> np.ndarray:
        return values[x.astype(int)]

    what = mt.Graph("g", {"y": mt.map(times, mt.input("x", "float64"))})
    path = tmp_path / f"o.{output}"
    assert what.run({"x": np.arange(5.0)}, path, keep=[], batch_rows=2).failed == 0
    wanted = pa.array(values)
    if output == "csv":
        found = [row["y"] or None for row in csv.DictReader(path.read_text().splitlines())]
        assert found == json_rows(wanted)
    elif output == "jsonl":
        assert [json.loads(line)["y"] for line in path.read_text().splitlines()] == json_rows(wanted)
    else:
        table = pq.read_table(path) if output == "parquet" else pa.ipc.open_file(path).read_all()
        kind = wanted.type if output == "arrow" else parquet_type(wanted.type)
        assert table["y"].combine_chunks() == wanted.cast(kind)
