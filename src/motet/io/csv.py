"""CSV: whole records at a time, read by Arrow, and value by value where that finds something damaged.

    text as UTF-8 ── utf8.py ── blocks of whole records ── records.py ─┬─ Arrow ────────────────── columns
                                                                       └─ fields ── cells.py ────┘

The first line names the columns. Declared ones are read as their type, all others as text, so that they stay what they
are. A row of another number of fields, or with a value that is none of its column's type, becomes a row of nulls with
the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from motet.errors import InputError, RunError
from motet.io.arrow import arrow_type
from motet.io.arrow.buffers import numbers
from motet.io.cells import FALSE, MISSING, TRUE, Reasons, read_cells, without_empty
from motet.io.files import FoundFile
from motet.io.marks import drop_rows, mark
from motet.io.read_options import ReadOptions
from motet.io.records import CsvRecord, RecordBlock, RecordFault, blocks, records
from motet.io.splits import Anchor
from motet.io.stream import reading
from motet.io.tally import CsvTally
from motet.io.text import TextSource, finish, has_infinite, wire_schema, with_reasons
from motet.io.utf8 import utf8_pieces
from motet.pictures import is_picture
from motet.types import ColumnType

__all__ = ["CsvSource"]

_HEADER_BYTES = 16 << 20
_MARK = b"\xef\xbb\xbf"
"""A byte order mark. Behind the header it is text like any other."""


class CsvSource(TextSource):
    """One CSV file, compressed or not.

    Args:
        file: the file.
        types: declared column types; numbers, `bool`, `string` and `bytes` (as base64) are read as such.
        options: encoding, delimiter, and what an empty field is.

    Raises:
        InputError: when there is no first line that names the columns.
    """

    def __init__(
        self, file: FoundFile, types: Mapping[str, ColumnType] | None = None, options: ReadOptions | None = None
    ) -> None:
        super().__init__(file, options or ReadOptions())
        self._delimiter = (self._options.delimiter or ",").encode()
        with reading(self.description):
            names = self._names_of(self._first())
        _check_names(names, types or {}, self._options.delimiter, str(file))
        self.schema = pa.schema([pa.field(name, _type_of((types or {}).get(name))) for name in names])

    def _first(self, seen: Callable[[bytes], None] | None = None) -> tuple[CsvRecord, bytes, int, Iterator[bytes]]:
        """The record that names the columns; and what comes behind it, the line it begins on, and more of it."""
        pieces, data = utf8_pieces(self._file, self._options.encoding, seen), b""
        while len(data) < _HEADER_BYTES:
            piece = next(pieces, b"")
            data += piece
            text = data if piece or data.endswith(b"\n") else data + b"\n"
            for found in records(text, 1, self._delimiter, None, last=not piece):
                if found.fields:
                    behind = text[found.end :]
                    return found, behind, 1 + len(text[: found.end].splitlines()), pieces
            if not piece:
                raise InputError("is no CSV file that can be read: it is empty", where=str(self._file))
        raise InputError(f"names its columns on a line of more than {_HEADER_BYTES >> 20} MiB", where=str(self._file))

    def _names_of(self, first: tuple[CsvRecord, bytes, int, Iterator[bytes]]) -> list[str]:
        found, where = first[0], f"{self._file}: line {first[0].line}"
        if isinstance(found.fields, RecordFault):
            raise InputError(found.fields, where=where, hint="the first line names the columns")
        encoding = self._options.encoding or "UTF-8"
        hint = "say which encoding it is, such as --encoding cp1252, latin-1 or utf-16 (encoding=)"
        try:
            names = [name.decode() for name in found.fields]
        except UnicodeDecodeError as error:
            got = f"{error.object!r}, which is no text in {encoding}"
            raise InputError(f"names a column {got}", where=where, hint=hint) from None
        if any("\0" in name for name in names):
            raise InputError(f"names columns with zero bytes in {encoding}", where=where, hint=hint)
        return names

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; rows that are skipped are counted, and not read."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        row = 0
        for block in self._blocks():
            start, row = row, row + block.num_rows
            if row > skip:
                yield from drop_rows([mark(self._read(block, schema), start, row)], max(0, skip - start))

    def varying_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.varying_bytes`; no more than records have in the file, which need not be taken apart for it."""
        return self._record_bytes

    @cached_property
    def _record_bytes(self) -> float:
        behind, line, pieces = self._rows(lambda piece: None)
        first = next(blocks(pieces, behind, line, self._delimiter, len(self.schema)), None)
        return len(first.data) / first.num_rows if first is not None and first.num_rows else 0.0

    def count(self) -> int | None:
        """See `Stream.count`: where quotes are sound by the bytes alone, else as many as all bytes are taken apart into."""
        if self._counted is None:
            for _ in self._blocks():
                pass
        return self._counted

    def _anchors(self, begins: int, target_bytes: int) -> Iterator[Anchor]:
        """See `TextSource`."""
        tally = CsvTally(self._delimiter)
        _, behind, line, _ = self._first(tally.add)
        byte, row = begins + tally.size - len(behind), 0
        yield Anchor(byte, line, row)
        due = byte + target_bytes
        for block in self._blocks():
            end = byte + len(block.data) + block.skipped
            while due < end:
                places = block.places
                index = int(np.searchsorted(places, due - byte))
                if index == len(places):
                    break
                due = byte + int(places[index])
                yield Anchor(due, block.lines[index], row + index)
                due += target_bytes
            byte, row = end, row + block.num_rows
        yield Anchor(byte, 0, row)

    def _rows(self, seen: Callable[[bytes], None]) -> tuple[bytes, int, Iterator[bytes]]:
        """What comes behind the line that names the columns, or from where the file is entered; the line that it is on; and more."""
        if self._anchor is None:
            return self._first(seen)[1:]
        return b"", self._anchor.line, utf8_pieces(self._file, self._options.encoding, seen, self._anchor.byte)

    def _blocks(self) -> Iterator[RecordBlock]:
        """All records; at the end it is known how many there are."""
        self.check_opened()
        tally = CsvTally(self._delimiter)
        behind, line, pieces = self._rows(tally.add)
        rows, size, whole = 0, tally.size - len(behind), True
        for block in blocks(pieces, behind, line, self._delimiter, len(self.schema)):
            rows, size = rows + block.num_rows, size + len(block.data) + block.skipped
            whole = whole and block.is_whole
            yield block
        if not whole or size not in (tally.size, tally.size + 1):  # a last line without its end is given one
            raise RunError("was not taken apart whole: rows are missing", where=str(self._file))
        self._counted = rows if tally.rows is None else tally.rows + (self._anchor is not None)

    def _read(self, block: RecordBlock, schema: pa.Schema) -> pa.RecordBatch:
        if block.found is None and (batch := self._quick(block, schema)) is not None:
            return batch
        reasons: Reasons = {}
        columns = []
        for name, fields in self._fields(block, schema.names, reasons).items():
            column, more = read_cells(fields, schema.field(name).type, name, keep_empty=self._options.keeps_empty)
            columns.append(column)
            reasons = {**more, **reasons}
        reasons = {row: f"line {block.lines[row]}: {reason}" for row, reason in reasons.items()}
        return with_reasons(columns, schema, reasons)

    def _quick(self, block: RecordBlock, schema: pa.Schema) -> pa.RecordBatch | None:
        """The rows as Arrow reads them; None where it does not, or finds other rows."""
        wire = wire_schema(schema)
        try:
            table = self._parse(block, {field.name: field.type for field in wire})
            batch = finish(self._with_missing(table), schema)
            return batch if _is_whole(batch, block) else None
        except (pa.ArrowInvalid, ValueError):
            return None

    def _parse(self, block: RecordBlock, types: Mapping[str, pa.DataType]) -> pa.Table:
        from pyarrow import csv as arrow_csv

        data = _MARK + block.data if block.data.startswith(_MARK) else block.data  # Arrow leaves the first one out
        read = arrow_csv.ReadOptions(column_names=self.schema.names, block_size=len(data) + 1, use_threads=False)
        quoted = b'"' in data
        parse = arrow_csv.ParseOptions(
            delimiter=self._delimiter.decode(), quote_char='"' if quoted else False, newlines_in_values=quoted
        )
        convert = arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=MISSING,
            true_values=TRUE,
            false_values=FALSE,
        )
        return arrow_csv.read_csv(pa.BufferReader(data), read, parse, convert)

    def _with_missing(self, table: pa.Table) -> pa.Table:
        """Texts that are empty as null, in place of Arrow's own rule, which has one for all types."""
        if self._options.keeps_empty:
            return table
        for index, field in enumerate(table.schema):
            if pa.types.is_string(field.type):
                table = table.set_column(
                    index, field, pa.chunked_array([without_empty(c) for c in table[index].chunks], field.type)
                )
        return table

    def _fields(self, block: RecordBlock, names: Sequence[str], reasons: Reasons) -> dict[str, pa.Array]:
        """The fields of some columns, as bytes; of a record that is damaged none, with the reason."""
        found = block.found
        if found is None:
            try:
                table = self._parse(block, dict.fromkeys(names, pa.binary()))
                if len(table) == block.num_rows:
                    return {name: _one(table[name]) for name in names}
            except pa.ArrowInvalid:
                pass  # some record has another number of fields; which one is found below
            found = [
                each
                for each in records(block.data, block.line, self._delimiter, len(self.schema), last=True)
                if each.fields
            ]
        for row, record in enumerate(found):
            if isinstance(record.fields, RecordFault):
                reasons[row] = record.fields
        places = [self.schema.names.index(name) for name in names]
        fields = [None if isinstance(record.fields, RecordFault) else record.fields for record in found]
        return {
            name: pa.array([None if each is None else each[place] for each in fields], pa.binary())
            for name, place in zip(names, places, strict=True)
        }


def _check_names(names: Sequence[str], types: Mapping[str, ColumnType], delimiter: str | None, where: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"has two columns named {twice!r}", where=where, hint="rename one")
    for other in ";\t|":
        if delimiter is None and len(names) == 1 and other in names[0] and set(names[0].split(other)) & set(types):
            raise InputError(
                f"is separated by {other!r}, not by commas",
                where=where,
                hint=f"--delimiter {other!r} (delimiter=) reads it",
            )


def _type_of(kind: ColumnType | None) -> pa.DataType:
    """The type that fields are read as: text, where none is declared that a field can be; a picture is base64 of its file."""
    if kind is not None and is_picture(kind):
        return pa.binary()
    declared = arrow_type(kind) if kind is not None and not kind.shape else None
    return pa.string() if declared is None else declared


def _is_whole(batch: pa.RecordBatch, block: RecordBlock) -> bool:
    """Whether Arrow found the rows that are there, and no number that is too large for its type.

    Such a float is infinite for Arrow; and `0xFF`, which is no int8, is -1.
    """
    if len(batch) != block.num_rows:
        return False
    return not has_infinite(batch) and not (_has_negative(batch) and (b"0x" in block.data or b"0X" in block.data))


def _has_negative(batch: pa.RecordBatch) -> bool:
    signed = (column for column in batch.columns if pa.types.is_signed_integer(column.type))
    return any((numbers(column) < 0).any() for column in signed)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
