"""The embedded engine: what a run reads, plays and writes, what it refuses, and how it goes on after any kill."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.json
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import functions
from motet.engines.local import pending
from motet.errors import (
    InputError,
    ModelFailedError,
    OutputExistsError,
    ResumeError,
    RunError,
    TooManyFailuresError,
    TypeMismatchError,
    UnknownNameError,
)
from motet.io import open_source
from motet.testing import fakes
from motet.testing.fakes import Affine, Counting, Failing, fake

ROWS = 100


def table(rows: int = ROWS) -> pa.Table:
    """Rows 0, 1, 2, ... as x, with a name, a flag and a list beside it."""
    x = np.arange(rows, dtype=np.float32)
    return pa.table(
        {
            "id": pa.array([f"row-{row}" for row in range(rows)]),
            "x": pa.array(x),
            "flag": pa.array(x.astype(int) % 2 == 0),
            "list": pa.array([[row, row + 1] for row in range(rows)], pa.list_(pa.int64())),
        }
    )


def graph(model: mt.Model | None = None, output: str = "y") -> mt.Graph:
    """y = 2 x + 1."""
    x = mt.input("x", "float32")
    return mt.Graph("twice", {output: mt.model(model or fake(Affine, "affine", scale=2.0, offset=1.0), x)})


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(table(), path)
    return path


@pytest.fixture
def commits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is a piece of its own."""
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)


def read(path: str | Path) -> pa.Table:
    return pq.read_table(path)


def failures(path: str | Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Stopped(BaseException):
    """What stops a run from outside."""


def stop_after(rows: int) -> Any:
    """A progress that stops the run as soon as this many rows are done."""

    def progress(done: int, total: int | None, failed: int) -> None:
        if done >= rows:
            raise Stopped

    return progress


def interrupt(what: mt.Graph, source: Any, output: Path, rows: int = 30, **options: Any) -> None:
    """Leave an unfinished run behind."""
    with pytest.raises(Stopped):
        what.run(source, output, progress=stop_after(rows), batch_rows=10, workers=1, **options)
    assert not output.exists()


# what is written


def test_rows_come_in_order_with_the_sources_columns_before_the_outputs(parquet: Path, tmp_path: Path) -> None:
    report = graph().run(parquet, tmp_path / "out.parquet", batch_rows=7, workers=3)
    found = read(tmp_path / "out.parquet")
    assert found.column_names == ["id", "x", "flag", "list", "y"]
    assert found.drop_columns("y").equals(table())
    assert found["y"].to_pylist() == [2.0 * row + 1 for row in range(ROWS)]
    assert (report.rows, report.answered, report.failed, report.failed_output) == (ROWS, ROWS, 0, "")
    assert left(tmp_path) == ["out.parquet", "rows.parquet"]


def test_keep_names_what_is_written_and_also_lists(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, tmp_path / "out.parquet", keep=["list", "id"])
    found = read(tmp_path / "out.parquet")
    assert found.column_names == ["id", "list", "y"]
    assert found["list"].to_pylist()[5] == [5, 6]


def test_keep_may_be_empty(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, tmp_path / "out.parquet", keep=[])
    assert read(tmp_path / "out.parquet").column_names == ["y"]


def test_drop_leaves_columns_out(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, tmp_path / "out.parquet", drop=["flag", "x"])
    assert read(tmp_path / "out.parquet").column_names == ["id", "list", "y"]


def test_an_input_that_is_an_array_is_not_written_unless_it_is_kept(tmp_path: Path) -> None:
    source = {"x": np.ones((4, 3), dtype=np.float32), "id": np.arange(4)}
    what = mt.Graph("sums", {"y": mt.model(fake(Affine, "affine", "float32[3]"), mt.input("x", "float32[3]"))})
    report = what.run(source, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet").column_names == ["id", "y"]
    assert report.columns_left_out == ("x",)
    assert "columns left out: x (--keep names those to write)" in str(report)
    what.run(source, tmp_path / "kept.parquet", keep=["x"])
    kept = read(tmp_path / "kept.parquet")
    assert kept.column_names == ["x", "y"]
    assert kept["x"].combine_chunks().to_pylist() == [[1, 1, 1]] * 4


@pytest.mark.parametrize("option", ["keep", "drop"])
def test_an_unknown_column_is_named_with_the_known_ones(parquet: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"{option}: unknown column 'flags'; did you mean 'flag'\?"):
        graph().run(parquet, tmp_path / "out.parquet", **{option: ["flags"]})  # type: ignore[call-overload]
    assert left(tmp_path) == ["rows.parquet"]


def test_a_name_that_both_have_is_refused_at_the_start(parquet: Path, tmp_path: Path) -> None:
    model = fake(Counting, "counting", log="collision")
    with pytest.raises(InputError, match=r"both the source and the graph have a column 'flag'.*\n.*--drop flag"):
        graph(model, "flag").run(parquet, tmp_path / "out.parquet")
    assert fakes.calls.get("collision", []) == []
    assert left(tmp_path) == ["rows.parquet"]
    graph(model, "flag").run(parquet, tmp_path / "out.parquet", drop=["flag"])
    assert read(tmp_path / "out.parquet")["flag"].to_pylist()[1] == 1.0


def test_a_missing_column_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown column 'x'; known: z\n.*takes x: float32"):
        graph().run({"z": np.zeros(3, dtype=np.float32)}, tmp_path / "out.parquet")


def test_a_column_of_another_type_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(TypeMismatchError, match=r"x.*float32"):
        graph().run(pa.table({"x": ["a", "b"]}), tmp_path / "out.parquet")


@pytest.mark.parametrize("name", ["out.xyz", "out"])
@pytest.mark.parametrize("declared", [True, False])
def test_an_unknown_format_is_refused_at_the_start(parquet: Path, tmp_path: Path, name: str, declared: bool) -> None:
    x = mt.input("x", "float32")
    played = mt.model(fake(Counting, "counting", log="format"), x)
    answer = played if declared else mt.map(functions.undeclared, played)
    with pytest.raises(InputError, match="by its suffix; known: "):
        mt.Graph("g", {"y": answer}).run(parquet, tmp_path / name)
    assert fakes.calls.get("format", []) == []
    assert left(tmp_path) == ["rows.parquet"]


def test_an_unknown_option_names_the_known_ones(parquet: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown option batchrows; known: failed, batch_rows"):
        graph().run(parquet, tmp_path / "out.parquet", batchrows=3)  # type: ignore[call-overload]


@pytest.mark.parametrize("option", ["batch_rows", "limit", "workers"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_numbers_of_rows_and_workers_are_whole_and_positive(
    parquet: Path, tmp_path: Path, option: str, value: Any
) -> None:
    with pytest.raises(InputError, match=f"{option} must be a whole number of at least 1; got {value}"):
        graph().run(parquet, tmp_path / "out.parquet", **{option: value})


# how much


@pytest.mark.parametrize("limit", [1, 9, 10, 11, 99, 100, 1000])
def test_limit_plays_the_first_rows(parquet: Path, tmp_path: Path, limit: int) -> None:
    report = graph().run(parquet, tmp_path / "out.parquet", limit=limit, batch_rows=10)
    assert report.rows == min(limit, ROWS)
    assert read(tmp_path / "out.parquet")["x"].to_pylist() == list(range(min(limit, ROWS)))


@pytest.mark.parametrize("batch_rows", [1, 3, 64, 1000])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_result_does_not_depend_on_batches_and_workers(
    parquet: Path, tmp_path: Path, batch_rows: int, workers: int
) -> None:
    graph().run(parquet, tmp_path / "out.parquet", batch_rows=batch_rows, workers=workers)
    graph().run(parquet, tmp_path / "plain.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "plain.parquet").read_bytes()


def test_batch_rows_are_what_a_map_is_given(parquet: Path, tmp_path: Path) -> None:
    model = fake(Counting, "counting", log="batches")
    report = graph(model).run(parquet, tmp_path / "out.parquet", batch_rows=8, workers=1)
    assert report.batch_rows == 8
    assert max(fakes.calls["batches"]) <= 8
    assert report.nodes[0].batches == 13


def test_progress_says_how_far_it_is(parquet: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None, int]] = []
    model = fake(Failing, "failing", bad=[17.0])
    graph(model).run(
        parquet, tmp_path / "out.parquet", batch_rows=25, progress=lambda *told: seen.append(told), limit=90
    )
    assert seen == [(25, 90, 1), (50, 90, 1), (75, 90, 1), (90, 90, 1)]


def test_a_source_without_rows_gives_a_file_without_rows(tmp_path: Path) -> None:
    report = graph().run(table(0), tmp_path / "out.parquet")
    assert report.rows == 0
    found = read(tmp_path / "out.parquet")
    assert found.num_rows == 0
    assert found.column_names == ["id", "x", "flag", "list", "y"]


# formats


def write_csv(path: Path, rows: pa.Table) -> None:
    pa.csv.write_csv(rows.drop(["list"]), path)


def write_jsonl(path: Path, rows: pa.Table) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))


WRITERS = {
    "rows.parquet": lambda path, rows: pq.write_table(rows, path),
    "rows.arrow": lambda path, rows: pa.feather.write_feather(rows, str(path), compression="uncompressed"),
    "rows.csv": write_csv,
    "rows.jsonl": write_jsonl,
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, table())
    report = graph().run(tmp_path / name, tmp_path / "out.parquet", batch_rows=13)
    found = read(tmp_path / "out.parquet")
    assert report.rows == ROWS
    assert found["id"].to_pylist() == table()["id"].to_pylist()
    assert found["y"].to_pylist() == [2.0 * row + 1 for row in range(ROWS)]


READERS = {
    "out.parquet": pq.read_table,
    "out.arrow": lambda path: pa.ipc.open_file(str(path)).read_all(),
    "out.csv": pa.csv.read_csv,
    "out.csv.gz": pa.csv.read_csv,
    "out.jsonl": pa.json.read_json,
}


@pytest.mark.parametrize("name", list(READERS))
def test_every_format_is_written(parquet: Path, tmp_path: Path, name: str) -> None:
    report = graph().run(parquet, str(tmp_path / name), batch_rows=13, drop=["flag"])
    found = READERS[name](tmp_path / name)
    held = [] if ".csv" in name else ["list"]  # lists of any length are no field of a line
    assert found.column_names == ["id", "x", *held, "y"]
    assert list(report.columns_left_out) == ([] if held else ["list"])
    assert found["id"].to_pylist() == table()["id"].to_pylist()
    assert found["y"].to_pylist() == [2.0 * row + 1 for row in range(ROWS)]


def test_a_folder_and_a_pattern_of_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    for part in range(4):
        pq.write_table(table().slice(25 * part, 25), rows / f"part-{part}.parquet")
    for place, source in enumerate((rows, f"{rows}/*.parquet", sorted(map(str, rows.iterdir())))):
        graph().run(source, tmp_path / f"{place}.parquet", batch_rows=9)
        assert read(tmp_path / f"{place}.parquet")["x"].to_pylist() == list(range(ROWS))


def test_memory_is_read(tmp_path: Path) -> None:
    batches = table().to_batches(max_chunksize=11)
    sources = {
        "table": table(),
        "dict": {"id": table()["id"].to_pylist(), "x": np.arange(ROWS, dtype=np.float32)},
        "list": batches,
        "iterator": iter(batches),
        "reader": table().to_reader(max_chunksize=11),
        "dataset": pa.dataset.dataset(table()),
    }
    for name, source in sources.items():
        graph().run(source, tmp_path / f"{name}.parquet", batch_rows=10)
        found = read(tmp_path / f"{name}.parquet")
        assert found["x"].to_pylist() == list(range(ROWS)), name
        assert found["y"].to_pylist() == [2.0 * row + 1 for row in range(ROWS)], name


def test_a_dataset_of_files_is_read(tmp_path: Path) -> None:
    pa.dataset.write_dataset(table(), tmp_path / "set", format="parquet", max_rows_per_file=30, max_rows_per_group=30)
    report = graph().run(pa.dataset.dataset(tmp_path / "set"), tmp_path / "out.parquet")
    assert report.rows == ROWS
    assert read(tmp_path / "out.parquet")["x"].to_pylist() == list(range(ROWS))


def test_a_folder_as_output_keeps_the_parts(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, f"{tmp_path}/out/", batch_rows=8, part_rows=30)
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert [pq.read_metadata(part).num_rows for part in parts] == [30, 30, 30, 10]
    assert [part.name for part in parts] == [f"part-{place:05d}.parquet" for place in range(4)]
    assert json.loads((tmp_path / "out" / "_finished.json").read_text()) == {"parts": 4, "rows": ROWS}
    graph().run(tmp_path / "out", tmp_path / "again.parquet", drop=["y"])
    assert read(tmp_path / "again.parquet")["x"].to_pylist() == list(range(ROWS))


def test_a_shorter_result_replaces_all_parts_of_a_folder(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, f"{tmp_path}/out/", part_rows=30)
    graph().run(parquet, f"{tmp_path}/out/", overwrite=True, limit=40, part_rows=30)
    assert left(tmp_path / "out") == ["_finished.json", "part-00000.parquet", "part-00001.parquet"]
    assert read(tmp_path / "out" / "part-00001.parquet").num_rows == 10


# failures


def test_one_malformed_image_among_many_fails_alone(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="reading images needs Pillow")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(40):
        image.fromarray(np.full((4, 6), number, dtype=np.uint8)).save(pictures / f"{number:02d}.png")
    (pictures / "17.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of the kind")
    shown = mt.map(functions.undeclared, mt.input("image", "uint8[4,6]"), outputs="uint8[4,6]")
    report = mt.Graph("double", {"y": shown}).run(pictures, tmp_path / "out.parquet", batch_rows=8)

    assert (report.rows, report.answered, report.failed) == (40, 39, 1)
    found = read(tmp_path / "out.parquet")
    good = [number for number in range(40) if number != 17]
    assert [Path(path).stem for path in found["path"].to_pylist()] == [f"{number:02d}" for number in good]
    assert [row[0][0] for row in found["y"].combine_chunks().to_numpy_ndarray().tolist()] == [2 * n for n in good]
    assert report.failed_output == f"{tmp_path}/out.parquet.failed.parquet"
    (failure,) = failures(report.failed_output)
    assert (failure["row"], failure["node"], failure["error"]) == (17, "input", "InputError")
    assert failure["message"].startswith("column 'image' ")
    assert "image" in failure["message"].removeprefix("column 'image' ")


def test_rows_that_a_model_refuses_fail_alone_and_say_why(parquet: Path, tmp_path: Path) -> None:
    model = fake(Failing, "failing", bad=[3.0, 50.0, 99.0], scale=2.0, offset=1.0, settings={"version": "v7"})
    report = graph(model).run(parquet, tmp_path / "out.parquet", batch_rows=16)
    found = failures(report.failed_output)
    assert [failure["row"] for failure in found] == [3, 50, 99]
    assert {(each["node"], each["model"], each["version"], each["error"]) for each in found} == {
        ("model_1", "failing", "v7", "ValueError")
    }
    assert found[1]["message"].startswith("cannot take 50")
    rows = read(tmp_path / "out.parquet")
    assert rows["x"].to_pylist() == [row for row in range(ROWS) if row not in (3, 50, 99)]
    assert rows["y"].to_pylist() == [2.0 * row + 1 for row in range(ROWS) if row not in (3, 50, 99)]


def test_failures_can_be_written_elsewhere_also_when_there_are_none(parquet: Path, tmp_path: Path) -> None:
    report = graph().run(parquet, tmp_path / "out.parquet", failed=str(tmp_path / "bad.jsonl"))
    assert report.failed_output == str(tmp_path / "bad.jsonl")
    assert (tmp_path / "bad.jsonl").read_text() == ""
    model = fake(Failing, "failing", bad=[3.0])
    graph(model).run(parquet, tmp_path / "out.parquet", failed=str(tmp_path / "bad.jsonl"), overwrite=True)
    assert json.loads((tmp_path / "bad.jsonl").read_text())["row"] == 3


def test_failures_of_an_earlier_run_go_when_no_row_fails(parquet: Path, tmp_path: Path) -> None:
    graph(fake(Failing, "failing", bad=[3.0])).run(parquet, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet.failed.parquet").exists()
    graph().run(parquet, tmp_path / "out.parquet", overwrite=True)
    assert left(tmp_path) == ["out.parquet", "rows.parquet"]


def test_a_malformed_line_fails_alone(tmp_path: Path) -> None:
    lines = [json.dumps({"x": float(row)}) for row in range(20)]
    lines[7] = '{"x": 7.0'
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    report = graph().run(tmp_path / "rows.jsonl", tmp_path / "out.parquet", batch_rows=4)
    assert [failure["row"] for failure in failures(report.failed_output)] == [7]
    assert read(tmp_path / "out.parquet")["x"].to_pylist() == [row for row in range(20) if row != 7]


def test_only_failed_plays_the_failed_rows_into_a_file_of_their_own(parquet: Path, tmp_path: Path) -> None:
    broken = fake(Failing, "failing", bad=[3.0, 50.0, 51.0])
    first = graph(broken).run(parquet, tmp_path / "out.parquet", batch_rows=10)
    model = fake(Failing, "failing", bad=[51.0], scale=2.0, offset=1.0)
    report = graph(model).run(parquet, tmp_path / "mended.parquet", only_failed=first.failed_output, batch_rows=2)
    assert (report.rows, report.answered, report.failed) == (3, 2, 1)
    assert read(tmp_path / "mended.parquet").select(["id", "y"]).to_pylist() == [
        {"id": "row-3", "y": 7.0},
        {"id": "row-50", "y": 101.0},
    ]
    assert [failure["row"] for failure in failures(report.failed_output)] == [51]
    last = graph().run(parquet, tmp_path / "last.parquet", only_failed=report.failed_output)
    assert last.rows == 1
    assert read(tmp_path / "last.parquet")["id"].to_pylist() == ["row-51"]


def test_only_failed_needs_a_file_of_failures(parquet: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"only_failed: .*has no column 'row' of whole numbers; it has id, x"):
        graph().run(parquet, tmp_path / "out.parquet", only_failed=str(parquet))
    pq.write_table(pa.table({"row": [5, 200]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"names row 200; the source has 100 rows\n.*another input"):
        graph().run(parquet, tmp_path / "out.parquet", only_failed=str(tmp_path / "other.parquet"))


def test_max_failures_allows_that_many(parquet: Path, tmp_path: Path) -> None:
    model = fake(Failing, "failing", bad=[30.0, 60.0, 90.0])
    assert graph(model).run(parquet, tmp_path / "out.parquet", max_failures=3).failed == 3
    for allowed in (2, "2", "2%", "2.9%"):
        with pytest.raises(TooManyFailuresError, match=r"3 of 100 rows failed, more than .* are too many"):
            graph(model).run(parquet, tmp_path / "few.parquet", max_failures=allowed, overwrite=True)
        assert not (tmp_path / "few.parquet").exists()
    for place, allowed in enumerate(("3%", "100%")):
        assert graph(model).run(parquet, tmp_path / f"{place}.parquet", max_failures=allowed).failed == 3


def test_max_failures_ends_a_run_early(parquet: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    model = fake(Failing, "failing", bad=[2.0])
    with pytest.raises(TooManyFailuresError, match="1 of 10 rows failed, more than 0 are too many"):
        graph(model).run(
            parquet,
            tmp_path / "out.parquet",
            max_failures=0,
            batch_rows=10,
            progress=lambda *told: seen.append(told[0]),
        )
    assert seen == []


def test_a_part_of_an_unknown_number_of_rows_is_judged_at_the_end(tmp_path: Path) -> None:
    model = fake(Failing, "failing", bad=[0.0, 1.0])
    with pytest.raises(TooManyFailuresError, match=r"2 of 100 rows failed, more than 1\.000% are too many"):
        graph(model).run(iter(table().to_batches()), tmp_path / "out.parquet", max_failures="1%", batch_rows=10)


@pytest.mark.parametrize("text", ["many", "-1", "101%", "1.5", "%", 0.5, "9" * 5000])
def test_max_failures_is_a_number_or_a_part(parquet: Path, tmp_path: Path, text: Any) -> None:
    with pytest.raises(InputError, match=r"max_failures: .* is no number of failures\n.*a part such as 1%"):
        graph().run(parquet, tmp_path / "out.parquet", max_failures=text)
    assert left(tmp_path) == ["rows.parquet"]


def test_the_failures_of_a_run_that_ended_for_them_can_be_seen(parquet: Path, tmp_path: Path) -> None:
    model = fake(Failing, "failing", bad=[2.0, 30.0])
    with pytest.raises(TooManyFailuresError, match="the unfinished run"):
        graph(model).run(parquet, tmp_path / "out.parquet", max_failures=1, batch_rows=10, workers=1)
    pieces = sorted((tmp_path / "out.parquet.unfinished").glob("_piece-*.arrow"))
    failed = [piece for piece in pieces if not piece.stem.endswith("-0")]
    assert [row for piece in failed for row in pa.ipc.open_stream(str(piece)).read_all()["row"].to_pylist()] == [2, 30]
    report = graph(model).run(parquet, tmp_path / "out.parquet", max_failures=2, resume=True)
    assert (report.failed, report.resumed_rows) == (2, 40)


def test_a_model_that_fails_on_everything_ends_the_run_with_its_own_error(parquet: Path, tmp_path: Path) -> None:
    model = fake(Failing, "broken", log="broken")
    with pytest.raises(ModelFailedError, match=r"'broken' failed on each of .*ValueError: cannot take") as caught:
        graph(model).run(parquet, tmp_path / "out.parquet", batch_rows=50)
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(fakes.calls["broken"]) < 2 * ROWS
    assert left(tmp_path) == ["rows.parquet"]


def test_a_function_that_fails_on_everything_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    x = mt.input("x", "float32")
    what = mt.Graph("g", {"y": mt.map(functions.refuse_negative, x)})
    with pytest.raises(ModelFailedError, match=r"refuse_negative.*ValueError: negative: -"):
        what.run({"x": np.full(100, -1, dtype=np.float32)}, tmp_path / "out.parquet")
    assert left(tmp_path) == []


def test_a_few_bad_rows_at_the_start_do_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was never timed here is tried out first; its failures there are not held against it."""
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    model = fake(Failing, "failing", bad=[float(row) for row in range(9)])
    report = graph(model).run(table(), tmp_path / "out.parquet", batch_rows=50, workers=1)
    assert (report.answered, report.failed) == (ROWS - 9, 9)


# nulls, defaults, types


def test_a_null_fails_its_row_unless_the_input_has_a_default(tmp_path: Path) -> None:
    rows = pa.table({"id": [0, 1, 2], "x": pa.array([1, None, 3], pa.float32())})
    report = graph().run(rows, tmp_path / "out.parquet")
    (failure,) = failures(report.failed_output)
    assert (failure["row"], failure["node"], failure["message"]) == (1, "input", "column 'x' is null")
    assert read(tmp_path / "out.parquet").to_pylist() == [{"id": 0, "x": 1, "y": 3}, {"id": 2, "x": 3, "y": 7}]

    model = fake(Affine, "affine", scale=2.0, offset=1.0)
    filled = mt.Graph("twice", {"y": mt.model(model, mt.input("x", "float32", default=10.0))})
    report = filled.run(rows, tmp_path / "filled.parquet")
    assert report.failed == 0
    assert read(tmp_path / "filled.parquet").to_pylist()[1] == {"id": 1, "x": None, "y": 21}


def test_nulls_of_other_columns_are_kept(tmp_path: Path) -> None:
    rows = pa.table({"note": ["a", None, "c"], "x": pa.array([1, 2, 3], pa.float32())})
    graph().run(rows, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet")["note"].to_pylist() == ["a", None, "c"]


def test_a_missing_column_takes_its_default(tmp_path: Path) -> None:
    model = fake(Affine, "affine", scale=2.0, offset=1.0)
    what = mt.Graph("twice", {"y": mt.model(model, mt.input("x", "float32", default=10.0))})
    what.run({"id": np.arange(3)}, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet").to_pylist() == [{"id": row, "y": 21.0} for row in range(3)]


def test_a_source_none_of_whose_columns_is_needed_gives_its_rows(tmp_path: Path) -> None:
    what = mt.Graph("g", {"y": mt.model(fake(Affine, "affine"), mt.input("x", "float32", default=10.0))})
    assert what.run({"id": np.arange(3)}, tmp_path / "out.parquet", keep=[]).rows == 3
    assert read(tmp_path / "out.parquet").to_pylist() == [{"y": 10.0}] * 3


def test_columns_of_one_name_are_refused_at_the_start(tmp_path: Path) -> None:
    rows = pa.table([pa.array([1], pa.float32()), pa.array([1]), pa.array([2])], names=["x", "k", "k"])
    with pytest.raises(InputError, match="there are 2 columns 'k'"):
        graph().run(rows, tmp_path / "out.parquet")


def test_an_output_of_any_type_is_written_as_what_it_is(parquet: Path, tmp_path: Path) -> None:
    x = mt.input("x", "float32")
    graph = mt.Graph("g", {"y": mt.map(functions.undeclared, x)})
    graph.run(parquet, tmp_path / "out.parquet", batch_rows=9)
    found = read(tmp_path / "out.parquet")
    assert found.schema.field("y").type == pa.float32()
    assert found["y"].to_pylist() == [2.0 * row for row in range(ROWS)]


def test_an_output_of_any_type_needs_one_answer(tmp_path: Path) -> None:
    what = mt.Graph("g", {"y": mt.map(functions.undeclared, mt.input("x", "float32"))})
    with pytest.raises(RunError, match="no row was answered, so the types of the outputs are not known"):
        what.run(table(0), tmp_path / "out.parquet")
    assert left(tmp_path) == []


def test_rows_that_all_fail_are_written_where_no_type_is_known(tmp_path: Path) -> None:
    what = mt.Graph("g", {"y": mt.map(lambda x: [[[1], [2, 3]]] * len(x), mt.input("x", "float32"))})
    assert what.run(table(5), tmp_path / "out.parquet", batch_rows=2).failed == 5
    assert read(tmp_path / "out.parquet").num_rows == 0
    assert read(tmp_path / "out.parquet.failed.parquet")["row"].to_pylist() == [0, 1, 2, 3, 4]


def changing(x: Any) -> Any:
    """int64 for small numbers, float64 for others."""
    return x.astype(np.int64) if (x < 20).all() else x.astype(np.float64)


def test_an_output_of_any_type_that_changes_takes_the_first_type(parquet: Path, tmp_path: Path) -> None:
    what = mt.Graph("g", {"y": mt.map(changing, mt.input("x", "float32"))})
    what.run(parquet, tmp_path / "out.parquet", batch_rows=10)
    found = read(tmp_path / "out.parquet")
    assert found.schema.field("y").type == pa.int64()
    assert found["y"].to_pylist() == list(range(ROWS))


def test_an_output_that_changes_its_type_goes_on_too(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = mt.Graph("g", {"y": mt.map(changing, mt.input("x", "float32"))})
    what.run(parquet, tmp_path / "whole.parquet", batch_rows=10)
    monkeypatch.setattr(pending, "COMMIT_BYTES", 800)  # pieces of several batches
    interrupt(what, parquet, tmp_path / "out.parquet", rows=90)
    report = what.run(parquet, tmp_path / "out.parquet", resume=True)
    assert report.resumed_rows > 20
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_rows_that_differ_in_length_are_written_as_lists(tmp_path: Path) -> None:
    what = mt.Graph("g", {"y": mt.map(functions.repeat, mt.input("n", "int64"))})
    what.run({"n": np.array([2, 0, 3])}, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet")["y"].to_pylist() == [[0, 1], [], [0, 1, 2]]


def test_a_group_is_a_row(tmp_path: Path) -> None:
    rows = pa.table({"user": ["b", "a", "b", "a", "c"], "x": pa.array([1, 2, 3, 4, 9], pa.float32())})
    pq.write_table(rows, tmp_path / "rows.parquet")
    what = mt.Graph("mean", {"mean": mt.map(functions.mean_of_rows, mt.input("x", "float32[?]"))})
    report = what.run(open_source(str(tmp_path / "rows.parquet"), group_by="user"), tmp_path / "out.parquet")
    assert report.rows == 3
    assert read(tmp_path / "out.parquet").to_pylist() == [
        {"user": "a", "mean": 3.0},
        {"user": "b", "mean": 2.0},
        {"user": "c", "mean": 9.0},
    ]


# what is there already


def test_an_output_that_is_there_is_not_touched(parquet: Path, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"out\.parquet is there already\n.*--overwrite replaces it"):
        graph().run(parquet, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_text() == "mine"
    graph().run(parquet, tmp_path / "out.parquet", overwrite=True)
    assert read(tmp_path / "out.parquet").num_rows == ROWS


def test_resume_with_nothing_to_resume_just_runs(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, tmp_path / "out.parquet", limit=5)
    report = graph().run(parquet, tmp_path / "out.parquet", resume=True)
    assert (report.rows, report.resumed_rows) == (ROWS, 0)
    assert read(tmp_path / "out.parquet").num_rows == ROWS


def test_a_failed_run_leaves_what_was_there(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, tmp_path / "out.parquet")
    before = (tmp_path / "out.parquet").read_bytes()
    with pytest.raises(ModelFailedError):
        graph(fake(Failing, "broken")).run(parquet, tmp_path / "out.parquet", overwrite=True)
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_a_folder_that_holds_something_is_not_touched(parquet: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="is there already"):
        graph().run(parquet, f"{tmp_path}/out/")
    assert left(tmp_path / "out") == ["notes.txt"]


def test_resume_and_overwrite_exclude_each_other(parquet: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="resume and overwrite exclude each other"):
        graph().run(parquet, tmp_path / "out.parquet", resume=True, overwrite=True)


def test_a_run_that_never_began_is_begun_by_resume(parquet: Path, tmp_path: Path) -> None:
    report = graph().run(parquet, tmp_path / "out.parquet", resume=True)
    assert (report.rows, report.resumed_rows) == (ROWS, 0)


@pytest.mark.usefixtures("commits_at_once")
def test_an_unfinished_run_is_gone_on_with_only_when_asked(parquet: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    interrupt(graph(), parquet, output)
    with pytest.raises(OutputExistsError, match=r"an unfinished run of .* is there .*\n.*--resume goes on with it"):
        graph().run(parquet, output)
    report = graph().run(parquet, output, resume=True)
    assert (report.rows, report.resumed_rows, report.answered) == (ROWS, 30, ROWS)
    assert read(output)["y"].to_pylist() == [2.0 * row + 1 for row in range(ROWS)]
    assert left(tmp_path) == ["out.parquet", "rows.parquet"]


@pytest.mark.usefixtures("commits_at_once")
def test_overwrite_begins_anew(parquet: Path, tmp_path: Path) -> None:
    interrupt(graph(), parquet, tmp_path / "out.parquet")
    report = graph().run(parquet, tmp_path / "out.parquet", overwrite=True)
    assert (report.rows, report.resumed_rows) == (ROWS, 0)
    assert left(tmp_path) == ["out.parquet", "rows.parquet"]


@pytest.mark.usefixtures("commits_at_once")
def test_rows_that_are_done_are_not_played_again(parquet: Path, tmp_path: Path) -> None:
    model = fake(Counting, "counting", log="again")
    interrupt(graph(model), parquet, tmp_path / "out.parquet")
    fakes.calls["again"].clear()
    report = graph(model).run(parquet, tmp_path / "out.parquet", resume=True, workers=1)
    assert report.models[0].rows == ROWS - 30


@pytest.mark.usefixtures("commits_at_once")
def test_failures_are_kept_when_a_run_goes_on(parquet: Path, tmp_path: Path) -> None:
    model = fake(Failing, "failing", bad=[5.0, 95.0])
    interrupt(graph(model), parquet, tmp_path / "out.parquet")
    report = graph(model).run(parquet, tmp_path / "out.parquet", resume=True)
    assert report.failed == 2
    assert [failure["row"] for failure in failures(report.failed_output)] == [5, 95]


@pytest.mark.usefixtures("commits_at_once")
def test_replaying_failures_goes_on_too(parquet: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"row": list(range(0, 100, 2))}), tmp_path / "bad.parquet")
    options: dict[str, Any] = {"only_failed": str(tmp_path / "bad.parquet")}
    interrupt(graph(), parquet, tmp_path / "out.parquet", rows=20, **options)
    report = graph().run(parquet, tmp_path / "out.parquet", resume=True, **options)
    assert (report.rows, report.resumed_rows) == (50, 20)
    assert read(tmp_path / "out.parquet")["x"].to_pylist() == list(range(0, 100, 2))


@pytest.mark.usefixtures("commits_at_once")
def test_a_folder_as_output_goes_on(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, f"{tmp_path}/whole/", batch_rows=10, part_rows=20)
    with pytest.raises(Stopped):
        graph().run(parquet, f"{tmp_path}/out/", progress=stop_after(50), batch_rows=10, workers=1, part_rows=20)
    assert left(tmp_path / "out") == ["_unfinished"]
    graph().run(parquet, f"{tmp_path}/out/", resume=True, part_rows=20)
    assert left(tmp_path / "out") == left(tmp_path / "whole")
    for part in (tmp_path / "whole").iterdir():
        assert part.read_bytes() == (tmp_path / "out" / part.name).read_bytes()


def test_a_folder_that_is_overwritten_stays_as_it_was_until_all_parts_are_there(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, f"{tmp_path}/out/", part_rows=30)
    before = contents(tmp_path / "out")
    seen: list[dict[str, bytes]] = []

    def look(*_: Any) -> None:
        there = contents(tmp_path / "out")
        seen.append({name: held for name, held in there.items() if not name.startswith("_unfinished")})

    graph().run(parquet, f"{tmp_path}/out/", overwrite=True, progress=look, batch_rows=10, part_rows=20)
    assert len(seen) == 10
    assert all(each == before for each in seen)
    assert left(tmp_path / "out") == ["_finished.json", *(f"part-{place:05d}.parquet" for place in range(5))]


@pytest.mark.usefixtures("commits_at_once")
def test_a_folder_that_fails_to_be_overwritten_stays_as_it_was(parquet: Path, tmp_path: Path) -> None:
    graph().run(parquet, f"{tmp_path}/out/", part_rows=30)
    before = contents(tmp_path / "out")
    broken = fake(Failing, "broken", log="broken")
    with pytest.raises(ModelFailedError):
        graph(broken).run(parquet, f"{tmp_path}/out/", overwrite=True)
    assert contents(tmp_path / "out") == before


def test_a_folder_with_files_that_no_run_wrote_is_refused(parquet: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("kept")
    (tmp_path / "out" / "_SUCCESS").write_text("")
    graph().run(parquet, f"{tmp_path}/out/", overwrite=True)
    (tmp_path / "out" / "part-00000-abc.snappy.parquet").write_bytes(parquet.read_bytes())
    with pytest.raises(InputError, match=r"holds part-00000-abc\.snappy\.parquet, which no run wrote"):
        graph().run(parquet, f"{tmp_path}/out/", overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "kept"


# refuses to go on over something else


@pytest.mark.usefixtures("commits_at_once")
def test_it_refuses_another_graph(parquet: Path, tmp_path: Path) -> None:
    interrupt(graph(), parquet, tmp_path / "out.parquet")
    x = mt.input("x", "float32")
    scaled = mt.map(functions.scale, x, by=3.0)
    other = mt.Graph("twice", {"y": mt.model(fake(Affine, "affine", scale=2.0, offset=1.0), scaled)})
    with pytest.raises(ResumeError, match=r"the graph, or a function it names, changed since the run stopped"):
        other.run(parquet, tmp_path / "out.parquet", resume=True)
    assert graph().run(parquet, tmp_path / "out.parquet", resume=True).resumed_rows == 30


@pytest.mark.usefixtures("commits_at_once")
def test_it_refuses_a_function_with_other_keywords(parquet: Path, tmp_path: Path) -> None:
    def scaled(by: float) -> mt.Graph:
        return mt.Graph("g", {"y": mt.map(functions.scale, mt.input("x", "float32"), by=by)})

    interrupt(scaled(2.0), parquet, tmp_path / "out.parquet")
    with pytest.raises(ResumeError, match="the graph, or a function it names, changed"):
        scaled(3.0).run(parquet, tmp_path / "out.parquet", resume=True)
    assert scaled(2.0).run(parquet, tmp_path / "out.parquet", resume=True).resumed_rows == 30


@pytest.mark.usefixtures("commits_at_once")
def test_it_refuses_other_options_of_a_model(parquet: Path, tmp_path: Path) -> None:
    interrupt(graph(), parquet, tmp_path / "out.parquet")
    with pytest.raises(ResumeError, match="changed since the run stopped"):
        graph(fake(Affine, "affine", scale=2.0, offset=2.0)).run(parquet, tmp_path / "out.parquet", resume=True)


@pytest.mark.usefixtures("commits_at_once")
def test_it_refuses_another_function_of_the_same_name(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(source: str) -> mt.Graph:
        namespace: dict[str, Any] = {}
        exec(compile(source, "made.py", "exec"), namespace)
        namespace["f"].__module__ = "helpers.functions"
        monkeypatch.setattr(functions, "f", namespace["f"], raising=False)
        return mt.Graph("g", {"y": mt.map("helpers.functions.f", mt.input("x", "float32"), outputs="float32")})

    interrupt(made("def f(x):\n    return x + x.dtype.type(1)\n"), parquet, tmp_path / "out.parquet")
    with pytest.raises(ResumeError, match="a function it names"):
        made("def f(x):\n    return x + x.dtype.type(2)\n").run(parquet, tmp_path / "out.parquet", resume=True)
    commented = made("# a comment\n\n\ndef f(x):\n    return x + x.dtype.type(1)\n")
    assert commented.run(parquet, tmp_path / "out.parquet", resume=True).resumed_rows == 30


@pytest.mark.usefixtures("commits_at_once")
def test_it_refuses_another_model_file(parquet: Path, tmp_path: Path) -> None:
    onnxes = pytest.importorskip("helpers.onnxes", reason="making ONNX files needs onnx")
    path = onnxes.affine(tmp_path / "models" / "affine.onnx")
    interrupt(graph(mt.Model(str(path))), parquet, tmp_path / "out.parquet")
    onnxes.affine(path, scale=5.0)
    with pytest.raises(ResumeError, match=r"a model changed since the run stopped: affine was [0-9a-f]+, is [0-9a-f]+"):
        graph(mt.Model(str(path))).run(parquet, tmp_path / "out.parquet", resume=True)
    onnxes.affine(path)
    assert graph(mt.Model(str(path))).run(parquet, tmp_path / "out.parquet", resume=True).resumed_rows == 30


@pytest.mark.usefixtures("commits_at_once")
def test_it_refuses_another_input(parquet: Path, tmp_path: Path) -> None:
    interrupt(graph(), parquet, tmp_path / "out.parquet")
    pq.write_table(table(ROWS + 1), parquet)
    with pytest.raises(ResumeError, match="the input changed since the run stopped"):
        graph().run(parquet, tmp_path / "out.parquet", resume=True)


@pytest.mark.usefixtures("commits_at_once")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 50}, "the choice of rows changed since the run stopped: limit was None, is 50"),
        ({"drop": ["flag"]}, "the columns that are kept changed"),
        ({"batch_rows": 20}, "--batch-rows was 10, is 20"),
    ],
)
def test_it_refuses_other_options(parquet: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    interrupt(graph(), parquet, tmp_path / "out.parquet")
    with pytest.raises(ResumeError, match=message):
        graph().run(parquet, tmp_path / "out.parquet", resume=True, **options)


@pytest.mark.usefixtures("commits_at_once")
def test_it_refuses_an_input_without_identity(tmp_path: Path) -> None:
    interrupt(graph(), iter(table().to_batches(max_chunksize=10)), tmp_path / "out.parquet")
    with pytest.raises(InputError, match="has no identity, so a run over it cannot be resumed"):
        graph().run(iter(table().to_batches()), tmp_path / "out.parquet", resume=True)


@pytest.mark.usefixtures("commits_at_once")
def test_a_damaged_manifest_is_said(parquet: Path, tmp_path: Path) -> None:
    interrupt(graph(), parquet, tmp_path / "out.parquet")
    (tmp_path / "out.parquet.unfinished" / "_manifest.json").write_text("{")
    with pytest.raises(ResumeError, match=r"its manifest cannot be read: .*\n.*--overwrite"):
        graph().run(parquet, tmp_path / "out.parquet", resume=True)


@pytest.mark.parametrize(
    "spelling", ["{0}/out.parquet", "file://{0}/out.parquet", "FILE:{0}/../{1}/out.parquet", "{0}/link/out.parquet"]
)
def test_two_runs_do_not_write_the_same_output(parquet: Path, tmp_path: Path, spelling: str) -> None:
    refused: list[str] = []
    (tmp_path / "link").symlink_to(".")

    def second(*_: Any) -> None:
        if not refused:
            with pytest.raises(RunError, match="another run is writing this output") as caught:
                graph().run(parquet, spelling.format(tmp_path, tmp_path.name), overwrite=True)
            refused.append(str(caught.value))

    graph().run(parquet, tmp_path / "out.parquet", progress=second)
    assert refused
    assert read(tmp_path / "out.parquet").num_rows == ROWS


# killed


SLOW = """
import sys

import numpy as np

import motet as mt
from motet.engines.local import pending


class Slow:
    \"\"\"Takes its time by computing; refuses some rows.\"\"\"

    def __call__(self, x):
        if (x % 97 == 5).any():
            raise ValueError(f"cannot take {x[x % 97 == 5][0]:g}")
        y = x.astype(np.float64)
        for _ in range(3000):
            y = np.sin(y) + x
        return y


def make():
    model = mt.Model("python:slow:Slow", "slow", inputs={"x": "float32"}, outputs={"y": "float64"})
    return mt.Graph("slow", {"y": mt.model(model, mt.input("x", "float32"))})


def main(source, output, commit_seconds):
    pending.COMMIT_SECONDS = float(commit_seconds)
    make().run(
        source, output, resume=True, batch_rows=16, workers=2, progress=lambda *told: print(*told, flush=True)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
"""


def kill_after(lines: int, folder: Path, *arguments: str) -> bool:
    """Start a run, and kill it when it has told this many times how far it is; whether that came before its end."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, str(folder / "slow.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            if not process.stdout.readline():
                break
        process.kill()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out/"])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pq.write_table(table(2000), tmp_path / "rows.parquet")
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "slow", raising=False)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    slow = importlib.import_module("slow")
    report = slow.make().run(tmp_path / "rows.parquet", f"{whole}/{name}", batch_rows=16)
    assert report.failed == len(range(5, 2000, 97))

    output, random = f"{broken}/{name}", Random()
    moments = [random.randint(1, 40) for _ in range(3)]
    for lines, commit_seconds in zip(moments, ("0", "0.02", "0.05"), strict=True):
        if not kill_after(lines, tmp_path, str(tmp_path / "rows.parquet"), output, commit_seconds):
            break
        assert any(broken.rglob("_manifest.json"))
    else:
        report = slow.make().run(tmp_path / "rows.parquet", output, resume=True)
        assert 0 < report.resumed_rows <= report.rows == 2000, moments
    assert contents(broken) == contents(whole), moments


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# the report


def test_the_report_says_what_a_run_did(parquet: Path, tmp_path: Path) -> None:
    model = fake(Failing, "failing", bad=[3.0], settings={"version": "v7"})
    report = graph(model).run(parquet, tmp_path / "out.parquet", batch_rows=20, workers=2)
    report.save(tmp_path / "reports" / "report.json")
    told = json.loads((tmp_path / "reports" / "report.json").read_text())
    assert told == json.loads(report.to_json())
    expected = {
        "graph": "twice",
        "source": str(parquet),
        "output": str(tmp_path / "out.parquet"),
        "failed_output": str(tmp_path / "out.parquet.failed.parquet"),
        "rows": ROWS,
        "answered": ROWS - 1,
        "failed": 1,
        "resumed_rows": 0,
        "batch_rows": 20,
        "workers": 2,
    }
    assert {name: told[name] for name in expected} == expected
    assert told["seconds"] > 0
    assert told["rows_per_second"] == pytest.approx(ROWS / told["seconds"])
    assert told["peak_memory_bytes"] > 1 << 20
    (node,) = told["nodes"]
    assert (node["name"], node["rows"], node["batches"], node["failed"]) == ("model_1", ROWS, 5, 1)
    (played,) = told["models"]
    assert (played["name"], played["version"], played["rows"], played["failed"]) == ("failing", "v7", ROWS, 1)
    text = str(report)
    assert "twice: 100 rows, 99 answered, 1 failed" in text
    assert "out.parquet.failed.parquet" in text


def test_bad_rows_at_the_start_do_not_end_a_run_whose_other_rows_are_good(tmp_path: Path) -> None:
    for number in (40, 100):
        model = fake(Failing, f"f{number}", bad=[float(value) for value in range(number)])
        report = graph(model).run({"x": np.arange(1000, dtype=np.float32)}, tmp_path / f"{number}.parquet")
        assert (report.failed, report.answered) == (number, 1000 - number)
