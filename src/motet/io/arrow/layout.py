"""Which Arrow types can hold which column types, told from the types alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from motet.errors import TypeMismatchError
from motet.numbers import may_convert
from motet.pictures import is_picture
from motet.types import DTYPES, ColumnType

__all__ = [
    "IMAGE_METADATA",
    "LABELS",
    "check_fits",
    "is_binary",
    "is_file_struct",
    "is_image",
    "is_list",
    "is_string",
    "is_tensor",
    "is_view",
    "list_length",
    "may_be_files",
    "natural_kind",
    "number_name",
    "plain_type",
    "tensor_shape",
]

LABELS = b"motet.labels"
"""What a field of vectors carries whose last axis has names: a JSON list of them."""

IMAGE_METADATA = {b"motet.encoding": b"image"}
"""What a field of encoded images (PNG, JPEG, ...) carries, so that they are decoded where a graph wants pixels."""

_NUMBERS = {pa.from_numpy_dtype(name): name for name in DTYPES if name not in ("string", "bytes", "any")}
_BINARY = {pa.lib.Type_BINARY, pa.lib.Type_LARGE_BINARY, pa.lib.Type_FIXED_SIZE_BINARY, pa.lib.Type_BINARY_VIEW}
_STRING = {pa.lib.Type_STRING, pa.lib.Type_LARGE_STRING, pa.lib.Type_STRING_VIEW}
_LIST_VIEW = {pa.lib.Type_LIST_VIEW, pa.lib.Type_LARGE_LIST_VIEW}
_LIST = {pa.lib.Type_LIST, pa.lib.Type_LARGE_LIST, pa.lib.Type_FIXED_SIZE_LIST, *_LIST_VIEW}
_VIEW = {pa.lib.Type_BINARY_VIEW, pa.lib.Type_STRING_VIEW, *_LIST_VIEW}
_TIMES = ("pandas.period",)
"""Extensions whose storage is no number, though it looks like one."""
_HINT = (
    "a stored column fits dtype[shape] as numbers that dtype can hold, a fixed-shape tensor, "
    "a (nested) list of that many values, or binary of that many bytes in C order"
)


def check_fits(field_type: pa.DataType, kind: ColumnType, name: str, *, image: bool = False) -> None:
    """Refuse a column that cannot hold `kind` in any row, from its type alone.

    Args:
        field_type: the stored type.
        kind: the wanted type.
        name: the column's name, for the message.
        image: whether the column holds encoded images (see `is_image`).

    Raises:
        TypeMismatchError: naming the column and both types.
    """
    if image and kind.shape and not kind.is_object:
        _check_image(kind, name)
    elif may_be_files(field_type, kind):
        return
    elif not _fits(field_type, kind.dtype, kind.shape):
        raise TypeMismatchError(
            f"is stored as {field_type}, the graph wants {kind}", where=f"column {name!r}", hint=_hint(field_type, kind)
        )


def _hint(data_type: pa.DataType, kind: ColumnType) -> str:
    natural = natural_kind(data_type)
    if natural.shape or kind.shape or is_tensor(plain_type(data_type)):
        return _HINT
    takes = f"declare {natural}" + (", which takes it as it is" if natural.dtype == "any" else "")
    return f"{takes}, and convert it in the graph, for example with motet.ops.columns.cast"


def _check_image(kind: ColumnType, name: str) -> None:
    if not is_picture(kind):
        raise TypeMismatchError(
            f"holds encoded images, the graph wants {kind}",
            where=f"column {name!r}",
            hint="images decode to uint8[height,width] (grey) or uint8[height,width,3] (RGB); the graph reorders",
        )


def is_image(field: pa.Field) -> bool:
    """Whether a field holds encoded images."""
    metadata = field.metadata or {}
    return all(metadata.get(key) == value for key, value in IMAGE_METADATA.items())


def may_be_files(data_type: pa.DataType, kind: ColumnType) -> bool:
    """Whether a stored type may hold files that a wanted type can be read from.

    That is `struct<bytes, path>`, as Hugging Face's data sets have pictures, for bytes and pictures; and binary for pictures.
    """
    data_type = plain_type(data_type)
    if is_file_struct(data_type):
        return is_picture(kind) or (kind.dtype == "bytes" and not kind.shape)
    return is_binary(data_type) and not pa.types.is_fixed_size_binary(data_type) and is_picture(kind)


def is_file_struct(data_type: pa.DataType) -> bool:
    """Whether a type is a struct with the content of a file in its field `bytes`."""
    if not pa.types.is_struct(data_type):
        return False
    place = data_type.get_field_index("bytes")
    return place >= 0 and is_binary(data_type.field(place).type)


def is_tensor(data_type: pa.DataType) -> bool:
    """Whether a type is Arrow's fixed-shape tensor."""
    return isinstance(data_type, pa.FixedShapeTensorType)


def is_binary(data_type: pa.DataType) -> bool:
    """Whether a type is one of Arrow's binary types."""
    return data_type.id in _BINARY


def is_string(data_type: pa.DataType) -> bool:
    """Whether a type is one of Arrow's string types."""
    return data_type.id in _STRING


def is_list(data_type: pa.DataType) -> bool:
    """Whether a type is one of Arrow's list types."""
    return data_type.id in _LIST


def is_view(data_type: pa.DataType) -> bool:
    """Whether a type's rows lie anywhere in their buffers, and not one after another."""
    return data_type.id in _VIEW


def number_name(data_type: pa.DataType) -> str | None:
    """The numpy name of a type of numbers, None for any other."""
    return _NUMBERS.get(data_type)


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """The type that values have once dictionaries are decoded and extensions, but for tensors, are taken off."""
    if pa.types.is_dictionary(data_type):
        return plain_type(data_type.value_type)
    if isinstance(data_type, pa.BaseExtensionType) and not is_tensor(data_type):
        return data_type if data_type.extension_name in _TIMES else plain_type(data_type.storage_type)
    return data_type


def natural_kind(data_type: pa.DataType) -> ColumnType:
    """The column type that a stored type is by itself; `any` for what has none (structs, dates, decimals)."""
    data_type = plain_type(data_type)
    if is_tensor(data_type):
        return ColumnType(number_name(data_type.value_type) or "any", tensor_shape(data_type))
    if is_list(data_type):
        child = natural_kind(data_type.value_type)
        return ColumnType(child.dtype, (None, *child.shape)) if child.dtype != "any" else child
    if is_string(data_type):
        return ColumnType("string")
    return ColumnType("bytes" if is_binary(data_type) else number_name(data_type) or "any")


def tensor_shape(data_type: Any) -> tuple[int, ...]:
    """The shape that a tensor type shows: its stored axes in the order of its permutation."""
    stored, order = data_type.shape, data_type.permutation
    return tuple(stored[axis] for axis in order) if order is not None else tuple(stored)


def _fits(data_type: pa.DataType, dtype: str, axes: tuple[int | None, ...]) -> bool:
    data_type = plain_type(data_type)
    if dtype == "any" or pa.types.is_null(data_type):
        return True
    if is_tensor(data_type):
        return _scalar_fits(data_type.value_type, dtype) and _same(tensor_shape(data_type), axes)
    if not axes:
        return _scalar_fits(data_type, dtype)
    if is_binary(data_type):
        return dtype not in ("string", "bytes") and _size_fits(_bytes_of(data_type), axes, np.dtype(dtype).itemsize)
    return is_list(data_type) and _list_fits(data_type, dtype, axes)


def _list_fits(data_type: pa.DataType, dtype: str, axes: tuple[int | None, ...]) -> bool:
    child, size = plain_type(data_type.value_type), list_length(data_type)
    if len(axes) > 1 and not is_list(child) and _scalar_fits(child, dtype):
        return _size_fits(size, axes, 1)
    return (size is None or axes[0] in (None, size)) and _fits(child, dtype, axes[1:])


def _scalar_fits(data_type: pa.DataType, dtype: str) -> bool:
    if dtype == "string":
        return is_string(data_type)
    if dtype == "bytes":
        return is_binary(data_type)
    stored = number_name(data_type)
    if pa.types.is_decimal(data_type):
        return dtype not in ("bool", "any")
    return stored is not None and may_convert(stored, dtype)


def _same(shape: tuple[int, ...], axes: tuple[int | None, ...]) -> bool:
    return len(shape) == len(axes) and all(want in (None, got) for got, want in zip(shape, axes, strict=True))


def _size_fits(size: int | None, axes: tuple[int | None, ...], unit: int) -> bool:
    """Whether `size` bytes or values, None where rows may differ, can be `axes`, of which one may vary."""
    if axes.count(None) > 1:
        return False
    block = unit * math.prod(axis for axis in axes if axis is not None)
    if size is None or not block:
        return size in (None, 0)
    return size % block == 0 if None in axes else size == block


def _bytes_of(data_type: pa.DataType) -> int | None:
    return int(data_type.byte_width) if pa.types.is_fixed_size_binary(data_type) else None


def list_length(data_type: pa.DataType) -> int | None:
    """How many values each row of a type of lists has; None where rows may differ."""
    return int(data_type.list_size) if pa.types.is_fixed_size_list(data_type) else None
