"""Nodes of a graph that wait, played at the same time as others that need none of their columns.

A node is given the rows that the nodes before it, whose columns it needs, have answered. So what becomes of a row in a node depends
on nothing that is played beside it; of a row that several nodes fail on, the first in the graph's order says why.
"""

from __future__ import annotations

import concurrent.futures
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from motet.batch import Batch, Column, Indices, take_rows
from motet.errors import Failure
from motet.graph.node import Answer
from motet.nodes.map import Map
from motet.runtime.deadline import go_on
from motet.runtime.node_context import NodeStep, drive
from motet.runtime.played import failure_of
from motet.runtime.side_by_side import SLOW_S, WaitingCall
from motet.threads import MOST, ThreadPool

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsTasks", "Flow", "InThreads", "NodeParts", "Turn"]

Turn: TypeAlias = Callable[[NodeStep, Mapping[str, Column], Indices], Coroutine[Any, Any, Answer]]
"""Plays a node on columns, by reference, of the rows with these ids."""
Lapsed: TypeAlias = Callable[[Indices], Indices | None]
_Made: TypeAlias = "asyncio.Future[Answer] | concurrent.futures.Future[Answer]"


class NodeParts:
    """Which nodes of a graph are worth to be played at the same time.

    Args:
        steps: all nodes, in order.
        waits: whether a node is known to wait for another process or machine; asked once.

    Attributes:
        any: whether there are nodes neither of which needs what the other gives.
        slow: the names of nodes that were seen to take long.
    """

    def __init__(self, steps: Sequence[NodeStep], waits: Callable[[NodeStep], bool]) -> None:
        self._steps, self._waits = steps, waits
        self._pairs = _independent(steps)
        self.any = bool(self._pairs)
        self.slow: set[str] = set()
        self._waiting: WaitingCall | None = None
        self._known = -1, 0
        self._worth = False

    @property
    def together(self) -> bool:
        """Whether a node that waits can be played at the same time as another one that may take long."""
        if self._waiting is None:
            self._waiting = WaitingCall(step.name for step in self._steps if self._waits(step))
        known = len(self._waiting.keys), len(self.slow)
        if known != self._known:
            self._known = known
            self._worth = any(
                (one.name in self._waiting.keys or other.name in self._waiting.keys)
                and self.is_long(one)
                and self.is_long(other)
                for one, other in self._pairs
            )
        return self._worth

    def is_long(self, step: NodeStep) -> bool:
        """Whether a node may take so long that others that are ready then should not have to wait for it."""
        return not isinstance(step.node, Map) or step.name in self.slow

    def took(self, name: str, seconds: float, spent: float) -> None:
        """A node took these seconds, of which these on the processor; of one that is quick nothing needs to be said twice."""
        if seconds > SLOW_S:
            self.slow.add(name)
        else:
            self.slow.discard(name)
        if self._waiting is not None:
            self._waiting.took(name, seconds, spent)


def _independent(steps: Sequence[NodeStep]) -> list[tuple[NodeStep, NodeStep]]:
    """The pairs of nodes neither of which needs what the other gives."""
    before: list[set[int]] = []
    for needs in _needs(steps):
        before.append(needs.union(*(before[each] for each in needs)))
    return [
        (steps[other], step) for place, step in enumerate(steps) for other in range(place) if other not in before[place]
    ]


def _needs(steps: Sequence[NodeStep]) -> list[set[int]]:
    """For each node the places of the nodes whose columns it is given."""
    places = {step.name: place for place, step in enumerate(steps)}
    return [{places[node] for _, name in step.columns if (node := name.partition(".")[0]) in places} for step in steps]


class InThreads:
    """Begins turns in threads; nothing is awaited.

    Args:
        most: how many may be under way.
    """

    def __init__(self, most: int) -> None:
        self._pool = ThreadPool(min(most, MOST), "motet-calls")
        self._turns: list[Coroutine[Any, Any, Answer]] = []

    def begin(self, turn: Coroutine[Any, Any, Answer]) -> _Made:
        """Begin a turn beside this one."""
        self._turns.append(turn)
        return self._pool.submit(drive, turn)

    async def one_done(self, made: Iterable[_Made]) -> None:
        """Wait until one of these is done."""
        concurrent.futures.wait(made, return_when=concurrent.futures.FIRST_COMPLETED)  # type: ignore[arg-type]

    async def end(self, made: Sequence[_Made]) -> None:
        """Wait until none of these is under way; those that were not begun are left out."""
        self._pool.close()
        for turn in self._turns:
            turn.close()


class AsTasks:
    """Begins turns as tasks of the event loop that runs."""

    def begin(self, turn: Coroutine[Any, Any, Answer]) -> _Made:
        """Begin a turn beside this one."""
        import asyncio  # it takes long to import, and where an event loop runs it is there

        return asyncio.ensure_future(turn)

    async def one_done(self, made: Iterable[_Made]) -> None:
        """Wait until one of these is done."""
        import asyncio

        await asyncio.wait(made, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]

    async def end(self, made: Sequence[_Made]) -> None:
        """Wait until none of these is under way; those that were not begun are left out."""
        import asyncio

        for each in made:
            each.cancel()
        await asyncio.gather(*made, return_exceptions=True)  # type: ignore[arg-type]


Begins: TypeAlias = InThreads | AsTasks
"""What begins turns, and waits for one that has been begun to end."""


class Flow:
    """One batch on its way through nodes some of which are played at the same time.

    Args:
        steps: the nodes, in order.
        batch: columns by the names of the graph's inputs.
        keep_all: whether columns that nobody needs any more are kept.
        apart: whether a node is worth to be played beside others.
        lapsed: see `Executor.play`.

    Attributes:
        columns: by full name, each with the ids of its rows, which may be fewer than another one has.
        answers: by the place of its node, with the ids that it was given; nodes that no row came to are left out.
    """

    def __init__(
        self,
        steps: Sequence[NodeStep],
        batch: Batch,
        *,
        keep_all: bool,
        apart: Callable[[NodeStep], bool],
        lapsed: Lapsed | None,
    ) -> None:
        self._steps, self._keep_all, self._apart, self._lapsed = steps, keep_all, apart, lapsed
        self._ids = batch.ids
        self.columns: dict[str, tuple[Indices, Column]] = {
            name: (batch.ids, column) for name, column in batch.columns.items()
        }
        self.answers: dict[int, tuple[Indices, Answer]] = {}
        self._before = _needs(steps)
        self._users = Counter(name for step in steps for name in {full for _, full in step.columns})
        self._last = {name for step in steps for name in step.drops}
        self._empty: set[int] = set()

    async def play(self, turn: Turn, beside: Begins) -> None:
        """Play all nodes.

        Raises:
            BaseException: what a node raised; those that were being played have ended then.
        """
        under_way: dict[int, tuple[Indices, _Made]] = {}
        try:
            while len(self.answers.keys() | self._empty) < len(self._steps):
                ready = self._ready(under_way)
                apart = [place for place in ready if self._apart(self._steps[place])]
                here = next((place for place in ready if place not in apart), None)
                if here is None and len(apart) == 1 and not under_way:
                    here = apart.pop()
                for place in apart:
                    ids, given = self._given(place)
                    if len(ids):
                        under_way[place] = ids, beside.begin(turn(self._steps[place], given, ids))
                if here is not None:
                    ids, given = self._given(here)
                    if len(ids):
                        self._took(here, ids, await turn(self._steps[here], given, ids))
                elif under_way:
                    await beside.one_done([made for _, made in under_way.values()])
                for place in [each for each, (_, made) in under_way.items() if made.done()]:
                    ids, made = under_way.pop(place)
                    self._took(place, ids, made.result())
        finally:
            await beside.end([made for _, made in under_way.values()])

    def _ready(self, under_way: Mapping[int, Any]) -> list[int]:
        done = self.answers.keys() | self._empty
        return [
            place
            for place, needs in enumerate(self._before)
            if place not in done and place not in under_way and needs <= done
        ]

    def _given(self, place: int) -> tuple[Indices, dict[str, Column]]:
        """The ids of a node's rows, and its columns; a node without rows is done."""
        go_on()
        if any(each in self._empty for each in self._before[place]):
            self._empty.add(place)
            return self._ids[:0], {}
        held = {reference: self.columns[name] for reference, name in self._steps[place].columns}
        ids = _common([ids for ids, _ in held.values()] or [self._ids])
        if self._lapsed is not None and place and (useful := self._lapsed(ids)) is not None:
            ids = ids[useful]
        if not len(ids):
            self._empty.add(place)
            return ids, {}
        return ids, {reference: _of_rows(column, whole, ids) for reference, (whole, column) in held.items()}

    def _took(self, place: int, ids: Indices, answer: Answer) -> None:
        """Take a node's answer, and let columns go that nobody needs any more."""
        step = self._steps[place]
        kept = ids if answer.kept is None else ids[answer.kept]
        if not len(kept):
            self._empty.add(place)
        self.answers[place] = ids, answer
        for name in answer.columns if self._keep_all else step.gives:
            if len(kept):
                self.columns[name] = kept, answer.columns[name]
        for name in {full for _, full in step.columns}:
            self._users[name] -= 1
            if not self._users[name] and name in self._last and not self._keep_all:
                self.columns.pop(name, None)

    def failures(self) -> tuple[list[Failure], dict[int, BaseException]]:
        """Why rows were not answered, in order, and what was raised for some; of several nodes the first says it."""
        failures: dict[int, Failure] = {}
        raised: dict[int, BaseException] = {}
        for place, (ids, answer) in sorted(self.answers.items()):
            for fault in answer.faults:
                row = int(ids[fault.position])
                if row not in failures:
                    failures[row] = failure_of(fault, row, self._steps[place].path)
                    if fault.exception is not None:
                        raised[row] = fault.exception
        return [failures[row] for row in sorted(failures)], raised

    def survivors(self) -> Indices:
        """The ids of the rows that every node has answered."""
        if self._empty:
            return self._ids[:0]
        return _common([ids if each.kept is None else ids[each.kept] for ids, each in self.answers.values()])

    def column(self, name: str, ids: Indices) -> Column:
        """A column of these rows, which are among its own."""
        whole, column = self.columns[name]
        return _of_rows(column, whole, ids)


def _common(every: Sequence[Indices]) -> Indices:
    """The ids that are in all, in order; the same array where all are one."""
    first = every[0]
    for ids in every[1:]:
        if ids is not first and not (len(ids) == len(first) and np.array_equal(ids, first)):
            first = first[np.isin(first, ids)]
    return first


def _of_rows(column: Column, whole: Indices, ids: Indices) -> Column:
    return column if ids is whole or len(ids) == len(whole) else take_rows(column, np.flatnonzero(np.isin(whole, ids)))
