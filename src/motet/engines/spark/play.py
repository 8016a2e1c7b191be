"""What workers of Spark do: record batches of a partition are played, and what became of their rows is one frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import TaskContext

from motet.batch import Indices
from motet.engines.batch_worker import BatchWorker
from motet.engines.job import Job
from motet.engines.spark.types import storable, stored
from motet.engines.splits.play import job_of
from motet.engines.tables import failures_schema, told
from motet.errors import MotetError
from motet.system.recent import LruCache

__all__ = ["ENDED", "FAILED_ROW", "PlayPartition", "answer_names"]

FAILED_ROW, ENDED = "failed", "ended"
"""The columns beside the answers: what is said of a row that failed; and, in one row alone, with what error it all ended."""
PARTITION_BITS = 33
"""A row's id is its place in its partition, and in the bits above these the partition's number, as Spark's own are."""
STAGES = 64

_ended: LruCache[tuple[str, int], str] = LruCache(STAGES)
"""By run and stage the error that ended it in this process: attempts that Spark makes again do not call models again."""


def answer_names(job: Job) -> list[str]:
    """What columns of answers are called until they are apart: any name may be there already."""
    return [f"a{place}" for place in range(len(job.answers_schema))]


@dataclass(frozen=True)
class PlayPartition:
    """Plays a partition; what `mapInArrow` takes.

    Attributes:
        pickled: the job, which is unpickled when modules can be found.
        run: what tells the frame from others of the same job.
        path: where modules are found.
    """

    pickled: bytes
    run: str
    path: tuple[str, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Answers and failures of record batches.

        An error that no other attempt would mend is a row of its own, so that Spark does not begin the task again; the frames
        that people hold raise it.

        Raises:
            MotetError: which another attempt may mend.
        """
        context, job = TaskContext.get(), job_of(self.pickled, self.path)
        assert context is not None, "called outside a task"
        stage = self.run, context.stageId()
        said = _ended.get(stage)
        if said is None:
            try:
                yield from self._played(job, batches, context.partitionId() << PARTITION_BITS)
                return
            except MotetError as error:
                if error.retryable:
                    raise
                said = _ended.put(stage, f"{type(error).__name__}: {error}")
        yield _beside(job, ended=pa.array([said]))
        for _ in batches:  # or Spark's worker would be left with what it was sent
            pass

    def _played(self, job: Job, batches: Iterator[pa.RecordBatch], first: int) -> Iterator[pa.RecordBatch]:
        worker = BatchWorker.shared(job, run=self.run)
        for batch in batches:
            whole = pa.RecordBatch.from_arrays(batch.columns, schema=job.read_schema)
            for start in range(0, len(whole), job.batch_rows):
                read = whole.slice(start, job.batch_rows)
                yield from _play(worker, read, np.arange(first, first + len(read)))
                first += len(read)


def _play(worker: BatchWorker, read: pa.RecordBatch, ids: Indices) -> Iterator[pa.RecordBatch]:
    job = worker.job
    answers, failures = worker.play(read, ids)
    if len(answers):
        yield _beside(job, answers=answers)
    if len(failures):
        yield _beside(job, failed=_failed(job, read, failures, int(ids[0])))


def _failed(job: Job, read: pa.RecordBatch, failures: pa.RecordBatch, first: int) -> pa.Array:
    """What is said of rows that failed, with their ids where these are asked for."""
    said = told(read, failures, first)
    if job.layout.row_ids is None:
        return said.to_struct_array()
    arrays, fields = [failures["row"], *said.columns], [pa.field(job.layout.row_ids, pa.int64()), *said.schema]
    return pa.StructArray.from_arrays(arrays, fields=fields)


def _beside(
    job: Job, *, answers: pa.RecordBatch | None = None, failed: pa.Array | None = None, ended: pa.Array | None = None
) -> pa.RecordBatch:
    """A batch with all columns; null are those of which nothing is given."""
    given = next(each for each in (answers, failed, ended) if each is not None)
    kept = len(job.answers_schema) - len(job.layout.outputs)
    columns = []
    for place, field in enumerate(job.answers_schema):
        if answers is None:
            columns.append(pa.nulls(len(given), field.type if place < kept else storable(field.type)))
        else:
            columns.append(answers.column(place) if place < kept else stored(answers.column(place)))
    said = _failures_type(job)
    columns.append(pa.nulls(len(given), said) if failed is None else failed)
    columns.append(pa.nulls(len(given), pa.string()) if ended is None else ended)
    return pa.RecordBatch.from_arrays(columns, names=[*answer_names(job), FAILED_ROW, ENDED])


def _failures_type(job: Job) -> pa.DataType:
    ids = [] if job.layout.row_ids is None else [pa.field(job.layout.row_ids, pa.int64())]
    return pa.struct([*ids, *failures_schema(job.read_schema)])
