"""Rows of tables and queries of databases, in an order that tells them apart.

A value that is none of its column's type, as SQLite may hold, is why its row could not be read; no other row is harmed.
"""

from __future__ import annotations

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.alchemy import arrow_kind, engine_of, reason
from motet.databases.duck import connected, primary_key, reader_of, schema_of, told_as_text
from motet.databases.names import quoted
from motet.databases.postgres import CONNECT_S, ENCODED, NO_ADDRESS, arrow_of
from motet.databases.sqlite import READ
from motet.databases.values import batch_of, inferred_schema
from motet.errors import InputError
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["QueryRows", "open_query"]

INFERRED_ROWS = 1_000
"""Rows of a query of SQLite that tell the types of its columns."""


def open_query(address: TableAddress) -> QueryRows:
    """The rows of a table, or of `query=`, by the columns of `order=`, or by the table's primary key.

    Raises:
        InputError: when there are none, or in no order.
    """
    kinds: dict[str, type[QueryRows]] = {"sqlite": SqliteRows, "duckdb": DuckRows, "sqlalchemy": AlchemyRows}
    return kinds.get(address.scheme, PostgresRows)(address)


class QueryRows(ABC):
    """Rows of a database in an order.

    Attributes:
        schema: names and types of the columns.
        order: the columns that they are ordered by.
        where: what errors call it.
    """

    def __init__(self, address: TableAddress) -> None:
        self._address, self.where = address, str(address)
        query = address.options.get("query", "").strip().rstrip(";")
        if bool(query) is bool(address.table):
            raise InputError("names a table and a query", where=self.where, hint="write #TABLE or ?query=SELECT ...")
        parts = [address.table] if address.scheme in ("sqlite", "duckdb") else address.table.split(".")
        table = ".".join(map(self._quoted, parts))
        self._from = f"({query}) motet_rows" if query else table  # without AS, which Oracle has not there
        with self._told(), self._connected() as connection:
            self.schema = self._schema(connection)
            named = [name.strip() for name in address.options.get("order", "").split(",") if name.strip()]
            self.order = named or ([] if query else self._keys(connection))
        if not self.order:
            what = "has no order, by which rows could be told apart"
            raise InputError(what, where=self.where, hint="name columns that do: ?order=id")
        for name in self.order:
            if name not in self.schema.names:
                raise InputError(f"is to be ordered by {name!r}, which it has not", where=self.where)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell errors of the driver as ours."""
        try:
            yield
        except self._errors() as error:
            raise InputError(f"cannot be read: {self._said(error)}", where=self.where) from None

    @abstractmethod
    def _errors(self) -> type[Exception]: ...

    def _said(self, error: Exception) -> str:
        """What an error says."""
        return summary(error)

    def _quoted(self, name: str) -> str:
        """A name as the database takes it."""
        return quoted(name)

    def _some(self, columns: str, by: str, rows: int, skip: int = 0) -> str:
        """A statement that gives some of the rows in an order."""
        return f"SELECT {columns} FROM {self._from} ORDER BY {by} LIMIT {rows} OFFSET {skip}"

    @abstractmethod
    def _connected(self) -> Any: ...

    @abstractmethod
    def _schema(self, connection: Any) -> pa.Schema: ...

    @abstractmethod
    def _keys(self, connection: Any) -> list[str]: ...

    @abstractmethod
    def _batches(
        self, connection: Any, text: str, size: int, schema: pa.Schema
    ) -> Iterator[tuple[pa.RecordBatch, Mapping[int, str]]]: ...

    def count(self) -> int:
        """How many there are now."""
        with self._told(), self._connected() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {self._from}").fetchall()[0][0])

    def identity(self) -> list[str]:
        """What tells them from others: how many there are, the first and the last."""
        return [self.where, self._from, str(self.schema), str(self.order), str(self.count()), repr(self.ends())]

    def ends(self) -> list[list[Any]]:
        """The first row and the last, by the columns of the order, as the driver gives them."""
        by = ", ".join(map(self._quoted, self.order))
        down = ", ".join(f"{self._quoted(name)} DESC" for name in self.order)
        with self._told(), self._connected() as connection:
            return [connection.execute(self._some(by, each, 1)).fetchall() for each in (by, down)]

    def batches(
        self, columns: Sequence[str], skip: int, size: int
    ) -> Iterator[tuple[pa.RecordBatch, Mapping[int, str]]]:
        """Rows in pieces of `size`, with why some of them could not be read, by their places.

        Raises:
            InputError: when the rows before and behind `skip` are the same by the order, so that either may come first.
        """
        names = ", ".join(map(self._quoted, columns))
        by = ", ".join(map(self._quoted, self.order))
        text = self._some(names, by, 1 << 62, skip)
        schema = pa.schema([self.schema.field(name) for name in columns])
        with self._told(), self._connected() as connection:
            if skip:
                self._check_apart(connection, by, skip)
            yield from self._batches(connection, text, size, schema)

    def _check_apart(self, connection: Any, by: str, skip: int) -> None:
        ends = connection.execute(self._some(by, by, 2, skip - 1)).fetchall()
        if len(ends) == 2 and ends[0] == ends[1]:
            what = f"rows {skip - 1:,} and {skip:,} are the same by {', '.join(self.order)}, so nothing says which of them comes first"
            raise InputError(what, where=self.where, hint="name columns that tell rows apart: ?order=day,id")


class DriverRows(QueryRows):
    """Rows that a driver gives as Python's values."""

    @abstractmethod
    def _rows(self, connection: Any, text: str, size: int) -> Iterator[Sequence[Sequence[Any]]]: ...

    def _batches(
        self, connection: Any, text: str, size: int, schema: pa.Schema
    ) -> Iterator[tuple[pa.RecordBatch, Mapping[int, str]]]:
        for rows in self._rows(connection, text, size):
            yield batch_of(rows, schema)


class SqliteRows(DriverRows):
    """Rows of a file of SQLite."""

    def _errors(self) -> type[Exception]:
        return sqlite3.Error

    def _connected(self) -> Any:
        if not os.path.exists(self._address.place):
            raise InputError("there is no such file", where=self.where)
        connection = sqlite3.connect(self._address.place, timeout=30, check_same_thread=False)
        connection.execute("BEGIN")  # what is read is of one moment
        return closing(connection)

    def _schema(self, connection: Any) -> pa.Schema:
        declared = {}
        if self._address.table:
            found = connection.execute(f"PRAGMA table_info({quoted(self._address.table)})").fetchall()
            if not found:
                raise InputError("there is no such table", where=self.where)
            declared = {name: kind.upper().partition("(")[0] for _, name, kind, *_ in found}
        cursor = connection.execute(f"SELECT * FROM {self._from} LIMIT {INFERRED_ROWS}")
        names, rows = [each[0] for each in cursor.description], cursor.fetchall()
        kinds = {name: READ[kind] for name, kind in declared.items() if kind in READ}
        return inferred_schema(names, rows, kinds)

    def _keys(self, connection: Any) -> list[str]:
        found = connection.execute(f"PRAGMA table_info({quoted(self._address.table)})").fetchall()
        return [name for _, name, _, _, _, _ in sorted((each for each in found if each[5]), key=lambda each: each[5])]

    def _rows(self, connection: Any, text: str, size: int) -> Iterator[Sequence[Sequence[Any]]]:
        cursor = connection.execute(text)
        while rows := cursor.fetchmany(size):
            yield rows


class PostgresRows(DriverRows):
    """Rows of a PostgreSQL."""

    def _errors(self) -> type[Exception]:
        return self._driver().Error  # type: ignore[no-any-return]

    def _driver(self) -> Any:
        return imported("psycopg", "psycopg", "postgres", self.where)

    def _connected(self) -> Any:
        url = f"postgresql:{self._address.place}"
        try:
            connection = self._driver().connect(url, connect_timeout=CONNECT_S, client_encoding="utf8")
        except self._driver().ProgrammingError:  # which says parts of the address, also the password
            raise InputError(NO_ADDRESS, where=self.where, hint=ENCODED) from None
        connection.isolation_level = self._driver().IsolationLevel.REPEATABLE_READ  # what is read is of one moment
        return closing(connection)

    def _schema(self, connection: Any) -> pa.Schema:
        result = connection.execute(f"SELECT * FROM {self._from} LIMIT 0").pgresult
        fields = []
        for place in range(result.nfields):
            asked = (result.ftype(place), result.fmod(place))
            kind = connection.execute("SELECT format_type(%s, %s)", asked).fetchone()[0]
            fields.append((result.fname(place).decode(), arrow_of(kind) or pa.string()))
        return pa.schema(fields)

    def _keys(self, connection: Any) -> list[str]:
        text = (
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisprimary ORDER BY array_position(i.indkey, a.attnum)"
        )
        return [name for (name,) in connection.execute(text, (self._from,)).fetchall()]

    def _rows(self, connection: Any, text: str, size: int) -> Iterator[Sequence[Sequence[Any]]]:
        with connection.cursor(name="motet_rows") as cursor:
            cursor.execute(text)
            while rows := cursor.fetchmany(size):
                yield rows


class DuckRows(QueryRows):
    """Rows of a file of DuckDB, which gives them as Arrow has them."""

    def _errors(self) -> type[Exception]:
        return imported("duckdb", "duckdb", "duckdb", self.where).Error  # type: ignore[no-any-return]

    def _connected(self) -> Any:
        if not os.path.exists(self._address.place):
            raise InputError("there is no such file", where=self.where)
        connection = connected(self._address, read_only=True)
        connection.execute("BEGIN")  # what is read is of one moment
        return closing(connection)

    def _schema(self, connection: Any) -> pa.Schema:
        texts = ", ".join(
            f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in told_as_text(connection, self._from)
        )
        if texts:
            self._from = f"(SELECT * REPLACE ({texts}) FROM {self._from}) AS motet_texts"
        return schema_of(connection, self._from)

    def _keys(self, connection: Any) -> list[str]:
        return primary_key(connection, self._address.table)

    def _batches(
        self, connection: Any, text: str, size: int, schema: pa.Schema
    ) -> Iterator[tuple[pa.RecordBatch, Mapping[int, str]]]:
        reader = reader_of(connection, text, size)
        for batch in reader:
            columns = [_cast(column, each.type) for column, each in zip(batch.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema), {}


class AlchemyRows(DriverRows):
    """Rows of any database that SQLAlchemy knows."""

    def __init__(self, address: TableAddress) -> None:
        self._sa = imported("sqlalchemy", "sqlalchemy", "sql", str(address))
        self._engine = engine_of(address)
        super().__init__(address)

    def _errors(self) -> type[Exception]:
        return self._sa.exc.SQLAlchemyError  # type: ignore[no-any-return]

    def _said(self, error: Exception) -> str:
        return reason(error)

    def _quoted(self, name: str) -> str:
        return self._whole(self._engine.dialect.identifier_preparer.quote_identifier(name))

    def _whole(self, text: str) -> str:
        """A statement that goes without parameters, for which some dialects have doubled what begins one."""
        doubled = getattr(self._engine.dialect.identifier_preparer, "_double_percents", False)
        return text.replace("%%", "%") if doubled else text

    def _some(self, columns: str, by: str, rows: int, skip: int = 0) -> str:
        """See `QueryRows`; databases differ in how they leave rows out. Without `by` the order is the database's."""
        sa = self._sa
        chosen = sa.select(sa.literal_column(columns)).select_from(sa.text(self._from)).limit(rows)
        chosen = chosen.order_by(sa.text(by)) if by else chosen
        chosen = chosen.offset(skip) if skip else chosen  # without an order some databases take none
        made = chosen.compile(self._engine, compile_kwargs={"literal_binds": True})
        return self._whole(str(made))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection, which sees what it reads at one moment where the database can."""
        try:
            with self._engine.connect() as connection:
                known = self._engine.dialect.get_isolation_level_values(connection.connection.dbapi_connection)
                level = next((each for each in ("REPEATABLE READ", "SERIALIZABLE") if each in known), None)
                if level is not None:
                    connection = connection.execution_options(isolation_level=level)
                yield _Plain(connection)
        finally:
            self._engine.dispose()

    def _schema(self, connection: Any) -> pa.Schema:
        if self._address.table:
            schema, _, name = self._address.table.rpartition(".")
            found = self._sa.inspect(connection.sql).get_columns(name, schema=schema or None)
            return pa.schema([(each["name"], arrow_kind(each["type"])) for each in found])
        cursor = connection.execute(self._some("*", "", INFERRED_ROWS))
        names, rows = list(cursor.keys()), cursor.fetchall()
        return inferred_schema(names, rows, {})

    def _keys(self, connection: Any) -> list[str]:
        schema, _, name = self._address.table.rpartition(".")
        found = self._sa.inspect(connection.sql).get_pk_constraint(name, schema=schema or None)
        return list(found["constrained_columns"])

    def _rows(self, connection: Any, text: str, size: int) -> Iterator[Sequence[Sequence[Any]]]:
        cursor = connection.execute(text, stream_results=True)
        while rows := cursor.fetchmany(size):
            yield rows


class _Plain:
    """A connection of SQLAlchemy that takes statements as they are."""

    def __init__(self, connection: Any) -> None:
        self.sql = connection

    def execute(self, text: str, **options: Any) -> Any:
        """What a statement gives."""
        return self.sql.exec_driver_sql(text, execution_options={"no_parameters": True, **options})


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of DuckDB in another type; as text what Arrow has nothing like."""
    if pa.types.is_string(kind) and not pa.types.is_string(column.type):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], kind)
    return column.cast(kind)
