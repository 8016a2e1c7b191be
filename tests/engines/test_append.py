"""Runs over a growing folder: each file is played once, whatever is killed in between, and what is done is on record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.engines.local import pending
from motet.engines.local.done import DONE
from motet.engines.local.folder_output import FolderOutput
from motet.engines.local.journal import PieceJournal
from motet.errors import InputError, OutputExistsError, ResumeError
from motet.io.files import FoundFile

bad: set[int] = set()
"""The rows that fail now."""


@mt.returns("int64")
def answer(x: np.ndarray) -> np.ndarray:
    """Refuses those rows."""
    if any(int(value) in bad for value in x):
        raise ValueError("off")
    return x * 10


def graph(by: int = 10) -> mt.Graph:
    x = mt.input("x", "int64")
    return mt.Graph("g", {"y": mt.map(answer, x) if by == 10 else mt.map(np.multiply, x, x, outputs="int64")})


def put(folder: Path, name: str, rows: range, kind: str = "parquet") -> None:
    (folder / "in").mkdir(exist_ok=True)
    table = pa.table({"x": np.array(rows, np.int64)})
    if kind == "parquet":
        pq.write_table(table, folder / "in" / f"{name}.parquet")
    else:
        (folder / "in" / f"{name}.csv").write_text("x\n" + "".join(f"{row}\n" for row in rows))


def append(folder: Path, output: str = "", **options: Any) -> Any:
    return graph().run(folder / "in", output or f"{folder}/out/", append=True, **{"batch_rows": 4, **options})


def answers(output: str) -> list[int]:
    """As another reader sees the folder."""
    fs, path = fsspec.core.url_to_fs(output.rstrip("/"))
    found: list[int] = pa.dataset.dataset(path, filesystem=fs, format="parquet").to_table()["y"].to_pylist()
    return sorted(found)


@pytest.fixture(autouse=True)
def none_bad() -> None:
    bad.clear()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("place", ["{}/out/", "memory://append-{}/out/"])
def test_only_new_files_are_played(tmp_path: Path, kind: str, place: str) -> None:
    output = place.format(tmp_path if "memory" not in place else f"{kind}-{os.getpid()}")
    for number in range(4):
        put(tmp_path, f"{9 - number}", range(number * 10, number * 10 + 10), kind)  # which sorts before those before
        report = append(tmp_path, output, part_rows=6)
        assert (report.rows, report.answered) == (10, 10)
        assert answers(output) == [10 * row for row in range(number * 10 + 10)]
        again = append(tmp_path, output)
        assert (again.rows, again.failed, again.failed_output) == (0, 0, "")
        assert f"nothing new: {number + 1} file" in str(again)
        assert answers(output) == [10 * row for row in range(number * 10 + 10)]
    fs, path = fsspec.core.url_to_fs(output)
    names = sorted(os.path.basename(name) for name in fs.find(path))
    assert names == [DONE, "_finished.json", *(f"part-{number:05d}.parquet" for number in range(8))]
    assert json.loads(fs.cat_file(f"{path.rstrip('/')}/_finished.json")) == {"parts": 8, "rows": 40}


def test_failures_of_each_run_are_kept(tmp_path: Path) -> None:
    bad.update({3, 14})
    put(tmp_path, "a", range(10))
    assert append(tmp_path).failed_output == f"{tmp_path}/out.failed-00001.parquet"
    put(tmp_path, "b", range(10, 20))
    assert append(tmp_path, failed=str(tmp_path / "f.csv")).failed_output == f"{tmp_path}/f-00002.csv"
    put(tmp_path, "c", range(20, 30))
    assert append(tmp_path).failed_output == ""
    assert pq.read_table(tmp_path / "out.failed-00001.parquet")["row"].to_pylist() == [3]
    assert (tmp_path / "f-00002.csv").exists()
    assert answers(f"{tmp_path}/out/") == [10 * row for row in range(30) if row not in bad]
    runs = json.loads((tmp_path / "out" / DONE).read_text())["runs"]
    assert [(run["rows"], run["failed"]) for run in runs] == [(10, 1), (10, 1), (10, 0)]
    assert [run["failures"].rpartition("/")[2] for run in runs] == ["out.failed-00001.parquet", "f-00002.csv", ""]


@pytest.mark.parametrize("is_done", [False, True])
def test_failures_are_not_written_over_an_input(tmp_path: Path, is_done: bool) -> None:
    """Their name gets the number of the run, which may make it that of an input, also of one that is done."""
    number = int(is_done) + 1
    put(tmp_path, f"a-{number:05d}", range(10))
    if is_done:
        append(tmp_path)
        put(tmp_path, "b", range(10, 20))
    bad.update({3, 14})
    before = (tmp_path / "in" / f"a-{number:05d}.parquet").read_bytes()
    with pytest.raises(InputError, match=rf"the run reads .*a-{number:05d}\.parquet, and would write over it"):
        append(tmp_path, failed=str(tmp_path / "in" / "a.parquet"))
    assert (tmp_path / "in" / f"a-{number:05d}.parquet").read_bytes() == before


def test_a_file_that_changed_is_refused_and_one_that_is_gone_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a", range(10))
    put(tmp_path, "b", range(10, 20))
    append(tmp_path)
    put(tmp_path, "c", range(20, 30))
    put(tmp_path, "a", range(11))
    with pytest.raises(ResumeError, match=r"a\.parquet.*has changed since its rows were played"):
        append(tmp_path)
    assert answers(f"{tmp_path}/out/") == [10 * row for row in range(20)]
    (tmp_path / "in" / "a.parquet").unlink()
    report = append(tmp_path)
    assert report.rows == 10
    assert "1 file done by earlier runs, 1 of those that they did gone since" in str(report)
    assert answers(f"{tmp_path}/out/") == [10 * row for row in range(30)]


def test_an_input_that_was_moved_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a", range(10))
    append(tmp_path)
    (tmp_path / "in").rename(tmp_path / "moved")
    with pytest.raises(ResumeError, match=r"whose rows were played, at another place"):
        graph().run(tmp_path / "moved", f"{tmp_path}/out/", append=True)
    spelled = f"file://{tmp_path}/in"
    (tmp_path / "moved").rename(tmp_path / "in")
    assert graph().run(spelled, f"{tmp_path}/out/", append=True).rows == 0
    assert graph().run(f"{tmp_path}/in/*.parquet", f"{tmp_path}/out/", append=True).rows == 0


class Stopped(BaseException):
    """What stops a run from outside."""


@pytest.mark.parametrize("place", ["{}/out/", "memory://kill-{}/out/"])
@pytest.mark.parametrize("where", ["playing", "parts", "record", "end"])
@pytest.mark.parametrize("then", ["same", "newer", "other graph", "other files"])
def test_a_run_that_is_killed_plays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, where: str, then: str
) -> None:
    output = place.format(tmp_path if "memory" not in place else f"{where}-{then}-{os.getpid()}".replace(" ", ""))
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)
    put(tmp_path, "a", range(10))
    append(tmp_path, output)
    put(tmp_path, "b", range(10, 20))
    put(tmp_path, "c", range(20, 30))
    with monkeypatch.context() as patched:
        progress = None

        def stop(*given: Any, **_: Any) -> None:
            if where != "playing" or given[0] >= 12:
                raise Stopped

        if where == "playing":
            progress = stop
        elif where == "parts":
            patched.setattr(FolderOutput, "close", stop)
        elif where == "record":
            patched.setattr("motet.engines.local.append.Appending.record", stop)
        else:
            patched.setattr(PieceJournal, "remove", stop)
        with pytest.raises(Stopped):
            append(tmp_path, output, progress=progress, workers=1, part_rows=7)
    done = 30 if where == "end" else 10
    assert answers(output) == [10 * row for row in range(done)]
    if then == "newer":
        put(tmp_path, "a-new", range(30, 40))
    elif then == "other files":
        (tmp_path / "in" / "b.parquet").unlink()
        put(tmp_path, "d", range(10, 20) if where != "end" else range(30, 30))
    by = 10
    if then == "other graph":
        by = 1
    report = graph(by).run(tmp_path / "in", output, append=True)
    if then == "newer" and where != "end":
        assert (report.rows, "1 new since, for the next run" in str(report)) == (20, True)
        report = append(tmp_path, output)
        assert report.rows == 10
    wanted = [row * (10 if by == 10 or row < done else row) for row in range(40 if then == "newer" else 30)]
    assert answers(output) == sorted(wanted)
    assert graph().run(tmp_path / "in", output, append=True).rows == 0


def test_what_is_half_moved_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the parts and the record: the parts are there, and are replaced and not doubled."""
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)
    put(tmp_path, "a", range(10))
    append(tmp_path)
    put(tmp_path, "b", range(10, 30))
    replace, moved = os.replace, list[str]()

    def stop(source: Any, target: Any) -> None:
        if str(target).endswith(DONE):
            raise Stopped
        if "out/part-" in str(target):
            moved.append(os.path.basename(target))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop)
        with pytest.raises(Stopped):
            append(tmp_path, part_rows=7)
    assert moved == ["part-00001.parquet", "part-00002.parquet", "part-00003.parquet"]
    assert answers(f"{tmp_path}/out/") == [10 * row for row in range(30)]
    (tmp_path / "in" / "b.parquet").unlink()
    put(tmp_path, "c", range(10, 12))
    assert append(tmp_path).rows == 2
    assert answers(f"{tmp_path}/out/") == [10 * row for row in range(12)]


def test_parts_have_the_columns_of_those_before(tmp_path: Path) -> None:
    put(tmp_path, "a", range(10))
    append(tmp_path)
    pq.write_table(pa.table({"x": [11], "new": ["n"]}), tmp_path / "in" / "b.parquet")
    with pytest.raises(InputError, match=r"new was not there, is string\n.*--keep"):
        append(tmp_path)
    assert append(tmp_path, drop=["new"]).rows == 1
    assert answers(f"{tmp_path}/out/") == [*(10 * row for row in range(10)), 110]


def test_what_cannot_be_appended_to_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a", range(10))
    for options in ({"resume": True}, {"overwrite": True}, {"limit": 3}, {"skip": 1}, {"shard": "0/2"}, {"sample": 3},
                    {"row_ids": "row"}, {"group_by": "x"}, {"only_failed": "f.parquet"}):  # fmt: skip
        with pytest.raises(InputError, match=f"append and {next(iter(options))} exclude each other"):
            append(tmp_path, **options)
    with pytest.raises(InputError, match=r"is no folder\n.*with / at its end"):
        append(tmp_path, f"{tmp_path}/out.parquet")
    with pytest.raises(InputError, match="name an output"):
        graph().run(tmp_path / "in", append=True)
    with pytest.raises(InputError, match="is no files, of which some could be chosen"):
        graph().run({"x": np.arange(3)}, f"{tmp_path}/out/", append=True)
    graph().run(tmp_path / "in", f"{tmp_path}/plain/")
    with pytest.raises(InputError, match="has no record of the files that were played"):
        append(tmp_path, f"{tmp_path}/plain/")
    append(tmp_path)
    with pytest.raises(OutputExistsError):
        graph().run(tmp_path / "in", f"{tmp_path}/out/")
    graph().run(tmp_path / "in", f"{tmp_path}/out/", overwrite=True)
    assert not (tmp_path / "out" / DONE).exists()
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / DONE).write_text("{")
    with pytest.raises(ResumeError, match="cannot be read"):
        append(tmp_path, f"{tmp_path}/rec/")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph().save("g.yaml")
    put(tmp_path, "a", range(10))
    arguments = ["run", "g.yaml", "--input", "in", "--output", "out/", "--append"]
    for rows in (10, 0):
        told = CliRunner().invoke(cli, [*arguments, "--dry-run"])
        assert (told.exit_code, f"{rows} rows" in told.output) == (0, True), told.output
        done = CliRunner().invoke(cli, arguments)
        assert (done.exit_code, f"{rows} rows" in done.output) == (0, True), done.output
    assert done.output.splitlines()[-1] == "nothing new: 1 file done by earlier runs"
    assert told.output.splitlines()[-1] == "nothing new: 1 file done by earlier runs"
    assert FoundFile(str(tmp_path / "out" / DONE)).state()[0] > 0
