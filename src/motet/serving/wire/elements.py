"""The elements of a tensor in JSON: a list of numbers, true and false, or texts, flat or nested as the tensor is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from motet.batch import Array, Column
from motet.errors import InputError
from motet.oip.tensors import from_elements, from_raw
from motet.types import ColumnType

__all__ = ["elements", "from_json"]

MAX_NESTING = 64


def from_json(data: Any, datatype: str, shape: Sequence[int], kind: ColumnType, where: str) -> Column:
    """The column of a tensor whose elements came as JSON.

    Args:
        data: what was decoded.
        datatype, shape: of the tensor, the row axis first.
        kind: the type that is wanted.
        where: which tensor, for messages.

    Raises:
        InputError: when the elements are not those of such a tensor.
    """
    flat: list[Any] = _flat(data, where)
    if datatype == "UINT8":
        try:
            return from_raw(bytes(flat), datatype, shape, kind, where)  # checks the range too, in C
        except (TypeError, ValueError):
            pass  # what is wrong is found below
    elif datatype == "BYTES":
        flat = [_text(value, where) for value in flat]
    elif datatype in ("FP16", "FP32", "FP64") and None in flat:
        flat = [float("nan") if value is None else value for value in flat]
    try:
        return from_elements(flat, datatype, shape, kind, where)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"an element of {datatype} is wrong: {error}", where=where) from None


def _flat(data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise InputError(f"data must be a list; got {type(data).__name__}", where=where)
    for _ in range(MAX_NESTING):
        if not data or type(data[0]) is not list:
            flat: list[Any] = data
            return flat
        try:
            data = list(chain.from_iterable(data))
        except TypeError:
            raise InputError("data is nested unevenly", where=where) from None
    raise InputError(f"data is nested deeper than {MAX_NESTING}", where=where)


def _text(value: Any, where: str) -> bytes:
    if not isinstance(value, str):
        raise InputError(f"an element of BYTES must be a text; got {type(value).__name__}", where=where)
    return value.encode()


def elements(array: Array, where: str) -> list[Any]:
    """The elements of an array as JSON has them, flat.

    Raises:
        InputError: when one is bytes that are no text.
    """
    flat = array.reshape(-1)
    if array.dtype == np.float16:
        flat = flat.astype(np.float32)
    if array.dtype != object:
        values: list[Any] = flat.tolist()
        return values
    try:
        return [value if isinstance(value, str) else bytes(value).decode() for value in flat]
    except UnicodeDecodeError:
        raise InputError(
            "bytes that are no UTF-8 have no form in JSON", where=where, hint="ask for it with binary_data"
        ) from None
