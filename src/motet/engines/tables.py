"""Tables in pipelines of others, whatever their engine: answered by one job, and failures with the rows as they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from motet.engines.batch_worker import BatchWorker
from motet.engines.cores import share_of_cores
from motet.engines.job import Job
from motet.engines.layout import FAILED
from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.io.take import take_batch
from motet.system.recent import LruCache
from motet.threads import side_by_side

__all__ = ["TableWorkers", "check_chosen", "failures_schema", "play_batches", "play_table", "table_job", "told"]

SCHEMAS = 8
"""Schemas of tables whose columns are remembered."""


def failures_schema(schema: pa.Schema) -> pa.Schema:
    """Names and types of what is said of rows of a schema that failed: the row as it came, and why."""
    return pa.schema([pa.field("row", pa.struct(list(schema))), *(pa.field(name, pa.string()) for name in FAILED)])


def check_chosen(keep: Any, drop: Any) -> None:
    """See that columns to keep and to drop are lists.

    Raises:
        InputError: when one is a text, which would be taken letter by letter.
    """
    for name, given in (("keep", keep), ("drop", drop)):
        if isinstance(given, str):
            raise InputError(f"{name} must be a list of names; got {given!r}", hint=f"{name}=[{given!r}]")


def table_job(
    checked: CheckedGraph, schema: pa.Schema | None, keep: Sequence[str] | None, drop: Sequence[str], **options: Any
) -> Job:
    """A job over tables of a schema; of any, as `TableWorkers` makes it, where that is not known.

    Args:
        checked: the graph.
        schema: of the tables.
        keep, drop: which columns are written beside the outputs.
        options: those of `Job.of_values`.

    Raises:
        InputError: when the columns do not fit, or an argument cannot be.
        ModelLoadError: when a model is not there.
    """
    check_chosen(keep, drop)
    if not isinstance(schema, pa.Schema | None):
        raise InputError(f"schema must be an Arrow schema; got {type(schema).__name__}", hint="pyarrow.schema({...})")
    job = Job.of_values(checked, **options)
    return job if schema is None else job.over(schema, keep=keep, drop=drop)


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
            found = self._over.put(key, BatchWorker.shared(self._job_over(schema), run=self._run))
        return found

    def _job_over(self, schema: pa.Schema) -> Job:
        return self._job.over(schema, keep=self._keep, drop=self._drop)


def play_table(worker: BatchWorker, rows: pa.RecordBatch) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """Answers and failures of a table, played as `play_batches` does.

    Returns:
        Record batches of the job's `answers_schema`, one or none for each batch; and of `failures_schema`, where rows failed.
    """
    played = play_batches(worker, rows)
    failures = [told(read, failed) for read, _, failed in played if len(failed)]
    return [answers for _, answers, _ in played], failures


def play_batches(
    worker: BatchWorker, rows: pa.RecordBatch
) -> list[tuple[pa.RecordBatch, pa.RecordBatch, pa.RecordBatch]]:
    """The batches of a table, of which as many are played at a time as there are cores; one where models share places.

    Returns:
        For each, in their order, its rows, and what `BatchWorker.play` gave; its ids are places in the batch.
    """
    size = worker.job.batch_rows
    batches = [rows.slice(start, size) for start in range(0, len(rows), size)]
    with share_of_cores() as cores:
        played = side_by_side(
            lambda read: worker.play(read, np.arange(len(read))), batches, 1 if worker.lazy else cores
        )
    return [(read, *found) for read, found in zip(batches, played, strict=True)]


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
