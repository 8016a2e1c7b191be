"""Text of any encoding as UTF-8, piece by piece."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

from motet.io.compression import codec_of
from motet.io.files import FoundFile

__all__ = ["LINE_BYTES", "Pieces", "utf8_begins", "utf8_pieces"]

LINE_BYTES = 256 << 20
"""The longest line that is read."""

_PIECE_BYTES = 1 << 19
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF8 = ("utf-8", "utf-8-sig")
_DAMAGED = "motet.damaged"


def _mark_damage(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_DAMAGED, _mark_damage)


class Pieces:
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


def utf8_begins(file: FoundFile, encoding: str | None) -> int | None:
    """The byte of a file at which its text begins, where the text's bytes are those of the file; None where they are not."""
    if codec_of(file.name) is not None or file.content is not None:
        return None
    with file.stream() as raw:
        mark = _mark_of(raw.read(len(codecs.BOM_UTF32)))
    if codecs.lookup(encoding or _MARKS.get(mark, "utf-8")).name not in _UTF8:
        return None
    return len(mark) if mark == codecs.BOM_UTF8 else 0


def utf8_pieces(
    file: FoundFile, encoding: str | None, seen: Callable[[bytes], None] | None = None, start: int | None = None
) -> Iterator[bytes]:
    """A file's text as UTF-8, half a MiB at a time, without its byte order mark.

    What is no text of the encoding comes as a byte that is none of UTF-8, so that it is found where it matters.

    Args:
        file: the file, compressed or not.
        encoding: a codec of Python; None is UTF-8, or what a byte order mark says.
        seen: is told each piece before it is handed on.
        start: the byte to begin at, of a file that `utf8_begins` tells one of; None is the beginning.

    Raises:
        OSError, ArrowException: when the file cannot be read any further.
    """
    with file.stream() as raw:
        if start is not None:
            raw.seek(start)
        piece = raw.read(max(_PIECE_BYTES, len(codecs.BOM_UTF32)))
        decode = _decoder(piece, encoding) if start is None else bytes
        while True:
            if text := decode(piece):
                if seen is not None:
                    seen(text)
                yield text
            if not piece:
                return
            piece = raw.read(_PIECE_BYTES)


def _mark_of(first: bytes) -> bytes:
    """The byte order mark that a file begins with; empty for none."""
    return next((mark for mark in _MARKS if first.startswith(mark)), b"")


def _decoder(first: bytes, encoding: str | None) -> Callable[[bytes], bytes]:
    """What turns pieces of a file into UTF-8; it is given an empty one at the end."""
    name = codecs.lookup(encoding or _MARKS.get(_mark_of(first), "utf-8")).name
    if name in _UTF8:
        return lambda piece: piece.removeprefix(codecs.BOM_UTF8) if piece is first else piece
    decoder = codecs.getincrementaldecoder(name)(_DAMAGED)

    def decode(piece: bytes) -> bytes:
        text = decoder.decode(piece, not piece)
        return (text.removeprefix("\ufeff") if piece is first else text).encode(errors="surrogateescape")

    return decode
