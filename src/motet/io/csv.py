"""CSV: read by Arrow, and row by row from the first damaged row on.

The first line names the columns. Types are inferred from the first block (1 MiB) or declared. A row that has another
number of fields, or a value that is not of its column's type, becomes a row of nulls with the reason; from there on
the file is read with Python's reader, which is slower and takes fields of at most 131,072 characters.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from motet.errors import InputError
from motet.io.arrow.layout import is_binary, is_list, is_tensor
from motet.io.faults import salvage, with_errors
from motet.io.files import File
from motet.io.stream import drop_rows
from motet.io.text import TextSource, compressed_output, encoded, final_schema, finish, wire_schema
from motet.types import ColumnType

__all__ = ["CsvSource", "csv_writer"]

_BLOCK_BYTES = (1 << 20, 1 << 24, 1 << 28)
_SLOW_ROWS = 4096
_PLACE = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?")
_Row = tuple[int, list[str] | str]


class CsvSource(TextSource):
    """One CSV file, compressed or not.

    Args:
        file: the file.
        types: declared column types; numbers, `bool`, `string` and `bytes` (as base64) are forced.
    """

    def __init__(self, file: File, types: Mapping[str, ColumnType] | None = None) -> None:
        super().__init__(file)
        self._types = dict(types or {})
        inferred = _infer(file)
        if len(set(inferred.names)) < len(inferred.names):
            twice = next(name for name in inferred.names if inferred.names.count(name) > 1)
            raise InputError(f"has two columns named {twice!r}", where=str(file), hint="rename one")
        self._header = inferred.names
        scalars = {name: kind for name, kind in self._types.items() if not kind.shape}
        self.schema = final_schema(inferred, scalars)

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        seen, damaged = 0, False
        try:
            for piece in self._fast(schema):
                seen += len(piece)
                yield from drop_rows([piece], max(0, skip - (seen - len(piece))))
        except (pa.ArrowInvalid, ValueError):
            damaged = True  # what follows is read again, row by row, and says which row and why
        if damaged:
            yield from drop_rows(self._slow(schema, seen), max(0, skip - seen))

    def _fast(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        from pyarrow import csv as arrow_csv

        with self._file.stream() as raw:
            parse = arrow_csv.ParseOptions(newlines_in_values=True)
            with arrow_csv.open_csv(raw, parse_options=parse, convert_options=_convert(schema)) as reader:
                for piece in reader:
                    yield with_errors(finish(piece, schema))

    def _slow(self, schema: pa.Schema, skip: int) -> Iterator[pa.RecordBatch]:
        block: list[_Row] = []
        for row in self._rows(skip):
            block.append(row)
            if len(block) == _SLOW_ROWS:
                yield from salvage(block, lambda rows: self._parse(rows, schema), schema, _label)
                block = []
        if block:
            yield from salvage(block, lambda rows: self._parse(rows, schema), schema, _label)

    def _rows(self, skip: int) -> Iterator[_Row]:
        """Rows after the header and `skip` more: the line each ends on, and its fields, or why it has none."""
        with (
            self._file.stream() as raw,
            io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as text,
        ):
            reader = csv.reader(text)
            index = -2
            while True:
                try:
                    fields: list[str] | str = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    fields = str(error)
                if not fields:
                    continue
                index += 1
                if index >= skip:
                    yield reader.line_num, fields

    def _parse(self, rows: Sequence[_Row], schema: pa.Schema) -> pa.RecordBatch:
        from pyarrow import csv as arrow_csv

        text = io.StringIO(newline="")
        writer = csv.writer(text)
        for _, fields in rows:
            if isinstance(fields, str):
                raise ValueError(fields)
            if len(fields) != len(self._header):
                raise ValueError(f"has {len(fields)} fields, the first line names {len(self._header)}")
            writer.writerow(fields)
        data = text.getvalue().encode(errors="surrogateescape")
        read = arrow_csv.ReadOptions(column_names=self._header, block_size=len(data) + 1, use_threads=False)
        parse = arrow_csv.ParseOptions(newlines_in_values=True)
        try:
            return finish(arrow_csv.read_csv(io.BytesIO(data), read, parse, _convert(schema)), schema)
        except pa.ArrowInvalid as error:
            raise ValueError(_PLACE.sub(self._named, str(error))) from None

    def _named(self, match: re.Match[str]) -> str:
        return f"column {self._header[int(match[1])]!r}: "


def _label(row: _Row) -> str:
    return f"line {row[0]}"


def _convert(schema: pa.Schema) -> Any:
    from pyarrow import csv as arrow_csv

    wire = wire_schema(schema)
    return arrow_csv.ConvertOptions(column_types=wire, include_columns=wire.names)


def _infer(file: File) -> pa.Schema:
    """Names and types by the first block, which grows until a row fits into it."""
    from pyarrow import csv as arrow_csv

    parse = arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: "skip")
    for size in _BLOCK_BYTES:
        try:
            with file.stream() as raw, arrow_csv.open_csv(raw, arrow_csv.ReadOptions(block_size=size), parse) as reader:
                return reader.schema
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            reason = str(error)
    raise InputError(f"is no CSV file that can be read: {reason}", where=str(file))


class _CsvWriter:
    def __init__(self, path: str, schema: pa.Schema, codec: str | None) -> None:
        from pyarrow import csv as arrow_csv

        self._out = compressed_output(path, codec)
        self._schema = wire_schema(schema)
        self._writer = arrow_csv.CSVWriter(self._out, self._schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(encoded(batch, self._schema))

    def close(self) -> None:
        self._writer.close()
        self._out.close()


def csv_writer(path: str, schema: pa.Schema, codec: str | None) -> Any:
    """Arrow's own writer; bytes are written as base64.

    Raises:
        InputError: when a column holds more than one value a row.
    """
    for field in schema:
        if (
            is_list(field.type)
            or is_tensor(field.type)
            or pa.types.is_struct(field.type)
            or pa.types.is_map(field.type)
        ):
            raise InputError(
                f"CSV cannot hold column {field.name!r}, which is {field.type}",
                where=path,
                hint="write .parquet, .arrow or .jsonl, or leave the column out of the outputs",
            )
    assert not any(is_binary(field.type) for field in wire_schema(schema))
    return _CsvWriter(path, schema, codec)
