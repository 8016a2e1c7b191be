"""Connections to databases: SQLite in a file, and Postgres."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from motet.errors import GraphError, MissingExtraError

try:
    import sqlalchemy as sa
except ImportError:
    raise MissingExtraError("sqlalchemy", "sql", "a sink to a database") from None

__all__ = ["connected", "database_url", "sa"]


def database_url(to: str, folder: Path, where: str) -> sa.URL:
    """The URL of a database, as SQLAlchemy has it; a file's path begins at the folder.

    Raises:
        GraphError: when it cannot be read, or keeps nothing.
    """
    try:
        url = sa.make_url(re.sub("^postgres(?=:)", "postgresql", to))
        port = 1 if url.port is None else url.port
    except sa.exc.ArgumentError as error:
        raise GraphError(f"the URL cannot be read: {error}", where=where) from None
    except ValueError:
        port = 0  # what stands there may be a part of a password
    if not 0 < port < 1 << 16:
        hint = "a number from 1 to 65535; in a password @ is written %40; IPv6 addresses in brackets"
        raise GraphError("the port of its URL is none", where=where, hint=hint)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        return url
    if url.host:
        raise GraphError("a SQLite URL names no host", where=where, hint="sqlite:///predictions.db, with three slashes")
    if not url.database or url.database == ":memory:":
        raise GraphError("a database in memory keeps nothing", where=where, hint="sqlite:///predictions.db")
    return url.set(database=str(folder / url.database))


def connected(url: sa.URL, timeout_s: float, where: str, *, sync: bool = False) -> sa.Engine:
    """What connects to a database when it is first asked.

    Args:
        url: as `database_url` gives it.
        timeout_s: the longest that a connection, or a statement, may take.
        where: its place, for messages.
        sync: whether SQLite waits for its disk at each transaction.

    Raises:
        MissingExtraError: when its driver is not installed.
        GraphError: when there is no such driver.
    """
    sqlite = url.get_backend_name() == "sqlite"
    arguments: dict[str, Any] = {"timeout": timeout_s}
    if not sqlite:
        arguments = {
            "connect_timeout": max(2, round(timeout_s / 2)),
            "options": f"-c statement_timeout={round(timeout_s * 1000)}",
            "client_encoding": "utf8",
            "tcp_user_timeout": round(timeout_s * 1000),
        }
        arguments = {name: value for name, value in arguments.items() if name not in url.query}
    try:
        engine = sa.create_engine(url, connect_args=arguments, pool_size=2, pool_pre_ping=not sqlite)
    except ImportError as error:
        raise MissingExtraError(str(error.name or url.drivername), "postgres", where) from None
    except sa.exc.ArgumentError as error:
        raise GraphError(str(error), where=where) from None
    if sqlite:

        def set_up(connection: Any, _: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            cursor.close()

        sa.event.listen(engine, "connect", set_up)
    return engine
