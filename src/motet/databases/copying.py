"""Rows in PostgreSQL's binary form of COPY: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".

Each column becomes bytes a row, of plain numbers and vectors all at once, and rows are put together from these.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.databases.layout import vectors_of

__all__ = ["COPIED", "copied"]

COPIED = {
    pa.bool_(): "boolean", pa.int8(): "smallint", pa.int16(): "smallint", pa.int32(): "integer", pa.int64(): "bigint",
    pa.uint8(): "smallint", pa.uint16(): "integer", pa.uint32(): "bigint", pa.float16(): "real", pa.float32(): "real",
    pa.float64(): "double precision", pa.string(): "text", pa.large_string(): "text", pa.binary(): "bytea",
    pa.large_binary(): "bytea", pa.date32(): "date",
}  # fmt: skip
"""The types of PostgreSQL for those of Arrow that have one."""
_NUMBERS = {
    "smallint": ">i2",
    "integer": ">i4",
    "bigint": ">i8",
    "real": ">f4",
    "double precision": ">f8",
    "boolean": ">i1",
}
_HEADER, _TRAILER, _NULL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff", b"\xff\xff\xff\xff"
_DAYS = 10_957
"""From 1970 to 2000, where PostgreSQL's time begins."""
_MICROSECONDS = _DAYS * 86_400_000_000


def copied(batch: pa.RecordBatch) -> bytes:
    """Rows as COPY reads them; texts stand for lists (as JSON), decimals and uint64."""
    count = struct.pack(">h", batch.num_columns)
    fields = [_fields(column) for column in batch.columns]
    rows = zip([count] * batch.num_rows, *fields, strict=True)
    return b"".join(chain([_HEADER], chain.from_iterable(rows), [_TRAILER]))


def _fields(column: pa.Array) -> Sequence[bytes]:
    """Each value with its length in front."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return _masked(_vectors(vectors_of(column)), column)
    if pa.types.is_timestamp(kind):
        values = column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64()).fill_null(0)
        return _masked(_plain(values.to_numpy(zero_copy_only=False) - _MICROSECONDS, ">i8"), column)
    if pa.types.is_date32(kind):
        days = column.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
        return _masked(_plain(days - _DAYS, ">i4"), column)
    if (found := _NUMBERS.get(COPIED.get(kind, ""))) is not None:
        filled = column.fill_null(False) if pa.types.is_boolean(kind) else column.fill_null(pa.scalar(0).cast(kind))
        return _masked(_plain(filled.to_numpy(zero_copy_only=False), found), column)
    return [_NULL if value is None else _text(value) for value in column.to_pylist()]


def _text(value: Any) -> bytes:
    if isinstance(value, list):
        value = json.dumps([_item(each) for each in value])
    data = value if isinstance(value, bytes) else str(value).encode()
    return struct.pack(">i", len(data)) + data


def _item(value: Any) -> Any:
    """A value of a list as JSON has it; numbers that are not finite by their names."""
    is_plain = (
        value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
    )
    return value if is_plain else str(value)


def _plain(values: npt.NDArray[Any], dtype: str) -> list[bytes]:
    size = np.dtype(dtype).itemsize
    made = np.empty(len(values), np.dtype([("size", ">i4"), ("value", dtype)]))
    made["size"], made["value"] = size, values
    return _cut(made)


def _vectors(values: npt.NDArray[np.float32]) -> list[bytes]:
    """As pgvector's `vector_recv` has it: the length, nothing, and the numbers."""
    length = values.shape[1]
    parts = np.dtype([("size", ">i4"), ("length", ">i2"), ("unused", ">i2"), ("values", ">f4", (length,))])
    made = np.zeros(len(values), parts)
    made["size"], made["length"], made["values"] = 4 + 4 * length, length, values
    return _cut(made)


def _cut(made: npt.NDArray[Any]) -> list[bytes]:
    data, size = made.tobytes(), made.dtype.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def _masked(fields: list[bytes], column: pa.Array) -> list[bytes]:
    if column.null_count:
        for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
            fields[row] = _NULL
    return fields
