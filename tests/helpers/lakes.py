"""Runs into tables of lakes that are killed before, amid and behind their one transaction, and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import motet as mt

__all__ = ["KILLED", "killed_and_added_once", "negating"]

KILLED = """
import os, signal, sys, motet as mt
from helpers.killers import kill_once
from motet.engines.local import pending
from motet.engines.local.lake_output import LakeDestination
pending.COMMIT_SECONDS = 0
source, address, pid, when = sys.argv[1:]
table = type(LakeDestination(address).table)
whole = table.commit

def commit(self, rows, schema, noted, note, *, replaces, creates):
    def noting(text):
        note(text)
        if when == "noted":
            os.kill(os.getpid(), signal.SIGKILL)
    whole(self, rows, schema, noted, noting, replaces=replaces, creates=creates)
    os.kill(os.getpid(), signal.SIGKILL)

table.commit = commit
open(pid + "-taken" if when != "amid" else pid, "w").close()
graph = mt.Graph("k", {"m": mt.map(kill_once, mt.input("n", "int64"), pid_file=pid)})
graph.run(source, address, batch_rows=10, workers=1)
"""


def negating() -> mt.Graph:
    """A graph that gives `y`, the negative of `x`."""
    import numpy as np

    return mt.Graph("g", {"y": mt.map(np.negative, mt.input("x", "float64"), outputs="float64")})


def killed_and_added_once(folder: Path, address: str, when: str, found: Callable[[], list[dict[str, Any]]]) -> None:
    """See that all rows of a run that is killed, and gone on with, are added once.

    Args:
        folder: an empty one, in which the journal is.
        address: of the table, with `mode=append` where it is there.
        when: `amid`, while rows are played; `noted`, before the transaction; `committed`, right behind it.
        found: all rows of the table, which have `n` and `m`; rows before have other columns alone.
    """
    pid, source = folder / "pid", str(folder / "in.parquet")
    pq.write_table(pa.table({"n": range(100)}), source)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, source, address, str(pid), when]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    wanted = [{"n": n, "m": n} for n in range(100)]
    assert sorted(found(), key=lambda row: row["n"]) == (wanted if when == "committed" else [])
    graph = mt.Graph("k", {"m": mt.map("helpers.killers.kill_once", mt.input("n", "int64"), pid_file=str(pid))})
    with chdir(folder):
        report = graph.run(source, address, batch_rows=10, resume=True)
    assert (report.rows, report.resumed_rows > 0) == (100, True)
    assert sorted(found(), key=lambda row: row["n"]) == wanted
    assert not [name for name in os.listdir(folder) if name.endswith(".unfinished")]
