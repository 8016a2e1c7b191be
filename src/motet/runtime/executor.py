"""The executor: plays a graph over batches. Bulk runs, calls and servers all use this one.

Nodes are coroutines that ask their player for calls. Where every call answers at once, as inline models do, a batch
plays through as one plain function call: the coroutine never suspends, and `drive` needs no event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

import numpy as np

from motet.batch import Batch, Column, Indices, empty_column, take_rows
from motet.errors import Failure, GraphError, ModelFailedError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.node import Answer, AtOnce
from motet.runtime.asides import offer_asides
from motet.runtime.deadline import going_on
from motet.runtime.flow import AsTasks, Flow, InThreads, NodeParts
from motet.runtime.functions import FunctionRunner
from motet.runtime.graph_models import GraphModels
from motet.runtime.host import Host
from motet.runtime.isolate import CallHealth
from motet.runtime.node_context import Call, Calls, DirectContext, NodeStep, Trace, TurnContext, drive
from motet.runtime.played import Played, failure_of, joined
from motet.runtime.shadows import AT_ONCE
from motet.runtime.side_by_side import SLOW_S
from motet.runtime.stats import GraphState, NodeStats
from motet.system.limits import num_cores
from motet.threads import side_by_side

__all__ = ["Call", "Calls", "Executor", "NodeStats", "Played", "Trace", "drive", "joined"]


class Executor(GraphModels):
    """Plays a checked graph.

    Args:
        checked, host, keep_all, calls, path, shared: see `GraphModels`.

    Attributes:
        notes: outputs that are not in its signature: what it notes for those who look on.
    """

    def __init__(
        self,
        checked: CheckedGraph,
        host: Host,
        *,
        keep_all: bool = False,
        calls: Calls | None = None,
        path: str = "",
        shared: GraphState | None = None,
    ) -> None:
        super().__init__(checked, host, keep_all=keep_all, calls=calls, path=path, shared=shared)
        self._at_once: Executor | None = None
        self._keep_all = keep_all
        self.runners: dict[int, FunctionRunner] = {}
        self.healths: dict[str, CallHealth] = {}
        self._outputs = [(name, checked.canonical[reference]) for name, reference in checked.graph.outputs.items()]
        self.notes = frozenset(checked.graph.outputs) - frozenset(checked.signature.outputs)
        for step in self._steps:
            for member in step.asides:
                self.shadows[step.path, member.name].at_once = AT_ONCE if self.waits(member.uses) else 1
        self._parts = NodeParts(self._steps, self.step_waits)
        self._straight: list[AtOnce | None] | None = None

    @property
    def stats(self) -> Mapping[str, NodeStats]:
        """What each node has done, by path, in the order of play."""
        return self.shared.stats

    def count_of(self, other: Executor) -> None:
        """Count what another executor of the same graph has played as if this one had."""
        for path, stats in other.stats.items():
            self.shared.add(path, stats.rows, stats.seconds, stats.failed, stats.batches)

    @contextmanager
    def warming(self) -> Iterator[None]:
        """While it lasts, what is played is nobody's: it is not counted, and no shadow is called."""
        self.close_shadows()
        try:
            yield
        finally:
            self.shared.forget()

    def load(self) -> None:
        """Load every model that the outputs need, here and in the graphs inside, instead of when it is first called.

        Of models that share places only those that stay.

        Raises:
            ModelLoadError: when one cannot be loaded.
        """
        for executor in self._all():
            executor.lazy.load_residents()
        needed = self._needed()
        side_by_side(lambda each: each[0].model(each[1]), needed, num_cores())
        for executor in self._all():
            for step in executor._steps:
                executor.stacks(step)

    def close(self) -> None:
        """Let the models go, and what plays nodes as plain functions, which holds this; it may be used again."""
        self.close_shadows()
        for shadow in self.shadows.values():
            shadow.open()
        for executor in self._all():
            executor._straight = executor._at_once = None
            executor._models.clear()
            executor.shared.stacks.clear()
        self.host.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an executor holds loaded models, which stay where they are; copy or send the graph, and call that"
        )

    @property
    def at_once(self) -> Executor:
        """What plays the same graph in the thread that asks, where this one makes calls that may wait."""
        if self.calls is None:
            return self
        if self._at_once is None:
            keep = self._keep_all
            self._at_once = Executor(self.checked, self.host, keep_all=keep, path=self._path, shared=self.shared)
        return self._at_once

    def looking_on(self) -> Executor:
        """What plays the same graph and keeps every column, for explanations; what it does is not counted here."""
        return Executor(
            self.checked, self.host, keep_all=True, shared=GraphState(late=self.shared.late, stacks=self.shared.stacks)
        )

    async def play(
        self,
        batch: Batch,
        trace: Trace | None = None,
        columns_out: dict[str, Column] | None = None,
        lapsed: Callable[[Indices], Indices | None] | None = None,
    ) -> Played:
        """Play a batch through the graph.

        Args:
            batch: columns by the names of the graph's inputs.
            trace: is given every call of a model or graph.
            columns_out: is given every column, for the rows that survived to its node; only with `keep_all`.
            lapsed: asked before every node but the first, with the ids of the rows, for the places of those that are
                still of use; None for all. The others are left out from there on, and are no failures.

        Raises:
            MotetError: when no row is at fault: a function that breaks its contract, a model that fails on everything.
            Halted: before a node, when the call that this is a part of is late.
        """
        straight = self._straight_plays() if trace is None and not self._keep_all and self.calls is None else ()
        if self._parts.any and self._parts.together:
            return await self._play_together(batch, trace, columns_out, lapsed, straight)
        columns, ids = dict(batch.columns), batch.ids
        failures: list[Failure] = []
        raised: dict[int, BaseException] = {}
        check = going_on()
        for place, step in enumerate(self._steps):
            if check is not None:
                check()
            if lapsed is not None and place and (useful := lapsed(ids)) is not None:
                columns = {name: take_rows(column, useful) for name, column in columns.items()}
                ids = ids[useful]
                if not len(ids):
                    return self.nothing(failures, raised)
            given = {reference: columns[name] for reference, name in step.columns}
            answer = await self._turn(step, given, ids, trace, straight[place] if straight else None)
            if not self._keep_all:
                for name in step.drops:
                    columns.pop(name, None)
            if answer.kept is not None:
                for fault in answer.faults:
                    row = int(ids[fault.position])
                    failures.append(failure_of(fault, row, step.path))
                    if fault.exception is not None:
                        raised[row] = fault.exception
                columns = {name: take_rows(column, answer.kept) for name, column in columns.items()}
                ids = ids[answer.kept]
            if not len(ids):
                return self.nothing(failures, raised)
            _take(step, answer.columns, columns)
            if self._keep_all:
                columns |= answer.columns
        if columns_out is not None:
            columns_out |= columns
        outputs = {name: columns[full] for name, full in self._outputs}
        if failures:
            failures.sort(key=lambda failure: failure.row)
        return Played(Batch.of(outputs, ids), failures, raised)

    async def _turn(
        self,
        step: NodeStep,
        given: Mapping[str, Column],
        ids: Indices,
        trace: Trace | None,
        straight: AtOnce | None,
    ) -> Answer:
        """Play one node, and see how long it takes."""
        parts, rows = self._parts, len(ids)
        slow = parts.any and step.name in parts.slow
        spent = time.process_time() if slow else 0.0
        started = time.perf_counter()
        try:
            if straight is not None:
                answer = straight(given, rows)
            else:
                answer = await step.played.play(given, rows, TurnContext(self, step, trace, ids))
        except (GraphError, ModelFailedError) as error:
            if f"node {step.path!r}" not in error.where:
                error.located(f"node {step.path!r}")
            raise
        seconds = time.perf_counter() - started
        self.shared.add(step.path, rows, seconds, len(answer.faults))
        if slow or (parts.any and seconds > SLOW_S):
            parts.took(step.name, seconds, time.process_time() - spent if slow else seconds)
        if step.asides:
            offer_asides(self, step, given, trace, ids, answer)
        return answer

    async def _play_together(
        self,
        batch: Batch,
        trace: Trace | None,
        columns_out: dict[str, Column] | None,
        lapsed: Callable[[Indices], Indices | None] | None,
        straight: Sequence[AtOnce | None],
    ) -> Played:
        """What `play` does, with nodes that wait at the same time as others."""
        plays = dict(zip((step.name for step in self._steps), straight, strict=False))

        async def turn(step: NodeStep, given: Mapping[str, Column], ids: Indices) -> Answer:
            answer = await self._turn(step, given, ids, trace, plays.get(step.name))
            if answer.kept is None or len(answer.kept):
                _take(step, answer.columns, {})
            return answer

        tasks = self.calls is not None
        flow = Flow(
            self._steps,
            batch,
            keep_all=self._keep_all,
            apart=lambda step: tasks or self._parts.is_long(step),
            lapsed=lapsed,
        )
        await flow.play(turn, AsTasks() if tasks else InThreads(len(self._steps)))
        failures, raised = flow.failures()
        ids = flow.survivors()
        if not len(ids):
            return self.nothing(failures, raised)
        if columns_out is not None:
            columns_out |= {name: flow.column(name, ids) for name in flow.columns}
        outputs = {name: flow.column(full, ids) for name, full in self._outputs}
        return Played(Batch.of(outputs, ids), failures, raised)

    def _straight_plays(self) -> Sequence[AtOnce | None]:
        """For each node what plays it as a plain function."""
        if self._straight is None:
            self._straight = [step.played.straight(DirectContext(self, step)) for step in self._steps]
        return self._straight

    def nothing(self, failures: list[Failure], raised: Mapping[int, BaseException] | None = None) -> Played:
        """What it gives when no row is left."""
        outputs = {name: empty_column(kind) for name, kind in self.checked.signature.outputs.items()}
        failures.sort(key=lambda failure: failure.row)
        return Played(Batch(outputs, np.empty(0, dtype=np.int64)), failures, raised or {})


def _take(step: NodeStep, given: Mapping[str, Column], columns: dict[str, Column]) -> None:
    """Put what a node gave of what others need of it among the columns.

    Raises:
        UnknownNameError: when it did not give one.
    """
    try:
        for name in step.gives:
            columns[name] = given[name]
    except KeyError:
        raise UnknownNameError("column", name, list(given), where=f"node {step.path!r}") from None
