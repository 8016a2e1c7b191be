"""Runs into tables of lakes that are killed before, amid and behind their one transaction, and gone on with."""

from __future__ import annotations

import datetime
import decimal
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

__all__ = ["KILLED", "VALUES", "ZONED", "killed_and_added_once", "negating", "put_with_nulls"]

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


ZONED = datetime.datetime(2024, 5, 1, 10, tzinfo=datetime.UTC)
VALUES: dict[str, tuple[pa.DataType, Any, Any]] = {
    "a": (pa.uint64(), 2**64 - 1, decimal.Decimal(2**64 - 1)),
    "b": (pa.uint8(), 255, 255),
    "c": (pa.float16(), 1.5, 1.5),
    "d": (pa.timestamp("ms", "Europe/Paris"), ZONED, ZONED),
    "e": (pa.list_(pa.float32(), 2), [1.0, 2.0], [1.0, 2.0]),
    "f": (pa.struct({"g": pa.uint16()}), {"g": 65535}, {"g": 65535}),
    "j": (pa.decimal128(9, 3), decimal.Decimal("1.500"), decimal.Decimal("1.500")),
    "k": (pa.string(), "a\0ü", "a\0ü"),
}
"""By name the type of a column, a value of it, and what a table has of that."""


def put_with_nulls(address: str, columns: dict[str, tuple[pa.DataType, Any, Any]]) -> list[dict[str, Any]]:
    """Write a row of values and one of nulls into a table; the rows that it must have then.

    Args:
        address: of the table.
        columns: see `VALUES`.
    """
    schema = pa.schema({"x": pa.float64(), **{name: kind for name, (kind, _, _) in columns.items()}})
    rows = [{"x": 1.0, **{name: value for name, (_, value, _) in columns.items()}}, {"x": 2.0}]
    negating().run(pa.Table.from_pylist(rows, schema), address, keep=schema.names)
    kept = {name: stored for name, (_, _, stored) in columns.items()}
    return [{"x": 1.0, **kept, "y": -1.0}, {"x": 2.0, **dict.fromkeys(columns), "y": -2.0}]


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
