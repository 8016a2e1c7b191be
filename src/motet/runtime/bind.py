"""From what a user gives by name to the batch that a graph takes: columns, defaults, rows that do not fit."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np

from motet.batch import Batch, Column
from motet.errors import Failure, InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.graph import Input
from motet.reading import as_given, constant_column, read_column

__all__ = ["absent_inputs", "bind_columns", "by_input", "columns_of", "fill_defaults", "takes"]

Inputs = Mapping[str, Input]


def bind_columns(columns: Mapping[str, Any], checked: CheckedGraph) -> tuple[Batch, list[Failure]]:
    """The batch that a graph is given, and the rows that do not fit.

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
    given = {name: as_given(values, inputs[name].type) for name, values in columns.items()}
    rows = _num_rows(given)
    absent = absent_inputs(given, inputs, "the graph")
    bound: dict[str, Column] = {}
    bad: dict[int, str] = {}
    for name, column in given.items():
        each, written = inputs[name], isinstance(columns[name], (list, tuple))
        bound[name], wrong = read_column(column, each.type, f"input {name!r}", each.default, written=written)
        bad = wrong | bad
    fill_defaults(bound, absent, inputs, rows)
    batch = Batch(bound, np.arange(rows))
    if bad:
        batch = batch.take([row for row in range(rows) if row not in bad])
    return batch, [Failure(row, "input", "", "", "InputError", message) for row, message in sorted(bad.items())]


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
