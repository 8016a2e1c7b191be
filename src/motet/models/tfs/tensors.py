"""Columns as TensorFlow's tensors, and back.

Elements are written as one piece of bytes, in C order, little-endian (texts and bytes: one by one). They are read from
there, or from the list of their type, which is what TensorFlow Serving answers with. A list that is shorter than the
tensor stands for itself and its last value again and again (`tensorflow/core/framework/tensor.proto`). BFLOAT16, which
no column has, is read as float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet

from motet.batch import Array, Column
from motet.errors import InputError, known_names
from motet.models.calling import MAX_ANSWER_BYTES
from motet.models.tfs.messages import DataType
from motet.oip.rest import as_sent
from motet.oip.tensors import DATATYPES, from_elements, from_raw, num_elements, to_raw
from motet.types import ColumnType

__all__ = ["read_tensor", "write_tensor"]

_OF_DATATYPE = {
    "FP16": "DT_HALF", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "BOOL": "DT_BOOL", "BYTES": "DT_STRING",
    **{name: f"DT_{name}" for name in DATATYPES if "INT" in name},
}  # fmt: skip
"""TensorFlow's types by the names that the Open Inference Protocol has for them."""
_DATATYPES = {name: datatype for datatype, name in _OF_DATATYPE.items()} | {"DT_BFLOAT16": "FP32"}
_LISTS = {
    "DT_HALF": "half_val", "DT_BFLOAT16": "half_val", "DT_FLOAT": "float_val", "DT_DOUBLE": "double_val",
    "DT_BOOL": "bool_val", "DT_STRING": "string_val", "DT_INT64": "int64_val", "DT_UINT32": "uint32_val",
    "DT_UINT64": "uint64_val", **dict.fromkeys(("DT_INT8", "DT_INT16", "DT_INT32", "DT_UINT8", "DT_UINT16"), "int_val"),
}  # fmt: skip


def write_tensor(message: Any, datatype: str, array: Array) -> None:
    """Put an array into a `TensorProto`.

    Args:
        message: an empty one.
        datatype: of the array, a name of the Open Inference Protocol; see `motet.oip.tensors.tensor_of`.
        array: its elements, the row axis first.
    """
    message.dtype = DataType.values_by_name[_OF_DATATYPE[datatype]].number
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if datatype == "BYTES":
        message.string_val.extend(
            value.encode() if isinstance(value, str) else bytes(value) for value in array.reshape(-1)
        )
    else:
        message.tensor_content = to_raw(array)


def read_tensor(message: Any, kind: ColumnType, where: str) -> Column:
    """The column that a `TensorProto` holds.

    Args:
        message: it.
        kind: the type that is promised, which says whether strings are texts.
        where: which tensor, for messages.

    Raises:
        InputError: when it is no tensor whose first axis is the row, or of a type that no column has.
    """
    name = DataType.values_by_number[message.dtype].name if message.dtype in DataType.values_by_number else ""
    if name not in _DATATYPES:
        what = f"there is no column of {name or message.dtype}; {known_names(name, list(_DATATYPES), 20)}"
        raise InputError(what, where=where)
    datatype, shape = _DATATYPES[name], [each.size for each in message.tensor_shape.dim]
    kind, wanted = as_sent(kind, datatype, shape), num_elements(shape, where)
    dtype = np.dtype(np.uint16 if name == "DT_BFLOAT16" else "O" if datatype == "BYTES" else DATATYPES[datatype])
    if wanted * dtype.itemsize > MAX_ANSWER_BYTES:
        raise InputError(f"shape {shape} takes more than {MAX_ANSWER_BYTES} bytes", where=where)
    if datatype == "BYTES":
        if message.tensor_content:
            raise InputError("strings are expected one by one, not as tensor_content", where=where)
        return from_elements(_filled(list(message.string_val), wanted, message, where), datatype, shape, kind, where)
    raw = message.tensor_content or _filled(_listed(message, name, dtype), wanted, message, where)
    if name != "DT_BFLOAT16":
        return from_raw(memoryview(raw).cast("B") if wanted else b"", datatype, shape, kind, where)
    if len(memoryview(raw).cast("B") if wanted else b"") != wanted * 2:
        raise InputError(f"{name} of shape {shape} takes {wanted * 2} bytes", where=where)
    wide = np.frombuffer(raw, dtype).astype(np.uint32) << 16
    return from_raw(wide.tobytes(), datatype, shape, kind, where)


def _listed(message: Any, name: str, dtype: np.dtype[Any]) -> Array:
    """The numbers of the list that is a type's own."""
    values = getattr(message, _LISTS[name])
    if name in ("DT_FLOAT", "DT_DOUBLE"):
        return np.frombuffer(b"".join(values), dtype.newbyteorder("<"))
    if name in ("DT_HALF", "DT_BFLOAT16"):
        return np.fromiter(values, np.int64, len(values)).astype(np.uint16).view(dtype)
    wide = dtype if name in ("DT_BOOL", "DT_UINT64") else np.dtype(np.int64)
    return np.fromiter(values, wide, len(values)).astype(dtype)


def _filled(values: Any, wanted: int, message: Any, where: str) -> Any:
    """A list at its whole length."""
    if len(values) == wanted:
        return values
    if len(values) > wanted:
        raise InputError(f"the tensor has {wanted} elements; got {len(values)}", where=where)
    if not len(values) and len(UnknownFieldSet(message)):
        raise InputError("its list of values is not packed, or of another type", where=where)
    if isinstance(values, list):
        return values + [values[-1] if values else b""] * (wanted - len(values))
    last = values[-1:] if len(values) else np.zeros(1, values.dtype)
    return np.concatenate([values, np.repeat(last, wanted - len(values))])
