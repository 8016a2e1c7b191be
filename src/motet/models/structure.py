"""What an object is made of, without its numbers: equal for estimators that differ only in what they have learned."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np

__all__ = ["structure"]

_DEEP, _LONG = 12, 32
_SEED = 1 << 16
"""Whole numbers from here on are taken for seeds."""
_KNOWN = ("builtins", "numpy", "scipy", "sklearn")
"""Packages whose objects without attributes hold nothing that tells what an estimator gives: trees, losses, generators."""


def structure(value: Any, depth: int = 0) -> Any:
    """Types, names, functions, and the shapes and dtypes of arrays, of an object and those inside it; floats by their type.

    Of long lists the first items stand for all. What cannot be looked into (a booster, what lies deeper than a dozen
    levels) is equal to nothing else. It is hashable.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value) if abs(int(value)) < _SEED else int
    if isinstance(value, np.ndarray):
        kinds = tuple({type(each).__qualname__ for each in value.ravel()[:_LONG]}) if value.dtype == object else ()
        return (value.shape, value.dtype.str, kinds)
    if isinstance(value, type):
        return value
    kind = type(value)
    if depth >= _DEEP:
        return object()
    if isinstance(value, (bytes, bytearray)):
        return (kind, hash(bytes(value)))
    if isinstance(value, (set, frozenset)):
        return (kind, len(value))
    if isinstance(value, (list, tuple)):
        return (kind, len(value), *(structure(each, depth + 1) for each in value[:_LONG]))
    if isinstance(value, dict):
        pairs = ((str(key), structure(each, depth + 1)) for key, each in list(value.items())[:_LONG])
        return (kind, len(value), *pairs)
    if isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        return (kind, value.__code__, structure((value.__defaults__, held), depth + 1))
    if isinstance(value, partial):
        return (kind, structure((value.func, value.args, value.keywords), depth + 1))
    if isinstance(value, MethodType):
        return (kind, structure((value.__func__, value.__self__), depth + 1))
    inside = getattr(value, "__dict__", None)
    known = kind.__module__.split(".")[0] in _KNOWN
    if isinstance(inside, dict) and (inside or known):
        return (kind, *((key, structure(each, depth + 1)) for key, each in inside.items()))
    if callable(value) and isinstance(value, Hashable):
        return (kind, value)
    return kind if known else object()
