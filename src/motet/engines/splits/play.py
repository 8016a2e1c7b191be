"""What a worker does with one split: reads it, plays it, and commits what came out."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import islice

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.engines.batch_worker import BatchWorker
from motet.engines.cores import share_of_cores
from motet.engines.job import Job
from motet.engines.local.pipeline import Pipeline
from motet.engines.local.report import model_reports, node_reports, peak_memory_bytes
from motet.engines.local.rows import MOST_BYTES
from motet.engines.local.selection import Chosen
from motet.engines.splits.folder import SplitFolder, SplitResult
from motet.engines.splits.shuffle import SlotWriter, StageShuffle, Window
from motet.engines.splits.tables import SplitTable, TableWriter
from motet.engines.splits.work import SplitWork, Stopwatch
from motet.errors import MotetError
from motet.io.sink import CountingWriter
from motet.io.splits import Split
from motet.io.stream import join
from motet.runtime.resources.need import Need
from motet.runtime.stats import tallied

__all__ = ["AnyTask", "SplitPlan", "SplitPlayer", "SplitTask", "StageTask", "job_of", "play_split"]

_Read = tuple[Indices, pa.RecordBatch]
_Answered = tuple[int, pa.RecordBatch, pa.RecordBatch]
"""How many rows were played, and what `BatchWorker.play` gave."""
TRIED_ROWS = 4
"""Rows of each split that others show to a model which fails on everything."""


@dataclass(frozen=True)
class SplitTask:
    """A split, and which of its rows are played.

    Attributes:
        number: of the task; its part is named by it.
        split: where its rows are read.
        chosen: which rows of the source are played, those of other splits among them; None for all.
    """

    number: int
    split: Split
    chosen: Chosen | None = None

    @property
    def ids(self) -> Indices:
        """The rows that are played."""
        ids = np.arange(self.split.first, self.split.first + self.split.rows)
        return ids if self.chosen is None else ids[self.chosen.has(ids)]

    def read(self, rows: int, columns: Sequence[str]) -> Iterator[tuple[Indices, pa.RecordBatch]]:
        """Batches of these rows, with their ids."""
        if self.chosen is None:
            return self.split.batches(rows, columns, MOST_BYTES)
        return self.split.batches_at(self.ids, rows, columns, MOST_BYTES)


@dataclass(frozen=True)
class StageTask:
    """A task of one of several stages.

    Attributes:
        number: of its result.
        window: the tasks that it exchanges rows with.
        place: which of them it is.
        split: what the first stage reads.
        parts: what later ones read: those of the attempts that count, of the tasks of its window in the stage before.
    """

    number: int
    window: Window
    place: int
    split: SplitTask | None = None
    parts: tuple[str, ...] = ()


AnyTask = SplitTask | StageTask


@dataclass(frozen=True)
class SplitPlan:
    """What all tasks of a stage of a run share.

    Attributes:
        pickled: the job, which is unpickled when modules can be found.
        folder: where parts go until all are there.
        run: what tells the run from others, also from one that it goes on with.
        manifest: of the run, as JSON.
        format: of the parts, see `motet.io.open_writer`; None where they are put together to a file.
        elsewhere: some tasks from all over the source.
        path: where modules are found.
        shuffle: where rows come from and go to; None where there is one stage.
        cwd: the folder that paths are relative to.
        table: what is known of a table that answers go to; None where they go to files.
    """

    pickled: bytes
    folder: str
    run: str
    manifest: str
    format: str | None
    elsewhere: tuple[AnyTask, ...] = ()
    path: tuple[str, ...] = ()
    shuffle: StageShuffle | None = None
    cwd: str = ""
    table: SplitTable | None = None

    @property
    def is_last(self) -> bool:
        """Whether it gives the answers of the run."""
        return self.shuffle is None or self.shuffle.last

    @cached_property
    def job(self) -> Job:
        """What plays."""
        return job_of(self.pickled, self.path)

    def rows_elsewhere(self) -> tuple[pa.RecordBatch, Indices] | None:
        """A few rows from all over the source, with their ids."""
        found: list[tuple[Indices, pa.RecordBatch]] = []
        for task in self.elsewhere:
            split = task.split if isinstance(task, StageTask) else task
            if split is None:
                found += islice(self.read(task, self.opened(), TRIED_ROWS), 1)
                continue
            ids = split.ids
            ids = ids[:: max(1, len(ids) // TRIED_ROWS)][:TRIED_ROWS]
            found += split.split.batches_at(ids, TRIED_ROWS, self.job.columns)
        return (join([read for _, read in found]), np.concatenate([ids for ids, _ in found])) if found else None

    def opened(self) -> SplitFolder:
        """The folder."""
        return SplitFolder(self.folder, self.manifest)

    def read(self, task: AnyTask, folder: SplitFolder, rows: int) -> Iterator[tuple[Indices, pa.RecordBatch]]:
        """The batches of a task, with the ids of their rows."""
        split, columns = task.split if isinstance(task, StageTask) else task, self.job.columns
        if split is not None:
            return split.read(rows, columns)
        assert isinstance(task, StageTask)
        assert self.shuffle is not None
        return self.shuffle.read(folder, task.parts, task.place, len(task.window.starts), rows, columns)


def play_split(plan: SplitPlan, task: AnyTask) -> SplitResult:
    """Read a split, play it, and write its part and its failures; a split that is done stays so.

    It may be called again for the same task, at the same time too, and killed at any moment.

    Returns:
        What became of it. What no other attempt would mend is an error in it.

    Raises:
        MotetError: which another attempt may mend, or another worker that finds the folder.
    """
    if os.path.isdir(plan.cwd):
        os.chdir(plan.cwd)
    folder = plan.opened()
    try:
        return folder.done(task.number) or _played(plan, task, folder)
    except MotetError as error:
        if error.retryable:
            raise
        folder.give_up(task.number, error)
        return SplitResult(task.number, error=error)


@dataclass(frozen=True)
class SplitPlayer:
    """What an engine calls for every task.

    Attributes:
        plan: what the tasks share.
        need: what a worker must have while it plays one.
    """

    plan: SplitPlan
    need: Need

    def __call__(self, task: AnyTask) -> SplitResult:
        """See `play_split`."""
        return play_split(self.plan, task)


@lru_cache(maxsize=4)
def job_of(pickled: bytes, path: tuple[str, ...]) -> Job:
    """A job that was sent; the same one for the same bytes.

    Args:
        pickled: the job.
        path: where its modules are found, by this process from here on.
    """
    sys.path += [each for each in path if each not in sys.path]
    job: Job = pickle.loads(pickled)
    return job


def _played(plan: SplitPlan, task: AnyTask, folder: SplitFolder) -> SplitResult:
    job = plan.job
    worker = BatchWorker.shared(job, plan.rows_elsewhere, plan.run)
    writer = _PartWriter(plan, task, folder)
    try:
        batches = plan.read(task, folder, job.batch_rows)
        with (
            tallied() as tally,
            share_of_cores() as cores,
            closing(
                _pipeline(worker, batches, 1 if worker.lazy else cores, plan.table if plan.is_last else None)
            ) as played,
        ):
            played.start()
            for rows, answers, failures in played:
                writer.write(rows, answers, failures)
        nodes, models = worker.work(tally)
        work = SplitWork(tuple(node_reports(nodes)), tuple(model_reports(models)), played.seconds_reading)
        return writer.commit(work)
    except BaseException:
        writer.abort()
        raise


def _pipeline(
    worker: BatchWorker, batches: Iterator[_Read], at_once: int, table: SplitTable | None
) -> Pipeline[_Read, _Answered]:
    """Reads ahead, and plays so many batches at a time."""

    def play(given: _Read) -> _Answered:
        ids, read = given
        answers, failures = worker.play(read, ids)
        if table is not None:
            answers, failures = table.taken(ids, answers, failures)
        return len(ids), answers, failures

    return Pipeline(batches, play, at_once, (lambda given: given[1].nbytes, _bytes))


def _bytes(answered: _Answered) -> int:
    return int(answered[1].nbytes)


class _PartWriter:
    """Writes what a split gave."""

    def __init__(self, plan: SplitPlan, task: AnyTask, folder: SplitFolder) -> None:
        self._number, self._folder, self._rows = task.number, folder, 0
        self._writing = Stopwatch()
        schema, self._shuffle = plan.job.answers_schema, plan.shuffle
        self._answers: CountingWriter
        if plan.is_last:
            self._part, self._answers = folder.open("part", task.number, schema, plan.format)
            if plan.table is not None and plan.table.destination is not None:
                self._answers = TableWriter(plan.table.destination, schema, self._answers)
        else:
            assert isinstance(task, StageTask)
            self._part, out = folder.open_slots(task.number, schema)
            assert self._shuffle is not None
            self._answers = SlotWriter(out, self._shuffle, task.window)
        self._open_failures = partial(folder.open, "failed", task.number, plan.job.failures_schema, None)
        self._failures: tuple[str, CountingWriter] | None = None

    def write(self, rows: int, answers: pa.RecordBatch, failures: pa.RecordBatch) -> None:
        """Take what so many rows gave."""
        self._rows += rows
        with self._writing:
            if len(answers):
                self._answers.write(answers)
            if len(failures):
                self._failures = self._failures or self._open_failures()
                self._failures[1].write(failures)

    def commit(self, work: SplitWork) -> SplitResult:
        """Put it where the driver finds it."""
        name, failures = self._failures or ("", None)
        with self._writing:
            if failures is not None:
                failures.close()
            self._answers.close()
        failed = 0 if failures is None else failures.rows
        assert self._answers.rows + failed == self._rows, f"{self._rows} rows became {self._answers.rows} and {failed}"
        worker = f"{socket.gethostname()}:{os.getpid()}"
        work = replace(work, seconds_writing=self._writing.seconds, peak_memory_bytes=peak_memory_bytes())
        keyed = self._answers.keyed if isinstance(self._answers, SlotWriter) else 0
        result = SplitResult(self._number, self._rows, failed, self._part, name, worker, work, keyed)
        return self._folder.commit(result)

    def abort(self) -> None:
        """Leave nothing half-written."""
        self._answers.abort()
        if self._failures is not None:
            self._failures[1].abort()
