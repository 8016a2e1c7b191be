"""Rows of a batch by position, right for every type.

Arrow's own `take` and `filter` give wrong values, silently, for a slice of fixed-size lists inside fixed-size lists
(seen in 26.0), and it has no `take` for views of strings and bytes; such columns are put together from slices instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.io.arrow.buffers import of_numbers
from motet.io.arrow.layout import is_view

__all__ = ["take_batch"]


def take_batch(batch: pa.RecordBatch, positions: Indices) -> pa.RecordBatch:
    """The rows at these positions, in this order."""
    chosen = of_numbers(positions.astype(np.int64, copy=False))
    columns = [
        _picked(column, positions) if is_view(column.type) or _at_risk(column.type) else column.take(chosen)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _picked(column: pa.Array, positions: Indices) -> pa.Array:
    return pa.concat_arrays([column.slice(position, 1) for position in positions.tolist()] or [column.slice(0, 0)])


def _at_risk(data_type: Any, inside: bool = False) -> bool:
    """Whether a type holds fixed-size lists inside fixed-size lists, at any depth."""
    if isinstance(data_type, pa.BaseExtensionType):
        return _at_risk(data_type.storage_type, inside)
    fixed = pa.types.is_fixed_size_list(data_type)
    if fixed and inside:
        return True
    return any(_at_risk(data_type.field(index).type, inside or fixed) for index in range(data_type.num_fields))
