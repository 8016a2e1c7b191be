"""The functions of the language, by name: what they take, what they give, and what they compute."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from motet.batch import Ragged
from motet.graph.condition.exact import extreme, total
from motet.graph.condition.kinds import ARRAYS, BOOL, BOOLS, BYTES, NULL, NUMBER, NUMBERS, STRING
from motet.graph.condition.values import (
    ConditionValue,
    all_valid,
    and_not,
    arithmetic,
    computed_dtype,
    is_missing,
    mapped,
    truth,
)

__all__ = ["FUNCTIONS"]


def _text(change: Callable[..., Any], kind: str, dtype: Any, *values: ConditionValue) -> ConditionValue:
    """A function of strings: null where one is, and false where it says true or false."""
    value = ConditionValue(kind, mapped(change, dtype, *values), all_valid(*values))
    return ConditionValue(BOOL, truth(value)) if kind == BOOL else value


def _length(value: ConditionValue) -> ConditionValue:
    if isinstance(value.data, Ragged):
        return ConditionValue(NUMBER, value.data.shapes[:, 0])
    if value.kind in ARRAYS:
        return ConditionValue(NUMBER, np.full(len(value.data), value.data.shape[1], dtype=np.int64))
    return _text(len, NUMBER, np.int64, value)


def _absolute(value: ConditionValue) -> ConditionValue:
    below = arithmetic("-", ConditionValue(NUMBER, 0), value)
    return ConditionValue(NUMBER, extreme(np.maximum, (below.data, value.data)), below.valid)


def _extreme(choose: Callable[[Any, Any], Any], *values: ConditionValue) -> ConditionValue:
    return ConditionValue(NUMBER, extreme(choose, [value.data for value in values]), all_valid(*values))


def _reduced(name: str, value: ConditionValue) -> ConditionValue:
    """One value of each row's array; null for the largest, the least and the mean of nothing."""
    reduction = _REDUCTIONS[name]
    dtype = reduction.dtype(computed_dtype(value.data.dtype))
    if isinstance(value.data, Ragged):
        rows = [row.astype(dtype).reshape(-1) for row in value.data]
        sizes = np.array([row.size for row in rows], dtype=np.int64)
        data = np.array([reduction.function(row) if row.size else reduction.nothing for row in rows])
    else:
        flat = np.ascontiguousarray(value.data, dtype=dtype).reshape(len(value.data), math.prod(value.data.shape[1:]))
        sizes = np.full(len(flat), flat.shape[1])
        data = reduction.function(flat, axis=1) if flat.shape[1] else np.full(len(flat), reduction.nothing)
    valid = and_not(None, sizes == 0) if reduction.needs_some else None
    return ConditionValue(reduction.kind, data if len(data) else data.astype(dtype), valid)


def _any(values: Any, axis: int | None = None) -> Any:
    """Whether any value is true; NaN is not."""
    return np.any(_true(values), axis=axis)


def _all(values: Any, axis: int | None = None) -> Any:
    return np.all(_true(values), axis=axis)


def _true(values: Any) -> Any:
    return (values != 0) & (values == values)


class _Reduction(NamedTuple):
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


_REDUCTIONS = {
    "max_of": _Reduction(np.max, _kept, needs_some=True),
    "min_of": _Reduction(np.min, _kept, needs_some=True),
    "sum_of": _Reduction(total, lambda dtype: np.float64 if dtype.kind == "f" else dtype),
    "mean_of": _Reduction(np.mean, lambda dtype: np.float64, needs_some=True),
    "any_of": _Reduction(_any, _kept, nothing=False, kind=BOOL),
    "all_of": _Reduction(_all, _kept, nothing=True, kind=BOOL),
}


class _Function(NamedTuple):
    """A function of the language: what kinds it takes, the last for all that follow, how many, and what it gives."""

    wanted: tuple[tuple[str, ...], ...]
    gives: str
    work: Callable[..., ConditionValue]
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
    "isnull": _Function(
        ((NUMBER, BOOL, STRING, BYTES, NULL),), BOOL, lambda value: ConditionValue(BOOL, is_missing(value))
    ),
    "max_of": _of("max_of", NUMBERS),
    "min_of": _of("min_of", NUMBERS),
    "sum_of": _of("sum_of", NUMBERS, BOOLS),
    "mean_of": _of("mean_of", NUMBERS, BOOLS),
    "any_of": _of("any_of", BOOLS, NUMBERS),
    "all_of": _of("all_of", BOOLS, NUMBERS),
}
