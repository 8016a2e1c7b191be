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
from typing import Any, TypeGuard

import numpy as np
import orjson

from motet.batch import Array, Column, objects
from motet.errors import InputError
from motet.graph.fields import show
from motet.numbers import from_objects
from motet.oip.tensors import DATATYPES, checked_datatype, from_raw, num_elements, read_rows, row_shape, tensor_shape
from motet.reading import NO_DEFAULT
from motet.types import ColumnType

__all__ = ["MAX_AXES", "are_texts", "from_json", "packed", "to_json"]

MAX_AXES = 32
"""Axes that a tensor may have, the row among them."""
MAX_NESTED = 100
"""How deep lists may be nested, whatever the shape: as deep as in Triton."""


def from_json(
    data: object, datatype: str, shape: Sequence[int], kind: ColumnType, where: str, default: Any = NO_DEFAULT
) -> Column:
    """The column of a tensor whose elements came as JSON.

    Args:
        data: a list of the elements in C order, or lists of lists; only their order counts, as in Triton.
        datatype: of the tensor. Whole numbers are taken for floats, 1 and 0 for true and false, 3.0 for 3.
        shape: of the tensor, the row axis first.
        kind: the type that is wanted.
        where: which tensor, for messages.
        default: what stands in for null; without it a row with null is refused.

    Raises:
        InputError: when an element is of another datatype or out of its range, there are too many or too few, or the
            tensor is not of the type that is wanted.
    """
    checked_datatype(datatype, kind, where)
    shape = row_shape(shape, kind)
    if kind.dtype != "any" and not kind.accepts(ColumnType(kind.dtype, tuple(shape[1:]))):
        raise InputError(f"is {kind}, so its shape is {tensor_shape(kind)}; got {list(shape)}", where=where)
    raw = packed(data, datatype, shape, where)
    if raw is not None:
        return from_raw(raw, datatype, shape, kind, where, default)
    return _from_elements(_flat(data, where), datatype, shape, kind, where, default)


def _from_elements(
    elements: list[Any], datatype: str, shape: Sequence[int], kind: ColumnType, where: str, default: Any
) -> Column:
    """The column of elements that are not all plainly those of the datatype: texts, nulls, whole numbers with a point."""
    if datatype == "BYTES":
        return read_rows(objects(_texts(elements, kind, where)).reshape(shape), kind, where, default)
    if datatype == "BOOL":
        elements = [each == 1 if type(each) is int and each in (0, 1) else each for each in elements]
    found = from_objects(objects(elements), DATATYPES[datatype])
    if found.lost is not None:
        place = int(np.argmax(found.lost))
        raise _mistake(elements[place], place, datatype, where)
    missing = None if found.missing is None else found.missing.reshape(shape)
    return read_rows(found.values.reshape(shape), kind, where, default, missing=missing)


def packed(data: object, datatype: str, shape: Sequence[int], where: str) -> memoryview | None:
    """The elements as bytes, little-endian; None for BYTES, and where they need a closer look. See `from_json`.

    Raises:
        InputError: when there are not as many as the shape has.
    """
    elements = _flat(data, where)
    wanted = num_elements(shape, where)
    if len(elements) != wanted:
        raise InputError(f"{datatype} of shape {list(shape)} has {wanted} elements; got {len(elements)}", where=where)
    pack = _PACK.get(datatype)
    try:
        return None if pack is None else memoryview(pack(elements)).cast("B")
    except (TypeError, ValueError, OverflowError):
        return None


def are_texts(data: object, shape: Sequence[int]) -> TypeGuard[list[str]]:
    """Whether elements are a list of as many texts as the shape has."""
    return type(data) is list and len(data) == math.prod(shape) and {*map(type, data)} == {str}


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
        if depth > MAX_NESTED:
            raise InputError(f"data is nested deeper than {MAX_NESTED} lists", where=where)
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


def _texts(elements: list[Any], kind: ColumnType, where: str) -> list[Any]:
    for place, value in enumerate(elements):
        if value is not None and type(value) is not str:
            raise InputError(f"element {place} of BYTES must be a text; got {show(value)}", where=where)
    return [value.encode() if value is not None and kind.dtype == "bytes" else value for value in elements]


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


def _mistake(value: Any, place: int, datatype: str, where: str) -> InputError:
    """Why an element is none of the datatype."""
    is_number = type(value) in (int, float)
    if datatype == "BOOL":
        what = (
            f"element {place} is {show(value)}, not 0 or 1"
            if is_number
            else f"element {place} of BOOL must be true or false; got {show(value)}"
        )
    elif is_number and (datatype[:2] == "FP" or value == value // 1):
        what = f"element {place} is {show(value)}, out of range of {datatype}"
    else:
        wanted = "a number" if datatype[:2] == "FP" else "a whole number"
        what = f"element {place} of {datatype} must be {wanted}; got {show(value)}"
    return InputError(what, where=where)
