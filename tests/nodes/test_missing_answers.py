"""What stands for the answer of a member that did not answer: never 0, False or nothing; called, in bulk, in processes, served."""

import statistics
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.client import Client

ROWS, MEMBERS = 8, "abc"
BAD = {"a": [1, 5], "b": [2, 5, 6], "c": [2, 3, 6]}
"""The rows that each member raises on: of rows 2 and 6 only `a` answers, of row 5 only `c`."""
VALUES = {
    "int8": lambda place, row: row - 10 * place,
    "int64": lambda place, row: (1 << 40) + row + 10 * place,
    "uint8": lambda place, row: 7 + row // 4 * place,
    "bool": lambda place, row: place != 1,
    "float32": lambda place, row: row / 4 + place,
    "float64": lambda place, row: row / 4 - place,
    "string": lambda place, row: f"t{max(place, 1)}",
    "any": lambda place, row: row + place,
}
MISSING = {"float32": np.nan, "float64": np.nan, "string": None, "any": None}
"""What stands for an answer that is missing; the other types have nothing."""


class Member:
    """Gives a value for each row, or an exception for that row."""

    def __init__(self, place, dtype):
        self.place, self.dtype = place, dtype

    def __call__(self, x):
        return [
            ValueError("not this one") if row in BAD[MEMBERS[self.place]] else VALUES[self.dtype](self.place, row)
            for row in x.tolist()
        ]


def answers(dtype, row):
    """What the members that answer a row give."""
    return [VALUES[dtype](place, row) for place, name in enumerate(MEMBERS) if row not in BAD[name]]


@mt.returns("float64")
def first_of(*columns):
    return columns[0].astype(np.float64)


COMBINED: dict[Any, Any] = {
    "average": statistics.fmean,
    "median": statistics.median,
    "max": max,
    "majority_vote": lambda given: max(given, key=lambda each: (given.count(each), -given.index(each))),
    first_of: lambda given: float(given[0]),
}


def ensemble(dtype, combine, placement=None):
    models = {
        name: mt.Model(
            "python:test_missing_answers:Member", name, inputs={"x": "int64"}, outputs={"y": dtype},
            options={"place": place, "dtype": dtype}, placement=placement,
        )
        for place, name in enumerate(MEMBERS)
    }  # fmt: skip
    return mt.ensemble(models, mt.input("x", "int64"), combine=combine, require=1, name="vote")


def answered(graph, way, tmp_path):
    """By row what a graph gives, without the rows that failed."""
    x = list(range(ROWS))
    if way == "call":
        found, failures = graph({"x": x}, failures="return")
        failed = {each.row for each in failures}
        rows = zip(*(column.tolist() for column in found.values()), strict=True)
        return dict(
            zip(
                [row for row in x if row not in failed],
                [dict(zip(found, row, strict=True)) for row in rows],
                strict=True,
            )
        )
    if way == "bulk":
        graph.run({"x": x}, tmp_path / "out.parquet", batch_rows=3, workers=2)
        return {each.pop("x"): each for each in pq.read_table(tmp_path / "out.parquet").to_pylist()}
    with graph.serve(block=False, port=0) as live, Client(live.url) as client:
        told = client.predict(graph.name, [{"x": row} for row in x])
    return {row: each for row, each in enumerate(told) if "error" not in each}


def same(value, wanted):
    if isinstance(value, (list, np.ndarray)):
        return all(same(one, other) for one, other in zip(value, wanted, strict=True))
    if wanted is None or wanted != wanted:
        return value is None or value != value
    return value == pytest.approx(wanted) if isinstance(wanted, float) else value == wanted


@pytest.mark.parametrize("way", ["call", "bulk", "live"])
@pytest.mark.parametrize("combine", COMBINED)
def test_who_is_missing_does_not_count(combine, way, tmp_path):
    taken = ["int8", "int64", "uint8", "float32", "float64"]
    taken += ["bool", "string"] if combine == "majority_vote" else []
    for dtype in taken:
        graph = mt.Graph("g", {"y": ensemble(dtype, combine)})
        found = answered(graph, way, tmp_path / dtype)
        assert list(found) == list(range(ROWS))
        for row, given in found.items():
            assert same(given["y"], COMBINED[combine](answers(dtype, row))), (dtype, row)


@pytest.mark.parametrize(("way", "placement"), [("call", None), ("call", "process"), ("bulk", None), ("live", None)])
@pytest.mark.parametrize("output", ["own", "stack"])
@pytest.mark.parametrize("dtype", VALUES)
def test_a_missing_answer_that_is_asked_for_is_missing_or_fails_its_row(dtype, output, way, placement, tmp_path):
    vote = ensemble(dtype, "stack" if output == "stack" else "majority_vote", placement)
    graph = mt.Graph("g", {"y": vote.a.y if output == "own" else vote})
    with graph:
        found = answered(graph, way, tmp_path)
    names = "a" if output == "own" else MEMBERS
    may_be = dtype in MISSING and (dtype, output, way) != ("any", "stack", "bulk")  # its first rows are whole numbers
    missing = [row for row in range(ROWS) if any(row in BAD[name] for name in names)]
    assert list(found) == [row for row in range(ROWS) if may_be or row not in missing]
    for row, given in found.items():
        wanted = [
            MISSING.get(dtype) if row in BAD[name] else VALUES[dtype](place, row)
            for place, name in enumerate(MEMBERS)
            if name in names
        ]
        assert same(given["y"], wanted[0] if output == "own" else wanted), row


def test_a_row_that_fails_so_says_why():
    graph = mt.Graph("g", {"y": ensemble("int64", "max").b.y})
    _, failures = graph({"x": [0, 2]}, failures="return")
    assert [(each.row, each.model) for each in failures] == [(1, "b")]
    assert failures[0].message.endswith("; vote.b.y is int64, which cannot be missing")


def test_a_shadow_fails_a_row_only_where_its_whole_number_is_asked_for():
    models = [mt.Model("python:test_missing_answers:Member", name, inputs={"x": "int64"}, outputs={"y": "int64"},
                       options={"place": place, "dtype": "int64"}) for place, name in enumerate("ab")]  # fmt: skip
    vote = mt.ensemble(models, mt.input("x", "int64"), combine="max", weights={"b": 0})
    asked = mt.Graph("g", {"y": vote, "shadow": vote.b.y})
    assert sorted({each.row for each in asked({"x": range(ROWS)}, failures="return")[1]}) == [1, 2, 5, 6]
    alone = mt.Graph("g", {"y": vote})
    assert sorted({each.row for each in alone({"x": range(ROWS)}, failures="return")[1]}) == BAD["a"]
