"""Signals end commands with what is finished kept, their own exit codes, and within a bounded time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.until import until
from motet.engines.local.journal import JournalPiece

FUNCTIONS = """
import os, signal, threading
import motet as mt

@mt.returns("int64")
def told(x):
    if 20 in x and "TOLD" in os.environ:
        os.kill(os.getpid(), int(os.environ["TOLD"]))
        if "STUCK" in os.environ:
            threading.Event().wait()
    return x + 1
"""
GRAPH = "motet: 1\nname: g\ninputs: {x: int64}\nnodes: {a: {map: functions_of_signals.told, inputs: [x]}}\noutputs: {y: a}\n"
HURRIED = "import motet.cli.signals as signals; signals.STOP_S = 4; from motet.cli import main; main()"


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """The arguments of a run over 40 rows, two a batch, that is told to end when it plays the eleventh batch."""
    (tmp_path / "functions_of_signals.py").write_text(FUNCTIONS)
    (tmp_path / "g.yaml").write_text(GRAPH)
    pq.write_table(pa.table({"x": range(40)}), tmp_path / "in.parquet")
    names = [str(tmp_path / name) for name in ("g.yaml", "in.parquet", "out.parquet")]
    return ["run", names[0], "--input", names[1], "--output", names[2], "--batch-rows", "2", "--workers", "1"]


def motet(*args: str, code: str = "from motet.cli import main; main()", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **env}
    )  # fmt: skip


def finished_rows(tmp_path: Path) -> int:
    pieces = [JournalPiece.named(path.name) for path in (tmp_path / "out.parquet.unfinished").iterdir()]
    return sum(piece.rows for piece in pieces if piece is not None)


@pytest.mark.parametrize(
    ("number", "code", "by"),
    [(signal.SIGINT, 130, ""), (signal.SIGTERM, 143, " by SIGTERM"), (signal.SIGHUP, 129, " by SIGHUP")],
)
def test_a_run_that_is_told_to_end_keeps_what_is_finished(
    run: list[str], tmp_path: Path, number: int, code: int, by: str
) -> None:
    stopped = motet(*run, TOLD=str(int(number)))
    assert (stopped.returncode, stopped.stderr) == (code, f"stopped{by}; --resume goes on with what is finished\n")
    assert not (tmp_path / "out.parquet").exists()
    assert 14 <= finished_rows(tmp_path) <= 40
    done = motet(*run, "--resume")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {"x": list(range(40)), "y": list(range(1, 41))}


def test_a_call_that_does_not_end_holds_nothing_up(run: list[str], tmp_path: Path) -> None:
    stopped = motet(*run, code=HURRIED, TOLD=str(int(signal.SIGTERM)), STUCK="1")
    assert (stopped.returncode, stopped.stderr) == (143, "stopped by SIGTERM; --resume goes on with what is finished\n")
    assert 14 <= finished_rows(tmp_path) <= 20


def test_nohup_is_respected(run: list[str], tmp_path: Path) -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from motet.cli import main; main()"
    assert motet(*run, code=ignoring, TOLD=str(int(signal.SIGHUP))).returncode == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 40


@pytest.mark.parametrize("args", [["check"], ["explain", "--input", "in.parquet", "--row", "0"]])
def test_other_commands_end_too(run: list[str], args: list[str]) -> None:
    told = "import os, signal, motet.cli.exits as exits; load = exits.load_graph\n"
    told += "def told(path): os.kill(os.getpid(), signal.SIGTERM); return load(path)\n"
    told += f"import motet.cli.{args[0]} as command; command.load_graph = told\nfrom motet.cli import main; main()"
    stopped = motet(args[0], run[1], *args[1:], code=told)
    assert (stopped.returncode, stopped.stderr) == (143, "stopped by SIGTERM\n")


def said(server: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line of its log in which something is; a server that ends without one has not said it."""
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"the server has not said {pattern!r}")


def test_a_server_of_several_processes_has_its_own_time_and_reads_its_configuration_again(run: list[str]) -> None:
    code = "import motet.cli.signals as signals; signals.STOP_S = signals.AT_ONCE_S = 0.0; from motet.cli import main; main()"
    args = ["serve", run[1], "--port", "0", "--grpc-port", "-1", "--processes", "2"]
    with subprocess.Popen([sys.executable, "-c", code, *args], stderr=subprocess.PIPE, text=True) as server:
        port = said(server, r"2 processes serve on 127.0.0.1:(\d+)")[1]
        until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).status == 200)
        server.send_signal(signal.SIGHUP)
        said(server, "the configuration was read again")
        server.send_signal(signal.SIGTERM)
        assert server.stderr is not None
        assert "stopped" not in server.stderr.read()
        assert server.wait() == 0


def test_a_container_without_threads_left(run: list[str], tmp_path: Path) -> None:
    none = 'import threading\ndef none(self): raise RuntimeError("can\'t start new thread")\nthreading.Thread.start = none\n'
    done = motet(*run, code=none + "from motet.cli import main; main()")
    assert (done.returncode, done.stderr) == (0, "")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 40
    (tmp_path / "out.parquet").unlink()
    stopped = motet(*run, code=none + "from motet.cli import main; main()", TOLD=str(int(signal.SIGTERM)))
    assert stopped.returncode == 143
    assert 14 <= finished_rows(tmp_path) <= 40
