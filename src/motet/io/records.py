"""Where the records of a CSV file end, and what its fields are where quotes make that hard to tell.

A quote opens a field at its very beginning, and is text anywhere else; it closes one before a delimiter or a line's
end. Blocks of whole records in which that is so everywhere are left to Arrow, which reads them alike. Others are taken
apart here, one record at a time. A quote that never closes, or only amid text lines later, costs the line it is on and
no other: records go on at the next line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from motet.batch import Indices
from motet.io.utf8 import LINE_BYTES, Pieces

__all__ = ["RECORD_BYTES", "SWALLOWED_LINES", "CsvRecord", "RecordBlock", "RecordFault", "blocks", "records"]

RECORD_BYTES = 16 << 20
"""The most that a quoted field may hold; a quote that closes later than that counts as never closed."""
SWALLOWED_LINES = 8
"""From so many lines on, a quoted field is asked whether its lines look like rows of the file."""
_LF, _CR, _QUOTE = b'\n\r"'
_COUNTED_SLOWLY = 4096


class RecordFault(str):
    """Why a record has no fields."""

    __slots__ = ()


@dataclass(frozen=True)
class CsvRecord:
    """One record.

    Attributes:
        line: the line it begins on, from 1.
        fields: its fields, or why it has none.
        start: where it begins among the bytes it was found in.
        end: where it ends among them.
    """

    line: int
    fields: list[bytes] | RecordFault
    start: int
    end: int


@dataclass(frozen=True)
class RecordBlock:
    """Some whole records.

    Attributes:
        line: the line the first begins on, from 1.
        data: their bytes.
        delimiter: what stands between fields, one byte.
        found: the records, where they were taken apart one by one.
        ends: where they end by the count of quotes, blank lines among them.
        skipped: bytes behind them which belong to the last one and are not held.
    """

    line: int
    data: bytes
    delimiter: bytes
    found: list[CsvRecord] | None = None
    ends: Indices | None = None
    skipped: int = 0

    @cached_property
    def starts(self) -> Indices:
        """Where each record begins, without blank lines."""
        ends = _line_ends(self.data) if self.ends is None else self.ends
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        sizes, raw = ends - starts, np.frombuffer(self.data, np.uint8)
        blank = (sizes < 2) | ((sizes == 2) & (raw[starts] == _CR))
        return np.delete(starts, np.flatnonzero(blank))

    @cached_property
    def num_lines(self) -> int:
        """How many lines there are, and so at most as many records."""
        return _count_lines(self.data)

    @cached_property
    def num_rows(self) -> int:
        """How many records there are."""
        if self.found is not None:
            return len(self.found)
        if self.ends is not None:
            return len(self.starts)
        ends = np.frombuffer(self.data, np.uint8) == _LF
        return int(np.count_nonzero(ends[:-1] > ends[1:])) + int(not ends[0])

    @property
    def places(self) -> Indices:
        """Where each record begins."""
        return self.starts if self.found is None else np.array([each.start for each in self.found], np.int64)

    @property
    def is_whole(self) -> bool:
        """Whether nothing but blank lines lies between the records."""
        at = 0
        for each in self.found or ():
            if self.data[at : each.start].strip(b"\r\n"):
                return False
            at = each.end
        return self.found is None or not self.data[at:].strip(b"\r\n")

    @cached_property
    def lines(self) -> list[int]:
        """The line that each record begins on."""
        if self.found is not None:
            return [each.line for each in self.found]
        numbers: list[int] = (self.line + np.searchsorted(_line_ends(self.data), self.starts, "right")).tolist()
        return numbers


def blocks(pieces: Iterator[bytes], rest: bytes, line: int, delimiter: bytes, width: int) -> Iterator[RecordBlock]:
    """All records, some MiB at a time; one that is longer than 256 MiB has no fields, and is not held whole.

    Args:
        pieces: bytes as they were read.
        rest: what was read before them; a record begins here.
        line: the line that it is on.
        delimiter: one byte.
        width: fields that a record has.
    """
    pieces, held, wanted = chain(pieces, [b""]), Pieces(rest), 0
    for piece in pieces:
        held.add(piece)
        last = not piece
        if held.size < min(wanted, LINE_BYTES + 1) and not last:
            continue
        rest = held.take()
        if last and rest and not rest.endswith(b"\n"):
            rest += b"\n"
        block = _whole(rest, line, delimiter, width, last=last)
        if block.data:
            yield block
        rest, line = rest[len(block.data) :], line + block.num_lines
        if len(rest) > LINE_BYTES:
            skipped, behind = (0, b"") if rest.endswith(b"\r") else _rest_of_line(pieces)
            too_long = CsvRecord(line, RecordFault(f"is longer than {LINE_BYTES >> 20} MiB"), 0, len(rest))
            yield (block := RecordBlock(line, rest, delimiter, [too_long], skipped=skipped))
            rest, line = behind, line + block.num_lines + (behind != b"\r" and not rest.endswith(b"\r"))
        held, wanted = Pieces(rest), 2 * len(rest)


def _rest_of_line(pieces: Iterator[bytes]) -> tuple[int, bytes]:
    """How many bytes there are to the end of a line, and what was read behind it."""
    size = 0
    for piece in pieces:
        if end := _LINE_END.search(piece):
            place = end.start() if piece[end.start() :] == b"\r" else end.end()  # a line feed may follow
            return size + place, piece[place:]
        size += len(piece)
    return size, b""


def _whole(data: bytes, line: int, delimiter: bytes, width: int, *, last: bool) -> RecordBlock:
    """The whole records at the beginning of some bytes."""
    if _QUOTE not in data and _CR not in data:
        return RecordBlock(line, data[: data.rfind(b"\n") + 1], delimiter)
    ends, well_formed = _outline(data, delimiter)
    size = int(ends[-1]) if len(ends) else 0
    too_long = len(data) - size > RECORD_BYTES and _QUOTE in data[size:]
    if well_formed and not too_long and not (last and size < len(data)):
        block = RecordBlock(line, data[:size], delimiter, ends=ends)
        if not (size and _swallows(block, width)):
            return block
    found = list(records(data, line, delimiter, width, last=last))
    return RecordBlock(line, data[: found[-1].end if found else 0], delimiter, [each for each in found if each.fields])


def _outline(data: bytes, delimiter: bytes) -> tuple[Indices, bool]:
    """Where records end by the count of quotes; and whether each quote is where it may open or close a field."""
    raw, ends = np.frombuffer(data, np.uint8), _line_ends(data)
    quotes = np.flatnonzero(raw == _QUOTE)
    if not len(quotes):
        return ends, True
    beside = np.zeros(256, bool)
    beside[[_LF, _CR, _QUOTE, delimiter[0]]] = True
    opening, closing = quotes[::2], quotes[1::2]
    before = raw[opening[opening > 0] - 1]
    after = raw[closing[closing < len(raw) - 1] + 1]
    inside = np.searchsorted(quotes, ends - 1) % 2 == 1
    return ends[~inside], bool(beside[before].all() and beside[after].all())


def _line_ends(data: bytes) -> Indices:
    """Where lines end, but for a carriage return at the very end, which a line feed may follow."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == _LF) + 1
    if _CR in data:
        returns = np.flatnonzero(raw[:-1] == _CR) + 1
        ends = np.sort(np.concatenate([ends, returns[raw[returns] != _LF]]))
    return ends


def _swallows(block: RecordBlock, width: int) -> bool:
    """Whether a field of many lines looks as if a stray quote had swallowed rows."""
    bounds = np.append(block.starts, len(block.data))
    lines = np.diff(np.searchsorted(_line_ends(block.data), bounds))
    many = np.flatnonzero(lines >= SWALLOWED_LINES)
    return any(_are_rows(block.data[bounds[row] : bounds[row + 1]], block.delimiter, width) for row in many)


def _are_rows(text: bytes, delimiter: bytes, width: int) -> bool:
    """Whether the lines of a record are like records themselves.

    A table within a field is not: its first line stands behind other fields, or its last one before them.
    """
    lines = text.splitlines()
    if width < 2 or len(lines) < SWALLOWED_LINES:
        return False
    return all(line.count(delimiter) == width - 1 for line in lines)


def records(data: bytes, line: int, delimiter: bytes, width: int | None, *, last: bool) -> Iterator[CsvRecord]:
    """Records one after another, blank lines as records without a field, up to one that more bytes may belong to.

    Args:
        data: bytes at whose beginning a record begins.
        line: the line that it is on.
        delimiter: one byte.
        width: fields that a record must have, None where any number will do.
        last: whether nothing comes after these bytes; they end with a line's end then.
    """
    pattern = _field(delimiter)
    at = 0
    while at < len(data):
        found = _record(data, at, line, delimiter, pattern, last=last)
        if found is None:
            return
        fields, text = found.fields, data[at : found.end]
        if width is not None and not isinstance(fields, RecordFault):
            quote = text.find(b'"')
            if quote >= 0 and _are_rows(text, delimiter, width):
                reason = f"a quote in it closes on line {line + _count_lines(text) - 1}, and every line between is like a row"
                found = _stray(data, at, at + quote, line, reason)
            elif fields and len(fields) != width:
                reason = f"has {len(fields)} fields, the first line names {width}"
                found = CsvRecord(line, RecordFault(reason), at, found.end)
        yield found
        at, line = found.end, line + _count_lines(data[at : found.end])


def _record(
    data: bytes, start: int, line: int, delimiter: bytes, pattern: re.Pattern[bytes], *, last: bool
) -> CsvRecord | None:
    fields: list[bytes] = []
    at = start
    while True:
        match = pattern.match(data, at)
        assert match is not None  # it matches nothing at all, too
        quoted, behind, plain = match.groups()
        if quoted is None and plain.startswith(b'"'):
            if not last and (len(data) - start <= RECORD_BYTES or not _LINE_END.search(data, at)):
                return None
            within = "" if last and len(data) - start <= RECORD_BYTES else f" within {RECORD_BYTES >> 20} MiB"
            return _stray(data, start, at, line, f"a quote opens in field {len(fields) + 1} and does not close{within}")
        if behind and _count_lines(quoted):
            closes = line + _count_lines(data[start : match.end(1)])
            reason = f"a quote opens in field {len(fields) + 1} and closes amid text on line {closes}"
            return _stray(data, start, at, line, reason)
        fields.append(plain if quoted is None else quoted.replace(b'""', b'"') + behind)
        at = match.end()
        if not data.startswith(delimiter, at):
            break
        at += 1
    end = at + (2 if data.startswith(b"\r\n", at) else 1)
    if end > len(data) or (end == len(data) and data.endswith(b"\r") and not last):
        return None
    return CsvRecord(line, [] if at == start else fields, start, end)


def _stray(data: bytes, start: int, quote: int, line: int, reason: str) -> CsvRecord:
    """A record that a stray quote spoils: it ends with the line that the quote is on."""
    where = line + _count_lines(data[start:quote])
    found = _LINE_END.search(data, quote)
    return CsvRecord(
        line,
        RecordFault(reason if where == line else f"{reason}; it is on line {where}"),
        start,
        found.end() if found else len(data),
    )


_LINE_END = re.compile(rb"\r\n|\n|\r")


def _field(delimiter: bytes) -> re.Pattern[bytes]:
    """A field: quoted and what follows the closing quote, or plain; a plain one that begins with a quote never closes."""
    text = rb"[^%s\r\n]*" % re.escape(delimiter)
    return re.compile(rb'"((?>[^"]*(?:""[^"]*)*))"(%s)|(%s)' % (text, text))


def _count_lines(data: bytes) -> int:
    if len(data) < _COUNTED_SLOWLY:
        return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
    return len(_line_ends(data)) if b"\r" in data else int(np.count_nonzero(np.frombuffer(data, np.uint8) == _LF))
