"""Rows of CSV and JSON Lines as the bytes that they are, so that a file is put together anew without reading a value.

A batch of them has one column, `row`, of bytes with the line's end. The format `lines` of `open_writer` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from motet.io.as_text import compressed_output
from motet.io.files import FoundFile

__all__ = ["LINES", "holds", "lines_of", "open_writer", "read_lines"]

LINES = pa.schema([pa.field("row", pa.large_binary())])
_READ_BYTES = 1 << 20
_LF, _QUOTE = b'\n"'


def read_lines(file: FoundFile, *, quotes: bool) -> Iterator[pa.RecordBatch]:
    """The rows of a file of text, its header among them.

    Args:
        file: the file, compressed or not, whose quotes are where they should be, as those of our own writers are.
        quotes: whether a row goes on over the ends of lines inside of quotes, as those of CSV do.
    """
    left = b""
    with file.stream() as stream:
        while piece := stream.read(_READ_BYTES):
            batch, left = _cut(left + piece, quotes=quotes)
            if len(batch):
                yield batch
    if left:
        yield lines_of(left if left.endswith(b"\n") else left + b"\n", quotes=quotes)


def lines_of(text: bytes, *, quotes: bool) -> pa.RecordBatch:
    """The rows of text that ends with one; see `read_lines`."""
    return _cut(text, quotes=quotes)[0]


def _cut(text: bytes, *, quotes: bool) -> tuple[pa.RecordBatch, bytes]:
    """The whole rows of text, and what is left of it."""
    raw = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(raw == _LF) + 1
    if quotes and _QUOTE in text:
        before = np.searchsorted(np.flatnonzero(raw == _QUOTE), ends)
        ends = ends[before % 2 == 0]
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    column = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    )
    return pa.RecordBatch.from_arrays([column], schema=LINES), text[int(offsets[-1]) :]


class _LinesWriter:
    def __init__(self, file: Any, codec: str | None) -> None:
        self._out = compressed_output(file, codec)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        rows = batch.column(0)
        _, offsets, text = rows.buffers()
        if len(rows):
            first, end = np.frombuffer(offsets, np.int64)[[rows.offset, rows.offset + len(rows)]].tolist()
            self._out.write(text.slice(first, end - first))

    def close(self) -> None:
        self._out.close()


def holds(field: pa.Field) -> bool:
    """None: rows are written, not columns."""
    return bool(field.equals(LINES.field(0)))


def open_writer(file: Any, schema: pa.Schema, codec: str | None) -> Any:
    """Rows one after another."""
    return _LinesWriter(file, codec)
