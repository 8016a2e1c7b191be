"""Columns as a model or a graph inside takes them: the same values in its types, or a row that fails.

Narrower numbers are given as the wider ones or floats that are wanted, and single values as rows of one value, as ONNX
models made of tables take. What nobody declared may hold values of several kinds, each of which is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from motet.batch import Array, Column, Ragged, column_type
from motet.errors import MotetError
from motet.graph.node import Fault
from motet.nodes.hold import hold
from motet.numbers import convert, may_be_given
from motet.tracebacks import said
from motet.types import ColumnType

__all__ = ["widened"]


def widened(
    columns: Mapping[str, Column], wanted: Mapping[str, ColumnType], model: str, version: str = ""
) -> tuple[dict[str, Column], list[Fault]]:
    """The columns in the types that are wanted where they may be given so, others as they are, and the rows that are lost.

    Args:
        columns: those that are given, by name.
        wanted: their types.
        model, version: what takes them, for the faults of rows whose values would not be the same ones in these types.
    """
    given = dict(columns)
    lost: dict[int, str] = {}
    for name, column in columns.items():
        kind = wanted[name]
        if isinstance(column, Ragged) or kind.varies or kind.dtype == "any":
            continue
        if column.ndim == 1 and kind.shape == (1,):
            column = given[name] = column[:, None]
        if column.dtype == object:
            if not _holds_only(column, kind):
                given[name] = _of_several_kinds(column, kind, name, lost)
        elif column.dtype != kind.numpy_dtype and may_be_given(column_type(column), kind):
            found = convert(column, kind.dtype)
            given[name] = found.values
            if found.lost is not None:
                rows = np.flatnonzero(found.lost.reshape(len(column), -1).any(axis=1)).tolist()
                lost |= {row: f"{name}: {column[row].tolist()} is no {kind.dtype}" for row in rows}
    return given, [Fault(row, "TypeMismatchError", lost[row], model, version) for row in sorted(lost)]


def _holds_only(column: Array, kind: ColumnType) -> bool:
    """Whether objects are the texts or bytes that are wanted, or null."""
    plain = {"string": str, "bytes": bytes}.get(kind.dtype)
    return plain is not None and {*map(type, column.reshape(-1).tolist())} <= {plain, type(None)}


def _of_several_kinds(column: Array, kind: ColumnType, name: str, lost: dict[int, str]) -> Column:
    """Objects in the type that is wanted; rows that are none are lost, and hold zeros."""
    found = hold(column, kind, len(column), f"the column for {name!r}")
    if not found.errors:
        return found.column
    for row, error in found.errors.items():
        lost[row] = error.what if isinstance(error, MotetError) else said(error)
    whole = np.zeros((len(column), *(axis or 0 for axis in kind.shape)), kind.numpy_dtype)
    whole[np.setdiff1d(np.arange(len(column)), list(found.errors))] = found.column
    return whole
