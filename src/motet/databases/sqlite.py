"""Tables of SQLite, in a file of this machine: rows by ids, without vectors. A write is one transaction.

What SQLite has no type for is text: decimals by their digits, whole numbers beyond int64 likewise, days and times as ISO 8601 has
them, lists as JSON.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.layout import TableLayout
from motet.databases.matching import check_matches, sole_key
from motet.databases.names import quoted
from motet.databases.table import Hits, Search
from motet.errors import InputError, RunError
from motet.tracebacks import summary

__all__ = ["READ", "SqliteTable"]

BUSY_S = 30.0
"""How long a write waits for those of others."""
READ = {
    "BIGINT": pa.int64(), "INTEGER": pa.int64(), "INT": pa.int64(), "SMALLINT": pa.int64(), "DOUBLE": pa.float64(),
    "REAL": pa.float64(), "FLOAT": pa.float64(), "TEXT": pa.string(), "BOOLEAN": pa.bool_(), "BLOB": pa.binary(),
    "DATE": pa.date32(), "TIMESTAMP": pa.timestamp("us"), "DATETIME": pa.timestamp("us"),
}  # fmt: skip
"""What declared types are in Arrow; those of others are taken to hold texts."""

_NOT_NUMERIC = ("CHAR", "CLOB", "TEXT", "BLOB")
"""What stands in declared types of columns that keep texts as they are, unless `INT` does, too."""
_REAL = ("REAL", "FLOA", "DOUB")
"""What stands in those of columns that keep whole numbers as floats, unless `INT` does, too."""


class SqliteTable:
    """A table of SQLite; see `Table`."""

    database: ClassVar[str] = "SQLite"
    keeps_text: ClassVar[bool] = True

    def __init__(self, address: TableAddress) -> None:
        self._address, self._where, self._name = address, str(address), quoted(address.table)
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._layout: TableLayout | None = None

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            try:
                self._open = sqlite3.connect(
                    self._address.place, timeout=BUSY_S, isolation_level=None, check_same_thread=False
                )
            except sqlite3.Error as error:
                raise InputError(f"cannot be opened: {summary(error)}", where=self._where) from error
        return self._open

    def layout(self) -> TableLayout | None:
        """See `Table`."""
        if not os.path.exists(self._address.place):
            return None
        try:
            found = self._connection.execute(f"PRAGMA table_info({self._name})").fetchall()
        except sqlite3.Error as error:
            raise InputError(f"cannot be read: {summary(error)}", where=self._where) from error
        if not found:
            return None
        keys = [name for _, name, _, _, _, place in found if place]
        kinds = {name: READ.get(kind.upper().partition("(")[0], pa.string()) for _, name, kind, _, _, _ in found}
        numeric = {name: _is_whole(kind) for _, name, kind, _, _, _ in found if _is_numeric(kind)}
        return TableLayout(sole_key(keys, self._where), {}, pa.schema(list(kinds.items())), numeric=numeric)

    def check(self, layout: TableLayout) -> None:
        """See `Table`."""
        layout.check_no_vectors(self.database, self._where)
        layout.check_held(lambda kind: _sql(kind) is not None, self.database, self._where)
        check_matches(self.layout(), layout, self._where, lambda a, b: _sql(a) == _sql(b), more=True)

    def prepare(self, layout: TableLayout) -> None:
        """See `Table`."""
        self.check(layout)
        self._layout = layout
        columns = ", ".join(
            f"{quoted(name)} {_sql(layout.schema.field(name).type)}"
            + (" NOT NULL PRIMARY KEY" if name == layout.id else "")
            for name in layout.schema.names
        )
        try:
            os.makedirs(os.path.dirname(os.path.abspath(self._address.place)), exist_ok=True)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {self._name} ({columns})")
        except sqlite3.Error as error:
            raise InputError(f"the table cannot be made: {summary(error)}", where=self._where) from error

    def upsert(self, batch: pa.RecordBatch) -> None:
        """See `Table`."""
        assert self._layout is not None
        names = [quoted(name) for name in batch.schema.names]
        others = [name for name in names if name != quoted(self._layout.id)]
        act = "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in others) if others else "NOTHING"
        marks = ", ".join("?" * len(names))
        text = (
            f"INSERT INTO {self._name} ({', '.join(names)}) VALUES ({marks}) "
            f"ON CONFLICT ({quoted(self._layout.id)}) DO {act}"
        )
        rows = list(zip(*(_values(column) for column in batch.columns), strict=True))
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(text, rows)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                hint = "--resume goes on with what is finished"
                raise RunError(f"cannot be written: {summary(error)}", where=self._where, hint=hint) from error

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """There are no vectors to search.

        Raises:
            InputError: always.
        """
        raise InputError("SQLite has no vectors to search", where=self._where)

    def close(self) -> None:
        """See `Table`."""
        with self._lock:
            found, self._open = self._open, None
            if found is not None:
                found.close()


def _is_numeric(declared: str) -> bool:
    """Whether a column makes numbers of texts that are some: https://www.sqlite.org/datatype3.html#determination_of_column_affinity

    Those that are read as something else than text hold what has been declared, and are none of these.
    """
    kind = declared.upper()
    if not kind or kind.partition("(")[0] in READ:
        return False
    return "INT" in kind or not any(each in kind for each in _NOT_NUMERIC)


def _is_whole(declared: str) -> bool:
    """Whether a column of numbers keeps whole ones as such."""
    kind = declared.upper()
    return "INT" in kind or not any(each in kind for each in _REAL)


def _sql(kind: pa.DataType) -> str | None:
    """The declared type of a column; None where there is none."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "TEXT" if not pa.types.is_nested(kind.value_type) and not pa.types.is_binary(kind.value_type) else None
    if pa.types.is_integer(kind):
        return "TEXT" if kind == pa.uint64() else "BIGINT"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "BLOB"
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_time(kind)
    ):
        return "TEXT"
    for test, name in (
        (pa.types.is_boolean, "BOOLEAN"), (pa.types.is_floating, "DOUBLE"), (pa.types.is_date, "DATE"),
        (pa.types.is_timestamp, "TIMESTAMP"),
    ):  # fmt: skip
        if test(kind):
            return name
    return None


def _values(column: pa.Array) -> list[Any]:
    """Values as the driver takes them. NaN, which it would make a null of, is its name."""
    kind = column.type
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(kind):
        return ["NaN" if value is not None and math.isnan(value) else value for value in values]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [None if value is None else json.dumps(value, default=str) for value in values]
    if pa.types.is_temporal(kind):
        return [
            None if value is None else value.isoformat(*(" ",) if pa.types.is_timestamp(kind) else ())
            for value in values
        ]
    if kind == pa.uint64() or pa.types.is_decimal(kind):
        return [None if value is None else str(value) for value in values]
    return values
