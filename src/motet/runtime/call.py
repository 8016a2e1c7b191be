"""Calling a graph: arrays in, arrays out; and explaining one row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Array, Batch, Column, Ragged, as_column, column_type, concat_columns, objects, take_rows
from motet.errors import Failure, InputError, RowErrors, TypeMismatchError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.graph import Input
from motet.runtime.executor import Call, Executor, Played, drive
from motet.types import ColumnType

__all__ = ["Explanation", "bind_columns", "call", "explain"]

BATCH_ROWS = 2048
"""Rows that are played together."""

Columns = Mapping[str, Any]


def call(executor: Executor, columns: Columns, failures: str = "raise") -> Any:
    """Play columns through a graph.

    Args:
        executor: plays the graph.
        columns: by the names of the inputs, arrays (or lists) whose first axis is the row.
        failures: `raise`, or `return` to get the failures beside the answers.

    Returns:
        Arrays by the names of the outputs, whose first axis is the row (lists of arrays where rows differ in shape);
        with `return`, these for the rows that were answered, and the failures.

    Raises:
        RowErrors: when rows failed; carries the answers of the others.
        InputError: when the columns are not those of the graph.
    """
    if failures not in ("raise", "return"):
        raise InputError(f"failures must be 'raise' or 'return'; got {failures!r}")
    batch, bad = bind_columns(columns, executor.checked)
    played = _play(executor, batch)
    every = sorted([*bad, *played.failures], key=lambda failure: failure.row)
    answers = {name: plain(column) for name, column in played.outputs.columns.items()}
    if failures == "return":
        return answers, every
    if every:
        raise RowErrors(every, answers, played.outputs.ids.tolist())
    return answers


def _play(executor: Executor, batch: Batch) -> Played:
    """Batches of a bounded number of rows, on all cores where there are several."""
    if len(batch) <= BATCH_ROWS:
        return drive(executor.play(batch)) if len(batch) else executor._nothing([])
    starts = range(0, len(batch), BATCH_ROWS)
    parts = (
        Batch(
            {n: take_rows(c, slice(s, s + BATCH_ROWS)) for n, c in batch.columns.items()}, batch.ids[s : s + BATCH_ROWS]
        )
        for s in starts
    )
    with ThreadPoolExecutor(max_workers=min(len(starts), os.cpu_count() or 1)) as pool:
        played = list(pool.map(lambda part: drive(executor.play(part)), parts))
    filled = [part for part in played if len(part.outputs)] or played[:1]
    names = filled[0].outputs.columns
    columns = {name: concat_columns([part.outputs.columns[name] for part in filled]) for name in names}
    ids = np.concatenate([part.outputs.ids for part in filled])
    return Played(Batch(columns, ids), [failure for part in played for failure in part.failures])


def plain(column: Column) -> Any:
    """A column as users get it: an array, or a list of arrays where rows differ in shape."""
    return column.rows() if isinstance(column, Ragged) else column


def bind_columns(columns: Columns, checked: CheckedGraph) -> tuple[Batch, list[Failure]]:
    """The batch that a graph is given, and the rows that do not fit.

    Raises:
        InputError: when a column is missing, or they differ in their number of rows.
        TypeMismatchError: when a column is not of its input's type.
    """
    if not isinstance(columns, Mapping):
        raise InputError(f"expected columns by name; got {type(columns).__name__}", hint='write graph({"name": array})')
    inputs = checked.graph.inputs
    for name in columns:
        if name not in inputs:
            raise UnknownNameError("input", str(name), list(inputs), where=f"graph {checked.graph.name!r}")
    given = {name: as_column(values) for name, values in columns.items()}
    for name, column in given.items():
        if getattr(column, "ndim", 1) == 0:
            raise InputError(
                f"input {name!r} must have the row as its first axis; got a single value",
                hint="write [value] for one row",
            )
    counts = {name: len(column) for name, column in given.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"inputs differ in their number of rows: {', '.join(f'{name} has {rows}' for name, rows in counts.items())}"
        )
    rows = next(iter(counts.values()), 0)
    bound: dict[str, Column] = {}
    bad: dict[int, str] = {}
    for name, each in inputs.items():
        if name in given:
            bound[name] = _bind(given[name], each, name, bad)
        elif each.has_default:
            bound[name] = constant_column(each.default, each.type, rows)
        else:
            raise InputError(
                f"input {name!r} is missing; the graph takes {', '.join(f'{n}: {i.type}' for n, i in inputs.items())}"
            )
    batch = Batch(bound, np.arange(rows))
    if bad:
        batch = batch.take([row for row in range(rows) if row not in bad])
    return batch, [Failure(row, "input", "", "", "InputError", message) for row, message in sorted(bad.items())]


def _bind(column: Column, each: Input, name: str, bad: dict[int, str]) -> Column:
    """A column given in Python as the graph's type; rows that are null and may not be are noted as bad."""
    kind = each.type
    if isinstance(column, np.ndarray) and column.dtype == object:
        column = _objects(column, each, name, bad)
    if kind.varies and isinstance(column, np.ndarray) and column.dtype != object:
        column = Ragged.from_dense(column)
    if not kind.varies and isinstance(column, Ragged):
        column = _same_shape(column, kind, name, bad)
    got = column_type(column)
    if kind.is_object or kind.accepts(got) or not len(column):
        return column
    if isinstance(column, Ragged):
        if len(kind.shape) == len(got.shape) and np.can_cast(column.dtype, kind.numpy_dtype, "safe"):
            return Ragged(column.values.astype(kind.numpy_dtype), column.offsets, column.shapes)
    elif kind.with_dtype(got.dtype).accepts(got) and (
        np.can_cast(column.dtype, kind.numpy_dtype, "safe") or _exact(column, kind)
    ):
        return column.astype(kind.numpy_dtype)
    raise TypeMismatchError(
        f"input {name!r} is {kind}; got {got}", hint=f"convert it: array.astype({kind.dtype!r}), or reshape it"
    )


def _exact(column: Array, kind: ColumnType) -> bool:
    """Whether whole numbers fit into a narrower type as they are, as lists of Python numbers do."""
    if column.dtype.kind not in "iu" or kind.numpy_dtype.kind not in "iuf" or not column.size:
        return (
            column.dtype == np.float64
            and kind.dtype in ("float32", "float16")
            and column.base is None
            and column.size < 1 << 16
        )
    return bool((column.astype(kind.numpy_dtype).astype(column.dtype) == column).all())


def _same_shape(column: Ragged, kind: ColumnType, name: str, bad: dict[int, str]) -> Column:
    """Rows of the one shape that the type has; others are bad."""
    wrong = [row for row in range(len(column)) if tuple(column.shapes[row]) != kind.shape]
    if not wrong:
        return column.dense()
    for row in wrong:
        bad.setdefault(row, f"input {name!r} is {kind}; got shape {column.shapes[row].tolist()}")
    dense = np.zeros((len(column), *(axis or 0 for axis in kind.shape)), dtype=column.dtype)
    for row in set(range(len(column))) - set(wrong):
        dense[row] = column[row]
    return dense


def _objects(column: Array, each: Input, name: str, bad: dict[int, str]) -> Column:
    """Objects: nulls replaced by the default or noted as bad, wrong kinds noted as bad."""
    wanted = {"string": str, "bytes": (bytes, bytearray, memoryview)}.get(each.type.dtype)
    nulls = [row for row, value in enumerate(column) if value is None]
    if nulls:
        column = column.copy()
        for row in nulls:
            if not each.has_default:
                bad.setdefault(row, f"input {name!r} is null")
            column[row] = each.default if each.has_default else None
    if wanted is not None:
        for row, value in enumerate(column):
            if value is not None and not isinstance(value, wanted):
                bad.setdefault(row, f"input {name!r} is {each.type}; got {type(value).__name__}")
        return column
    if each.type.dtype == "any":
        return column
    stand_in = np.zeros(tuple(axis or 0 for axis in each.type.shape), dtype=each.type.numpy_dtype)
    values = [stand_in if value is None else np.asarray(value) for value in column]
    if each.type.shape:
        return Ragged.from_rows(values)
    return np.array(
        [
            np.nan if v is None and each.type.dtype.startswith("float") else (stand_in if v is None else v)
            for v in column
        ]
    ).astype(each.type.numpy_dtype)


def constant_column(value: Any, kind: ColumnType, rows: int) -> Column:
    if kind.is_object:
        return objects([value] * rows)
    filler = np.nan if value is None else value
    row = np.asarray(filler, dtype=kind.numpy_dtype)
    dense = np.broadcast_to(row, (rows, *row.shape)).copy()
    return Ragged.from_dense(dense) if kind.varies else dense


@dataclass(frozen=True)
class Explanation:
    """How a graph came to the answer of one row.

    Attributes:
        row: the row's id.
        outputs: the answer by output name; empty when the row failed.
        calls: the calls of models and graphs, in order.
        columns: every column of the graph by full name, for this row.
        failures: why the row failed; empty when it did not.
    """

    row: int
    outputs: Mapping[str, Any]
    calls: Sequence[Call]
    columns: Mapping[str, Any]
    failures: Sequence[Failure]


def explain(executor: Executor, batch: Batch) -> Explanation:
    """Play a batch of one row, keeping everything."""
    tracing = Executor(executor.checked, executor.host, keep_all=True)
    trace: list[Call] = []
    columns: dict[str, Column] = {}
    drive(tracing.play(batch))  # the first call of a model is not like the others: it warms caches
    played = drive(tracing.play(batch, trace, columns))
    first = {name: column[0] for name, column in columns.items() if len(column)}
    outputs = {name: column[0] for name, column in played.outputs.columns.items() if len(column)}
    return Explanation(int(batch.ids[0]), outputs, trace, first, played.failures)
