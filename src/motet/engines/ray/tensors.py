"""Ray's own types of arrays, as Arrow's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["plain_schema", "plain_table"]

_FIXED, _VARIABLE = "ray.data.arrow_tensor", "ray.data.arrow_variable_shaped_tensor"


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema without types of Ray: tensors of one shape are Arrow's, others are lists in lists."""
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def plain_table(table: pa.Table) -> pa.Table:
    """A table without types of Ray."""
    schema = plain_schema(table.schema)
    if schema.equals(table.schema):
        return table
    columns = [_plain(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _plain_type(kind: Any) -> Any:
    name = getattr(kind, "extension_name", "")
    if name.startswith(_FIXED):
        return pa.fixed_shape_tensor(kind.storage_type.value_type, kind.shape)
    if name.startswith(_VARIABLE):
        found = kind.storage_type.field("data").type.value_type
        for _ in range(kind.ndim):
            found = pa.list_(found)
        return found
    return kind


def _plain(column: pa.ChunkedArray, kind: Any) -> pa.ChunkedArray:
    if column.type.equals(kind):
        return column
    if isinstance(kind, pa.BaseExtensionType):
        storages = [chunk.storage.cast(kind.storage_type) for chunk in column.chunks]
        return pa.chunked_array([pa.ExtensionArray.from_storage(kind, each) for each in storages], kind)
    return pa.chunked_array([_nested(chunk.storage, column.type.ndim).cast(kind) for chunk in column.chunks], kind)


def _nested(storage: pa.StructArray, ndim: int) -> pa.Array:
    """Arrays of many shapes as lists in lists, of their values one after another and their shapes."""
    missing = storage.is_null()
    data, shape = (storage.field(name).filter(storage.is_valid()) for name in ("data", "shape"))
    shapes = np.zeros((len(storage), ndim), np.int64)
    shapes[storage.is_valid().to_numpy(zero_copy_only=False)] = shape.flatten().to_numpy().reshape(-1, ndim)
    values = data.flatten()
    for axis in reversed(range(ndim)):
        lengths = np.repeat(shapes[:, axis], shapes[:, :axis].prod(axis=1))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        values = pa.ListArray.from_arrays(offsets, values, mask=missing if axis == 0 and storage.null_count else None)
    return values
