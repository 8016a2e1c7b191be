"""Parquet: read by runs of row groups, written in row groups of an exact size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.errors import InputError
from motet.io.arrow.layout import is_tensor
from motet.io.decryption import ParquetKeys, is_encrypted, without_keys
from motet.io.files import FoundFile
from motet.io.fitted import decoded_schema
from motet.io.marks import drop_rows, mark_all
from motet.io.splits import Split, runs, whole
from motet.io.stream import FileStream, rows_to_read
from motet.io.take import take_batch

__all__ = ["ParquetSource", "holds", "open_writer"]

_RUN_BYTES = 32 << 20
_MEASURED_GROUPS = 32
_BUFFERS_BYTES, _BUFFER_BYTES = 16 << 20, 256 << 10
"""What is read ahead of all columns together, and at most of one where a row group holds more than the former."""


class ParquetSource(FileStream):
    """One Parquet file, or some row groups of it, one after another.

    Row groups are read in runs of some 32 MiB, so that little is held and small groups cost little; `skip` and
    `batches_at` leave whole groups unread.

    Args:
        file: the file.
        keys: what it is decrypted with where it is encrypted.
    """

    def __init__(self, file: FoundFile, keys: ParquetKeys | None = None) -> None:
        super().__init__(file)
        self._keys = keys
        with _open(file, keys) as parquet:
            stored = parquet.schema_arrow
            metadata = parquet.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            self._metadata = metadata
        self.schema = decoded_schema(stored)
        pairs = zip(stored, self.schema, strict=True)
        self._alone = {one.name for one, plain in pairs if pa.types.is_nested(one.type) and one.type != plain.type}
        self._first = 0  # of the file's row groups the first that is read
        self._ends = np.cumsum([0, *(group.num_rows for group in groups)], dtype=np.int64)
        self._bytes = [int(group.total_byte_size) for group in groups]

    def __getstate__(self) -> dict[str, Any]:
        """All but the footer, which whoever opens the file has again."""
        return {**self.__dict__, "_metadata": None}

    @property
    def num_rows(self) -> int:
        """Rows, as the footer says."""
        return int(self._ends[-1])

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `Stream.splits`; row groups stay whole."""
        found = []
        for each in runs(self._bytes, target_bytes):
            some = copy(self)
            some._first, some._bytes, some.reads = self._first + each.start, self._bytes[each], ()
            first = int(self._ends[each.start])
            some._ends = self._ends[each.start : each.stop + 1] - first
            found += whole(some, some.num_rows, sum(some._bytes), first)
        return found

    def stored_row_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.stored_row_bytes`; by some row groups from all over the file."""
        if self._keys is not None:  # of columns whose key is not there Arrow has no metadata
            return max(
                (size / max(1, rows) for size, rows in zip(self._bytes, np.diff(self._ends), strict=True)), default=0.0
            )
        wanted, most = set(columns), 0.0
        paths = [self._metadata.schema.column(index).path for index in range(self._metadata.num_columns)]
        places = [index for index, path in enumerate(paths) if path in wanted or path.partition(".")[0] in wanted]
        for index in range(0, len(self._bytes), max(1, len(self._bytes) // _MEASURED_GROUPS)):
            group = self._metadata.row_group(self._first + index)
            if group.num_rows:
                most = max(most, sum(group.column(place).total_uncompressed_size for place in places) / group.num_rows)
        return most

    def _buffer(self, columns: int) -> int:
        """Bytes that are read of a column at a time; 0 for all that a row group holds of it, where that is little."""
        if not self._file.is_local or max(self._bytes, default=0) <= _BUFFERS_BYTES:
            return 0
        return max(4096, min(_BUFFER_BYTES, _BUFFERS_BYTES // max(columns, 1)))

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; opens the file when the first is asked for."""
        first = int(np.searchsorted(self._ends, skip, side="right")) - 1
        if skip >= self.num_rows:
            return
        self.check_opened()
        with _open(self._file, self._keys, self._buffer(len(columns))) as parquet:
            self._metadata = parquet.metadata
            start = int(self._ends[first])
            pieces = self._read(parquet, first, len(self._bytes), columns, rows, self.stored_row_bytes(columns))
            yield from drop_rows(mark_all(pieces, start), skip - start)

    def pieces_at(self, positions: Indices, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces_at`; reads only row groups that hold a position."""
        if len(positions) and positions[-1] >= self.num_rows:
            raise InputError(f"has {self.num_rows} rows; row {positions[-1]} is past the end", where=self.description)
        groups = np.unique(np.searchsorted(self._ends, positions, side="right") - 1)
        self.check_opened()
        with _open(self._file, self._keys, self._buffer(len(columns))) as parquet:
            self._metadata = parquet.metadata
            stored = self.stored_row_bytes(columns)
            for group in groups.tolist():
                start = int(self._ends[group])
                for piece in self._read(parquet, group, group + 1, columns, rows, stored):
                    low, high = np.searchsorted(positions, [start, start + len(piece)])
                    if high > low:
                        yield take_batch(piece, positions[low:high] - start)
                    start += len(piece)

    def _read(
        self, parquet: Any, first: int, stop: int, columns: Sequence[str], rows: int, stored: float
    ) -> Iterator[pa.RecordBatch]:
        alone = not self._alone.isdisjoint(columns)  # pyarrow reads no dictionaries in lists across groups
        while first < stop:
            last = first + 1
            while not alone and last < stop and sum(self._bytes[first : last + 1]) <= _RUN_BYTES:
                last += 1
            count = int(self._ends[last] - self._ends[first])
            size = rows_to_read(rows, stored or sum(self._bytes[first:last]) / max(count, 1))
            groups = list(range(self._first + first, self._first + last))
            for piece in parquet.iter_batches(size, row_groups=groups, columns=list(columns)):
                yield piece.select(list(columns))
            first = last


@contextmanager
def _open(file: FoundFile, keys: ParquetKeys | None, buffer: int = 0) -> Iterator[Any]:
    import pyarrow.parquet as pq

    raw = file.open()
    try:
        parquet = pq.ParquetFile(
            raw,
            pre_buffer=not file.is_local,
            buffer_size=buffer,
            page_checksum_verification=True,
            decryption_properties=without_keys() if keys is None else keys.properties(file),
        )
    except BaseException as error:  # OSError for one that is encrypted
        raw.close()
        if isinstance(error, pa.ArrowException | OSError):
            raise _refusal(file, keys, error) from None
        raise
    try:
        yield parquet
    finally:
        parquet.close(force=True)


def _refusal(file: FoundFile, keys: ParquetKeys | None, error: Exception) -> InputError:
    """Why a file cannot be opened."""
    if not is_encrypted(file, error):
        return InputError(f"is no Parquet file that can be read: {error}", where=str(file))
    if keys is None:
        hint = "give its keys with --decrypt (decrypt=)"
        return InputError("is encrypted, and no keys were given", where=str(file), hint=hint)
    hint = "check them: one key (for all of the file), or master keys by their ids; keys of columns without KMS are not read"
    return InputError(f"is encrypted, and not with the keys that were given: {error}", where=str(file), hint=hint)


def holds(field: pa.Field) -> bool:
    """Whether a file can hold a column, which Arrow's writer tells."""
    import pyarrow.parquet as pq

    if (pa.types.is_primitive(field.type) and not pa.types.is_interval(field.type)) or is_tensor(field.type):
        return True
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
    except (pa.ArrowException, OSError):  # OSError for a scale of decimals below 0
        return False
    return True


def open_writer(file: Any, schema: pa.Schema, codec: str | None) -> Any:
    """Arrow's own writer: zstd; dictionaries for strings and bytes, numbers being smaller and faster without."""
    import pyarrow.parquet as pq

    repeated = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    return pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repeated or False)
