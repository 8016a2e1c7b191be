"""The inputs of a graph that is made in Python: declared one by one, or for each column of a frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from motet.errors import UnknownNameError
from motet.graph.build import Handle
from motet.graph.defaults import checked_default
from motet.graph.forms import NAME
from motet.graph.input import Input
from motet.reading import NO_DEFAULT
from motet.types import ColumnType

__all__ = ["input", "inputs"]


def input(name: str, type: str | ColumnType, *, default: Any = NO_DEFAULT, column: str | None = None) -> Handle:
    """Declare an input of a graph.

    Args:
        name: the column's name.
        type: its type, for example `uint8[28,28]`.
        default: what stands in for a null or a missing column; None lets nulls through; without one a null fails its row.
        column: what the column is called where it is stored, for example `"petal length (cm)"`; the name when not given.

    Returns:
        The column.
    """
    where = f"input {name!r}"
    kind = ColumnType.parse(type, where)
    made = Input(kind, checked_default(default, kind, where), column)
    return Handle("input", name, lambda _name, _names: made, ())


def inputs(frame: Any, *, leave_out: Sequence[str] = ()) -> dict[str, Handle]:
    """Declare an input of a graph for each column of a frame, with its type.

    Texts, floats and what is only known when rows flow may be missing (`default=None`); a missing whole number or bool
    fails its row.

    Args:
        frame: a frame of pandas, polars, DuckDB or Arrow; its first rows are enough.
        leave_out: names of columns that are no inputs, such as the label.

    Returns:
        By the names of the columns, their inputs. Where a column's name cannot be that of an input (`petal length (cm)`),
        the input is called alike (`petal_length_cm`), and reads that column.

    Raises:
        InputError: when it is no frame.
        UnknownNameError: when a name to leave out is none of its columns.
    """
    from motet.io import check_readable, frame_name, natural_kind, table_of

    schema = table_of(frame).schema
    for name in leave_out:
        if name not in schema.names:
            raise UnknownNameError("column", name, schema.names, where="leave_out")
    found: dict[str, Handle] = {}
    taken: set[str] = set()
    for field in schema:
        if field.name in leave_out or field.name.startswith("__index_level_"):
            continue
        check_readable(schema, field.name, frame_name(frame))
        name = _input_name(field.name, taken)
        kind = natural_kind(field.type)
        optional = kind.is_object or kind.dtype.startswith("float")
        found[field.name] = input(
            name, kind, default=None if optional and not kind.varies else NO_DEFAULT,
            column=None if name == field.name else field.name,
        )  # fmt: skip
    return found


def _input_name(column: str, taken: set[str]) -> str:
    """A name for the input that reads a column, unlike those that are taken, to which it is added."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", column).strip("_") or "column"
    stem = stem if NAME.fullmatch(stem) else f"column_{stem}"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    taken.add(name)
    return name
