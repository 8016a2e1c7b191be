"""The executor: plays a graph over batches. Bulk runs, calls and servers all use this one.

Nodes are coroutines that ask their player for calls. Where every call answers at once, as inline models do, a batch
plays through as one plain function call: the coroutine never suspends, and `drive` needs no event loop.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from motet.batch import Batch, Column, Indices, empty_column, take_rows
from motet.errors import Failure, GraphError, ModelFailedError, MotetError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.function import Function
from motet.graph.node import Answer, Fault, Node
from motet.nodes.map import Map
from motet.runtime.functions import FunctionRunner
from motet.runtime.host import Host, HostedModel, LazyKey
from motet.runtime.isolate import Health, isolate
from motet.runtime.lazy import LazyModels, share_places

__all__ = ["Call", "Calls", "Executor", "NodeStats", "Played", "Trace", "drive"]

T = TypeVar("T")


@dataclass
class NodeStats:
    """What a node has done: rows it was given, batches, seconds in it, and rows that failed in it."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0.0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model or graph, for explanations.

    Attributes:
        node: the node that called, with the graphs it stands in: `outer/inner`.
        uses: the model or graph.
        version: the model's version.
        rows: how many rows were asked for.
        seconds: how long it took.
        outputs: what it answered, by output name; rows that failed are left out.
        faults: why rows failed.
        member: the member that was called, empty where the node has one.
        ids: for each row asked for the id of the row of the batch that it stands for.
        kept: the places of the rows that `outputs` holds; None for all.
    """

    node: str
    uses: str
    version: str
    rows: int
    seconds: float
    outputs: Mapping[str, Column]
    faults: tuple[Fault, ...]
    member: str = ""
    ids: Indices | None = None
    kept: Indices | None = None


class Trace(Protocol):
    """Is given every call of a model or graph when it is done; a list is one."""

    def append(self, call: Call, /) -> None:
        """Take a call."""
        ...


class Calls(Protocol):
    """How the calls of a graph's nodes are made, where they may wait; in the thread that asks where none is given."""

    async def model(self, model: HostedModel, columns: Sequence[Column] | Mapping[str, Column], rows: int) -> Answer:
        """Play rows through a model."""
        ...

    async def function(self, runner: FunctionRunner, columns: Sequence[Column], rows: int) -> Answer:
        """Play rows through a function."""
        ...

    async def gather(self, calls: Sequence[Awaitable[Answer]]) -> list[Answer]:
        """Await several calls."""
        ...


@dataclass(slots=True)
class Played:
    """A batch that went through a graph.

    Attributes:
        outputs: the rows that were answered, in order, by output name.
        failures: the rows that were not, in order.
    """

    outputs: Batch
    failures: list[Failure]


@dataclass(frozen=True)
class _Step:
    """A node's turn: which columns it is given, by reference, which nobody needs after it, and which of its own are needed."""

    name: str
    node: Node
    columns: tuple[tuple[str, str], ...]
    drops: tuple[str, ...]
    path: str
    gives: tuple[str, ...]


@dataclass
class _Shared:
    """What the executors of a graph and of the graphs inside it share."""

    stats: dict[str, NodeStats] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Executor:
    """Plays a checked graph.

    Args:
        checked: the graph.
        host: holds its models.
        keep_all: whether columns that nobody needs any more are kept; for explanations.
        calls: how calls are made; None makes them at once, in the thread that plays.
        path: the graphs it stands in, for names in statistics and failures.
        shared: what it shares with the executor of the graph around it; None where it is the outermost.
    """

    def __init__(
        self,
        checked: CheckedGraph,
        host: Host,
        *,
        keep_all: bool = False,
        calls: Calls | None = None,
        path: str = "",
        shared: Any = None,
    ) -> None:
        self.checked, self.host, self._calls = checked, host, calls
        self._keep_all = keep_all
        if shared is None:
            share_places(checked, host)
        self.lazy = LazyModels(checked, host)
        self._shared: _Shared = shared or _Shared()
        self.graphs = {
            name: Executor(each, host, calls=calls, path=f"{path}{name}/", shared=self._shared)
            for name, each in checked.graphs.items()
        }
        self._runners: dict[int, FunctionRunner] = {}
        self._healths: dict[str, Health] = {}
        self._models: dict[str, HostedModel] = {}
        self._outputs = [(name, checked.canonical[reference]) for name, reference in checked.graph.outputs.items()]
        self._steps = self._plan(path)

    @property
    def stats(self) -> Mapping[str, NodeStats]:
        """What each node has done, by path, in the order of play."""
        return self._shared.stats

    @property
    def shared(self) -> Any:
        """What another executor of the same graph is given, so that both count together."""
        return self._shared

    def load(self) -> None:
        """Load every model that the outputs need, here and in the graphs inside, instead of when it is first called.

        Of models that share places only those that stay.

        Raises:
            ModelLoadError: when one cannot be loaded.
        """
        for executor in self._all():
            executor.lazy.load_residents()
        needed = self._needed()
        if len(needed) < 2:
            for executor, name in needed:
                executor._model(name)
            return
        with ThreadPoolExecutor(min(len(needed), os.cpu_count() or 1), thread_name_prefix="motet-load") as pool:
            for loaded in [pool.submit(executor._model, name) for executor, name in needed]:
                loaded.result()

    def models(self) -> list[HostedModel]:
        """The models that the outputs need and that stay, here and in the graphs inside, loaded."""
        return [executor._model(name) for executor, name in self._needed()]

    @property
    def lazy_keys(self) -> list[LazyKey]:
        """The models that share places, here and in the graphs inside."""
        return [key for executor in self._all() for key in executor.lazy.keys.values()]

    def _all(self) -> Iterator[Executor]:
        yield self
        for inner in self.graphs.values():
            yield from inner._all()

    def _needed(self) -> list[tuple[Executor, str]]:
        """Every model that is called and stays, each once, with the executor that calls it."""
        found: dict[tuple[str, str], tuple[Executor, str]] = {}
        for name in dict.fromkeys(member.uses for step in self._steps for member in step.node.members):
            if name in self.graphs:
                inner = self.graphs[name]._needed()
            else:
                inner = [(self, name)] if name not in self.lazy.keys else []
            for executor, model in inner:
                found.setdefault((executor.checked.graph.folder, model), (executor, model))
        return list(found.values())

    def _plan(self, path: str) -> list[_Step]:
        graph, canonical = self.checked.graph, self.checked.canonical
        steps: list[_Step] = []
        needed = {name for _, name in self._outputs}
        for name in reversed(self.checked.order):
            node = graph.nodes[name]
            columns = tuple((reference, canonical[reference]) for reference in node.references())
            drops = tuple({column for _, column in columns} - needed)
            gives = tuple(column for column in needed if column.split(".")[0] == name)
            needed |= {column for _, column in columns}
            steps.append(_Step(name, node, columns, drops, f"{path}{name}", gives))
            self._shared.stats.setdefault(f"{path}{name}", NodeStats())
        steps.reverse()
        for step in steps:
            self._shared.stats[step.path] = self._shared.stats.pop(step.path)
        return steps

    def _model(self, name: str) -> HostedModel:
        found = self._models.get(name)
        if found is None:
            found = self._models[name] = self.host.model(self.checked.graph.models[name], self.checked.graph.folder)
        return found

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
        """
        columns, ids, failures = dict(batch.columns), batch.ids, list[Failure]()
        for place, step in enumerate(self._steps):
            if lapsed is not None and place and (useful := lapsed(ids)) is not None:
                columns = {name: take_rows(column, useful) for name, column in columns.items()}
                ids = ids[useful]
                if not len(ids):
                    return self.nothing(failures)
            player = _Player(self, step, trace, ids)
            started = time.perf_counter()
            given = {reference: columns[name] for reference, name in step.columns}
            try:
                answer = await step.node.play(given, len(ids), player)
            except MotetError as error:
                if isinstance(error, (GraphError, ModelFailedError)) and f"node {step.path!r}" not in error.where:
                    error.located(f"node {step.path!r}")
                raise
            self._count(step.path, len(ids), time.perf_counter() - started, len(answer.faults))
            if not self._keep_all:
                for name in step.drops:
                    columns.pop(name, None)
            if answer.kept is not None:
                failures += [_failure(fault, int(ids[fault.position]), step.path) for fault in answer.faults]
                columns = {name: take_rows(column, answer.kept) for name, column in columns.items()}
                ids = ids[answer.kept]
            if not len(ids):
                return self.nothing(failures)
            given_back = answer.columns
            for name in step.gives:
                if name not in given_back:
                    raise UnknownNameError("column", name, list(given_back), where=f"node {step.path!r}")
                columns[name] = given_back[name]
            if self._keep_all:
                columns |= given_back
        if columns_out is not None:
            columns_out |= columns
        outputs = {name: columns[full] for name, full in self._outputs}
        if failures:
            failures.sort(key=lambda failure: failure.row)
        return Played(Batch.of(outputs, ids), failures)

    def nothing(self, failures: list[Failure]) -> Played:
        """What it gives when no row is left."""
        outputs = {name: empty_column(kind) for name, kind in self.checked.signature.outputs.items()}
        failures.sort(key=lambda failure: failure.row)
        return Played(Batch(outputs, np.empty(0, dtype=np.int64)), failures)

    def _count(self, path: str, rows: int, seconds: float, failed: int) -> None:
        with self._shared.lock:
            stats = self._shared.stats[path]
            stats.rows += rows
            stats.batches += 1
            stats.seconds += seconds
            stats.failed += failed


class _Player:
    """What one node's turn may ask of the runtime."""

    __slots__ = ("_executor", "_held", "_ids", "_step", "_trace")

    def __init__(self, executor: Executor, step: _Step, trace: Trace | None, ids: Indices) -> None:
        self._executor, self._step, self._trace, self._ids = executor, step, trace, ids
        self._held: dict[str, HostedModel | Exception] = {}

    async def call(
        self,
        name: str,
        columns: Sequence[Column] | Mapping[str, Column],
        rows: int,
        chosen: Indices | None = None,
        member: str = "",
    ) -> Answer:
        executor, trace = self._executor, self._trace
        started = time.perf_counter()
        inner = executor.graphs.get(name)
        version = ""
        if name in executor.lazy.keys:
            held = self._held.get(name)
            answer, version = await executor.lazy.call(name, columns, rows, executor._calls, held, member)
        elif inner is None:
            model = executor._model(name)
            version = model.located.version
            calls = executor._calls
            answer = model.play(columns, rows) if calls is None else await calls.model(model, columns, rows)
        else:
            within = None if trace is None else _Within(trace, self._chosen(chosen))
            answer = await self._graph(inner, columns, rows, within)
        if trace is not None:
            seconds = time.perf_counter() - started
            ids, outputs = self._chosen(chosen), dict(answer.columns)
            path = self._step.path
            trace.append(Call(path, name, version, rows, seconds, outputs, answer.faults, member, ids, answer.kept))
        return answer

    def _chosen(self, chosen: Indices | None) -> Indices:
        return self._ids if chosen is None else self._ids[chosen]

    async def _graph(
        self, inner: Executor, columns: Sequence[Column] | Mapping[str, Column], rows: int, trace: Trace | None
    ) -> Answer:
        wanted = list(inner.checked.graph.inputs)
        if not rows:
            return Answer(inner.nothing([]).outputs.columns)
        if not isinstance(columns, Mapping) and len(columns) == len(wanted):
            columns = dict(zip(wanted, columns, strict=True))
        if not isinstance(columns, Mapping) or set(columns) != set(wanted):
            given = ", ".join(columns) if isinstance(columns, Mapping) else f"{len(columns)} columns"
            raise GraphError(f"graph {inner.checked.graph.name!r} takes {', '.join(wanted)}; it was given {given}")
        played = await inner.play(Batch(columns, np.arange(rows)), trace)
        faults = tuple(Fault(f.row, f.error, f.message, f.model, f.version, f.node) for f in played.failures)
        return Answer(played.outputs.columns, faults, played.outputs.ids if faults else None)

    async def apply(self, function: Function, columns: Sequence[Column], rows: int, *, each: bool = False) -> Answer:
        runner = self._executor._runners.get(id(self._step))
        if runner is None:
            declared = self._declared(function)
            runner = self._executor._runners[id(self._step)] = FunctionRunner(function, declared, each=each)
        calls = self._executor._calls
        return runner(columns, rows) if calls is None else await calls.function(runner, columns, rows)

    def _declared(self, function: Function) -> Any:
        node = self._step.node
        if not isinstance(node, Map):
            return function.outputs
        types = self._executor.checked.columns
        return function.infer([types[name] for _, name in _in_order(node, self._step)], node.where)

    async def gather(self, calls: Sequence[Awaitable[Answer]], uses: Sequence[tuple[str, int]] = ()) -> list[Answer]:
        if self._executor._calls is not None:
            return await self._executor._calls.gather(calls)
        if uses and self._executor.lazy.keys:
            return await self._executor.lazy.in_turn(calls, uses, self._held)
        waiting = list(reversed(calls))
        answers: list[Answer] = []
        try:
            while waiting:
                answers.append(await waiting.pop())
        finally:
            for call in waiting:  # left when one raised
                if isinstance(call, Coroutine):
                    call.close()
        return answers

    def isolate(
        self, function: Callable[[int, int], T], rows: int, name: str
    ) -> tuple[list[tuple[int, int, T]], list[Fault]]:
        health = self._executor._healths.setdefault(f"{self._step.path}:{name}", Health(name))
        return isolate(function, rows, health)

    def labels(self, name: str) -> tuple[str, ...]:
        model = self._executor.checked.graph.models.get(name)
        return model.labels if model else ()


class _Within:
    """The trace of a graph inside: its calls are of the rows that the graph was called for."""

    __slots__ = ("_ids", "_trace")

    def __init__(self, trace: Trace, ids: Indices) -> None:
        self._trace, self._ids = trace, ids

    def append(self, call: Call, /) -> None:
        self._trace.append(replace(call, ids=None if call.ids is None else self._ids[call.ids]))


def _in_order(node: Map, step: _Step) -> list[tuple[str, str]]:
    names = dict(step.columns)
    return [(reference, names[reference]) for reference in node.inputs.columns]


def _failure(fault: Fault, row: int, path: str) -> Failure:
    return Failure(row, fault.node or path, fault.model, fault.version, fault.error, fault.message)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, as playing does where every call answers at once."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("a call that waits was played without an event loop")
