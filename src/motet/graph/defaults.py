"""Defaults of inputs: what stands in for a null."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from motet.errors import GraphError
from motet.graph.fields import plain, show
from motet.numbers import from_objects
from motet.reading import NO_DEFAULT
from motet.tracebacks import written
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
            hint = "give a value as the default"
            if kind.dtype != "bool" and not kind.shape:
                hint += ", or declare float64, among which a null is NaN"
            raise GraphError(f"a column of {kind} holds no nulls", where=where, hint=hint)
        return value
    if isinstance(value, str) and kind.dtype == "bytes":
        value = value.encode()
    if any(each != written(each) for each in np.asarray(value, dtype=object).flat if isinstance(each, str)):
        hint = "write texts that any encoding knows"
        raise GraphError(f"a default holds a lone surrogate; got {show(value)}", where=where, hint=hint)
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
        return kind.has_shape(array.shape) and all(isinstance(each, wanted) for each in array.flat)
    array = np.asarray(value, dtype=object)
    found = from_objects(array, kind.numpy_dtype)
    if kind.dtype != "bool" and any(isinstance(each, (bool, np.bool_)) for each in array.flat):
        return False
    return found.lost is None and found.missing is None and kind.has_shape(array.shape)
