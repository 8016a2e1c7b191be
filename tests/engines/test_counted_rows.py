"""Rows in are answers and failures: readers, players and writers that lose rows end a run, wherever they lose them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

import motet as mt
from helpers import functions
from motet.engines.layout import RunLayout
from motet.engines.local import merge, pending
from motet.engines.local.failure_file import FailureFile
from motet.engines.local.journal import PieceJournal
from motet.engines.local.pipeline import Pipeline
from motet.engines.local.rows import RunRows
from motet.errors import ResumeError, RunError
from motet.io import csv, records, sink, stream
from motet.io.csv import CsvSource
from motet.io.dataset import DatasetSource
from motet.io.groups import GroupedSource
from motet.io.images import ImagesSource
from motet.io.ipc import ArrowSource
from motet.io.jsonl import JsonLinesSource
from motet.io.memory import IterableSource, TableSource
from motet.io.parquet import ParquetSource
from motet.io.stream import Stream

ROWS = 40
TABLE = pa.table({"x": np.arange(ROWS), "k": [f"k{row // 4}" for row in range(ROWS)]})
SOURCES = {
    "parquet": ParquetSource,
    "arrow": ArrowSource,
    "arrows": ArrowSource,
    "csv": CsvSource,
    "quoted.csv": CsvSource,
    "stray.csv": CsvSource,
    "jsonl": JsonLinesSource,
    "table": TableSource,
    "batches": IterableSource,
    "dataset": DatasetSource,
    "parts": ParquetSource,
    "parts.csv": CsvSource,
}
DOUBLE = mt.Graph("g", {"y": mt.map(functions.double, mt.input("x", "int64"), outputs="int64")})


def write(folder: Path, kind: str) -> Any:
    """The rows as a file of small blocks, as two files, or as what is in memory."""
    path = folder / f"rows.{kind}"
    if kind.startswith("parts"):
        for part, start in enumerate((0, 13)):
            piece = TABLE.slice(start, 13 if part == 0 else None)
            one = folder / f"part-{part}.{kind.partition('.')[2] or 'parquet'}"
            pq.write_table(piece, one, row_group_size=7) if kind == "parts" else pyarrow.csv.write_csv(piece, one)
        return folder / "part-*"
    if kind == "parquet":
        pq.write_table(TABLE, path, row_group_size=7)
    elif kind == "arrow":
        pyarrow.feather.write_feather(TABLE, path, "uncompressed", chunksize=7)
    elif kind == "arrows":
        path = folder / "rows.arrow"
        with pa.ipc.new_stream(path, TABLE.schema) as out:
            out.write_table(TABLE, 7)
    elif kind == "jsonl":
        path.write_text("".join(f'{{"x":{row["x"]},"k":"{row["k"]}"}}\n' for row in TABLE.to_pylist()))
    elif kind.endswith("csv"):
        path.write_text("x,k\n" + "".join(f"{row['x']},{_cell(kind, row['k'])}\n" for row in TABLE.to_pylist()))
    elif kind == "dataset":
        pq.write_table(TABLE, folder / "rows.parquet", row_group_size=7)
        return pyarrow.dataset.dataset(folder / "rows.parquet")
    else:
        return TABLE if kind == "table" else TABLE.to_batches(7)
    return path


def _cell(kind: str, text: str) -> str:
    return {"csv": text, "quoted.csv": f'"{text},\n"', "stray.csv": f'"{text}' if text == "k3" else text}[kind]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.utf8._PIECE_BYTES", 30)
    monkeypatch.setattr("motet.io.jsonl._BLOCK_BYTES", 60)
    monkeypatch.setattr("motet.io.stream._READ_BYTES", 30)
    monkeypatch.setattr("motet.io.parquet._RUN_BYTES", 30)


def run(what: Any, folder: Path, **options: Any) -> mt.RunReport:
    return DOUBLE.run(what, str(folder / "out.parquet"), **{"batch_rows": 3, "overwrite": True, **options})


def drop(which: int) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Lose one of what an iterator gives, the last one for -1."""

    def lose(items: Iterator[Any]) -> Iterator[Any]:
        held = list(items)
        yield from (item for place, item in enumerate(held) if place != which % len(held))

    return lose


def double(items: Iterator[Any]) -> Iterator[Any]:
    """Give the second of what an iterator gives twice."""
    held = list(items)
    yield from [*held[:2], *held[1:]]


def cut(first: int, last: int | None) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Lose rows of each batch."""
    return lambda items: (item[first:last] for item in items)


LOSSES = {"first": drop(0), "second": drop(1), "last": drop(-1), "head": cut(1, None), "tail": cut(0, -1)}


@pytest.mark.parametrize("options", [{}, {"limit": 30}, {"workers": 3}], ids=["all", "limit", "workers"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_reader_that_loses_rows_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, loss: str, options: dict[str, Any]
) -> None:
    what, source = write(tmp_path, kind), SOURCES[kind]
    whole = run(what, tmp_path, **options)
    assert (whole.rows, whole.failed) == (options.get("limit", ROWS), 4 if kind == "stray.csv" else 0)
    real, lose = source.pieces, LOSSES[loss]  # type: ignore[attr-defined]
    monkeypatch.setattr(source, "pieces", lambda self, *given: lose(real(self, *given)))
    if loss == "last" and "limit" in options:
        return  # what comes behind the limit is no matter
    with pytest.raises(RunError, match=r"were expected, and .* were read|has 40 rows"):
        run(what, tmp_path, **options)


@pytest.mark.parametrize("loss", ["first", "second", "last"])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("where", ["batches", "rechunk", "items"])
def test_rows_lost_between_reader_and_player_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, loss: str, where: str
) -> None:
    what, lose = write(tmp_path, kind), LOSSES[loss]
    owner, name = {"batches": (Stream, "batches"), "rechunk": (stream, "rechunk"), "items": (RunRows, "read")}[where]
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **options: lose(real(*given, **options)))
    with pytest.raises(RunError):
        run(what, tmp_path)


@pytest.mark.parametrize("kind", SOURCES)
def test_rows_lost_or_doubled_before_a_limit_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    what = write(tmp_path, kind)
    for owner, name in ((RunRows, "read"), (RunRows, "_limited"), (Pipeline, "__iter__")):
        real = getattr(owner, name)
        for change in (drop(1), drop(-1), double):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, lambda *given, r=real, c=change, **options: c(r(*given, **options)))
                with pytest.raises(RunError):
                    run(what, tmp_path, limit=30)
    assert run(what, tmp_path, limit=30).rows == 30
    assert run(what, tmp_path, limit=50).rows == ROWS


@pytest.mark.parametrize("kind", ["csv", "quoted.csv", "stray.csv", "parts.csv"])
@pytest.mark.parametrize(("owner", "name"), [(csv, "blocks"), (csv, "utf8_pieces")])
@pytest.mark.parametrize("loss", ["second", "last"])
def test_blocks_lost_where_text_is_taken_apart_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, owner: Any, name: str, loss: str
) -> None:
    what, real = write(tmp_path, kind), getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **options: LOSSES[loss](real(*given, **options)))
    with pytest.raises(RunError):
        run(what, tmp_path)


def test_records_lost_where_text_is_taken_apart_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, starts = records.records, records.RecordBlock.starts.func  # type: ignore[attr-defined]
    for which in (0, 1, -1):
        with monkeypatch.context() as patch:
            patch.setattr(records, "records", lambda *given, w=which, **options: drop(w)(real(*given, **options)))
            with pytest.raises(RunError):
                run(write(tmp_path, "stray.csv"), tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(records.RecordBlock, "starts", property(lambda self, w=which: np.delete(starts(self), w)))  # type: ignore[misc]
            with pytest.raises(RunError):
                run(write(tmp_path, "quoted.csv"), tmp_path)


@pytest.mark.parametrize("loss", ["first", "second", "last"])
def test_lines_lost_where_json_lines_are_taken_apart_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    what, real = write(tmp_path, "jsonl"), JsonLinesSource._blocks
    monkeypatch.setattr(JsonLinesSource, "_blocks", lambda self, *given: LOSSES[loss](real(self, *given)))
    with pytest.raises(RunError):
        run(what, tmp_path)


def test_groups_and_pictures_that_are_lost_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = mt.Graph("g", {"n": mt.map(functions.lengths, mt.input("x", "int64[?]"), outputs="int64")})
    assert total.run(TABLE, str(tmp_path / "o.parquet"), group_by="k").rows == 10
    real = GroupedSource.pieces
    with monkeypatch.context() as patch:
        patch.setattr(GroupedSource, "pieces", lambda self, *given: drop(1)(real(self, *given)))
        with pytest.raises(RunError):
            total.run(TABLE, str(tmp_path / "o.parquet"), group_by="k", overwrite=True)
    for name in "abc":
        Image.new("L", (2, 2)).save(tmp_path / f"{name}.png")
    image = mt.input("image", "uint8[2,2]")
    seen = mt.Graph("p", {"n": mt.map(lambda image: image.max(axis=(1, 2)), image, outputs="uint8")})
    assert seen.run(tmp_path / "*.png", str(tmp_path / "p.parquet")).answered == 3
    real_images = ImagesSource.pieces
    monkeypatch.setattr(ImagesSource, "pieces", lambda self, *given: cut(0, -1)(real_images(self, *given)))
    with pytest.raises(RunError):
        seen.run(tmp_path / "*.png", str(tmp_path / "p.parquet"), overwrite=True)


def test_rows_to_replay_that_are_lost_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = write(tmp_path, "csv")
    pq.write_table(pa.table({"row": [3, 4, 30]}), tmp_path / "f.parquet")
    assert run(what, tmp_path, only_failed=str(tmp_path / "f.parquet")).rows == 3
    real = CsvSource.pieces
    monkeypatch.setattr(CsvSource, "pieces", lambda self, *given: drop(1)(real(self, *given)))
    with pytest.raises(RunError):
        run(what, tmp_path, only_failed=str(tmp_path / "f.parquet"))


def _lose_of_bound(real: Any) -> Any:
    def bind(self: Any, read: Any, ids: Any) -> Any:
        batch, failures, places = real(self, read, ids)
        return batch.take(np.arange(1, len(batch))), failures, places

    return bind


def test_rows_lost_while_played_or_written_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = write(tmp_path, "parquet")
    real_iter, real_write, real_group = Pipeline.__iter__, sink.FileWriter.write, sink.FileWriter._write_group
    for owner, name, changed in (
        (RunLayout, "bind", _lose_of_bound(RunLayout.bind)),
        (Pipeline, "__iter__", lambda self: drop(2)(real_iter(self))),
        (Pipeline, "__iter__", lambda self: drop(-1)(real_iter(self))),
        (sink.FileWriter, "write", lambda self, batch: real_write(self, batch.slice(1))),
        (sink.FileWriter, "_write_group", lambda self, held: real_group(self, held[1:])),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, changed)
            with pytest.raises(RunError):
                run(what, tmp_path)
    assert run(what, tmp_path).rows == ROWS


def test_a_piece_that_lost_rows_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = write(tmp_path, "parquet")
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)

    def stop(done: int, total: int | None, failed: int) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(what, tmp_path, progress=stop)
    real = PieceJournal.answers
    monkeypatch.setattr(PieceJournal, "answers", lambda self, piece: drop(0)(real(self, piece)))
    with pytest.raises(ResumeError, match="a piece of 3 rows holds 0 answers and 0 failures"):
        run(what, tmp_path, resume=True, overwrite=False)


@pytest.mark.parametrize(
    "change", [lambda found: found[1:], lambda found: [*found[:1], *found]], ids=["lost", "doubled"]
)
@pytest.mark.parametrize("output", ["o.parquet", "o.csv", "parts/"])
def test_failures_that_are_lost_or_doubled_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, change: Callable[[Any], Any]
) -> None:
    table = pa.table({"x": pa.array([None if row % 3 == 0 else row for row in range(ROWS)], "int64")})
    assert DOUBLE.run(table, f"{tmp_path}/{output}", batch_rows=7).failed == 14
    real = FailureFile.write
    monkeypatch.setattr(FailureFile, "write", lambda self, failures: real(self, change(failures)))
    with pytest.raises(RunError, match="14 rows failed, and .* were written"):
        DOUBLE.run(table, f"{tmp_path}/{output}", batch_rows=7, overwrite=True)


@pytest.mark.parametrize("change", [drop(0), drop(-1), double], ids=["first", "last", "doubled"])
@pytest.mark.parametrize("output", ["o.parquet", "o.csv", "o.jsonl"])
@pytest.mark.parametrize("where", ["old", "new", "both", "answers"])
def test_rows_lost_or_doubled_in_a_merge_leave_the_output_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, output: str, change: Any
) -> None:
    def fails(x: Any) -> Any:
        if broken and (x % 5 == 1).any():
            raise ValueError("camera off")
        return 2 * x

    graph = mt.Graph("g", {"y": mt.map(fails, mt.input("x", "int64"), outputs="int64")})
    if where in ("old", "new") and output != "o.parquet":
        return  # text of so few rows is one batch
    path, broken = tmp_path / output, True
    failed = graph.run(TABLE, str(path), batch_rows=3).failed_output
    before, broken = path.read_bytes(), False
    monkeypatch.setattr(merge, "READ_ROWS", 7)
    if where in ("old", "new"):
        real, taken = merge._interleaved, {"old": 0, "new": 2}[where]

        def interleaved(*given: Any) -> Any:
            given[taken]._batches = change(given[taken]._batches)
            return real(*given)

        monkeypatch.setattr(merge, "_interleaved", interleaved)
    elif where == "both":
        monkeypatch.setattr(merge, "_interleaved", lambda *given, r=merge._interleaved: change(r(*given)))
    else:
        monkeypatch.setattr(PieceJournal, "answers", lambda self, piece, r=PieceJournal.answers: change(r(self, piece)))
    with pytest.raises(RunError):
        graph.run(TABLE, only_failed=failed, into=str(path), batch_rows=3)
    if where != "answers":
        assert path.read_bytes() == before
