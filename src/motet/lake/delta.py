"""Tables of Delta Lake, by the package deltalake: the files of one version, and rows added in one version.

What a run adds carries the run's own id as a transaction of the log, so that a run which goes on sees whether it was added.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import datetime
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from motet.errors import InputError, RunError
from motet.lake.address import LakeAddress
from motet.lake.table import Rows, made_meanwhile
from motet.lake.types import common, stored_type
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["DeltaFile", "DeltaLakeTable", "DeltaVersion", "read_version"]

_MAPPINGS = ("none", "name", "id")
"""How columns of a table may be told in its files."""
_READ_FEATURES = frozenset(("timestampNtz", "deletionVectors", "vacuumProtocolCheck", "v2Checkpoint", "columnMapping"))
"""What a table may ask of its readers that is met here."""

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_MISTAKEN = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\\t\n]")
"""What of the name of a folder the package reads as something else, or ends the process at."""


@dataclass(frozen=True)
class DeltaFile:
    """A file of a version.

    Attributes:
        path: a path, or a URL.
        values: of the columns that partition the table, each an array of shape `[1]`.
        deleted: the places of rows that do not count, which a vector of deletions has.
        rows: how many it has, with those that are deleted, as the log says; None where it does not.
    """

    path: str
    values: Mapping[str, pa.Array]
    deleted: tuple[int, ...] = ()
    rows: int | None = None


@dataclass(frozen=True)
class DeltaVersion:
    """A table as it was at one version.

    Attributes:
        id: the table's own.
        version: which it is.
        schema: of the rows; of mapped columns with the metadata that say what files call them.
        files: those that count, in the order of their paths.
        mapping: how columns are told in files: by `none` other than their name, by `name` or by `id`.
    """

    id: str
    version: int
    schema: pa.Schema
    files: tuple[DeltaFile, ...]
    mapping: str = "none"


def _said(error: Exception) -> str:
    """The first line of what the package says; the others are its own affairs."""
    return summary(error).splitlines()[0]


def _deltalake(address: LakeAddress) -> Any:
    package, found = imported("deltalake", "deltalake", "delta", str(address)), _MISTAKEN.search(address.beside)
    if address.is_local and found is not None:
        what = f"is in a folder with {found[0]!r} in its name, which the package deltalake takes for another"
        raise InputError(what, where=str(address), hint="name a folder of letters, digits and _")
    return package


@contextmanager
def _told(address: LakeAddress, deltalake: Any) -> Iterator[None]:
    """Tell errors of the package as ours."""
    try:
        yield
    except InputError:
        raise
    except (deltalake.exceptions.DeltaError, OSError, ValueError) as error:
        raise InputError(f"cannot be read as a table of Delta Lake: {_said(error)}", where=str(address)) from error


def read_version(address: LakeAddress) -> DeltaVersion:
    """The version that an address names, the newest where it names none.

    Raises:
        InputError: when there is no such table or version, or it needs a reader that we are not.
    """
    deltalake, options = _deltalake(address), address.options
    with _told(address, deltalake):
        version = _version(options["version"], str(address)) if "version" in options else None
        table = deltalake.DeltaTable(address.place, version=version)
        if "timestamp" in options:
            _load_at(table, _moment(options["timestamp"], str(address)), str(address))
        _check_reader(table, str(address))
        schema = pa.schema(table.schema().to_arrow())
        actions = pa.table(table.get_add_actions())
        deleted = _deleted(table, str(address))
    where = table.table_uri.rstrip("/") if "://" in address.place else os.path.abspath(address.place)
    paths = [unquote(path) for path in actions["path"].to_pylist()]
    partition = actions["partition"] if "partition" in actions.column_names else None
    whole = (path if "://" in path or path.startswith("/") else f"{where}/{path}" for path in paths)
    rows = actions["num_records"].to_pylist() if "num_records" in actions.column_names else [None] * len(paths)
    files = [
        DeltaFile(path, _values(partition, row, schema), deleted.pop(_name(path), ()), rows[row])
        for row, path in enumerate(whole)
    ]
    if deleted:  # else rows that are deleted would be read
        raise InputError(
            f"has a vector of deletions for {next(iter(deleted))}, which is no file of it", where=str(address)
        )
    about = table.metadata()
    return DeltaVersion(
        str(about.id),
        table.version(),
        schema,
        tuple(sorted(files, key=lambda each: each.path)),
        _mapping(about, address),
    )


def _mapping(about: Any, address: LakeAddress) -> str:
    """How columns are told in files.

    Raises:
        InputError: when it is a way that is not known.
    """
    mode = str(about.configuration.get("delta.columnMapping.mode", "none"))
    if mode not in _MAPPINGS:
        hint = "copy it with Spark into a table whose columns are not mapped so"
        raise InputError(f"has columns that are mapped by {mode}, which is not read", where=str(address), hint=hint)
    return mode


def _name(path: str) -> str:
    """What tells a file of a table from its others: they are called by random numbers."""
    return unquote(path).rpartition("/")[2]


def _deleted(table: Any, where: str) -> dict[str, tuple[int, ...]]:
    """By the names of files the places of rows that vectors of deletions have.

    Raises:
        InputError: when the package that is installed cannot tell.
    """
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    if not hasattr(table, "deletion_vectors"):
        raise InputError(
            "may have vectors of deletions", where=where, hint="pip install 'deltalake>=1.4', which reads them"
        )
    found: dict[str, tuple[int, ...]] = {}
    for batch in table.deletion_vectors():
        each = pa.record_batch(batch)
        for path, kept in zip(each["filepath"].to_pylist(), each["selection_vector"], strict=True):
            mask = np.asarray(kept.values.to_numpy(zero_copy_only=False), bool)
            found[_name(path)] = tuple(np.flatnonzero(~mask).tolist())
    return found


def _version(text: str, where: str) -> int:
    if len(text) > 18:
        raise InputError(f"version is {text}, which no table has", where=where)
    return int(text)


def _load_at(table: Any, moment: datetime.datetime, where: str) -> None:
    """Have the version that was the newest one at a moment; the package gives the first one where that is later."""
    made = {each.get("version"): each.get("timestamp") for each in table.history()}  # which counts from the newest one
    table.load_as_version(moment)
    told = made.get(table.version())
    since = moment if told is None else _EPOCH + datetime.timedelta(milliseconds=told)
    if since > moment:
        what = f"had no version at {moment.isoformat()}; the first one that is kept is of {since.isoformat()}"
        raise InputError(what, where=where)


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
    unmet = set(protocol.reader_features or ()) - _READ_FEATURES
    if protocol.min_reader_version > 3 or unmet:
        what = f"asks of its readers {', '.join(sorted(unmet)) or f'version {protocol.min_reader_version}'}"
        raise InputError(
            f"{what}, which is not met here", where=where, hint="copy it with Spark into a table that does not"
        )


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
        except self._deltalake.exceptions.TableNotFoundError as error:
            if "Unknown scheme" in str(error):
                raise InputError(
                    f"names no store that the package deltalake knows: {_said(error)}", where=self._where
                ) from None
            return None
        except (self._deltalake.exceptions.DeltaError, OSError, ValueError) as error:
            raise InputError(
                f"cannot be looked at as a table of Delta Lake: {_said(error)}", where=self._where
            ) from error

    def schema(self) -> pa.Schema | None:
        """See `LakeTable`."""
        table = self._table()
        return None if table is None else pa.schema(table.schema().to_arrow())

    def partitions(self) -> list[str]:
        """See `LakeTable`."""
        table = self._table()
        return [] if table is None else list(table.metadata().partition_columns)

    def stored(self, kind: pa.DataType) -> pa.DataType | None:
        """See `LakeTable`."""
        return stored_type(kind, common)

    def prepare(self, schema: pa.Schema) -> None:
        """See `LakeTable`: a folder that holds other things is none to make a table in."""
        place, lower = self._address.place, [name.lower() for name in schema.names]
        twice = next((name for name in schema.names if lower.count(name.lower()) > 1), None)
        if twice is not None:
            what = f"has one column {twice!r}, whose letters may be small or large, and the rows have several"
            raise InputError(what, where=self._where, hint="rename one, or leave it out with --drop")
        if self._address.is_local and os.path.isdir(place) and self._table() is None and os.listdir(place):
            raise InputError("is a folder with files, and no table of Delta Lake", where=self._where)

    def commit(
        self, rows: Rows, schema: pa.Schema, noted: str, note: Callable[[str], None], *, replaces: bool, creates: bool
    ) -> None:
        """See `LakeTable`."""
        run, table = noted or uuid.uuid4().hex, self._table()
        if noted and table is not None and table.transaction_version(run) is not None:
            return
        if creates and table is not None:
            raise made_meanwhile(self._where)
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
        except Exception as error:  # (the package's own, and those of what it is made of)
            raise RunError(
                f"cannot be written: {_said(error)}", where=self._where, hint="--resume adds what is finished"
            ) from error

    def close(self) -> None:
        """See `LakeTable`."""
