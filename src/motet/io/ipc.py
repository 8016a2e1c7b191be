"""Arrow's own files: the file format and the stream format, also under the names Feather and IPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from motet.errors import InputError
from motet.io.files import File, fingerprint_files
from motet.io.stream import Stream, drop_rows

__all__ = ["ArrowSource", "ipc_writer"]


class ArrowSource(Stream):
    """One Arrow file. A local one is mapped into memory, so that columns cost nothing to read where uncompressed."""

    def __init__(self, file: File) -> None:
        self._file, self.description = file, str(file)
        with _open(file) as reader:
            self.schema = reader.schema
            self._random = isinstance(reader, pa.RecordBatchFileReader)
            known = reader.num_record_batches if self._random and file.is_local else 0
            sizes = [len(reader.get_batch(index)) for index in range(known)]
        self._ends = np.cumsum([0, *sizes], dtype=np.int64)

    @property
    def num_rows(self) -> int | None:
        """Rows in a file on this machine; None for streams and for files elsewhere, which would have to be read."""
        return int(self._ends[-1]) if self._random and self._file.is_local else None

    def fingerprint(self) -> str:
        """See `fingerprint_files`."""
        return fingerprint_files([self._file])

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        fields = sorted(self.schema.get_field_index(name) for name in columns)
        first = max(0, int(np.searchsorted(self._ends, skip, side="right")) - 1)
        with _open(self._file, fields) as reader:
            pieces = (piece.select(list(columns)) for piece in self._read(reader, first))
            yield from drop_rows(pieces, skip - int(self._ends[first]))

    def _read(self, reader: Any, first: int) -> Iterator[pa.RecordBatch]:
        if not self._random:
            yield from reader
            return
        for index in range(first, reader.num_record_batches):
            yield reader.get_batch(index)


@contextmanager
def _open(file: File, fields: list[int] | None = None) -> Iterator[Any]:
    options = pa.ipc.IpcReadOptions(included_fields=fields)
    raw = file.open()
    try:
        yield _reader(raw, options, file)
    finally:
        raw.close()


def _reader(raw: Any, options: Any, file: File) -> Any:
    try:
        return pa.ipc.open_file(raw, options=options)
    except pa.ArrowInvalid:
        raw.seek(0)
    try:
        return pa.ipc.open_stream(raw, options=options)
    except pa.ArrowInvalid as error:
        raise InputError(f"is no Arrow file that can be read: {error}", where=str(file)) from None


def ipc_writer(path: str, schema: pa.Schema, codec: str | None) -> Any:
    """Arrow's own writer of the file format, uncompressed, so that it can be mapped into memory."""
    return pa.ipc.new_file(path, schema)
