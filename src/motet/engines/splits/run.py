"""A run over splits, as its driver has it: cut into tasks, mapped, reconciled, and put where its output belongs."""

from __future__ import annotations

import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from motet.engines.job import Job
from motet.engines.local.beginning import Beginning, check_output
from motet.engines.local.options import BulkOptions
from motet.engines.local.prepared import PreparedRun, underway
from motet.engines.local.report import RunReport, peak_memory_bytes
from motet.engines.local.results import check_failures
from motet.engines.local.selection import Chosen
from motet.engines.splits.folder import SplitJournal, SplitResult
from motet.engines.splits.output import SplitOutput
from motet.engines.splits.play import AnyTask, SplitPlan, SplitTask
from motet.engines.splits.staged import StageRun, check_rows, failing, pickled, some, stage_runs
from motet.engines.splits.work import SplitWork
from motet.engines.stages import LEFT, stages_of
from motet.errors import InputError, MotetError, RunError
from motet.io.foreign import ForeignSource
from motet.io.splits import Split
from motet.io.stream import Stream, join
from motet.runtime.resources.need import Need
from motet.tracebacks import said, summary

__all__ = ["SplitRun", "check_options", "connected", "tasks_of"]

Connected = Callable[[Sequence[Need]], AbstractContextManager[None]]
Map = Callable[[Callable[[AnyTask], SplitResult], Sequence[AnyTask]], Iterator[SplitResult]]

_LOCAL_ONLY = {
    "append": "needs an order of parts that only one process keeps",
    "into": "writes files anew, one after another",
    "partition_by": "puts rows of all splits together",
    "part_rows": "is how many rows a part has, and here a part is a split",
    "workers": "is how many threads this process has; the engine has options of its own",
    "pool": "is what works on this machine",
}
"""Options that such engines do not have, and why."""
SAMPLE_ROWS = 32
"""Rows of each split that is looked at which tell the types of outputs that nobody declared."""
_TRACE = re.compile(
    r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(?:motet\.errors\.\w+: )?(\S.*)(?:\n  hint: (.*))?"
)
"""A trace of a worker, as engines put it into what they say: its error, and its hint."""


def check_options(engine: str, options: Mapping[str, Any]) -> None:
    """See that a run asks for nothing that only one process does.

    Raises:
        InputError: when it does.
    """
    for name, reason in _LOCAL_ONLY.items():
        if name in options and options[name] and options[name] != getattr(BulkOptions, name):
            raise InputError(f"{name} {reason}", where=f"engine {engine}", hint="leave it out, or use the engine local")


@contextmanager
def connected(engine: str, begin: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """An engine that has begun, and can do what is asked of it.

    Raises:
        RunError: in place of an error that is the engine's own.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(begin())
        except MotetError:
            raise
        except Exception as error:
            raise RunError(f"it cannot begin: {summary(error)}", where=f"engine {engine}") from error
        yield


def tasks_of(run: PreparedRun, target_bytes: int) -> list[SplitTask]:
    """The splits of a run that have rows to play, numbered in the order of the source.

    Raises:
        InputError: when workers cannot read the source.
    """
    source = run.source if isinstance(run.source, Stream) else ForeignSource(run.source)
    splits = source.splits(target_bytes)
    chosen = _without_limit(run.options.selection.of(sum(split.rows for split in splits), run.failed_rows))
    found: list[SplitTask] = []
    for split in splits:
        rows = int(np.count_nonzero(chosen.has(np.arange(split.first, split.first + split.rows))))
        if rows:
            found.append(SplitTask(len(found), split, None if rows == split.rows else _inside(chosen, split)))
    return found


def _without_limit(chosen: Chosen) -> Chosen:
    """The same rows of a source whose rows are counted, each told by its id alone."""
    if chosen.limit is None or chosen.positions is not None:
        return chosen
    last = chosen.at(np.array([chosen.total - 1])) if chosen.total else [chosen.start - 1]
    return replace(chosen, stop=int(last[0]) + 1, limit=None)


def _inside(chosen: Chosen, split: Split) -> Chosen:
    """As much of a choice of rows as tells those of a split."""
    if chosen.positions is None:
        return chosen
    places = np.searchsorted(chosen.positions, [split.first, split.first + split.rows])
    return replace(chosen, positions=chosen.positions[slice(*places)])


class SplitRun:
    """One run over splits.

    Args:
        run: the run, prepared as every run is.
        engine: what maps, for messages.
        begin: see `SplitEngine.connected`.
        map: see `SplitEngine.map`.
        split_bytes: what a split has at most.
        one_stage: whether the graph is not cut into stages; nor is it where columns of the source are called as theirs are.

    Raises:
        OutputExistsError: when the output, or an unfinished run, is there and nobody asked to replace it.
        InputError: when workers cannot read the source, or cannot write the output.
    """

    def __init__(
        self, run: PreparedRun, engine: str, begin: Connected, map: Map, split_bytes: int, *, one_stage: bool
    ) -> None:
        self._run, self._engine, self._begin, self._map, self._split_bytes = run, engine, begin, map, split_bytes
        taken = any(name.startswith(LEFT) for name in run.source.schema.names)
        self._rows, self._splits, self._stages = 0, 0, stages_of(run.checked, one=one_stage or taken)
        self._done = 0, 0  # `_counted` of all results so far
        if run.destination.is_stream:
            raise InputError(
                "is a stream, which workers cannot write to", where=run.output, hint="name a file or a folder"
            )
        check_output(run)

    def play(self) -> RunReport:
        """Play it; what is finished is kept when it fails.

        Raises:
            RunError: when it could not go on, or rows were lost.
            TooManyFailuresError: when more rows fail than may.
        """
        journal = SplitJournal(self._run.destination.work_folder())
        try:
            with ExitStack() as undo:
                return self._played(journal, undo)
        finally:
            journal.release()

    def _played(self, journal: SplitJournal, undo: ExitStack) -> RunReport:
        run = self._run
        beginning = Beginning(run, journal)
        earlier = journal.manifest() if beginning.goes_on else None
        split_bytes = self._split_bytes if earlier is None else earlier.split_bytes or self._split_bytes
        with underway(run.output):
            tasks = tasks_of(run, split_bytes)
        self._rows, self._splits = sum(len(task.ids) for task in tasks), len(tasks)
        batch_rows = run.options.batch_rows if earlier is None else beginning.batch_rows
        job = self._job(tasks, batch_rows)
        job = job if earlier is None else replace(job, sizes=earlier.sizes)
        manifest = replace(
            run.manifest(job.batch_rows), split_bytes=split_bytes, sizes=dict(job.sizes), stages=len(self._stages)
        )
        if earlier is not None:
            manifest.check_same(earlier, run.output)
        output = SplitOutput(run, journal, job.answers_schema, goes_on=earlier is not None)
        undo.callback(output.abort)
        plan = SplitPlan(
            pickled(job), journal.folder.where, uuid.uuid4().hex, manifest.to_json(), output.part_format, some(tasks),
            tuple(sys.path), cwd=os.getcwd(), table=output.table,
        )  # fmt: skip
        stages = stage_runs(job, stages_of(job.checked, one=len(self._stages) == 1), tasks, plan)
        needs = [stage.player.need for stage in stages]
        with connected(self._engine, partial(self._begin, needs) if tasks else nullcontext):
            finished = journal.put_manifest(manifest, goes_on=earlier is not None)
            results = {result.number: result for result in finished}
            earlier_parts, self._done = frozenset(results), self._counted(finished)
            with underway(run.output):
                self._collect(stages[0], results, journal)
                self._reconcile(stages[0], tasks, results)
                for before, stage in pairwise(stages):
                    self._collect(stage.behind(before, results), results, journal)
                    check_rows(before, stage, results, self._engine)
                self._check_failures(finished=True)
        with underway(run.output):
            failed_path = output.publish([results[task.number] for task in stages[-1].tasks], failing(stages, results))
        undo.pop_all()
        journal.remove()
        return self._report(job, stages, results, earlier_parts, failed_path, output.first_failures)

    def _job(self, tasks: Sequence[SplitTask], batch_rows: int | None) -> Job:
        """What workers play."""
        run, options, sample = self._run, self._run.options, None
        if run.layout.undeclared and tasks:
            rows = min(batch_rows or SAMPLE_ROWS, SAMPLE_ROWS)
            sample = join([next(task.read(rows, run.layout.read))[1] for task in some(tasks)])
        return Job.of(
            run.checked, run.source.schema, keep=run.layout.kept, row_ids=options.row_ids, batch_rows=batch_rows,
            num_rows=self._rows, goes_on=options.goes_on, ship=options.ship, sample=sample,
            holds=run.destination.holds, where=run.source.description,
        )  # fmt: skip

    def _collect(self, stage: StageRun, results: dict[int, SplitResult], journal: SplitJournal) -> None:
        """Have what is not done yet of a stage played, until each of its tasks has a result."""
        left = [task for task in stage.tasks if task.number not in results]
        self._tell()
        if left:
            with closing(self._mapped(stage.player, left)) as found:
                for result in found:
                    self._take(result, results)
        for number in [task.number for task in left if task.number not in results]:
            told = journal.result(number)
            if told is not None:
                self._take(told, results)

    def _mapped(self, function: Callable[[AnyTask], SplitResult], left: Sequence[AnyTask]) -> Generator[SplitResult]:
        """What the engine gives.

        Raises:
            RunError: in place of an error that is the engine's own.
        """
        try:
            yield from self._map(function, left)
        except (MotetError, OSError):
            raise
        except Exception as error:
            traces = _TRACE.findall(said(error))
            what, hint = traces[-1] if traces else (summary(error), "")
            hint = hint or "--resume goes on with what is finished"
            raise RunError(what, where=f"engine {self._engine}", hint=hint) from error

    def _take(self, result: SplitResult, results: dict[int, SplitResult]) -> None:
        if result.error is not None:
            raise result.error
        if result.number not in results:
            results[result.number] = result
            more = self._counted([result])
            self._done = self._done[0] + more[0], self._done[1] + more[1]
        self._check_failures(finished=False)
        self._tell()

    def _tell(self) -> None:
        if self._run.options.progress:
            rows, failed = self._done
            self._run.options.progress(rows, self._rows, failed)

    def _check_failures(self, *, finished: bool) -> None:
        rows, failed = self._done
        if not finished and len(self._stages) > 1:  # few have come through all stages yet
            rows = self._rows
        check_failures(self._run, rows, failed, finished=finished)

    def _counted(self, results: Iterable[SplitResult]) -> tuple[int, int]:
        """Rows that went through all stages, or failed in one; and those that failed."""
        listed = list(results)
        failed = sum(result.failed for result in listed)
        return failed + sum(result.answered for result in listed if result.number < self._splits), failed

    def _reconcile(self, stage: StageRun, tasks: Sequence[SplitTask], results: Mapping[int, SplitResult]) -> None:
        """See that all rows of each split came back.

        Raises:
            RunError: when they did not, or the source is not what it was when the run began.
        """
        if isinstance(self._run.source, Stream):
            self._run.source.check_unchanged()
        for task, number in zip(tasks, (each.number for each in stage.tasks), strict=True):
            result, rows = results.get(number), len(task.ids)
            if result is None or result.rows != rows:
                came = "nothing came back" if result is None else f"{result.rows:,} came back"
                what = f"split {task.number} has {rows:,} rows from {task.split.first:,} on, and {came}"
                raise RunError(what, where=f"engine {self._engine}", hint="--resume plays it again")

    def _report(
        self, job: Job, stages: Sequence[StageRun], results: Mapping[int, SplitResult], earlier: Set[int],
        failed_path: str, first: Sequence[str],
    ) -> RunReport:  # fmt: skip
        run = self._run
        seconds = time.perf_counter() - run.started
        rows, failed = self._done
        resumed, _ = self._counted(results[number] for number in earlier)
        order = [task.number for stage in stages for task in stage.tasks]
        played = [results[number] for number in order if number not in earlier]
        work = SplitWork.together((each.worker, each.work) for each in played)
        return RunReport(
            graph=run.checked.graph.name, source=run.source.description, output=run.output, failed_output=failed_path,
            first_failures=tuple(first), rows=rows, answered=rows - failed, failed=failed, resumed_rows=resumed,
            seconds=seconds, rows_per_second=(rows - resumed) / seconds, seconds_reading=work.seconds_reading,
            seconds_writing=work.seconds_writing, seconds_waiting=0.0, batch_rows=job.batch_rows,
            workers=len({result.worker for result in results.values()}),
            peak_memory_bytes=max(work.peak_memory_bytes, peak_memory_bytes()), sizes_file="",
            nodes=work.nodes, models=work.models, loads=_loads(stages, played, work), left_out=run.checked.left_out,
            columns_left_out=run.layout.left_out, files_left_out=run.left_out,
        )  # fmt: skip


def _loads(stages: Sequence[StageRun], results: Sequence[SplitResult], work: SplitWork) -> tuple[int, int]:
    """How often models were loaded that rows were brought together for, and would have been at least otherwise."""
    names = {name for each in stages if each.stage.grouped for name in each.stage.checked.graph.models}
    return sum(each.loads for each in work.models if each.name in names), sum(each.keyed for each in results)
