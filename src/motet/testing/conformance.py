"""What every engine must do: the same graph, models and rows give the same answers called, and in bulk.

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
    def test_engine(check, tmp_path):
        check("local", tmp_path)

Each check plays one graph here and now, and with the engine over a Parquet file, and compares. Its models are those of
`motet.testing.fakes`, so an engine that starts processes can import them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from motet.batch import Array, Column, as_column
from motet.engines.engine import Engine
from motet.errors import Failure, ModelFailedError
from motet.facade import Graph, member
from motet.input_columns import input
from motet.io import arrow_type, from_column
from motet.nodes import cascade, ensemble, map_, model, route, shard
from motet.testing.fakes import Affine, Failing, Scores, fake
from motet.types import ColumnType, returns

__all__ = ["CHECKS", "Bulk", "run_in_bulk"]

Check = Callable[[str | Engine, Path], None]
CHECKS: list[Check] = []
"""All checks: called with an engine, or its name, and an empty folder, they raise `AssertionError` where it fails one."""


@dataclass(frozen=True)
class Bulk:
    """What a run wrote.

    Attributes:
        answers: the rows that were answered, in order, by output.
        failures: the others, in order.
        rows: how many rows the run reports.
    """

    answers: Mapping[str, Any]
    failures: list[Failure]
    rows: int


def run_in_bulk(engine: str | Engine, graph: Graph, columns: Mapping[str, Any], folder: Path, **options: Any) -> Bulk:
    """Write columns to Parquet in small row groups, run the graph over the file, and read what it wrote."""
    source, output, failed = (str(folder / name) for name in ("in.parquet", "out.parquet", "failed.parquet"))
    pq.write_table(_table(graph, columns), source, row_group_size=100)
    report = graph.run(source, output, engine=engine, failed=failed, keep=[], overwrite=True, **options)
    written = pq.read_table(failed, columns=[each.name for each in fields(Failure)]).to_pylist()
    return Bulk(_read(output), [Failure(**row) for row in written], report.rows)


def _table(graph: Graph, columns: Mapping[str, Any]) -> pa.Table:
    return pa.table({name: _stored(as_column(values), graph.inputs[name].type) for name, values in columns.items()})


def _stored(column: Column, kind: ColumnType) -> pa.Array:
    if isinstance(column, np.ndarray) and column.dtype == object:
        return pa.array(column.tolist(), arrow_type(kind))
    return from_column(column, kind)


def _read(path: str) -> dict[str, Any]:
    table = pq.read_table(path).combine_chunks()
    return {name: table[name].to_pylist() for name in table.column_names}


def check(function: Check) -> Check:
    """Register a check."""
    CHECKS.append(function)
    return function


def _same(graph: Graph, columns: Mapping[str, Any], bulk: Bulk) -> None:
    """The answers and failures of a run are those of a call: to 1e-5, and the same decisions."""
    answers, failures = graph(columns, failures="return")
    assert bulk.failures == failures, f"failures in bulk {bulk.failures[:3]}, called {failures[:3]}"
    assert list(bulk.answers) == list(answers), f"outputs in bulk {list(bulk.answers)}, called {list(answers)}"
    rows = len(next(iter(columns.values())))
    assert bulk.rows == rows, f"the run reports {bulk.rows} rows of {rows}"
    for name, column in answers.items():
        got = bulk.answers[name]
        assert len(got) == len(column), f"{name}: {len(got)} rows in bulk, {len(column)} called"
        for row, (one, other) in enumerate(zip(got, column, strict=True)):
            assert _equal(one, other), f"{name}, answer {row}: {one!r} in bulk, {other!r} called"


def _equal(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, (str, bytes)) or wanted is None:
        return bool(got == wanted)
    one, other = np.asarray(np.nan if got is None else got), np.asarray(wanted)
    return one.shape == other.shape and bool(np.allclose(one.astype(other.dtype), other, atol=1e-5, equal_nan=True))


def _numbers(rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-20, 20, rows).astype(np.float32)


@returns("float32")
def _refuse_nine(x: Array) -> Array:
    if (x == 9).any():
        raise ValueError("nine")
    return x


def _digits(numbers: Array) -> tuple[Array, Array]:
    """A number's digits are its pieces; a negative one has none."""
    texts = [str(number) if number >= 0 else "" for number in numbers.astype(np.int64).tolist()]
    return np.array([int(digit) for text in texts for digit in text], dtype=np.float32), np.array(
        [len(t) for t in texts]
    )


@returns("float64")
def _sums(values: Array, counts: Array) -> Array:
    ends = np.concatenate([[0], np.cumsum(counts)])
    return np.array([values[a:b].sum(dtype=np.float64) for a, b in pairwise(ends)])


@check
def answers_are_the_same_called_and_in_bulk(engine: str | Engine, folder: Path) -> None:
    """All kinds of nodes, and a graph inside."""
    x, user = input("x", "float32"), input("user", "string")
    one, two = (fake(Scores, f"s{n}", "float32", "float32[3]", output="p", seed=n, sharpness=0.2) for n in (1, 2))
    vote = ensemble([one, two], x, weights=[1, 3])
    inner = Graph("inner", {"p": ensemble([one, two], input("x", "float32"), combine="max").p})
    arms = {"a": fake(Affine, "a"), "b": fake(Affine, "b", scale=2.0)}
    sure = cascade([one, inner], x, confidence=0.7)
    outputs = {
        "vote": vote.p,
        "sure": sure.p,
        "step": sure.member,
        "split": route(arms, x, split={"a": 1, "b": 2}, by=user, name="split").output,
        "arm": route(arms, x, when={"b": "x > 3"}, otherwise="a", name="size").member,
        "digits": shard(fake(Affine, "digit", scale=3.0), x, apart=_digits, together=_sums),
    }
    columns = {"x": _numbers(730), "user": [f"user-{row % 37}" for row in range(730)]}
    graph = Graph("all", outputs)
    _same(graph, columns, run_in_bulk(engine, graph, columns, folder))


@check
def rows_keep_their_order(engine: str | Engine, folder: Path) -> None:
    """Answers are in the order of the source, whatever members took how long for them."""
    x = input("x", "float32")
    arms = {"small": fake(Affine, "small"), "large": fake(Affine, "large")}
    graph = Graph("order", {"y": route(arms, x, when={"large": "x % 7 < 3"}, otherwise="small").output})
    numbers = np.arange(5000, dtype=np.float32)
    bulk = run_in_bulk(engine, graph, {"x": numbers}, folder)
    assert bulk.answers["y"] == numbers.tolist()


@check
def every_row_is_answered_or_fails_once(engine: str | Engine, folder: Path) -> None:
    """Rows that models and functions raise on are written apart, with their place and the reason; the others are answered."""
    x = map_(_refuse_nine, input("x", "float32"), name="checked")
    members = {"a": fake(Failing, "a", bad=[3.0, 5.0]), "b": fake(Failing, "b", bad=[5.0], scale=2.0)}
    graph = Graph("failing", {"y": ensemble(members, x, require=1, name="vote").output})
    columns = {"x": _numbers(900, seed=1)}
    bulk = run_in_bulk(engine, graph, columns, folder)
    wanted = [row for row, value in enumerate(columns["x"]) if value in (5, 9)]
    assert [failure.row for failure in bulk.failures] == wanted
    assert {(failure.node, failure.model, failure.error) for failure in bulk.failures} == {
        ("checked", f"{__name__}._refuse_nine", "ValueError"),
        ("vote", "a", "ValueError"),
    }
    assert len(bulk.answers["y"]) == 900 - len(wanted)
    _same(graph, columns, bulk)


@check
def a_model_that_fails_on_everything_ends_the_run(engine: str | Engine, folder: Path) -> None:
    """Its own error ends the run, instead of a failure a row."""
    graph = Graph("broken", {"y": model(fake(Failing, "broken"), input("x", "float32"), name="asked")})
    said = ""
    try:
        run_in_bulk(engine, graph, {"x": _numbers(500)}, folder)
    except ModelFailedError as error:
        said = str(error)
    assert "model 'broken' failed on each of the " in said, said or "the run went on"
    assert not (folder / "out.parquet").exists(), "an output was left"


@check
def nulls_fail_unless_there_is_a_default(engine: str | Engine, folder: Path) -> None:
    """A null fails its row; a default stands in for it; the default None lets it through."""
    x, y, text = input("x", "float32"), input("y", "float32", default=7), input("text", "string", default=None)
    graph = Graph("nulls", {"x": x, "y": y, "text": text})
    x_values: list[Any] = [1.0, None, 3.0, 4.0]
    columns: dict[str, Any] = {"x": x_values, "y": [None, 2.0, None, 4.0], "text": ["a", "b", None, ""]}
    bulk = run_in_bulk(engine, graph, columns, folder)
    assert bulk.answers == {"x": [1, 3, 4], "y": [7, 7, 4], "text": ["a", None, ""]}
    assert [(failure.row, failure.node, failure.error) for failure in bulk.failures] == [(1, "input", "InputError")]


@check
def rows_that_differ_in_shape_are_answered(engine: str | Engine, folder: Path) -> None:
    """Rows of a varying axis, bytes and texts come out as they went in, or as the model made them."""
    rows = [np.full(length % 5, length, dtype=np.float32) for length in range(230)]
    x, key, raw = input("x", "float32[?]"), input("key", "string"), input("raw", "bytes")
    arms = {"a": fake(Affine, "a", "float32[?]"), "*": fake(Affine, "b", "float32[?]", scale=2.0)}
    members = {name: member(arm, [x]) for name, arm in arms.items()}
    graph = Graph("ragged", {"y": route(members, key=key).output, "raw": raw, "who": key})
    columns: dict[str, Any] = {
        "x": rows,
        "key": ["abc"[row % 3] for row in range(230)],
        "raw": [bytes([row]) for row in range(230)],
    }
    _same(graph, columns, run_in_bulk(engine, graph, columns, folder))


@check
def no_rows_make_an_output_without_rows(engine: str | Engine, folder: Path) -> None:
    """An empty source is no mistake."""
    graph = Graph("nothing", {"y": model(fake(Affine, "a"), input("x", "float32"))})
    bulk = run_in_bulk(engine, graph, {"x": np.zeros(0, dtype=np.float32)}, folder)
    assert (bulk.answers, bulk.failures, bulk.rows) == ({"y": []}, [], 0)


@check
def rows_that_all_fail_leave_an_output_without_rows(engine: str | Engine, folder: Path) -> None:
    """Where no row can be answered the failures are still written."""
    graph = Graph("all_fail", {"y": model(fake(Affine, "a"), input("x", "float32"))})
    x_values: list[Any] = [None] * 20
    bulk = run_in_bulk(engine, graph, {"x": x_values}, folder)
    assert bulk.answers == {"y": []}
    assert [failure.row for failure in bulk.failures] == list(range(20))
