"""Values that users give as the tensors that a model takes, or as JSON, and its answers put together again."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from motet.batch import (
    Array,
    Column,
    Indices,
    Ragged,
    column_type,
    concat_columns,
    empty_column,
    equal_shapes,
    take_rows,
)
from motet.errors import InputError, MotetError, TypeMismatchError, known_names
from motet.oip.info import TensorInfo
from motet.oip.tensors import read_rows, tensor_of
from motet.reading import as_given
from motet.types import ANY

__all__ = ["Group", "as_columns", "compressed", "encoded", "groups", "joined", "sending"]

Group = tuple[Indices | None, dict[str, tuple[str, Array]]]
"""The places of rows of equal shape (None: all rows, in order), and their tensors by name."""


def as_columns(inputs: Any, known: Mapping[str, TensorInfo], where: str) -> dict[str, Column]:
    """What was given, as the columns that the model takes.

    Args:
        inputs: by name, arrays or lists whose first axis is the row.
        known: what the model takes; empty where that is not known.
        where: the model, for messages.

    Raises:
        InputError: when an input is unknown, or not of the model's type, or inputs differ in their number of rows.
    """
    if not isinstance(inputs, Mapping):
        hint = 'write client.infer("model", {"image": images})'
        raise InputError(f"expected inputs by name; got {type(inputs).__name__}", where=where, hint=hint)
    columns: dict[str, Column] = {}
    for name, values in inputs.items():
        if known and name not in known:
            raise InputError(f"unknown input {name!r}; {known_names(str(name), list(known))}", where=where)
        columns[name] = _column(values, known.get(name), f"input {name!r}", where)
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} has {rows}" for name, rows in counts.items())
        raise InputError(f"inputs differ in their number of rows: {each}", where=where)
    return columns


def _column(values: Any, tensor: TensorInfo | None, what: str, where: str) -> Column:
    kind = ANY if tensor is None else tensor.type
    column = as_given(values, kind)
    if getattr(column, "ndim", 1) == 0:
        said, hint = "must have the row as its first axis; got a single value", "write [value] for one row"
        raise InputError(said, where=f"{where}: {what}", hint=hint)
    if not len(column) and kind.dtype != "any":
        return empty_column(kind) if not kind.varies else np.empty((0, *(a or 0 for a in kind.shape)), kind.numpy_dtype)
    try:
        read = read_rows(column, kind, what, written=isinstance(values, (list, tuple)))
        even = isinstance(column, np.ndarray) and column.dtype != object
        return read.dense() if even and isinstance(read, Ragged) else read
    except TypeMismatchError as error:
        got, hint = column_type(column), error.hint
        if not kind.is_object and got.dtype == kind.dtype and len(got.shape) == len(kind.shape) - 1:
            hint = "the first axis is the row: write array[None] for one row"
        raise InputError(f"is {kind} a row; got {got} a row", where=f"{where}: {what}", hint=hint) from None
    except InputError as error:
        raise error.located(where) from None


def groups(columns: Mapping[str, Column], known: Mapping[str, TensorInfo], where: str) -> Iterator[Group]:
    """The rows as tensors: all together, or those of equal shape together where rows differ in shape.

    Raises:
        InputError: when a value has no datatype.
    """
    ragged = [column for column in columns.values() if isinstance(column, Ragged)]
    if not ragged or not len(ragged[0]):
        yield None, _tensors(columns, known, where)
        return
    shapes = np.concatenate([column.shapes for column in ragged], axis=1)
    places = equal_shapes(shapes)
    for chosen in places:
        part = columns if len(places) == 1 else {name: take_rows(each, chosen) for name, each in columns.items()}
        yield None if len(places) == 1 else chosen, _tensors(part, known, where)


def _tensors(
    columns: Mapping[str, Column], known: Mapping[str, TensorInfo], where: str
) -> dict[str, tuple[str, Array]]:
    return {
        name: tensor_of(column, known[name].type if name in known else ANY, f"{where}: input {name!r}")
        for name, column in columns.items()
    }


def joined(
    parts: Sequence[tuple[Indices | None, Mapping[str, Column]]], listed: Container[str], where: str
) -> dict[str, Any]:
    """The answers of groups as one, rows in the order in which they were given.

    Args:
        parts: the places of each group's rows, and its answer.
        listed: the outputs that become lists of arrays, one a row; others do only where their rows differ in shape.
        where: the model, for messages.

    Raises:
        InputError: when an answer has not a row for each row of its group.
    """
    if len(parts) == 1:
        return {name: _plain(column, name in listed) for name, column in parts[0][1].items()}
    order = np.argsort(np.concatenate([chosen for chosen, _ in parts if chosen is not None]))
    for chosen, columns in parts:
        for name, column in columns.items():
            rows = 0 if chosen is None else len(chosen)
            if len(column) != rows:
                raise InputError(f"output {name!r} has {len(column)} rows for {rows}", where=where)
    columns = {name: concat_columns([columns[name] for _, columns in parts]) for name in parts[0][1]}
    return {name: _plain(take_rows(column, order), name in listed) for name, column in columns.items()}


def _plain(column: Column, listed: bool) -> Any:
    if isinstance(column, Ragged):
        return column.rows()
    return list(column) if listed else column


def compressed(body: bytes, encoding: str | None) -> tuple[bytes, dict[str, str]]:
    """The body of a request as `gzip`, `deflate` or, for None, as it is; and the headers that say so."""
    if encoding is None:
        return body, {}
    if encoding not in ("gzip", "deflate"):
        raise InputError(f"compress must be 'gzip' or 'deflate'; got {encoding!r}")
    packed = gzip.compress(body, compresslevel=1, mtime=0) if encoding == "gzip" else zlib.compress(body, 1)
    return packed, {"Content-Encoding": encoding, "Accept-Encoding": encoding}


def encoded(value: Any, where: str) -> bytes:
    """A value as JSON, arrays as nested lists.

    Raises:
        InputError: when it has no JSON form.
    """
    with sending(where, "has no JSON form"):
        return msgspec.json.encode(value, enc_hook=_nested)


@contextmanager
def sending(where: str, what: str = "cannot be sent") -> Iterator[None]:
    """Tell of what a request cannot hold, such as other objects, halves of characters, or a list that is in itself.

    Raises:
        InputError: in place of what encoding raises.
    """
    try:
        yield
    except MotetError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"a value {what}: {error}", where=where) from error


def _nested(value: Any) -> Any:
    if isinstance(value, Ragged):
        return value.rows()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is neither a number, a text, bytes, an array nor a list")
