"""How sources of text are read: encoding, delimiter, types of columns, and what an empty field is."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

from motet.errors import InputError
from motet.io.files import File
from motet.types import ColumnType

__all__ = ["Held", "Reading", "utf8_pieces"]

_PIECE_BYTES = 1 << 19
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
_KNOWN_BY = {"csv": ("encoding", "delimiter", "types", "empty"), "jsonl": ("encoding", "types"), "a plugin": ("types",)}
_DAMAGED = "motet.damaged"


def _mark_damage(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_DAMAGED, _mark_damage)


@dataclass(frozen=True)
class Reading:
    """How text is read.

    Attributes:
        encoding: a codec of Python; None is UTF-8, or what a byte order mark says.
        delimiter: what stands between the fields of a CSV, one ASCII character or its name (`tab`, `semicolon`, ...); None is a comma.
        types: types of columns that nobody else declares.
        empty: what an empty field of a CSV is where text is wanted: `missing` (None is the same), or `text`.

    Raises:
        InputError: when one of them is none.
    """

    encoding: str | None = None
    delimiter: str | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    empty: str | None = None

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
                known = " and ".join(name for name in ("csv", "jsonl") if each.name in _KNOWN_BY[name])
                raise InputError(
                    f"{each.name} is an option of {known}; this is {format}", where=where, hint=f"leave {each.name} out"
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


class Held:
    """Pieces that were read and are not looked at yet, so that a long line is not copied for each of its pieces."""

    def __init__(self, first: bytes = b"") -> None:
        self._pieces, self.size = [first], len(first)

    def add(self, piece: bytes) -> None:
        """Hold one more."""
        self._pieces.append(piece)
        self.size += len(piece)

    def take(self) -> bytes:
        """All of them together."""
        return b"".join(self._pieces)


def utf8_pieces(file: File, encoding: str | None) -> Iterator[bytes]:
    """A file's text as UTF-8, half a MiB at a time, without its byte order mark.

    What is no text of the encoding comes as a byte that is none of UTF-8, so that it is found where it matters.

    Args:
        file: the file, compressed or not.
        encoding: a codec of Python; None is UTF-8, or what a byte order mark says.

    Raises:
        InputError: when the file cannot be read any further.
    """
    try:
        with file.stream() as raw:
            piece = raw.read(max(_PIECE_BYTES, len(codecs.BOM_UTF32)))
            decode = _decoder(piece, encoding)
            while True:
                if text := decode(piece):
                    yield text
                if not piece:
                    return
                piece = raw.read(_PIECE_BYTES)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot be read any further: {error}", where=str(file)) from error


def _decoder(first: bytes, encoding: str | None) -> Callable[[bytes], bytes]:
    """What turns pieces of a file into UTF-8; it is given an empty one at the end."""
    mark = next((mark for mark in _MARKS if first.startswith(mark)), b"")
    name = codecs.lookup(encoding or _MARKS.get(mark, "utf-8")).name
    if name in ("utf-8", "utf-8-sig"):
        return lambda piece: piece.removeprefix(codecs.BOM_UTF8) if piece is first else piece
    decoder = codecs.getincrementaldecoder(name)(_DAMAGED)

    def decode(piece: bytes) -> bytes:
        text = decoder.decode(piece, not piece)
        return (text.removeprefix("\ufeff") if piece is first else text).encode(errors="surrogateescape")

    return decode
