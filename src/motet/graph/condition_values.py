"""What the parts of a condition compute: rules about kinds, and work on whole columns.

A value has a kind (`number`, `string`, `array of numbers`, ...), its data, and where it is not null. An operation is a
rule, which takes kinds and gives a kind or raises `Unfit`, and work, which takes values and gives a value. `FUNCTIONS`
is the table of the language's functions.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Column, Ragged
from motet.errors import known_names
from motet.types import ColumnType

NUMBER, BOOL, STRING, BYTES, NULL, ANY = "number", "bool", "string", "bytes", "null", "any"
NUMBERS, BOOLS, OBJECTS = "array of numbers", "array of bools", "array of strings"
ARRAYS = (NUMBERS, BOOLS, OBJECTS)
_NAMED = {NUMBER: "a number", BOOL: "a bool", STRING: "a string", BYTES: "bytes", NULL: "null", ANY: "of any type"}

Mask = npt.NDArray[np.bool_]


class Unfit(Exception):
    """An operation does not take what it is given; `part` is which of its arguments, from 0, None for the whole."""

    def __init__(self, what: str, hint: str = "", part: int | None = None) -> None:
        self.what, self.hint, self.part = what, hint, part
        self.spot: ast.AST | None = None
        super().__init__(what)


@dataclass(slots=True)
class Value:
    """One value a row: a column, or one constant for all rows. `valid` is where it is not null, None for everywhere."""

    kind: str
    data: Any
    valid: Mask | None = None


Columns = Mapping[str, Column]


# Rules: what kinds an operation takes, and the kind it gives.


def kind_of(kind: ColumnType) -> str:
    """The kind of a column of this type."""
    if kind.dtype == "any":
        return ANY
    if kind.is_object:
        return OBJECTS if kind.shape else kind.dtype
    scalar, array = (BOOL, BOOLS) if kind.dtype == "bool" else (NUMBER, NUMBERS)
    return array if kind.shape else scalar


def _named(kind: str) -> str:
    return _NAMED.get(kind, f"an {kind}")


def _need(kind: str, wanted: tuple[str, ...], what: str, part: int | None = None) -> None:
    if kind in (ANY, *wanted):
        return
    hint = ""
    if kind in ARRAYS and not set(wanted) & set(ARRAYS):
        hint = "max_of, min_of, sum_of, mean_of, any_of and all_of make one value of a row's array"
    elif kind == BOOL and wanted == (NUMBER,):
        hint = "a bool stands alone: write flag, or not flag"
    raise Unfit(f"{what} takes {' or '.join(_named(each) for each in wanted)}, got {_named(kind)}", hint, part)


def rule_result(kind: str) -> None:
    """The whole is true or false."""
    _need(kind, (BOOL,), "a condition is true or false: it")


def rule_plain(name: str, wanted: Sequence[tuple[str, ...]], gives: str, *kinds: str) -> str:
    """Arguments of these kinds, the last one repeated where there are more."""
    for part, kind in enumerate(kinds):
        _need(kind, wanted[min(part, len(wanted) - 1)], name, part)
    return gives


def rule_isnull(kind: str) -> str:
    """One value a row, of any kind."""
    if kind in ARRAYS:
        raise Unfit(f"isnull takes one value a row, got {_named(kind)}", "len(x) == 0 tells an empty array", 0)
    return BOOL


def rule_compare(symbols: Sequence[str], *kinds: str) -> str:
    """Values of one kind side by side; null only for equality."""
    for part, (symbol, left, right) in enumerate(zip(symbols, kinds[:-1], kinds[1:], strict=True)):
        equality = symbol in ("==", "!=")
        for kind, place in ((left, part), (right, part + 1)):
            if kind in ARRAYS:
                _need(kind, (NUMBER, STRING), symbol, place)
        if NULL in (left, right):
            if not equality:
                raise Unfit(f"{symbol} cannot compare with null", "write isnull(x), x == null or x != null")
            continue
        if ANY not in (left, right) and left != right:
            raise Unfit(f"{symbol} compares {_named(left)} with {_named(right)}", _compare_hint(left, right))
        if not equality and BOOL in (left, right):
            raise Unfit(f"{symbol} does not order bools", "use and, or, not, == and !=")
    return BOOL


def _compare_hint(left: str, right: str) -> str:
    if {left, right} == {STRING, NUMBER}:
        return "a string is written in quotes and a number without"
    return "a bool stands alone: write flag, or not flag" if BOOL in (left, right) else ""


def rule_in(wanted: str, kind: str) -> str:
    """A value of the kind of the list."""
    _need(kind, (wanted,), "in this list", 0)
    return BOOL


# Work: what an operation computes, on whole columns.


def _both(*values: Value) -> Mask | None:
    """Where none of the values is null."""
    masks = [value.valid for value in values if value.valid is not None]
    combined: Mask | None = reduce(operator.and_, masks) if masks else None
    return combined


def _and_not(valid: Mask | None, bad: Any) -> Mask | None:
    if not np.any(bad):
        return valid
    good: Mask = ~bad if valid is None else valid & ~bad
    return good


def truth(value: Value) -> Any:
    """Bools, false where null."""
    if value.kind in (ANY, NULL):
        return False
    return value.data if value.valid is None else value.data & value.valid


def _whole(data: Any) -> bool:
    return isinstance(data, int) if not isinstance(data, np.ndarray) else data.dtype.kind in "iu"


def _narrow(value: Value) -> tuple[Any, Mask | None]:
    """Numbers to compute with: those of uint64 as int64, null where they do not fit."""
    if isinstance(value.data, np.ndarray) and value.data.dtype == np.uint64:
        return value.data.astype(np.int64), _and_not(value.valid, value.data > np.uint64(2**63 - 1))
    return value.data, value.valid


def arithmetic(symbol: str, left: Value, right: Value) -> Value:
    """Numbers from numbers; null where it cannot be computed."""
    (first, first_valid), (second, second_valid) = _narrow(left), _narrow(right)
    valid = _both(Value(NUMBER, first, first_valid), Value(NUMBER, second, second_valid))
    if symbol in ("/", "//", "%"):
        zero = np.equal(second, 0)
        valid, second = _and_not(valid, zero), np.where(zero, np.ones_like(second), second) if np.any(zero) else second
    if _whole(first) and _whole(second) and symbol not in ("/", "%"):
        near = _ARITHMETIC[symbol](np.asarray(first, dtype=np.float64), second)
        valid = _and_not(valid, np.abs(near) >= 2.0**63)
    return Value(NUMBER, _ARITHMETIC[symbol](first, second), valid)


def compare(symbols: Sequence[str], *values: Value) -> Value:
    """Whether each neighbouring pair of values compares so."""
    pairs = zip(symbols, values[:-1], values[1:], strict=True)
    return Value(BOOL, reduce(operator.and_, (_compared(symbol, left, right) for symbol, left, right in pairs)))


def _compared(symbol: str, left: Value, right: Value) -> Any:
    if NULL in (left.kind, right.kind):
        empty = _empty(left if right.kind == NULL else right)
        return empty if symbol == "==" else np.logical_not(empty)
    if ANY in (left.kind, right.kind):
        return np.False_
    result = _COMPARISONS[symbol](left.data, right.data)
    result = result.astype(bool) if isinstance(result, np.ndarray) else np.bool_(result)
    valid = _both(left, right)
    return result if valid is None else result & valid


def _empty(value: Value) -> Any:
    """Where a value is null, or NaN."""
    if value.kind == NULL:
        return np.True_
    if value.kind == NUMBER and not _whole(value.data):
        missing = np.isnan(value.data)
        return missing if value.valid is None else missing | ~value.valid
    if value.valid is None:
        return np.zeros(np.shape(value.data), dtype=bool)
    return ~value.valid


def is_member(members: tuple[Any, ...], value: Value, *, negated: bool) -> Value:
    """Whether a value is one of the constants; with `negated`, none of them; false for a null."""
    if value.kind == ANY:
        return Value(BOOL, np.False_)
    if value.kind == NUMBER:
        found = reduce(operator.or_, (np.equal(value.data, member) for member in members), np.False_)
    else:
        found = _mapped(frozenset(members).__contains__, bool, value)
    return Value(BOOL, truth(Value(BOOL, np.logical_not(found) if negated else found, value.valid)))


def _mapped(change: Callable[..., Any], dtype: Any, *values: Value) -> Any:
    """Apply a function to the values of each row, or once to constants."""
    if not any(isinstance(value.data, np.ndarray) for value in values):
        return change(*(value.data for value in values))
    columns = [value.data.tolist() if isinstance(value.data, np.ndarray) else repeat(value.data) for value in values]
    results = list(map(change, *columns))
    return np.fromiter(results, dtype=dtype, count=len(results))


def _text(change: Callable[..., Any], kind: str, dtype: Any, *values: Value) -> Value:
    """A function of strings: null where one is, and false where it says true or false."""
    value = Value(kind, _mapped(change, dtype, *values), _both(*values))
    return Value(BOOL, truth(value)) if kind == BOOL else value


def _length(value: Value) -> Value:
    if isinstance(value.data, Ragged):
        return Value(NUMBER, value.data.shapes[:, 0])
    if value.kind in ARRAYS:
        return Value(NUMBER, np.full(len(value.data), value.data.shape[1], dtype=np.int64))
    return _text(len, NUMBER, np.int64, value)


def _absolute(value: Value) -> Value:
    below = arithmetic("-", Value(NUMBER, 0), value)
    return Value(NUMBER, np.maximum(below.data, _narrow(value)[0]), below.valid)


def _extreme(choose: Callable[[Any, Any], Any], *values: Value) -> Value:
    narrow = [_narrow(value) for value in values]
    valid = _both(*(Value(NUMBER, data, mask) for data, mask in narrow))
    return Value(NUMBER, reduce(choose, (data for data, _ in narrow)), valid)


def _reduced(name: str, value: Value) -> Value:
    """One value of each row's array; null for the largest, the least and the mean of nothing."""
    reduction = _REDUCTIONS[name]
    dtype = reduction.dtype(_computed(value.data.dtype))
    if isinstance(value.data, Ragged):
        rows = [row.astype(dtype).reshape(-1) for row in value.data]
        sizes = np.array([row.size for row in rows], dtype=np.int64)
        data = np.array([reduction.function(row) if row.size else reduction.nothing for row in rows])
    else:
        flat = np.ascontiguousarray(value.data, dtype=dtype).reshape(len(value.data), math.prod(value.data.shape[1:]))
        sizes = np.full(len(flat), flat.shape[1])
        data = reduction.function(flat, axis=1) if flat.shape[1] else np.full(len(flat), reduction.nothing)
    valid = _and_not(None, sizes == 0) if reduction.needs_some else None
    return Value(reduction.kind, data if len(data) else data.astype(dtype), valid)


def _computed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that numbers of a column are computed in."""
    if dtype.kind == "f":
        return np.dtype(np.float32) if dtype == np.float16 else dtype
    return np.dtype(np.uint64) if dtype == np.uint64 else np.dtype(np.int64)


def _total(values: Any, axis: int | None = None) -> Any:
    return np.add.reduce(values, axis=axis)


@dataclass(frozen=True, slots=True)
class _Reduction:
    """How a row's array becomes one value.

    Attributes:
        function: on a row's values, or on the last axis of all rows' with `axis=1`.
        dtype: what values are converted to before, from the dtype they are computed in.
        nothing: the value for no values.
        needs_some: whether no values give null.
        kind: of the value.
    """

    function: Callable[..., Any]
    dtype: Callable[[np.dtype[Any]], npt.DTypeLike]
    nothing: Any = 0
    needs_some: bool = False
    kind: str = NUMBER


def _kept(dtype: np.dtype[Any]) -> npt.DTypeLike:
    return dtype


def _wide(dtype: np.dtype[Any]) -> npt.DTypeLike:
    return np.float64 if dtype.kind == "f" else np.int64


# Columns as values.


def load(name: str, columns: Columns) -> Value:
    """A column as a value."""
    if name not in columns:
        raise Unfit(f"there is no column {name!r}; {known_names(name, tuple(columns))}")
    column = columns[name]
    if column.dtype == object and isinstance(column, np.ndarray) and column.ndim == 1:
        return _load_objects(name, column)
    if isinstance(column, Ragged) or column.ndim > 1:
        return Value({"O": OBJECTS, "b": BOOLS}.get(column.dtype.kind, NUMBERS), column)
    if column.dtype.kind in "SU":
        return Value(STRING if column.dtype.kind == "U" else BYTES, column.astype(object))
    if column.dtype.kind == "b":
        return Value(BOOL, column)
    return Value(NUMBER, column.astype(_computed(column.dtype), copy=False))


def _load_objects(name: str, column: npt.NDArray[Any]) -> Value:
    """A column of objects that agree in kind; None is null."""
    found = {kind for kind in {type(value) for value in column} if kind is not type(None)}
    absent = [value is None for value in column]
    null = np.array(absent, dtype=bool) if any(absent) else None
    valid = None if null is None else ~null
    if not found:
        return Value(ANY, column, np.zeros(len(column), dtype=bool))
    for kind, classes, filler, dtype in _OBJECT_KINDS:
        if all(issubclass(each, classes) for each in found) and (kind == BOOL or not found & {bool, np.bool_}):
            filled = column if null is None else np.where(null, filler, column)
            return Value(kind, filled if dtype is None else _packed(filled, dtype), valid)
    if all(issubclass(each, (np.ndarray, list, tuple)) for each in found) and null is None:
        ragged = Ragged.from_rows(list(column))
        return Value({"O": OBJECTS, "U": OBJECTS, "b": BOOLS}.get(ragged.dtype.kind, NUMBERS), ragged)
    names = ", ".join(sorted(each.__name__ for each in found))
    raise Unfit(
        f"column {name!r} has values of {names}", "a condition needs values of one kind: all numbers, or strings"
    )


def _packed(values: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    """Objects as an array of numbers; whole numbers too large for it as uint64, and else as floats."""
    for each in (dtype, np.uint64) if dtype is np.int64 else (dtype,):
        try:
            return values.astype(each)
        except OverflowError:
            continue
    return values.astype(np.float64)


_OBJECT_KINDS: tuple[tuple[str, tuple[type, ...], Any, Any], ...] = (
    (STRING, (str,), "", None),
    (BYTES, (bytes, bytearray, memoryview), b"", None),
    (BOOL, (bool, np.bool_), False, bool),
    (NUMBER, (int, np.integer), 0, np.int64),
    (NUMBER, (int, float, np.integer, np.floating), 0, np.float64),
)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.true_divide, "//": np.floor_divide, "%": np.remainder,
}  # fmt: skip
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_REDUCTIONS = {
    "max_of": _Reduction(np.max, _kept, needs_some=True),
    "min_of": _Reduction(np.min, _kept, needs_some=True),
    "sum_of": _Reduction(_total, _wide),
    "mean_of": _Reduction(np.mean, lambda dtype: np.float64, needs_some=True),
    "any_of": _Reduction(np.any, lambda dtype: bool, nothing=False, kind=BOOL),
    "all_of": _Reduction(np.all, lambda dtype: bool, nothing=True, kind=BOOL),
}


@dataclass(frozen=True, slots=True)
class _Function:
    """A function of the language: what kinds it takes, the last for all that follow, how many, and what it gives."""

    wanted: tuple[tuple[str, ...], ...]
    gives: str
    work: Callable[..., Value]
    most: int = 0

    @property
    def least(self) -> int:
        """The fewest arguments."""
        return max(len(self.wanted), 2 if self.most else 0)


def _strings(change: Callable[..., Any], count: int, kind: str, dtype: Any) -> _Function:
    return _Function(((STRING,),) * count, kind, partial(_text, change, kind, dtype))


def _of(name: str, *wanted: str) -> _Function:
    return _Function((wanted,), _REDUCTIONS[name].kind, partial(_reduced, name))


FUNCTIONS: dict[str, _Function] = {
    "abs": _Function(((NUMBER,),), NUMBER, _absolute),
    "min": _Function(((NUMBER,),), NUMBER, partial(_extreme, np.minimum), most=16),
    "max": _Function(((NUMBER,),), NUMBER, partial(_extreme, np.maximum), most=16),
    "len": _Function(((STRING, BYTES, *ARRAYS),), NUMBER, _length),
    "lower": _strings(str.lower, 1, STRING, object),
    "upper": _strings(str.upper, 1, STRING, object),
    "startswith": _strings(str.startswith, 2, BOOL, bool),
    "endswith": _strings(str.endswith, 2, BOOL, bool),
    "contains": _strings(operator.contains, 2, BOOL, bool),
    "isnull": _Function(((NUMBER, BOOL, STRING, BYTES, NULL),), BOOL, lambda value: Value(BOOL, _empty(value))),
    "max_of": _of("max_of", NUMBERS),
    "min_of": _of("min_of", NUMBERS),
    "sum_of": _of("sum_of", NUMBERS, BOOLS),
    "mean_of": _of("mean_of", NUMBERS, BOOLS),
    "any_of": _of("any_of", BOOLS, NUMBERS),
    "all_of": _of("all_of", BOOLS, NUMBERS),
}


def null_through(gives: str, work: Callable[..., Value]) -> Callable[..., Value]:
    """A function that gives null for columns of nothing but nulls, whose kind is not known."""

    def strict(*values: Value) -> Value:
        if all(value.kind != ANY for value in values):
            return work(*values)
        nothing = np.zeros(max(np.size(value.data) for value in values if value.kind == ANY), dtype=bool)
        if gives == BOOL:
            return Value(BOOL, nothing)
        return Value(gives, np.where(nothing, "", "").astype(object) if gives == STRING else nothing * 0, nothing)

    return strict


def negate(value: Value) -> Value:
    """True where a value is false or null."""
    return Value(BOOL, np.logical_not(truth(value)))


def every(*values: Value) -> Value:
    """Where all values are true."""
    return Value(BOOL, reduce(operator.and_, map(truth, values)))


def some(*values: Value) -> Value:
    """Where any value is true."""
    return Value(BOOL, reduce(operator.or_, map(truth, values)))
