"""CSV, written: by Arrow. A column of vectors of one small shape is a column for each of its places."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.batch import Indices
from motet.io.arrow.buffers import numbers, of_numbers
from motet.io.arrow.dense import list_parts
from motet.io.arrow.layout import LABELS, is_tensor, number_name, tensor_shape
from motet.io.as_text import as_text, compressed_output, text_type

__all__ = ["holds", "open_writer", "written_names"]

MOST_PLACES = 1000
"""The most columns that one column of vectors becomes."""


class _CsvWriter:
    def __init__(self, file: Any, schema: pa.Schema, codec: str | None) -> None:
        from pyarrow import csv as arrow_csv

        names = [name for field in schema for name in written_names(field)]
        kinds = [_kind(_leaf(field.type)) for field in schema for _ in range(_places(field.type) or 1)]
        self._lone = len(names) == 1
        self._schema = pa.schema(list(zip(names, [pa.string()] if self._lone else kinds, strict=True)))
        self._out = compressed_output(file, codec)
        self._writer = arrow_csv.CSVWriter(self._out, self._schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [_written(each) for column in batch.columns for each in _spread(column)]
        if self._lone:  # a line without anything is no row for who reads it; "" is
            columns = [columns[0].cast(pa.string()).fill_null("")]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._out.close()


def _shape(data_type: Any) -> tuple[int, ...]:
    """The axes of a row of vectors of one shape; none for one value, and for what varies."""
    if is_tensor(data_type):
        return tensor_shape(data_type)
    if pa.types.is_fixed_size_list(data_type):
        inner = data_type.value_type
        return (int(data_type.list_size), *(() if is_tensor(inner) else _shape(inner)))
    return ()


def _places(data_type: Any) -> int:
    """How many columns a type of vectors becomes; 0 for one value."""
    shape = _shape(data_type)
    return math.prod(shape) if shape else 0


def _leaf(data_type: Any) -> pa.DataType:
    """The type of one value."""
    return _leaf(data_type.value_type) if _shape(data_type) else data_type


def _kind(data_type: pa.DataType) -> pa.DataType:
    """The type that Arrow's writer is given: one that it writes as it would cast it to a string, or that of the text."""
    return data_type if _is_known(data_type) else text_type(data_type)


def _is_known(data_type: Any) -> bool:
    kinds = pa.types
    return bool(kinds.is_temporal(data_type) or kinds.is_decimal(data_type)) and not (
        kinds.is_duration(data_type) or kinds.is_interval(data_type)
    )


def holds(field: pa.Field) -> bool:
    """Whether a field of a line can hold a column: one value a row, or vectors of one shape of at most `MOST_PLACES`."""
    shape, leaf = _shape(field.type), _leaf(field.type)
    return (
        not pa.types.is_nested(leaf)
        and text_type(leaf) is not None
        and (not shape or 0 < math.prod(shape) <= MOST_PLACES)
    )


def written_names(field: pa.Field) -> list[str]:
    """The names under which a column is written: `p.0`, `p.1`; by labels where its field has one for each place."""
    shape = _shape(field.type)
    if not shape:
        return [field.name]
    labels = json.loads((field.metadata or {}).get(LABELS, b"[]"))
    places = [".".join(map(str, place)) for place in np.ndindex(shape[:-1])]
    last = labels if len(labels) == shape[-1] else range(shape[-1])
    return [".".join(filter(None, (field.name, place, str(label)))) for place in places for label in last]


def _spread(column: pa.Array) -> list[pa.Array]:
    """A column for each place of a row, null where the row is."""
    places = _places(column.type)
    if not places:
        return [column]
    values, there = _flat(column)
    order = _order(column.type).tolist()
    if number_name(values.type) and not values.null_count and there.all():
        grid = numbers(values).reshape(len(column), places)
        return [of_numbers(grid[:, place]) for place in order]
    starts = np.arange(len(column)) * places
    return [values.take(pa.array(starts + place, mask=~there[starts + place])) for place in order]


def _order(data_type: Any) -> Indices:
    """The places of a row in the order in which they are shown, told by where they are stored."""
    if not is_tensor(data_type) or data_type.permutation is None:
        return np.arange(_places(data_type))
    return np.arange(_places(data_type)).reshape(data_type.shape).transpose(data_type.permutation).reshape(-1)


def _flat(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """The values of all rows, and which of them stand in no row or list that is null."""
    values, there = column, np.ones(len(column), bool)
    values = values.storage if is_tensor(values.type) else values
    while _shape(values.type):
        there = np.repeat(there & numbers(values.is_valid()), values.type.list_size)
        _, values = list_parts(values)
    return values, there


def _written(column: pa.Array) -> pa.Array:
    return column if _is_known(column.type) else as_text(column)


def open_writer(file: Any, schema: pa.Schema, codec: str | None) -> Any:
    """One value a field, as `as_text` says; vectors of one shape as several."""
    return _CsvWriter(file, schema, codec)
