"""Rows that differ in shape, for models that take rows of one shape: in groups, or padded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from motet.batch import Array, Column, Indices, Ragged, equal_shapes, take_rows

__all__ = ["groups", "padded"]


def groups(columns: Mapping[str, Column], ragged: Sequence[str]) -> Iterable[tuple[Indices, dict[str, Array]]]:
    """Rows that have the same shape in every ragged column, groups in the order of their first row."""
    shapes = np.concatenate([column.shapes for name in ragged if isinstance(column := columns[name], Ragged)], axis=1)
    for chosen in equal_shapes(shapes):
        taken = {name: take_rows(column, chosen) for name, column in columns.items()}
        yield chosen, {name: column.dense() if isinstance(column, Ragged) else column for name, column in taken.items()}


def padded(column: Ragged, value: float) -> Array:
    """Rows made equal: padded behind on every axis with a value."""
    shape = tuple(int(axis) for axis in column.shapes.max(axis=0))
    held = np.full((len(column), *shape), value, dtype=column.dtype)
    for place, row in enumerate(column):
        held[place][tuple(slice(0, axis) for axis in row.shape)] = row
    return held
