"""What a node's turn may ask of the runtime: `TurnContext` for coroutines, whose calls may wait, `DirectContext` for plain functions.

`DirectContext` is made once for each node of a graph: where every call answers at once, a batch then costs no coroutine, and what can
be looked up is looked up before the first one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from motet.batch import Batch, Column, Indices, take_columns, take_rows
from motet.errors import DeadlineError, GraphError, ModelFailedError, ModelUnavailableError
from motet.graph.function import Function
from motet.graph.node import Answer, AtOnce, Fault, Member
from motet.graph.player import Player, ReplicaShares
from motet.models.handler import TokenUsage
from motet.nodes.map import Map
from motet.nodes.merge import kept_rows, merge
from motet.runtime.deadline import Halted
from motet.runtime.functions import FunctionRunner
from motet.runtime.host import ModelRuntime
from motet.runtime.isolate import CallHealth, isolate
from motet.runtime.overdue import TimedCall, punctual
from motet.runtime.stats import spending
from motet.runtime.turns import NOTHING_NOTED, Call, Calls, NodeStep, Trace
from motet.runtime.widen import widened
from motet.system.pieces import Say, heard
from motet.threads import side_by_side
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.runtime.executor import Executor
    from motet.runtime.stacks import RouteStack

__all__ = ["Call", "Calls", "DirectContext", "NodeStep", "Trace", "TurnContext", "afterwards", "drive"]

T = TypeVar("T")


class _Turn:
    """What both kinds of turn may ask."""

    __slots__ = ("_executor", "_step")

    def __init__(self, executor: Executor, step: NodeStep) -> None:
        self._executor, self._step = executor, step

    def _runner(self, function: Function, each: bool) -> FunctionRunner:
        runners = self._executor.runners
        found = runners.get(id(self._step))
        if found is None:
            found = runners[id(self._step)] = FunctionRunner(function, self._declared(function), each=each)
            found.health.run = self._executor.host.run
        return found

    def _declared(self, function: Function) -> Any:
        node = self._step.node
        if not isinstance(node, Map):
            return function.outputs
        return node.declared(self._executor.checked.columns)

    def isolate(
        self, function: Callable[[int, int], T], rows: int, name: str
    ) -> tuple[list[tuple[int, int, T]], list[Fault]]:
        """Find the rows at fault; see `motet.graph.node.Player`."""
        known = CallHealth(name, run=self._executor.host.run)
        health = self._executor.healths.setdefault(f"{self._step.path}:{name}", known)
        return isolate(function, rows, health)

    @property
    def gives(self) -> frozenset[str]:
        """The columns of the node that somebody needs, by full name."""
        return self._step.gives

    def incomplete(self) -> None:
        """Say that rows are answered without a member that failed on them or was late."""
        self._executor.shared.count_incomplete()

    @property
    def places(self) -> Mapping[str, Mapping[str, Indices]]:
        """How the node places its members' answers."""
        return self._executor.checked.places.get(self._step.name, {})

    @property
    def types(self) -> Mapping[str, ColumnType]:
        """The types of the graph's columns, by full name."""
        return self._executor.checked.columns


class DirectContext(_Turn):
    """What a node may ask that plays as a plain function; made once for each node, where no call waits."""

    __slots__ = ("gather",)

    def __init__(self, executor: Executor, step: NodeStep) -> None:
        super().__init__(executor, step)
        self.gather = executor.members(step)

    def model(self, name: str) -> AtOnce | None:
        """What plays rows through a model; None for a graph, and for a model that comes and goes."""
        executor = self._executor
        if name in executor.graphs or name in executor.lazy.keys:
            return None
        play, needs = executor.model(name).play, self._step.needs.get(name)
        if needs is None:
            return play

        def play_some(columns: Sequence[Column] | Mapping[str, Column], rows: int) -> Answer:
            answer = play(columns, rows)
            answer.columns = {output: answer.columns[output] for output in needs}
            return answer

        return play_some

    def function(self, function: Function, *, each: bool = False) -> FunctionRunner:
        """What plays rows through a function."""
        return self._runner(function, each)


class TurnContext(_Turn):
    """What one node's turn may ask of the runtime.

    Args:
        executor: plays the graph.
        step: the node.
        trace: is given every call.
        ids: of the rows.
    """

    __slots__ = ("_held", "_ids", "_trace")

    def __init__(self, executor: Executor, step: NodeStep, trace: Trace | None, ids: Indices) -> None:
        super().__init__(executor, step)
        self._trace, self._ids = trace, ids
        self._held: dict[str, ModelRuntime | Exception] = {}

    async def call(
        self,
        name: str,
        columns: Sequence[Column] | Mapping[str, Column],
        rows: int,
        chosen: Indices | None = None,
        member: str = "",
        spread: ReplicaShares | None = None,
    ) -> Answer:
        """Play rows through a model or graph."""
        trace, path = self._trace, self._step.path
        if trace is None:
            return (await self._called(name, columns, rows, chosen, member, spread))[0]
        started, ids = time.perf_counter(), self._chosen(chosen)
        try:
            with spending() as spent, heard(_listeners(trace, path, name)):
                answer, version, noted = await self._called(name, columns, rows, chosen, member, spread)
        except (ModelUnavailableError, ModelFailedError) as error:
            faults = tuple(Fault.of(row, error, name) for row in range(rows))
            seconds = time.perf_counter() - started
            trace.append(Call(path, name, "", rows, seconds, {}, faults, member, ids, np.arange(0)))
            raise
        seconds, outputs = time.perf_counter() - started, dict(answer.columns)
        used = sum(spent, TokenUsage())
        kept = answer.kept
        trace.append(Call(path, name, version, rows, seconds, outputs, answer.faults, member, ids, kept, used, noted))
        return answer

    async def _called(
        self,
        name: str,
        columns: Sequence[Column] | Mapping[str, Column],
        rows: int,
        chosen: Indices | None,
        member: str,
        spread: ReplicaShares | None,
    ) -> tuple[Answer, str, Mapping[str, Column]]:
        """What a model or graph answers, the model's version, and what a graph notes beside."""
        executor = self._executor
        inner = executor.graphs.get(name)
        version, noted = "", NOTHING_NOTED
        if name in executor.lazy.keys:
            held = self._held.get(name)
            answer, version = await executor.lazy.call(name, columns, rows, executor.calls, held, member)
        elif inner is None:
            model = executor.model(name)
            version = model.located.version
            calls = executor.calls
            if spread is not None:
                answer = await self._apart(model, columns, rows, spread)
            else:
                answer = model.play(columns, rows) if calls is None else await calls.model(model, columns, rows)
        else:
            within = None if self._trace is None else _Within(self._trace, self._chosen(chosen))
            answer = await self._graph(inner, columns, rows, within)
            if inner.notes:
                noted = {each: column for each, column in answer.columns.items() if each in inner.notes}
                answer.columns = {each: column for each, column in answer.columns.items() if each not in noted}
        if name in self._step.needs:
            answer.columns = {output: answer.columns[output] for output in self._step.needs[name]}
        return answer, version, noted

    async def _apart(
        self, model: ModelRuntime, columns: Sequence[Column] | Mapping[str, Column], rows: int, spread: ReplicaShares
    ) -> Answer:
        """Rows through the replicas that are chosen for them, at the same time."""
        shares = spread.shares(model.replicas.names, model.model.name)
        parts = [(take_columns(columns, places), len(places), replica) for replica, places in shares]
        calls = self._executor.calls
        if calls is None:
            answers = side_by_side(lambda part: model.play(*part), parts, len(parts))
        else:
            answers = await calls.gather([calls.model(model, *part) for part in parts])
        return merge([(places, answer) for (_, places), answer in zip(shares, answers, strict=True)], rows)

    async def together(self, columns: Mapping[str, Column], chosen: Indices) -> list[tuple[Indices, Answer]]:
        """Play rows through several models as one call."""
        found: list[tuple[Indices, Answer]] = []
        executor, step = self._executor, self._step
        for stack in executor.stacks(step):
            mine = stack.rows_of(chosen)
            if mine is None:
                continue
            rows, which = mine
            named = stack.models.named(stack.inputs.pick(columns))
            given = [which, *(named if len(rows) == len(chosen) else take_columns(named, rows))]
            started, calls = time.perf_counter(), executor.calls
            answer = (
                stack.models(given, len(rows))
                if calls is None
                else await calls.function(stack.models, given, len(rows))
            )
            if answer.kept is not None:
                rows, which = rows[answer.kept], which[answer.kept]
            if not len(rows):
                continue
            if self._trace is not None:
                self._tell(stack, rows, chosen, answer, time.perf_counter() - started)
            needs = step.needs.get(stack.models.models[0].model.name)
            columns_out = answer.columns if needs is None else {name: answer.columns[name] for name in needs}
            found.append((rows, Answer(columns_out)))
        return found

    def _tell(self, stack: RouteStack, rows: Indices, chosen: Indices, answer: Answer, seconds: float) -> None:
        """Tell whoever looks on of the calls that one call stands for: of each model, with its share of the time."""
        assert self._trace is not None
        members, slots = self._step.played.members, stack.slots[chosen[rows]]
        for slot in np.unique(slots):
            share = np.flatnonzero(slots == slot)
            model, places = stack.models.models[slot], rows[share]
            names = "|".join(members[place].name for place in np.unique(chosen[places]).tolist())
            outputs = {name: take_rows(column, share) for name, column in answer.columns.items()}
            self._trace.append(
                Call(
                    self._step.path, model.model.name, model.located.version, len(share), seconds * len(share) / len(rows),
                    outputs, (), names, self._chosen(places), None,
                )
            )  # fmt: skip

    def _chosen(self, chosen: Indices | None) -> Indices:
        return self._ids if chosen is None else self._ids[chosen]

    async def _graph(
        self, inner: Executor, columns: Sequence[Column] | Mapping[str, Column], rows: int, trace: Trace | None
    ) -> Answer:
        graph = inner.checked.graph
        wanted = list(graph.inputs)
        if not rows:
            return Answer(inner.nothing([]).outputs.columns)
        if not isinstance(columns, Mapping) and len(columns) == len(wanted):
            columns = dict(zip(wanted, columns, strict=True))
        if not isinstance(columns, Mapping) or set(columns) != set(wanted):
            given = ", ".join(columns) if isinstance(columns, Mapping) else f"{len(columns)} columns"
            raise GraphError(f"graph {graph.name!r} takes {', '.join(wanted)}; it was given {given}")
        columns, faults = widened(columns, {name: each.type for name, each in graph.inputs.items()}, graph.name)
        batch = Batch(columns, np.arange(rows))
        if faults:
            batch = batch.take(kept_rows(faults, rows))
        played = await inner.play(batch, trace) if len(batch.ids) else inner.nothing([])
        raised = played.exceptions
        faults += [
            Fault(f.row, f.error, f.message, f.model, f.version, f.node, raised.get(f.row)) for f in played.failures
        ]
        faults.sort(key=lambda fault: fault.position)
        return Answer(played.outputs.columns, tuple(faults), played.outputs.ids if faults else None)

    async def apply(self, function: Function, columns: Sequence[Column], rows: int, *, each: bool = False) -> Answer:
        """Play rows through a function."""
        runner, calls = self._runner(function, each), self._executor.calls
        return runner(columns, rows) if calls is None else await calls.function(runner, columns, rows)

    async def gather(
        self, calls: Sequence[Awaitable[Answer]], uses: Sequence[str], rows: Sequence[int] = ()
    ) -> list[Answer]:
        """Await several calls."""
        executor = self._executor
        if executor.calls is not None:
            return await executor.calls.gather(calls)
        if rows and executor.lazy.keys:
            return await executor.lazy.in_turn(calls, list(zip(uses, rows, strict=True)), self._held)
        waiting = [call for call in calls if isinstance(call, Coroutine)]
        try:
            return executor.members(self._step)([partial(drive, call) for call in waiting], uses)
        finally:
            for call in waiting:  # left when one raised
                call.close()

    async def in_time(
        self, calls: Mapping[Member, Callable[[Player], Coroutine[Any, Any, Answer]]], rows: int, seconds: float
    ) -> list[Answer | DeadlineError]:
        """What members answer within some time, which begins once their models are loaded."""
        executor, step, trace = self._executor, self._step, self._trace
        executor.load_of(step)
        allowed = seconds if executor.host.run is None else seconds * rows
        started = time.perf_counter()
        traces: list[list[Call]] = [[] for _ in calls]
        made = [
            TimedCall(
                partial(_play_alone, executor.at_once, step, None if trace is None else own, self._ids, call),
                executor.late(step, member.name),
            )
            for (member, call), own in zip(calls.items(), traces, strict=True)
        ]
        in_time = await punctual(made, allowed, awaited=executor.calls is not None)
        found: list[Answer | DeadlineError] = []
        for member, each, is_in, own in zip(calls, made, in_time, traces, strict=True):
            error = each.made.exception() if is_in else DeadlineError(f"not answered within {allowed * 1e3:g} ms")
            if isinstance(error, DeadlineError) and not isinstance(error, Halted):
                found.append(error)
                executor.late(step, member.name).missed(rows)
                lost = tuple(Fault.of(row, error, member.uses) for row in range(rows))
                took, none = time.perf_counter() - started, np.arange(0)
                own = [Call(step.path, member.uses, "", rows, took, {}, lost, member.name, self._ids, none)]
            else:
                found.append(each.made.result())
            if trace is not None:
                for made_call in own:
                    trace.append(made_call)
        return found


def _play_alone(
    executor: Executor,
    step: NodeStep,
    trace: Trace | None,
    ids: Indices,
    call: Callable[[Player], Coroutine[Any, Any, T]],
) -> T:
    """Make a call in the thread that asks, whatever it waits for."""
    return drive(call(TurnContext(executor, step, trace, ids)))


def _listeners(trace: Trace, path: str, uses: str) -> Mapping[str, Callable[[], Say]]:
    """What begins the texts of a call that somebody listens to, by output; empty where nobody does."""
    found = getattr(trace, "listeners", None)
    return {} if found is None else found(path, uses)


def afterwards(trace: Trace | None) -> Trace | None:
    """What takes calls that end when the batch has been answered."""
    return getattr(trace, "afterwards", None)


class _Within:
    """The trace of a graph inside: its calls are of the rows that the graph was called for."""

    __slots__ = ("_ids", "_trace")

    def __init__(self, trace: Trace, ids: Indices) -> None:
        self._trace, self._ids = trace, ids

    @property
    def afterwards(self) -> Trace | None:
        """What takes calls that end when the batch has been answered."""
        found = afterwards(self._trace)
        return None if found is None else _Within(found, self._ids)

    def listeners(self, path: str, uses: str) -> Mapping[str, Callable[[], Say]]:
        """What begins the texts of a call that somebody listens to."""
        return _listeners(self._trace, path, uses)

    def append(self, call: Call, /) -> None:
        self._trace.append(call._replace(ids=None if call.ids is None else self._ids[call.ids]))


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, as playing does where every call answers at once."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("a call that waits was played without an event loop")
