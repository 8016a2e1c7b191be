"""Tables of DuckDB, in a file of this machine: rows by ids, vectors as arrays of fixed size. A write is one transaction."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.layout import TableLayout, vector_length
from motet.databases.matching import check_matches, sole_key
from motet.databases.names import quoted
from motet.databases.table import Hits, Search
from motet.errors import InputError, RunError
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["DuckTable", "connected", "plain_type", "primary_key", "reader_of", "schema_of", "told_as_text"]

_TYPES = {
    pa.bool_(): "BOOLEAN", pa.int8(): "TINYINT", pa.int16(): "SMALLINT", pa.int32(): "INTEGER", pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT", pa.uint16(): "USMALLINT", pa.uint32(): "UINTEGER", pa.uint64(): "UBIGINT", pa.float16(): "FLOAT",
    pa.float32(): "FLOAT", pa.float64(): "DOUBLE", pa.string(): "VARCHAR", pa.large_string(): "VARCHAR", pa.binary(): "BLOB",
    pa.large_binary(): "BLOB", pa.date32(): "DATE", pa.date64(): "DATE", pa.time64("us"): "TIME", pa.timestamp("ns"): "TIMESTAMP_NS",
    pa.timestamp("us"): "TIMESTAMP", pa.timestamp("ms"): "TIMESTAMP", pa.timestamp("s"): "TIMESTAMP",
}  # fmt: skip
_AS_TEXT = ("UHUGEINT", "BIT", "TIME WITH TIME ZONE", "INTERVAL", "UUID")
"""Types whose numbers would be other ones in Arrow, or lose their zone, or that it has nothing like."""
LOCKED = "one process at a time may write to a file of DuckDB, or several read it"


def connected(address: TableAddress, *, read_only: bool) -> Any:
    """A connection to a file.

    Raises:
        InputError: when it cannot be opened, such as where another process has it.
    """
    duckdb = imported("duckdb", "duckdb", "duckdb", str(address))
    try:
        connection = duckdb.connect(address.place, read_only=read_only)
    except duckdb.ConnectionException:  # this process writes to it
        connection = duckdb.connect(address.place)
    except duckdb.Error as error:
        raise InputError(f"cannot be opened: {summary(error)}", where=str(address), hint=LOCKED) from error
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """A type as it is called elsewhere; None for one that Arrow has nothing like."""
    if pa.types.is_fixed_size_list(kind):
        item = plain_type(kind.value_type)
        return None if item is None else pa.list_(item, kind.list_size)
    if pa.types.is_list(kind):
        item = plain_type(kind.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_timestamp(kind):
        return pa.timestamp(kind.unit, None if kind.tz is None else "UTC")
    if pa.types.is_interval(kind) or isinstance(kind, pa.BaseExtensionType):
        return None
    return kind


def reader_of(connection: Any, text: str, rows: int) -> Any:
    """What a statement gives, as a reader of record batches of so many rows."""
    relation = connection.sql(text)
    make = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader  # as it was called before
    return make(rows)


def told_as_text(connection: Any, source: str) -> list[str]:
    """The columns of a table or a query in parentheses whose values Arrow has nothing like, or that DuckDB gives it as others."""
    found = connection.sql(f"SELECT * FROM {source} LIMIT 0")
    return [name for name, kind in zip(found.columns, found.types, strict=True) if str(kind) in _AS_TEXT]


def schema_of(connection: Any, source: str) -> pa.Schema:
    """The columns of a table or a query in parentheses; texts for what Arrow has nothing like."""
    found = reader_of(connection, f"SELECT * FROM {source} LIMIT 0", 1).schema
    return pa.schema([(each.name, plain_type(each.type) or pa.string()) for each in found])


def primary_key(connection: Any, table: str) -> list[str]:
    """The columns of the primary key of a table; none where it has none."""
    text = "SELECT constraint_column_names FROM duckdb_constraints() WHERE table_name = ? AND constraint_type = 'PRIMARY KEY'"
    found = connection.execute(text, [table]).fetchall()
    return list(found[0][0]) if found else []


class DuckTable:
    """A table of DuckDB; see `Table`."""

    database: ClassVar[str] = "DuckDB"
    keeps_text: ClassVar[bool] = True

    def __init__(self, address: TableAddress) -> None:
        self._duckdb: Any = imported("duckdb", "duckdb", "duckdb", str(address))
        self._address, self._where, self._name = address, str(address), quoted(address.table)
        self._lock = threading.Lock()
        self._open: Any = None
        self._layout: TableLayout | None = None

    def _connection(self) -> Any:
        if self._open is None:
            self._open = connected(self._address, read_only=False)
        return self._open

    def layout(self) -> TableLayout | None:
        """See `Table`."""
        if not os.path.exists(self._address.place):
            return None
        try:
            connection = self._connection()
            there = connection.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [self._address.table]
            ).fetchall()
            if not there[0][0]:
                return None
            keys, schema = primary_key(connection, self._address.table), schema_of(connection, self._name)
        except self._duckdb.Error as error:
            raise InputError(f"cannot be read: {summary(error)}", where=self._where) from error
        id = sole_key(keys, self._where)
        sizes = {each.name: vector_length(each.type) for each in schema}
        return TableLayout(id, {name: size for name, size in sizes.items() if size is not None}, schema)

    def check(self, layout: TableLayout) -> None:
        """See `Table`."""
        layout.check_held(lambda kind: _sql(kind) is not None, self.database, self._where)
        check_matches(self.layout(), layout, self._where, lambda a, b: _sql(a) == _sql(b), more=True)

    def prepare(self, layout: TableLayout) -> None:
        """See `Table`."""
        self.check(layout)
        self._layout = layout
        columns = ", ".join(f"{quoted(each.name)} {_sql(each.type)}" for each in layout.schema)
        try:
            os.makedirs(os.path.dirname(os.path.abspath(self._address.place)), exist_ok=True)
            made = f"CREATE TABLE IF NOT EXISTS {self._name} ({columns}, PRIMARY KEY ({quoted(layout.id)}))"
            self._connection().execute(made)
        except (self._duckdb.Error, OSError) as error:
            raise InputError(f"the table cannot be made: {summary(error)}", where=self._where) from error

    def upsert(self, batch: pa.RecordBatch) -> None:
        """See `Table`."""
        assert self._layout is not None
        names = [quoted(name) for name in batch.schema.names]
        others = [name for name in names if name != quoted(self._layout.id)]
        act = "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in others) if others else "NOTHING"
        text = (
            f"INSERT INTO {self._name} ({', '.join(names)}) SELECT * FROM motet_rows "
            f"ON CONFLICT ({quoted(self._layout.id)}) DO {act}"
        )
        with self._lock:
            connection = self._connection()
            try:
                connection.register("motet_rows", pa.Table.from_batches([_held(batch)]))
                connection.execute(text)
                connection.unregister("motet_rows")
            except self._duckdb.Error as error:
                hint = "--resume goes on with what is finished"
                raise RunError(f"cannot be written: {summary(error)}", where=self._where, hint=hint) from error

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """Tables of DuckDB are not searched here.

        Raises:
            InputError: always.
        """
        raise InputError("tables of DuckDB are not searched", where=self._where, hint="lancedb: searches a folder")

    def close(self) -> None:
        """See `Table`."""
        with self._lock:
            found, self._open = self._open, None
            if found is not None:
                found.close()


def _held(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows in types that DuckDB takes: it has no floats of 16 bits."""
    fields = [pa.field(each.name, pa.float32()) if each.type == pa.float16() else each for each in batch.schema]
    return batch.cast(pa.schema(fields))


def _sql(kind: pa.DataType) -> str | None:
    """The type of DuckDB that holds an Arrow type; None where none does."""
    if pa.types.is_fixed_size_list(kind):
        item = _sql(kind.value_type)
        return None if item is None else f"{item}[{kind.list_size}]"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = _sql(kind.value_type)
        return None if item is None else f"{item}[]"
    if pa.types.is_decimal128(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return "TIMESTAMP WITH TIME ZONE"
    return _TYPES.get(kind)
