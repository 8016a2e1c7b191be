"""Defaults of inputs: what stands in for a null."""

from __future__ import annotations

from typing import Any

import numpy as np

from motet.errors import GraphError
from motet.graph.fields import show
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
    if kind.dtype in ("string", "bytes") and not kind.shape:
        if not isinstance(value, str if kind.dtype == "string" else (bytes, str)):
            raise GraphError(f"expected a default of type {kind}; got {show(value)}", where=where)
        return value
    try:
        array = np.asarray(value, dtype=kind.numpy_dtype)
    except (TypeError, ValueError, OverflowError):
        array = None
    fits = (
        array is not None
        and array.ndim == len(kind.shape)
        and all(want in (None, got) for want, got in zip(kind.shape, array.shape, strict=True))
    )
    if not fits:
        raise GraphError(f"expected a default of type {kind}; got {show(value)}", where=where)
    return value
