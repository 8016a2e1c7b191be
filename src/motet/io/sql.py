"""Tables and queries of SQLite, PostgreSQL, DuckDB and whatever SQLAlchemy knows as sources.

sqlite:///file.db#reviews
postgresql://host/base?query=SELECT ...&order=id
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa

from motet.databases.address import QUERIED, TableAddress
from motet.databases.query import QueryRows, open_query
from motet.errors import DataError, InputError
from motet.io.faults import with_errors
from motet.io.marks import mark
from motet.io.stream import Stream, rows_to_read, type_bytes

__all__ = ["SqlSource"]

_SCHEMES = ("sqlite", "postgresql", "duckdb", "sqlalchemy")


class SqlSource(Stream):
    """Rows of a table or a query, in an order, as they are at one moment.

    Args:
        text: the address.

    Raises:
        InputError: when it is none, or there are no such rows, or their order is not told.
    """

    def __init__(self, text: str) -> None:
        self._address = TableAddress.parse(text, QUERIED)
        self.description = str(self._address)
        if self._address.scheme not in _SCHEMES:
            hint = "search it as a model, or read it with its own client and give a frame or a table of Arrow"
            raise InputError(
                f"tables of {self._address.scheme} are not read as rows", where=self.description, hint=hint
            )
        self._rows: QueryRows = open_query(self._address)
        self.schema = self._rows.schema

    @cached_property
    def num_rows(self) -> int:
        """How many there were when that was first asked."""
        return self._rows.count()

    @cached_property
    def _ends(self) -> str:
        """What tells the first and the last row by the columns of the order, when first asked; nothing of a query, which may be dear."""
        return "" if self._address.options.get("query") else repr(self._rows.ends())

    def fingerprint(self) -> str:
        """A digest of the query, of how many rows there are, and of the first and the last; other changes are not seen."""
        return hashlib.sha256(repr(self._rows.identity()).encode()).hexdigest()

    def check_unchanged(self) -> None:
        """See `Stream.check_unchanged`: by how many there are, and which is the first and which the last one of a table."""
        now, hint = self._rows.count(), "begin anew with --overwrite"
        if now != self.num_rows:
            what = f"had {self.num_rows:,} rows when the run began, and has {now:,}"
            raise DataError(what, where=self.description, hint=hint)
        if self._ends and repr(self._rows.ends()) != self._ends:
            what = f"has {now:,} rows, as when the run began, but its first or last one is another"
            raise DataError(what, where=self.description, hint=hint)

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        _ = self.num_rows, self._ends
        size = rows_to_read(rows, sum(type_bytes(self.schema.field(name).type) for name in columns))
        for batch, wrong in self._rows.batches(columns, skip, size):
            reasons = pa.array([wrong.get(row) for row in range(len(batch))], pa.string()) if wrong else None
            yield mark(with_errors(batch, reasons) if wrong else batch, skip)
            skip += len(batch)
