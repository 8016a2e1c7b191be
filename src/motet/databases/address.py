"""Addresses of tables: `SCHEME:PLACE?OPTION=VALUE#TABLE`.

lancedb:///data/store#reviews  lancedb:store#reviews  lancedb:s3://bucket/store#reviews     a folder, or a store of objects
qdrant:store#reviews  qdrant+http://HOST:6333#reviews  qdrant+grpc://HOST:6334#reviews      a folder, or a server
postgresql://USER@HOST/BASE#reviews                                                         a server, with pgvector
sqlite:///file.db#reviews  duckdb:///file.db#reviews                                        a file
mysql+pymysql://USER@HOST/BASE#reviews  sqlalchemy+DIALECT+DRIVER://...#reviews             any URL of SQLAlchemy
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_plus

from motet.errors import InputError, UnknownNameError

__all__ = ["METRICS", "QUERIED", "SCHEMES", "TableAddress", "folder_of", "has_vectors", "is_table"]

METRICS = ("cosine", "dot", "l2")
"""How alike two vectors are: by their angle, by their product, or by their distance."""
SCHEMES = (
    "lancedb", "qdrant", "qdrant+http", "qdrant+https", "qdrant+grpc", "qdrant+grpcs", "postgresql", "sqlite", "duckdb",
    "sqlalchemy",
)  # fmt: skip
VECTORS = ("lancedb", "qdrant", "postgresql", "sqlite")
"""Databases whose tables are searched by vectors."""
QUERIED = ("query", "order")
"""Options of an address that is read."""
_SCHEME = re.compile(rf"({'|'.join(map(re.escape, SCHEMES))}):", re.IGNORECASE)
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_SQL = ("postgresql", "sqlite", "duckdb", "sqlalchemy")
_DIALECTS = "mysql|mariadb|mssql|oracle"
"""Dialects of SQLAlchemy that need not be told from other addresses."""
_USER = re.compile(r"//.*@")
"""Whoever asks a server, and the password, also one that was to be encoded."""


def is_table(what: Any) -> bool:
    """Whether what is read or written is named by the address of a table."""
    return isinstance(what, str) and _SCHEME.match(_known(what)) is not None


def has_vectors(what: str) -> bool:
    """Whether a text is the address of a table that is searched by vectors."""
    found = _SCHEME.match(_known(what))
    return found is not None and found[1].lower().partition("+")[0] in VECTORS


def _known(text: str) -> str:
    """The same with a scheme as we call it: `postgresql` has three other names, `pgvector` one of them; and behind `sqlalchemy:`
    stands a URL of SQLAlchemy."""
    text = re.sub(rf"^(?:sqlalchemy\+(?=\w)|(?=(?:{_DIALECTS})(?:\+\w+)?:))", "sqlalchemy:", text)
    return re.sub(r"^(postgres|pgvector|postgresql\+psycopg):", "postgresql:", text)


@dataclass(frozen=True)
class TableAddress:
    """A table of a database.

    Attributes:
        scheme: one of `SCHEMES`.
        place: a folder, a file or a URL of objects; of a server what is behind the scheme (`//HOST:PORT`). What is secret in it
            is in no message.
        table: its name; empty where a query is read.
        options: what is asked for beside, by name.
    """

    scheme: str
    place: str = field(repr=False)
    table: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, known: tuple[str, ...] = ("metric", "api_key")) -> TableAddress:
        """Read an address.

        Args:
            text: the address.
            known: the options that it may have. Those of a PostgreSQL that are none of these are its driver's.

        Raises:
            InputError: when it is none.
            UnknownNameError: when it has an option that nothing has.
        """
        match = _SCHEME.match(_known(text))
        if match is None:
            raise InputError("is no address of a table", where=text, hint="lancedb:///folder#table")
        scheme = match[1].lower()
        rest, _, table = _known(text)[match.end() :].partition("#")
        place, _, query = rest.partition("?")
        given = _options(query)
        table = unquote(table) or (given.pop("table", "") if scheme in _SQL else "")
        others = [name for name in given if name not in known]
        made = cls(scheme, place, table, {name: given[name] for name in given if name in known})
        if scheme in ("postgresql", "sqlalchemy") and others:
            place += "?" + "&".join(each for each in query.split("&") if each.partition("=")[0] in others)
        elif others:
            raise UnknownNameError("option", others[0], known, where=str(made))
        made = cls(scheme, _placed(scheme, place, str(made)), table, made.options)
        made._check()
        return made

    def _check(self) -> None:
        if not self.place.strip("/"):
            raise InputError("names no database", where=str(self), hint=f"{self.scheme}:///folder#table")
        if self.table and not _TABLE.fullmatch(self.table):
            hint = "letters, digits, _, . and -, at most 63, a letter first"
            raise InputError(f"{self.table!r} cannot be the name of a table", where=str(self), hint=hint)
        if not self.table and "query" not in self.options:
            query = ", or read what ?query=SELECT ...&order=id gives" if self.scheme in _SQL else ""
            raise InputError("names no table", where=str(self), hint=f"write {self}#TABLE{query}")
        if self.options.get("metric", "cosine") not in METRICS:
            what = f"metric is {self.options['metric']!r}; it must be {', '.join(METRICS)}"
            raise InputError(what, where=str(self))

    def __str__(self) -> str:
        shown = _USER.sub("//...@", self.place.partition("?")[0])
        if self.scheme == "sqlalchemy":
            shown = shown if re.match(_DIALECTS, shown) else f"sqlalchemy+{shown}"
            return shown + (f"#{self.table}" if self.table else "")
        return f"{self.scheme}:{shown}" + (f"#{self.table}" if self.table else "")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder or a file of this machine."""
        return self.scheme in ("lancedb", "qdrant", "sqlite", "duckdb") and "://" not in self.place

    @property
    def takes_writers(self) -> bool:
        """Whether it is a server, into which several processes may write at a time."""
        return self.scheme.startswith(("postgresql", "qdrant+", "sqlalchemy"))

    @property
    def beside(self) -> str:
        """The path beside which files of a run over the table stand: of a server's, in the current folder."""
        if self.is_local:
            return f"{os.path.abspath(self.place.rstrip('/'))}.{self.table}"
        plain = _USER.sub("", self.place.partition("?")[0])
        return os.path.abspath(re.sub(r"[^A-Za-z0-9_.]+", "-", f"{self.scheme}-{plain}-{self.table}"))

    @property
    def secret(self) -> str | None:
        """The key that a server asks for: `api_key`, where `env:NAME` is what an environment variable holds.

        Raises:
            InputError: when the variable is not set.
        """
        given = self.options.get("api_key")
        if given is None or not given.startswith("env:"):
            return given
        found = os.environ.get(given[4:])
        if found is None:
            raise InputError(f"the environment variable {given[4:]!r} is not set", where=str(self))
        return found


def _options(query: str) -> dict[str, str]:
    """Options by name. A query of SQL with spaces is as it stands; all else is decoded, `+` only in a query without them."""
    found: dict[str, str] = {}
    for name, _, value in (each.partition("=") for each in query.split("&") if each):
        is_plain = name == "query" and any(map(str.isspace, value))
        found[unquote(name)] = value if is_plain else unquote_plus(value) if name == "query" else unquote(value)
    return found


def _placed(scheme: str, place: str, where: str) -> str:
    """A place as its database takes it: a path, or what is behind the scheme of a server."""
    if scheme == "qdrant" and place.startswith("//") and not place.startswith("///"):
        raise InputError(
            "is a folder by its scheme, and a server by its slashes", where=where,
            hint=f"a server is qdrant+http:{place} or qdrant+grpc:{place}, a folder qdrant:///folder",
        )  # fmt: skip
    if scheme in ("lancedb", "qdrant"):
        return folder_of(scheme, place, where)
    if scheme in ("sqlite", "duckdb"):  # as SQLAlchemy has it: three slashes are before a path, which may be whole
        if place.startswith("//") and not place.startswith("///"):
            name = {"sqlite": "SQLite", "duckdb": "DuckDB"}[scheme]
            raise InputError(f"names a host, which {name} has none of", where=where, hint=f"{scheme}:///file.db#table")
        return place[3:] if place.startswith("///") else place
    return place


def folder_of(scheme: str, place: str, where: str) -> str:
    """The folder, or the URL of objects, that stands behind a scheme.

    Args:
        scheme: such as `lancedb`.
        place: what is behind its colon.
        where: the address, for messages.

    Raises:
        InputError: when it begins as a server would.
    """
    if not place.startswith("//"):
        return place
    if not place.startswith("///"):
        hint = f"write {scheme}:{place[2:]} for a path from the current folder, {scheme}:///folder for a whole one"
        raise InputError("has two slashes, behind which no path begins", where=where, hint=hint)
    return "/" + place.lstrip("/")
