"""What CSV and JSON Lines share: what a source of text is, and how declared types are read from it.

Text has no bytes and no half floats: bytes are base64, half floats are read as single ones and narrowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.base64_values import from_base64
from motet.io.arrow.buffers import numbers
from motet.io.arrow.layout import is_list
from motet.io.compression import codec_of
from motet.io.faults import with_errors
from motet.io.files import FoundFile, fingerprint_files
from motet.io.read_options import ReadOptions
from motet.io.splits import Anchor, Split
from motet.io.stream import FileStream
from motet.io.tally import line_anchors
from motet.io.utf8 import utf8_begins, utf8_pieces

__all__ = [
    "TextSource",
    "finish",
    "has_infinite",
    "leaf",
    "wire_schema",
    "with_reasons",
]

_WIRE = {pa.binary(): pa.string(), pa.large_binary(): pa.string(), pa.float16(): pa.float32()}


class TextSource(FileStream):
    """One file of text, compressed or not.

    Args:
        file: the file.
        options: how it is read.
    """

    def __init__(self, file: FoundFile, options: ReadOptions) -> None:
        super().__init__(file)
        if self._state is not None and codec_of(file.name) is None:
            self.text_bytes = self._state[0] or None  # not every store says it
        self._options = options
        self._anchor: Anchor | None = None

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `Stream.splits`; from row to row of text whose bytes are those of the file, which is read once for it."""
        begins = utf8_begins(self._file, self._options.encoding)
        if begins is None:
            return super()._splits(target_bytes)
        *anchors, end = self._anchors(begins, target_bytes)
        found = []
        for anchor, after in zip(anchors, [*anchors[1:], end], strict=True):
            some = copy(self)
            some._anchor, some._counted, some.reads = anchor, end.row - anchor.row, ()
            found.append(Split(some, 0, after.row - anchor.row, anchor.row, after.byte - anchor.byte))
        return [each for each in found if each.rows]

    def _anchors(self, begins: int, target_bytes: int) -> Iterator[Anchor]:
        """Where the text can be entered, each time `target_bytes` have passed; first where its rows begin, last its end.

        Args:
            begins: the byte at which the text begins.
            target_bytes: how far they lie apart, or a little more.
        """
        return line_anchors(utf8_pieces(self._file, self._options.encoding), begins, target_bytes)

    def fingerprint(self) -> str:
        """See `fingerprint_files`; declared types and how text is read count."""
        return fingerprint_files([self._file], [str(self.schema), self._options.digest()])


def wire_schema(schema: pa.Schema) -> pa.Schema:
    """The types that Arrow's readers of text can give for these."""
    return pa.schema([pa.field(field.name, _wire(field.type)) for field in schema])


def _wire(data_type: Any) -> pa.DataType:
    return pa.list_(_wire(data_type.value_type)) if is_list(data_type) else _WIRE.get(data_type, data_type)


def finish(table: pa.Table | pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """One batch of the final types.

    Raises:
        InputError: when bytes are not written as such.
        ArrowInvalid: when a cast fails.
    """
    columns = [_finished(table.column(field.name), field) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _finished(column: pa.Array | pa.ChunkedArray, field: pa.Field) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    if column.type == field.type:
        return column
    if pa.types.is_binary(leaf(field.type)):
        return pa.array(_decoded(column.to_pylist()), field.type)
    return column.cast(field.type, safe=False)


def _decoded(texts: list[Any]) -> list[Any]:
    """Texts, also in lists, as the bytes that they are the base64 of."""
    return [_decoded(each) if isinstance(each, list) else None if each is None else from_base64(each) for each in texts]


def leaf(data_type: Any) -> pa.DataType:
    """The type of what lists hold, however deep; of anything else its own."""
    while is_list(data_type):
        data_type = data_type.value_type
    return data_type


def with_reasons(columns: Sequence[pa.Array], schema: pa.Schema, reasons: Mapping[int, str]) -> pa.RecordBatch:
    """A batch in which rows that have a reason are null, with the reasons beside them (see `motet.io.faults`)."""
    batch = pa.RecordBatch.from_arrays(list(columns), schema=schema)
    if not reasons:
        return batch
    good = np.ones(len(batch), bool)
    good[list(reasons)] = False
    blanked = [null_where(column, ~good) for column in batch.columns]
    texts = pa.array([reasons.get(row) for row in range(len(batch))], pa.string())
    return with_errors(pa.RecordBatch.from_arrays(blanked, schema=schema), texts)


def null_where(column: pa.Array, bad: npt.NDArray[np.bool_]) -> pa.Array:
    """The column with nulls in some rows."""
    places = np.where(bad, -1, np.arange(len(column)))
    return column.take(pa.array(places, mask=bad))


def has_infinite(batch: pa.RecordBatch) -> bool:
    """Whether a number is infinite, as those become that are too large for their type."""
    floats = (column for column in batch.columns if pa.types.is_floating(column.type))
    return any(np.isinf(numbers(column)).any() for column in floats)
