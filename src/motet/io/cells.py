"""Fields of text as values of a declared type; what is none costs its own row only.

A field that is empty is missing, in every type; so are `MISSING` where numbers are wanted. Numbers are written as
Arrow reads them; a whole number may also have a sign, a fraction of zeros, or an exponent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.base64_values import from_base64
from motet.batch import objects
from motet.errors import InputError, cut
from motet.io.arrow.buffers import numbers
from motet.io.arrow.layout import number_name
from motet.numbers import convert, from_objects

__all__ = [
    "FALSE",
    "MISSING",
    "SHOWN",
    "TRUE",
    "Cells",
    "Reasons",
    "number_written",
    "read_base64",
    "read_cells",
    "read_each",
    "read_numbers",
    "shown",
    "without_empty",
]

MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Texts that stand for a number that is missing: those of pandas."""
TRUE, FALSE = ("1", "true", "TRUE", "True"), ("0", "false", "FALSE", "False")
"""Texts that stand for a bool."""
Reasons = dict[int, str]
"""Why rows have no value, by position."""
Cells = tuple[pa.Array, Reasons]
"""Values, null where there is none, and why."""

_WHOLE = re.compile(r"[+-]?[0-9]+")
_HEX = re.compile(r"-?0[xX][0-9a-fA-F]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_NONE_FINITE = re.compile(r"([+-]?)(?:(inf(?:inity)?)|nan(?:\([0-9a-z_]*\))?)", re.IGNORECASE)
_QUICK_WHOLE = "^-?[0-9]{1,18}$"
_QUICK_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
_INT_DIGITS = 4000
SHOWN = 40
"""Letters of a value in a message."""


def shown(value: str | bytes) -> str:
    """A value for a message, cut where it is long."""
    return cut(repr(value), SHOWN)


def read_cells(fields: pa.Array, data_type: pa.DataType, name: str, *, keep_empty: bool = False) -> Cells:
    """Fields as values of a column's type.

    Args:
        fields: binary, shape `[rows]`; null where there is no field.
        data_type: a number, `bool_`, `string` or `binary` (from base64).
        name: the column's name, for messages.
        keep_empty: whether an empty field is an empty text, or no bytes, where these are wanted.
    """
    texts, reasons = _texts(fields, name)
    if pa.types.is_string(data_type):
        return (texts if keep_empty else without_empty(texts)), reasons
    if pa.types.is_binary(data_type):
        found, more = read_base64(texts if keep_empty else without_empty(texts), name)
    else:
        found, more = read_numbers(texts, number_name(data_type) or "", name)
    return found, {**more, **reasons}


def without_empty(texts: pa.Array) -> pa.Array:
    """The same texts, null where they were empty."""
    if not len(texts):
        return texts
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    there = bounds[1:] > bounds[:-1]
    if there.all():
        return texts
    if texts.null_count:
        there &= numbers(texts.is_valid())
    packed = pa.py_buffer(np.packbits(there, bitorder="little"))
    where = pa.py_buffer(np.ascontiguousarray(bounds))
    return pa.Array.from_buffers(pa.string(), len(texts), [packed, where, data])


def read_each(values: Sequence[Any], read: Callable[[Any], Any], name: str, data_type: pa.DataType) -> Cells:
    """Values one by one; None stays null, and so does what `read` refuses by an `InputError`, which says why."""
    reasons: Reasons = {}
    found: list[Any] = []
    for row, value in enumerate(values):
        try:
            found.append(None if value is None else read(value))
        except InputError as error:
            found.append(None)
            reasons[row] = f"column {name!r} {error.what}"
    return pa.array(found, data_type), reasons


def _texts(fields: pa.Array, name: str) -> Cells:
    try:
        return fields.cast(pa.string()), {}
    except pa.ArrowInvalid:
        return read_each(fields.to_pylist(), _text, name, pa.string())


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"is no text of the encoding: {shown(field)}, at byte {error.start + 1}") from None


def read_base64(texts: pa.Array, name: str) -> Cells:
    """Texts of base64 as bytes."""
    return read_each(texts.to_pylist(), from_base64, name, pa.binary())


def read_numbers(
    texts: pa.Array, dtype: str, name: str, missing: Sequence[str] = MISSING, show: Callable[[str], str] = shown
) -> Cells:
    """Texts as numbers of a dtype, or as bools.

    Args:
        texts: shape `[rows]`; null stays null.
        dtype: of numpy.
        name: the column's name, for messages.
        missing: texts that are null.
        show: how a text is shown in a message.
    """
    import pyarrow.compute as pc

    texts = pc.ascii_trim_whitespace(texts)
    absent = numbers(pc.is_in(texts, pa.array([*missing, None], pa.string())))
    values, done = _bools(texts) if dtype == "bool" else _quickly(texts, np.dtype(dtype))
    rest = np.flatnonzero(~(done | absent))
    gone = absent.copy()
    reasons: Reasons = {}
    if len(rest):
        written = [texts[row].as_py() for row in rest.tolist()]
        read = from_objects(objects([number_written(text, whole=values.dtype.kind in "iu") for text in written]), dtype)
        values[rest] = read.values
        lost = read.lost if read.lost is not None else np.zeros(len(rest), bool)
        gone[rest] = lost if read.missing is None else lost | read.missing
        for place in np.flatnonzero(lost).tolist():
            reasons[int(rest[place])] = f"column {name!r} is {dtype}; got {show(written[place])}"
    return pa.array(values, mask=gone if gone.any() else None), reasons


def _bools(texts: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    import pyarrow.compute as pc

    yes, no = (numbers(pc.is_in(texts, pa.array(known, pa.string()))) for known in (TRUE, FALSE))
    return yes.copy(), yes | no


def _quickly(texts: pa.Array, dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The numbers that are written plainly, all at once, and which these are."""
    import pyarrow.compute as pc

    if whole := dtype.kind in "iu":
        texts = pc.replace_substring_regex(texts, r"^([+-]?[0-9]+)\.0*$", r"\1")
    plain = pc.fill_null(pc.match_substring_regex(texts, _QUICK_WHOLE if whole else _QUICK_FLOAT), False)
    wanted = pa.int64() if whole else pa.float32() if dtype.itemsize < 8 else pa.float64()
    found = pc.fill_null(pc.cast(pc.if_else(plain, texts, None), wanted), 0)
    read = convert(numbers(found), dtype, nearest=True)
    done = numbers(plain) & ~np.isinf(numbers(found)) if not whole else numbers(plain)
    return np.array(read.values), done if read.lost is None else done & ~read.lost


def number_written(text: str, *, whole: bool) -> int | float | Decimal | str:
    """The number that a text is, the text itself where it is none.

    Args:
        text: without white space around it.
        whole: whether a whole number is wanted: every digit counts then.
    """
    if len(text) <= _INT_DIGITS and _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return Decimal(text) if whole or math.isinf(float(text)) else float(text)
    if whole and _HEX.fullmatch(text):
        return int(text, 16)
    if match := _NONE_FINITE.fullmatch(text):
        return float(f"{match[1]}inf") if match[2] else math.nan
    return text
