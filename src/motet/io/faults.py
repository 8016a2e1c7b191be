"""Rows that a source could not read: they stand in a batch as nulls, with the reason beside them.

A batch of a source may have, after the named columns, a column `__motet_error__` of strings: null where the row is
fine, else why the row could not be read. So a damaged line keeps its place, and costs no neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from motet.io.arrow.buffers import numbers

__all__ = ["ERROR_COLUMN", "drop_empty_errors", "salvage", "split_faults", "with_errors"]

ERROR_COLUMN = "__motet_error__"
ERROR_FIELD = pa.field(ERROR_COLUMN, pa.string())

_T = TypeVar("_T")


def split_faults(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The batch without its error column, and by position why a row could not be read.

    Every row is still in the batch; the ones with a reason hold nulls.
    """
    index = batch.schema.get_field_index(ERROR_COLUMN)
    if index < 0:
        return batch, {}
    reasons = batch.column(index)
    rows = np.flatnonzero(numbers(reasons.is_valid())).tolist()
    return batch.remove_column(index), {row: reasons[row].as_py() for row in rows}


def drop_empty_errors(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without its error column where that names nothing."""
    index = batch.schema.get_field_index(ERROR_COLUMN)
    return batch.remove_column(index) if index >= 0 and batch.column(index).null_count == len(batch) else batch


def with_errors(batch: pa.RecordBatch, reasons: pa.Array | None = None) -> pa.RecordBatch:
    """The batch with its error column last: `reasons`, or none."""
    if batch.schema.get_field_index(ERROR_COLUMN) >= 0:
        return batch
    return batch.append_column(ERROR_FIELD, pa.nulls(len(batch), pa.string()) if reasons is None else reasons)


def salvage(
    rows: Sequence[_T],
    parse: Callable[[Sequence[_T]], pa.RecordBatch],
    schema: pa.Schema,
    label: Callable[[_T], str],
) -> list[pa.RecordBatch]:
    """Parse rows, halving what cannot be parsed until the bad rows stand alone as nulls with a reason.

    Args:
        rows: what `parse` takes, one a row.
        parse: gives one row of `schema` for each; raises `pa.ArrowInvalid` or `ValueError` when it cannot.
        schema: the schema of a batch, without the error column.
        label: where a row is, to begin its reason with.

    Returns:
        Batches that together have one row for each of `rows`, in order, with the error column last.
    """
    try:
        batch = parse(rows)
        if len(batch) != len(rows):
            raise ValueError(f"holds {len(batch)} rows where {len(rows)} should be")
        return [with_errors(batch)]
    except (pa.ArrowInvalid, ValueError) as error:
        if len(rows) == 1:
            return [null_row(schema, f"{label(rows[0])}: {error}")]
    middle = len(rows) // 2
    return salvage(rows[:middle], parse, schema, label) + salvage(rows[middle:], parse, schema, label)


def null_row(schema: pa.Schema, reason: str) -> pa.RecordBatch:
    """One row of nulls with its reason."""
    batch = pa.RecordBatch.from_arrays([pa.nulls(1, field.type) for field in schema], schema=schema)
    return with_errors(batch, pa.array([reason], pa.string()))
