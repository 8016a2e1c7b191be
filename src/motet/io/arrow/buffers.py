"""Numbers and texts between numpy and Arrow by their buffers.

pyarrow's own conversions (`pa.array`, `Array.to_numpy`) import pandas wherever it is installed, which costs a short run
more than its work; those of numbers and texts are views, or a few lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Array, objects
from motet.io.arrow.layout import is_binary, is_string, is_view, number_name

__all__ = ["numbers", "of_numbers", "of_texts"]


def numbers(array: pa.Array) -> Array:
    """Numbers without nulls as numpy, shape `[rows]`, read-only without a copy but for bool, which Arrow packs.

    Texts and bytes become objects, nulls among them None; other types are what pyarrow makes of them.
    """
    data_type, rows = array.type, len(array)
    name = number_name(data_type)
    if name is None or array.null_count:
        plain = (is_string(data_type) or is_binary(data_type)) and not is_view(data_type)
        return objects(array.to_pylist()) if plain else np.asarray(array.to_numpy(zero_copy_only=False))
    if not rows:
        return np.empty(0, name)
    buffer = array.buffers()[1]
    if name == "bool":
        return np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")[array.offset :][:rows].astype(bool)
    dtype = np.dtype(name)
    view = np.frombuffer(buffer, dtype, rows, array.offset * dtype.itemsize)
    view.flags.writeable = False  # it is the caller's table
    return view


def of_numbers(values: Array) -> pa.Array:
    """Numpy numbers, shape `[rows]`, as Arrow, without a copy but for bool and the other order of bytes."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if values.dtype == bool:
        packed = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(packed)])
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def of_texts(values: Sequence[Any], data_type: pa.DataType) -> pa.Array:
    """Texts as `string`, or bytes as `binary`; None is null.

    Raises:
        ArrowInvalid, ArrowTypeError: as pyarrow does, when a value is neither.
    """
    try:
        if pa.types.is_string(data_type):
            parts = [b"" if value is None else str.encode(value) for value in values]
        else:
            parts = [b"" if value is None else bytes(memoryview(value)) for value in values]
    except (TypeError, UnicodeEncodeError):
        return pa.array(values, data_type)
    ends = list(accumulate(map(len, parts), initial=0))
    if ends[-1] >= 2**31:
        return pa.array(values, data_type)
    offsets, nulls = np.array(ends, np.int32), sum(value is None for value in values)
    validity = np.packbits([value is not None for value in values], bitorder="little") if nulls else None
    buffers = [
        None if validity is None else pa.py_buffer(validity),
        pa.py_buffer(offsets),
        pa.py_buffer(b"".join(parts)),
    ]
    return pa.Array.from_buffers(data_type, len(parts), buffers, null_count=nulls)
