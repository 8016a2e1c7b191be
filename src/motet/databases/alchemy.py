"""Tables of other databases, by SQLAlchemy and the driver that a URL names: rows by ids, without vectors. A write is one transaction.

Which of the ids are there is asked first: these rows are updated, the others inserted, which every database can. What a database has no
type for is text: times of day as ISO 8601 has them, lists as JSON.
"""

from __future__ import annotations

import decimal
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.layout import TableLayout
from motet.databases.matching import check_matches, sole_key
from motet.databases.retry import tried
from motet.databases.table import Hits, Search
from motet.errors import InputError, RunError
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["AlchemyTable", "arrow_kind", "engine_of", "reason"]

T = TypeVar("T")
ID_LETTERS = 255
"""The longest text that is an id in a table that is made: keys have a longest one in some databases."""
ASKED_IDS = 500
"""Ids that are looked for at once; statements have so many parameters at most."""
_WITHOUT_NAN = ("sqlite", "mysql", "mariadb", "mssql", "oracle")
"""Dialects of databases that have no NaN, some of which refuse a whole write for one."""


def engine_of(address: TableAddress) -> Any:
    """What connects to the database of an address.

    Raises:
        InputError: when the address is none, or its driver is not installed.
    """
    sa, where = imported("sqlalchemy", "sqlalchemy", "sql", str(address)), str(address)
    try:
        return sa.create_engine(address.place, hide_parameters=True, pool_size=1, max_overflow=1)
    except ModuleNotFoundError as error:
        hint = f"pip install {error.name}, or name another driver: {address.place.partition(':')[0].partition('+')[0]}+DRIVER://"
        raise InputError(f"its driver {error.name!r} is not installed", where=where, hint=hint) from error
    except sa.exc.NoSuchModuleError:
        hint = "install the package that brings it; https://docs.sqlalchemy.org/en/20/dialects/ lists them"
        raise InputError("SQLAlchemy has no such dialect or driver", where=where, hint=hint) from None
    except (sa.exc.ArgumentError, ValueError, TypeError):  # which says parts of the address, also the password
        raise InputError("is no URL of SQLAlchemy", where=where, hint="mysql+pymysql://user@host/base#table") from None


def reason(error: Exception) -> str:
    """What the driver said."""
    return summary(getattr(error, "orig", None) or error)


def arrow_kind(kind: Any) -> pa.DataType:
    """What a column of a type of SQLAlchemy is in Arrow; text for what has no other."""
    sa = imported("sqlalchemy", "sqlalchemy", "sql", "types of columns")
    if isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float):
        fits = kind.precision is not None and kind.scale is not None and kind.precision <= 38
        return pa.decimal128(kind.precision, kind.scale) if fits else pa.string()
    zone = "UTC" if getattr(kind, "timezone", False) else None
    for test, found in (
        (sa.Boolean, pa.bool_()), (sa.Integer, pa.int64()), (sa.Float, pa.float64()), (sa.DateTime, pa.timestamp("us", zone)),
        (sa.Date, pa.date32()), (sa.LargeBinary, pa.binary()), (sa.BINARY, pa.binary()), (sa.VARBINARY, pa.binary()),
    ):  # fmt: skip
        if isinstance(kind, test):
            return found
    return pa.string()


class AlchemyTable:
    """A table of any database; see `Table`."""

    database: ClassVar[str] = "the database"
    keeps_text: ClassVar[bool] = False

    def __init__(self, address: TableAddress) -> None:
        self._sa = imported("sqlalchemy", "sqlalchemy", "sql", str(address))
        self._address, self._where, self._engine = address, str(address), engine_of(address)
        self._schema_name, _, self._name = address.table.rpartition(".")
        self._digits = self._engine.dialect.name == "sqlite"
        self._has_nan = self._engine.dialect.name not in _WITHOUT_NAN
        self._lock = threading.Lock()
        self._layout: TableLayout | None = None
        self._table: Any = None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._sa.exc.SQLAlchemyError as error:
            raise InputError(f"{what}: {reason(error)}", where=self._where) from None

    def layout(self) -> TableLayout | None:
        """See `Table`."""
        schema = self._schema_name or None
        with self._told("cannot be read"), self._engine.connect() as connection:
            inspector = self._sa.inspect(connection)
            if not inspector.has_table(self._name, schema=schema):
                return None
            keys = inspector.get_pk_constraint(self._name, schema=schema)["constrained_columns"]
            columns = inspector.get_columns(self._name, schema=schema)
        return TableLayout(
            sole_key(keys, self._where), {}, pa.schema([(each["name"], arrow_kind(each["type"])) for each in columns])
        )

    def check(self, layout: TableLayout) -> None:
        """See `Table`."""
        layout.check_no_vectors("SQLAlchemy", self._where)
        layout.check_held(lambda kind: self._kind(kind) is not None, self.database, self._where)
        check_matches(self.layout(), layout, self._where, _same, more=True)

    def prepare(self, layout: TableLayout) -> None:
        """See `Table`."""
        self.check(layout)
        self._layout = layout
        columns = [self._column(field, is_id=field.name == layout.id) for field in layout.schema]
        self._table = self._sa.Table(self._name, self._sa.MetaData(schema=self._schema_name or None), *columns)
        with self._told("the table cannot be made"):
            self._table.create(self._engine, checkfirst=True)

    def _column(self, field: pa.Field, *, is_id: bool) -> Any:
        is_text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        kind = self._sa.String(ID_LETTERS) if is_id and is_text else self._kind(field.type)
        return self._sa.Column(field.name, kind, primary_key=is_id, autoincrement=False)

    def _kind(self, kind: pa.DataType) -> Any:
        """The type of SQLAlchemy that holds an Arrow type; None where none does. MySQL's own texts and moments are too short."""
        sa, mysql = self._sa, imported("sqlalchemy.dialects.mysql", "sqlalchemy", "sql", self._where)
        text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            plain = not pa.types.is_nested(kind.value_type) and not pa.types.is_binary(kind.value_type)
            return text if plain else None
        if self._digits and (pa.types.is_decimal128(kind) or kind == pa.uint64()):
            return text  # what it calls numeric is a float
        if pa.types.is_decimal128(kind):
            return sa.Numeric(kind.precision, kind.scale)
        if kind == pa.uint64():
            return sa.Numeric(20, 0)
        if pa.types.is_timestamp(kind):
            made = sa.DateTime(timezone=kind.tz is not None)
            return made.with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
        for tests, found in (
            ((pa.types.is_boolean,), sa.Boolean()), ((pa.types.is_integer,), sa.BigInteger()), ((pa.types.is_floating,), sa.Double()),
            ((pa.types.is_string, pa.types.is_large_string, pa.types.is_time), text), ((pa.types.is_date,), sa.Date()),
            ((pa.types.is_binary, pa.types.is_large_binary), sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")),
        ):  # fmt: skip
            if any(test(kind) for test in tests):
                return found
        return None

    def upsert(self, batch: pa.RecordBatch) -> None:
        """See `Table`."""
        assert self._layout is not None
        rows = batch.sort_by(self._layout.id)  # who writes the same rows at the same time waits, and for no other
        values = [_values(column, digits=self._digits, has_nan=self._has_nan) for column in rows.columns]
        given = [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*values, strict=True)]
        try:
            self._asked(lambda: self._written(given))
        except self._sa.exc.SQLAlchemyError as error:
            hint = "--resume goes on with what is finished"
            raise RunError(f"cannot be written: {reason(error)}", where=self._where, hint=hint) from None

    def _asked(self, call: Callable[[], T]) -> T:
        """What a call gives; made again where the connection was lost, and once where another has inserted the same row."""
        with self._lock:
            try:
                return tried(call, _is_lost, self._where)
            except self._sa.exc.IntegrityError:
                return tried(call, _is_lost, self._where)

    def _written(self, rows: Sequence[dict[str, Any]]) -> None:
        sa, layout = self._sa, self._layout
        assert layout is not None
        key = self._table.c[layout.id]
        with self._engine.begin() as connection:
            there: set[Any] = set()
            for start in range(0, len(rows), ASKED_IDS):
                ids = [row[layout.id] for row in rows[start : start + ASKED_IDS]]
                there.update(connection.execute(sa.select(key).where(key.in_(ids))).scalars())
            others = [name for name in layout.schema.names if name != layout.id]
            old = [{**row, "motet_id": row[layout.id]} for row in rows if row[layout.id] in there]
            new = [row for row in rows if row[layout.id] not in there]
            if old and others:
                change = {name: sa.bindparam(name) for name in others}
                connection.execute(sa.update(self._table).where(key == sa.bindparam("motet_id")).values(change), old)
            if new:
                connection.execute(sa.insert(self._table), new)

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """There are no vectors to search.

        Raises:
            InputError: always.
        """
        raise InputError("SQLAlchemy has no vectors to search", where=self._where)

    def close(self) -> None:
        """See `Table`."""
        self._engine.dispose()


def _is_lost(error: Exception) -> bool:
    """Whether the connection was lost."""
    return bool(getattr(error, "connection_invalidated", False))


def _values(column: pa.Array, *, digits: bool, has_nan: bool) -> list[Any]:
    """Values as drivers take them; moments with a zone in UTC, which is what is left where a database keeps none.

    Args:
        column: the values.
        digits: whether decimals are text.
        has_nan: whether NaN stays; else it is null, as a value that is missing.
    """
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    kind, values = column.type, column.to_pylist()
    if pa.types.is_floating(kind) and not has_nan:
        return [None if value is None or math.isnan(value) else value for value in values]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [None if value is None else json.dumps(value, default=str) for value in values]
    if pa.types.is_time(kind):
        return [None if value is None else value.isoformat() for value in values]
    if digits and (pa.types.is_decimal128(kind) or kind == pa.uint64()):
        return [None if value is None else f"{decimal.Decimal(value):f}" for value in values]
    return list(values)


def _family(kind: pa.DataType) -> str:
    for tests, name in (
        ((pa.types.is_boolean, pa.types.is_integer), "whole numbers"), ((pa.types.is_floating,), "floats"),
        ((pa.types.is_decimal,), "decimals"), ((pa.types.is_timestamp,), "moments"), ((pa.types.is_date,), "days"),
        ((pa.types.is_binary, pa.types.is_large_binary), "bytes"),
    ):  # fmt: skip
        if any(test(kind) for test in tests):
            return "decimals" if kind == pa.uint64() else name
    return "texts"


def _same(there: pa.DataType, rows: pa.DataType) -> bool:
    """Whether a type of a table is that of a column of rows; some databases have truth values as numbers, and decimals of any size."""
    return _family(there) == _family(rows) or (_family(rows) == "decimals" and there == pa.string())
