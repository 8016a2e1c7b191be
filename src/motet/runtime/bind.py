"""From what a user gives in Python to the batch that a graph takes: types, nulls, defaults, rows that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.batch import (
    Array,
    Batch,
    Column,
    Ragged,
    as_column,
    column_type,
    empty_column,
    hold_as,
    literal_fits,
    objects,
)
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
    given = {name: _as_given(values, inputs[name].type) for name, values in columns.items()}
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


def _as_given(values: Any, kind: ColumnType) -> Column:
    """A column as numpy reads it; whole numbers of 64 bits beside small ones, which would be floats for it, as they are."""
    column = as_column(values)
    if kind.dtype == "uint64" and isinstance(values, (list, tuple)) and getattr(column, "dtype", None) == np.float64:
        exact = np.asarray(values, object)
        if all(type(each) is int and 0 <= each < 1 << 64 for each in exact.flat):
            return exact.astype(np.uint64)
    return column


def _bind(column: Column, each: Input, name: str, bad: dict[int, str], *, literal: bool) -> Column:
    """A column given in Python as the graph's type; rows that are null and may not be, or do not fit, are noted as bad.

    Args:
        column: what was given.
        each: the input.
        name: its name.
        bad: is given the reasons by row.
        literal: whether it was a list of Python numbers, which take the width that is wanted.
    """
    kind = each.type
    if not len(column):
        return empty_column(kind)
    if isinstance(column, np.ndarray) and column.dtype == object:
        return _objects(column, each, name, bad)
    if kind.dtype == "any":
        return column
    if isinstance(column, Ragged) and column.shapes.shape[1] == len(kind.shape):
        column = _of_shape(column, kind, name, bad)
    column = _widened(column, kind, literal=literal)
    held = hold_as(column, kind)
    if held is None:
        hint = f"convert it: array.astype({kind.dtype!r}), or reshape it" if not kind.is_object else ""
        raise TypeMismatchError(f"input {name!r} is {kind}; got {column_type(column)}", hint=hint)
    return held


def _widened(column: Column, kind: ColumnType, *, literal: bool) -> Column:
    """The same numbers as the type's dtype, where none of them can change; as they are otherwise."""
    values = column.values if isinstance(column, Ragged) else column
    wanted = kind.numpy_dtype
    if values.dtype == wanted or kind.is_object:
        return column
    if not np.can_cast(values.dtype, wanted, "safe") and not (literal and literal_fits(values, wanted)):
        return column
    with np.errstate(over="ignore"):  # numbers that are too large for the type are infinite in it
        held = values.astype(wanted)
    return Ragged(held, column.offsets, column.shapes) if isinstance(column, Ragged) else held


def _of_shape(column: Ragged, kind: ColumnType, name: str, bad: dict[int, str]) -> Column:
    """Rows of other shapes than the type's are bad; zeros stand in for them."""
    fixed = [(axis, want) for axis, want in enumerate(kind.shape) if want is not None]
    wrong = [row for row, shape in enumerate(column.shapes) if any(shape[axis] != want for axis, want in fixed)]
    if not wrong:
        return column
    for row in wrong:
        bad.setdefault(row, f"input {name!r} is {kind}; got shape {column.shapes[row].tolist()}")
    rows = column.rows()
    for row in wrong:
        rows[row] = np.zeros(tuple(axis or 0 for axis in kind.shape), dtype=column.dtype)
    return Ragged.from_rows(rows, column.dtype)


def _objects(column: Array, each: Input, name: str, bad: dict[int, str]) -> Column:
    """Objects, row by row: nulls are replaced by the default or noted as bad, as are values of other types."""
    kind = each.type
    if kind.dtype == "any" or (kind.is_object and not kind.shape):
        values = [_checked_object(value, each, name, row, bad) for row, value in enumerate(column)]
        return objects(values) if column.ndim == 1 else column
    rows = [_checked_row(value, each, name, row, bad) for row, value in enumerate(column)]
    return Ragged.from_rows(rows, kind.numpy_dtype, len(kind.shape)) if kind.varies else np.stack(rows)


def _checked_object(value: Any, each: Input, name: str, row: int, bad: dict[int, str]) -> Any:
    if value is None:
        return _default(each, name, row, bad)
    wanted = _OBJECTS.get(each.type.dtype)
    if wanted is not None and not isinstance(value, wanted):
        bad.setdefault(row, f"input {name!r} is {each.type}; got {type(value).__name__}")
    return value


def _default(each: Input, name: str, row: int, bad: dict[int, str]) -> Any:
    if not each.has_default:
        bad.setdefault(row, f"input {name!r} is null")
        return None
    return each.default


def _checked_row(value: Any, each: Input, name: str, row: int, bad: dict[int, str]) -> Array:
    """One row's value as an array of the type's dtype and shape; zeros stand in where it is bad."""
    kind = each.type
    stand_in = np.zeros(tuple(axis or 0 for axis in kind.shape), dtype=kind.numpy_dtype)
    if value is None:
        default = _default(each, name, row, bad)
        if default is None:
            return stand_in if row in bad else np.full_like(stand_in, np.nan)
        return np.asarray(default, dtype=kind.numpy_dtype)
    try:
        single = as_column([value])
        single = single.dense() if isinstance(single, Ragged) else single
        single = _widened(single, kind, literal=not isinstance(value, (np.ndarray, np.generic)))
        held = hold_as(single, kind)
    except InputError:
        single, held = None, None
    if held is None:
        got = type(value).__name__ if single is None else column_type(single)
        bad.setdefault(row, f"input {name!r} is {kind}; got {got}")
        return stand_in
    return np.asarray(held[0])


def constant_column(value: Any, kind: ColumnType, rows: int) -> Column:
    """A column that holds one value in every row, shape `[rows, ...]`; None is None, or NaN in floats."""
    if kind.is_object:
        return objects([value] * rows)
    filler = np.nan if value is None else value
    row = np.asarray(filler, dtype=kind.numpy_dtype)
    dense = np.broadcast_to(row, (rows, *row.shape)).copy()
    return Ragged.from_dense(dense) if kind.varies else dense
