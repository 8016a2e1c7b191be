"""Outputs whose types nobody declared: the first rows that have a value decide, once for the run.

What comes later is held to it as to a declaration: numbers are taken where nothing is lost, and a row that does not fit
fails; text is never read as numbers, nor numbers printed. Rows that come before any value wait, within a bound. Values
that need a wider type (fractions after whole numbers, dicts with more keys) widen it for the whole run, where those
before stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.batch import Column, Indices, Ragged, column_bytes, column_type, objects, take_rows
from motet.errors import AnswerError, Failure, cut
from motet.io import arrow_type, from_column
from motet.io.arrow.buffers import numbers
from motet.io.arrow.fit import fit
from motet.io.arrow.unify import unified_type
from motet.io.take import take_batch
from motet.nodes.hold import HeldColumn, hold
from motet.numbers import is_missing, widens
from motet.tracebacks import describe, said
from motet.types import DTYPES, ColumnType

__all__ = ["BatchAnswers", "Undeclared"]

EXACT = 1 << 53
"""Whole numbers up to this are all float64."""
HELD_BYTES = 64 << 20
"""What may wait for a value; beyond it an output that had none so far is null to its end."""
_EMPTY = pa.struct([])
Kind = Any
"""A `ColumnType`; a type of Arrow's for what we have none for, such as times."""


class BatchAnswers(NamedTuple):
    """The answers of a batch.

    Attributes:
        table: what is written; outputs that nobody declared are nulls in it.
        loose: those outputs by name, as they were given.
        ids: the ids of the rows.
    """

    table: pa.RecordBatch
    loose: Mapping[str, Column]
    ids: Indices

    def num_bytes(self) -> int:
        """Bytes that they hold."""
        return int(self.table.nbytes) + sum(column_bytes(column) for column in self.loose.values())


class Undeclared:
    """The types of the outputs that nobody declared.

    Args:
        nodes: by output the node that gives it.
        kinds: by output its type, where that is known already.
    """

    def __init__(self, nodes: Mapping[str, str], kinds: Mapping[str, Kind] | None = None) -> None:
        self._nodes = dict(nodes)
        self.kinds: dict[str, Kind] = {**dict.fromkeys(nodes), **(kinds or {})}
        self._nothing = dict.fromkeys(nodes, pa.null())
        self._largest: dict[str, int] = dict.fromkeys(nodes, 0)
        self._bytes = 0

    def learn(self, answers: BatchAnswers) -> bool:
        """Look at the next answers; whether every type is known now, or is not waited for any more."""
        for name, kind in self.kinds.items():
            if kind is None:
                column = answers.loose[name]
                shown = _kind_of(column)
                if shown == _EMPTY:  # dicts without keys: those of later ones are waited for
                    self._nothing[name] = shown
                else:
                    self.kinds[name] = shown
                if isinstance(column, Ragged):
                    self._nothing[name] = _lists(pa.null(), column_type(column))
        self._bytes += answers.num_bytes()
        return None not in self.kinds.values() or self._bytes > HELD_BYTES

    def give_up(self) -> None:
        """There is no more to come: what had no value is null."""
        self.kinds = {name: self._nothing[name] if kind is None else kind for name, kind in self.kinds.items()}

    def take(self, batch: pa.RecordBatch) -> None:
        """Take the types of what an earlier part of the run has written, of numbers the widest."""
        for name, known in self.kinds.items():
            array = batch.column(name)
            kind = _kind_of_arrow(array.type)
            wider = _wider(known, kind)
            self.kinds[name] = kind if wider is None else wider
            self._see(name, array)

    def widen(self, answers: BatchAnswers) -> bool:
        """Whether the next answers need a wider type, in which those so far are the same; takes it then."""
        found = False
        for name, column in answers.loose.items():
            kind = self.kinds[name]
            wider = _wider(kind, _kind_of(column))
            if wider is None or wider == kind or not self._held(name, column)[1]:
                continue
            if not isinstance(kind, ColumnType) or widens(kind.dtype, wider.dtype) or self._largest[name] <= EXACT:
                self.kinds[name] = wider
                found = True
        return found

    def widened(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What was written before a type became wider, in the types of now."""
        for name, kind in self.kinds.items():
            place = batch.schema.get_field_index(name)
            wanted = arrow_type(kind) if isinstance(kind, ColumnType) else kind
            if wanted is not None and batch.column(place).type != wanted:
                batch = batch.set_column(place, pa.field(name, wanted), _cast(batch.column(place), wanted))
        return batch

    def _see(self, name: str, array: pa.Array) -> None:
        """Learn how large the whole numbers of an output are."""
        kind = self.kinds[name]
        if isinstance(kind, ColumnType) and kind.dtype in ("int64", "uint64"):
            values = numbers(_flat(array))
            if len(values):
                self._largest[name] = max(self._largest[name], abs(int(values.min())), abs(int(values.max())))

    def complete(self, answers: BatchAnswers) -> tuple[pa.RecordBatch, list[Failure]]:
        """The answers as they are written, and the rows that do not fit."""
        self.give_up()
        table, errors, failures = answers.table, self._errors(answers.loose), list[Failure]()
        loose = answers.loose
        if errors:
            failures = [
                Failure(int(answers.ids[row]), node, "", "", type(error).__name__, describe(error))
                for row, (node, error) in sorted(errors.items())
            ]
            kept = np.setdiff1d(np.arange(table.num_rows), list(errors))
            table, loose = take_batch(table, kept), {name: take_rows(column, kept) for name, column in loose.items()}
        for name, column in loose.items():
            array, _ = self._held(name, column)
            self._see(name, array)
            table = table.set_column(table.schema.get_field_index(name), pa.field(name, array.type), array)
        return table, failures

    def _errors(self, loose: Mapping[str, Column]) -> dict[int, tuple[str, BaseException]]:
        """By row the node whose output does not fit, and why."""
        errors: dict[int, tuple[str, BaseException]] = {}
        for name, column in loose.items():
            for row, error in self._held(name, column)[1].items():
                errors.setdefault(row, (self._nodes[name], error))
        return errors

    def _held(self, name: str, column: Column) -> tuple[pa.Array, Mapping[int, BaseException]]:
        """The rows of a column that are of its type, and why the others are not."""
        kind = self.kinds[name]
        where = f"output {name!r}"
        if not isinstance(kind, ColumnType):
            return _of_arrow(column, kind, where)
        if isinstance(column, np.ndarray) and column.dtype.kind == "O" and column.ndim == 1:
            return _with_nulls(column, kind, where)
        held = _hold(column, kind, where)
        return from_column(held.column, kind, name=name), held.errors


def _wider(known: Kind, kind: Kind) -> Kind:
    """The type that holds the values of both, of numbers or of what only Arrow knows; None where there is none."""
    if isinstance(known, pa.DataType) and isinstance(kind, pa.DataType):
        return unified_type(known, kind)
    if not isinstance(known, ColumnType) or not isinstance(kind, ColumnType) or len(known.shape) != len(kind.shape):
        return None
    if known.numpy_dtype.kind not in "iuf" or kind.numpy_dtype.kind not in "iuf":
        return None
    return known.with_dtype(np.promote_types(known.numpy_dtype, kind.numpy_dtype).name)


def _flat(array: pa.Array) -> pa.Array:
    """The values of all rows, one after another."""
    while isinstance(array, pa.ExtensionArray) or pa.types.is_nested(array.type):
        array = array.storage if isinstance(array, pa.ExtensionArray) else array.flatten()
    return array.fill_null(0) if array.null_count else array


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Values in a wider type; Arrow sees to it that none changes."""
    if isinstance(array, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(wanted, array.storage.cast(wanted.storage_type))
    return fit(array, wanted)


def _hold(column: Column, kind: ColumnType, where: str) -> HeldColumn:
    """Hold a column as the type of the first rows."""
    try:
        if isinstance(column, np.ndarray) and column.dtype.kind == "b" and kind.dtype != "bool":
            raise AnswerError(f"{where} gave {column_type(column)}; it must be {kind}")
        held = hold(column, kind, len(column), where)
    except AnswerError as error:
        held = HeldColumn(hold([], kind, 0, where).column, dict.fromkeys(range(len(column)), error))
    return HeldColumn(held.column, {row: _undeclared(error) for row, error in held.errors.items()})


def _undeclared(error: BaseException) -> AnswerError:
    return AnswerError(
        f"{said(error).partition(chr(10))[0]}, as its first rows were: declare outputs: to say what it gives"
    )


def _with_nulls(column: npt.NDArray[Any], kind: ColumnType, where: str) -> tuple[pa.Array, Mapping[int, BaseException]]:
    """Single values, among which None is null, whatever the type."""
    missing = np.array([is_missing(value) for value in column.tolist()], bool)
    there = np.flatnonzero(~missing)
    held = _hold(column[there], kind, where)
    errors = {int(there[row]): error for row, error in held.errors.items()}
    array = from_column(held.column, kind)
    good = np.setdiff1d(there, list(errors))
    rows = np.setdiff1d(np.arange(len(column)), list(errors))
    places = np.searchsorted(good, rows)
    return array.take(pa.array(places, mask=missing[rows])), errors


def _of_arrow(column: Column, kind: Any, where: str) -> tuple[pa.Array, Mapping[int, BaseException]]:
    """Values of a type that only Arrow knows, such as times, one by one where not all fit."""
    nested = isinstance(column, Ragged) or column.ndim > 1
    if isinstance(column, np.ndarray) and not nested and column.dtype.kind in "mM":
        stored = pa.array(column)
        try:
            return stored.cast(kind), {}
        except _UNSTORED:
            column = objects(list(stored))
    values = [row.tolist() for row in column] if nested else [None if is_missing(value) else value for value in column]
    if (whole := _stored(values, kind)) is not None:
        return whole, {}
    errors: dict[int, BaseException] = {}
    good: list[Any] = []
    for row, value in enumerate(values):
        if _stored([value], kind) is not None:
            good.append(value)
            continue
        text = f"{cut(repr(value))} ({type(value).__name__})"
        cannot = "no column can hold" if kind == pa.null() else f"cannot be stored as {kind}"
        errors[row] = AnswerError(f"{where} gave {text}, which {cannot}: declare outputs: to say what it gives")
    return pa.array(good, kind), errors


_UNSTORED = (pa.ArrowNotImplementedError, OverflowError, TypeError, ValueError)
"""What Arrow raises for values that it cannot store."""


def _stored(values: Sequence[Any], kind: pa.DataType) -> pa.Array | None:
    """Values as Arrow holds them; None where one of them cannot be held, or would be another value."""
    try:
        stored = pa.array(values, kind)
        return stored if all(map(_same, values, stored.to_pylist())) else None
    except _UNSTORED:
        return None


def _same(value: Any, stored: Any) -> bool:
    """Whether what Arrow made of a value is the value: it leaves out fields, cuts fractions, and reads numbers as times."""
    if is_missing(value) or stored is None:
        return is_missing(value) and is_missing(stored)
    if isinstance(value, Mapping):
        pairs = dict(stored)
        return all(key in pairs and _same(each, pairs[key]) for key, each in value.items())
    if isinstance(stored, list):
        parts = list(value)
        return len(parts) == len(stored) and all(map(_same, parts, stored))
    if isinstance(stored, dict):
        return [key for key, _ in value] == list(stored) and _same(dict(value), stored)
    if isinstance(stored, float) and isinstance(value, (float, np.floating)):
        return True  # the nearest of its width
    return bool(value == stored) and isinstance(value, bool | np.bool_) == isinstance(stored, bool)


def _kind_of(column: Column) -> Kind:
    """The type that a column shows; None where it has no value."""
    shown = column_type(column)
    if isinstance(column, Ragged):
        if not column.values.size:
            return None
        leaf = _kind_of(column.values)
        return ColumnType(leaf.dtype, shown.shape) if isinstance(leaf, ColumnType) else _lists(leaf, shown)
    if column.dtype.kind != "O":
        if not len(column) or shown.dtype in DTYPES:
            return shown if len(column) else None
        return (
            pa.array(column[:1]).type
            if column.dtype.kind in "mM" and column.ndim == 1
            else _arrow_type_of([*column[:1]])
        )
    if column.ndim > 1:
        leaf = _kind_of(column.reshape(-1))
        return ColumnType(leaf.dtype, tuple(column.shape[1:])) if isinstance(leaf, ColumnType) else None
    return _kind_of_values([value for value in column.tolist() if not is_missing(value)])


def _lists(leaf: Any, shown: ColumnType) -> Any:
    if leaf is None:
        return None
    for _ in shown.shape:
        leaf = pa.list_(leaf)
    return leaf


def _kind_of_values(values: Sequence[Any]) -> Kind:
    """The type of the first of some values that has one, of numbers the widest; None where none has."""
    for place, first in enumerate(values):
        if isinstance(first, str):
            return ColumnType("string")
        if isinstance(first, (bytes, bytearray, memoryview)):
            return ColumnType("bytes")
        if isinstance(first, (bool, np.bool_)):
            return ColumnType("bool")
        if isinstance(first, _NUMBERS):
            numeric = [each for each in values if isinstance(each, _NUMBERS) and not isinstance(each, bool)]
            return ColumnType(_number_type(numeric))
        found = _arrow_type_of(values[place:])
        if found is not None:
            return found
    return None


_NUMBERS = (int, float, np.integer, np.floating)


def _number_type(values: Sequence[Any]) -> str:
    """The narrowest of Python's and numpy's types for numbers; those that no type has are none of int64."""
    name = np.array(values).dtype.name
    return name if name != "object" else "int64"


def _arrow_type_of(values: Sequence[Any]) -> Any:
    """What Arrow makes of values, or of the first one; None where it knows none. Decimals have room to grow.

    Of pandas' times Arrow by itself does not look at the nanoseconds, which Python's own have not.
    """
    for some in (values, values[:1]):
        try:
            found = pa.array(some).type
        except _UNSTORED:
            continue
        if pa.types.is_decimal128(found):
            return pa.decimal128(38, found.scale)
        if pa.types.is_timestamp(found) and any(getattr(value, "nanosecond", 0) for value in some):
            return pa.timestamp("ns", found.tz)
        if pa.types.is_duration(found) and any(getattr(value, "nanoseconds", 0) for value in some):
            return pa.duration("ns")
        return found
    return None


def _kind_of_arrow(data_type: pa.DataType) -> Kind:
    """The inverse of `arrow_type`, as far as there is one."""
    shape: list[int | None] = []
    leaf = data_type
    if isinstance(leaf, pa.FixedShapeTensorType):
        shape, leaf = list(leaf.shape), leaf.value_type
    while pa.types.is_list(leaf):
        shape, leaf = [*shape, None], leaf.value_type
    names = {"double": "float64", "float": "float32", "halffloat": "float16", "binary": "bytes"}
    name = names.get(str(leaf), str(leaf))
    kind = ColumnType(name, tuple(shape)) if name in DTYPES else None
    return kind if kind is not None and arrow_type(kind) == data_type else data_type
