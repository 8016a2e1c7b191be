"""One reading of a number, wherever it comes from: it is taken where nothing is lost, and refused where something would be.

    bool        is any number (0 or 1); no number is bool
    whole       is a whole number of any width whose range it is in, and a float that holds it exactly
    float       is a wider float; is a whole number where it has no fraction and is in range; NaN among these is missing
    float64     stored as such is no float32, since nearly every value would change: cast it in the graph

A number that was *written* (text, JSON, a number of Python) has no width of its own: floats take the nearest that is
wanted, unless it is out of range. It is for whoever reads values to say what becomes of what is lost or missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from motet.errors import cut
from motet.types import ColumnType

__all__ = [
    "Converted", "any_missing", "convert", "from_objects", "is_missing", "may_be_given", "may_convert", "refusal", "widens",
]  # fmt: skip

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
DType = str | np.dtype[Any]


class Converted(NamedTuple):
    """Numbers of the dtype that is wanted; masks have their shape, and are None where they would be empty."""

    values: Array
    """The numbers; zeros stand in where they are lost or missing."""
    lost: Mask | None
    """Which would not be the same number, or are none."""
    missing: Mask | None
    """Which are missing: NaN where whole numbers are wanted, and nulls among objects."""


@cache
def widens(stored: DType, wanted: DType) -> bool:
    """Whether every number of one dtype is exactly one of another."""
    stored, wanted = np.dtype(stored), np.dtype(wanted)
    if stored.kind not in "biuf" or wanted.kind not in "biuf":
        return False
    if stored.kind in "iu" and wanted.kind == "f" and stored.itemsize == 8:
        return False  # for numpy it is safe, though a float64 has 53 bits
    return bool(np.can_cast(stored, wanted, "safe"))


@cache
def may_convert(stored: DType, wanted: DType) -> bool:
    """Whether stored numbers of one dtype can be another's, row by row; False where the type alone is the reason."""
    if widens(stored, wanted):
        return True
    kinds = np.dtype(stored).kind + np.dtype(wanted).kind
    return kinds in ("ii", "iu", "ui", "uu", "if", "uf", "fi", "fu")


def may_be_given(stored: ColumnType, wanted: ColumnType) -> bool:
    """Whether a column of one type may be given where the other is wanted: as it is, as rows of one value, or as wider numbers,
    of whole ones float64.
    """
    if not stored.shape and wanted.shape == (1,):
        wanted = ColumnType(wanted.dtype)
    if wanted.accepts(stored):
        return True
    if (
        stored.is_object
        or wanted.is_object
        or stored.varies
        or wanted.varies
        or not wanted.accepts(stored.with_dtype(wanted.dtype))
    ):
        return False
    return widens(stored.dtype, wanted.dtype) or (stored.dtype in ("int64", "uint64") and wanted.dtype == "float64")


def convert(array: Array, wanted: DType, *, nearest: bool = False) -> Converted:
    """The same numbers in another dtype; the array itself where it has that already, and no masks where all are.

    Args:
        array: numbers of any shape, of a dtype that `may_convert`, or of any but bool with `nearest` where floats are wanted.
        wanted: the dtype.
        nearest: whether the numbers were written, so that a float is the nearest one.

    Raises:
        TypeError: when no number of the array's dtype can be one of the other.
    """
    dtype = np.dtype(wanted)
    if array.dtype == dtype:
        return Converted(array, None, None)
    if widens(array.dtype, dtype):
        return Converted(array.astype(dtype), None, None)
    if dtype.kind == "f" and nearest and array.dtype.kind in "iuf":
        return _to_nearest(array, dtype)
    if not may_convert(array.dtype, dtype):
        raise TypeError(f"no {array.dtype} is {dtype}")
    if dtype.kind == "f":
        return _whole_to_float(array, dtype)
    return _to_whole(array, dtype) if array.dtype.kind in "iu" else _float_to_whole(array, dtype)


def _to_nearest(array: Array, dtype: np.dtype[Any]) -> Converted:
    with np.errstate(over="ignore"):
        values = array.astype(dtype)
    lost = np.isinf(values)
    return _without(values, lost & ~np.isinf(array) if lost.any() else lost)


def _to_whole(array: Array, dtype: np.dtype[Any]) -> Converted:
    bounds = np.iinfo(dtype)
    return _without(array.astype(dtype), _outside(array, int(bounds.min), int(bounds.max)))


def _float_to_whole(array: Array, dtype: np.dtype[Any]) -> Converted:
    wide, bounds = array.astype(np.result_type(array, np.float64), copy=False), np.iinfo(dtype)
    missing = np.isnan(wide)
    with np.errstate(invalid="ignore"):
        good = (wide == np.trunc(wide)) & (wide >= float(bounds.min)) & (wide < float(int(bounds.max) + 1))
    if good.all():
        return Converted(wide.astype(dtype), None, None)
    values = np.where(good, wide, 0).astype(dtype)
    return Converted(values, _or_none(~good & ~missing), _or_none(missing))


def _whole_to_float(array: Array, dtype: np.dtype[Any]) -> Converted:
    exact = 1 << (np.finfo(dtype).nmant + 1)
    with np.errstate(over="ignore"):
        values = array.astype(dtype)
    large = _outside(array, -exact, exact)
    if not large.any():
        return Converted(values, None, None)
    bounds, wide = np.iinfo(array.dtype), values.astype(np.float64)
    there = (wide >= float(bounds.min)) & (wide < float(int(bounds.max) + 1))  # so that it can be compared as whole
    return _without(values, ~there | (np.where(there, wide, 0).astype(array.dtype) != array))


def _outside(array: Array, low: int, high: int) -> Mask:
    if array.size and int(array.min()) >= low and int(array.max()) <= high:
        return np.zeros(array.shape, bool)
    return (array < low) | (array > high)


def _without(values: Array, lost: Mask) -> Converted:
    if not lost.any():
        return Converted(values, None, None)
    values[lost] = 0
    return Converted(values, lost, None)


def _or_none(mask: Mask) -> Mask | None:
    return mask if mask.any() else None


def from_objects(values: Array, wanted: DType) -> Converted:
    """Numbers of Python, or of numpy one by one, among which there may be nulls and things that are no numbers.

    Args:
        values: objects, of any shape. What is no number counts as lost.
        wanted: the dtype; numbers count as written, so a float is the nearest one.
    """
    dtype, flat = np.dtype(wanted), values.reshape(-1).tolist()
    absent = np.array([value is None for value in flat], bool)
    if absent.any() and not absent.all():
        some = from_objects(values.reshape(-1)[~absent], dtype)
        return _spread(some, absent, values.shape)
    if dtype.kind != "b" and set(map(type, flat)) <= {bool, int, float}:
        array = np.array(flat)
        if array.dtype.kind in "iu" or (array.dtype.kind == "f" and (dtype.itemsize < 8 or _are_small(array))):
            return convert(array.reshape(values.shape), dtype, nearest=True)
    return _one_by_one(flat, dtype, values.shape)


def _spread(some: Converted, absent: Mask, shape: tuple[int, ...]) -> Converted:
    """Numbers that are there among others that are not."""
    values, lost, missing = np.zeros(len(absent), some.values.dtype), np.zeros(len(absent), bool), absent.copy()
    values[~absent] = some.values
    if some.lost is not None:
        lost[~absent] = some.lost
    if some.missing is not None:
        missing[~absent] = some.missing
    return Converted(values.reshape(shape), _or_none(lost.reshape(shape)), missing.reshape(shape))


def _are_small(array: Array) -> bool:
    """Whether whole numbers among floats still are what they were."""
    return not bool((np.abs(array) >= 1 << 53).any())


def _one_by_one(flat: Iterable[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Converted:
    found = [_number(value, dtype) for value in flat]
    values = np.array([0 if number is None else number for number, _ in found], dtype).reshape(shape)
    missing = np.array([gone for _, gone in found], bool).reshape(shape)
    lost = np.array([number is None for number, _ in found], bool).reshape(shape) & ~missing
    return Converted(values, _or_none(lost), _or_none(missing))


def _number(value: Any, dtype: np.dtype[Any]) -> tuple[int | float | None, bool]:
    """A value as a number of this dtype, None where it is not one; and whether it is missing."""
    if isinstance(value, (bool, np.bool_)):
        return int(value), False
    if isinstance(value, Decimal) and value.is_nan():
        value = math.nan
    if dtype.kind != "b" and isinstance(value, (int, float, np.integer, np.floating, Decimal)):
        return _nearest(value, dtype) if dtype.kind == "f" else _whole(value, dtype)
    return None, is_missing(value)


def _nearest(value: Any, dtype: np.dtype[Any]) -> tuple[float | None, bool]:
    try:
        with np.errstate(over="ignore"):
            number = float(dtype.type(float(value)))
    except OverflowError:  # a whole number of more digits than a float64 has
        return None, False
    return (None if math.isinf(number) and abs(value) != math.inf else number), False


def _whole(value: Any, dtype: np.dtype[Any]) -> tuple[int | None, bool]:
    if value != value:
        return None, True
    bounds = np.iinfo(dtype)
    if not (bounds.min <= value <= bounds.max):
        return None, False
    number = int(value)
    return (number if number == value else None), False


def is_missing(value: Any) -> bool:
    """Whether a value stands for one that is not there: None, NaN, NaT, and pandas' NA and NaT."""
    if value is None:
        return True
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return type(value).__name__ in ("NAType", "NaTType") and type(value).__module__.startswith("pandas.")


_NEVER_MISSING = frozenset({str, bytes, bool, int})


def any_missing(values: Sequence[Any]) -> bool:
    """Whether any of many values is missing; see `is_missing`."""
    return not _NEVER_MISSING.issuperset(map(type, values)) and any(map(is_missing, values))


def refusal(value: Any, kind: ColumnType) -> str:
    """Why a value is refused: `is int64; got 3.5, which is not whole`, to be said after the name of the input."""
    shown = value.item() if isinstance(value, np.generic) else value
    got = cut(str(shown) if isinstance(shown, Decimal) else repr(shown))
    return f"is {kind}; got {got}{_why(shown, kind)}"


def _why(value: Any, kind: ColumnType) -> str:
    if (
        kind.is_object
        or kind.dtype == "bool"
        or isinstance(value, bool)
        or not isinstance(value, (int, float, Decimal))
    ):
        return ""
    number, dtype = _number(value, kind.numpy_dtype)[0], kind.numpy_dtype
    if dtype.kind == "f":
        return (
            ", which is out of its range"
            if number is None
            else ", which it cannot hold exactly"
            if number != value
            else ""
        )
    bounds = np.iinfo(dtype)
    if number is not None or value != value:
        return ""
    return ", which is not whole" if bounds.min <= value <= bounds.max else ", which is out of its range"
