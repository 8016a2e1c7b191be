"""Databases: SQLite and Postgres, by SQLAlchemy.

A record is a line of a table whose primary key is the record's id; one that is there already is left as it is,
or replaced where the latest one counts. Scalars have
columns of their type; arrays, and what is of any kind, are JSON text (`arrays: bytes` makes numbers of fixed shape BLOBs);
uint64, for which databases have no type, is the text of its digits. Columns are never removed: what a graph gives newly is
added to the table, and a column whose type has changed is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from motet.errors import GraphError
from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.records import ID, Records, join_records
from motet.serving.sinks.targets.engine import connected, database_url, sa
from motet.serving.sinks.targets.statements import Statement, by_json, by_values, is_json, without_earlier
from motet.serving.sinks.targets.target import RefusedError

__all__ = ["SqlTarget"]

_AT_FAULT = (sa.exc.DataError, sa.exc.IntegrityError, OverflowError, UnicodeError)


class SqlTarget:
    """Tables of a database."""

    is_log = False

    def __init__(self, config: SinkConfig, folder: Path) -> None:
        self._where = f"sink {config.name}"
        self._url = database_url(config.to, folder, self._where)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", config.table.replace("{graph}", "g")):
            hint = "only {graph} may stand in it" if "{" in config.table else ""
            raise GraphError(f"{config.table!r} cannot be the name of a table", where=self._where, hint=hint)
        self._engine = connected(self._url, config.timeout_s, self._where, sync=config.durable)
        self._dialect = self._engine.dialect
        self._known: dict[str, dict[str, Any]] = {}

    def prepare(self, table: str, kinds: Mapping[str, str]) -> None:
        """Make the table, or add the columns that it does not have.

        Raises:
            GraphError: when a column is there with another type.
            sqlalchemy.exc.SQLAlchemyError: when the database cannot be reached.
        """
        for _ in range(2):
            try:
                self._prepare(table, kinds)
            except sa.exc.DBAPIError:
                continue  # another process may have made the same table or column meanwhile
            else:
                return
        self._prepare(table, kinds)

    def _prepare(self, table: str, kinds: Mapping[str, str]) -> None:
        if self._sqlite:
            Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
        longest = max((table, *kinds), key=len)
        if len(longest) > self._dialect.max_identifier_length:
            hint = f"at most {self._dialect.max_identifier_length} letters"
            raise GraphError(f"{longest!r} is too long a name for this database", where=self._where, hint=hint)
        columns = {name: _sql_type(kind) for name, kind in kinds.items()}
        with self._engine.begin() as connection:
            inspector = sa.inspect(connection)
            if not inspector.has_table(table):
                made = [sa.Column(name, kind, primary_key=name == ID) for name, kind in columns.items()]
                sa.Table(table, sa.MetaData(), *made).create(connection, checkfirst=True)
                there: dict[str, Any] = dict(columns)
            else:
                found: dict[str, Any] = {each["name"]: each["type"] for each in inspector.get_columns(table)}
                self._check(table, kinds, columns, found)
                if inspector.get_pk_constraint(table)["constrained_columns"] != [ID]:
                    hint = "make it PRIMARY KEY, so that no record is written twice; or use another table"
                    raise GraphError(f"{ID!r} is not the primary key", where=f"{self._where}: table {table}", hint=hint)
                for name in columns.keys() - found.keys():
                    kind = columns[name].compile(self._dialect)
                    connection.exec_driver_sql(
                        f"ALTER TABLE {self._quoted(table)} ADD COLUMN {self._quoted(name)} {kind}"
                    )
                there = {**columns, **found}
        self._known[table] = there

    def _check(self, table: str, kinds: Mapping[str, str], wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        for name, kind in wanted.items():
            if name not in found or _family(found[name]) == _family(kind):
                continue
            if isinstance(found[name], sa.JSON) and is_json(kinds[name]):
                continue
            raise GraphError(
                f"column {name!r} is {found[name]} in the table, and {kinds[name]} now, for which it must be {kind}",
                where=f"{self._where}: table {table}",
                hint="give the sink another table:, or rename the column in the database",
            )

    def _quoted(self, name: str) -> str:
        return self._dialect.identifier_preparer.quote(name)

    def write(self, batch: Sequence[Records], name: str) -> None:
        """See `Target.write`: one transaction."""
        joined = join_records(batch)
        try:
            for records in joined:
                if not self._known.get(records.table, {}).keys() >= records.kinds.keys():
                    self.prepare(records.table, records.kinds)
            with self._engine.begin() as connection:
                for records in joined:
                    for statement, values in self._statements(records):
                        connection.exec_driver_sql(statement, values)
        except GraphError as error:
            raise RefusedError(str(error), whole=True) from error
        except _AT_FAULT as error:
            raise RefusedError(str(getattr(error, "orig", error))) from error
        except sa.exc.SQLAlchemyError:
            self._known.clear()  # the table may be gone
            raise

    def _statements(self, records: Records) -> Iterator[Statement]:
        if records.latest:
            records = without_earlier(records)
        table, names = self._quoted(records.table), [self._quoted(name) for name in records.kinds]
        if self._sqlite:
            return by_values(table, names, records)
        found = self._known[records.table]
        return by_json(table, names, records, [name for name in records.kinds if isinstance(found[name], sa.JSON)])

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _sql_type(kind: str) -> sa.types.TypeEngine[Any]:
    if is_json(kind) or kind in ("string", "uint64"):
        return sa.Text()
    if kind == "bytes":
        return sa.LargeBinary()
    if kind == "bool":
        return sa.Boolean()
    return sa.Double() if kind.startswith("float") else sa.BigInteger()


def _family(kind: Any) -> type[Any]:
    for family in (sa.Boolean, sa.Integer, sa.Numeric, sa.Float, sa.String, sa.LargeBinary):
        if isinstance(kind, family):
            return sa.Numeric if family is sa.Float else family
    return type(kind)
