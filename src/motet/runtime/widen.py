"""Columns of narrower numbers where a model takes wider ones or floats: the same numbers, or a row that fails.

Single values are rows of one value where a model takes those, as ONNX models made of tables do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from motet.batch import Column, Ragged, column_type
from motet.numbers import convert, may_be_given
from motet.types import ColumnType

__all__ = ["Lost", "widened"]


@dataclass(frozen=True)
class Lost:
    """A row whose number would not be the same one in the type that is wanted, and why."""

    row: int
    message: str


def widened(columns: Mapping[str, Column], wanted: Mapping[str, ColumnType]) -> tuple[dict[str, Column], list[Lost]]:
    """The columns in the types that are wanted where they may be given so, others as they are, and the rows that are lost."""
    held = dict(columns)
    lost: dict[int, Lost] = {}
    for name, column in columns.items():
        kind = wanted[name]
        if not isinstance(column, Ragged) and column.ndim == 1 and kind.shape == (1,):
            column = held[name] = column[:, None]
        if isinstance(column, Ragged) or column.dtype in (object, kind.numpy_dtype):
            continue
        if not may_be_given(column_type(column), kind) or kind.is_object:
            continue
        found = convert(column, kind.dtype)
        held[name] = found.values
        if found.lost is not None:
            rows = np.flatnonzero(found.lost.reshape(len(column), -1).any(axis=1)).tolist()
            lost |= {row: Lost(row, f"{name}: {column[row].tolist()} is no {kind.dtype}") for row in rows}
    return held, [lost[row] for row in sorted(lost)]
