"""What the log of a container says of a run: one line every ten seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from motet.system.progress_log import ProgressLog


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rows_speed_failures_and_time_left(clock: Clock) -> None:
    log = ProgressLog(clock)
    clock.now += 10
    assert log.line() == "no row is done yet after 10 s: reading the input, loading models"
    log(0, 100_000, 0)
    clock.now += 10
    log(5_000, 100_000, 3)
    assert log.line() == "5,000 of 100,000 rows, 500 rows/s, 3 failed, 3 min 10 s left"
    clock.now += 10
    log(15_000, 100_000, 3)
    assert log.line() == "15,000 of 100,000 rows, 750 rows/s, 3 failed, 1 min 53 s left"
    log(100_000, 100_000, 4)
    assert log.line() == "100,000 of 100,000 rows, 4 failed; writing the output"


def test_speed_is_that_of_the_last_lines(clock: Clock) -> None:
    log = ProgressLog(clock)
    log(0, None, 0)
    for done in (1_000, 2_000, 3_000, 3_030, 3_060, 3_090):
        clock.now += 10
        log(done, None, 0)
        line = log.line()
    assert line == "3,090 rows, 3.0 rows/s, 0 failed"
    clock.now += 100
    for _ in range(3):
        clock.now += 10
        line = log.line()
    assert line == "3,090 rows, 0.0 rows/s, 0 failed"


def test_a_run_that_goes_on_counts_the_whole_and_not_what_was_done_before_as_speed(clock: Clock) -> None:
    log = ProgressLog(clock)
    log(900_000, 1_000_000, 7)
    clock.now += 10
    log(901_000, 1_000_000, 7)
    assert log.line() == "901,000 of 1,000,000 rows, 100 rows/s, 7 failed, 16 min 30 s left"


def test_hours(clock: Clock) -> None:
    log = ProgressLog(clock)
    log(0, 1_000_000, 0)
    clock.now += 10
    log(1_000, 1_000_000, 0)
    assert log.line().endswith("2 h 46 min left")


@pytest.mark.parametrize("quiet", [False, True])
def test_lines_come_while_it_runs(tmp_path: Path, quiet: bool) -> None:
    """Read as whoever follows the log does: the function waits until a line of it was read, or it is quiet."""
    told, tell = os.pipe()
    (tmp_path / "waits.py").write_text(f"import os\ndef wait(x):\n    os.read({told}, 1)\n    return x\n")
    (tmp_path / "g.yaml").write_text(
        "motet: 1\ninputs: {x: int64}\nnodes: {y: {map: waits.wait, inputs: [x], outputs: int64}}\noutputs: {y: y}\n"
    )
    (tmp_path / "in.csv").write_text("x\n1\n2\n3\n")
    names = [str(tmp_path / name) for name in ("g.yaml", "in.csv", "out.csv")]
    code = "import motet.system.progress_log as log; log.EVERY_S = 0.05; from motet.cli import main; main()"
    args = ["run", names[0], "--input", names[1], "--output", names[2], "--batch-rows", "1", *["--quiet"][:quiet]]
    with subprocess.Popen([sys.executable, "-c", code, *args], stderr=subprocess.PIPE, pass_fds=[told]) as running:
        assert running.stderr is not None
        if not quiet:
            assert re.match(
                rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (no row is done yet|0 of 3 rows)", running.stderr.readline()
            )
        os.write(tell, b"...")
        said = running.stderr.read()
        assert running.wait() == 0
    assert not quiet or said == b""
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == ["1,1", "2,2", "3,3"]
