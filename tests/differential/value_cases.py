"""Values, the types that they are stored and declared as, and what becomes of them by exact arithmetic.

The suite beside it checks that every way in agrees with `outcome`; `docs/generate.py` makes the tables of docs/values.md
of the same. So nothing here knows pytest, or how Motet reads anything.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
NUMBERS = ("bool", *WHOLE, *FLOATS)
KINDS = ("bool", "int8", "int64", "uint64", "float16", "float32", "float64", "string", "bytes", "any")
"""Types that are declared in the suite."""
DEFAULTS = {
    "bool": True, "int8": 7, "int64": 7, "uint64": 7, "float16": 0.5, "float32": 0.5, "float64": 0.5,
    "string": "none", "bytes": b"none", "any": "none",
}  # fmt: skip
TAKEN, REFUSED, MISSING, BY_TYPE = "taken", "refused", "missing", "by type"
"""What becomes of a value; `BY_TYPE` where no value that is stored so is taken."""

STORED: dict[str, Any] = {
    "bool": [True, False],
    "int8": [1, -1, 127],
    "int64": [1, 0, -1, 127, 128, 300, 2048, 2049, 2**24, 2**24 + 1, 65520, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
    "uint64": [1, 300, 2**53 + 1, 2**63, 2**64 - 1],
    "float16": [1.0, 0.5, 65504.0, math.nan, math.inf],
    "float32": [1.0, -2.0, 0.5, 300.0, 2.0**24, 2.0**63, 2.0**64, math.nan, -math.inf],
    "float64": [1.0, 3.0, 3.5, -0.0, 0.1, 127.0, 128.0, 2.0**53, 2.0**63, -(2.0**63), 1e20, 1e300, math.nan, math.inf],
    "string": ["a", "", "7", "1.5", "true", "nan", "NA", "é🎵"],
    "bytes": [b"a", b"", b"7", b"\xff\x00"],
}  # fmt: skip
"""Values by the type that they are stored as."""
WRITTEN = [
    *(True, False, 0, 1, -1, 127, 128, 300, 2048, 2049, 65520, 2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1),
    *(1.0, 3.0, 3.5, -0.0, 0.5, 0.1, 128.0, 65504.0, 65520.0, 1e20, 1e38, 1e39, -1e300, 2.0**63),
    *("a", "", "7", "1.5", "true", "nan", "é🎵"),
]  # fmt: skip
"""Values as Python and JSON write them, which have no width."""


def holds(dtype: str, number: Fraction) -> bool:
    """Whether a finite number is exactly one of a dtype."""
    if dtype == "bool":
        return number in (0, 1)
    if dtype in WHOLE:
        return number.denominator == 1 and int(np.iinfo(dtype).min) <= number <= int(np.iinfo(dtype).max)
    bits, whole = {"float16": 11, "float32": 24, "float64": 53}[dtype], abs(number.numerator)
    odd = whole >> ((whole & -whole).bit_length() - 1) if whole else 0
    return abs(number) <= int(np.finfo(dtype).max) and odd < 1 << bits


def exact(value: object) -> Fraction:
    """A finite number as a fraction."""
    is_whole = isinstance(value, (int, np.integer, bool, np.bool_))
    return Fraction(int(value)) if is_whole else Fraction(float(value))  # type: ignore[call-overload,arg-type]


def outcome(value: object, stored: str | None, kind: str) -> tuple[str, object]:
    """What becomes of a value, and what it is then.

    Args:
        value: Python's; None is null.
        stored: the type that it is stored as; None where it is written, and has no width.
        kind: the type that is declared.
    """
    if stored is not None and not _may_be(stored, kind):
        return BY_TYPE, None
    if value is None:
        return MISSING, None
    if kind == "any":
        return TAKEN, value
    if kind in ("string", "bytes"):
        if value != value:
            return MISSING, None
        return (TAKEN, value) if isinstance(value, str if kind == "string" else bytes) else (REFUSED, None)
    return _number(value, stored, kind)


def _may_be(stored: str, kind: str) -> bool:
    if kind in ("any", stored):
        return True
    if stored not in NUMBERS or kind not in NUMBERS or kind == "bool":
        return False
    return not (stored in FLOATS and kind in FLOATS and FLOATS.index(kind) < FLOATS.index(stored))


def _number(value: object, stored: str | None, kind: str) -> tuple[str, object]:
    if kind == "bool" and value != value:
        return MISSING, None
    if not isinstance(value, (bool, int, float)) or (kind == "bool" and not isinstance(value, bool)):
        return REFUSED, None
    if isinstance(value, float) and not math.isfinite(value):
        if kind in FLOATS:
            return TAKEN, value
        return (MISSING if value != value else REFUSED), None
    if kind in FLOATS and stored is None:
        with np.errstate(over="ignore"):
            near = float(np.dtype(kind).type(float(value)))
        return (TAKEN, near) if math.isfinite(near) else (REFUSED, None)
    if not holds(kind, exact(value)):
        return REFUSED, None
    return TAKEN, float(value) if kind in FLOATS else value if kind == "bool" else int(value)


FORMS = [
    ("bool", True, "true", "true", "true"),
    ("int64", 7, "7", "7", "7"),
    ("float64", 0.5, "0.5", "0.5", "0.5"),
    ("string", "é", "é", '"é"', '"é"'),
    ("bytes", b"a", "YQ==", '"YQ=="', '"a"'),
    ("bytes", b"\xff", "/w==", '"/w=="', None),
    ("float32[2]", [0.5, 1.5], None, "[0.5,1.5]", "[0.5,1.5]"),
    ("uint8[?]", [1, 2, 3], None, "[1,2,3]", "[1,2,3]"),
]
"""Values of each type as texts have them, read and written alike: in CSV; in JSON Lines and over `/predict`; in JSON over
`/v2`. None where there is no such form."""
ARROW_FORMS = {
    "bool": "`bool`", "int64": "any integer, float or decimal", "float64": "any integer, float or decimal",
    "string": "any string, dictionaries of them", "bytes": "any binary; `struct<bytes, path>`",
    "float32[2]": "a fixed-shape tensor, lists, or binary of 8 bytes", "uint8[?]": "lists, or binary",
}  # fmt: skip
TENSOR_FORMS = {
    "bool": "BOOL", "int64": "INT64, or another that is the same", "float64": "FP64, or another that is the same",
    "string": "BYTES, UTF-8", "bytes": "BYTES", "float32[2]": "FP32 of shape `[rows, 2]`",
    "uint8[?]": "UINT8; rows of one shape a request",
}  # fmt: skip
SHOWN = [1, 3.0, 3.5, -1, 300, 2**24 + 1, 2**53 + 1, 0.1, 1e300, math.nan, None, "7", ""]
"""Written values that the page shows."""
