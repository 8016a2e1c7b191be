"""Defaults of inputs: what stands in for a null."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from motet.batch import Array, literal_fits
from motet.errors import GraphError
from motet.graph.fields import plain, show
from motet.graph.graph import NO_DEFAULT
from motet.types import ColumnType

__all__ = ["checked_default"]


def checked_default(value: Any, kind: ColumnType, where: str) -> Any:
    """A default, which must be of the input's type.

    Args:
        value: the default; `NO_DEFAULT` for none; None lets nulls through, where the type can hold them.
        kind: the input's type.
        where: its place, for messages.
    """
    if value is NO_DEFAULT:
        return value
    if value is None:
        if kind.shape or not (kind.is_object or kind.dtype.startswith("float")):
            raise GraphError(f"a column of {kind} holds no nulls", where=where, hint="give a value as the default")
        return value
    if isinstance(value, str) and kind.dtype == "bytes":
        value = value.encode()
    if not _is_of(value, kind):
        raise GraphError(f"expected a default of type {kind}; got {show(value)}", where=where)
    if isinstance(value, float) and value != value:
        return math.nan  # one object, so that graphs with it are equal
    return value.tolist() if isinstance(value, np.ndarray) else plain(value)


def _is_of(value: Any, kind: ColumnType) -> bool:
    """Whether a value is of a type, or a Python number that the type holds without losing a digit."""
    if kind.dtype == "any":
        return True
    if kind.is_object:
        array = np.asarray(value, dtype=object)
        wanted = str if kind.dtype == "string" else bytes
        return _is_shaped(array, kind) and all(isinstance(each, wanted) for each in array.flat)
    try:
        array = np.asarray(value)
    except ValueError:
        return False
    dtype = kind.numpy_dtype
    held = array.size == 0 or array.dtype == dtype
    held = held or (
        array.dtype.kind in "iuf" and (np.can_cast(array.dtype, dtype, "safe") or literal_fits(array, dtype))
    )
    return held and _is_shaped(array, kind)


def _is_shaped(array: Array, kind: ColumnType) -> bool:
    return array.ndim == len(kind.shape) and all(
        want in (None, got) for want, got in zip(kind.shape, array.shape, strict=True)
    )
