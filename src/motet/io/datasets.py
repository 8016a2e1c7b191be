"""Data sets of Hugging Face's package `datasets`: in memory, or memory-mapped by it. The package itself is not imported here.

Rows are as they are stored: pictures and sounds as `struct<bytes, path>`, classes as whole numbers. Formats and transforms that a data
set has been given are for Python's values, and are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from motet.errors import InputError
from motet.io.fitted import decoded_schema
from motet.io.marks import mark_all
from motet.io.memory import IterableSource, TableSource
from motet.io.stream import Stream, rows_to_read, type_bytes
from motet.types import ColumnType

__all__ = ["HubSource", "is_dataset", "open_dataset"]

STREAMED_ROWS = 1_000


def is_dataset(what: Any) -> bool:
    """Whether it is a data set of the package, or several by name."""
    return type(what).__module__.partition(".")[0] == "datasets" and hasattr(what, "with_format")


def open_dataset(what: Any, types: Mapping[str, ColumnType]) -> Stream:
    """The rows of a data set.

    Args:
        what: a `Dataset` or an `IterableDataset`.
        types: declared column types.

    Raises:
        InputError: when it is several data sets by name.
    """
    name = f"a {type(what).__name__}"
    if isinstance(what, Mapping):
        hint = "give one of them: dataset[name]"
        raise InputError(f"holds several: {', '.join(map(str, what))}", where=name, hint=hint)
    if hasattr(what, "num_rows"):
        return HubSource(what, name)
    return IterableSource(_Streamed(what), name, types)


class HubSource(TableSource):
    """A `Dataset`; its rows in its own order, also where that is another than they are stored in."""

    def __init__(self, dataset: Any, description: str) -> None:
        self._dataset, self.description = dataset.with_format("arrow"), description
        self.schema = decoded_schema(_plain(self._dataset[:0]).schema)

    @property
    def num_rows(self) -> int:
        """Rows of the data set."""
        return int(self._dataset.num_rows)

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        size = rows_to_read(rows, sum(type_bytes(self.schema.field(name).type) for name in columns))
        chosen = self._dataset.select_columns(list(columns))
        starts = range(skip, self.num_rows, size)
        found = (_plain(chosen[start : start + size]).select(columns) for start in starts)
        yield from mark_all((batch for table in found for batch in table.to_batches()), skip)


class _Streamed:
    """An `IterableDataset` as tables, each time from its beginning."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset.with_format("arrow")

    def __iter__(self) -> Iterator[pa.Table]:
        return map(_plain, self._dataset.iter(batch_size=STREAMED_ROWS))


def _plain(table: pa.Table) -> pa.Table:
    """A table without the package's own types, and without what it says of columns, which answers beside them would belie."""
    columns = [_storage(column) for column in table.columns]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    chunks = [chunk.storage for chunk in column.chunks]
    return pa.chunked_array(chunks, column.type.storage_type)
