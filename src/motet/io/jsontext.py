"""Columns of JSON values that are kept as they were written, and what they are where that cannot be.

A column of `string` whose field says so holds each value as JSON: `1.10`, `"a"`, `[1, 2]`. JSON Lines are written with
the same digits; other formats get the text of texts and of anything else, or numbers where all of them are numbers.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["JSON", "JSON_NUMBER", "is_json", "json_value", "json_values", "plain_batch", "plain_schema", "raw_values"]

_ENCODING, _VALUES = b"motet.encoding", b"motet.values"
JSON = {_ENCODING: b"json"}
"""What the field of values of any kind carries."""
JSON_NUMBER = {_ENCODING: b"json", _VALUES: b"float64"}
"""What the field of numbers carries, each of which is a float64 and may be written otherwise than that is."""


def is_json(field: pa.Field) -> bool:
    """Whether a field holds JSON as text."""
    return bool((field.metadata or {}).get(_ENCODING) == b"json")


def raw_values(column: pa.Array) -> list[Any]:
    """The values for an encoder of msgspec, which writes them as they are."""
    import msgspec

    return [None if text is None else msgspec.Raw(text) for text in column.to_pylist()]


def json_values(column: pa.Array) -> list[Any]:
    """The values as Python's."""
    return [None if text is None else json_value(text) for text in column.to_pylist()]


def json_value(text: str) -> Any:
    """A value as Python's."""
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        import json

        return json.loads(text)  # which knows NaN


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of a format that is not JSON."""
    return pa.schema([_plain(field) for field in schema], schema.metadata)


def _plain(field: pa.Field) -> pa.Field:
    if not is_json(field):
        return field
    kept = {name: value for name, value in field.metadata.items() if name not in (_ENCODING, _VALUES)}
    data_type = pa.float64() if _VALUES in field.metadata else pa.string()
    return pa.field(field.name, data_type, field.nullable, kept or None)


def plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch as a format that is not JSON holds it.

    Args:
        batch: rows of the schema that `schema` was made of.
        schema: what `plain_schema` gave.
    """
    if not any(is_json(field) and not is_json(wanted) for field, wanted in zip(batch.schema, schema, strict=True)):
        return batch
    columns = [
        _as_plain(column, wanted.type) if is_json(field) else column
        for column, field, wanted in zip(batch.columns, batch.schema, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as_plain(column: pa.Array, data_type: pa.DataType) -> pa.Array:
    if pa.types.is_floating(data_type):
        return column.cast(data_type)
    texts = column.to_pylist()
    return pa.array(
        [json_value(text) if text is not None and text.startswith('"') else text for text in texts], data_type
    )
