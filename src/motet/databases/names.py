"""Names of tables and columns in SQL."""

from __future__ import annotations

__all__ = ["quoted"]


def quoted(name: str) -> str:
    """A name as PostgreSQL, SQLite and DuckDB take it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
