"""Which module has the tables of which database; each imports its client when one is opened."""

from __future__ import annotations

from motet.databases.address import TableAddress
from motet.databases.table import Table

__all__ = ["open_table"]


def open_table(address: TableAddress) -> Table:
    """The table of an address; nothing is made or connected before it is asked for something.

    Raises:
        MissingExtraError: when its client is not installed.
    """
    match address.scheme.partition("+")[0]:
        case "lancedb":
            from motet.databases.lance import LanceTable

            return LanceTable(address)
        case "postgresql":
            from motet.databases.postgres import PostgresTable

            return PostgresTable(address)
        case "duckdb":
            from motet.databases.duck import DuckTable

            return DuckTable(address)
        case "sqlalchemy":
            from motet.databases.alchemy import AlchemyTable

            return AlchemyTable(address)
        case "sqlite":
            from motet.databases.sqlite import SqliteTable

            return SqliteTable(address)
    from motet.databases.qdrant import QdrantTable

    return QdrantTable(address)
