"""Values of a condition: columns and constants with their nulls, and what operations compute of them.

A value has a kind (`number`, `string`, `array of numbers`, ...), its data, and where it is not null.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Column, Ragged
from motet.errors import known_names
from motet.graph.condition.exact import compared, computed, is_whole
from motet.graph.condition.kinds import ANY, BOOL, BOOLS, BYTES, NULL, NUMBER, NUMBERS, OBJECTS, STRING, Unfit

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class ConditionValue:
    """One value a row: a column, or one constant for all rows. `valid` is where it is not null, None for everywhere."""

    kind: str
    data: Any
    valid: Mask | None = None


Columns = Mapping[str, Column]


def all_valid(*values: ConditionValue) -> Mask | None:
    """Where none of the values is null."""
    masks = [value.valid for value in values if value.valid is not None]
    combined: Mask | None = reduce(operator.and_, masks) if masks else None
    return combined


def and_not(valid: Mask | None, bad: Any) -> Mask | None:
    """Where something was valid and is not bad."""
    if not np.any(bad):
        return valid
    good: Mask = ~bad if valid is None else valid & ~bad
    return good


def truth(value: ConditionValue) -> Any:
    """Bools, false where null."""
    if value.kind in (ANY, NULL):
        return False
    return value.data if value.valid is None else value.data & value.valid


def arithmetic(symbol: str, left: ConditionValue, right: ConditionValue) -> ConditionValue:
    """Numbers from numbers; null where it cannot be computed."""
    second, valid = right.data, all_valid(left, right)
    if symbol in ("/", "//", "%"):
        zero = np.equal(second, 0)
        valid, second = and_not(valid, zero), np.where(zero, np.ones_like(second), second) if np.any(zero) else second
    return ConditionValue(NUMBER, computed(symbol, left.data, second), valid)


def compare(symbols: Sequence[str], *values: ConditionValue) -> ConditionValue:
    """Whether each neighbouring pair of values compares so."""
    pairs = zip(symbols, values[:-1], values[1:], strict=True)
    return ConditionValue(
        BOOL, reduce(operator.and_, (_compared(symbol, left, right) for symbol, left, right in pairs))
    )


def _compared(symbol: str, left: ConditionValue, right: ConditionValue) -> Any:
    if NULL in (left.kind, right.kind):
        empty = is_missing(left if right.kind == NULL else right)
        return empty if symbol == "==" else np.logical_not(empty)
    if ANY in (left.kind, right.kind):
        return np.False_
    result = compared(symbol, left.data, right.data)
    valid = all_valid(left, right)
    return result if valid is None else result & valid


def is_missing(value: ConditionValue) -> Any:
    """Where a value is null, or NaN."""
    if value.kind == NULL:
        return np.True_
    if value.kind == NUMBER and not is_whole(value.data):
        missing = np.isnan(value.data)
        return missing if value.valid is None else missing | ~value.valid
    if value.valid is None:
        return np.zeros(np.shape(value.data), dtype=bool)
    return ~value.valid


def is_member(members: tuple[Any, ...], value: ConditionValue, *, negated: bool) -> ConditionValue:
    """Whether a value is one of the constants; with `negated`, none of them; false for a null."""
    if value.kind == ANY:
        return ConditionValue(BOOL, np.False_)
    if value.kind == NUMBER:
        found = reduce(operator.or_, (compared("==", value.data, member) for member in members), np.False_)
    else:
        found = mapped(frozenset(members).__contains__, bool, value)
    return ConditionValue(BOOL, truth(ConditionValue(BOOL, np.logical_not(found) if negated else found, value.valid)))


def mapped(change: Callable[..., Any], dtype: Any, *values: ConditionValue) -> Any:
    """Apply a function to the values of each row, or once to constants."""
    if not any(isinstance(value.data, np.ndarray) for value in values):
        return change(*(value.data for value in values))
    columns = [value.data.tolist() if isinstance(value.data, np.ndarray) else repeat(value.data) for value in values]
    results = list(map(change, *columns))
    return np.fromiter(results, dtype=dtype, count=len(results))


def null_through(gives: str, work: Callable[..., ConditionValue]) -> Callable[..., ConditionValue]:
    """A function that gives null for columns of nothing but nulls, whose kind is not known."""

    def strict(*values: ConditionValue) -> ConditionValue:
        if all(value.kind != ANY for value in values):
            return work(*values)
        nothing = np.zeros(max(np.size(value.data) for value in values if value.kind == ANY), dtype=bool)
        if gives == BOOL:
            return ConditionValue(BOOL, nothing)
        return ConditionValue(
            gives, np.where(nothing, "", "").astype(object) if gives == STRING else nothing * 0, nothing
        )

    return strict


def negate(value: ConditionValue) -> ConditionValue:
    """True where a value is false or null."""
    return ConditionValue(BOOL, np.logical_not(truth(value)))


def every(*values: ConditionValue) -> ConditionValue:
    """Where all values are true."""
    return ConditionValue(BOOL, reduce(operator.and_, map(truth, values)))


def some(*values: ConditionValue) -> ConditionValue:
    """Where any value is true."""
    return ConditionValue(BOOL, reduce(operator.or_, map(truth, values)))


def computed_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that numbers of a column are computed in."""
    if dtype.kind == "f":
        return np.dtype(np.float32) if dtype == np.float16 else dtype
    return np.dtype(np.uint64) if dtype == np.uint64 else np.dtype(np.int64)


def load(name: str, columns: Columns) -> ConditionValue:
    """A column as a value."""
    if name not in columns:
        raise Unfit(f"there is no column {name!r}; {known_names(name, tuple(columns))}")
    column = columns[name]
    if column.dtype == object and isinstance(column, np.ndarray) and column.ndim == 1:
        return _load_objects(name, column)
    if isinstance(column, Ragged) or column.ndim > 1:
        return ConditionValue({"O": OBJECTS, "b": BOOLS}.get(column.dtype.kind, NUMBERS), column)
    if column.dtype.kind in "SU":
        return ConditionValue(STRING if column.dtype.kind == "U" else BYTES, column.astype(object))
    if column.dtype.kind == "b":
        return ConditionValue(BOOL, column)
    return ConditionValue(NUMBER, column.astype(computed_dtype(column.dtype), copy=False))


def _load_objects(name: str, column: npt.NDArray[Any]) -> ConditionValue:
    """A column of objects that agree in kind; None is null."""
    found = {kind for kind in {type(value) for value in column} if kind is not type(None)}
    absent = [value is None for value in column]
    null = np.array(absent, dtype=bool) if any(absent) else None
    valid = None if null is None else ~null
    if not found:
        return ConditionValue(ANY, column, np.zeros(len(column), dtype=bool))
    for kind, classes, filler, dtype in _OBJECT_KINDS:
        if all(issubclass(each, classes) for each in found) and (kind == BOOL or not found & {bool, np.bool_}):
            filled = column if null is None else np.where(null, filler, column)
            return ConditionValue(kind, filled if dtype is None else _packed(filled, dtype), valid)
    if all(issubclass(each, (np.ndarray, list, tuple)) for each in found) and null is None:
        ragged = Ragged.from_rows(list(column))
        return ConditionValue({"O": OBJECTS, "U": OBJECTS, "b": BOOLS}.get(ragged.dtype.kind, NUMBERS), ragged)
    names = ", ".join(sorted(each.__name__ for each in found))
    raise Unfit(
        f"column {name!r} has values of {names}", "a condition needs values of one kind: all numbers, or strings"
    )


def _packed(values: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    """Objects as an array of numbers; whole numbers too large for it as they are."""
    try:
        return values.astype(dtype)
    except OverflowError:
        return values


_OBJECT_KINDS: tuple[tuple[str, tuple[type, ...], Any, Any], ...] = (
    (STRING, (str,), "", None),
    (BYTES, (bytes, bytearray, memoryview), b"", None),
    (BOOL, (bool, np.bool_), False, bool),
    (NUMBER, (int, np.integer), 0, np.int64),
    (NUMBER, (int, float, np.integer, np.floating), 0, np.float64),
)
