"""Sources of other packages, whose batches may hold dictionaries, run-ends and views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from motet.batch import Indices
from motet.io.fitted import decoded_schema
from motet.io.stream import Stream

if TYPE_CHECKING:
    from motet.io.source import Source

__all__ = ["ForeignSource"]


class ForeignSource(Stream):
    """Any `Source`, with its columns in the types of `decoded_schema`."""

    def __init__(self, source: Source) -> None:
        self._source, self.description, self.reads_again = source, source.description, source.reads_again
        self.schema = decoded_schema(source.schema)

    @property
    def num_rows(self) -> int | None:
        """The source's own."""
        return self._source.num_rows

    def fingerprint(self) -> str:
        """The source's own."""
        return self._source.fingerprint()

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        return self._source.batches(rows, columns, skip)

    def pieces_at(self, positions: Indices, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces_at`."""
        return self._source.batches_at(positions, rows, columns)
