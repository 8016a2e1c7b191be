"""Tables in pipelines of others, whatever their engine: answered by one job, and failures with the rows as they came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from motet.engines.batch_worker import BatchWorker
from motet.engines.cores import share_of_cores
from motet.engines.job import Job
from motet.engines.layout import FAILED
from motet.io.take import take_batch
from motet.system.recent import LruCache
from motet.threads import side_by_side

__all__ = ["TableWorkers", "failures_schema", "play_table", "told"]

SCHEMAS = 8
"""Schemas of tables whose columns are remembered."""


def failures_schema(schema: pa.Schema) -> pa.Schema:
    """Names and types of what is said of rows of a schema that failed: the row as it came, and why."""
    return pa.schema([pa.field("row", pa.struct(list(schema))), *(pa.field(name, pa.string()) for name in FAILED)])


class TableWorkers:
    """What plays tables, by their schemas.

    Args:
        job: what is played.
        keep, drop: which columns are written beside the outputs, where the job is over no schema.
        typed: whether the job is over the schema of the tables that come.
        run: see `BatchWorker.shared`.
    """

    def __init__(self, job: Job, keep: Sequence[str] | None, drop: Sequence[str], run: str, *, typed: bool) -> None:
        self._job, self._keep, self._drop, self._run, self._typed = job, keep, drop, run, typed
        self._over: LruCache[bytes, BatchWorker] = LruCache(SCHEMAS)

    def of(self, schema: pa.Schema) -> BatchWorker:
        """What plays tables of a schema.

        Raises:
            InputError: when its columns do not fit.
        """
        if self._typed:
            return BatchWorker.shared(self._job, run=self._run)
        key = schema.serialize().to_pybytes()
        found = self._over.get(key)
        if found is None:
            job = self._job.over(schema, keep=self._keep, drop=self._drop)
            found = self._over.put(key, BatchWorker.shared(job, run=self._run))
        return found


def play_table(worker: BatchWorker, rows: pa.RecordBatch) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """Answers and failures of a table, of which as many batches are played at a time as there are cores.

    Returns:
        Record batches of the job's `answers_schema`, one or none for each batch; and of `failures_schema`, where rows failed.
    """
    size = worker.job.batch_rows
    batches = [rows.slice(start, size) for start in range(0, len(rows), size)]
    with share_of_cores() as cores:
        played = side_by_side(lambda read: worker.play(read, np.arange(len(read))), batches, cores)
    failures = [told(read, failed) for read, (_, failed) in zip(batches, played, strict=True) if len(failed)]
    return [answers for answers, _ in played], failures


def told(read: pa.RecordBatch, failed: pa.RecordBatch, first: int = 0) -> pa.RecordBatch:
    """What is said of rows that failed.

    Args:
        read: the rows.
        failed: what `BatchWorker.play` said of some.
        first: the id of the first row.
    """
    schema = failures_schema(read.schema)
    rows = take_batch(read, failed["row"].to_numpy() - first)
    struct = pa.StructArray.from_arrays(rows.columns, fields=list(read.schema))
    return pa.RecordBatch.from_arrays([struct, *(failed[name] for name in FAILED)], schema=schema)
