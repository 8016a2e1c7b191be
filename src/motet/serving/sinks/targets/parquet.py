"""Parquet: a folder of parts, each of which appears whole, by a rename."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.convert import json_bytes
from motet.serving.sinks.records import JSON, Records, join_records
from motet.serving.sinks.targets.target import RefusedError
from motet.types import ColumnType

__all__ = ["ParquetTarget"]


class ParquetTarget:
    """A folder of Parquet parts, readable as one dataset. Arrays are lists; what is of any kind is JSON text.

    A part is named after its batch, so that a batch that is written again after a crash takes the place of the part.
    """

    def __init__(self, config: SinkConfig, folder: Path) -> None:
        self._folder, self.is_log = folder / config.to, False
        self._sync = config.durable

    def prepare(self, table: str, kinds: Mapping[str, str]) -> None:
        """Make the folder."""
        self._place(table).mkdir(parents=True, exist_ok=True)

    def _place(self, table: str) -> Path:
        return Path(str(self._folder).replace("{graph}", table))

    def write(self, batch: Sequence[Records], name: str) -> None:
        """See `Target.write`."""
        by_kind: dict[str, list[Records]] = {}
        for records in batch:
            by_kind.setdefault(f"{records.table} {records.kinds}", []).append(records)
        for number, alike in enumerate(by_kind.values()):
            for records in join_records(alike):
                self._write(records, f"part-{name}-{number}.parquet")

    def _write(self, records: Records, name: str) -> None:
        import pyarrow.parquet as pq

        try:
            table = pa.table({each: _array(records.columns[each], kind) for each, kind in records.kinds.items()})
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise RefusedError(str(error)) from error
        folder = self._place(records.table)
        folder.mkdir(parents=True, exist_ok=True)
        hidden = folder / f".{name}.{os.getpid()}"
        try:
            with open(hidden, "wb") as file:
                pq.write_table(table, file, compression="zstd")
                if self._sync:
                    os.fsync(file.fileno())
            hidden.rename(folder / name)
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Nothing is open."""


def _array(values: Sequence[Any], kind: str) -> pa.Array:
    if kind == JSON:
        return pa.array([None if value is None else json_bytes(value).decode() for value in values], pa.string())
    return pa.array(values, _arrow(ColumnType.parse(kind)))


def _arrow(kind: ColumnType) -> pa.DataType:
    leaf = {"string": pa.string(), "bytes": pa.binary()}.get(kind.dtype) or pa.from_numpy_dtype(kind.numpy_dtype)
    for _ in kind.shape:
        leaf = pa.list_(leaf)
    return leaf
