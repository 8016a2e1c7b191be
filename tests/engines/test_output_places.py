"""Places that answers are written to: disks that are full, links, other spellings, folders of other file systems."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.errors import InputError, RunError
from motet.io import open_writer

PROGRAM = """
import sys
import motet as mt
from motet.engines.local import pending

pending.COMMIT_SECONDS = 0.0

@mt.returns("int64")
def plus(x):
    return x + 1

graph = mt.Graph("plus", outputs={"y": mt.map(plus, mt.input("x", "int64"))})
if __name__ == "__main__":
    try:
        print(graph.run(sys.argv[1], sys.argv[2], batch_rows=10_000, workers=1, resume=True).resumed_rows)
    except Exception as error:
        print(error)
"""


def graph() -> mt.Graph:
    return mt.Graph("plus", outputs={"y": mt.map(lambda x: x + 1, mt.input("x", "int64"), outputs="int64")})


def table(rows: int = 100) -> pa.Table:
    return pa.table({"x": np.arange(rows)})


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out/"])
def test_a_full_disk_ends_the_run_and_what_is_finished_is_gone_on_with(tmp_path: Path, name: str) -> None:
    rows = table(300_000).append_column("z", pa.array(np.random.default_rng(0).random(300_000)))
    pq.write_table(rows, tmp_path / "in.parquet", row_group_size=10_000)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", "in.parquet", name]

    def run(limit: int | None = None) -> str:
        def set_limit() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True, preexec_fn=set_limit
        ).stdout.strip()

    said = run(limit=1_000_000)
    assert name.rstrip("/") in said
    assert "cannot be written: File too large\n  hint: make room, or mend the disk; then --resume goes on" in said
    assert not (tmp_path / name).is_file()
    assert int(run()) >= 10_000
    found = pq.read_table(tmp_path / name) if name != "out.csv" else None
    assert found is None or found["y"].to_pylist() == list(range(1, 300_001))
    assert not list(tmp_path.rglob("*unfinished*"))


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "out.parquet").symlink_to(tmp_path / "data" / "real.parquet")
    graph().run(table(), tmp_path / "out.parquet", overwrite=True)
    assert (tmp_path / "out.parquet").is_symlink()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["real.parquet"]
    assert pq.read_table(tmp_path / "data" / "real.parquet").num_rows == 100


@pytest.mark.parametrize(
    "spelled", ["file://{}/out.parquet", "{}/./out.parquet", "{}/link/out.parquet", "{}/linked.parquet"]
)
def test_another_spelling_is_the_same_output(tmp_path: Path, spelled: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "linked.parquet").symlink_to("out.parquet")
    told: list[str] = []

    def second(*_: Any) -> None:
        if not told:
            with pytest.raises(RunError, match="another run is writing this output") as caught:
                graph().run(table(), spelled.format(tmp_path), overwrite=True)
            told.append(str(caught.value))

    graph().run(table(), tmp_path / "out.parquet", progress=second)
    assert told
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 100


def test_a_file_that_a_killed_writer_left_is_written_by_the_next(tmp_path: Path) -> None:
    code = "import os, sys, pyarrow as pa; from motet.io import open_writer; w = open_writer(sys.argv[1], pa.schema({'x': pa.int64()}))"
    for _ in range(3):
        killed = subprocess.run(
            [sys.executable, "-c", f"{code}; os.kill(os.getpid(), 9)", str(tmp_path / "x.parquet")], check=False
        )
        assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".x.parquet.part"]
    writer = open_writer(tmp_path / "x.parquet", pa.schema({"x": pa.int64()}))
    with pytest.raises(InputError, match="another run is writing it"):
        open_writer(tmp_path / "x.parquet", pa.schema({"x": pa.int64()}))
    writer.write(pa.record_batch({"x": [1]}))
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_an_unfinished_run_is_hidden_from_who_reads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.engines.local.pending.COMMIT_SECONDS", 0.0)
    (tmp_path / "data").mkdir()
    seen: list[int] = []

    def look(*_: Any) -> None:
        assert any((tmp_path / "data").rglob("_piece-*"))
        seen.append(pa.dataset.dataset(tmp_path / "data").count_rows())
        seen.append(graph().run(str(tmp_path / "data")).num_rows)

    pq.write_table(table(7), tmp_path / "data" / "before.parquet")
    graph().run(table(), tmp_path / "data" / "out.parquet", batch_rows=50, progress=look, workers=1)
    assert set(seen) == {7}


def test_a_place_that_cannot_be_written_is_refused_before_rows_are_played(tmp_path: Path) -> None:
    played: list[int] = []

    def seen(x: np.ndarray) -> np.ndarray:
        played.append(len(x))
        return x

    what = mt.Graph("seen", outputs={"y": mt.map(seen, mt.input("x", "int64"), outputs="int64")})
    (tmp_path / "file").write_text("")
    for output in ("/proc/out.parquet", f"{tmp_path}/file/out.parquet"):
        with pytest.raises(InputError, match="cannot be written"):
            what.run(table(), output)
    with pytest.raises(InputError, match="there is no folder"):
        what.run(table(), tmp_path / "out.parquet", failed=f"{tmp_path}/none/failed.parquet")
    assert not played
    assert sorted(os.listdir(tmp_path)) == ["file"]
