"""Columns as tensors of the Open Inference Protocol, and back: datatypes, shapes, and elements as raw bytes.

A tensor is a column whose first axis is the row. Its elements are in C order, little-endian; an element of BYTES is its
length as an unsigned 32-bit number and then its bytes. A column of strings is BYTES, in UTF-8.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.base64_values import from_base64
from motet.batch import Array, Column, Ragged, empty_column, objects
from motet.errors import InputError, known_names
from motet.numbers import may_convert
from motet.reading import NO_DEFAULT, read_column
from motet.types import ColumnType

__all__ = [
    "DATATYPES",
    "NoTensorError",
    "checked_datatype",
    "datatype_of",
    "decode_bytes",
    "encode_bytes",
    "from_elements",
    "from_raw",
    "is_base64",
    "num_elements",
    "of_base64",
    "read_rows",
    "row_shape",
    "rows_failed",
    "tensor_of",
    "tensor_shape",
    "to_raw",
    "with_texts",
]

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "bytes",
}  # fmt: skip
"""The protocol's datatypes, and the dtypes of columns that hold them."""
_OF_DTYPE = {**{dtype: name for name, dtype in DATATYPES.items()}, "string": "BYTES", "any": "BYTES"}
_LITTLE = {name: np.dtype(dtype).newbyteorder("<") for name, dtype in DATATYPES.items() if name != "BYTES"}
_OF_NUMPY = {**{dtype: name for name, dtype in _LITTLE.items()}, np.dtype(object): "BYTES"}
SHOWN_ROWS = 5
"""Rows that do not fit that an error names."""
_LENGTH = struct.Struct("<I")


def datatype_of(kind: ColumnType) -> str:
    """The datatype of a column of this type; BYTES for strings, bytes and `any`."""
    return _OF_DTYPE[kind.dtype]


def tensor_shape(kind: ColumnType) -> list[int]:
    """The shape that metadata gives: the row axis first; -1 is an axis of any length."""
    return [-1, *(-1 if axis is None else axis for axis in kind.shape)]


def row_shape(shape: Sequence[int], kind: ColumnType) -> Sequence[int]:
    """The shape of a tensor without the axes of 1 behind the rows of scalars, which many clients send."""
    if len(shape) < 2 or kind.shape or kind.dtype == "any":
        return shape
    return shape[:1] if all(axis == 1 for axis in shape[1:]) else shape


def num_elements(shape: Sequence[int], where: str) -> int:
    """How many elements a tensor of this shape has.

    Raises:
        InputError: when it has no row axis, or a negative one.
    """
    if not shape:
        raise InputError("the shape is empty; its first axis must be the row", where=where)
    if min(shape) < 0:
        raise InputError(f"shape {list(shape)} has a negative axis", where=where)
    return math.prod(shape)


def from_raw(
    raw: bytes | memoryview,
    datatype: str,
    shape: Sequence[int],
    kind: ColumnType,
    where: str,
    default: Any = NO_DEFAULT,
) -> Column:
    """The column of a tensor that came as bytes. Numbers of the type's own datatype are a view of `raw`, so it must not
    change; those of others are taken where nothing is lost.

    Args:
        raw: the elements.
        datatype: of the tensor.
        shape: of the tensor, the row axis first.
        kind: the type that is wanted.
        where: which tensor, for messages, for example `input 'image'`.
        default: what stands in for NaN where whole numbers are wanted.

    Raises:
        InputError: when the bytes are not those of such a tensor, or it is not of the type that is wanted; names rows.
    """
    dtype = checked_datatype(datatype, kind, where)
    wanted = num_elements(shape, where)
    if dtype is None:
        return _of_kind(_texts(decode_bytes(raw, wanted, where), kind, where), shape, kind, where, default)
    if len(raw) != wanted * dtype.itemsize:
        raise InputError(
            f"{datatype} of shape {list(shape)} takes {wanted * dtype.itemsize} bytes; got {len(raw)}", where=where
        )
    array = np.frombuffer(raw, dtype)
    if datatype == "BOOL" and wanted and array.view(np.uint8).max() > 1:
        raise InputError("a BOOL must be 0 or 1", where=where)
    return _of_kind(array, shape, kind, where, default)


def from_elements(
    elements: Sequence[Any],
    datatype: str,
    shape: Sequence[int],
    kind: ColumnType,
    where: str,
    default: Any = NO_DEFAULT,
) -> Column:
    """The column of a tensor that came as single elements: numbers, or bytes for BYTES; see `from_raw`.

    Raises:
        InputError: when there are too many or too few, one is out of the datatype's range, or the tensor is not of the
            type that is wanted.
    """
    dtype = checked_datatype(datatype, kind, where)
    wanted = num_elements(shape, where)
    if len(elements) != wanted:
        raise InputError(f"{datatype} of shape {list(shape)} has {wanted} elements; got {len(elements)}", where=where)
    if dtype is None:
        return _of_kind(_texts(list(elements), kind, where), shape, kind, where, default)
    return _of_kind(_numbers(elements, dtype, datatype, where), shape, kind, where, default)


def to_raw(array: Array) -> bytes:
    """The elements of an array as bytes, in C order, little-endian."""
    if array.dtype == object:
        return encode_bytes(array.reshape(-1))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


class NoTensorError(InputError):
    """A column that no tensor of the protocol holds; of an answer it is not the request that is wrong."""

    status = 422


def tensor_of(column: Column, kind: ColumnType, where: str) -> tuple[str, Array]:
    """A column as one tensor: its datatype, and its elements as an array whose first axis is the row.

    Args:
        column: of numbers, or of objects that are strings and bytes.
        kind: its type; for `any` the column itself says what it is.
        where: which column, for messages.

    Raises:
        NoTensorError: when rows differ in shape, or a value has no datatype.
    """
    if isinstance(column, Ragged):
        if len(column) and not (column.shapes == column.shapes[0]).all():
            raise NoTensorError(
                "rows differ in shape, and a tensor has one shape", where=where, hint="ask for one row at a time"
            )
        column = column.dense()
    datatype = _OF_NUMPY.get(column.dtype) or _OF_NUMPY.get(column.dtype.newbyteorder("<"))
    if datatype is None:
        raise NoTensorError(f"there is no datatype for {column.dtype}", where=where)
    if datatype == "BYTES":
        for row, value in enumerate(column.reshape(-1)):
            if not isinstance(value, (str, bytes, bytearray, memoryview)):
                what = f"row {row} of {kind} is {'null' if value is None else type(value).__name__}"
                raise NoTensorError(f"{what}, and BYTES has texts and bytes only", where=where)
    return datatype, column


def with_texts(column: Column) -> Column:
    """A column for `any`: what came as BYTES is text where it is UTF-8, since the protocol does not tell texts from bytes."""
    if isinstance(column, Ragged) or column.dtype != object:
        return column
    return objects([_text_or_bytes(value) for value in column.reshape(-1)]).reshape(column.shape)


def _text_or_bytes(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def is_base64(datatype: str, content_type: object, kind: ColumnType) -> bool:
    """Whether the elements of a tensor are base64: where its parameter `content_type` says so, as in MLServer."""
    return datatype == "BYTES" and content_type == "base64" and kind.is_object


def of_base64(
    read: Callable[[ColumnType, Any], Column], shape: Sequence[int], kind: ColumnType, where: str, default: Any
) -> Column:
    """The column of a tensor whose elements are base64; for strings they are that of UTF-8.

    Args:
        read: the tensor as a column of a type, with a value that stands in for null.
        shape, kind, where, default: as in `from_raw`.

    Raises:
        InputError: when an element is none, or the tensor is not of the type that is wanted.
    """
    written = read(ColumnType("bytes", tuple(shape[1:]) if kind.dtype == "any" else kind.shape), None)
    assert isinstance(written, np.ndarray)
    found = [_unwrapped(value, place, where) for place, value in enumerate(written.flat)]
    texts = objects([*map(_text_or_bytes, found)]) if kind.dtype == "any" else _texts(found, kind, where)
    return read_rows(texts.reshape(written.shape), kind, where, default)


def _unwrapped(value: bytes | None, place: int, where: str) -> bytes | None:
    try:
        return None if value is None else from_base64(value.decode("latin-1"))
    except InputError as error:
        raise InputError(f"element {place} {error.what}", where=where) from None


def encode_bytes(values: Iterable[Any]) -> bytes:
    """Texts (as UTF-8) and bytes, each after its length: the elements of BYTES."""
    parts: list[bytes] = []
    for value in values:
        data = value.encode() if isinstance(value, str) else bytes(value)
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def decode_bytes(raw: bytes | memoryview, count: int, where: str) -> list[bytes | None]:
    """The elements of BYTES.

    Raises:
        InputError: when there are not exactly `count`.
    """
    values: list[bytes | None] = []
    start, end = 0, len(raw)
    while start < end and len(values) < count:
        if start + 4 > end:
            break
        (size,) = _LENGTH.unpack_from(raw, start)
        start += 4
        if start + size > end:
            raise InputError(
                f"element {len(values)} of BYTES should have {size} bytes; {end - start} are left", where=where
            )
        values.append(bytes(raw[start : start + size]))
        start += size
    if len(values) != count or start != end:
        left = f", and {end - start} bytes that belong to none" if start != end else ""
        raise InputError(f"the shape has {count} elements; got {len(values)}{left}", where=where)
    return values


def checked_datatype(datatype: str, kind: ColumnType, where: str) -> np.dtype[Any] | None:
    """The dtype of a datatype's elements, None for BYTES.

    Raises:
        InputError: when no element of such a tensor can be of the type that is wanted.
    """
    if datatype not in DATATYPES:
        hint = "convert it to FP32" if datatype == "BF16" else ""
        raise InputError(
            f"unknown datatype {datatype!r}; {known_names(datatype, list(DATATYPES), 20)}", where=where, hint=hint
        )
    same = kind.dtype == "any" or datatype_of(kind) == datatype
    if not (same or (not kind.is_object and datatype != "BYTES" and may_convert(DATATYPES[datatype], kind.dtype))):
        raise InputError(f"is {kind}, so its datatype is {datatype_of(kind)}; got {datatype}", where=where)
    return _LITTLE.get(datatype)


def _of_kind(array: Array, shape: Sequence[int], kind: ColumnType, where: str, default: Any) -> Column:
    """The array in its shape, of the type that is wanted, and held as it wants it."""
    shape = row_shape(shape, kind)
    if not _fits(shape, kind):
        raise InputError(f"is {kind}, so its shape is {tensor_shape(kind)}; got {list(shape)}", where=where)
    try:
        shaped = array.reshape(shape)
    except ValueError:  # numpy bounds the product of the axes also where one of them is 0
        raise InputError(f"shape {list(shape)} is too big", where=where) from None
    if array.dtype != kind.numpy_dtype and kind.dtype != "any":
        return read_rows(shaped, kind, where, default)
    if not kind.varies or array.dtype == object:
        return shaped
    return Ragged.from_dense(shaped) if len(shaped) else empty_column(kind)


def read_rows(
    column: Column,
    kind: ColumnType,
    where: str,
    default: Any = NO_DEFAULT,
    *,
    written: bool = False,
    missing: Array | None = None,
) -> Column:
    """A column as the type that is wanted, by the rule that all values are read by; see `read_column`.

    Raises:
        InputError: when a row is none of that type; names some of the rows.
    """
    read, bad = read_column(column, kind, where, default, written=written, missing=missing)
    if bad:
        raise InputError(rows_failed((f"row {row}: {why}" for row, why in bad.items()), len(bad), len(column)))
    return read


def rows_failed(reasons: Iterable[str], failed: int, rows: int) -> str:
    """That so many rows failed of all, and why the first of them did."""
    more = f"; and {failed - SHOWN_ROWS} more" if failed > SHOWN_ROWS else ""
    return f"{failed} of {rows} rows failed: {'; '.join(islice(reasons, SHOWN_ROWS))}{more}"


def _fits(shape: Sequence[int], kind: ColumnType) -> bool:
    """Whether the axes after the first are those of the type."""
    axes = tuple(shape[1:])
    return kind.dtype == "any" or axes == kind.shape or kind.has_shape(axes)


def _texts(values: list[bytes | None], kind: ColumnType, where: str) -> Array:
    if kind.dtype != "string":
        return objects(values)
    texts = []
    for row, value in enumerate(values):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError as error:
            raise InputError(f"element {row} is not UTF-8: {error.reason} at byte {error.start}", where=where) from None
    return objects(texts)


def _numbers(elements: Sequence[Any], dtype: np.dtype[Any], datatype: str, where: str) -> Array:
    if dtype.kind in "bf":
        return np.fromiter(elements, dtype, len(elements))
    wide: npt.DTypeLike = np.uint64 if dtype.kind == "u" else np.int64
    array = np.fromiter(elements, wide, len(elements))
    bounds = np.iinfo(dtype)
    if len(array) and (array.min() < bounds.min or array.max() > bounds.max):
        outside = next(value for value in array.tolist() if not bounds.min <= value <= bounds.max)
        raise InputError(f"{outside} is out of range of {datatype}", where=where)
    return array.astype(dtype, copy=False)
