"""A snapshot of a table of Iceberg as source: its data files, without the rows that are deleted, in the columns of the snapshot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import pyarrow as pa

from motet.errors import DataError, InputError
from motet.io.marks import drop_rows, mark_all
from motet.io.splits import Split, runs, whole
from motet.io.stream import Stream
from motet.lake.address import LakeAddress
from motet.lake.iceberg import load_table, plain_kind, told
from motet.tracebacks import summary

__all__ = ["IcebergSource", "open_iceberg"]


def open_iceberg(address: LakeAddress) -> IcebergSource:
    """The rows of the snapshot that an address names, the current one where it names none.

    Raises:
        InputError: when there is no such table or snapshot, or it has deletes that the package does not read.
    """
    table = load_table(address)
    named = address.options.get("snapshot")
    snapshot = table.current_snapshot() if named is None else table.snapshot_by_id(int(named))
    if named is not None and snapshot is None:
        known = ", ".join(str(each.snapshot_id) for each in table.snapshots()[-5:])
        raise InputError(f"has no snapshot {named}; the last ones are {known or 'none'}", where=str(address))
    scan = table.scan() if named is None else table.scan(snapshot_id=int(named))  # which has the columns that it had
    with told(address):  # deletes by equality, which the package does not read, and files of metadata that are gone
        return IcebergSource(table, scan, None if snapshot is None else snapshot.snapshot_id, str(address))


class IcebergSource(Stream):
    """The rows of a snapshot, in the order of the paths of its files. A data file is held whole while it is read.

    Args:
        table: as pyiceberg has it.
        scan: of the snapshot.
        snapshot: its id; None of a table without any.
        where: the table, for messages.
    """

    def __init__(self, table: Any, scan: Any, snapshot: int | None, where: str) -> None:
        self._metadata, self._io, self._snapshot = table.metadata, table.io, snapshot
        self.pin = "" if snapshot is None else f"snapshot={snapshot}"
        self.description = where if snapshot is None else f"{where}?snapshot={snapshot}"
        self._projection = scan.projection()
        self.schema = pa.schema([(each.name, plain_kind(each.type)) for each in self._projection.as_arrow()])
        found = [] if snapshot is None else list(scan.plan_files())
        self._tasks = sorted(found, key=lambda task: str(task.file.file_path))
        counts = [self._count(task) for task in self._tasks]
        self._ends = np.cumsum([0, *counts], dtype=np.int64)

    def _count(self, task: Any) -> int:
        """Rows of a file that count: as the manifest says it, without those that files of deletes name."""
        written = int(task.file.record_count)
        if not task.delete_files:
            return written
        rows = sum(map(len, self._read(task, self.schema.names[:1])))
        deleted = sum(int(each.record_count) for each in task.delete_files)  # at most: of several files, or twice
        self._check_count(task, rows, max(0, written - deleted), written)
        return rows

    def _check_count(self, task: Any, rows: int, least: int, most: int) -> None:
        if least <= rows <= most:
            return
        wanted = f"{most:,}" if least == most else f"{least:,} to {most:,}"
        what = f"its file {task.file.file_path} has {rows:,} rows, and {wanted} by its manifest"
        hint = "somebody has replaced it: bring it back, or read a snapshot without it"
        raise DataError(what, where=self.description, hint=hint)

    @property
    def num_rows(self) -> int:
        """Rows of the snapshot."""
        return int(self._ends[-1])

    def fingerprint(self) -> str:
        """A digest of the table's own id, of the snapshot and of the columns; nothing else changes it."""
        said = ("iceberg", str(self._metadata.table_uuid), self._snapshot, str(self.schema))
        return hashlib.sha256(repr(said).encode()).hexdigest()

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `Stream.splits`; data files stay whole."""
        found = []
        for each in runs([int(task.file.file_size_in_bytes) for task in self._tasks], target_bytes):
            some, first = copy(self), int(self._ends[each.start])
            some._tasks, some._ends = self._tasks[each], self._ends[each.start : each.stop + 1] - first
            size = sum(int(task.file.file_size_in_bytes) for task in some._tasks)
            found += whole(some, some.num_rows, size, first)
        return found

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; files that are skipped whole are not opened."""
        first = max(int(np.searchsorted(self._ends, skip, side="right")) - 1, 0)
        start = int(self._ends[first])
        yield from drop_rows(mark_all(self._read_all(first, columns), start), skip - start)

    def _read_all(self, first: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """What the files have, from one on, each of them seen to be all of it."""
        for place, task in enumerate(self._tasks[first:], first):
            rows, wanted = 0, int(self._ends[place + 1] - self._ends[place])
            for piece in self._read(task, columns):
                rows += len(piece)
                yield piece
            self._check_count(task, rows, wanted, wanted)

    def _read(self, task: Any, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.io.pyarrow import ArrowScan

        scan = ArrowScan(self._metadata, self._io, self._projection.select(*columns), AlwaysTrue())
        wanted = pa.schema([self.schema.field(name) for name in columns])
        try:
            for batch in scan.to_record_batches([task]):
                arrays = [batch.column(each.name).cast(each.type) for each in wanted]
                yield pa.RecordBatch.from_arrays(arrays, schema=wanted)
        except (ValueError, NotImplementedError) as error:
            hint = "files that pyiceberg does not read are written anew by Spark (rewrite_data_files)"
            raise DataError(f"cannot be read: {summary(error)}", where=self.description, hint=hint) from error
