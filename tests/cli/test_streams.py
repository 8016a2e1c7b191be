"""Standard streams that are closed, full, or read by nobody: a run that is finished has its output and its own exit code."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

LOUD = """
import sys
import motet as mt

@mt.returns("int64")
def loud(x):
    print("loud " * 20_000, file=sys.stderr)
    return x + 1
"""


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    (tmp_path / "functions_of_streams.py").write_text(LOUD)
    (tmp_path / "g.yaml").write_text(
        "motet: 1\ninputs: {x: int64}\nnodes: {a: {map: functions_of_streams.loud, inputs: [x]}}\noutputs: {y: a}\n"
    )
    (tmp_path / "in.csv").write_text("x\n1\n2\n3\n")
    names = [str(tmp_path / name) for name in ("g.yaml", "in.csv", "out.parquet")]
    return ["run", names[0], "--input", names[1], "--output", names[2], "--overwrite", "--batch-rows", "1"]


@pytest.fixture
def full() -> Iterator[int]:
    """A pipe that is full, and that nobody reads."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, b"." * 4096)
    os.set_blocking(theirs, True)
    yield theirs
    os.close(ours)
    os.close(theirs)


def motet(*args: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    code = "import motet.system.streams as streams; streams.WAIT_S = 0.05; from motet.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *args], check=False, timeout=60, **streams)


def shell(line: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = " ".join([sys.executable, "-m", "motet.cli", *args])
    return subprocess.run(["bash", "-c", line.format(command)], capture_output=True, text=True, check=False, timeout=60)


def answers(run: list[str]) -> list[int]:
    return pq.read_table(run[5]).column("y").to_pylist()


@pytest.mark.parametrize(
    "line",
    [
        "{} 2>&-", "{} >&-", "{} <&-", "{} >&- 2>&-", "{} <&- >&- 2>&-", "{} > /dev/full", "{} > /dev/full 2> /dev/full",
        "{} | true; exit ${{PIPESTATUS[0]}}", "{} 2>&1 | true; exit ${{PIPESTATUS[0]}}",
    ],
)  # fmt: skip
def test_a_run_is_not_lost_because_nobody_can_hear_of_it(run: list[str], line: str) -> None:
    done = shell(line, *run)
    assert done.returncode == 0, done.stderr
    assert answers(run) == [2, 3, 4]


def test_what_cannot_be_printed_is_said(run: list[str]) -> None:
    done = shell("{} > /dev/full", *run)
    assert done.stderr.endswith("the report cannot be written to standard output: No space left on device\n")


@pytest.mark.parametrize("line", ["{} 2>&-", "{} > /dev/full"])
def test_failed_rows_count_all_the_same(run: list[str], line: str) -> None:
    Path(run[3]).write_text("x\n1\nbad\n3\n")
    assert shell(line, *run).returncode == 3
    assert answers(run) == [2, 4]


def test_a_command_whose_work_is_its_output_fails_without_it(run: list[str]) -> None:
    assert shell("{} > /dev/full", "check", run[1]).returncode == 1


@pytest.mark.parametrize("which", ["stdout", "stderr", "both"])
def test_a_pipe_that_nobody_reads_does_not_stop_a_run(run: list[str], full: int, which: str) -> None:
    streams = {name: full for name in ("stdout", "stderr") if which in (name, "both")}
    rest = {"stderr": subprocess.DEVNULL, **streams}
    assert motet(*run, **rest).returncode == 0
    assert answers(run) == [2, 3, 4]


def test_what_nobody_reads_in_time_is_left_out(run: list[str]) -> None:
    ours, theirs = os.pipe()
    assert motet(*run, stdout=subprocess.DEVNULL, stderr=theirs).returncode == 0
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        text = said.read()
    assert text.startswith(b"loud loud")
    assert len(text) <= 1 << 16  # of 300,000 bytes, what a pipe holds


def test_nothing_is_written_into_a_file_that_got_the_number_of_a_closed_stream(run: list[str]) -> None:
    """Libraries of C write to number 2, whatever it is."""
    Path(run[1]).with_name("functions_of_streams.py").write_text(
        "import os\ndef loud(x):\n    os.write(2, b'noise' * 1000)\n    return x + 1\n"
    )
    Path(run[1]).write_text(Path(run[1]).read_text().replace("inputs: [x]", "inputs: [x], outputs: int64"))
    assert shell("{} <&- >&- 2>&-", *run).returncode == 0
    assert answers(run) == [2, 3, 4]
