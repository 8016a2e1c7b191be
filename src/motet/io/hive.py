"""Columns that only the names of folders have: `year=2020/month=1/part.parquet`, as Hive, Spark and pyarrow write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa

from motet.io.arrow import arrow_type
from motet.io.faults import ERROR_COLUMN, with_errors
from motet.io.files import FoundFile
from motet.types import ColumnType

__all__ = ["NULL", "FolderColumn", "folder_columns", "folder_values", "with_folder_columns"]

NULL = "__HIVE_DEFAULT_PARTITION__"
"""The value of a folder of rows without one."""
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""Whole numbers that are written in one way only, so that they come out as they were."""


class FolderColumn(NamedTuple):
    """What a column is in all rows of a file.

    Attributes:
        value: shape `[1]`.
        reason: why the name of the folder is none of the column's type, so that every row fails; empty where it is one.
    """

    value: pa.Array
    reason: str = ""


def folder_values(file: FoundFile) -> dict[str, str | None]:
    """Names and values of the folders that a file lies in: all below the one that was searched, and those right above that.

    Both are percent-decoded; a value that Hive writes for null, or an empty one, is None.
    """
    inside = file.path[len(file.root) :].split("/")[:-1]
    above = [*takewhile(lambda part: "=" in part or not part, reversed(file.root.split("/")))]
    pairs = (part.partition("=") for part in [*reversed(above), *inside] if "=" in part)
    values = {unquote(name): unquote(value) for name, _, value in pairs if name}
    return {name: None if value in ("", NULL) else value for name, value in values.items()}


def folder_columns(files: Sequence[FoundFile], types: Mapping[str, ColumnType]) -> list[dict[str, FolderColumn]]:
    """The columns of each file that its folders have, in one type each.

    Args:
        files: the files.
        types: declared column types, by which names of folders are read as fields of CSV are. Of the other columns, those
            that are whole numbers throughout, written as such, are int32, or int64; all others are strings.
    """
    found = [folder_values(file) for file in files]
    names = dict.fromkeys(name for values in found for name in values)
    kinds = {name: _kind([values.get(name) for values in found], types.get(name)) for name in names}
    return [{name: _column(name, value, kinds[name]) for name, value in values.items()} for values in found]


def _kind(values: Sequence[str | None], declared: ColumnType | None) -> pa.DataType:
    stored = arrow_type(declared) if declared is not None and not declared.shape else None
    if stored is not None:
        return stored
    texts = {value for value in values if value is not None}
    if not texts or declared is not None or not all(_WHOLE.fullmatch(text) for text in texts):
        return pa.string()
    return pa.int32() if all(-(1 << 31) <= int(text) < 1 << 31 for text in texts) else pa.int64()


def _column(name: str, value: str | None, data_type: pa.DataType) -> FolderColumn:
    from motet.io.cells import read_cells  # few files lie in such folders

    field = None if value is None else value.encode(errors="surrogateescape")
    read, reasons = read_cells(pa.array([field], pa.binary()), data_type, name)
    return FolderColumn(read, f"folder {name}={value}: {reasons[0]}" if reasons else "")


def with_folder_columns(
    pieces: Iterator[pa.RecordBatch], columns: Mapping[str, FolderColumn], names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Pieces of a file with those of its columns of folders that are asked for."""
    wanted = {name: columns[name] for name in names if name in columns}
    reason = next((column.reason for column in wanted.values() if column.reason), "")
    for piece in pieces:
        for name, column in wanted.items():
            piece = piece.append_column(name, pa.repeat(column.value[0], len(piece)))
        yield _failed(piece, reason) if reason else piece


def _failed(piece: pa.RecordBatch, reason: str) -> pa.RecordBatch:
    """The piece, every row of which has a reason not to be read."""
    place = piece.schema.get_field_index(ERROR_COLUMN)
    if place < 0:
        return with_errors(piece, pa.repeat(pa.scalar(reason), len(piece)))
    return with_errors(piece.remove_column(place), piece.column(place).fill_null(reason))
