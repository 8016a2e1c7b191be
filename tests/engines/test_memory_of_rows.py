"""What a run holds is bounded by bytes: large rows are few in a batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.engines.layout import HELD_BYTES, choose_batch_rows, choose_window_rows
from motet.engines.local import answer_bound
from motet.engines.local import rows as rows_module
from motet.io import open_source
from motet.io.stream import Stream, rechunk, rows_to_read
from motet.types import ColumnType

RUN = """
import json, sys
import motet as mt
import numpy as np
lengths = mt.map(lambda s: np.array([len(each) for each in s]), mt.input("s", "string"), outputs="int64")
report = mt.Graph("g", {"n": lengths}).run(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
print(json.dumps([report.rows, report.failed, report.peak_memory_bytes >> 20]))
"""
DOCUMENT = "0123456 " * 12_500


@pytest.mark.parametrize("drop", [["s"], []])
def test_documents_of_100_kb_stream(tmp_path: Path, drop: list[str]) -> None:
    """6,000 of them are 600 MB."""
    some = pa.table({"s": [f"{row} {DOCUMENT}" for row in range(100)]})
    with pq.ParquetWriter(tmp_path / "x.parquet", some.schema, use_dictionary=False, compression="zstd") as out:
        for _ in range(60):
            out.write_table(some)
    rows, failed, peak = run(tmp_path / "x.parquet", drop=drop)
    assert (rows, failed) == (6000, 0)
    assert peak < 560, peak


def run(path: Path, **options: Any) -> list[int]:
    """What `told` tells of a run over a file."""
    return told(RUN, str(path), str(path.parent / "o.parquet"), json.dumps(options))


def told(program: str, *arguments: str) -> list[int]:
    """Rows, failures and the peak of memory in MiB of a run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.parametrize("drop", [["s"], []])
def test_many_rows_a_batch_are_fewer_where_they_grow(tmp_path: Path, drop: list[str]) -> None:
    """5,000 rows of 100 KB would be 500 MB a batch, several of which are under way."""
    small = pa.table({"s": [str(row) for row in range(20_000)]})
    large = pa.table({"s": [f"{row} {DOCUMENT}" for row in range(100)]})
    with pq.ParquetWriter(tmp_path / "x.parquet", small.schema, use_dictionary=False, compression="zstd") as out:
        out.write_table(small)
        for _ in range(60):
            out.write_table(large)
    rows, failed, peak = run(tmp_path / "x.parquet", drop=drop, batch_rows=5000, workers=2)
    assert (rows, failed) == (26_000, 0)
    assert peak < (700 if drop else 1000), peak


@given(
    st.lists(st.integers(0, 300), max_size=60),
    st.lists(st.integers(1, 20), min_size=1),
    st.integers(1, 12),
    st.integers(1, 500),
)
@settings(max_examples=100, deadline=None)
def test_batches_end_where_their_rows_say(sizes: list[int], pieces: list[int], rows: int, most: int) -> None:
    table = pa.table({"s": ["x" * size for size in sizes]}, pa.schema([pa.field("s", pa.string())]))
    wanted: list[list[int]] = []
    for size in sizes:
        last = wanted[-1] if wanted else []
        if not last or len(last) == rows or sum(last) + len(last) + size + 1 > most:
            wanted.append(last := [])
        last.append(size)
    parts = []
    while sum(map(len, parts)) < len(sizes):  # type: ignore[arg-type]
        parts += table.slice(sum(map(len, parts)), pieces[len(parts) % len(pieces)]).to_batches()  # type: ignore[arg-type]
    batches = list(rechunk(parts, rows, most_bytes=most))
    assert [[len(text) for text in batch["s"].to_pylist()] for batch in batches] == wanted


@pytest.mark.parametrize("stop", [1, 7, 30, 59])
def test_a_run_of_cut_batches_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    monkeypatch.setattr(rows_module, "MOST_BYTES", 2_000)
    texts = ["x" * (row * 37 % 1900) for row in range(60)]
    pq.write_table(pa.table({"s": texts}), tmp_path / "x.parquet")
    lengths = mt.map(lambda s: np.array([len(each) for each in s]), mt.input("s", "string"), outputs="int64")
    graph = mt.Graph("g", {"n": lengths})

    def stopped(done: int, total: int | None, failed: int) -> None:
        if done >= stop:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        graph.run(tmp_path / "x.parquet", tmp_path / "o.parquet", batch_rows=16, progress=stopped)
    report = graph.run(tmp_path / "x.parquet", tmp_path / "o.parquet", batch_rows=16, resume=True)
    assert report.resumed_rows >= stop
    written = pq.read_table(tmp_path / "o.parquet")
    assert written["s"].to_pylist() == texts
    assert written["n"].to_pylist() == [len(text) for text in texts]


def row_bytes(path: Path, *columns: str) -> float:
    source = open_source(path)
    assert isinstance(source, Stream)
    return source.row_bytes(columns or source.schema.names)


@pytest.mark.parametrize("format", ["parquet", "arrow", "csv", "jsonl"])
def test_rows_are_measured(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"x.{format}"
    table = pa.table({"x": np.arange(50), "s": ["a" * 1000] * 50})
    if format == "parquet":
        pq.write_table(table, path)
    elif format == "arrow":
        pyarrow.feather.write_feather(table, path, "uncompressed")
    elif format == "csv":
        path.write_text("x,s\n" + "".join(f"{row},{'a' * 1000}\n" for row in range(50)))
    else:
        path.write_text("".join(f'{{"x":{row},"s":"{"a" * 1000}"}}\n' for row in range(50)))
    assert 1000 <= row_bytes(path) <= 1100
    if format in ("parquet", "arrow"):
        assert row_bytes(path, "x") == 8


def test_the_largest_rows_count_where_row_groups_differ(tmp_path: Path) -> None:
    table = pa.table({"s": ["a"] * 100 + [f"{row}{'b' * 10_000}" for row in range(100)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100, use_dictionary=False)
    assert row_bytes(tmp_path / "x.parquet") >= 10_000


def test_large_rows_are_few_in_a_batch() -> None:
    kinds = [ColumnType("string")]
    assert choose_batch_rows(kinds, None, 2, models=False) == 32_768
    assert choose_batch_rows(kinds, None, 2, models=False, played=100_000, held=100_000) == 16
    assert choose_batch_rows(kinds, None, 2, models=False, held=24_000) == 512
    assert choose_batch_rows(kinds, 60, 2, models=True, played=20e6, held=20e6) == 1
    assert choose_window_rows(kinds, None, 2, held=1e6) * 1e6 <= HELD_BYTES


def test_a_batch_that_is_large_is_read_in_parts() -> None:
    assert rows_to_read(10, 8) % 10 == 0
    assert rows_to_read(5000, 100_000) * 100_000 <= 16 << 20
    assert rows_to_read(5, 1e9) == 1


ANSWERS = """
import json, sys
import motet as mt
import numpy as np
many = {"text": lambda x: ["a" * 1_000_000 for _ in x], "array": lambda x: np.zeros((len(x), 500, 500), np.float32)}
given = mt.map(many[sys.argv[1]], mt.input("x", "int64"), outputs=json.loads(sys.argv[2]))
report = mt.Graph("g", {"y": given}).run({"x": np.arange(300)}, sys.argv[3], workers=2)
print(json.dumps([report.rows, report.failed, report.peak_memory_bytes >> 20]))
"""


@pytest.mark.parametrize(("what", "kind"), [("text", "string"), ("array", None)])
def test_large_answers_are_few_in_a_batch(tmp_path: Path, what: str, kind: str | None) -> None:
    """300 MB, of rows of 8 bytes."""
    rows, failed, peak = told(ANSWERS, what, json.dumps(kind), str(tmp_path / "o.parquet"))
    assert (rows, failed) == (300, 0)
    assert peak < 700, peak
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == 300


def test_the_peak_is_of_the_process_alone() -> None:
    """What began it held 400 MB, which Linux counts for it in `ru_maxrss`."""
    inner = "from motet.engines.local.report import peak_memory_bytes; print(peak_memory_bytes() >> 20)"
    outer = f"import subprocess, sys; held = b'x' * (400 << 20); subprocess.run([sys.executable, '-c', {inner!r}])"
    done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200


GROWING = """
import json, sys
import motet as mt
import numpy as np
text = lambda x: [f"{row} " + "a" * (200_000 if row > 1000 else 1) for row in x]
given = mt.map(text, mt.input("x", "int64"), outputs=json.loads(sys.argv[1]))
options = json.loads(sys.argv[3])
report = mt.Graph("g", {"y": given}).run({"x": np.arange(6000)}, sys.argv[2], workers=2, **options)
print(json.dumps([report.rows, report.failed, report.peak_memory_bytes >> 20]))
"""


@pytest.mark.parametrize(("kind", "options"), [("string", {}), (None, {"batch_rows": 3000})])
def test_answers_that_grow_within_a_batch_are_fewer(tmp_path: Path, kind: str | None, options: dict[str, int]) -> None:
    """1 GB, of rows whose first thousand answers are small."""
    rows, failed, peak = told(GROWING, json.dumps(kind), str(tmp_path / "o.parquet"), json.dumps(options))
    assert (rows, failed) == (6000, 0)
    assert peak < 1024, peak
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == 6000


@pytest.mark.parametrize("outputs", ["string", None])
@pytest.mark.parametrize("stop", [None, 300, 1000, 4000])
def test_batches_that_are_cut_for_their_answers_lose_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: str | None, stop: int | None
) -> None:
    monkeypatch.setattr(answer_bound, "FIRST_ROWS", 7)
    monkeypatch.setattr(answer_bound, "held_rows", lambda row_bytes: max(1, int(20_000 / max(row_bytes, 1.0))))
    texts = ["x" * (row * 37 % (20 + row // 4)) for row in range(5000)]
    pq.write_table(pa.table({"x": np.arange(5000)}), tmp_path / "x.parquet", row_group_size=1100)
    sizes = []

    def answers(x: Any) -> Any:
        sizes.append(len(x))
        return [texts[row] if row != 17 else 1 / 0 for row in x]

    graph = mt.Graph("g", {"y": mt.map(answers, mt.input("x", "int64"), outputs=outputs)})

    def stopped(done: int, total: int | None, failed: int) -> None:
        if stop is not None and done >= stop:
            raise RuntimeError("stopped")

    if stop is not None:
        with pytest.raises(RuntimeError, match="stopped"):
            graph.run(tmp_path / "x.parquet", tmp_path / "o.parquet", workers=2, progress=stopped)
    report = graph.run(tmp_path / "x.parquet", tmp_path / "o.parquet", workers=2, resume=stop is not None)
    assert (report.rows, report.failed) == (5000, 1)
    assert report.resumed_rows >= (stop or 0)
    written = pq.read_table(tmp_path / "o.parquet")
    assert written["x"].to_pylist() == [row for row in range(5000) if row != 17]
    assert written["y"].to_pylist() == [text for row, text in enumerate(texts) if row != 17]
    assert max(sizes) < 1000
