"""A table of a lake as output: rows are put aside until all are answered, and added to the table in one transaction.

What that transaction is known by is noted in the journal before it is made. So a run that was killed behind it, and goes on, finds
that it was made, and makes no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from motet.engines.local.addressed import AddressedDestination
from motet.engines.local.destination import Destination
from motet.engines.local.journal import NOTE
from motet.engines.local.output import Output, Refuses
from motet.engines.local.work import WorkFolder
from motet.errors import InputError
from motet.io.jsontext import plain_batch, plain_schema
from motet.io.target import writing
from motet.lake.address import LakeAddress
from motet.lake.opening import open_lake_table
from motet.lake.table import LakeTable
from motet.lake.types import check_filled, fitting, stored_schema, unfit_rows

if TYPE_CHECKING:
    from motet.engines.local.folder_output import Added

__all__ = ["LakeDestination", "LakeOutput"]

NEW = "new "
"""What a note begins with where the table was not there when the run began."""


@dataclass(frozen=True)
class LakeDestination(AddressedDestination):
    """A table of a lake that answers go to."""

    @cached_property
    def address(self) -> LakeAddress:
        """Its address.

        Raises:
            InputError: when it is none.
        """
        return LakeAddress.parse(self.path, written=True)

    @cached_property
    def table(self) -> LakeTable:
        """The table itself."""
        return open_lake_table(self.address)

    there_hint = f"?mode=append behind its name adds to it, {Destination.there_hint}"

    @property
    def kind(self) -> str:
        """See `Destination`."""
        return f"{self.address.scheme}, {'added' if self.adds else 'replaced'}"

    @property
    def adds(self) -> bool:
        """Whether rows that the table has stay; else they go in the same transaction."""
        return self.address.options.get("mode") == "append"

    def check(self, *, resume: bool, append: bool) -> None:
        """See `Destination`."""
        if append:
            hint = f"{self.shown}?mode=append adds all rows of the input to those of the table"
            raise InputError("is for folders of files, and the output is a table", where="append", hint=hint)
        for name, given in (("partition_by", self.partition_by), ("output_format", self.format)):
            if given:
                hint = "leave it out; a table that is there keeps its partitions"
                raise InputError("is for files, and the output is a table", where=name, hint=hint)
        _ = self.address

    def exists(self) -> bool:
        """See `Destination`: whether it is there, and the address does not say what becomes of its rows."""
        if "mode" in self.address.options:
            return False
        try:
            return self.table.schema() is not None
        finally:
            self.table.close()

    def holds(self, field: pa.Field) -> bool:
        """See `Destination`."""
        return self.table.stored(plain_schema(pa.schema([field])).field(0).type) is not None

    def open(self, work: WorkFolder, added: Added | None = None) -> Output:
        """See `Destination`."""
        return LakeOutput(self, work)


@dataclass(frozen=True)
class LakeRefusal:
    """Which rows a table cannot hold.

    Attributes:
        stored: the schema that rows are given to it in.
        where: the table, for messages.
    """

    stored: pa.Schema
    where: str

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows without JSON that is kept as it was written."""
        return plain_batch(batch, plain_schema(batch.schema))

    def __call__(self, batch: pa.RecordBatch) -> Mapping[int, str]:
        """By row why it cannot be held."""
        return unfit_rows(self.plain(batch), self.stored, self.where)


class LakeOutput(Output):
    """Puts rows aside, and adds them to a table in one transaction.

    Args:
        destination: the table.
        work: where rows stand until then, and what the transaction is known by.
    """

    commits = True

    def __init__(self, destination: LakeDestination, work: WorkFolder) -> None:
        self._destination, self._table, self._work = destination, destination.table, work
        self._refusal = LakeRefusal(pa.schema([]), destination.shown)
        self._file: Any = None
        self._out: Any = None
        self._rows = 0
        self._absent = False

    @property
    def rows(self) -> int:
        """See `Output`."""
        return self._rows

    def check(self, schema: pa.Schema) -> None:
        """See `Output`."""
        destination = self._destination
        if not destination.adds and not self._table.replaces:
            what = f"rows of a table of {self._table.database} are not replaced"
            raise InputError(what, where=destination.shown, hint="?mode=append behind its name adds to them")
        try:
            self._table.prepare(self._of(schema)[0])
        finally:
            self._table.close()  # no connection stays open for it

    def _of(self, schema: pa.Schema) -> tuple[pa.Schema, pa.Schema | None]:
        """What rows of a schema are given to the table in, and the columns that it has and keeps."""
        there = self._table.schema() if self._destination.adds else None
        stored = stored_schema(
            plain_schema(schema), there, self._table.stored, self._table.database, self._destination.shown
        )
        return stored, there

    def _open(self, schema: pa.Schema) -> None:
        stored, there = self._of(schema)
        self._absent = not self._destination.adds and self._table.schema() is None
        if not self._destination.adds:
            self._check_partitions(schema)
        if there is not None:
            check_filled(schema, there, self._destination.shown)
        with writing(self._path):
            self._file = pa.OSFile(os.fsencode(self._path), "w")
            self._out = pa.ipc.new_file(self._file, stored)
        self._refusal = LakeRefusal(stored, self._destination.shown)

    def _check_partitions(self, schema: pa.Schema) -> None:
        """See that rows which replace those of a table have the columns that it is partitioned by."""
        lost = next((name for name in self._table.partitions() if name not in schema.names), None)
        if lost is not None:
            what = f"is partitioned by {lost!r}, which the rows have not"
            raise InputError(what, where=self._destination.shown, hint="keep that column, or write to another table")

    @cached_property
    def _path(self) -> str:
        """The file of the rows."""
        return self._work.part("rows.arrow")

    def refused(self, batch: pa.RecordBatch) -> Mapping[int, str]:
        """See `Output`."""
        return self.refuses(batch.schema)(batch)

    def refuses(self, schema: pa.Schema) -> Refuses:
        """See `Output`."""
        if not self.is_open:
            self.open(schema)
        return self._refusal

    @cached_property
    def _creates(self) -> bool:
        """Whether the table was not there when the run began, which is noted for who goes on; rows of nobody else go then."""
        noted = self._text()
        found = noted.startswith(NEW) if noted else self._absent
        if found and not noted:
            self._put(NEW)
        return found

    def _write(self, batch: pa.RecordBatch) -> None:
        _ = self._creates
        with writing(self._path):
            self._out.write_batch(fitting(self._refusal.plain(batch), self._refusal.stored))
        self._rows += batch.num_rows

    def start_over(self) -> None:
        """See `Output`."""
        super().start_over()
        self._rows = 0

    def close(self) -> None:
        """See `Output`: add the rows, unless an earlier part of the run has."""
        with writing(self._path):
            self._end()
        self._work.check()
        stored = self._refusal.stored
        replaces = not self._destination.adds and not self._creates
        noted = self._text().removeprefix(NEW)
        self._table.commit(self._read, stored, noted, self._note, replaces=replaces, creates=self._creates)
        self._table.close()

    def _end(self) -> None:
        """Let all rows stand in the file."""
        out, file, self._out, self._file = self._out, self._file, None, None
        if out is not None:
            out.close()
            file.close()

    def _read(self) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(os.fsencode(self._path)) as file:
            reader = pa.ipc.open_file(file)
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)

    def _text(self) -> str:
        """What is noted."""
        if NOTE not in self._work.names():
            return ""
        with self._work.reading(NOTE) as file:
            return str(file.read().decode())

    def _note(self, text: str) -> None:
        self._put(f"{NEW if self._creates else ''}{text}")

    def _put(self, text: str) -> None:
        with self._work.writing(NOTE) as file:
            file.write(text.encode())

    def abort(self) -> None:
        """Leave the table as it is."""
        with writing(self._path):
            self._end()
        self._table.close()
