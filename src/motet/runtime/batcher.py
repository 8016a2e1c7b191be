"""The batcher of a model on an event loop: rows that wait for the same model, from whichever graph, are played together.

It is pulled: when a replica is free it takes what waits, up to a bound. It waits for more only where the model's
`max_wait_ms` says so. Rows that are expected to be quick are played in the loop, the others in a thread, and those that
wait for another process or machine in threads that do nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from motet.batch import Column, Ragged, concat_columns, take_rows
from motet.errors import ModelError, ModelUnavailableError, OverloadedError
from motet.graph.node import Answer, Fault
from motet.nodes.merge import kept_rows
from motet.runtime.call_cost import CallCost
from motet.runtime.host import ModelRuntime
from motet.runtime.latency import INLINE_S, BatchLatency
from motet.runtime.shares import Share, ThreadShares
from motet.tracebacks import ends_program

__all__ = ["Batcher", "LoopCalls"]

Runner: TypeAlias = Callable[[Sequence[Column], int], Answer]
"""Plays columns of so many rows: a function's runner, or models that are played together."""

MAX_ROWS = 2048
"""Rows that are taken together where the model does not say how many."""
MOST_ALIKE = 256
"""Calls that wait of which those are taken together whose rows cost about as much."""
MAX_WAITING_ROWS = 65_536
"""Rows that may wait for one model; beyond it calls are refused."""


class _Waiting:
    """A call that waits: its columns, how they may be put together with others', and who waits for it."""

    __slots__ = ("answer", "columns", "cost", "kind", "replica", "rows", "since")

    def __init__(self, columns: Any, rows: int, answer: asyncio.Future[Answer], since: float, replica: str) -> None:
        self.columns, self.rows, self.answer, self.since, self.replica = columns, rows, answer, since, replica
        self.cost = 0.0  # of its dearest row, where that matters
        named = columns.items() if isinstance(columns, Mapping) else enumerate(columns)
        self.kind: tuple[Any, ...] = (replica, *((name, *_kind(column)) for name, column in named))


def _kind(column: Column) -> tuple[Any, ...]:
    if isinstance(column, Ragged):
        return column.dtype, column.shapes.shape[1]
    return column.dtype, column.shape[1:]


class Batcher:
    """Puts together the rows that wait for one model.

    Args:
        model: the model.
        loop: whose thread everything here but the model's calls happens in.
        threads: where calls are made that would hold the loop.
        at_once: how many calls may be made at the same time; where they wait for other processes or machines the
            model's replicas say it.
    """

    def __init__(self, model: ModelRuntime, loop: asyncio.AbstractEventLoop, threads: Share, at_once: int) -> None:
        self.model = model
        self._loop, self._threads = loop, threads
        self._at_once = min(at_once, model.model.concurrent or at_once)
        self._costs = BatchLatency()
        self._waiting: deque[_Waiting] = deque()
        self._cost = model.cost if model.cost is not None and model.cost.is_quick and not model.model.before else None
        self._rows = self._playing = 0
        self._total_cost = 0.0
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._max_rows = min(model.model.batch.rows or model.model.batch.max_rows or MAX_ROWS, MAX_ROWS)
        self._max_wait_s = (model.model.batch.max_wait_ms or 0) / 1000
        self._may_sleep = not model.model.num_replicas
        self._always, self._elsewhere = model.placement, model.elsewhere

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being played."""
        return not self._waiting and not self._playing

    @property
    def waiting_rows(self) -> int:
        """Rows that wait."""
        return self._rows

    def __call__(
        self, columns: Sequence[Column] | Mapping[str, Column], rows: int, replica: str = ""
    ) -> asyncio.Future[Answer]:
        """Play rows, together with others that wait for the same replica, or for any where none is named.

        Raises:
            OverloadedError: when too many rows wait already.
        """
        if self._rows + rows > MAX_WAITING_ROWS and self._waiting:
            raise OverloadedError(f"{self._rows} rows wait for model {self.model.model.name!r}", retry_after_s=1)
        waiting = _Waiting(columns, rows, self._loop.create_future(), self._loop.time(), replica)
        if self._cost is not None:
            waiting.cost = float(self._cost.of(self.model.named(columns), rows)[0].max())
            self._total_cost += rows * waiting.cost
        self._waiting.append(waiting)
        self._rows += rows
        self._schedule()
        return waiting.answer

    def _schedule(self) -> None:
        if self._timer is not None and self._is_full():
            self._timer.cancel()  # there is nothing more to wait for
            self._timer = None
            self._scheduled = False
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pull)

    def _pull(self) -> None:
        self._scheduled = False
        self._timer = None
        while self._waiting and self._playing < self._limit():
            if self._max_wait_s and not self._is_full():
                left = self._waiting[0].since + self._max_wait_s - self._loop.time()
                if left > 0:
                    self._scheduled = True
                    self._timer = self._loop.call_later(left, self._pull)
                    return
            self._play(self._take())

    def _limit(self) -> int:
        return self.model.replicas.at_once if self._elsewhere else self._at_once

    def _is_full(self) -> bool:
        """Whether there is nothing to wait for: what waits fills a call."""
        full_cost = self._cost is not None and self._total_cost >= self._cost.most_cost
        return self._rows >= self._max_rows or full_cost

    def _take_alike(self, cost: CallCost) -> list[_Waiting]:
        """The oldest call, and of those behind it the ones whose rows cost about as much."""
        looked = [self._waiting.popleft() for _ in range(min(MOST_ALIKE, len(self._waiting)))]
        useful = [each for each in looked if not each.answer.cancelled()]
        near = [each for each in useful if each.kind == useful[0].kind]
        chosen = cost.alike([each.cost for each in near], [each.rows for each in near], self._max_rows) if near else []
        taken = [each for each, takes in zip(near, chosen, strict=True) if takes]
        going = {id(each) for each in looked if each.answer.cancelled()} | set(map(id, taken))
        self._waiting.extendleft(each for each in reversed(looked) if id(each) not in going)
        gone = [each for each in looked if id(each) in going]
        self._rows -= sum(each.rows for each in gone)
        self._total_cost -= sum(each.rows * each.cost for each in gone)
        if not self._waiting:
            self._total_cost = 0.0  # sums of fractions drift
        return taken

    def _take(self) -> list[_Waiting]:
        """The calls to make together: the oldest, and those behind it that fit; calls nobody waits for are left out."""
        if self._cost is not None:
            return self._take_alike(self._cost)
        taken: list[_Waiting] = []
        passed: list[_Waiting] = []
        rows = 0
        while self._waiting and (not taken or rows < self._max_rows):
            each = self._waiting.popleft()
            if each.answer.cancelled():
                self._rows -= each.rows
            elif taken and (each.kind != taken[0].kind or rows + each.rows > self._max_rows):
                passed.append(each)
                if len(passed) > len(taken) + 8:
                    break
            else:
                taken.append(each)
                rows += each.rows
        self._waiting.extendleft(reversed(passed))
        self._rows -= rows
        return taken

    def _play(self, taken: list[_Waiting]) -> None:
        if not taken:
            return
        rows = sum(each.rows for each in taken)
        columns = _together(taken)
        free = self._always is None and not self._elsewhere
        asleep = self._may_sleep and self.model.replicas.direct is None  # a call loads it, which may take long
        quick = not asleep and (self._always == "inline" or (free and self._costs.expect(rows) <= INLINE_S))
        if quick:
            try:
                started = time.perf_counter()
                answer = self._timed(columns, rows, taken[0].replica)
                self._costs.held(time.perf_counter() - started)
            except BaseException as error:  # (handed to those who wait)
                if ends_program(error):
                    raise
                self._failed(taken, error)
            else:
                _hand_out(taken, answer)
            return
        self._playing += 1
        future = self._loop.run_in_executor(self._threads, self._timed, columns, rows, taken[0].replica)
        future.add_done_callback(lambda done: self._done(taken, done))

    def _timed(self, columns: Any, rows: int, replica: str) -> Answer:
        started = time.perf_counter()
        answer = self.model.play(columns, rows, replica)
        self._costs.took(rows, time.perf_counter() - started)
        return answer

    def _done(self, taken: list[_Waiting], done: asyncio.Future[Answer]) -> None:
        self._playing -= 1
        error = ModelError("the server has stopped") if done.cancelled() else done.exception()
        if error is None:
            _hand_out(taken, done.result())
        else:
            self._failed(taken, error)
        if self._waiting:
            self._schedule()

    def _failed(self, taken: list[_Waiting], error: BaseException) -> None:
        """What was played together failed as a whole: each call again, alone, so that none fails for another."""
        if (
            len(taken) == 1 or self.model.paid or isinstance(error, ModelUnavailableError)
        ):  # of which no call is the cause
            for each in taken:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        for each in reversed(taken):
            if not each.answer.done():
                each.kind = (object(),)  # so that nothing is put together with it
                self._waiting.appendleft(each)
                self._rows += each.rows
                self._total_cost += each.rows * each.cost
        self._schedule()


def _timed(runner: Runner, columns: Sequence[Column], rows: int) -> tuple[Answer, float]:
    started = time.perf_counter()
    answer = runner(columns, rows)
    return answer, time.perf_counter() - started


def _together(taken: Sequence[_Waiting]) -> Any:
    first = taken[0].columns
    if len(taken) == 1:
        return first
    if isinstance(first, Mapping):
        return {name: concat_columns([each.columns[name] for each in taken]) for name in first}
    return [concat_columns([each.columns[place] for each in taken]) for place in range(len(first))]


def _hand_out(taken: Sequence[_Waiting], answer: Answer) -> None:
    """Give each call its own rows of the answer."""
    if len(taken) == 1:
        if not taken[0].answer.done():
            taken[0].answer.set_result(answer)
        return
    first = answered = 0
    for each in taken:
        end = first + each.rows
        faults: tuple[Fault, ...] = ()
        if answer.faults:
            faults = tuple(f.at(f.position - first) for f in answer.faults if first <= f.position < end)
        count = each.rows - len(faults)
        part = slice(answered, answered + count)
        columns = {name: take_rows(column, part) for name, column in answer.columns.items()}
        if not each.answer.done():
            each.answer.set_result(Answer(columns, faults, kept_rows(faults, each.rows) if faults else None))
        first, answered = end, answered + count


class LoopCalls:
    """Makes the calls of graphs on an event loop: each model has a batcher, which all graphs share.

    Args:
        loop: the event loop.
        threads: where calls are made that would hold the loop.
        remote: where calls are made that wait for another process or machine.
        at_once: how many calls of a model may be made at the same time.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, threads: ThreadShares, remote: ThreadShares, at_once: int
    ) -> None:
        self._loop, self._threads, self._remote, self._at_once = loop, threads, remote, at_once
        self._batchers: dict[ModelRuntime, Batcher] = {}
        self._functions: WeakKeyDictionary[Runner, tuple[BatchLatency, Share]] = WeakKeyDictionary()

    def share(self, *, elsewhere: bool) -> Share:
        """A share of the threads where calls are made: of those that wait for another process or machine, or of the others."""
        return (self._remote if elsewhere else self._threads).share()

    def batcher(self, model: ModelRuntime) -> Batcher:
        """The batcher of a model."""
        found = self._batchers.get(model)
        if found is None:
            threads = self.share(elsewhere=model.elsewhere)
            found = self._batchers[model] = Batcher(model, self._loop, threads, self._at_once)
        return found

    def waiting_rows(self, model: ModelRuntime) -> int:
        """Rows that wait for a model."""
        found = self._batchers.get(model)
        return 0 if found is None else found.waiting_rows

    def drop(self, model: ModelRuntime) -> None:
        """Forget a model, whose memory is given back."""
        self._batchers.pop(model, None)

    async def model(
        self, model: ModelRuntime, columns: Sequence[Column] | Mapping[str, Column], rows: int, replica: str = ""
    ) -> Answer:
        """Play rows through a model, or one of its replicas, together with others that wait for it."""
        return await self.batcher(model)(columns, rows, replica)

    async def function(self, runner: Runner, columns: Sequence[Column], rows: int) -> Answer:
        """Play rows through a function: in the loop where that is expected to be quick, else in a thread."""
        found = self._functions.get(runner)
        if found is None:
            found = self._functions[runner] = BatchLatency(), self._threads.share()
        costs, threads = found
        if costs.expect(rows) <= INLINE_S:
            answer, seconds = _timed(runner, columns, rows)
            costs.held(seconds)
        else:
            answer, seconds = await self._loop.run_in_executor(threads, _timed, runner, columns, rows)
        costs.took(rows, seconds)
        return answer

    async def gather(self, calls: Sequence[Awaitable[Answer]]) -> list[Answer]:
        """Await several calls at the same time."""
        return list(await asyncio.gather(*calls))
