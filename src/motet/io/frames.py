"""Data frames as Arrow tables: of pandas, polars, DuckDB and whatever else hands over its columns as an Arrow stream.

The protocol is Arrow's PyCapsule interface (https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html);
no package of frames is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from motet.errors import InputError
from motet.io.arrow.fit import fit
from motet.io.arrow.unify import decoded_type

__all__ = ["as_stored", "as_table", "frame_name", "index_of", "is_frame", "single_columns", "with_index"]

_PANDAS = b"pandas"


def is_frame(what: Any) -> bool:
    """Whether it is a frame, or a table, that hands over its columns."""
    return hasattr(what, "__arrow_c_stream__")


def as_table(frame: Any) -> pa.Table:
    """The columns of a frame; what pandas has for missing values (NaN, NaT, NA, None) are nulls.

    Raises:
        InputError: when it is one column alone, or a column holds objects that Arrow has no type for.
    """
    try:
        return pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        hint = "give a frame, with a column for each input; values of one column must be of one kind"
        raise InputError(f"cannot be read as columns: {error}", where=frame_name(frame), hint=hint) from error


def single_columns(frame: Any) -> Iterator[tuple[str, Any, Any]] | None:
    """Of each column of a frame of pandas or polars its name, a frame of it alone, and its values; None for other frames."""
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        places = range(len(frame.columns))
        return ((str(frame.columns[at]), frame.iloc[:, [at]], frame.iloc[:, at]) for at in places)
    if hasattr(frame, "get_columns"):
        return ((column.name, column.to_frame(), column) for column in frame.get_columns())
    return None


def as_stored(values: Any) -> pa.Array | pa.ChunkedArray | None:
    """One column as Arrow stores it, where it is of Arrow, of polars, or of a dtype of pandas that knows nulls.

    Returns:
        It, without dictionaries, run-ends and views (see `decoded_type`). None for arrays of numpy and what holds one, for
        Python's own values, and for what Arrow has no type of its own for.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return _decoded(values)
    if isinstance(getattr(values, "dtype", np.dtype(object)), np.dtype):
        return None
    try:
        if hasattr(values, "__arrow_c_stream__"):
            found = pa.chunked_array(values)
        elif hasattr(values, "__arrow_array__") or hasattr(values, "categories"):
            found = pa.array(values)
        else:
            return None
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return None if isinstance(found.type, pa.BaseExtensionType) else _decoded(found)


def _decoded(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = decoded_type(column.type)
    if kind == column.type:
        return column
    if isinstance(column, pa.Array):
        return fit(column, kind)
    return pa.chunked_array([fit(chunk, kind) for chunk in column.chunks], kind)


def index_of(frame: Any) -> pa.Table:
    """The index of a pandas frame, as columns; of other frames a table without any."""
    return as_table(frame.iloc[:, :0]) if hasattr(frame, "iloc") else pa.table({})


def frame_name(frame: Any) -> str:
    """What a frame is, for messages: `a pandas DataFrame`."""
    package = type(frame).__module__.partition(".")[0].lstrip("_")
    return f"a {package} {type(frame).__name__}"


def with_index(table: pa.Table, frame: pa.Schema) -> pa.Table:
    """A table whose `to_pandas` has the index of the pandas frame that its rows come from, where it has these columns.

    Args:
        table: some columns of the frame, and others.
        frame: the schema of the frame as a table.
    """
    said = (frame.metadata or {}).get(_PANDAS)
    if said is None:
        return table
    known = json.loads(said)
    index = [each for each in known["index_columns"] if isinstance(each, dict) or each in table.schema.names]
    columns = [each for each in known["columns"] if each["field_name"] in index]
    kept = {"index_columns": index, "columns": columns, "column_indexes": known["column_indexes"]}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _PANDAS: json.dumps(kept).encode()})
