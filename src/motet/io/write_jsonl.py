"""JSON Lines, written: one object a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from motet.io.arrow.layout import is_tensor
from motet.io.as_text import compressed_output, python_values, text_type
from motet.io.jsontext import is_json, raw_values

__all__ = ["holds", "objects_of", "open_writer"]


class _JsonLinesWriter:
    def __init__(self, file: Any, schema: pa.Schema, codec: str | None) -> None:
        import msgspec

        self._out = compressed_output(file, codec)
        self._raw = [is_json(field) for field in schema]
        self._encoder = msgspec.json.Encoder()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._out.write(self._encoder.encode_lines(objects_of(batch, self._raw)))

    def close(self) -> None:
        self._out.close()


def objects_of(batch: pa.RecordBatch, raw: Sequence[bool]) -> list[dict[str, Any]]:
    """The rows of a batch for an encoder of msgspec.

    Args:
        batch: the rows.
        raw: of each column, whether it holds JSON as text.
    """
    columns = [
        raw_values(column) if is_raw else python_values(column)
        for column, is_raw in zip(batch.columns, raw, strict=True)
    ]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def holds(field: pa.Field) -> bool:
    """Whether a line can hold a column: tensors, and what has a `text_type`."""
    return is_tensor(field.type) or text_type(field.type) is not None


def open_writer(file: Any, schema: pa.Schema, codec: str | None) -> Any:
    """Numbers, strings, lists and objects; what `as_text` says of everything else; NaN and infinities as null."""
    return _JsonLinesWriter(file, schema, codec)
