"""Rows that a source could not read: they stand in a batch as nulls, with the reason beside them.

A batch of a source may have, after the named columns, a column `__motet_error__` of strings: null where the row is
fine, else why the row could not be read. So a damaged line keeps its place, and costs no neighbour.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from motet.io.arrow.buffers import numbers

__all__ = ["ERROR_COLUMN", "drop_empty_errors", "split_faults", "with_errors"]

ERROR_COLUMN = "__motet_error__"
ERROR_FIELD = pa.field(ERROR_COLUMN, pa.string())


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
