"""Rows of Python as batches, and answers as rows of the same kind: what is kept of a row is the very value that came."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

from motet.batch import Batch, Column, Ragged, objects
from motet.engines.batch_worker import BatchWorker
from motet.engines.layout import FAILED, check_names, is_bulky
from motet.errors import Failure, InputError, MotetError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.io import from_column
from motet.runtime.bind import bind_columns
from motet.types import ColumnType

__all__ = ["Kept", "PlayedElements", "bind_values", "leave_values", "play_values", "telling"]


T = TypeVar("T")


@contextmanager
def telling() -> Iterator[None]:
    """Have errors say what they say: Beam makes them anew of their `args`, which are not what each of ours is made with.

    Raises:
        RuntimeError: in place of them.
    """
    try:
        yield
    except MotetError as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


@dataclass
class PlayedElements:
    """What became of elements.

    Attributes:
        answers: for each of them its answer; None of one that has none.
        failures: what is said of rows that failed, with the place of their element.
        left: columns for a next stage, a row for each element that has an answer; None of none, and where elements have them.
    """

    answers: list[Any]
    failures: list[tuple[int, Any]]
    left: pa.RecordBatch | None = None


@dataclass(frozen=True)
class Kept:
    """Which columns of a row are written beside the outputs.

    Attributes:
        keep: those alone; None is all but arrays and bytes that the graph takes.
        drop: columns to leave out.
        bulky: the arrays and bytes that the graph takes.
    """

    keep: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    bulky: frozenset[str] = frozenset()

    @classmethod
    def by(cls, checked: CheckedGraph, keep: Sequence[str] | None = None, drop: Sequence[str] = ()) -> Kept:
        """What is kept beside the outputs of a graph."""
        bulky = frozenset(name for name, kind in checked.graph.stored_types.items() if is_bulky(kind))
        return cls(None if keep is None else tuple(keep), tuple(drop), bulky)

    def check(self, names: Sequence[str], where: str) -> None:
        """See that rows with these fields, and no others, have those that are named.

        Raises:
            UnknownNameError: when they lack one.
        """
        for name in (*(self.keep or ()), *self.drop):
            if name not in names:
                raise UnknownNameError("field", name, names, where=where)

    def of(self, names: Sequence[str], checked: CheckedGraph) -> list[str]:
        """The columns that are kept, of all.

        Raises:
            InputError: when an output has the name of one.
        """
        chosen = [name for name in names if (name not in self.bulky if self.keep is None else name in self.keep)]
        chosen = [name for name in chosen if name not in self.drop]
        check_names(chosen, checked, "the rows")
        return chosen


def play_values(
    worker: BatchWorker, kept: Kept, values: Sequence[Any], left: pa.RecordBatch | None = None
) -> PlayedElements:
    """Play rows of one type; what became of each.

    Args:
        worker: what plays.
        kept: which columns are written beside the outputs.
        values: the rows.
        left: what stages before this one have left of them.

    Raises:
        InputError: when they are no rows.
    """
    checked, are_dicts, rows = worker.job.checked, isinstance(values[0], Mapping), _dicts_of(values)
    outputs, told = _played(worker, values, rows, left)
    ids = outputs.ids.tolist()
    answered = _chosen(_at(rows, ids), kept, checked, are_dicts=are_dicts)
    for name, column in outputs.columns.items():
        for answer, value in zip(answered, _values(column), strict=True):
            answer[name] = value
    found = answered if are_dicts else [beam.Row(**answer) for answer in answered]
    return PlayedElements(_in_place(found, ids, len(values)), told)


def leave_values(worker: BatchWorker, values: Sequence[Any], left: pa.RecordBatch | None) -> PlayedElements:
    """Play rows of one type in a stage behind which others come: the answer of a row is the row itself; see `play_values`."""
    outputs, told = _played(worker, values, _dicts_of(values), left)
    kinds, ids = worker.job.checked.signature.outputs, outputs.ids.tolist()
    arrays = [from_column(column, kinds[name], name=name) for name, column in outputs.columns.items()]
    found = pa.record_batch(arrays, list(outputs.columns)) if arrays else None
    return PlayedElements(_in_place(_at(values, ids), ids, len(values)), told, found)


def bind_values(values: Sequence[Any], checked: CheckedGraph, left: pa.RecordBatch | None) -> Batch:
    """The batch of rows that fit, as a graph is given it; see `play_values`."""
    return _bound(values, _dicts_of(values), checked, left)[0]


def _played(
    worker: BatchWorker, values: Sequence[Any], rows: Sequence[Mapping[str, Any]], left: pa.RecordBatch | None
) -> tuple[Batch, list[tuple[int, Any]]]:
    """The outputs of rows that did not fail, whose ids are their places, and what is said of the others."""
    batch, failures = _bound(values, rows, worker.job.checked, left)
    played = worker.answer(batch)
    are_dicts = isinstance(values[0], Mapping)
    told = [(each.row, _failed(values[each.row], each, are_dicts=are_dicts)) for each in (*failures, *played.failures)]
    return played.outputs, told


def _bound(
    values: Sequence[Any], rows: Sequence[Mapping[str, Any]], checked: CheckedGraph, left: pa.RecordBatch | None
) -> tuple[Batch, list[Failure]]:
    return bind_columns(_columns(rows, checked, left, are_dicts=isinstance(values[0], Mapping)), checked)


def _at(values: Sequence[T], ids: Sequence[int]) -> Sequence[T]:
    return values if len(ids) == len(values) else [values[row] for row in ids]


def _in_place(found: Sequence[Any], ids: Sequence[int], rows: int) -> list[Any]:
    """What there is of rows, and None of the others."""
    if len(ids) == rows:
        return list(found)
    answers: list[Any] = [None] * rows
    for row, each in zip(ids, found, strict=True):
        answers[row] = each
    return answers


def _dicts_of(values: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    """Rows of one type by the names of their fields; mappings are left as they are.

    Raises:
        InputError: when they are no rows.
    """
    first = values[0]
    if isinstance(first, Mapping):
        return values
    if isinstance(first, beam.Row):
        return [vars(value) for value in values]
    names = getattr(first, "_fields", None)
    if names is None and is_dataclass(first):
        names = [each.name for each in fields(first)]
    if names is None:
        hint = "make dicts, named tuples, data classes, beam.Row or Arrow tables of them with beam.Map"
        raise InputError(f"expected rows; got {type(first).__name__}", where="the graph's elements", hint=hint)
    if isinstance(first, tuple):
        return [dict(zip(names, value, strict=True)) for value in values]
    return [{name: getattr(value, name) for name in names} for value in values]


def _chosen(
    rows: Sequence[Mapping[str, Any]], kept: Kept, checked: CheckedGraph, *, are_dicts: bool
) -> list[dict[str, Any]]:
    """Of each row the columns that are kept.

    Raises:
        UnknownNameError: when rows with fields lack one that is named.
        InputError: when an output has the name of one.
    """
    theirs = list(map(tuple, rows))
    chosen: dict[tuple[str, ...], list[str]] = {}
    for names in set(theirs):
        if not are_dicts:
            kept.check(names, "the rows")
        chosen[names] = kept.of(names, checked)
    if all(len(own) == len(names) for names, own in chosen.items()):
        return list(map(dict, rows))
    return [{name: row[name] for name in chosen[names]} for row, names in zip(rows, theirs, strict=True)]


def _columns(
    rows: Sequence[Mapping[str, Any]], checked: CheckedGraph, left: pa.RecordBatch | None, *, are_dicts: bool
) -> dict[str, Any]:
    """The columns that a graph takes; a row that lacks one has a null there."""
    columns: dict[str, Any] = {}
    for name, each in checked.graph.inputs.items():
        stored = checked.graph.stored[name]
        if left is not None and stored in left.schema.names:
            columns[name] = left.column(stored)
            continue
        if are_dicts or name == stored:
            column = [row.get(stored) for row in rows]
        else:
            column = [row[stored] if stored in row else row.get(name) for row in rows]
        if len(each.type.shape) > 1 and not each.type.varies:
            column = [_shaped(value, each.type) for value in column]
        columns[name] = column if each.type.dtype == "any" else objects(column)
    return columns


def _shaped(value: Any, kind: ColumnType) -> Any:
    """A value in its shape: what is stored flat, as tensors of Parquet are, comes flat."""
    shape = kind.least_shape
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != math.prod(shape) or np.ndim(value[0]):
        return value
    return objects(list(value)).reshape(shape).tolist()


def _failed(value: Any, failure: Failure, *, are_dicts: bool) -> Any:
    """What is said of a row that failed."""
    told = {"row": value, **{name: getattr(failure, name) for name in FAILED}}
    return told if are_dicts else beam.Row(**told)


def _values(column: Column) -> Sequence[Any]:
    """A value for each row, of Python, or an array where it has a shape."""
    if isinstance(column, Ragged):
        return column.rows()
    return list(column) if column.ndim > 1 else column.tolist()
