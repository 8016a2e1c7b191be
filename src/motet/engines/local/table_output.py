"""A table of a database as output: rows are written by their ids as they come, and stay when they are acknowledged.

What is acknowledged needs no copy in the journal: a piece says that its rows are done, and a run that goes on goes on behind them.
Rows that were written and not yet in a piece are written again, each in its own place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.layout import TableLayout, last_of_each, vector_length
from motet.databases.opening import open_table
from motet.databases.table import Table
from motet.engines.local.addressed import AddressedDestination
from motet.engines.local.output import Output, Refuses
from motet.engines.local.work import WorkFolder
from motet.errors import InputError, ResumeError
from motet.io.cutter import Cutter
from motet.io.jsontext import plain_batch, plain_schema
from motet.io.stream import join
from motet.system.limits import at_most

if TYPE_CHECKING:
    from motet.engines.local.folder_output import Added

__all__ = ["TableDestination", "TableOutput"]

WRITTEN_ROWS, WRITTEN_BYTES = 65_536, 16 << 20
"""What is written at once at most, unless an address has a smaller number of rows."""


@dataclass(frozen=True)
class TableDestination(AddressedDestination):
    """A table that answers go to.

    Attributes:
        id: the column of the ids of rows; None is `id`.
    """

    id: str | None = None

    @cached_property
    def address(self) -> TableAddress:
        """Its address.

        Raises:
            InputError: when it is none.
        """
        return TableAddress.parse(self.path)

    @property
    def kind(self) -> str:
        """See `Destination`."""
        return f"table by {self.id or 'id'}"

    def check(self, *, resume: bool, append: bool) -> None:
        """See `Destination`."""
        for name, given in (("append", append), ("partition_by", self.partition_by), ("output_format", self.format)):
            if given:
                hint = "rows of other ids stay in a table, and those of the same ids are written over"
                raise InputError("is for files, and the output is a table", where=name, hint=hint)
        _ = self.address

    def exists(self) -> bool:
        """Whether it would have to be replaced: never."""
        return False

    def holds(self, field: pa.Field) -> bool:
        """See `Destination`: lists of single values, and vectors, among what is nested; the rest is told when it is checked."""
        if vector_length(field.type) is not None:
            return True
        kind = field.type.value_type if pa.types.is_list(field.type) else field.type
        return not pa.types.is_nested(kind)

    def open(self, work: WorkFolder, added: Added | None = None) -> Output:
        """See `Destination`."""
        return TableOutput.of(self)


@dataclass(frozen=True)
class TableRefusal:
    """Which rows a table cannot take.

    Attributes:
        layout: its columns.
        keeps_text: see `Table`.
    """

    layout: TableLayout
    keeps_text: bool

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows in the types of the table."""
        return self.layout.plain(plain_batch(batch, plain_schema(batch.schema)))

    def __call__(self, batch: pa.RecordBatch) -> dict[int, str]:
        """By row why it cannot be written."""
        return self.layout.refused(self.plain(batch), text=not self.keeps_text)


class TableOutput(Output):
    """Writes rows to a table, in groups of so many rows and bytes.

    Args:
        table: the table.
        destination: what is known of it.
    """

    starts_over = False
    keeps = True

    def __init__(self, table: Table, destination: TableDestination) -> None:
        self._table, self._destination = table, destination
        self._refusal: TableRefusal | None = None
        self._earlier = 0
        self._groups = Cutter(WRITTEN_ROWS, at_most(WRITTEN_BYTES, part=16), self._upsert)

    @classmethod
    def of(cls, destination: TableDestination) -> TableOutput:
        """What writes to a table."""
        return cls(open_table(destination.address), destination)

    @property
    def rows(self) -> int:
        """See `Output`, with those that an earlier part of the run has written."""
        return self._earlier + self._groups.rows

    def check(self, schema: pa.Schema) -> None:
        """See `Output`; no connection stays open for it."""
        try:
            self._check(schema)
        finally:
            self._table.close()

    def check_there(self) -> None:
        """See `Output`."""
        if self._table.layout() is None:
            what = "the table is not there any more, into which an earlier part of the run has written"
            raise ResumeError(what, where=str(self._destination.address), hint="begin anew with --overwrite")

    def _check(self, schema: pa.Schema) -> None:
        address = self._destination.address
        if (self._destination.id or "id") in schema.names:  # else it may be one whose type is not known yet
            layout = TableLayout.of(
                plain_schema(schema), self._destination.id, address.options.get("metric"), str(address)
            )
            there = self._table.layout()
            if there is None or set(layout.schema.names) == set(there.schema.names):
                self._table.check(layout)

    def _open(self, schema: pa.Schema) -> None:
        address = self._destination.address
        layout = TableLayout.of(plain_schema(schema), self._destination.id, address.options.get("metric"), str(address))
        there = self._table.layout()
        layout = layout.joining(there)
        self._table.prepare(layout)
        self._refusal = TableRefusal(layout, self._table.keeps_text)

    def refused(self, batch: pa.RecordBatch) -> Mapping[int, str]:
        """See `Output`."""
        return self.refuses(batch.schema)(batch)

    def refuses(self, schema: pa.Schema) -> Refuses:
        """See `Output`."""
        if not self.is_open:
            self.open(schema)
        assert self._refusal is not None
        return self._refusal

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self._refusal is not None
        self._groups.add(self._refusal.plain(batch))

    def _upsert(self, held: Sequence[pa.RecordBatch]) -> None:
        assert self._refusal is not None
        self._table.upsert(last_of_each(join(held), self._refusal.layout.id))

    def flush(self) -> None:
        """See `Output`."""
        self._groups.flush()

    def resume(self, rows: int) -> None:
        """See `Output`."""
        self._earlier += rows

    def close(self) -> None:
        """See `Output`."""
        self._groups.flush()
        self._table.close()

    def abort(self) -> None:
        """Let go of the table: what is written stays."""
        self._table.close()
