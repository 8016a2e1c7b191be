"""Runs over splits: as the engine local, whatever the source, the output, the choice of rows and the engine."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import motet as mt
from helpers.split_engines import Here, Silent, Threads
from motet.engines.splits.engine import SplitEngine
from motet.engines.splits.folder import SplitFolder, SplitResult
from motet.errors import (
    DataError,
    InputError,
    ModelFailedError,
    MotetError,
    OutputExistsError,
    ResumeError,
    RunError,
    TooManyFailuresError,
)
from motet.io import open_source
from motet.testing import engines

T = TypeVar("T")
R = TypeVar("R")
ROWS = 200


@mt.returns("float32")
def halve(n: np.ndarray) -> np.ndarray:
    """Half of whole numbers, but of 13 and 113."""
    if (n % 100 == 13).any():
        raise ValueError("thirteen")
    return (n / 2).astype(np.float32)


def thirds(n: np.ndarray) -> np.ndarray:
    """Says nothing of its type."""
    return n / 3


@mt.returns("int64")
def broken(n: np.ndarray) -> np.ndarray:
    raise RuntimeError("always off")


@mt.returns("int64")
def off_at_first(n: np.ndarray) -> np.ndarray:
    if (n < 40).any():
        raise RuntimeError("camera off")
    return n


@mt.returns("int64")
def width(image: np.ndarray) -> np.ndarray:
    return np.array([each.shape[1] for each in image], np.int64)


def graph(function: Any = halve) -> mt.Graph:
    return mt.Graph("g", outputs={"y": mt.map(function, mt.input("n", "int64"))})


TABLE = pa.table(
    {"n": range(ROWS), "text": [f"é{row}" for row in range(ROWS)], "more": [row / 4 for row in range(ROWS)]}
)


def write(folder: Path, suffix: str = "parquet") -> str:
    path = folder / f"in.{suffix}"
    if suffix == "parquet":
        pq.write_table(TABLE, path, row_group_size=30)
    elif suffix == "csv":
        pyarrow.csv.write_csv(TABLE, path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=30)
    return str(path)


def rows_of(path: Any) -> list[dict[str, Any]]:
    return [row for batch in open_source(path).batches(1000) for row in batch.to_pylist()]


def failures_of(report: Any) -> list[tuple[int, str, str]]:
    rows = rows_of(report.failed_output) if report.failed_output else []
    return [(row["row"], row["node"], row["message"]) for row in rows]


def check_same(
    engine: SplitEngine, tmp_path: Path, output: str, source: Any = None, of: mt.Graph | None = None, **options: Any
) -> Any:
    """Run with an engine and with local, and compare; the report."""
    source, played = source or write(tmp_path), of or graph()
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
    report = played.run(source, f"{tmp_path}/one/{output}", engine=engine, **options)
    expected = played.run(source, f"{tmp_path}/other/{output}", **options)
    assert (report.rows, report.answered, report.failed) == (expected.rows, expected.answered, expected.failed)
    assert rows_of(tmp_path / "one" / output) == rows_of(tmp_path / "other" / output)
    assert failures_of(report) == failures_of(expected)
    assert report.first_failures == expected.first_failures
    assert report.columns_left_out == expected.columns_left_out
    assert not [path for path in (tmp_path / "one").rglob("*") if "unfinished" in path.name]
    return report


@pytest.mark.parametrize("check", engines.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("engine", [Threads(), Silent()], ids=lambda engine: type(engine).__name__)
def test_engines_of_one_process_pass_the_suite(check: Any, engine: SplitEngine, tmp_path: Path) -> None:
    if "killed" in check.__name__:
        pytest.skip("who is killed here is the test")
    check(engine, tmp_path)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "arrow"])
@pytest.mark.parametrize("output", ["out.csv", "parts/"])
def test_every_source_is_played_alike(suffix: str, output: str, tmp_path: Path) -> None:
    check_same(Here(), tmp_path, output, write(tmp_path, suffix))


def test_the_bytes_of_a_file_are_those_of_local(tmp_path: Path) -> None:
    for suffix in ("parquet", "csv", "jsonl"):
        check_same(Here(), tmp_path, f"out.{suffix}", write(tmp_path, "jsonl"), overwrite=True)
        one, other = ((tmp_path / folder / f"out.{suffix}").read_bytes() for folder in ("one", "other"))
        assert one == other


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 45}, {"limit": 1}, {"skip": 31}, {"skip": 500}, {"shard": "1/3"}, {"sample": "20%", "seed": 3}, {"sample": 17},
        {"sample": "50%", "limit": 11}, {"skip": 10, "sample": 40, "shard": "0/2", "limit": 15}, {"keep": ["more"]},
        {"drop": ["text"], "row_ids": "row"}, {"keep": [], "batch_rows": 7}, {"max_failures": 2}, {"max_failures": "50%"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_rows_and_columns_are_chosen_alike(options: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    check_same(Here(), tmp_path, "out.parquet", write(tmp_path, suffix), **options)


def test_only_the_rows_that_failed_are_played_again(tmp_path: Path) -> None:
    source = write(tmp_path)
    graph().run(source, tmp_path / "first.parquet")
    report = check_same(
        Here(), tmp_path, "out.parquet", source, only_failed=str(tmp_path / "first.parquet.failed.parquet")
    )
    assert (report.rows, report.failed) == (2, 2)


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "parts/"])
def test_no_rows_are_an_output_too(output: str, tmp_path: Path) -> None:
    pq.write_table(TABLE[:0], tmp_path / "in.parquet")
    report = check_same(Here(), tmp_path, output, str(tmp_path / "in.parquet"))
    assert report.rows == 0


def test_outputs_that_nobody_declared_have_one_type(tmp_path: Path) -> None:
    check_same(Here(), tmp_path, "out.parquet", of=graph(thirds))


def late(n: np.ndarray) -> np.ndarray:
    """Says nothing of its first rows."""
    return np.array([None if row < 90 else row / 2 for row in n.tolist()], object)


def finer(n: np.ndarray) -> np.ndarray:
    """Fractions, behind whole numbers."""
    return n if (n < 120).all() else n / 4


@pytest.mark.parametrize("function", [late, finer])
def test_types_of_outputs_are_told_by_rows_from_all_over(function: Any, tmp_path: Path) -> None:
    report = check_same(Here(), tmp_path, "out.parquet", of=graph(function), batch_rows=30)
    assert report.failed == 0
    assert pq.read_schema(tmp_path / "one" / "out.parquet").field("y").type == pa.float64()


def test_failures_of_pictures_name_their_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "abcde":
        Image.new("RGB", (4, 4), "red").save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "d.png").write_bytes(b"no picture")
    played = mt.Graph("g", outputs={"width": mt.map(width, mt.input("image", "uint8[?,?,3]"))})
    report = check_same(Here(), tmp_path, "out.csv", str(tmp_path / "in"), played)
    assert [row["path"] for row in rows_of(report.failed_output)] == [str(tmp_path / "in" / "d.png")]


def test_what_is_kept_stays_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(
        "".join(f'{{"n": {row}, "kept": {{"a": [1.10, {row}]}}}}\n' for row in range(40))
    )
    check_same(Here(), tmp_path, "out.jsonl", str(tmp_path / "in.jsonl"))
    assert '"kept": {"a": [1.10, 7]}' in (tmp_path / "one" / "out.jsonl").read_text().replace('"kept":{', '"kept": {')


def test_parts_go_to_object_stores(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    for output in ("parts/", "out.parquet"):
        report = graph().run(
            write(tmp_path), f"memory://splits-out/{output}", engine=Here(), failed=str(tmp_path / "f.parquet")
        )
        assert (report.rows, report.failed) == (ROWS, 2)
    assert sorted(path.rpartition("/")[2] for path in fs.ls("/splits-out/parts", detail=False)) == [
        "_finished.json", *(f"part-{number:05d}.parquet" for number in range(7)),
    ]  # fmt: skip
    with fs.open("/splits-out/out.parquet") as file:
        assert pq.read_table(file)["n"].to_pylist() == [n for n in range(ROWS) if n % 100 != 13]
    assert [path for path in fs.find("/splits-out") if "unfinished" in path] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"append": True}, "append needs an order"),
        ({"partition_by": ["text"]}, "partition_by puts rows of all splits together"),
        ({"part_rows": 10}, "part_rows is how many rows a part has"),
        ({"workers": 2}, "workers is how many threads"),
        ({"pool": "x"}, "pool is what works on this machine"),
        ({"into": "out.parquet", "only_failed": "x"}, "into writes files anew"),
    ],
)
def test_what_only_one_process_does_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^engine here: {said}"):
        graph().run(write(tmp_path), f"{tmp_path}/parts/", engine=Here(), **options)


def test_what_only_this_process_reads_or_writes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is in the memory of this process"):
        graph().run(TABLE, tmp_path / "out.parquet", engine=Here())
    with pytest.raises(InputError, match="is a stream, which workers cannot write to"):
        graph().run(write(tmp_path), "-", output_format="csv", engine=Here())


def test_a_model_that_fails_on_everything_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    for engine in (Here(), Silent()):
        with pytest.raises(ModelFailedError, match="RuntimeError: always off"):
            graph(broken).run(write(tmp_path), tmp_path / "out.parquet", engine=engine, overwrite=True)


def test_a_model_that_fails_on_all_of_a_split_is_tried_on_others(tmp_path: Path) -> None:
    assert check_same(Here(), tmp_path, "out.parquet", of=graph(off_at_first)).failed == 40


class Camera:
    """A function that is off where it is told so."""

    def __init__(self, off: Callable[[np.ndarray], Any]) -> None:
        self.off = off


CAMERA = Camera(lambda n: False)


@mt.returns("int64")
def seen(n: np.ndarray) -> np.ndarray:
    """The numbers, where the camera is on."""
    if np.any(CAMERA.off(n)):
        raise RuntimeError("camera off")
    return n


def test_what_one_run_has_seen_in_a_process_says_nothing_of_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what it could play, nor where it found rows to try."""
    (tmp_path / "first").mkdir()
    first = write(tmp_path / "first")
    monkeypatch.setattr(CAMERA, "off", lambda n: n < 0)
    assert graph(seen).run(first, tmp_path / "out.parquet", engine=Here()).failed == 0
    Path(first).unlink()
    second = write(tmp_path)
    monkeypatch.setattr(CAMERA, "off", lambda n: n >= 0)
    with pytest.raises(ModelFailedError, match="camera off"):
        graph(seen).run(second, tmp_path / "other.parquet", engine=Here())
    monkeypatch.setattr(CAMERA, "off", lambda n: n >= 150)  # all of the splits that are played first
    report = graph(seen).run(second, tmp_path / "other.parquet", engine=Here(), resume=True)
    assert (report.rows, report.failed) == (ROWS, 50)


def test_workers_of_a_run_that_was_begun_anew_write_nothing(tmp_path: Path) -> None:
    """As those of a cluster that knows nothing of the command's end."""
    left: list[Any] = []

    class Left(Here):
        def map(self, function: Any, items: Sequence[Any]) -> Iterator[Any]:
            plan = function.plan
            folder = SplitFolder(plan.folder, plan.manifest)
            left.extend([lambda: folder.commit(SplitResult(items[0].number)), lambda: function(items[1])])
            left.append(lambda: folder.give_up(items[2].number, InputError("old")))
            raise ConnectionAbortedError("the command is gone")
            yield

    class Met(Here):
        def map(self, function: Any, items: Sequence[Any]) -> Iterator[Any]:
            for old in left:
                with pytest.raises(RunError, match="has ended, or was begun anew"):
                    old()
            return super().map(function, items)

    source = write(tmp_path)
    with pytest.raises(RunError, match="the command is gone"):
        graph(seen).run(source, tmp_path / "out.parquet", engine=Left())
    report = graph().run(source, tmp_path / "out.parquet", engine=Met(), overwrite=True)
    assert (report.rows, report.failed) == (ROWS, 2)
    with pytest.raises(RunError, match="is not found in a worker"):
        left[1]()


class Foreign(Here):
    """Says what became of a worker in words of its own, as Java does."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        try:
            yield function(items[0])
            raise InputError("is not there", where="worker", hint="start it")
        except MotetError:
            raise RuntimeError(
                f"job 7 aborted:\n{traceback.format_exc()}\n\tat org.cluster.Job.run(Job.java:1)"
            ) from None


def test_of_an_engines_trace_the_error_alone_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError) as raised:
        graph().run(write(tmp_path), tmp_path / "out.parquet", engine=Foreign())
    assert str(raised.value) == "engine here: worker: is not there\n  hint: start it"


def test_too_many_failures_end_a_run(tmp_path: Path) -> None:
    with pytest.raises(TooManyFailuresError, match="rows failed, more than 1 are too many"):
        graph().run(write(tmp_path), tmp_path / "out.parquet", engine=Here(), max_failures=1)


class Losing(Here):
    """Leaves the third task out."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        return super().map(function, [*items[:2], *items[3:]])


class Dying(Here):
    """Ends after two tasks."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        yield from map(function, items[:2])
        raise ConnectionAbortedError("the cluster is gone")


def test_a_split_that_never_came_back_is_missed(tmp_path: Path) -> None:
    source = write(tmp_path)
    with pytest.raises(RunError, match="split 2 has 30 rows from 60 on, and nothing came back"):
        graph().run(source, tmp_path / "out.parquet", engine=Losing())
    report = graph().run(source, tmp_path / "out.parquet", engine=Here(), resume=True)
    assert (report.rows, report.resumed_rows) == (ROWS, ROWS - 30)


def test_a_run_goes_on_over_the_same_input_graph_and_splits_alone(tmp_path: Path) -> None:
    source, output = write(tmp_path), tmp_path / "out.parquet"
    with pytest.raises(RunError, match="the cluster is gone"):
        graph().run(source, output, engine=Dying())
    with pytest.raises(OutputExistsError, match="an unfinished run .* is there"):
        graph().run(source, output, engine=Here())
    with pytest.raises(ResumeError, match="the graph, or a function it names, changed"):
        graph(thirds).run(source, output, engine=Here(), resume=True)
    with pytest.raises(ResumeError, match="the choice of rows changed"):
        graph().run(source, output, engine=Here(), resume=True, limit=3)
    with pytest.raises(ResumeError, match="--batch-rows was [0-9]+, is 7"):
        graph().run(source, output, engine=Here(), resume=True, batch_rows=7)
    with pytest.raises(ResumeError, match="how the engine cuts the input changed"):
        graph().run(source, output, resume=True)
    coarse = Here()
    coarse.split_bytes = 1 << 30  # the splits are those of the run that stopped
    report = graph().run(source, output, engine=coarse, resume=True)
    assert (report.rows, report.resumed_rows) == (ROWS, 60)
    assert rows_of(output)[13]["n"] == 14


def test_an_input_that_changed_meanwhile_ends_the_run(tmp_path: Path) -> None:
    source = Path(write(tmp_path, "csv"))

    class Changing(Here):
        def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
            source.write_text("n,text,more\n1,x,2\n")
            return super().map(function, items)

    with pytest.raises(DataError, match="has changed since the run began"):
        graph().run(source, tmp_path / "out.parquet", engine=Changing())


def test_an_attempt_that_dies_before_its_record_leaves_the_split_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, died = SplitFolder.commit, []

    def dying(self: Any, result: Any) -> SplitResult:
        if not died:
            died.append(result)
            raise ConnectionResetError("killed")
        return commit(self, result)

    class Retrying(Here):
        def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
            for item in items:
                try:
                    yield function(item)
                except ConnectionResetError:
                    yield function(item)

    monkeypatch.setattr(SplitFolder, "commit", dying)
    check_same(Retrying(), tmp_path, "parts/")
    assert len(died) == 1


def test_the_attempt_that_ends_first_counts_also_for_those_that_end_later(tmp_path: Path) -> None:
    ended: list[SplitResult] = []

    class Late(Here):
        """Another attempt at the first split, which begins before any ends, ends after the first has."""

        def map(self, function: Any, items: Sequence[Any]) -> Iterator[Any]:
            plan, number = function.plan, items[0].number
            folder = SplitFolder(plan.folder, plan.manifest)
            first = function(items[0])
            ended.extend([first, folder.commit(SplitResult(number, 99, part="late")), function(items[0])])
            return super().map(function, items)

    check_same(Late(), tmp_path, "parts/")
    assert ended[0] == ended[1] == ended[2]


def test_workers_that_do_not_find_the_output_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SplitFolder, "_holds", lambda self, name: False)
    with pytest.raises(MotetError, match="is not found in a worker\n  hint: write the output to a disk"):
        graph().run(write(tmp_path), tmp_path / "out.parquet", engine=Here())


def test_answers_come_back_as_a_table(tmp_path: Path) -> None:
    table, failed = graph().run(write(tmp_path), engine=Here(), failures="return", keep=[])
    assert (table["y"].to_pylist()[:3], [each.row for each in failed]) == ([0.0, 0.5, 1.0], [13, 113])


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    estimate = graph().run(write(tmp_path), tmp_path / "out.parquet", engine=Here(), dry_run=True)
    assert estimate.rows == ROWS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet"]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[Any] = []
    graph().run(write(tmp_path), tmp_path / "out.csv", engine=Here(), progress=lambda *said: told.append(said))
    assert told[0] == (0, ROWS, 0)
    assert told[-1] == (ROWS, ROWS, 2)
    assert len(told) == 8
