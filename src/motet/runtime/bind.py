"""From what a user gives by name, also as Arrow stores it, to the batch that a graph takes: rows that do not fit are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Batch, Column, Ragged, objects
from motet.errors import Failure
from motet.graph.check import CheckedGraph
from motet.graph.input import Input
from motet.io import as_stored, is_image, to_column
from motet.io.jsontext import is_json, json_values
from motet.reading import as_given
from motet.runtime.given import bind_values, read_values
from motet.types import ColumnType

__all__ = ["bind_columns", "read_stored"]


def bind_columns(columns: Mapping[str, Any], checked: CheckedGraph) -> tuple[Batch, list[Failure]]:
    """As `bind_values`, also of what Arrow stores, or makes of what frames do."""
    return bind_values(columns, checked, _as_given, _read)


def _as_given(values: Any, kind: ColumnType) -> Any:
    stored = None if type(values) is np.ndarray else as_stored(values)
    return as_given(values, kind) if stored is None else stored


def _read(column: Any, each: Input, name: str, values: Any) -> tuple[Column, dict[int, str]]:
    if type(column) is np.ndarray or isinstance(column, Ragged):
        return read_values(column, each, name, values)
    found, bad = read_stored(column, pa.field(name, column.type), each)
    return found, {row: f"input {name!r} {why}" for row, why in bad.items()}


def read_stored(array: pa.Array | pa.ChunkedArray, field: pa.Field, each: Input) -> tuple[Column, dict[int, str]]:
    """A stored column as an input takes it: the rows that fit, and by position why the others do not.

    Raises:
        TypeMismatchError: when no row can fit, because of the stored type.
    """
    if each.type.dtype != "any" or not is_json(field):
        return to_column(array, each.type, name=field.name, image=is_image(field), **_null_policy(each))
    values = json_values(array)
    bad = {row: "is null" for row, value in enumerate(values) if value is None and not each.has_default}
    return objects(
        [each.default if value is None else value for row, value in enumerate(values) if row not in bad]
    ), bad


def _null_policy(each: Input) -> dict[str, Any]:
    if not each.has_default:
        return {}
    return {"nullable": True} if each.default is None else {"default": each.default}
