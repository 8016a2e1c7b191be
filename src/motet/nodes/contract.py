"""The contract of users' functions: as many rows as they were given, and of the types that they declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.batch import Column, Ragged, as_column, column_type, hold_as, is_exactly, literal_fits
from motet.errors import GraphError
from motet.types import ColumnType, Outputs

__all__ = ["as_given", "conform", "typed"]


def as_given(column: Column) -> Any:
    """A column as functions get it: a list of arrays where rows differ in shape, else an array that nobody can change."""
    if type(column) is not np.ndarray and isinstance(column, Ragged):
        return column.rows()
    view = column.view()
    view.flags.writeable = False
    return view


def conform(result: Any, rows: int, outputs: Outputs | None, name: str) -> dict[str, Column]:
    """What a function returned as columns by name, checked against what it declared; one array alone is `""`.

    Args:
        result: one column, or a dict or named tuple of columns.
        rows: how many rows it was given.
        outputs: what it declared; None where it does not say.
        name: the function, for messages.

    Raises:
        GraphError: when there are not as many rows, or columns, or the types are not those declared.
    """
    if isinstance(outputs, ColumnType) and is_exactly(result, outputs, rows):
        return {"": result}
    if type(outputs) is dict and getattr(result, "_fields", None) == tuple(outputs):
        for column, kind in zip(result, outputs.values(), strict=True):
            if not is_exactly(column, kind, rows):
                break
        else:
            return dict(zip(outputs, result, strict=True))
    if hasattr(result, "_asdict"):
        result = result._asdict()
    values = {str(key): value for key, value in (result if isinstance(result, Mapping) else {"": result}).items()}
    declared = _declared(outputs)
    if declared is not None and set(declared) != set(values):
        raise GraphError(f"{name} declares {_listed(declared)} and returned {_listed(values)}")
    columns = {key: as_column(value) for key, value in values.items()}
    for key, column in columns.items():
        if getattr(column, "ndim", 1) == 0 or len(column) != rows:
            got = "a single value" if getattr(column, "ndim", 1) == 0 else f"{len(column)} rows"
            raise GraphError(
                f"{name} returned {got}{f' of {key!r}' if key else ''} for {rows} rows",
                hint="return one value for each row, in order",
            )
        if declared is not None and not is_exactly(column, declared[key], rows):
            held = typed(values[key], declared[key])
            if held is None:
                what = f"{declared[key]}{f' for {key!r}' if key else ''}"
                raise GraphError(f"{name} declares {what} and returned {column_type(column)}")
            columns[key] = held
    return columns if declared is None else {key: columns[key] for key in declared}


def _declared(outputs: Outputs | None) -> dict[str, ColumnType] | None:
    if outputs is None or (isinstance(outputs, ColumnType) and outputs.dtype == "any"):
        return None
    return {"": outputs} if isinstance(outputs, ColumnType) else dict(outputs)


def typed(value: Any, kind: ColumnType) -> Column | None:
    """What a function or model returned, held as its type wants it; None where it is of another type.

    Python numbers, which have no width of their own, take the declared one.
    """
    column = as_column(value)
    literal = isinstance(value, (list, tuple)) and isinstance(column, np.ndarray)
    if literal and not kind.is_object and literal_fits(column, kind.numpy_dtype):  # type: ignore[arg-type]
        column = column.astype(kind.numpy_dtype)  # type: ignore[union-attr]
    return hold_as(column, kind)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) if name else "one array" for name in names) or "nothing"
