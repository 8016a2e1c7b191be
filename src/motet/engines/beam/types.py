"""Between types of columns and those that schemas of Beam have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from apache_beam.typehints import typehints
from apache_beam.typehints.row_type import RowTypeConstraint

from motet.types import ColumnType

__all__ = ["field_type", "fields_of", "row_type"]

_LEAVES: Mapping[str, Any] = {
    "float16": np.float32, "float32": np.float32, "float64": np.float64,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.int16, "uint16": np.int32, "uint32": np.int64,
    "bool": bool, "string": typehints.Optional[str], "bytes": typehints.Optional[bytes],
}  # fmt: skip
"""Beam has no unsigned numbers: each is the next larger signed one; those of uint64 are pickled, as what has no type is."""


def field_type(kind: ColumnType) -> Any:
    """Beam's type of an output."""
    found = _LEAVES.get(kind.dtype, Any)
    for _ in kind.shape:
        found = typehints.Sequence[found]
    return found


def fields_of(element_type: Any) -> dict[str, Any] | None:
    """The fields of rows that have a schema: named tuples and Beam's rows; None of others."""
    found = RowTypeConstraint.from_user_type(element_type)
    return None if found is None else dict(found._fields)


def row_type(fields: Mapping[str, Any]) -> Any:
    """The type of rows with these fields."""
    return RowTypeConstraint.from_fields([(name, typehints.normalize(kind)) for name, kind in fields.items()])
