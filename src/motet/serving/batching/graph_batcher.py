"""A batcher: one served graph. Requests that arrive in one tick of the loop are one batch; each is answered alone.

A batch that is expected to be quick is played in the loop, as one plain function call. Others go to a thread, while what
arrives in the meantime waits, and is one batch when a thread is free. Graphs whose models are in other processes or on
other machines, hold rows back, or are shared with another graph that has rows at the same time, are played as tasks: there each model's
batcher puts the rows of all graphs together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from motet.errors import (
    ModelError,
    ModelLoadError,
    ModelUnavailableError,
    MotetError,
    NotReadyError,
    OverloadedError,
    RequestError,
)
from motet.runtime.batcher import LoopCalls
from motet.runtime.executor import Executor, Trace
from motet.runtime.host import ModelRuntime
from motet.runtime.latency import LONG_S
from motet.runtime.shares import Share, ThreadShares
from motet.runtime.streaming import streamed_outputs
from motet.serving.batching.groups import RequestGroups
from motet.serving.batching.hooks import Both, CallHook, PlayHook, alike, explained
from motet.serving.batching.in_flight import InFlight
from motet.serving.batching.listened import play_listened
from motet.serving.batching.placement import ActiveGraphs, Placement
from motet.serving.batching.request import DEFAULT_PRIORITY, Request
from motet.serving.batching.responder import Responder
from motet.serving.config.limits import Limits
from motet.tracebacks import ends_program, summary

__all__ = ["GraphBatcher"]

_LOG = logging.getLogger("motet.serving")
SWEEP_S = 0.02
"""How often requests that could not be answered at once are looked at for being late or abandoned."""
MOST_TASKS = 128
"""Batches of a graph that may wait for other processes and machines at the same time."""
MOST_SWAPPING = 1024
"""Requests of a graph that may wait for models to be loaded at the same time, or be played."""
STOPPED = "the server has stopped"


class GraphBatcher:
    """Plays the requests of one served graph.

    Args:
        name: of the graph, for messages.
        executor: plays its batches at once.
        loop: in whose thread everything but slow batches happens.
        threads: where slow batches are played; it takes a share of them.
        calls: makes the models' calls of batches that are played as tasks.
        limits: of queues and batches.
        at_once: batches that may be played in threads, or as tasks, at the same time, where no other batcher has any.
        active: shared by the batchers of a process.
        listener: is told what happens; None for nobody.

    Attributes:
        limits: of queues and batches; may be set.
        responder: gives its requests their answers.
        placement: decides where its batches are played.
        streamed: the calls that say their texts while they are written, see `streamed_outputs`; empty before it is loaded.
    """

    def __init__(
        self,
        name: str,
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
        threads: ThreadShares,
        calls: LoopCalls,
        limits: Limits,
        at_once: int,
        active: ActiveGraphs,
        listener: PlayHook | None = None,
    ) -> None:
        self.name, self.executor = name, executor
        self.responder = Responder(name, listener)
        self._loop, self._threads, self.limits = loop, threads.share(), limits
        self._remote = calls.share(elsewhere=True)
        self.streamed: Mapping[tuple[str, str], Mapping[str, str]] = {}
        self._waiting_executor = Executor(executor.checked, executor.host, calls=calls, shared=executor.shared)
        self._active, self.placement = active, Placement(executor, active, at_once)
        self.rivals: list[GraphBatcher] = []
        self._waiting: deque[Request] = deque()
        self._playing: list[InFlight] = []
        self._at_once = at_once
        self._scheduled = self._sweeping = self._closed = self._mixed = False
        self._instead: Callable[[Request], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting_rows = 0
        self._now = time.monotonic()
        self._models: list[ModelRuntime] = []
        self._apart: RequestGroups | None = None
        self._loose = any(each.type.dtype == "any" for each in executor.checked.graph.inputs.values())

    def load(self) -> None:
        """Load the models, and play a row through them where one can be made up; may take long, for any thread."""
        self.executor.load()
        self._models = self.executor.models()
        self.streamed = streamed_outputs(self.executor.checked, self.executor.host.resolver)
        self._apart = RequestGroups(self.executor.lazy.keyed()) if self.executor.lazy_keys else None
        self.placement.load(self._models)

    @property
    def models(self) -> Sequence[ModelRuntime]:
        """Its models."""
        return self._models

    @property
    def idle(self) -> bool:
        """Whether no request waits or is being played."""
        return not self._waiting and not self._playing

    @property
    def in_flight(self) -> int:
        """Requests that wait or are being played."""
        return len(self._waiting) + sum(len(each.requests) for each in self._playing)

    def submit(self, request: Request) -> None:
        """Take a request: it is called back once, now if it is refused."""
        if self._closed:
            self.responder.refuse(request, NotReadyError(f"{self.name} is not served any more", retry_after_s=1))
        elif self.waiting_rows + request.rows > self.limits.queue_rows and self._waiting:
            message = f"{self.waiting_rows} rows wait for {self.name} already"
            self.responder.refuse(request, OverloadedError(message, hint="try again later", retry_after_s=1))
        else:
            if not self._scheduled:
                self._scheduled = True
                self._now = now = time.monotonic()
                if self._active.last is not self:
                    self._active.asked(self, now)
                self._loop.call_soon(self._tick)
            request.arrived = self._now
            if request.deadline is None and self.limits.answer_timeout_s:
                request.deadline = self._now + self.limits.answer_timeout_s
            if request.batch_codec is None:
                self._mixed = True
            self._waiting.append(request)
            self.waiting_rows += request.rows

    def close(self) -> None:
        """Take no more requests; those that were accepted go on."""
        self._closed = True

    def end(self, instead: Callable[[Request], None] | None = None) -> None:
        """Play no more: requests that still wait, or whose models are given back before they are played, are handed on.

        Args:
            instead: takes them; None tells them that the server has stopped.
        """
        self._closed, self._instead = True, instead or self._stopped
        waiting, self._waiting, self.waiting_rows = self._waiting, deque(), 0
        self._hand_on(waiting, self._instead)

    def _stopped(self, request: Request) -> None:
        self.responder.refuse(request, NotReadyError(STOPPED))

    def _hand_on(self, requests: Iterable[Request], instead: Callable[[Request], None]) -> None:
        for request in requests:
            if not self.responder.useless(request, self._loop.time()):
                instead(request)

    def _tick(self) -> None:
        """Play what waits: one batch in the loop, or as many as there are threads."""
        self._scheduled = False
        if self._apart is not None:
            self._waiting = self._apart.in_order(self._waiting)
        while self._waiting and (not self._playing or self._may_begin()):
            requests = self._take()
            if requests and self._begin(requests):
                break
        if self._waiting and (self._may_begin() or self._overtake()):
            self._again()
        elif self._waiting and not self.placement.waits and len(self._playing) < self._at_once:
            self._threads.hold(self._freed)
        if (self._waiting or self._playing) and not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def _again(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._tick)

    def _freed(self) -> None:
        """A thread has come free that others had; called in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._again)

    def _may_begin(self) -> bool:
        """Whether another batch may be played: in the loop or a task, or in a thread that begins with it at once."""
        if self.placement.waits:
            return len(self._playing) < self._most_at_once()
        return len(self._playing) < self._at_once and self._threads.free

    def _overtake(self) -> bool:
        """Play what waits and is quick, where every thread is busy for long with what is not; whether anything was."""
        if self.placement.waits or self.placement.threaded or not all(rival.idle for rival in self.rivals):
            return False
        now = time.monotonic()
        if any(now - playing.started < LONG_S for playing in self._playing):
            return False
        quick: list[Request] = []
        rows, patience = 0, self.placement.patience(self._now)
        for request in self._waiting:
            if self.placement.costs.expect(rows + 1) > patience:
                break
            together = not quick or not self._loose or alike(request, quick[0])
            if together and not request.is_alone and self.placement.costs.expect(rows + request.rows) <= patience:
                quick.append(request)
                rows += request.rows
        if not quick:
            return False
        taken = {id(request) for request in quick}
        self._waiting = deque(request for request in self._waiting if id(request) not in taken)
        self.waiting_rows -= rows
        useful = [request for request in quick if not self.responder.useless(request, now)]
        if useful:
            self._begin(useful)
        return True

    def _most_at_once(self) -> int:
        """Batches that may be played as tasks: enough to keep every replica busy, and one more that is made ready."""
        if self._apart is not None:
            return MOST_SWAPPING
        elsewhere = sum(model.replicas.at_once for model in self._models if model.elsewhere)
        return max(self._at_once, min(MOST_TASKS, elsewhere + 1))

    def _take(self) -> list[Request]:
        """The requests of the next batch: those of priority 1 first, then 2 and so on, and among them in the order they came."""
        waiting, now = self._waiting, self._loop.time()
        if not self._mixed and self._apart is None and self.waiting_rows <= self.limits.batch_rows:
            useful = [request for request in waiting if not request.settled and not request.cancelled]
            if len(useful) == len(waiting) and (useful[0].deadline is None or now < useful[0].deadline):
                self.waiting_rows = 0
                waiting.clear()
                return useful
        if len(waiting) > 1 and any(request.priority for request in waiting):
            self._waiting = waiting = deque(sorted(waiting, key=lambda request: request.priority or DEFAULT_PRIORITY))
        taken: list[Request] = []
        rows = 0
        while waiting and (not taken or rows + waiting[0].rows <= self.limits.batch_rows):
            special = waiting[0].is_alone
            if taken and (special or (self._loose and not alike(waiting[0], taken[0]))):
                break
            if taken and self._apart is not None and not self._apart.together(waiting[0], taken[0]):
                break
            request = waiting.popleft()
            self.waiting_rows -= request.rows
            if self.responder.useless(request, now):
                continue
            taken.append(request)
            rows += request.rows
            if special:
                break
        if not waiting:
            self._mixed = False
        return taken

    def _sweep(self) -> None:
        """Answer those that are late now, wherever they are."""
        now = self._loop.time()
        for request in self._waiting:
            self.responder.useless(request, now)
        for playing in self._playing:
            for request in playing.requests:
                self.responder.useless(request, now)
        if any(request.settled for request in self._waiting):
            self._waiting = deque(request for request in self._waiting if not request.settled)
            self.waiting_rows = sum(request.rows for request in self._waiting)
        if self._waiting and not self._scheduled and not self._may_begin():
            self._tick()
        self._sweeping = bool(self._waiting or self._playing)
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)

    def _begin(self, requests: list[Request]) -> bool:
        """Play a batch; whether that was done in the loop. Whatever goes wrong, its requests are called back."""
        try:
            return self._play(requests)
        except BaseException as error:  # (handed to those who asked)
            if ends_program(error):
                raise
            _LOG.exception("a batch of %s could not be played", self.name)
            for request in requests:
                if not request.settled:
                    self.responder.refuse(request, ModelError(summary(error), where=self.name))
            return False

    def _play(self, requests: list[Request]) -> bool:
        """Play a batch; whether that was done in the loop."""
        rows = requests[0].rows if len(requests) == 1 else sum([request.rows for request in requests])
        trace = None if self.responder.listener is None else self.responder.listener.trace(requests)
        if self.responder.hook is not None:
            kept = self.responder.hook.trace(requests)
            trace = trace if kept is None else Both(kept, trace)
        playing = InFlight(requests, rows, time.monotonic(), self.executor.shared)
        if requests[0].explain:
            self._in_thread(playing, lambda: explained(self.executor, playing.batch()))
            return False
        if requests[0].pieces is not None:
            waits = self.placement.waits
            play = partial(play_listened, self.executor, playing, self.streamed, trace, self._loop, waits=waits)
            self._in_thread(playing, play, self._remote if waits else self._threads)
            return False
        if requests[0].watch is not None:
            self._as_task(playing, Both(CallHook(requests[0].watch), trace))
            return False
        where = self.placement.where(rows, self._now)
        if where == "task" or (self.rivals and not all(rival.idle for rival in self.rivals)):
            self._as_task(playing, trace)
        elif where == "thread":
            self._in_thread(playing, lambda: self.placement.play(playing.batch(), trace, playing.useful))
        else:
            try:
                played, seconds = self.placement.play(playing.batch(), trace, None)
            except BaseException as error:  # (handed to those who asked)
                if ends_program(error):
                    raise
                self._failed(requests, error)
            else:
                self.placement.held(seconds)
                self.responder.answer(playing, played, seconds)
            return True
        return False

    def _in_thread(self, playing: InFlight, play: Callable[[], tuple[Any, ...]], threads: Share | None = None) -> None:
        self._playing.append(playing)
        future = self._loop.run_in_executor(threads or self._threads, play)
        future.add_done_callback(lambda done: self._done(playing, done))

    def _as_task(self, playing: InFlight, trace: Trace | None) -> None:
        self._playing.append(playing)
        task = self._loop.create_task(self._wait(playing, trace))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, playing: InFlight, trace: Trace | None) -> None:
        done: asyncio.Future[tuple[Any, ...]] = self._loop.create_future()
        started = time.perf_counter()
        try:
            batch = playing.batch()
            played = await self._waiting_executor.play(batch, trace, None, playing.useful)
            done.set_result((played, time.perf_counter() - started))
        except asyncio.CancelledError:
            done.cancel()
        except BaseException as error:  # (handed to those who asked)
            if ends_program(error):
                raise
            done.set_exception(error)
        self._done(playing, done)

    def _done(self, playing: InFlight, done: asyncio.Future[tuple[Any, ...]]) -> None:
        self._playing.remove(playing)
        error = NotReadyError(STOPPED) if done.cancelled() else done.exception()
        if error is None:
            self.responder.answer(playing, *done.result())
        else:
            self._failed(playing.requests, error)
        self._again()

    def _failed(self, requests: Sequence[Request], error: BaseException) -> None:
        """A batch failed as a whole: each request again, alone, so that none fails for another."""
        if self._instead is not None and isinstance(error, ModelUnavailableError):
            self._hand_on(requests, self._instead)
            return
        of_none = (
            ModelLoadError if any(each.paid for each in self._models) else ModelUnavailableError
        )  # no request is the cause
        if len(requests) > 1 and not isinstance(error, (RequestError, of_none)):
            for request in requests:
                if not self.responder.useless(request, self._loop.time()):
                    self._begin([request])
            return
        if not isinstance(error, MotetError):
            error = ModelError(summary(error), where=self.name)
        for request in requests:
            if not self.responder.useless(request, self._loop.time()):
                self.responder.refuse(request, error)
