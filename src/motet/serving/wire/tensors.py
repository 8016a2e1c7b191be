"""Elements of tensors in JSON, and back.

Numbers are Python's own lists on the one side and bytes on the other, because `array.array` checks the range of every
element in C. JSON has no NaN and no infinity; the tokens `NaN`, `Infinity` and `-Infinity` stand for them both ways, as
Triton Inference Server and Python's `json` write and read them.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import orjson

from motet.batch import Array, Column
from motet.errors import InputError
from motet.graph.fields import show
from motet.oip.tensors import DATATYPES, datatype_of, from_elements, from_raw, num_elements, tensor_shape
from motet.types import ColumnType

__all__ = ["MAX_AXES", "from_json", "packed", "to_json"]

MAX_AXES = 32
"""Axes that a tensor may have, the row among them; also how deep lists may be nested."""


def from_json(data: object, datatype: str, shape: Sequence[int], kind: ColumnType, where: str) -> Column:
    """The column of a tensor whose elements came as JSON.

    Args:
        data: a list of the elements in C order, or lists of lists; only their order counts, as in Triton.
        datatype: of the tensor. Whole numbers are taken for floats, true and false for 1 and 0.
        shape: of the tensor, the row axis first.
        kind: the type that is wanted.
        where: which tensor, for messages.

    Raises:
        InputError: when an element is of another datatype or out of its range, there are too many or too few, or the
            tensor is not of the type that is wanted.
    """
    _check_type(datatype, shape, kind, where)
    if datatype not in _PACK:
        elements = _flat(data, where)
        return from_elements(
            _encoded(elements, where) if datatype == "BYTES" else elements, datatype, shape, kind, where
        )
    return from_raw(packed(data, datatype, shape, where), datatype, shape, kind, where)


def _check_type(datatype: str, shape: Sequence[int], kind: ColumnType, where: str) -> None:
    """A wrong type is said before anything about elements, which would be wrong for the same reason."""
    if kind.dtype == "any" or datatype not in DATATYPES:
        return
    if datatype != datatype_of(kind):
        raise InputError(f"is {kind}, so its datatype is {datatype_of(kind)}; got {datatype}", where=where)
    if not kind.accepts(ColumnType(kind.dtype, tuple(shape[1:]))):
        raise InputError(f"is {kind}, so its shape is {tensor_shape(kind)}; got {list(shape)}", where=where)


def packed(data: object, datatype: str, shape: Sequence[int], where: str) -> memoryview:
    """The elements of any datatype but BYTES as bytes, little-endian; arguments are those of `from_json`.

    Raises:
        InputError: when one is no such number, or there are not as many as the shape has.
    """
    elements = _flat(data, where)
    wanted = num_elements(shape, where)
    if len(elements) != wanted:
        raise InputError(f"{datatype} of shape {list(shape)} has {wanted} elements; got {len(elements)}", where=where)
    try:
        return memoryview(_PACK[datatype](elements)).cast("B")
    except (TypeError, ValueError, OverflowError):
        raise _mistake(elements, datatype, where) from None


def _flat(data: object, where: str) -> list[Any]:
    """The elements of nested lists, in order.

    Raises:
        InputError: when this is no list, or one that is nested unevenly or too deep.
    """
    if not isinstance(data, list):
        raise InputError(f"data must be a list; got {show(data)}", where=where)
    depth = 1
    while data and type(data[0]) is list:
        depth += 1
        if depth > MAX_AXES:
            raise InputError(f"data is nested deeper than {MAX_AXES} lists", where=where)
        if any(type(each) is not list for each in data):
            raise InputError("data is nested unevenly: some lists hold both lists and elements", where=where)
        data = list(chain.from_iterable(data))
    return data


def to_json(values: Array, where: str) -> bytes:
    """The elements of an array as one flat JSON list: numbers, booleans, texts (bytes must be UTF-8).

    Raises:
        InputError: when bytes are not UTF-8. (Triton writes them as they are, which is no JSON.)
    """
    if values.dtype == object:
        return orjson.dumps([_text(value, place, where) for place, value in enumerate(values.flat)])
    elements = values.ravel().tolist()
    text = orjson.dumps(elements)
    if values.dtype.kind == "f" and b"null" in text:
        return json.dumps(elements, separators=(",", ":")).encode()
    return text


def _text(value: Any, place: int, where: str) -> str:
    try:
        text = value if isinstance(value, str) else bytes(value).decode()
        text.encode()
    except UnicodeError:
        raise InputError(
            f"element {place} is not UTF-8, and JSON can only hold text",
            where=where,
            hint="ask for this output with the parameter binary_data: true",
        ) from None
    return text


def _encoded(elements: list[Any], where: str) -> list[bytes]:
    for place, value in enumerate(elements):
        if type(value) is not str:
            raise InputError(f"element {place} of BYTES must be a text; got {show(value)}", where=where)
    return [value.encode() for value in elements]


def _booleans(elements: list[Any]) -> bytes:
    packed = bytes(elements)
    if packed and max(packed) > 1:
        raise ValueError
    return packed


def _halves(elements: list[Any]) -> bytes:
    with np.errstate(over="ignore"):
        return _finite(np.array(array("d", elements)).astype("<f2"), elements).tobytes()


def _singles(elements: list[Any]) -> array[float]:
    packed = array("f", elements)
    _finite(np.frombuffer(packed, np.float32), elements)
    return packed


def _finite(packed: Array, elements: list[Any]) -> Array:
    """The numbers, none of which may have become infinite."""
    if np.isinf(packed).any():
        for value, now in zip(elements, packed.tolist(), strict=True):
            if math.isinf(now) and not math.isinf(value):
                raise OverflowError
    return packed


_PACK: Mapping[str, Callable[[list[Any]], Any]] = {
    "UINT8": bytes, "UINT16": partial(array, "H"), "UINT32": partial(array, "I"), "UINT64": partial(array, "Q"),
    "INT8": partial(array, "b"), "INT16": partial(array, "h"), "INT32": partial(array, "i"), "INT64": partial(array, "q"),
    "FP16": _halves, "FP32": _singles, "FP64": partial(array, "d"), "BOOL": _booleans,
}  # fmt: skip


def _mistake(elements: list[Any], datatype: str, where: str) -> InputError:
    """Which element cannot be held, and why."""
    wanted = "true or false" if datatype == "BOOL" else "a number" if datatype[:2] == "FP" else "a whole number"
    for place, value in enumerate(elements):
        try:
            _PACK[datatype]([value])
        except OverflowError:
            return InputError(f"element {place} is {show(value)}, out of range of {datatype}", where=where)
        except ValueError:
            return InputError(
                f"element {place} is {show(value)}, "
                + ("not 0 or 1" if datatype == "BOOL" else f"out of range of {datatype}"),
                where=where,
            )
        except TypeError:
            return InputError(f"element {place} of {datatype} must be {wanted}; got {show(value)}", where=where)
    raise AssertionError
