"""Tables of Delta Lake, by the package deltalake: the files of one version, and rows added in one version.

What a run adds carries the run's own id as a transaction of the log, so that a run which goes on sees whether it was added.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from urllib.parse import unquote

import pyarrow as pa

from motet.errors import InputError, RunError
from motet.lake.address import LakeAddress
from motet.lake.table import Rows
from motet.lake.types import common, stored_type
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["DeltaFile", "DeltaLakeTable", "DeltaVersion", "read_version"]

_READ_FEATURES = frozenset(("timestampNtz", "deletionVectors", "vacuumProtocolCheck", "v2Checkpoint"))
"""What a table may ask of its readers that is met here; vectors of deletions only where there are none."""


@dataclass(frozen=True)
class DeltaFile:
    """A file of a version.

    Attributes:
        path: a path, or a URL.
        values: of the columns that partition the table, each an array of shape `[1]`.
    """

    path: str
    values: Mapping[str, pa.Array]


@dataclass(frozen=True)
class DeltaVersion:
    """A table as it was at one version.

    Attributes:
        id: the table's own.
        version: which it is.
        schema: of the rows.
        files: those that count, in the order of their paths.
    """

    id: str
    version: int
    schema: pa.Schema
    files: tuple[DeltaFile, ...]


def _deltalake(address: LakeAddress) -> Any:
    return imported("deltalake", "deltalake", "delta", str(address))


@contextmanager
def _told(address: LakeAddress, deltalake: Any) -> Iterator[None]:
    """Tell errors of the package as ours."""
    try:
        yield
    except (deltalake.exceptions.DeltaError, OSError, ValueError) as error:
        raise InputError(f"cannot be read as a table of Delta Lake: {summary(error)}", where=str(address)) from error


def read_version(address: LakeAddress) -> DeltaVersion:
    """The version that an address names, the newest where it names none.

    Raises:
        InputError: when there is no such table or version, or it needs a reader that we are not.
    """
    deltalake, options = _deltalake(address), address.options
    with _told(address, deltalake):
        version = int(options["version"]) if "version" in options else None
        table = deltalake.DeltaTable(address.place, version=version)
        if "timestamp" in options:
            table.load_as_version(_moment(options["timestamp"], str(address)))
        _check_reader(table, str(address))
        schema = pa.schema(table.schema().to_arrow())
        actions = pa.table(table.get_add_actions())
    where = table.table_uri.rstrip("/") if "://" in address.place else os.path.abspath(address.place)
    paths = [unquote(path) for path in actions["path"].to_pylist()]
    partition = actions["partition"] if "partition" in actions.column_names else None
    files = [
        DeltaFile(path if "://" in path or path.startswith("/") else f"{where}/{path}", _values(partition, row, schema))
        for row, path in enumerate(paths)
    ]
    return DeltaVersion(
        str(table.metadata().id), table.version(), schema, tuple(sorted(files, key=lambda each: each.path))
    )


def _moment(text: str, where: str) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        hint = "write it as ISO 8601 has it: 2024-05-01T10:00:00Z"
        raise InputError(f"timestamp is {text!r}, which is none", where=where, hint=hint) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)


def _values(partition: Any, row: int, schema: pa.Schema) -> dict[str, pa.Array]:
    if partition is None:
        return {}
    found = partition[row].as_py() or {}
    return {name: pa.array([value], schema.field(name).type) for name, value in found.items()}


def _check_reader(table: Any, where: str) -> None:
    """See that what a table asks of its readers is met here."""
    protocol = table.protocol()
    mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mode != "none":
        hint = "its files have other names of columns than it has; read it with Spark into another one"
        raise InputError(f"has columns that are mapped by {mode}, which is not read", where=where, hint=hint)
    unmet = set(protocol.reader_features or ()) - _READ_FEATURES - {"columnMapping"}
    if protocol.min_reader_version > 3 or unmet:
        what = f"asks of its readers {', '.join(sorted(unmet)) or f'version {protocol.min_reader_version}'}"
        raise InputError(f"{what}, which is not met here", where=where, hint="read it with Spark into another one")
    if "deletionVectors" in (protocol.reader_features or ()) and pa.table(table.deletion_vectors()).num_rows:
        hint = "have its files written anew, such as by REORG TABLE ... APPLY (PURGE) of Spark"
        raise InputError("has rows that vectors mark as deleted, which are not read", where=where, hint=hint)


class DeltaLakeTable:
    """A table of Delta Lake that rows are added to; see `LakeTable`."""

    database: ClassVar[str] = "Delta Lake"
    replaces: ClassVar[bool] = True

    def __init__(self, address: LakeAddress) -> None:
        self._address, self._where, self._deltalake = address, str(address), _deltalake(address)

    def _table(self) -> Any:
        """The table as it is now; None where there is none."""
        try:
            return self._deltalake.DeltaTable(self._address.place)
        except self._deltalake.exceptions.TableNotFoundError:
            return None
        except (self._deltalake.exceptions.DeltaError, OSError, ValueError) as error:
            raise InputError(
                f"cannot be looked at as a table of Delta Lake: {summary(error)}", where=self._where
            ) from error

    def schema(self) -> pa.Schema | None:
        """See `LakeTable`."""
        table = self._table()
        return None if table is None else pa.schema(table.schema().to_arrow())

    def stored(self, kind: pa.DataType) -> pa.DataType | None:
        """See `LakeTable`."""
        return stored_type(kind, common)

    def prepare(self, schema: pa.Schema) -> None:
        """See `LakeTable`: a folder that holds other things is none to make a table in."""
        place = self._address.place
        if self._address.is_local and os.path.isdir(place) and self._table() is None and os.listdir(place):
            raise InputError("is a folder with files, and no table of Delta Lake", where=self._where)

    def commit(self, rows: Rows, schema: pa.Schema, noted: str, note: Callable[[str], None], *, replaces: bool) -> None:
        """See `LakeTable`."""
        run, table = noted or uuid.uuid4().hex, self._table()
        if noted and table is not None and table.transaction_version(run) is not None:
            return
        note(run)
        properties = self._deltalake.CommitProperties(
            custom_metadata={"motet.run": run}, app_transactions=[self._deltalake.Transaction(run, 1)]
        )
        write = partial(
            self._deltalake.write_deltalake, self._address.place, commit_properties=properties,
            data=pa.RecordBatchReader.from_batches(schema, rows()),
        )  # fmt: skip
        try:
            if replaces and table is not None:
                write(mode="overwrite", schema_mode="overwrite")
            else:
                write(mode="append" if table is not None else "error")
        except (self._deltalake.exceptions.DeltaError, OSError, ValueError) as error:
            raise RunError(
                f"cannot be written: {summary(error)}", where=self._where, hint="--resume adds what is finished"
            ) from error

    def close(self) -> None:
        """See `LakeTable`."""
