"""A plan, really played at a small size: threads stand for processes, and borrow what they need from machines by the pool's own code."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Batch
from motet.engines.stages import Stage, stages_of
from motet.graph.check import CheckedGraph
from motet.planning.capacity.pools import HOUR_S, PoolPlan, StagePool
from motet.runtime.executor import Executor, drive
from motet.runtime.host import Host
from motet.runtime.resources.pool import Pool

Columns = dict[str, Any]


@dataclass(frozen=True)
class MeasuredPlay:
    """How a plan was played.

    Attributes:
        seconds: of each stage.
        cost: of all.
        answers: the columns of the last stage, in no order.
        rows: that came out of it.
    """

    seconds: tuple[float, ...]
    cost: float
    answers: Columns
    rows: int


def play(checked: CheckedGraph, plan: PoolPlan, columns: Columns, folder: Path) -> MeasuredPlay:
    """Play all stages, one behind the other; what one leaves for the next are Arrow files.

    Args:
        checked: the graph.
        plan: the plan.
        columns: of its inputs, by name.
        folder: where files are left.
    """
    stages = stages_of(checked, one=len(plan.pools) == 1)
    rows = plan.pools[0].work.batch_rows
    count = len(next(iter(columns.values())))
    batches = [{name: each[first : first + rows] for name, each in columns.items()} for first in range(0, count, rows)]
    seconds = []
    for place, (stage, pool) in enumerate(zip(stages, plan.pools, strict=True)):
        begun = time.perf_counter()
        batches = _StagePlay(stage, pool, folder if place < len(stages) - 1 else None).play(batches)
        seconds.append(time.perf_counter() - begun)
    cost = sum(pool.hourly * took / HOUR_S for pool, took in zip(plan.pools, seconds, strict=True))
    answers = {name: np.concatenate([each[name] for each in batches]) for name in batches[0]}
    return MeasuredPlay(tuple(seconds), cost, answers, len(next(iter(answers.values()))))


class _StagePlay:
    """A stage on its machines.

    Args:
        stage: what is played.
        pool: where.
        folder: where its answers are written and read again; None where they are the last.
    """

    def __init__(self, stage: Stage, pool: StagePool, folder: Path | None) -> None:
        self._stage, self._pool, self._folder = stage, pool, folder
        self._machines = [Pool(pool.machine.capacity) for _ in range(pool.count)]
        self._lock, self._left, self._done = threading.Lock(), deque[Columns](), list[Columns]()
        self._errors: list[BaseException] = []

    def play(self, batches: list[Columns]) -> list[Columns]:
        """Play all batches."""
        self._left.extend(batches)
        threads = [
            threading.Thread(target=self._process, args=(machine,))
            for machine in self._machines
            for _ in range(self._pool.tasks)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        return self._done

    def _process(self, machine: Pool) -> None:
        try:
            with machine.borrow(self._pool.need, timeout_s=60):
                executor = Executor(self._stage.checked, Host())
                while (columns := self._next()) is not None:
                    answers = self._handed_on(self._answered(executor, columns))
                    with self._lock:
                        self._done.append(answers)
                executor.close()
        except BaseException as error:  # noqa: BLE001 (raised by whoever waits)
            self._errors.append(error)

    def _next(self) -> Columns | None:
        with self._lock:
            return self._left.popleft() if self._left else None

    def _answered(self, executor: Executor, columns: Columns) -> Columns:
        graph = self._stage.checked.graph
        given = {name: columns[column] for name, column in graph.stored.items()}
        rows = len(next(iter(given.values())))
        played = drive(executor.play(Batch.of(given, np.arange(rows))))
        return dict(played.outputs.columns)

    def _handed_on(self, answers: Columns) -> Columns:
        """Answers as the next stage reads them."""
        if self._folder is None:
            return answers
        path = str(self._folder / f"{threading.get_ident()}.arrow")
        shapes = {name: each.shape for name, each in answers.items()}
        table = pa.table({name: pa.array(list(each.reshape(len(each), -1))) for name, each in answers.items()})
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        with pa.OSFile(path) as file:
            read = pa.ipc.open_file(file).read_all()
        return {name: np.stack(read.column(name).to_numpy()).reshape(shapes[name]) for name in answers}
