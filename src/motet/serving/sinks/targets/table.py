"""Tables of vectors: LanceDB, Qdrant; a record is a row under its id, so that one that is written again is there once.

A column of `float32[d]` is a vector. Other arrays of one axis are lists; what is of any kind, or has more axes, is JSON text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.layout import TableLayout, last_of_each
from motet.databases.opening import open_table
from motet.databases.table import Table
from motet.errors import GraphError, InputError
from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.convert import json_bytes
from motet.serving.sinks.records import ID, JSON, Records, join_records
from motet.serving.sinks.targets.target import RefusedError
from motet.types import ColumnType

__all__ = ["TableTarget"]


class TableTarget:
    """A table of a database by its address, or one for each graph where `{graph}` stands in that."""

    is_log = False

    def __init__(self, config: SinkConfig, folder: Path) -> None:
        self._to, self._folder, self._where = config.to, folder, f"sink {config.name}"
        self._tables: dict[str, Table] = {}
        self._layouts: dict[str, TableLayout] = {}
        self._kinds: dict[str, dict[str, str]] = {}

    def prepare(self, table: str, kinds: Mapping[str, str]) -> None:
        """See `Target.prepare`."""
        try:
            if table not in self._tables:
                self._tables[table] = open_table(self._address(table))
            schema = pa.schema([(name, _arrow(kind)) for name, kind in kinds.items()])
            layout = TableLayout.of(schema, ID, self._address(table).options.get("metric"), self._where)
            there = self._tables[table].layout()
            layout = layout.joining(there)
            self._tables[table].prepare(layout)
        except InputError as error:
            raise GraphError(error.what, where=f"{self._where}: {error.where}", hint=error.hint) from error
        self._layouts[table], self._kinds[table] = layout, dict(kinds)

    def _address(self, table: str) -> TableAddress:
        address = TableAddress.parse(self._to.replace("{graph}", table))
        return replace(address, place=os.path.join(self._folder, address.place)) if address.is_local else address

    def write(self, batch: Sequence[Records], name: str) -> None:
        """See `Target.write`; records of one table that are alike are one write."""
        for records in join_records(batch):
            if self._kinds.get(records.table) != dict(records.kinds):
                try:
                    self.prepare(records.table, records.kinds)
                except GraphError as error:
                    raise RefusedError(str(error), whole=True) from error
            layout, table = self._layouts[records.table], self._tables[records.table]
            rows = _batch(records, layout.schema)
            if refused := layout.refused(rows, text=not table.keeps_text):
                raise RefusedError(next(iter(refused.values())))
            table.upsert(last_of_each(rows, ID))

    def close(self) -> None:
        """Close the tables."""
        for table in self._tables.values():
            table.close()


def _batch(records: Records, schema: pa.Schema) -> pa.RecordBatch:
    try:
        columns = [_array(records.columns[field.name], records.kinds[field.name], field.type) for field in schema]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise RefusedError(str(error)) from error


def _array(values: Sequence[Any], kind: str, stored: pa.DataType) -> pa.Array:
    if kind == JSON or len(ColumnType.parse(kind).shape) > 1:
        return pa.array([None if value is None else json_bytes(value).decode() for value in values], stored)
    return pa.array([value.tolist() if isinstance(value, np.ndarray) else value for value in values], stored)


def _arrow(kind: str) -> pa.DataType:
    parsed = ColumnType("string") if kind == JSON else ColumnType.parse(kind)
    leaf = {"string": pa.string(), "bytes": pa.binary()}.get(parsed.dtype) or pa.from_numpy_dtype(parsed.numpy_dtype)
    if len(parsed.shape) > 1:
        return pa.string()
    if not parsed.shape:
        return leaf
    size = parsed.shape[0]
    return pa.list_(leaf, size) if parsed.dtype == "float32" and size else pa.list_(leaf)
