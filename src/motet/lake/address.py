"""Addresses of tables of a lake: `SCHEME:PLACE?OPTION=VALUE`.

delta:sales  delta:///data/sales  delta:s3://bucket/sales?version=3         a folder, or a store of objects
iceberg://CATALOG/shop.sales?snapshot=ID&uri=...&warehouse=...              a table of a catalog; other options are the catalog's
bigquery://PROJECT/DATASET/TABLE?endpoint=localhost:9060                    a table of BigQuery
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from motet.databases.address import folder_of, is_table
from motet.errors import InputError, UnknownNameError

__all__ = ["MODES", "SCHEMES", "LakeAddress", "is_lake", "names_table"]

SCHEMES = ("delta", "iceberg", "bigquery")
MODES = ("append", "overwrite")
"""What becomes of rows that a table has: they stay, or go."""
_SCHEME = re.compile(rf"({'|'.join(SCHEMES)}):", re.IGNORECASE)
_READ = {"delta": ("version", "timestamp"), "iceberg": ("snapshot",), "bigquery": ()}
_WRITTEN = {"delta": ("mode",), "iceberg": ("mode",), "bigquery": ("mode", "endpoint")}
_SHAPES = {
    "delta": ("delta:folder", re.compile(r".*[^/].*")),
    "bigquery": ("bigquery://PROJECT/DATASET/TABLE", re.compile(r"//([^/]+)/([^/]+)/([^/]+)")),
    "iceberg": ("iceberg://CATALOG/NAMESPACE.TABLE", re.compile(r"//([^/]+)/([^/.]+(?:\.[^/.]+)+)")),
}
_USER = re.compile(r"//[^/]*@")


def is_lake(what: Any) -> bool:
    """Whether what is read or written is named by the address of a table of a lake."""
    return isinstance(what, str) and _SCHEME.match(what) is not None


def names_table(what: Any) -> bool:
    """Whether what is read or written is a table, of a database or of a lake, and no file."""
    return is_table(what) or is_lake(what)


@dataclass(frozen=True)
class LakeAddress:
    """A table of a lake.

    Attributes:
        scheme: one of `SCHEMES`.
        place: what is behind the scheme, without options.
        options: what is asked for beside, by name; those of catalogs may be secret, and are in no message.
    """

    scheme: str
    place: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, *, written: bool) -> LakeAddress:
        """Read an address.

        Args:
            text: the address.
            written: whether it is an output; else it is an input.

        Raises:
            InputError: when it is none, or an option has a value that it cannot have.
            UnknownNameError: when it has an option that nothing has.
        """
        match = _SCHEME.match(text)
        if match is None:
            raise InputError("is no address of a table", where=text, hint="delta:folder")
        scheme = match[1].lower()
        place, _, query = text[match.end() :].partition("?")
        pairs = [each.partition("=") for each in query.split("&") if each]
        made = cls(scheme, place, {unquote(name): unquote(value) for name, _, value in pairs})
        shape, pattern = _SHAPES[scheme]
        if not pattern.fullmatch(place):
            raise InputError("names no table", where=str(made), hint=f"write {shape}")
        made._check_options(written=written)
        if len(made.options) < len(pairs):
            raise InputError("has an option twice", where=str(made), hint="leave one out")
        return replace(made, place=folder_of(scheme, place, str(made))) if scheme == "delta" else made

    def _check_options(self, *, written: bool) -> None:
        known = (_WRITTEN if written else _READ)[self.scheme]
        others = (_READ if written else _WRITTEN)[self.scheme]
        for name, value in self.options.items():
            if name in others or (name not in known and self.scheme != "iceberg"):
                raise UnknownNameError("option", name, known, where=str(self))
            if name == "mode" and value not in MODES:
                raise InputError(f"mode is {value!r}; it must be {' or '.join(MODES)}", where=str(self))
            if name in ("version", "snapshot") and not value.isdecimal():
                raise InputError(f"{name} is {value!r}; it must be a whole number", where=str(self))
        if "version" in self.options and "timestamp" in self.options:
            raise InputError("names a version and a timestamp", where=str(self), hint="leave one out")

    def __str__(self) -> str:
        return f"{self.scheme}:{_USER.sub('//...@', self.place)}"

    @property
    def parts(self) -> tuple[str, ...]:
        """What a place is made of: of Iceberg the catalog and the table; of BigQuery project, dataset and table."""
        match = _SHAPES[self.scheme][1].fullmatch(self.place)
        assert match is not None
        return match.groups()

    @property
    def properties(self) -> dict[str, str]:
        """Options that are none of ours: those of a catalog."""
        own = {*_READ[self.scheme], *_WRITTEN[self.scheme]}
        return {name: value for name, value in self.options.items() if name not in own}

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.scheme == "delta" and "://" not in self.place

    @property
    def beside(self) -> str:
        """The path beside which files of a run over the table stand: of one elsewhere, in the current folder."""
        if self.is_local:
            return os.path.abspath(self.place.rstrip("/"))
        return os.path.abspath(re.sub(r"[^A-Za-z0-9_.]+", "-", str(self)))
