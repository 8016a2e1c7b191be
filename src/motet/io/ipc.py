"""Arrow's own files: the file format and the stream format, also under the names Feather and IPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from motet.errors import InputError
from motet.io.files import FoundFile
from motet.io.fitted import decoded_schema
from motet.io.marks import drop_rows, mark
from motet.io.splits import Split, runs
from motet.io.stream import FileStream, type_bytes

__all__ = ["ArrowSource", "holds", "open_stream_writer", "open_writer"]


class ArrowSource(FileStream):
    """One Arrow file, of the file or the stream format; of a file on this machine only the batches that are wanted are read."""

    def __init__(self, file: FoundFile) -> None:
        super().__init__(file)
        with _open(file) as reader, _told(file):
            self.schema = decoded_schema(reader.schema)
            _ = self.schema.names  # which may be no text
            self._random = isinstance(reader, pa.RecordBatchFileReader)
        sizes = self._sizes() if self._random and file.is_local and len(self.schema) else []
        self._ends = np.cumsum([0, *sizes], dtype=np.int64)

    @property
    def num_rows(self) -> int | None:
        """Rows in a file on this machine; None for streams and for files elsewhere, which would have to be read."""
        return int(self._ends[-1]) if self._random and self._file.is_local else None

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        fields = sorted(self.schema.get_field_index(name) for name in columns)
        first = max(0, int(np.searchsorted(self._ends, skip, side="right")) - 1)
        self.check_opened()
        with _open(self._file, fields) as reader:
            pieces = (piece.select(list(columns)) for piece in self._read(reader, first))
            yield from drop_rows(pieces, skip - int(self._ends[first]))

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `Stream.splits`; record batches stay whole."""
        if self.num_rows is None:
            return super()._splits(target_bytes)
        row_bytes, ends = (self._file.state_found()[0] / max(self.num_rows, 1)), self._ends.tolist()
        found = [
            slice(ends[each.start], ends[each.stop])
            for each in runs([rows * row_bytes for rows in np.diff(ends)], target_bytes)
        ]
        return [
            Split(self, each.start, each.stop - each.start, each.start, int((each.stop - each.start) * row_bytes))
            for each in found
            if each.stop > each.start
        ]

    def _sizes(self) -> list[int]:
        """Rows of each batch, by the narrowest column: where batches are compressed, it is the least to read."""
        widths = [type_bytes(data_type) for data_type in self.schema.types]
        with _open(self._file, [widths.index(min(widths))]) as reader, _told(self._file):
            return [len(reader.get_batch(index)) for index in range(reader.num_record_batches)]

    def _read(self, reader: Any, first: int) -> Iterator[pa.RecordBatch]:
        count = int(self._ends[first])
        batches = map(reader.get_batch, range(first, reader.num_record_batches)) if self._random else reader
        for batch in batches:
            batch.validate(full=True)  # a damaged file may point anywhere
            yield mark(batch, count)
            count += len(batch)
        self._counted = count


@contextmanager
def _open(file: FoundFile, fields: list[int] | None = None) -> Iterator[Any]:
    options = pa.ipc.IpcReadOptions(included_fields=fields)
    raw = file.open()
    try:
        yield _reader(raw, options, file)
    finally:
        raw.close()


def _reader(raw: Any, options: Any, file: FoundFile) -> Any:
    try:
        return pa.ipc.open_file(raw, options=options)
    except (OSError, pa.ArrowException):  # which of them is chance where a file is damaged
        raw.seek(0)
    with _told(file):
        return pa.ipc.open_stream(raw, options=options)


@contextmanager
def _told(file: FoundFile) -> Iterator[None]:
    """Tell what Arrow raises of a file that is none of its own, or damaged.

    Raises:
        InputError: for all of that.
    """
    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"is no Arrow file that can be read: {error}", where=str(file)) from None


class _ArrowWriter:
    def __init__(self, out: Any) -> None:
        self._out = out

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write a copy whose buffers begin and end with its rows, since slices show in the file."""
        columns = [pa.concat_arrays([column.slice(0, 0), column]) for column in batch.columns]
        self._out.write_batch(pa.RecordBatch.from_arrays(columns, schema=batch.schema))

    def close(self) -> None:
        self._out.close()


def holds(field: pa.Field) -> bool:
    """Arrow holds all that is Arrow's."""
    return True


def open_writer(file: Any, schema: pa.Schema, codec: str | None) -> Any:
    """Arrow's own writer of the file format, uncompressed, so that it can be mapped into memory."""
    return _ArrowWriter(pa.ipc.new_file(file, schema))


def open_stream_writer(file: Any, schema: pa.Schema, codec: str | None) -> Any:
    """Arrow's own writer of the stream format, which is read as it comes."""
    return _ArrowWriter(pa.ipc.new_stream(file, schema))
