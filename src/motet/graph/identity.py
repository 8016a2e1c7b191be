"""What is the same in everything: what caches that are keyed by what a graph says compare."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import CodeType
from typing import Any

import numpy as np

__all__ = ["code_identity", "identity"]


def identity(value: Any) -> Hashable:
    """What stands for a value: equal for two that differ in nothing, the types of numbers and the order of mappings included.

    A value that cannot be hashed is only the same as itself, as long as it is there.
    """
    if isinstance(value, Mapping):
        return "mapping", tuple((identity(key), identity(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return "list", tuple(map(identity, value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        return "array", value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return "float", repr(value)  # NaN is itself, and -0.0 is not 0.0
    try:
        hash(value)
    except TypeError:
        return "object", id(value)
    return type(value), value


def code_identity(code: CodeType) -> tuple[object, ...]:
    """What stands for compiled code in every process: without the names of files, the numbers of lines and the order of sets."""
    return code.co_code, tuple(map(_constant, code.co_consts)), code.co_names, code.co_varnames


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return code_identity(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
