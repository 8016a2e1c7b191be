"""What CSV and JSON Lines write for a value: the same text in both.

Numbers, booleans and strings are what they are. Everything else that is one value is Arrow's own text of it, but bytes are
base64 and durations ISO 8601, with their unit (`P1DT0.000000001S`). JSON has lists and objects beside that; a map is a list
of its pairs.
"""

from __future__ import annotations

import base64
import lzma
from typing import Any

import pyarrow as pa

from motet.io.arrow.buffers import numbers
from motet.io.arrow.fit import fit
from motet.io.arrow.layout import is_binary, is_string, is_tensor, number_name
from motet.io.arrow.unify import with_children

__all__ = ["as_text", "compressed_output", "python_values", "text_type"]

_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
"""Digits behind the point of a unit of time."""
_KNOWN = {"arrow.bool8": pa.bool_(), "arrow.uuid": pa.string(), "arrow.json": pa.string()}


def text_type(data_type: Any) -> pa.DataType | None:
    """The type that `as_text` gives: of numbers, booleans, strings, and lists, structs and maps of them; None for none.

    Intervals of months, unions, tensors, and times in a zone that nobody knows have none.
    """
    kinds = pa.types
    if isinstance(data_type, pa.BaseExtensionType):
        known = _KNOWN.get(data_type.extension_name)
        return known if known is not None or is_tensor(data_type) else text_type(data_type.storage_type)
    if number_name(data_type) or is_string(data_type) or kinds.is_null(data_type):
        return data_type
    if kinds.is_union(data_type) or kinds.is_interval(data_type):
        return None
    if kinds.is_timestamp(data_type) and data_type.tz is not None and not _has_zone(data_type):
        return None
    return _nested(data_type) if kinds.is_nested(data_type) else pa.string()


def _has_zone(data_type: Any) -> bool:
    """Whether times of this type can be written: not where the system knows no such zone."""
    try:
        pa.array([0], pa.int64()).cast(data_type).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _nested(data_type: Any) -> pa.DataType | None:
    if pa.types.is_struct(data_type) and len({field.name for field in data_type}) < data_type.num_fields:
        return None  # an object has each name once
    children: list[pa.DataType | None] = []

    def held(child: pa.DataType) -> pa.DataType:
        children.append(text_type(child))
        return children[-1] or pa.null()

    made = with_children(data_type, held)
    return None if None in children else made


def as_text(array: pa.Array) -> pa.Array:
    """The values in `text_type` of their own.

    Raises:
        ArrowInvalid: when a value has no text.
    """
    data_type = text_type(array.type)
    assert data_type is not None
    return fit(array, data_type, _text)


def _text(array: pa.Array, data_type: pa.DataType) -> pa.Array:
    stored: Any = array.type
    if isinstance(array, pa.ExtensionArray):
        if stored.extension_name == "arrow.uuid":
            return pa.array([None if each is None else str(each) for each in array.to_pylist()], data_type)
        return fit(array.storage, data_type, _text)
    if is_binary(stored):
        texts = [None if each is None else base64.b64encode(each).decode() for each in array.to_pylist()]
        return pa.array(texts, data_type)
    if pa.types.is_duration(stored):
        units, digits = array.cast(pa.int64()).to_pylist(), _DIGITS[stored.unit]
        return pa.array([None if each is None else _duration(each, digits) for each in units], data_type)
    return array.cast(data_type)


def _duration(units: int, digits: int) -> str:
    """A duration of ISO 8601: days, then seconds with what is behind the point."""
    seconds, part = divmod(abs(units), 10**digits)
    days, seconds = divmod(seconds, 86_400)
    fraction = f".{part:0{digits}d}".rstrip("0") if part else ""
    time = f"T{seconds}{fraction}S" if seconds or part or not days else ""
    return f"{'-' if units < 0 else ''}P{f'{days}D' if days else ''}{time}"


def compressed_output(file: Any, codec: str | None) -> Any:
    """What writes text to a file of Arrow's, compressed or not; to be closed before the file is."""
    if codec == "xz":
        return pa.PythonFile(lzma.LZMAFile(file, "wb"), mode="w")
    return pa.CompressedOutputStream(file, codec) if codec else file


def python_values(array: pa.Array) -> list[Any]:
    """A column as JSON has it: numbers, texts, nested lists where it has axes; fast for numbers."""
    values: list[Any]
    if is_tensor(array.type) and not array.null_count:
        values = _dense(array).tolist()
        return values
    if is_tensor(array.type):
        rows = iter(_dense(array.drop_null()).tolist())
        return [next(rows) if there else None for there in numbers(array.is_valid()).tolist()]
    if not array.null_count and number_name(array.type):
        values = numbers(array).tolist()
        return values
    values = as_text(array).to_pylist()
    return values


def _dense(array: pa.Array) -> Any:
    """The rows of a tensor's column as one array, its axes in the order that it shows; bools too, of which Arrow makes none."""
    values = numbers(array.storage.flatten()).reshape(len(array), *array.type.shape)
    order = array.type.permutation
    return values if order is None else values.transpose(0, *(axis + 1 for axis in order))
