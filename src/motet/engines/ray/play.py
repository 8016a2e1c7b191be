"""Graphs inside data sets of Ray: rows are tables in workers, whose processes keep the models that they have loaded."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from motet.engines.job import Job
from motet.engines.layout import FAILED, FAILURES
from motet.engines.needs import need_of
from motet.engines.ray.room import TaskRoom
from motet.engines.ray.tensors import plain_schema, plain_table
from motet.engines.splits.engine import imported
from motet.engines.splits.play import job_of
from motet.engines.splits.staged import pickled
from motet.engines.tables import TableWorkers, failures_schema, play_batches, play_table, table_job
from motet.errors import InputError, RunError
from motet.io.fitted import fitted
from motet.io.memory import as_record_batch
from motet.locks import new_lock

if TYPE_CHECKING:
    from motet.facade import Graph
    from motet.graph.check import CheckedGraph

__all__ = ["Play", "PlayedDataset", "actor_pool", "own_error", "play_dataset"]

FAILURE = "failure"
"""The column in which `Play` says of a row that failed why."""
_WHY = pa.struct([FAILURES.field(name).with_nullable(True) for name in FAILED])
_BATCH = "motet failures"
"""The column in which failures of a batch go from a task to where they are read, as Arrow's stream format."""
_ERROR = re.compile(r"^motet\.errors\.\w+: (.*)(?:\n  hint: (.*))?", re.MULTILINE)


@dataclass(frozen=True)
class PlayPlan:
    """What workers are sent.

    Attributes:
        pickled: the job, which is unpickled when modules can be found.
        path: where these are found.
        schema: of the tables that come, where that is known.
        keep, drop: which columns are written beside the outputs.
        run: see `BatchWorker.shared`.
    """

    pickled: bytes
    path: tuple[str, ...]
    schema: pa.Schema | None
    keep: tuple[str, ...] | None
    drop: tuple[str, ...]
    run: str

    @classmethod
    def of(
        cls,
        checked: CheckedGraph,
        schema: pa.Schema | None,
        keep: Sequence[str] | None,
        drop: Sequence[str],
        **options: Any,
    ) -> tuple[PlayPlan, Job]:
        """What is sent, and the job in it; `options` are those of `Job.of_values`.

        Raises:
            InputError: when the columns do not fit, or an argument cannot be.
            ModelLoadError: when a model is not there.
        """
        schema = plain_schema(schema) if isinstance(schema, pa.Schema) else schema
        job = table_job(checked, schema, keep, drop, **options)
        kept = None if keep is None else tuple(keep)
        return cls(pickled(job), tuple(sys.path), schema, kept, tuple(drop), uuid.uuid4().hex), job

    @cached_property
    def workers(self) -> TableWorkers:
        """What plays it in this process."""
        job = job_of(self.pickled, self.path)
        return TableWorkers(job, self.keep, self.drop, self.run, typed=self.schema is not None)

    def read(self, table: pa.Table) -> pa.RecordBatch:
        """A table of Ray as it is played."""
        read = as_record_batch(plain_table(table))
        return read if self.schema is None else fitted(read, self.schema, "a table of the data set")


class Play:
    """Plays tables in an actor of Ray: `rows.map_batches(motet.ray.Play, fn_constructor_args=(graph,), batch_format="pyarrow", ...)`.

    For each row comes one, in its order: the columns that are kept, the outputs, and `failure`, which says of a row that failed
    its `node`, `model`, `version`, `error` and `message`; its outputs are null. Of the others `failure` is null.

    `actor_pool` gives what `map_batches` takes with it, checked, and has all actors play the same versions of the models.

    Args:
        graph: the graph.
        keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes.
        drop: columns to leave out.
        schema: of the tables that come, an Arrow schema; without it each is answered by its own.
        batch_rows: how many rows are played together at most; None goes by their size.
        goes_on: go on, with a failure for each row, where a model fails on everything, instead of ending the job with its error.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        schema: pa.Schema | None = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
    ) -> None:
        self._plan, _ = PlayPlan.of(graph.checked, schema, keep, drop, batch_rows=batch_rows, goes_on=goes_on)

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows of a table, answered.

        Raises:
            InputError: when its columns do not fit.
            ModelFailedError: when a model fails on everything.
        """
        read = self._plan.read(table)
        worker = self._plan.workers.of(read.schema)
        schema = worker.job.answers_schema
        if FAILURE in schema.names:
            hint = f"leave it out with drop=[{FAILURE!r}], or rename it"
            raise InputError(f"a column {FAILURE!r} is there already", where="motet.ray.Play", hint=hint)
        kept = worker.job.layout.kept
        found = [_beside(*played, kept) for played in play_batches(worker, read)]
        return pa.Table.from_batches(found, schema.append(pa.field(FAILURE, _WHY)))


class _PooledPlay(Play):
    """Plays what was made where the pool was.

    Args:
        plan: refers to it.
    """

    def __init__(self, plan: Any) -> None:
        self._plan = _fetched(plan)


def _beside(
    read: pa.RecordBatch, answers: pa.RecordBatch, failures: pa.RecordBatch, kept: Sequence[str]
) -> pa.RecordBatch:
    """A row for each that was read, with its columns that are kept and what was answered of it, or why it failed."""
    if not len(failures):
        why = pa.nulls(len(read), _WHY)
        return pa.RecordBatch.from_arrays([*answers.columns, why], names=[*answers.schema.names, FAILURE])
    failed = np.zeros(len(read), bool)
    failed[failures["row"].to_numpy()] = True
    places = pa.array(np.cumsum(~failed) - 1, mask=failed)
    columns = [
        read.column(name).cast(column.type) if name in kept else column.take(places)
        for name, column in zip(answers.schema.names, answers.columns, strict=True)
    ]
    order = pa.array(np.cumsum(failed) - 1, mask=~failed)
    said = [failures[name].take(order) for name in FAILED]
    why = pa.StructArray.from_arrays(said, fields=list(_WHY), mask=pa.array(~failed))
    return pa.RecordBatch.from_arrays([*columns, why], names=[*answers.schema.names, FAILURE])


def actor_pool(
    graph: Graph,
    concurrency: int | tuple[int, int],
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    keep: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    schema: pa.Schema | None = None,
    batch_rows: int | None = None,
    goes_on: bool = False,
    ship: bool = False,
) -> dict[str, Any]:
    """What `map_batches` takes to play a graph in actors: `rows.map_batches(**motet.ray.actor_pool(graph, 2, num_cpus=0.5))`.

    Args:
        graph, keep, drop, schema, batch_rows, goes_on: as for `Play`, whose rows come.
        concurrency: how many actors, or how many at least and at most.
        num_cpus, num_gpus: what each has to itself, a part of one or whole ones; None goes by what the models ask for.
        ship: have the files of models at local paths go along, to nodes that do not have them.

    Raises:
        InputError: when the cluster, as it is now, has no room for so many, or they may leave no CPU to what reads and writes: all
            would wait for ever. Also when an argument cannot be, or the columns do not fit.
        ModelLoadError: when a model is not there.
    """
    ray, counts = imported("ray", "ray"), concurrency if isinstance(concurrency, tuple) else (concurrency, concurrency)
    if len(counts) != 2 or not all(isinstance(each, int) for each in counts) or not 1 <= counts[0] <= counts[1]:
        raise InputError(f"concurrency must be a number of actors, or two; got {concurrency!r}", where="motet.ray")
    _connected(ray)
    room = TaskRoom.of(need_of(graph.checked), num_cpus, num_gpus)
    room.check_pool(ray, counts[1])
    plan, _ = PlayPlan.of(graph.checked, schema, keep, drop, batch_rows=batch_rows, goes_on=goes_on, ship=ship)
    return {
        "fn": _PooledPlay, "fn_constructor_args": (ray.put(plan),), "batch_format": "pyarrow", "batch_size": None,
        "concurrency": concurrency, **room.options,
    }  # fmt: skip


def play_dataset(
    checked: CheckedGraph,
    rows: Any,
    *,
    keep: Sequence[str] | None,
    drop: Sequence[str],
    schema: pa.Schema | None,
    num_cpus: float | None,
    num_gpus: float | None,
    concurrency: int | None,
    **options: Any,
) -> PlayedDataset:
    """A graph over a data set; see `motet.Graph.on_ray`."""
    ray, room = imported("ray", "ray"), TaskRoom.of(need_of(checked), num_cpus, num_gpus)
    if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1):
        raise InputError(f"concurrency must be a number of tasks; got {concurrency!r}", where="motet.ray")
    if not isinstance(rows, imported("ray.data", "ray").Dataset):
        hint = "ray.data.from_pandas(...), from_arrow(...) or read_parquet(...) makes one"
        raise InputError(f"expected a data set of Ray; got {type(rows).__name__}", where="on_ray", hint=hint)
    _connected(ray)
    room.check_task(ray)
    if schema is None:
        found = getattr(rows.schema(), "base_schema", None)
        schema = found if isinstance(found, pa.Schema) else None
    plan, job = PlayPlan.of(checked, schema, keep, drop, **options)
    played = rows.map_batches(
        _play, fn_kwargs={"plan": ray.put(plan)}, batch_format="pyarrow", batch_size=None,
        concurrency=concurrency, **room.options,
    )  # fmt: skip
    return PlayedDataset(played, job, plan.schema)


class PlayedDataset:
    """A graph over a data set of Ray: `answers` and `failures`, computed once, when one of them is first asked for.

    Both are kept in Ray's store of objects, which writes to disk what it has no room for.

    Args:
        played: answers, and after those of a batch its failures.
        job: what was played.
        schema: of the rows, where that is known.
    """

    def __init__(self, played: Any, job: Job, schema: pa.Schema | None) -> None:
        self._ray = imported("ray", "ray")
        self._played, self._job, self._schema = played, job, schema
        self._lock = new_lock()
        self._found: Any = None

    @cached_property
    def answers(self) -> Any:
        """A data set of the rows that did not fail, in the order of their block: the columns that are kept, and the outputs.

        Raises:
            RunError: when a model fails on everything, or cannot be loaded.
        """
        return self._taken(_answers, None if self._schema is None else self._job.answers_schema)

    @cached_property
    def failures(self) -> Any:
        """A data set of those that failed: `row` as it came, `node`, `model`, `version`, `error` and `message`.

        Raises:
            RunError: as for `answers`.
        """
        schema = None if self._schema is None else failures_schema(self._schema)
        return self._taken(partial(_failures, schema=schema), schema)

    def _taken(self, function: Callable[[pa.Table], pa.Table], schema: pa.Schema | None) -> Any:
        """What a function takes of what was played; of no rows at all, for which Ray calls nothing, none of a schema."""
        if self._computed.count() or schema is None:
            return self._computed.map_batches(function, batch_format="pyarrow", batch_size=None)
        return imported("ray.data", "ray").from_arrow(schema.empty_table())

    @property
    def answers_schema(self) -> pa.Schema:
        """Names and types of the answers.

        Raises:
            InputError: when those of the rows are not known before they are read.
        """
        self._known()
        return self._job.answers_schema

    @property
    def failures_schema(self) -> pa.Schema:
        """Names and types of what is said of rows that failed.

        Raises:
            InputError: as for `answers_schema`.
        """
        return failures_schema(self._known())

    def _known(self) -> pa.Schema:
        if self._schema is None:
            hint = "give it: graph.on_ray(rows, schema=...), an Arrow schema"
            raise InputError("the schema of the rows is not known before they are read", where="motet.ray", hint=hint)
        return self._schema

    @property
    def _computed(self) -> Any:
        with self._lock:
            if self._found is None:
                try:
                    self._found = self._without_empty(self._played.materialize())
                except self._ray.exceptions.RayTaskError as error:
                    if (own := own_error(str(error))) is None:
                        raise
                    raise own from error
            return self._found

    def _without_empty(self, played: Any) -> Any:
        """What was played without blocks of no rows, which Ray does not play: they have the columns of the rows, or none."""
        blocks = [each for bundle in played.iter_internal_ref_bundles() for each in bundle.blocks]
        full = [each.ref for each in blocks if each.metadata.num_rows]
        return imported("ray.data", "ray").from_arrow_refs(full) if 0 < len(full) < len(blocks) else played


def own_error(text: str) -> RunError | None:
    """The error of ours that ended what runs on Ray, of whose text Ray keeps all, and nothing else; None where none did."""
    found = _ERROR.findall(text)
    if not found:
        return None
    what, hint = found[-1]
    return RunError(what, where="engine ray", hint=hint)


def _connected(ray: Any) -> None:
    """See that the program is connected to a cluster, as reading a data set would."""
    if not ray.is_initialized():
        ray.init()


@lru_cache(maxsize=4)
def _fetched(plan: Any) -> PlayPlan:
    found: PlayPlan = imported("ray", "ray").get(plan)
    return found


def _play(table: pa.Table, plan: Any) -> pa.Table:
    """Play a table in a task: its answers, and then one row with all failures."""
    found = _fetched(plan)
    read = found.read(table)
    worker = found.workers.of(read.schema)
    answers, failures = play_table(worker, read)
    schema = worker.job.answers_schema.append(pa.field(_BATCH, pa.large_binary()))
    made = pa.Table.from_batches(answers, worker.job.answers_schema)
    columns = [*made.columns, pa.nulls(len(made), pa.large_binary())]
    if failures:
        one = [
            *(pa.nulls(1, field.type) for field in worker.job.answers_schema),
            pa.array([_stream(failures)], pa.large_binary()),
        ]
        columns = [
            pa.chunked_array([*pa.chunked_array(many).chunks, each]) for many, each in zip(columns, one, strict=True)
        ]
    return pa.Table.from_arrays(columns, schema=schema)


def _stream(batches: Sequence[pa.RecordBatch]) -> bytes:
    with pa.BufferOutputStream() as sink:
        with pa.ipc.new_stream(sink, batches[0].schema) as writer:
            for each in batches:
                writer.write_batch(each)
        return bytes(sink.getvalue())


def _answers(table: pa.Table) -> pa.Table:
    """The rows of answers among those of `_play`."""
    failed = table[_BATCH]
    found = table.drop_columns([_BATCH])
    return found if failed.null_count == len(failed) else found.filter(failed.is_null())


def _failures(table: pa.Table, schema: pa.Schema | None) -> pa.Table:
    """The failures among the rows of `_play`."""
    streams = table[_BATCH].drop_null()
    found = [pa.ipc.open_stream(each.as_buffer()).read_all() for each in streams]
    if not found:
        return pa.Table.from_batches([], schema or pa.schema([]))
    return pa.concat_tables(found)
