"""Answers on standard output, in pipes and on devices: they hold the answers and nothing else, and are never replaced."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FUNCTIONS = """
import os
import motet as mt
print("printed while it is imported")

@mt.returns("int64")
def plus(x):
    print("printed while it runs")
    os.system("echo printed by a child")
    if (x == 7).any():
        raise ValueError("seven")
    return x + 1
"""
GRAPH = "motet: 1\nname: g\ninputs: {x: int64}\nnodes: {a: {map: functions_of_streams.plus, inputs: [x]}}\noutputs: {y: a}\n"
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
EXPECTED = [(row, row + 1) for row in range(10) if row != 7]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command over ten rows, of which one fails, in a folder of its own."""
    (tmp_path / "functions_of_streams.py").write_text(FUNCTIONS)
    (tmp_path / "g.yaml").write_text(GRAPH)
    pq.write_table(pa.table({"x": np.arange(10)}), tmp_path / "in.parquet")

    def run(*args: str, source: str = "in.parquet", **more: Any) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "motet.cli", "run", "g.yaml", "--input", source, *args]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return subprocess.run(command, cwd=tmp_path, check=False, **streams)  # type: ignore[return-value]

    return run


READERS: dict[str, Callable[[bytes], list[tuple[int, int]]]] = {
    "csv": lambda data: [(int(x), int(y)) for x, y in list(csv.reader(io.StringIO(data.decode())))[1:]],
    "jsonl": lambda data: [(row["x"], row["y"]) for row in map(json.loads, data.splitlines())],
    "arrow": lambda data: [(row["x"], row["y"]) for row in pa.ipc.open_stream(data).read_all().to_pylist()],
    "parquet": lambda data: [(row["x"], row["y"]) for row in pq.read_table(io.BytesIO(data)).to_pylist()],
    "csv.gz": lambda data: READERS["csv"](gzip.decompress(data)),
    "csv.xz": lambda data: READERS["csv"](lzma.decompress(data)),
    "jsonl.bz2": lambda data: READERS["jsonl"](bz2.decompress(data)),
}


@pytest.mark.parametrize("name", READERS)
def test_standard_output_holds_the_answers_and_nothing_else(run: Run, tmp_path: Path, name: str) -> None:
    done = run("--output", "-", "--output-format", name)
    assert READERS[name](done.stdout) == EXPECTED
    assert done.returncode == 3
    told = done.stderr.decode()
    assert "printed while it is imported" in told
    assert "printed by a child" in told
    assert "g: 10 rows, 9 answered, 1 failed" in told
    assert "1 of 10 rows failed; --failed FILE keeps which, and why\n  row 7: node a in " in told
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "functions_of_streams.py", "g.yaml", "in.parquet",
    ]  # fmt: skip


def test_the_format_of_the_input_is_that_of_a_stream_whose_own_is_not_named(run: Run) -> None:
    done = run("--format", "csv", "--output", "-", source="-", input=b"x\n1\n2\n")
    assert (done.returncode, done.stdout) == (0, b'"x","y"\n1,2\n2,3\n')


def test_failures_go_where_they_are_asked_for(run: Run, tmp_path: Path) -> None:
    done = run("--output", "-", "--output-format", "csv", "--failed", "failed.jsonl", "--quiet")
    assert done.returncode == 3
    assert [json.loads(line)["row"] for line in (tmp_path / "failed.jsonl").read_text().splitlines()] == [7]


def test_what_is_redirected_is_appended_to(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "log.csv").open("ab") as file:
        file.write(b"before\n")
        file.flush()
        run("--output", "/dev/stdout", "--output-format", "csv", "--limit", "1", stdout=file)
    assert (tmp_path / "log.csv").read_bytes() == b'before\n"x","y"\n0,1\n'


def test_a_reader_that_goes_ends_the_run_quietly(run: Run, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.arange(10, 500_000)}), tmp_path / "big.parquet")
    reading, written = os.pipe()
    os.close(reading)
    done = run("--output", "-", "--output-format", "jsonl", "--quiet", source="big.parquet", stdout=written)
    os.close(written)
    assert done.returncode == 141
    assert b"rror" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_full_device_is_an_error(run: Run) -> None:
    with open("/dev/full", "wb") as full:
        done = run("--output", "-", "--output-format", "csv", "--quiet", stdout=full)
    assert done.returncode == 1
    assert b"error: -: cannot be written: No space left on device\n  hint: make room, or mend the disk\n" in done.stderr


def test_a_closed_standard_output_is_refused(run: Run) -> None:
    done = run("--output", "-", "--output-format", "csv", stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert b"error: -: standard output is closed" in done.stderr


def test_a_pipe_is_written_into(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe.csv").read_bytes()))
    reader.start()
    done = run("--output", "pipe.csv", "--overwrite", "--limit", "2")
    reader.join()
    assert (done.returncode, got) == (0, [b'"x","y"\n0,1\n1,2\n'])
    assert stat.S_ISFIFO((tmp_path / "pipe.csv").stat().st_mode)
    assert not (tmp_path / "pipe.csv.failed.parquet").exists()


def test_a_device_is_written_into(run: Run) -> None:
    done = run("--output", "/dev/null", "--output-format", "csv", "--overwrite", "--limit", "2")
    assert done.returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--output", "-"], "cannot tell the format of '-' by its suffix"),
        (["--output", "-", "--output-format", "xls"], "unknown sink format 'xls'"),
        (["--output", "-", "--output-format", "csv", "--resume"], "-: a stream cannot be gone on with"),
        (["--output", "out.parquet.gz"], "out.parquet.gz: Parquet is not compressed as a whole"),
        (["--output", "out", "--output-format", "arrow.zst"], "out: Arrow is not compressed as a whole"),
        (["--output", "out.csv", "--partition-by", "x"], "partition_by: out.csv is no folder"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, tmp_path: Path, args: list[str], message: str) -> None:
    done = run(*args)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", ["out.csv.xz", "out.csv.gz", "out.jsonl.bz2"])
def test_compressed_files_are_what_others_read(run: Run, tmp_path: Path, name: str) -> None:
    assert run("--output", name, "--quiet").returncode == 3
    assert READERS[name.partition(".")[2]]((tmp_path / name).read_bytes()) == EXPECTED


# reports


def test_a_report_that_cannot_be_written_is_refused_before_the_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for report in ("file/report.json", "/proc/report.json", "functions_of_streams.py/x.json"):
        done = run("--output", "out.csv", "--report", report)
        assert done.returncode == 2, done.stderr
        assert b"cannot be written" in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_a_report_that_fails_in_the_end_is_told_and_the_run_is_finished(run: Run, tmp_path: Path) -> None:
    functions = (tmp_path / "functions_of_streams.py").read_text()
    gone = "    import shutil; shutil.rmtree('reports', ignore_errors=True); open('reports', 'w').close()\n    return x + 1"
    (tmp_path / "functions_of_streams.py").write_text(functions.replace("    return x + 1", gone))
    done = run("--output", "out.csv", "--report", "reports/report.json", "--limit", "3", "--quiet")
    assert done.returncode == 0
    told = done.stderr.decode()
    assert "the run is finished, but its report cannot be written: reports/report.json" in told
    assert json.loads(told[told.index("{") :])["rows"] == 3
    assert (tmp_path / "out.csv").exists()
