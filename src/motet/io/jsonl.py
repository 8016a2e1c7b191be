"""JSON Lines: one object a line. A damaged line becomes a row of nulls with the reason, and costs no neighbour.

Types are inferred from the first block (4 MiB) or declared. Bytes are base64, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from motet.errors import InputError
from motet.io.arrow import arrow_type
from motet.io.faults import salvage
from motet.io.files import File
from motet.io.text import TextSource, compressed_output, final_schema, finish, python_values, wire_schema
from motet.types import ColumnType

__all__ = ["JsonLinesSource", "jsonl_writer"]

_BLOCK_BYTES = 4 << 20
_LINE_BYTES = 256 << 20
_Line = tuple[int, bytes]


class JsonLinesSource(TextSource):
    """One file of JSON Lines, compressed or not.

    Args:
        file: the file.
        types: declared column types; a list may be flat or nested, as the first block shows it.
    """

    def __init__(self, file: File, types: Mapping[str, ColumnType] | None = None) -> None:
        super().__init__(file)
        types = dict(types or {})
        first = next(_blocks(file), [])
        if first and first[0][1].lstrip().startswith(b"["):
            raise InputError(
                "is one JSON array, not JSON Lines", where=str(file), hint="write one object a line: jq -c '.[]'"
            )
        inferred = _infer(first)
        if inferred is None and first:
            raise InputError("holds no line that is a JSON object", where=str(file))
        schema = inferred or pa.schema([])
        for name in types:
            if name not in schema.names and not first:
                schema = schema.append(pa.field(name, arrow_type(types[name]) or pa.null()))
        self.schema = final_schema(schema, types)

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; lines that are skipped are not parsed."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        for block in _blocks(self._file):
            lines = block[skip:]
            skip = max(0, skip - len(block))
            if lines:
                yield from salvage(lines, partial(_parse, schema=schema), schema, _label)


def _blocks(file: File) -> Iterator[list[_Line]]:
    """Lines that are not blank, with their numbers from 1, some 4 MiB at a time."""
    number, rest = 1, b""
    with file.stream() as raw:
        while True:
            data = raw.read(_BLOCK_BYTES)
            whole, newline, tail = (rest + data).rpartition(b"\n") if data else (rest, b"", b"")
            if len(tail) > _LINE_BYTES:
                raise InputError(f"line {number} is longer than {_LINE_BYTES >> 20} MiB", where=str(file))
            lines = whole.split(b"\n") if newline or not data else []
            if found := [(number + index, line) for index, line in enumerate(lines) if line.strip()]:
                yield found
            if not data:
                return
            number, rest = number + len(lines), tail


def _label(line: _Line) -> str:
    return f"line {line[0]}"


def _parse(lines: Sequence[_Line], schema: pa.Schema) -> pa.RecordBatch:
    try:
        return finish(_read(lines, wire_schema(schema)), schema)
    except pa.ArrowInvalid as error:
        raise ValueError(str(error).removeprefix("JSON parse error: ").removesuffix(" in row 0")) from None


def _read(lines: Sequence[_Line], schema: pa.Schema | None) -> pa.Table:
    from pyarrow import json

    data = b"\n".join(line for _, line in lines) + b"\n"
    extra = "infer" if schema is None else "ignore"
    return json.read_json(
        pa.BufferReader(data),
        json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=extra),
    )


def _infer(lines: Sequence[_Line]) -> pa.Schema | None:
    """Types by these lines; where some are damaged or disagree, by the first half that is not and does not."""
    if not lines:
        return None
    try:
        return _read(lines, None).schema
    except pa.ArrowInvalid:
        middle = len(lines) // 2
        return (_infer(lines[:middle]) or _infer(lines[middle:])) if middle else None


class _JsonLinesWriter:
    def __init__(self, path: str, schema: pa.Schema, codec: str | None) -> None:
        import msgspec

        self._out, self._names = compressed_output(path, codec), schema.names
        self._encoder = msgspec.json.Encoder()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [python_values(column) for column in batch.columns]
        rows = [dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)]
        self._out.write(self._encoder.encode_lines(rows))

    def close(self) -> None:
        self._out.close()


def jsonl_writer(path: str, schema: pa.Schema, codec: str | None) -> Any:
    """One object a line: numbers, strings, nested lists; bytes as base64; NaN and infinities as null."""
    return _JsonLinesWriter(path, schema, codec)
