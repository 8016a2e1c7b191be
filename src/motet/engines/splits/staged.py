"""The stages of a run over splits: what each of them plays, and its tasks."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cloudpickle
import numpy as np

from motet.engines.job import Job
from motet.engines.splits.folder import SplitResult
from motet.engines.splits.play import AnyTask, SplitPlan, SplitPlayer, SplitTask, StageTask
from motet.engines.splits.shuffle import ROW, Grouping, StageShuffle, Window, windows
from motet.engines.stages import LEFT, Stage
from motet.errors import InputError, RunError

__all__ = ["StageRun", "check_rows", "failing", "grouping_of", "pickled", "some", "stage_runs"]

T = TypeVar("T")

LOOKED_AT = 8
"""Tasks from all over the source that are looked at for types, and before a model is said to fail on everything."""


@dataclass(frozen=True)
class StageRun:
    """A stage of a run.

    Attributes:
        stage: what is played.
        player: what an engine calls for every task.
        tasks: numbered as their results are.
        windows: the numbers of tasks that shuffle rows, in the order of the source.
    """

    stage: Stage
    player: SplitPlayer
    tasks: Sequence[AnyTask]
    windows: Sequence[range]

    def behind(self, before: StageRun, results: Mapping[int, SplitResult]) -> StageRun:
        """This stage, whose tasks read what became of those of the stage before, by these results and no other attempt's."""
        parts: dict[int, tuple[str, ...]] = {}
        for near, window in zip(before.windows, self.windows, strict=True):
            parts |= dict.fromkeys(window, tuple(results[number].part for number in near))
        tasks = [replace(task, parts=parts[task.number]) for task in self.tasks if isinstance(task, StageTask)]
        plan = replace(self.player.plan, elsewhere=some(tasks))
        return replace(self, player=replace(self.player, plan=plan), tasks=tasks)


def stage_runs(job: Job, stages: Sequence[Stage], tasks: Sequence[SplitTask], plan: SplitPlan) -> list[StageRun]:
    """The stages of a run, in the order of play. The results of the last are numbered as the splits are.

    Args:
        job: the whole graph.
        stages: of it.
        tasks: the splits.
        plan: what all tasks would share if there were one stage.
    """
    if len(stages) == 1 or not tasks:
        ranges = [range(task.number, task.number + 1) for task in tasks]
        return [StageRun(stages[-1], SplitPlayer(plan, stages[-1].need), tasks, ranges)]
    splits = [task.split for task in tasks]
    grouped = any(stage.grouped for stage in stages)
    apart = windows([split.first for split in splits], [split.bytes for split in splits], together=grouped)
    return list(_staged(job, stages, tasks, plan, apart))


def _staged(
    job: Job, stages: Sequence[Stage], tasks: Sequence[SplitTask], plan: SplitPlan, apart: Sequence[Window]
) -> Iterator[StageRun]:
    jobs, count = list(_jobs(job, stages)), len(tasks)
    groupings = [grouping_of(stage) for stage in stages]
    firsts = [(place + 1) * count for place in range(len(stages) - 1)] + [0]
    for place, (stage, each) in enumerate(zip(stages, jobs, strict=True)):
        last, first = place == len(stages) - 1, firsts[place]
        shuffle = StageShuffle(groupings[place], None if last else groupings[place + 1], last)
        own = [
            StageTask(first + window.first + inside, window, inside, None if place else tasks[window.first + inside])
            for window in apart
            for inside in range(len(window.starts))
        ]
        staged = replace(plan, pickled=pickled(each), elsewhere=some(own), shuffle=shuffle)
        ranges = [range(first + window.first, first + window.first + len(window.starts)) for window in apart]
        yield StageRun(stage, SplitPlayer(staged, stage.need), own, ranges)


def _jobs(job: Job, stages: Sequence[Stage]) -> Iterator[Job]:
    """What each stage plays: its columns are the source's that are kept or needed later, and what was left."""
    schema = job.layout.source
    for place, stage in enumerate(stages):
        if place == len(stages) - 1:
            yield job.stage(stage.checked, schema, job.layout.kept, job.layout.row_ids)
        else:
            later = {column for each in stages[place + 1 :] for column in each.checked.graph.stored.values()}
            wanted = {*job.layout.kept, *(column for column in later if not column.startswith(LEFT))}
            made = job.stage(stage.checked, schema, [name for name in schema.names if name in wanted], ROW)
            schema = made.answers_schema
            yield made


def grouping_of(stage: Stage) -> Grouping | None:
    """What a stage's rows are brought together by; None where they come as they are."""
    if not stage.grouped:
        return None
    graph, key = stage.checked.graph, stage.checked.canonical[stage.route.key or ""]
    return Grouping(stage.route, graph.inputs[key], graph.stored[key])


def failing(runs: Sequence[StageRun], results: Mapping[int, SplitResult]) -> Iterator[list[SplitResult]]:
    """The results of each window, of all stages: what failed in them lies between the rows of its neighbours."""
    for near in zip(*(run.windows for run in runs), strict=True):
        yield [results[number] for numbers in near for number in numbers]


def check_rows(before: StageRun, run: StageRun, results: Mapping[int, SplitResult], engine: str) -> None:
    """See that a stage has played what the one before it left.

    Raises:
        RunError: when it has not.
    """
    for earlier, window in zip(before.windows, run.windows, strict=True):
        left = sum(results[number].answered for number in earlier)
        rows = sum(results[number].rows for number in window if number in results)
        if left != rows or not results.keys() >= set(window):
            what = f"tasks {window.start} to {window.stop - 1} were left {left:,} rows, and {rows:,} came back"
            raise RunError(what, where=f"engine {engine}", hint="--resume plays them again")


def pickled(job: Job) -> bytes:
    """A job as it is sent to workers; what only this program defines, such as a notebook's functions, by value.

    Raises:
        InputError: when it holds what cannot be sent.
    """
    try:
        return bytes(cloudpickle.dumps(job))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        what = f"cannot be sent to workers: {error}"
        hint = "a graph for a cluster holds data, and functions of modules"
        raise InputError(what, where=f"graph {job.checked.graph.name!r}", hint=hint) from error


def some(tasks: Sequence[T]) -> tuple[T, ...]:
    """A few tasks from all over the source."""
    if not tasks:
        return ()
    places = np.unique(np.linspace(0, len(tasks) - 1, min(len(tasks), LOOKED_AT)).astype(np.int64))
    return tuple(tasks[place] for place in places.tolist())
