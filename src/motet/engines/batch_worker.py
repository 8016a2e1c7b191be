"""What plays a job in a worker of an engine: record batches in, answers and failures out."""

from __future__ import annotations

import weakref
from functools import partial

import pyarrow as pa

from motet.batch import Batch, Indices
from motet.engines.job import Job
from motet.engines.layout import failures_table
from motet.engines.player import BatchPlayer, Elsewhere
from motet.engines.shipping import local_files
from motet.errors import Failure, ModelLoadError, ModelUnavailableError, StoreError
from motet.io.fitted import fitted
from motet.io.memory import as_record_batch
from motet.locks import close_garbage, new_lock
from motet.runtime.executor import Played
from motet.runtime.host import ModelRuntime
from motet.runtime.session import CallSession
from motet.runtime.stats import ModelStats, NodeStats, Tally
from motet.system.recent import LruCache

__all__ = ["BatchWorker"]

MOST = 4
"""Jobs of a process whose models stay loaded; beyond it those of the job that was used longest ago go."""

SHIPPING = "put the models where all workers reach them, or have their files go along: --ship (ship=True)"
"""How workers get models that lie on disks of another machine."""


class BatchWorker:
    """Plays batches of a job; any thread may, and many at the same time.

    Its models are loaded by the first batch, or by `load`, and let go when it is dropped or closed. In a process that is forked
    it loads them anew.

    Args:
        job: the job.
        elsewhere: gives rows from all over what is played, to be tried before a model is said to fail on everything.
        run: the run that its batches are of, where that is one.
    """

    def __init__(self, job: Job, elsewhere: Elsewhere = lambda: None, run: str = "") -> None:
        self.job, self._run = job, run
        self._counting, self._loads = new_lock(), 0
        self._session = CallSession(partial(_player, job, elsewhere))
        weakref.finalize(self, close_garbage, self._session.close).atexit = False

    @classmethod
    def shared(cls, job: Job, elsewhere: Elsewhere = lambda: None, run: str = "") -> BatchWorker:
        """The one of this process that plays the job: made by whoever asks first, in place of that of another run.

        What has failed so far, and where rows of elsewhere are, is of one run alone.
        """
        with _sharing:
            found = _shared.get(job.digest)
            if found is None or found._run != run:
                found = _shared.put(job.digest, cls(job, elsewhere, run))
            return found

    @classmethod
    def forget(cls, made: Job, but: Job) -> None:
        """Let go of what a job was with other models than now, over any schema; who still plays it does so with what it has.

        Args:
            made: the job as it was made.
            but: the same with the models of now.
        """
        with _sharing:
            _shared.forget(lambda each: each.startswith(made.digest) and not f"{each}/".startswith(f"{but.digest}/"))

    def load(self) -> None:
        """Load every model that stays.

        Raises:
            ModelLoadError: when one cannot be loaded, or is not the one that the job was made with.
        """
        self._session.lend(lambda player: player.executor.load())

    def play(self, read: pa.RecordBatch, ids: Indices) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Answer rows.

        Args:
            read: the job's `columns` of some rows; others are left alone.
            ids: of the rows, ascending; failures and `row_ids` name them.

        Returns:
            The answers of the rows that did not fail, of the job's `answers_schema`; and the failures, of its `failures_schema`.

        Raises:
            InputError: when a column is of a type that the job's is not.
            ModelFailedError: when a model fails on everything.
        """
        job = self.job
        read = fitted(read, job.read_schema, f"a batch of graph {job.checked.graph.name!r}")
        answers, failures = self._session.lend(lambda player: _answered(job, player, read, ids))
        return answers, failures_table(sorted(failures, key=lambda failure: failure.row))

    def answer(self, batch: Batch) -> Played:
        """Answer rows that are bound already: columns by the names of the graph's inputs.

        Raises:
            ModelFailedError: when a model fails on everything.
        """
        return self._session.lend(lambda player: player.play(batch))

    @property
    def lazy(self) -> bool:
        """Whether models are loaded when rows ask for them, and others dropped for them: the fewer, the less is asked at a time."""
        return bool(self._session.executor.executor.lazy_keys)

    def new_loads(self) -> int:
        """How often models were loaded since this was asked last, by any thread."""
        with self._counting:
            now = sum(each.stats.loads for each in self._session.executor.executor.host.known)
            new, self._loads = now - self._loads, now
            return new

    def work(self, tally: Tally) -> tuple[dict[str, NodeStats], list[tuple[ModelRuntime, ModelStats]]]:
        """What a tally has of each node, and of each model that was called."""
        executor = self._session.executor.executor
        nodes = {name: tally.nodes[name] for name in executor.stats}
        return nodes, [(each, tally.models[each.stats]) for each in executor.host.known if each.stats in tally.models]

    def close(self) -> None:
        """Let the models go; the next batch loads them anew."""
        self._session.close()


def _player(job: Job, elsewhere: Elsewhere) -> BatchPlayer:
    """What plays a job, of the models that it was made with."""
    player = job.player(elsewhere)
    resolver = player.executor.host.resolver
    try:
        local_files(job.checked, resolver)
    except (ModelLoadError, StoreError) as error:
        if not isinstance(error, ModelUnavailableError):
            error.hint = SHIPPING
        raise
    there = resolver.versions(job.checked)
    for name, version in job.versions.items():
        if there[name] != version:
            what = f"here it is version {there[name]!r}; the job was made with version {version!r}"
            hint = f"make the job anew, or: {SHIPPING}" if name in job.local_models else "make the job anew"
            raise ModelLoadError(what, where=f"model {name!r}", hint=hint)
    return player


def _answered(
    job: Job, player: BatchPlayer, read: pa.RecordBatch, ids: Indices
) -> tuple[pa.RecordBatch, list[Failure]]:
    batch, failures, _ = job.layout.bind(read, ids)
    played = player.play(batch)
    failures += played.failures
    if not len(played.outputs):
        return as_record_batch(job.answers_schema.empty_table()), failures
    table, unfit = job.undeclared().complete(job.layout.unbind(played, read, ids))
    return pa.RecordBatch.from_arrays(table.columns, schema=job.answers_schema), failures + unfit


_sharing = new_lock()
_shared: LruCache[str, BatchWorker] = LruCache(MOST)
