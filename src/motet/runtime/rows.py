"""Rows of JSON as columns, and columns as rows of JSON.

A row is an object whose keys are the inputs; other keys are passed over. Numbers are numbers and nested lists; an array
may also be the base64 of its bytes, in C order, little-endian; a picture may also be an image file, as
`data:image/png;base64,...`; `bytes` are base64. Base64 may also be `{"b64": ...}`, as TensorFlow Serving has it.
A row that is wrong is noted, and never harms its neighbours.
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.base64_values import of_json
from motet.batch import Column, Ragged, objects, take_rows
from motet.errors import InputError, TooLargeError, known_names
from motet.graph.check import CheckedGraph
from motet.graph.fields import show
from motet.graph.input import Input
from motet.numbers import refusal
from motet.reading import holds_truth
from motet.runtime.given import bind_values, by_input, columns_of, takes

__all__ = ["JsonRows", "Unread", "plain_value", "read_rows", "rows_of"]


@dataclass(frozen=True)
class JsonRows:
    """Rows that came.

    Attributes:
        columns: those that can be played, by the names of the inputs.
        places: their positions among all.
        total: how many came.
        bad: why the others cannot be played, by position.
    """

    columns: Mapping[str, Column]
    places: Sequence[int]
    total: int
    bad: Mapping[int, str]


@dataclass(frozen=True)
class Unread:
    """Stands in a row for a value that could not be read, such as a file that is no picture.

    Attributes:
        why: what is wrong with it.
    """

    why: str


def read_rows(rows: Sequence[Any], checked: CheckedGraph, max_rows: int) -> JsonRows:
    """The columns of rows as they were decoded from JSON; arrays and bytes may stand in them too.

    Raises:
        TooLargeError: when there are too many.
        MissingExtraError: when a picture comes as a file, and Pillow is not installed.
    """
    if len(rows) > max_rows:
        raise TooLargeError(f"{len(rows)} rows; a request may have {max_rows}", hint="send several requests")
    inputs = checked.graph.inputs
    stored = columns_of(inputs)
    bad: dict[int, str] = {}
    values: dict[str, list[Any]] = {name: [] for name in inputs}
    for place, row in enumerate(rows):
        row = by_input(row, stored) if isinstance(row, dict) else row
        wrong = _wrong_keys(row, inputs)
        if wrong:
            bad[place] = wrong
            row = {}
        for name, each in inputs.items():
            value = row.get(name)
            try:
                if each.type.numpy_dtype.kind in "iuf" and isinstance(value, (bool, list)) and holds_truth(value):
                    bad.setdefault(place, f"input {name!r} {refusal(value, each.type)}")
                    value = None
                values[name].append(of_json(value, each.type))
            except InputError as error:
                bad.setdefault(place, f"input {name!r}: {error.what}")
                values[name].append(None)
    columns = {name: column if inputs[name].type.dtype == "any" else objects(column) for name, column in values.items()}
    batch, failures = bind_values(columns, checked)
    bad |= {failure.row: failure.message for failure in failures if failure.row not in bad}
    if bad:
        batch = batch.take([place for place, row in enumerate(batch.ids) if int(row) not in bad])
    return JsonRows(batch.columns, batch.ids.tolist(), len(rows), bad)


def _wrong_keys(row: Any, inputs: Mapping[str, Input]) -> str:
    """Why a row cannot be bound by name. Keys that are no inputs are passed over, as columns of a file are, but not one
    that looks like an input that the row does not have.
    """
    if not isinstance(row, dict):
        return f"a row must be an object whose keys are the inputs ({', '.join(inputs)}); got {show(row)}"
    for name, value in row.items():
        if isinstance(value, Unread):
            return f"input {name!r}: {value.why}"
    absent = [name for name in inputs if name not in row]
    for name in row if absent else ():
        if name not in inputs and difflib.get_close_matches(name, absent, n=1):
            return f"unknown input {name!r}; {known_names(name, absent)}"
    for name in absent:
        if not inputs[name].has_default:
            return f"input {name!r} is missing; the graph takes {takes(inputs)}"
    return ""


def rows_of(
    columns: Mapping[str, Column], first: int, end: int, unwritten: dict[int, str] | None = None
) -> list[dict[str, Any]]:
    """The rows from `first` to `end`, as JSON has them: bytes as base64, times and decimals as JSON Lines write them.

    Args:
        columns: by the names of the outputs.
        first, end: which rows.
        unwritten: takes why rows hold what JSON has no form for, by their places from `first`; its `repr` stands there.
    """
    notes = {} if unwritten is None else unwritten
    values = {name: _values(take_rows(column, slice(first, end)), name, notes) for name, column in columns.items()}
    return [{name: column[row] for name, column in values.items()} for row in range(end - first)]


def _values(column: Column, name: str, notes: dict[int, str]) -> list[Any]:
    if column.dtype.kind in "biuf":
        return [row.tolist() for row in column] if isinstance(column, Ragged) else column.tolist()
    values: list[Any] = []
    for row, value in enumerate(
        column if isinstance(column, Ragged) else column.tolist() if column.dtype == object else column
    ):
        try:
            values.append(plain_value(value))
        except TypeError as error:
            notes.setdefault(row, f"output {name!r} gave {show(value)}, and JSON has no form for {error}")
            values.append(repr(value))
    return values


def plain_value(value: Any) -> Any:
    """A value as JSON has it.

    Raises:
        TypeError: when JSON has no form for it; says what it is.
    """
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufSUO":
        return plain_value(value.tolist())
    if isinstance(value, str):
        return str.__str__(value)  # a member of an enumeration prints its name
    if isinstance(value, (int, float)):
        return +value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): plain_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_value(each) for each in value]
    return _as_written(value)


def _as_written(value: Any) -> Any:
    """A time, a decimal and the like as JSON Lines have it."""
    import pyarrow as pa

    from motet.io.as_text import python_values, text_type

    values = np.atleast_1d(value) if isinstance(value, (np.ndarray, np.generic)) else [value]
    try:
        array = pa.array(values)
    except (pa.ArrowException, TypeError, ValueError):
        raise TypeError(type(value).__name__) from None
    if text_type(array.type) is None:
        raise TypeError(type(value).__name__)
    written = python_values(array)
    return written if np.ndim(value) else written[0]
