"""What is given by the names of inputs, as the batch that a graph takes; bind.py reads what is stored by Arrow, too."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from motet.batch import Batch, Column, Indices, take_rows
from motet.errors import Failure, InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.input import Input
from motet.reading import as_given, constant_column, is_read, read_column
from motet.types import ColumnType

__all__ = ["absent_inputs", "bind_values", "by_input", "columns_of", "fill_defaults", "read_values", "takes"]

Inputs = Mapping[str, Input]
Taken: TypeAlias = Callable[[Any, ColumnType], Any]
Read: TypeAlias = Callable[[Any, Input, str, Any], tuple[Column, dict[int, str]]]


def read_values(column: Any, each: Input, name: str, values: Any) -> tuple[Column, dict[int, str]]:
    """A column that was given, as its input's type: all rows, or only those that fit; and by row why the others do not."""
    if type(values) is np.ndarray and is_read(column, each.type):
        return column, {}
    what = f"input {name!r}"
    if isinstance(values, np.ma.MaskedArray) and column.dtype != object:
        return read_column(column, each.type, what, each.default, missing=np.ma.getmaskarray(values))
    return read_column(column, each.type, what, each.default, written=isinstance(values, (list, tuple)))


def bind_values(
    columns: Mapping[str, Any], checked: CheckedGraph, taken: Taken = as_given, read: Read = read_values
) -> tuple[Batch, list[Failure]]:
    """The batch that a graph is given, and the rows that do not fit.

    Args:
        columns: by the names of inputs, or of the columns they are stored in; values of Python, or arrays.
        checked: the graph.
        taken: makes a column of what is given.
        read: reads it as its input's type.

    Raises:
        InputError: when a column is missing, or they differ in their number of rows.
        TypeMismatchError: when a column is not of its input's type.
    """
    if not isinstance(columns, Mapping):
        raise InputError(f"expected columns by name; got {type(columns).__name__}", hint='write graph({"name": array})')
    inputs = checked.graph.inputs
    columns = by_input(columns, columns_of(inputs))
    for name in columns:
        if name not in inputs:
            raise UnknownNameError("input", str(name), list(inputs), where=f"graph {checked.graph.name!r}")
    given = {name: taken(values, inputs[name].type) for name, values in columns.items()}
    rows = _num_rows(given)
    absent = absent_inputs(given, inputs, "the graph")
    found = {name: read(column, inputs[name], name, columns[name]) for name, column in given.items()}
    bad: dict[int, str] = {}
    for _, wrong in found.values():
        bad = wrong | bad
    good = np.arange(rows)
    bound = {name: column for name, (column, _) in found.items()}
    if bad:
        good = np.setdiff1d(good, list(bad))
        bound = {name: _chosen(column, wrong, good, rows) for name, (column, wrong) in found.items()}
    fill_defaults(bound, absent, inputs, len(good))
    return Batch.of(bound, good), [
        Failure(row, "input", "", "", "InputError", message) for row, message in sorted(bad.items())
    ]


def _chosen(column: Column, bad: Mapping[int, str], good: Indices, rows: int) -> Column:
    """The rows at these places, of all or of those that fit."""
    if len(column) == rows:
        return take_rows(column, good)
    return take_rows(column, np.searchsorted(np.setdiff1d(np.arange(rows), list(bad)), good))


def columns_of(inputs: Inputs) -> Mapping[str, str]:
    """For columns that are called otherwise where they are stored the names of their inputs."""
    return {each.column: name for name, each in inputs.items() if each.column is not None and each.column not in inputs}


def by_input(given: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """What is given by the names of inputs, or of the columns they are stored in (see `columns_of`), by those of inputs."""
    if not columns:
        return given
    return {name if (name := columns.get(key, key)) == key or name not in given else key: given[key] for key in given}


def _num_rows(given: Mapping[str, Column]) -> int:
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
    return next(iter(counts.values()), 0)


def absent_inputs(given: Container[str], inputs: Inputs, taker: str) -> list[str]:
    """The inputs that are not given, all of which have defaults.

    Args:
        given: the names of those that are.
        inputs: all, by name.
        taker: who takes them, for messages.

    Raises:
        InputError: when one that has no default is not given.
    """
    absent = [name for name in inputs if name not in given]
    for name in absent:
        if not inputs[name].has_default:
            raise InputError(f"input {name!r} is missing; {taker} takes {takes(inputs)}")
    return absent


def takes(inputs: Inputs) -> str:
    """The names and types of inputs, for messages."""
    return ", ".join(f"{name}: {each.type}" for name, each in inputs.items())


def fill_defaults(columns: dict[str, Column], absent: Iterable[str], inputs: Inputs, rows: int) -> None:
    """Put the defaults of inputs that are not given beside the columns that are."""
    for name in absent:
        columns[name] = constant_column(inputs[name].default, inputs[name].type, rows)
