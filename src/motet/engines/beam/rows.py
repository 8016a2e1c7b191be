"""Rows of Python as batches, and answers as rows of the same kind: what is kept of a row is the very value that came."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from motet.batch import Column, Ragged, objects
from motet.engines.batch_worker import BatchWorker
from motet.engines.layout import FAILED, check_names, is_bulky
from motet.errors import Failure, InputError, MotetError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.runtime.bind import bind_columns
from motet.types import ColumnType

__all__ = ["Kept", "PlayedElements", "play_values", "telling"]


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
    """

    answers: list[Any]
    failures: list[tuple[int, Any]]


@dataclass(frozen=True)
class Kept:
    """Which columns of a row are written beside the outputs.

    Attributes:
        keep: those alone; None is all but arrays and bytes that the graph takes.
        drop: columns to leave out.
    """

    keep: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()

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
        bulky = {name for name, kind in checked.graph.stored_types.items() if is_bulky(kind)}
        chosen = [name for name in names if (name not in bulky if self.keep is None else name in self.keep)]
        chosen = [name for name in chosen if name not in self.drop]
        check_names(chosen, checked, "the rows")
        return chosen


def play_values(worker: BatchWorker, kept: Kept, values: Sequence[Any]) -> PlayedElements:
    """Play rows of one type; what became of each.

    Raises:
        InputError: when they are no rows.
    """
    checked, are_dicts = worker.job.checked, isinstance(values[0], Mapping)
    batch, failures = bind_columns(_columns(values, checked, are_dicts=are_dicts), checked)
    played = worker.answer(batch)
    answers: list[Any] = [None] * len(values)
    outputs = {name: _values(column) for name, column in played.outputs.columns.items()}
    names, chosen = list(outputs), dict[Any, list[str]]()
    for row, given in zip(played.outputs.ids.tolist(), zip(*outputs.values(), strict=True), strict=True):
        value = values[row]
        there = tuple(value) if are_dicts else _fields(value)
        own = chosen.get(there)
        if own is None:
            if not are_dicts:
                kept.check(there, "the rows")
            own = chosen[there] = kept.of(there, checked)
        answer = {name: value[name] for name in own} if are_dicts else {name: getattr(value, name) for name in own}
        answer.update(zip(names, given))  # noqa: B905 (as many; each row asks)
        answers[row] = answer if are_dicts else beam.Row(**answer)
    told = [(each.row, _failed(values[each.row], each, are_dicts=are_dicts)) for each in (*failures, *played.failures)]
    return PlayedElements(answers, told)


def _columns(values: Sequence[Any], checked: CheckedGraph, *, are_dicts: bool) -> dict[str, Any]:
    """The columns that a graph takes; a row that lacks one has a null there."""
    if not are_dicts:
        _fields(values[0])
    columns: dict[str, Any] = {}
    for name, each in checked.graph.inputs.items():
        stored = checked.graph.stored[name]
        if are_dicts:
            column = [value.get(stored) for value in values]
        else:
            column = [getattr(value, stored, getattr(value, name, None)) for value in values]
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


def _fields(value: Any) -> tuple[str, ...]:
    """The names of a row that is no mapping.

    Raises:
        InputError: when it is no row.
    """
    names = getattr(value, "_fields", None)
    if names is None and isinstance(value, beam.Row):
        names = tuple(value.as_dict())
    if names is None and is_dataclass(value):
        names = [each.name for each in fields(value)]
    if names is None:
        hint = "make dicts, named tuples, data classes, beam.Row or Arrow tables of them with beam.Map"
        raise InputError(f"expected rows; got {type(value).__name__}", where="the graph's elements", hint=hint)
    return tuple(names)


def _failed(value: Any, failure: Failure, *, are_dicts: bool) -> Any:
    """What is said of a row that failed."""
    told = {"row": value, **{name: getattr(failure, name) for name in FAILED}}
    return told if are_dicts else beam.Row(**told)


def _values(column: Column) -> Sequence[Any]:
    """A value for each row, of Python, or an array where it has a shape."""
    if isinstance(column, Ragged):
        return column.rows()
    return list(column) if column.ndim > 1 else column.tolist()
