"""Rows with vectors, and by brute force which of them are the nearest: what a search of a table must find."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

import motet as mt

__all__ = ["check_search", "killed_and_resumed", "rows_of", "scores_of", "searching", "storing"]


COLUMNS = ["genre", "price", "new"]
GENRES = ("rock", "pop", "it's `jazz`")


def rows_of(count: int, seed: int = 0, size: int = 4) -> pa.Table:
    """Rows `0..count-1`: id, two vectors `image[size]` and `words[size]`, a text, a number and a truth value."""
    rng = np.random.default_rng(seed)

    def vectors() -> pa.Array:
        values = rng.integers(-8, 9, (count, size)).astype(np.float32)
        values[~values.any(axis=1), 0] = 1
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), size)

    return pa.table(
        {
            "id": pa.array(np.arange(count), pa.int64()),
            "image": vectors(),
            "words": vectors(),
            "genre": pa.array([GENRES[each] for each in rng.integers(0, 3, count)]),
            "price": pa.array(rng.integers(0, 20, count) / 2.0),
            "new": pa.array(rng.integers(0, 2, count).astype(bool)),
        }
    )


def matrix(table: pa.Table, name: str) -> np.ndarray:
    """The vectors of a column, in float64."""
    return np.array(table[name].to_pylist(), np.float64)


def scores_of(table: pa.Table, name: str, query: Any, metric: str) -> np.ndarray:
    """How near each row is, as a search says it."""
    found, wanted = matrix(table, name), np.asarray(query, np.float64)
    if metric == "dot":
        return found @ wanted
    if metric == "l2":
        return -np.sqrt(((found - wanted) ** 2).sum(axis=1))
    return (found @ wanted) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted)


def storing(function: Any = np.negative) -> mt.Graph:
    """A graph that gives `less`, what a function makes of the price; beside it stand all columns of `rows_of`."""
    return mt.Graph("store", {"less": mt.map(function, mt.input("price", "float64"), outputs="float64")})


def searching(address: str, inputs: dict[str, str], **options: Any) -> mt.Graph:
    """A graph that searches a table, and gives all that it finds."""
    columns: dict[str, Any] = {name: mt.input(name, kind) for name, kind in inputs.items()}
    found = mt.model(mt.Model(address, options=options), **columns)
    names = ["id", "score", *options.get("columns", [])]
    return mt.Graph("search", {name: found[name] for name in names})


def check_search(address: str, rows: pa.Table, metric: str, data: st.DataObject) -> None:
    """See that a search of some vectors and conditions finds of a table what brute force finds of its rows."""
    k, name = data.draw(st.integers(1, 70)), data.draw(st.sampled_from(["image", "words"]))
    numbers = st.integers(-8, 8).map(float)
    query = data.draw(st.lists(st.lists(numbers, min_size=4, max_size=4).filter(any), min_size=1, max_size=4))
    most, genres = data.draw(numbers), data.draw(st.lists(st.sampled_from(GENRES), max_size=2))
    where = {"price": {">": "$most"}, "genre": {"in": genres}, "new": data.draw(st.booleans())}
    kinds = {name: "float32[4]", "most": "float64"}
    graph = searching(address, kinds, k=k, columns=COLUMNS, vectors=name, where=where)
    got = graph({name: np.array(query, np.float32), "most": np.full(len(query), most)})
    chosen = [
        row for row in rows.to_pylist() if row["price"] > most and row["genre"] in genres and row["new"] == where["new"]
    ]
    known = {row["id"]: row for row in chosen}
    for place, each in enumerate(query):
        scores = scores_of(rows, name, each, metric)
        ids, best = got["id"][place].tolist(), sorted((scores[id] for id in known), reverse=True)[:k]
        assert len(set(ids)) == len(ids) == len(best)
        assert np.allclose(got["score"][place], best, atol=1e-4)
        assert np.allclose(got["score"][place], scores[ids], atol=1e-4)  # of equal ones any may come first
        for column in COLUMNS:
            assert got[column][place].tolist() == [known[id][column] for id in ids]


KILLED = """
import sys, motet as mt
from helpers.killers import kill_once
from motet.engines.local import pending
pending.COMMIT_SECONDS = 0
graph = mt.Graph("k", {"m": mt.map(kill_once, mt.input("n", "int64"), pid_file=sys.argv[3])})
graph.run(sys.argv[1], sys.argv[2], batch_rows=10, workers=1)
"""


def killed_and_resumed(
    folder: Path,
    address: str,
    found: Callable[[], dict[Any, Any]],
    without: tuple[str, ...] = (),
    *,
    is_without: bool = False,
) -> None:
    """See that nothing acknowledged is lost and nothing doubled, where a run into a table is killed and gone on with.

    Args:
        folder: an empty one.
        address: of the table, which is not there.
        found: the rows of the table by their ids, as its own client reads them.
        without: columns that are not compared.
        is_without: whether these are not written.
    """
    rows, pid, source = (
        rows_of(100).append_column("n", pa.array(range(100))),
        folder / "pid",
        str(folder / "in.parquet"),
    )
    if is_without:
        rows = rows.drop_columns(list(without))
    pq.write_table(rows, source)
    pid.write_text("")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, source, address, str(pid)]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = found()
    assert 0 < len(before) <= 50
    graph = mt.Graph("k", {"m": mt.map("helpers.killers.kill_once", mt.input("n", "int64"), pid_file=str(pid))})
    with chdir(folder):  # where the journal of a server's table is
        report = graph.run(source, address, batch_rows=10, resume=True)
    assert 0 < report.resumed_rows <= len(before)
    assert report.rows == 100
    assert found() == {
        row["id"]: {**row, "m": row["n"]}
        for row in rows.drop_columns([name for name in without if name in rows.column_names]).to_pylist()
    }
    assert not [name for name in os.listdir(folder) if name.endswith(".unfinished")]
