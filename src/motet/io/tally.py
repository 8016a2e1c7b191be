"""How many rows text has, counted where its bytes pass, by other means than those that take it apart.

A row begins where something other than a line's end follows one. So the count needs no more than the byte before, and in
CSV whether an odd number of quotes came before. It says nothing of CSV in which quotes stand where they should not, or
hold so many lines that they may be stray (see `records.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from motet.io.records import RECORD_BYTES, SWALLOWED_LINES
from motet.io.splits import Anchor

__all__ = ["CsvTally", "LinesTally", "line_anchors"]

_LF, _CR, _QUOTE = b'\n\r"'
_BLANK = np.zeros(256, bool)
_BLANK[list(b" \t\r\n")] = True


class LinesTally:
    """Counts lines that are not blank."""

    def __init__(self) -> None:
        self.rows = 0
        self._begun = False

    def add(self, piece: bytes) -> None:
        """See the next bytes."""
        raw = np.frombuffer(piece, np.uint8)
        ends = np.flatnonzero(raw == _LF)
        if len(ends) and (self._begun or not _BLANK[raw[0]]) and not _BLANK[raw[ends[:-1] + 1]].any():
            self.rows += len(ends) - self._begun
            self._begun = False
            piece = piece[ends[-1] + 1 :]
        for place, line in enumerate(piece.split(b"\n")):
            self._begun = self._begun and not place
            if not self._begun and line.strip(b" \t\r"):
                self.rows, self._begun = self.rows + 1, True


def line_anchors(pieces: Iterator[bytes], byte: int, target_bytes: int) -> Iterator[Anchor]:
    """Where text of lines can be entered, each time so many bytes have passed; last where it ends.

    Args:
        pieces: the text.
        byte: of the file, at which it begins.
        target_bytes: how far places lie apart, or a little more.
    """
    line, tally, due = 1, LinesTally(), byte + target_bytes
    yield Anchor(byte, line, 0)
    for piece in pieces:
        while (at := piece.find(b"\n", max(0, due - byte - 1)) + 1) and due <= byte + len(piece):
            tally.add(piece[:at])
            byte, line, piece = byte + at, line + piece.count(b"\n", 0, at), piece[at:]
            yield Anchor(byte, line, tally.rows)
            due = byte + target_bytes
        tally.add(piece)
        byte, line = byte + len(piece), line + piece.count(b"\n")
    yield Anchor(byte, line, tally.rows)


class CsvTally:
    """Counts records behind the first, which names the columns.

    Args:
        delimiter: what stands between fields, one byte.

    Attributes:
        size: bytes that passed.
    """

    def __init__(self, delimiter: bytes) -> None:
        self._beside = np.zeros(256, bool)
        self._beside[[_LF, _CR, _QUOTE, delimiter[0]]] = True
        self._before = b"\n"
        self._starts, self._inside, self._sound = 0, False, True
        self.size = self._lines = self._length = 0

    @property
    def rows(self) -> int | None:
        """How many there were, None where quotes leave that to whoever takes them apart."""
        return self._starts - 1 if self._sound and not self._inside else None

    def add(self, piece: bytes) -> None:
        """See the next bytes, one or more."""
        self.size += len(piece)
        if not self._sound:
            return
        if self._inside or _QUOTE in piece or self._before == b'"':
            starts = self._quoted(piece)
        else:
            ends = _ends(piece)
            starts = int(np.count_nonzero(ends[:-1] > ends[1:])) + int(self._before in b"\r\n" and not ends[0])
            self._lines = 0 if starts else self._lines
        self._starts, self._before = self._starts + starts, piece[-1:]
        self._length = len(piece) + (0 if starts else self._length)

    def _quoted(self, piece: bytes) -> int:
        """Rows that begin where quotes are. The last byte of the piece before is looked at again, and a line's end behind this
        one and before that one, so that every byte has one on either side."""
        text = b"\n%b%b\n" % (self._before, piece)
        raw, ends = np.frombuffer(text, np.uint8), _ends(text)
        quotes, places = (raw == _QUOTE).nonzero()[0], ends[1:-1].nonzero()[0] + 1
        before = int(self._inside) + int(
            self._before == b'"'
        )  # which is counted twice then: in what came before, and here
        inside = (quotes.searchsorted(places) + before) & 1 == 1
        self._inside = (len(quotes) + before) % 2 == 1
        starts = places[~inside]
        starts = starts[~ends[starts + 1]]
        lines = self._lines
        if inside.any():
            counts = np.bincount(starts.searchsorted(places[inside], "right"), minlength=len(starts) + 1)
            counts[0] += lines
            self._lines, lines = int(counts[-1]), int(counts.max())
        elif len(starts):
            self._lines = 0
        opening, closing = quotes[before % 2 :: 2], quotes[1 - before % 2 :: 2]
        beside = self._beside[raw[opening - 1]].all() and self._beside[raw[closing + 1]].all()
        stray = lines >= SWALLOWED_LINES - 1 or self._length + len(piece) >= RECORD_BYTES
        self._sound = bool(beside and not stray)
        return len(starts)


def _ends(text: bytes) -> Any:
    """Which bytes end a line."""
    raw = np.frombuffer(text, np.uint8)
    ends = raw == _LF
    if _CR in text:
        ends |= raw == _CR
    return ends
