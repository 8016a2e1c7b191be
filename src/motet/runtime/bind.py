"""From what a user gives in Python to the batch that a graph takes: types, nulls, defaults, rows that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.batch import Array, Batch, Column, Ragged, as_column, column_type, objects
from motet.errors import Failure, InputError, TypeMismatchError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.graph import Input
from motet.types import ColumnType

__all__ = ["bind_columns", "constant_column"]

_OBJECTS: dict[str, tuple[type, ...]] = {"string": (str,), "bytes": (bytes, bytearray, memoryview)}
Columns = Mapping[str, Any]


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
            bound[name] = _bind(given[name], each, name, bad, literal=isinstance(columns[name], (list, tuple)))
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


def _bind(column: Column, each: Input, name: str, bad: dict[int, str], *, literal: bool) -> Column:
    """A column given in Python as the graph's type; rows that are null and may not be are noted as bad.

    Args:
        column: what was given.
        each: the input.
        name: its name.
        bad: is given the reasons by row.
        literal: whether it was a list of Python numbers, which take the width that is wanted.
    """
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
        np.can_cast(column.dtype, kind.numpy_dtype, "safe") or (literal and _literal_fits(column, kind))
    ):
        return column.astype(kind.numpy_dtype)
    raise TypeMismatchError(
        f"input {name!r} is {kind}; got {got}", hint=f"convert it: array.astype({kind.dtype!r}), or reshape it"
    )


def _literal_fits(column: Array, kind: ColumnType) -> bool:
    """Whether Python numbers, which have no width of their own, mean what the type says: no fraction or digit is lost."""
    wanted = kind.numpy_dtype
    if column.dtype.kind == "f":
        return wanted.kind == "f"
    return column.dtype.kind in "iu" and wanted.kind in "iuf" and bool((column.astype(wanted) == column).all())


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
    wanted = _OBJECTS.get(each.type.dtype)
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
    """A column that holds one value in every row, shape `[rows, ...]`; None is None, or NaN in floats."""
    if kind.is_object:
        return objects([value] * rows)
    filler = np.nan if value is None else value
    row = np.asarray(filler, dtype=kind.numpy_dtype)
    dense = np.broadcast_to(row, (rows, *row.shape)).copy()
    return Ragged.from_dense(dense) if kind.varies else dense
