"""Numbers that are computed and compared as Python does it: whole ones exactly, whatever their size.

Arrays of 64 bits do the work where nothing can leave them; else Python's own integers do, in arrays of objects.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["compared", "computed", "extreme", "is_whole", "total"]

_ROOM, _FLOAT = 2**62, 2**53
"""Results of 64 bits are surely right below the one; floats hold all whole numbers up to the other."""
_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def is_whole(data: Any) -> bool:
    """Whether numbers, an array or one, are whole ones; arrays of objects always are."""
    return data.dtype.kind in "iuO" if isinstance(data, np.ndarray) else isinstance(data, int)


def computed(symbol: str, first: Any, second: Any) -> Any:
    """What an operation gives; no divisor is zero."""
    if not (is_whole(first) and is_whole(second)):
        return _OPERATIONS[symbol](_float(first), _float(second))
    if symbol == "/":
        if _within(first, _FLOAT) and _within(second, _FLOAT):
            return _OPERATIONS[symbol](first, second)
        return _quotients(_objects(first), _objects(second))
    if _within(first, _ROOM) and _within(second, _ROOM):
        first, second = _signed(first), _signed(second)
        if symbol != "*" or _within(np.multiply(first, second, dtype=np.float64), _ROOM):
            return _OPERATIONS[symbol](first, second)
    return _OPERATIONS[symbol](_objects(first), _objects(second))


def compared(symbol: str, first: Any, second: Any) -> Any:
    """Bools, of numbers or of what else compares so."""
    if _is_number(first) and _is_number(second) and is_whole(first) != is_whole(second):
        whole = first if is_whole(first) else second
        if not _within(whole, _FLOAT):
            first, second = _objects(first), _objects(second)
    result = _COMPARISONS[symbol](first, second)
    return result.astype(bool) if isinstance(result, np.ndarray) else np.bool_(result)


def extreme(choose: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    """The least or the largest of some numbers side by side: `np.minimum` or `np.maximum` of them."""
    if not all(map(is_whole, values)):
        values = [_float(value) for value in values]
    elif all(_within(value, _ROOM) for value in values):
        values = [_signed(value) for value in values]
    else:
        values = [_objects(value) for value in values]
    if not any(isinstance(value, np.ndarray) for value in values):
        return (min if choose is np.minimum else max)(values)
    found = values[0]
    for value in values[1:]:
        found = choose(found, value)
    return found


def total(values: Any, axis: int | None = None) -> Any:
    """The sum of an array, or along an axis of it."""
    if values.dtype.kind == "f" or _within(np.abs(values, dtype=np.float64).sum(), _ROOM):
        return np.add.reduce(values, axis=axis)
    return np.asarray(np.add.reduce(values.astype(object), axis=axis))


def _is_number(data: Any) -> bool:
    return data.dtype.kind in "iufO" if isinstance(data, np.ndarray) else isinstance(data, (int, float))


def _within(data: Any, bound: int) -> bool:
    """Whether all numbers lie between a bound and its opposite, without both."""
    if not isinstance(data, np.ndarray):
        return bool(-bound < data < bound)
    return not data.size or bool(data.min() > -bound and data.max() < bound)


def _signed(data: Any) -> Any:
    return data.astype(np.int64, copy=False) if isinstance(data, np.ndarray) else data


def _objects(data: Any) -> Any:
    """The same numbers as Python has them."""
    return np.array([*data.tolist()], dtype=object) if isinstance(data, np.ndarray) and data.dtype != object else data


def _float(data: Any) -> Any:
    """Numbers as floats of some width; beyond these infinite."""
    if not isinstance(data, np.ndarray):
        return _nearest(data) if isinstance(data, int) else data
    return np.array([_nearest(each) for each in data.tolist()]) if data.dtype == object else data


def _nearest(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _quotients(first: Any, second: Any) -> Any:
    if not isinstance(first, np.ndarray) and not isinstance(second, np.ndarray):
        return _quotient(first, second)
    return np.frompyfunc(_quotient, 2, 1)(first, second).astype(np.float64)


def _quotient(first: int, second: int) -> float:
    try:
        return first / second
    except OverflowError:
        return math.inf if (first > 0) == (second > 0) else -math.inf
