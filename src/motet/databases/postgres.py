"""Tables of PostgreSQL; vectors are pgvector's, whose extension is made where it is needed and not there.

A write is one transaction: a binary COPY into a table of the connection, and from there `INSERT ... ON CONFLICT DO UPDATE`. How
alike vectors are stands in the table's comment.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.copying import COPIED, copied
from motet.databases.filters import Filter
from motet.databases.layout import TableLayout
from motet.databases.matching import check_matches
from motet.databases.names import quoted
from motet.databases.retry import tried
from motet.databases.table import Hits, Search
from motet.errors import InputError, RunError
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["CONNECT_S", "ENCODED", "NO_ADDRESS", "PostgresTable", "arrow_of"]

T = TypeVar("T")
_STAGE = "motet_stage"
_OPERATORS = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_TYPES = {
    "smallint": pa.int16(), "integer": pa.int32(), "bigint": pa.int64(), "real": pa.float32(),
    "double precision": pa.float64(), "text": pa.string(), "character varying": pa.string(), "boolean": pa.bool_(),
    "bytea": pa.binary(), "date": pa.date32(), "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}  # fmt: skip
"""What the types of PostgreSQL are in Arrow."""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(obj_description(a.attrelid, 'pg_class'), ''),
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indpred IS NULL
               AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)
FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
CONNECT_S = 10
NO_ADDRESS = "is no address that PostgreSQL's driver can read"
ENCODED = "in a user and a password signs such as @, / and % are written %40, %2F and %25"


class PostgresTable:
    """A table of PostgreSQL; see `Table`."""

    database: ClassVar[str] = "PostgreSQL"
    keeps_text: ClassVar[bool] = False

    def __init__(self, address: TableAddress) -> None:
        self._psycopg: Any = imported("psycopg", "psycopg", "pgvector", str(address))
        self._address, self._where = address, str(address)
        self._lock = threading.RLock()
        self._open: Any = None
        self._layout: TableLayout | None = None
        self._searched: TableLayout | None = None

    @property
    def _name(self) -> str:
        """The table, quoted."""
        return ".".join(map(quoted, self._address.table.split(".")))

    def _asked(self, call: Callable[[Any], T]) -> T:
        """What a function gives for a connection; called again with a new one where that broke.

        Raises:
            RunError: when the server cannot be reached.
        """

        def once() -> T:
            if self._open is None:
                self._open = self._connected()
            try:
                return call(self._open)
            except (self._psycopg.OperationalError, self._psycopg.InterfaceError):
                self._let_go()
                raise

        with self._lock:
            broken = (self._psycopg.OperationalError, self._psycopg.InterfaceError)
            return tried(once, lambda error: isinstance(error, broken), self._where)

    def _connected(self) -> Any:
        url = f"postgresql:{self._address.place}"
        try:
            return self._psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S, client_encoding="utf8")
        except self._psycopg.ProgrammingError:  # which says parts of the address, also the password
            raise InputError(NO_ADDRESS, where=self._where, hint=ENCODED) from None

    def layout(self) -> TableLayout | None:
        """See `Table`."""
        try:
            found = self._asked(lambda connection: connection.execute(_COLUMNS, (self._name,)).fetchall())
        except self._psycopg.Error as error:
            raise InputError(f"cannot be read: {summary(error)}", where=self._where) from error
        if not found:
            return None
        kinds = {name: arrow_of(kind) for name, kind, _, _ in found}
        known = {name: kind for name, kind in kinds.items() if kind is not None}
        ids = [name for name, _, _, unique in found if unique]
        if not ids:
            hint = "make the column of the ids its primary key"
            raise InputError("no column of the table is unique by itself", where=self._where, hint=hint)
        metric = re.search(r"metric=(\w+)", found[0][2])
        vectors = {name: kind.list_size for name, kind in known.items() if pa.types.is_fixed_size_list(kind)}
        wanted = ids[0] if self._layout is None or self._layout.id not in ids else self._layout.id
        return TableLayout(wanted, vectors, pa.schema(list(known.items())), metric[1] if metric else None)

    def check(self, layout: TableLayout) -> None:
        """See `Table`."""
        layout.check_held(lambda kind: _sql(kind) is not None, self.database, self._where)
        self._layout = layout
        check_matches(self.layout(), layout, self._where, lambda a, b: _sql(a) == _sql(b), more=True)

    def prepare(self, layout: TableLayout) -> None:
        """See `Table`."""
        self.check(layout)
        columns = {name: _sql(layout.schema.field(name).type) for name in layout.schema.names}
        made = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())

        def make(connection: Any) -> None:
            if layout.vectors:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(f"CREATE TABLE {self._name} ({made}, PRIMARY KEY ({quoted(layout.id)}))")
            connection.execute(f"COMMENT ON TABLE {self._name} IS 'motet: metric={layout.metric or 'cosine'}'")

        def make_whole(connection: Any) -> None:
            with connection.transaction():
                make(connection)

        if self.layout() is None:
            try:
                self._asked(make_whole)
            except self._psycopg.Error as error:
                raise InputError(f"the table cannot be made: {summary(error)}", where=self._where) from error

    def upsert(self, batch: pa.RecordBatch) -> None:
        """See `Table`."""
        assert self._layout is not None
        data = copied(batch)
        try:
            self._asked(lambda connection: self._written(connection, data))
        except self._psycopg.Error as error:
            hint = "--resume goes on with what is finished"
            raise RunError(f"cannot be written: {summary(error)}", where=self._where, hint=hint) from error

    def _written(self, connection: Any, data: bytes) -> None:
        layout = self._layout
        assert layout is not None
        kinds = {name: layout.schema.field(name).type for name in layout.schema.names}
        staged = ", ".join(f"{quoted(name)} {_staged(kind)}" for name, kind in kinds.items())
        names = ", ".join(map(quoted, kinds))
        values = ", ".join(_unstaged(name, kind) for name, kind in kinds.items())
        others = [quoted(name) for name in kinds if name != layout.id]
        act = "UPDATE SET " + ", ".join(f"{name} = EXCLUDED.{name}" for name in others) if others else "NOTHING"
        with connection.transaction():
            connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {_STAGE} ({staged}) ON COMMIT DELETE ROWS")
            with connection.cursor().copy(f"COPY {_STAGE} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(data)
            connection.execute(
                f"INSERT INTO {self._name} ({names}) SELECT {values} FROM {_STAGE} ORDER BY {quoted(layout.id)} "
                f"ON CONFLICT ({quoted(layout.id)}) DO {act}"
            )

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """See `Table`."""
        there = self._searched = self._searched or self.layout()
        assert there is not None
        return self._asked(lambda connection: self._found(connection, there, searches))

    def _found(self, connection: Any, there: TableLayout, searches: Sequence[Search]) -> list[Hits]:
        with connection.transaction():
            if searches and searches[0].exact:
                connection.execute("SET LOCAL enable_indexscan = off")
            return [self._hits(connection, there, each) for each in searches]

    def _hits(self, connection: Any, there: TableLayout, search: Search) -> Hits:
        metric = there.metric or self._address.options.get("metric", "cosine")
        vector, columns, table = (
            each.replace("%", "%%")  # a statement that is given values
            for each in (quoted(search.vector), ", ".join(map(quoted, [there.id, *search.columns])), self._name)
        )
        far = f"{vector} {_OPERATORS[metric]} %s::vector"
        given: list[Any] = ["[" + ",".join(map(repr, search.query.tolist())) + "]"]
        conditions = [f"{vector} IS NOT NULL"]
        for each in search.filters:
            conditions.append(_condition(each, there.schema.field(each.column).type))
            given.append(_alike(each.value))
        text = f"SELECT {far} AS motet_far, {columns} FROM {table} WHERE {' AND '.join(conditions)} ORDER BY 1 LIMIT %s"
        rows = connection.execute(text, [*given, search.k]).fetchall()
        scores = [1 - row[0] if metric == "cosine" else -row[0] for row in rows]
        payload = {name: [row[place] for row in rows] for place, name in enumerate(search.columns, 2)}
        return Hits([row[1] for row in rows], scores, payload)

    def _let_go(self) -> None:
        found, self._open = self._open, None
        if found is not None:
            found.close()

    def close(self) -> None:
        """See `Table`."""
        with self._lock:
            self._let_go()


def arrow_of(kind: str) -> pa.DataType | None:
    """What a type of PostgreSQL is in Arrow; None for one that is left alone."""
    if kind.endswith("[]"):
        leaf = arrow_of(kind[:-2])
        return None if leaf is None else pa.list_(leaf)
    if found := re.fullmatch(r"vector\((\d+)\)", kind):
        return pa.list_(pa.float32(), int(found[1]))
    if found := re.fullmatch(r"numeric\((\d+),(\d+)\)", kind):
        return pa.decimal128(int(found[1]), int(found[2])) if int(found[1]) <= 38 else None
    plain = re.sub(r"\(\d+\)", "", kind)
    return _TYPES.get(plain)


def _sql(kind: pa.DataType) -> str | None:
    """The type of PostgreSQL that holds an Arrow type; None where none does."""
    if pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32():
        return f"vector({kind.list_size})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        of_plain = not pa.types.is_nested(kind.value_type) and not pa.types.is_binary(kind.value_type)
        leaf = _sql(kind.value_type) if of_plain else None
        return None if leaf is None else f"{leaf}[]"
    if pa.types.is_decimal128(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if kind == pa.uint64():
        return "numeric(20,0)"
    if pa.types.is_timestamp(kind):
        return f"timestamp {'with' if kind.tz else 'without'} time zone"
    return COPIED.get(kind)


def _staged(kind: pa.DataType) -> str:
    """The type of a column of the table that is copied into: text for what has no simple binary form."""
    sql = _sql(kind) or "text"
    return "text" if sql.endswith("[]") or sql.startswith("numeric") else sql


def _unstaged(name: str, kind: pa.DataType) -> str:
    sql, column = _sql(kind) or "text", quoted(name)
    if sql.endswith("[]"):
        items = f"ARRAY(SELECT each::{sql[:-2]} FROM jsonb_array_elements_text({column}::jsonb) WITH ORDINALITY AS e(each, at) ORDER BY at)"
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE {items} END"
    return f"{column}::{sql}" if sql.startswith("numeric") else column


def _alike(value: Any) -> Any:
    """A value as the driver takes it: numbers of a list that has floats as floats."""
    if isinstance(value, list) and any(isinstance(each, float) for each in value):
        return [float(each) if isinstance(each, int) else each for each in value]
    return value


def _condition(filter: Filter, kind: pa.DataType) -> str:
    name, sql = quoted(filter.column).replace("%", "%%"), _sql(kind)
    if filter.operator == "in":
        is_part = pa.types.is_integer(kind) and any(isinstance(each, float) for each in filter.value)
        return f"{name} = ANY(%s::{'double precision' if is_part else sql}[])"  # which would be rounded
    operator = "=" if filter.operator == "==" else filter.operator
    is_real = sql == "real" and not isinstance(filter.value, bool)  # else 0.1 would be no 0.1 of float32
    cast = f"::{sql}" if isinstance(filter.value, str) or is_real else ""
    return f"{name} {operator} %s{cast}"
