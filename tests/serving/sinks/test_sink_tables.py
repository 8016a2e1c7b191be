"""Answers that a server keeps in a table of vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import motet as mt
from helpers.until import until
from motet.errors import GraphError
from motet.serving.config.sinks import SinkConfig, read_sinks
from motet.serving.sinks.records import Records
from motet.serving.sinks.targets import RefusedError, open_target

lancedb = pytest.importorskip("lancedb")
KINDS = {"id": "string", "output_v": "float32[2]", "tags": "string[?]", "members": "json", "n": "int64"}


def records(*rows: tuple[str, list[float], int]) -> Records:
    ids, vectors, numbers = zip(*rows, strict=True)
    tags = [["a", "b"][: len(rows)]] * len(rows)
    return Records(
        "g", KINDS, {"id": ids, "output_v": vectors, "tags": tags, "members": [{"m": 1}] * len(rows), "n": numbers}
    )


def config(to: str) -> SinkConfig:
    return read_sinks({"to": to}, "sinks")[0]


def test_a_record_that_is_written_again_is_there_once(tmp_path: Path) -> None:
    made = config("lancedb:store#{graph}")
    assert (made.format, made.name) == ("table", "join--graph")
    target = open_target(made, tmp_path)
    target.prepare("g", KINDS)
    for _ in range(2):
        target.write([records(("a", [1, 2], 1), ("b", [3, 4], 2)), records(("c", [5, 6], 3))], "batch")
    target.close()
    found = lancedb.connect(tmp_path / "store").open_table("g")
    assert sorted(row["id"] for row in found.to_arrow().to_pylist()) == ["a", "b", "c"]
    best = found.search(np.array([5, 6], np.float32), vector_column_name="output_v").limit(1).to_arrow().to_pylist()[0]
    assert (best["id"], best["n"], best["members"], best["tags"]) == ("c", 3, '{"m":1}', ["a"])


def test_records_that_it_cannot_take_are_refused(tmp_path: Path) -> None:
    target = open_target(config("lancedb:store#t"), tmp_path)
    with pytest.raises(RefusedError, match="column 'output_v' is all zeros, which has no direction"):
        target.write([records(("a", [0, 0], 1))], "batch")
    with pytest.raises(GraphError, match="vectors 'output_v' have 2 numbers in the table, and 3 in the rows"):
        target.prepare("g", {**KINDS, "output_v": "float32[3]"})
    target.close()


def test_zeros_are_refused_by_the_metric_of_the_table(tmp_path: Path) -> None:
    first, again = (open_target(config(f"lancedb:store{each}#t"), tmp_path) for each in ("?metric=l2", ""))
    first.write([records(("a", [1, 2], 1))], "batch")
    again.write([records(("b", [0, 0], 1))], "batch")
    first.close()
    again.close()
    assert lancedb.connect(tmp_path / "store").open_table("t").count_rows() == 2


@mt.returns("float32[2]")
def turned(x: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(x), np.sin(x)], axis=1).astype(np.float32)


def test_a_server_writes_its_answers(tmp_path: Path) -> None:
    graph = mt.Graph("g", {"v": mt.map(turned, mt.input("x", "float64"))})
    sink = {"to": f"lancedb:{tmp_path}/store#answers", "keep": ["v", "x"]}
    with graph.serve(block=False, port=0, sinks=[sink]) as server:
        from motet.client import Client

        with Client(server.url) as client:
            client.infer("g", {"x": np.array([0.0, 1.0, 2.0])})
        base = lancedb.connect(tmp_path / "store")
        until(lambda: "answers" in base.list_tables().tables and base.open_table("answers").count_rows() == 3)
    found = {row["input_x"]: row["output_v"] for row in base.open_table("answers").to_arrow().to_pylist()}
    assert all(np.allclose(vector, [np.cos(x), np.sin(x)]) for x, vector in found.items())
    assert len(found) == 3
