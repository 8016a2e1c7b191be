"""One dtype to another, refusing values that have no place in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Array
from motet.errors import InputError

_WHERE = "motet.ops.columns.cast"


def cast_values(values: Array, dtype: str) -> Array:
    """The values in another dtype, the same shape.

    Raises:
        InputError: when a value has no place in it.
    """
    if values.dtype.kind in "OSU":
        return _from_objects(values.astype(object), dtype)
    if dtype == "string":
        return _mapped(values, lambda value: str(value.item()), object)
    if dtype == "bytes":
        raise InputError(f"bytes are made from strings, got {values.dtype}", where=_WHERE)
    if np.dtype(dtype).kind in "iu":
        return _to_whole(values, np.dtype(dtype))
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _to_whole(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype.kind == "b":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        # Powers of two, so exact as floats; NaN is not inside.
        whole = np.trunc(values.astype(np.float64))
        inside = (whole >= float(limits.min)) & (whole < float(limits.max + 1))
    else:
        inside = (values >= limits.min) & (values <= limits.max)
    if not inside.all():
        raise InputError(f"{values[~inside].flat[0]} has no place in {dtype}", where=_WHERE)
    return values.astype(dtype)


def _from_objects(values: Array, dtype: str) -> Array:
    if dtype == "string":
        return _mapped(values, _to_string, object)
    if dtype == "bytes":
        return _mapped(values, _to_bytes, object)
    kind = np.dtype(dtype).kind
    if kind == "b":
        raise InputError("a bool is made from a number, not from a string", where=_WHERE)
    if kind == "f":
        with np.errstate(over="ignore"):
            return _mapped(values, float, np.float64).astype(dtype)
    limits = np.iinfo(dtype)

    def whole(value: Any) -> int:
        number = int(value)
        if not limits.min <= number <= limits.max:
            raise ValueError(f"{number} has no place in {dtype}")
        return number

    return _mapped(values, whole, dtype)


def _to_string(value: Any) -> str:
    if value is None:
        raise TypeError("it is null")
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)


def _to_bytes(value: Any) -> bytes:
    if not isinstance(value, (str, bytes, bytearray, memoryview)):
        raise TypeError("bytes are made from strings")
    return value.encode() if isinstance(value, str) else bytes(value)


def _mapped(values: Array, change: Callable[[Any], Any], dtype: npt.DTypeLike) -> Array:
    result = np.empty(values.shape, dtype=dtype)
    flat = result.reshape(-1)
    for position, value in enumerate(values.reshape(-1)):
        try:
            flat[position] = change(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{value!r} cannot be cast: {error}", where=_WHERE) from error
    return result
