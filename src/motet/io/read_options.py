"""How sources are read: encoding, delimiter, types of columns and empty fields of text, and keys of Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from motet.errors import InputError
from motet.io.decryption import ParquetKeys
from motet.types import ColumnType

__all__ = ["ReadOptions"]

_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
_KNOWN_BY = {
    "csv": ("encoding", "delimiter", "types", "empty"),
    "jsonl": ("encoding", "types"),
    "a plugin": ("types",),
    "parquet": ("keys",),
}
_OPTIONS = {"keys": "decrypt"}
"""What users call them where that is another word."""


@dataclass(frozen=True)
class ReadOptions:
    """How sources are read.

    Attributes:
        encoding: a codec of Python; None is UTF-8, or what a byte order mark says.
        delimiter: what stands between the fields of a CSV, one ASCII character or its name (`tab`, `semicolon`, ...); None is a comma.
        types: types of columns that nobody else declares.
        empty: what an empty field of a CSV is where text is wanted: `missing` (None is the same), or `text`.
        keys: what encrypted Parquet files are decrypted with.

    Raises:
        InputError: when one of them is none.
    """

    encoding: str | None = None
    delimiter: str | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    empty: str | None = None
    keys: ParquetKeys | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "delimiter", _DELIMITERS.get(self.delimiter or "", self.delimiter))
        if self.delimiter is not None and (
            len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '\0\r\n"'
        ):
            raise InputError(
                f"{self.delimiter!r} is no delimiter",
                where="delimiter",
                hint=f"give one ASCII character, or one of {', '.join(_DELIMITERS)}",
            )
        if self.empty not in (None, "missing", "text"):
            raise InputError(
                f"{self.empty!r} is nothing an empty field can be", where="empty", hint="write missing or text"
            )
        if self.encoding is not None:
            _check_encoding(self.encoding)

    @property
    def keeps_empty(self) -> bool:
        """Whether an empty field is the empty text where text is wanted."""
        return self.empty == "text"

    def with_wanted(self, wanted: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
        """The types of columns: those that somebody takes, and `types` for the others and for `any`.

        Raises:
            InputError: when one is named with two types.
        """
        for name, kind in self.types.items():
            if name in wanted and wanted[name].dtype != "any" and wanted[name] != kind:
                raise InputError(
                    f"column {name!r} is {kind}, and {wanted[name]} is wanted of it",
                    where="types",
                    hint="leave it out: it is read as what is wanted",
                )
        return {**wanted, **self.types}

    def check_known_by(self, format: str, where: str) -> None:
        """Refuse what a format has no use for.

        Raises:
            InputError: names it.
        """
        for each in fields(self):
            if getattr(self, each.name) and each.name not in _KNOWN_BY.get(format, ()):
                known = " and ".join(kind for kind in ("csv", "jsonl", "parquet") if each.name in _KNOWN_BY[kind])
                name = _OPTIONS.get(each.name, each.name)
                raise InputError(
                    f"{name} is an option of {known}; this is {format}", where=where, hint=f"leave {name} out"
                )

    def digest(self) -> tuple[Any, ...]:
        """What tells it from another, for fingerprints; types are in the schema."""
        return self.encoding, self.delimiter, self.keeps_empty


def _check_encoding(name: str) -> None:
    try:
        "".encode(name)
        b"".decode(name)
    except LookupError:
        raise InputError(
            f"there is no encoding {name!r}", where="encoding", hint="such as utf-8, cp1252, latin-1, utf-16, shift_jis"
        ) from None
