"""JSON Lines: one object a line. A damaged line becomes a row of nulls with the reason, and costs no neighbour.

All lines are looked at when the source is made, since a key may begin, or change its kind, at any of them (`keys.py`).
Then blocks of lines are read by Arrow, and value by value where that finds something damaged. Bytes are base64, in both
directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from motet.base64_values import base64_in, of_json
from motet.batch import objects
from motet.errors import InputError, cut
from motet.io.arrow import arrow_type
from motet.io.arrow.layout import is_list, natural_kind, number_name
from motet.io.cells import SHOWN, Cells, Reasons, read_base64, read_each, read_numbers, shown
from motet.io.files import FoundFile
from motet.io.jsontext import JSON_NUMBER, is_json, json_value
from motet.io.keys import Keys, Row
from motet.io.marks import drop_rows, mark
from motet.io.read_options import ReadOptions
from motet.io.stream import reading
from motet.io.tally import LinesTally
from motet.io.text import TextSource, finish, has_infinite, leaf, wire_schema, with_reasons
from motet.io.utf8 import LINE_BYTES, Pieces, utf8_pieces
from motet.pictures import is_picture
from motet.reading import as_given, holds_truth, read_column
from motet.types import ColumnType

__all__ = ["JsonLinesSource", "agree", "object_of"]

_BLOCK_BYTES = 4 << 20
_BLANK = b" \t\r\n"
_CONSTANT = re.compile(rb"(?:NaN|Inf(?:inity)?)\s*[,}\]]")
_BETWEEN: Any = re.compile(r"[\s,:]*")
_row = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonLinesSource(TextSource):
    """One file of JSON Lines, compressed or not. It is read once when the source is made, to know its keys.

    Args:
        file: the file.
        types: declared column types; a list may be flat or nested, as the first one is.
        options: its encoding.

    Raises:
        InputError: when it is no JSON Lines.
    """

    def __init__(
        self, file: FoundFile, types: Mapping[str, ColumnType] | None = None, options: ReadOptions | None = None
    ) -> None:
        super().__init__(file, options or ReadOptions())
        self._anything = {name for name, kind in (types or {}).items() if kind.dtype == "any"}
        self._types = {
            name: kind for name, kind in (types or {}).items() if arrow_type(ColumnType(kind.dtype)) is not None
        }
        self.keys = Keys({name: len(kind.shape) for name, kind in self._types.items()})
        self._bytes = 0
        with reading(self.description):
            self._learn()
        self.set_keys(self.keys)

    def _learn(self) -> None:
        """Look at all lines: which keys there are, and how many lines."""
        found, tally, reason = 0, LinesTally(), ""
        for block in self._blocks(tally.add):
            if block.number == 1 and block.data.startswith(b"["):
                hint = "write one object a line: jq -c '.[]'"
                raise InputError("is one JSON array, not JSON Lines", where=self.description, hint=hint)
            rows: Sequence[Any] = block.rows
            if str in {*map(type, rows)}:
                reason = reason or next(row for row in rows if isinstance(row, str))
                rows = [row for row in rows if not isinstance(row, str)]
            self.keys.add(rows, self.description)
            found, self._bytes = found + len(rows), self._bytes + len(block.text)
        self._counted = tally.rows
        if self._counted and not found:
            hint = "write one object a line: jq -c .; where it is not UTF-8 say encoding"
            what = f"holds no line that is a JSON object; the first one {reason}"
            raise InputError(what, where=self.description, hint=hint)

    def row_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.row_bytes`; by the lines, all of which were looked at."""
        return self._bytes / max(self._counted or 0, 1)

    def set_keys(self, keys: Keys) -> None:
        """Have the columns that several files have together; what this one lacks is null."""
        fields = {field.name: field for field in keys.fields()}
        self.lacks = frozenset(self._types.keys() - fields.keys())
        for name in self._anything & fields.keys():
            if fields[name].metadata == JSON_NUMBER:
                fields[name] = pa.field(name, pa.float64())
        for name, kind in self._types.items():
            is_file = is_picture(kind) and keys.is_text(name)
            fields[name] = pa.field(name, pa.binary() if is_file else _type_of(kind, keys.depth(name)))
        self.schema = pa.schema(list(fields.values()))

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; lines that are skipped are not parsed."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        self.check_opened()
        row = 0
        for block in self._blocks():
            start, row = row, row + block.num_rows
            if row > skip:
                yield from drop_rows([mark(_read(block, schema), start, row)], max(0, skip - start))

    def _blocks(self, seen: Callable[[bytes], None] | None = None) -> Iterator[_Block]:
        start, held, wanted = self._anchor, Pieces(), _BLOCK_BYTES
        number, byte = (1, None) if start is None else (start.line, start.byte)
        too_long = False  # whether the line that is held begins with more than a line may have, which is held no more
        for piece in utf8_pieces(self._file, self._options.encoding, seen, byte):
            if too_long:
                _, newline, piece = piece.partition(b"\n")
                number, too_long = number + len(newline), not newline
            held.add(piece)
            if held.size < min(wanted, LINE_BYTES + 1):
                continue
            whole, newline, tail = held.take().rpartition(b"\n")
            if newline:
                if whole.strip(_BLANK):
                    yield _Block(number, whole)
                number += whole.count(b"\n") + 1
            if len(tail) > LINE_BYTES:
                yield _TooLong(number, b"")
                tail, too_long = b"", True
            held, wanted = Pieces(tail), max(_BLOCK_BYTES, 2 * len(tail))
        if (rest := held.take()).strip(_BLANK):
            yield _Block(number, rest.rstrip(b"\n"))


def agree(sources: Sequence[JsonLinesSource]) -> None:
    """Give several files the columns that they have together, each of one kind."""
    keys = sources[0].keys
    for source in sources[1:]:
        keys.join(source.keys)
    for source in sources:
        source.set_keys(keys)


def _type_of(kind: ColumnType, depth: int) -> pa.DataType:
    """The Arrow type that is read; lists keep the depth that the text shows."""
    found = arrow_type(ColumnType(kind.dtype))
    for _ in range(depth):
        found = pa.list_(found)
    return found


@dataclass(frozen=True)
class _Block:
    """Some lines, of which blank ones do not count.

    Attributes:
        number: of the first, from 1.
        text: the lines.
    """

    number: int
    text: bytes

    @cached_property
    def _counted(self) -> list[tuple[int, bytes]]:
        lines = (line.strip(_BLANK) for line in self.text.split(b"\n"))
        return [(self.number + index, line) for index, line in enumerate(lines) if line]

    @cached_property
    def lines(self) -> list[bytes]:
        return [line for _, line in self._counted]

    @cached_property
    def numbers(self) -> list[int]:
        return [number for number, _ in self._counted]

    @cached_property
    def data(self) -> bytes:
        return self.text if _are_apart(self.text) else b"\n".join(self.lines)

    @cached_property
    def num_rows(self) -> int:
        return int(np.count_nonzero(np.frombuffer(self.data, np.uint8) == ord("\n"))) + 1

    @cached_property
    def is_sound(self) -> bool:
        """Whether what reads many lines at once reads the same as what reads one.

        An object begins and ends on each line, all is UTF-8, and no number is NaN or infinite, of which each has its own idea.
        """
        data = self.data
        constants = (b"NaN" in data or b"Inf" in data) and _CONSTANT.search(data)
        return not constants and _are_apart(data) and _is_utf8(data)

    @cached_property
    def rows(self) -> list[Any]:
        """The values of each line, a `Row`, or a text that says why it has none."""
        try:
            found = _row.decode_lines(self.data) if self.is_sound else []
        except (msgspec.DecodeError, RecursionError):
            found = []
        return found if len(found) == self.num_rows else [object_of(line) for line in self.lines]


class _TooLong(_Block):
    """A line whose text is not held."""

    @cached_property
    def _counted(self) -> list[tuple[int, bytes]]:
        return [(self.number, self.text)]

    @cached_property
    def rows(self) -> list[Any]:
        return [f"is longer than {LINE_BYTES >> 20} MiB"]


def _are_apart(text: bytes) -> bool:
    """Whether every line begins and ends as an object does."""
    if not (text.startswith(b"{") and text.endswith(b"}")):
        return False
    raw = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    return bool((raw[ends - 1] == ord("}")).all() and (raw[ends + 1] == ord("{")).all())


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def object_of(line: bytes) -> Row | str:
    """The values of one object as they are written, or a text that says why it is none."""
    try:
        text = line.decode()
        return _row.decode(line)
    except UnicodeDecodeError as error:
        return f"is no text of the encoding: {shown(line[max(0, error.start - 8) : error.end + 8])}, at byte {error.start + 1}"
    except RecursionError:
        return "is nested too deeply"
    except msgspec.DecodeError as error:
        return _with_constants(text) or f"is no JSON object: {error}"


def _with_constants(text: str) -> Row | None:
    """The values of a line in which a number is NaN or infinite, as Python's json writes them; None where it has none."""
    import json

    if "NaN" not in text and "Infinity" not in text:
        return None
    decoder, found = json.JSONDecoder(), {}
    try:
        if not isinstance(decoder.decode(text), dict):
            return None
    except (ValueError, RecursionError):
        return None
    at = _BETWEEN.match(text, 1).end()
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        at = _BETWEEN.match(text, at).end()
        _, end = decoder.raw_decode(text, at)
        found[name], at = text[at:end].encode(), _BETWEEN.match(text, end).end()
    return found


def _read(block: _Block, schema: pa.Schema) -> pa.RecordBatch:
    plain = [field for field in schema if not is_json(field)]
    if len(plain) == len(schema) and (batch := _quick(block, schema)) is not None:
        return batch
    reasons: Reasons = {row: each for row, each in enumerate(block.rows) if isinstance(each, str)}
    read = _quick(block, pa.schema(plain)) if not reasons and plain else None
    columns = []
    for field in schema:
        if read is not None and not is_json(field):
            columns.append(read.column(field.name))
            continue
        column, more = _values([None if isinstance(row, str) else row.get(field.name) for row in block.rows], field)
        columns.append(column)
        reasons = {**more, **reasons}
    reasons = {row: f"line {block.numbers[row]}: {reason}" for row, reason in reasons.items()}
    return with_reasons(columns, schema, reasons)


def _quick(block: _Block, schema: pa.Schema) -> pa.RecordBatch | None:
    """The rows as Arrow reads them; None where it does not, or finds other rows."""
    if not block.is_sound:
        return None
    try:
        batch = finish(_parsed(block.data, wire_schema(schema)), schema)
    except (pa.ArrowInvalid, ValueError):
        return None
    return batch if len(batch) == block.num_rows and not has_infinite(batch) else None


def _parsed(data: bytes, schema: pa.Schema) -> pa.Table:
    from pyarrow import json

    return json.read_json(
        pa.BufferReader(data),
        json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def _values(raws: Sequence[Any], field: pa.Field) -> Cells:
    """The values of a column, as they are written or None, as its type; and why rows have none."""
    texts = [_written(raw) for raw in raws]
    if is_json(field):
        return pa.array(texts, pa.string()), {}
    if is_list(field.type):
        return _lists(texts, field)
    bytes_wanted = pa.types.is_binary(field.type)
    text_wanted = pa.types.is_string(field.type) or bytes_wanted
    known = (
        '"{' if bytes_wanted else '"' if text_wanted else "tf" if pa.types.is_boolean(field.type) else "-0123456789NI"
    )

    def taken(text: str) -> str:
        try:
            if text[0] not in known:
                raise ValueError(text)
            return _text_in(text) if text_wanted else text
        except (ValueError, msgspec.DecodeError):
            what = f"is {number_name(field.type) or field.type}; got {cut(text, SHOWN)}"
            raise InputError(what) from None

    found, reasons = read_each(texts, taken, field.name, pa.string())
    if pa.types.is_string(field.type):
        return found, reasons
    read = (
        read_base64(found, field.name)
        if text_wanted
        else read_numbers(found, number_name(field.type) or "", field.name, (), partial(cut, length=SHOWN))
    )
    return read[0], {**read[1], **reasons}


def _text_in(written: str) -> str:
    """The text that is written, also as `{"b64": text}`."""
    value = base64_in(msgspec.json.decode(written))
    if not isinstance(value, str):
        raise ValueError(written)
    return value


def _written(raw: Any) -> str | None:
    """A value as it is written, None where it is null or not there."""
    text = "null" if raw is None else bytes(raw).decode()
    return None if text == "null" else text


def _lists(texts: Sequence[str | None], field: pa.Field) -> Cells:
    """Lists by Arrow; where some are none, numbers and bytes one by one, and others halved until those stand alone."""
    data = "\n".join(f'{{"":{"null" if text is None else text}}}' for text in texts).encode()
    alone = pa.schema([pa.field("", field.type)])
    try:
        return finish(_parsed(data, wire_schema(alone)), alone).column(0), {}
    except (pa.ArrowInvalid, ValueError) as error:
        kind = natural_kind(field.type)
        if number_name(leaf(field.type)) or kind.dtype == "bytes":
            return _listed(texts, field, kind)
        if len(texts) == 1:
            reason = str(error).removeprefix("JSON parse error: ").removesuffix(" in row 0").removeprefix("Column() ")
            return pa.nulls(1, field.type), {0: f"column {field.name!r} is {field.type}: {reason}"}
    middle = len(texts) // 2
    (one, before), (other, behind) = _lists(texts[:middle], field), _lists(texts[middle:], field)
    return pa.concat_arrays([one, other]), before | {middle + row: reason for row, reason in behind.items()}


def _listed(texts: Sequence[str | None], field: pa.Field, kind: ColumnType) -> Cells:
    """Lists of numbers or bytes that Arrow does not take all: they may be right all the same, as 3.0 among whole numbers."""
    reasons: Reasons = {}
    found: list[Any] = [None] * len(texts)
    values = {row: json_value(text) for row, text in enumerate(texts) if text is not None}
    for row, value in values.items():
        try:
            values[row] = of_json(value, kind)
        except InputError as error:
            reasons[row] = f"column {field.name!r} {error.what}"
            continue
        if not isinstance(value, list) or holds_truth(value) != (kind.dtype == "bool"):
            reasons[row] = f"column {field.name!r} is {kind}; got {cut(str(texts[row]), SHOWN)}"
    rows = [row for row in values if row not in reasons]
    column, bad = read_column(as_given(objects([values[row] for row in rows]), kind), kind, f"column {field.name!r}")
    for place, row in enumerate(rows):
        found[row] = None if place in bad else column[place].tolist()
    reasons |= {rows[place]: reason for place, reason in bad.items()}
    return pa.array(found, field.type), reasons
