"""The file of failures of a run: what it holds beside the failures, and the rows that it names for another run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from motet.engines.local.selection import Ids
from motet.errors import InputError
from motet.io import Source, open_source, split_faults
from motet.types import ColumnType

__all__ = ["INPUT", "failed_rows"]

INPUT = pa.field("input", pa.string())
"""What tells the input that a row is of from others; null where nothing does."""
_WHERE = "only_failed"
_ROW = ColumnType("int64")


def failed_rows(path: str, source: Source, identity: Callable[[], str | None], *, any_input: bool) -> Ids:
    """The rows that a file of failures names, each once and in order.

    Args:
        path: the file. One without a column `input`, as written by hand, is taken to be of this source.
        source: where the rows are.
        identity: what tells the source from others, None where nothing does.
        any_input: take the rows though they are of another input.

    Raises:
        InputError: when the file is none of failures, is of another input, or names rows that are not in the source.
    """
    file = open_source(path, wanted={"row": _ROW})
    names = file.schema.names
    if "row" not in names or not pa.types.is_integer(file.schema.field("row").type):
        raise InputError(f"{path} has no column 'row' of whole numbers; it has {', '.join(names)}", where=_WHERE)
    columns = ["row", *([INPUT.name] if INPUT.name in names and not any_input else [])]
    found, inputs = [np.empty(0, np.int64)], set[str]()
    for read in file.batches(65_536, columns):
        batch, faults = split_faults(read)
        if faults or batch.column(0).null_count:
            what = next(iter(faults.values()), "column 'row' is null")
            raise InputError(f"{path} names no row in a line of it: {what}", where=_WHERE)
        found.append(batch.column(0).to_numpy(zero_copy_only=False).astype(np.int64))
        inputs.update(*(filter(None, column.unique().to_pylist()) for column in batch.columns[1:]))
    if inputs - {identity()}:
        raise InputError(
            f"the rows of {path} failed in another input, or this one has changed since",
            where=_WHERE,
            hint="give the input that they failed in; --any-input takes the rows of the same positions in this one",
        )
    return _checked(np.unique(np.concatenate(found)), path, source.num_rows)


def _checked(rows: Ids, path: str, num_rows: int | None) -> Ids:
    if len(rows) and (rows[0] < 0 or (num_rows is not None and rows[-1] >= num_rows)):
        raise InputError(
            f"{path} names row {rows[0] if rows[0] < 0 else rows[-1]}; the source has {num_rows} rows",
            where=_WHERE,
            hint="is it of another input?",
        )
    return rows
