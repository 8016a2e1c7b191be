"""Rules for column types that the functions of `motet.ops` share; they run when a graph is built."""

from __future__ import annotations

from typing import NoReturn

from motet.types import ColumnType

INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
FLOATS = frozenset({"float16", "float32", "float64"})
NUMBERS = INTEGERS | FLOATS


def refuse(function: str, wants: str, *got: ColumnType) -> NoReturn:
    """Say that inputs do not fit: `top1 takes scores of shape [n], got string`."""
    raise ValueError(f"{function} takes {wants}, got {', '.join(str(kind) for kind in got) or 'nothing'}")


def is_any(*kinds: ColumnType) -> bool:
    """Whether one of them is only known when rows flow."""
    return any(kind.dtype == "any" for kind in kinds)


def float_of(*kinds: ColumnType) -> str:
    """The dtype that floats are computed in: float64 where one is, else float32."""
    return "float64" if any(kind.dtype == "float64" for kind in kinds) else "float32"


WIDE = frozenset({"float64", "int32", "int64", "uint32", "uint64"})
"""Numbers of which float32 does not hold all digits."""


def exact_float_of(*kinds: ColumnType) -> str:
    """The dtype that floats are computed in without a digit lost: float64 where one is `WIDE`, else float32."""
    return "float64" if any(kind.dtype in WIDE for kind in kinds) else "float32"


def last_axis(function: str, kind: ColumnType, least: int = 1) -> int:
    """The length of the last axis of numbers, which must be fixed and at least `least`; for any, `least`."""
    if kind.dtype == "any":
        return least
    if kind.dtype not in NUMBERS | {"bool"} or not kind.shape or kind.varies:
        refuse(function, "numbers with a last axis of fixed length, for example float32[10]", kind)
    length = kind.shape[-1] or 0
    if length < least:
        refuse(function, f"at least {least} values on the last axis", kind)
    return length


def text(function: str, *kinds: ColumnType) -> None:
    """Check that all are strings, one a row."""
    for kind in kinds:
        if kind.dtype not in ("string", "any") or kind.shape:
            refuse(function, "strings", kind)
