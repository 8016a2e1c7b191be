"""Tables of Iceberg, by the package pyiceberg: the files of one snapshot, and rows added by one commit to the catalog.

Snapshots that a run adds have the run's own id in their summary, so that a run which goes on sees whether they were added.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from time import sleep as pause
from typing import Any, ClassVar

import pyarrow as pa

from motet.databases.retry import pauses
from motet.errors import InputError, RunError
from motet.lake.address import LakeAddress
from motet.lake.table import Rows, made_meanwhile
from motet.lake.types import common, stored_type
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["IcebergTable", "load_table", "plain_kind", "told"]

RUN = "motet.run"
"""What of a snapshot's summary has the id of the run that added it."""
GROUP_BYTES = 128 << 20
"""The most bytes of rows that are given at once, which become a data file each, or one for each partition."""


@contextmanager
def told(address: LakeAddress) -> Iterator[None]:
    """Tell errors of the package and of catalogs as ours, without what is secret in an address.

    Raises:
        InputError: for what is no error of ours.
    """
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:  # noqa: BLE001 (catalogs raise what their clients raise)
        said = _hidden(summary(error), address)
        raise InputError(f"cannot be read as a table of Iceberg: {said}", where=str(address)) from None


def _hidden(text: str, address: LakeAddress) -> str:
    """A message without the properties of a catalog, and without what stands before an `@` in them."""
    values = list(address.properties.values())
    users = [value.rpartition("@")[0].partition("://")[2] for value in values]
    parts = {*values, *users, *(part for user in users for part in re.split("[:/@]", user))}
    for each in sorted(parts, key=len, reverse=True):
        text = text.replace(each, "...") if len(each) > 2 else text
    return text


def _catalog(address: LakeAddress) -> Any:
    package = imported("pyiceberg.catalog", "pyiceberg", "iceberg", str(address))
    return package.load_catalog(address.parts[0], **address.properties)


def load_table(address: LakeAddress) -> Any:
    """The table of an address, as its catalog has it now.

    Raises:
        InputError: when there is no such table or catalog.
    """
    with told(address):
        catalog = _catalog(address)
        try:
            return catalog.load_table(address.parts[1])
        finally:
            _closed(catalog)


def _closed(catalog: Any) -> None:
    """Let go of what a catalog is connected to; not all can be told to."""
    if hasattr(catalog, "close"):
        catalog.close()


def _leaf(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_time(kind):
        return pa.time64("us")
    found = common(kind)
    small = found is not None and pa.types.is_integer(found) and found.bit_width < 32
    return pa.int32() if small else found


def plain_kind(kind: pa.DataType) -> pa.DataType:
    """A type as Arrow has it elsewhere: the package has texts, bytes and lists as large ones."""
    return stored_type(kind, lambda leaf: leaf if pa.types.is_fixed_size_binary(leaf) else _leaf(leaf) or leaf) or kind


class IcebergTable:
    """A table of Iceberg that rows are added to; see `LakeTable`."""

    database: ClassVar[str] = "Iceberg"
    replaces: ClassVar[bool] = True

    def __init__(self, address: LakeAddress) -> None:
        self._address, self._where = address, str(address)
        imported("pyiceberg", "pyiceberg", "iceberg", self._where)

    @cached_property
    def _base(self) -> Any:
        with told(self._address):
            return _catalog(self._address)

    def _table(self) -> Any:
        """The table as it is now; None where there is none."""
        name = self._address.parts[1]
        with told(self._address):
            return self._base.load_table(name) if self._base.table_exists(name) else None

    def schema(self) -> pa.Schema | None:
        """See `LakeTable`."""
        table = self._table()
        if table is None:
            return None
        found = table.schema().as_arrow()
        return pa.schema([pa.field(each.name, plain_kind(each.type), each.nullable) for each in found])

    def partitions(self) -> list[str]:
        """See `LakeTable`."""
        table = self._table()
        return (
            [] if table is None else [table.schema().find_column_name(each.source_id) for each in table.spec().fields]
        )

    def stored(self, kind: pa.DataType) -> pa.DataType | None:
        """See `LakeTable`."""
        return stored_type(kind, _leaf)

    def prepare(self, schema: pa.Schema) -> None:
        """See `LakeTable`: the namespace is there."""
        namespace = self._address.parts[1].rpartition(".")[0]
        with told(self._address):
            there = self._base.namespace_exists(namespace)
        if not there:
            hint = "make it in the catalog first"
            raise InputError(f"the catalog has no namespace {namespace!r}", where=self._where, hint=hint)
        if "" in schema.names:
            raise InputError("its columns have names, and one of the rows has none", where=self._where)

    def commit(
        self, rows: Rows, schema: pa.Schema, noted: str, note: Callable[[str], None], *, replaces: bool, creates: bool
    ) -> None:
        """See `LakeTable`."""
        run = noted or uuid.uuid4().hex
        if not noted:
            note(run)
        conflict = imported("pyiceberg.exceptions", "pyiceberg", "iceberg", self._where).CommitFailedException
        for wait_s in (*pauses(), None):
            try:
                self._commit_once(rows, schema, run, replaces=replaces, creates=creates)
            except conflict as error:  # somebody else has committed meanwhile, or an answer was lost
                if wait_s is None:
                    raise self._refused(error) from error
                pause(wait_s)
            except InputError:
                raise
            except Exception as error:  # noqa: BLE001 (catalogs raise what their clients raise)
                raise self._refused(error) from None
            else:
                return

    def _refused(self, error: Exception) -> RunError:
        said = _hidden(summary(error), self._address)
        return RunError(f"cannot be written: {said}", where=self._where, hint="--resume adds what is finished")

    def _commit_once(self, rows: Rows, schema: pa.Schema, run: str, *, replaces: bool, creates: bool) -> None:
        table = self._table()
        if table is not None and any(
            each.summary is not None and each.summary.additional_properties.get(RUN) == run
            for each in table.snapshots()
        ):
            return
        if creates and table is not None:
            raise made_meanwhile(self._where)
        name, properties = self._address.parts[1], {RUN: run}
        creating = table is None
        with self._base.create_table_transaction(name, schema) if creating else table.transaction() as change:
            if replaces and not creating:
                self._replace(change, schema, properties)
            for group in _grouped(rows(), schema):
                change.append(group, snapshot_properties=properties)

    def _replace(self, change: Any, schema: pa.Schema, properties: dict[str, str]) -> None:
        """Take all rows away, and have the columns of the new ones."""
        expressions = imported("pyiceberg.expressions", "pyiceberg", "iceberg", self._where)
        if _has_rows(change.table_metadata):
            change.delete(expressions.AlwaysTrue(), snapshot_properties=properties)
        with change.update_schema(allow_incompatible_changes=True) as update:
            update.union_by_name(schema)
            for name in change.table_metadata.schema().as_arrow().names:
                if name not in schema.names:
                    update.delete_column(name)

    def close(self) -> None:
        """See `LakeTable`."""
        base = self.__dict__.pop("_base", None)
        if base is not None:
            _closed(base)


def _has_rows(metadata: Any) -> bool:
    """Whether a table may have rows; the package warns where none is to be deleted."""
    snapshot = metadata.current_snapshot()
    if snapshot is None:
        return False
    said = None if snapshot.summary is None else snapshot.summary.additional_properties.get("total-records")
    return bool(said != "0")


def _grouped(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows in tables of so many bytes; at least one, which may have none, so that a run is known by its snapshot."""
    make, held, size, given = partial(pa.Table.from_batches, schema=schema), [], 0, False
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= GROUP_BYTES:
            yield make(held)
            held, size, given = [], 0, True
    if held or not given:
        yield make(held)
