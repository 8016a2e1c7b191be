"""Tables in pipelines of others, whatever their engine: failures with the rows as they came."""

from __future__ import annotations

import pyarrow as pa

from motet.engines.layout import FAILED
from motet.io.take import take_batch

__all__ = ["failures_schema", "told"]


def failures_schema(schema: pa.Schema) -> pa.Schema:
    """Names and types of what is said of rows of a schema that failed: the row as it came, and why."""
    return pa.schema([pa.field("row", pa.struct(list(schema))), *(pa.field(name, pa.string()) for name in FAILED)])


def told(read: pa.RecordBatch, failed: pa.RecordBatch, first: int = 0) -> pa.RecordBatch:
    """What is said of rows that failed.

    Args:
        read: the rows.
        failed: what `BatchWorker.play` said of some.
        first: the id of the first row.
    """
    schema = failures_schema(read.schema)
    rows = take_batch(read, failed["row"].to_numpy() - first)
    struct = pa.StructArray.from_arrays(rows.columns, fields=list(read.schema))
    return pa.RecordBatch.from_arrays([struct, *(failed[name] for name in FAILED)], schema=schema)
