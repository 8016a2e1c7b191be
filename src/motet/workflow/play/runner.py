"""Which step runs when.

A step is ready when all that it waits for is over. Workers take ready steps; the one that ends a step takes the next itself,
so a chain runs in one thread. Steps with processes of their own have workers of their own, which mostly wait. The caller's
thread only waits, writes the record, and can be interrupted.
"""

from __future__ import annotations

import heapq
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from motet.errors import MotetError, WorkflowError
from motet.workflow.code.summary import in_unicode
from motet.workflow.deferred import nodes_of
from motet.workflow.play.execute import Again, StepExecutor, place_of_error
from motet.workflow.play.state import ENDED, GOOD, Cancelled, StepState, StepValue
from motet.workflow.steps import AsReady, PlannedStep

__all__ = ["Runner"]

_logger = logging.getLogger("motet.workflow")

_FLUSH_S = 0.25
_GRACE_S = 5.0
_NOTE_S = 10.0
"""How often the record is told that the run goes on."""
_PAST = {"skipped": "was skipped", "cancelled": "was cancelled", "left out": "was left out"}


class Runner:
    """Runs the steps of a plan once.

    Args:
        executor: runs one.
        threads: how many run in this process at the same time.
        asynchronous: whether steps that take results as they come run again with each.
        fail_fast: whether the first failure ends the run.
        progress: is told each change of a step's state; what it raises is logged.
    """

    def __init__(
        self,
        executor: StepExecutor,
        threads: int,
        asynchronous: bool,
        fail_fast: bool,
        progress: Callable[[StepState], None] | None,
    ) -> None:
        self.session, self.executor = executor.session, executor
        self.states = self.session.states
        self.nodes = nodes = [state.node for state in self.states]
        self.asynchronous, self.fail_fast, self.progress = asynchronous, fail_fast, progress
        self._most = {"here": threads, "process": executor.place.most}
        self._ready: dict[str, deque[int]] = {"here": deque(), "process": deque()}
        self._idle = {"here": 0, "process": 0}
        self._workers: dict[str, int] = {"here": 0, "process": 0}
        self._lock = threading.Lock()
        self._over = threading.Condition(self._lock)
        self._wake = {"here": threading.Condition(self._lock), "process": threading.Condition(self._lock)}
        self._ending = ""
        self._later: list[tuple[float, int]] = []
        self._queued: set[int] = set()
        self._fresh: set[int] = set()
        self._left = len(nodes)
        self._began, self._noted_s = time.perf_counter(), 0.0
        self._dirty: set[int] = set()
        self._telling: set[int] = set()
        self._hard = [0] * len(nodes)
        self._soft: dict[int, set[int]] = {}
        self._needs: list[str] = []
        self._dependants: list[list[int]] = [[] for _ in nodes]
        self._followers: list[list[int]] = [[] for _ in nodes]

    def run(self) -> None:
        """Run all steps; returns when each is over."""
        self._connect()
        with self._lock:
            for node in self.nodes:
                self._enqueue(node.place)
        interrupted = None
        deadline = None
        while True:
            try:
                if self._is_over():
                    break
                self.flush()
            except KeyboardInterrupt as error:
                if interrupted is not None:  # the second time: it is not waited for anything
                    deadline = 0.0
                else:
                    _logger.warning(
                        "stopping: waiting up to %g s for steps that run; interrupt again to not wait", _GRACE_S
                    )
                interrupted = error
                self.session.cancel.set()
            with self._lock:
                self._promote()
                if self.session.cancel.is_set():
                    self._cancel()
                    deadline = time.monotonic() + _GRACE_S if deadline is None else deadline
                    if time.monotonic() > deadline:
                        self._abandon()
        self.flush()
        if interrupted is not None:
            raise interrupted

    def _connect(self) -> None:
        """Note for each step what it waits for, and which wait for it."""
        for node in self.nodes:
            needs = node.needs()
            follows = node.follows()
            self._needs.append(orjson.dumps([each.id for each in (*needs, *follows)]).decode())
            self._hard[node.place] = len(needs)
            for each in needs:
                self._dependants[each.place].append(node.place)
            if follows:
                self._soft[node.place] = {each.place for each in follows}
                for each in follows:
                    self._followers[each.place].append(node.place)

    def _is_over(self) -> bool:
        """Whether each step is over, where workers are told to end; else something has happened, or it is time to look."""
        with self._lock:
            if self._left or self._telling:
                self._over.wait(self._wait_s())
                return False
            for wake in self._wake.values():
                wake.notify_all()  # for workers to end
            return True

    def flush(self) -> None:
        """Write to the record what has changed; where its disk is full, that is said, and tried again."""
        with self._lock:
            dirty, self._dirty = sorted(self._dirty), set()
        seconds = time.perf_counter() - self._began
        try:
            rows = [_row(self.session.run, self.states[place], self._needs[place]) for place in dirty]
            for start in range(0, len(rows), 2000):
                self.session.record.steps(rows[start : start + 2000])
            if seconds - self._noted_s > _NOTE_S:
                self.session.record.goes(self.session.run, seconds)
                self._noted_s = seconds
        except (WorkflowError, KeyboardInterrupt) as error:
            with self._lock:
                self._dirty.update(dirty)
            if isinstance(error, KeyboardInterrupt):
                raise
            self.session.say_once(f"{error.what}; the run goes on")

    def _wait_s(self) -> float:
        if not self._later:
            return _FLUSH_S
        return min(max(self._later[0][0] - time.monotonic(), 0.0), _FLUSH_S)

    def _promote(self) -> None:
        """Queue the steps whose time to be tried again has come."""
        while self._later and self._later[0][0] <= time.monotonic():
            _, place = heapq.heappop(self._later)
            self._push(place)

    def _cancel(self) -> None:
        for queue in self._ready.values():
            queue.clear()
        self._later.clear()
        for state in self.states:
            if state.state == "waiting":
                self._set(state, "cancelled")
                self._left -= 1

    def _abandon(self) -> None:
        """Wait no longer for steps that do not look at whether they are cancelled; their threads do not hold the process up."""
        for state in self.states:
            if state.state not in ENDED:
                self._set(state, "cancelled")
                state.why = "did not end in time"
                state.seconds = time.time() - state.started if state.started else 0.0
                self._left -= 1
        self._telling.clear()

    def _enqueue(self, place: int) -> None:
        """Queue a step, if it can run now."""
        state = self.states[place]
        if state.state != "waiting" or self._hard[place] or place in self._queued:
            return
        soft = self._soft.get(place)
        if soft is not None and self._is_to_come(soft):
            ready = state.node.as_ready()
            assert ready is not None, "a step that follows others has said so"
            there = sum(all(self.states[n.place].value for n in nodes_of(item)) for item in ready.items)
            if not self.asynchronous or there < ready.at_least or (state.runs and place not in self._fresh):
                return
        self._push(place)

    def _push(self, place: int) -> None:
        kind = "process" if self.nodes[place].step.own_process else "here"
        self._queued.add(place)
        self._ready[kind].append(place)
        waiting = len(self._ready[kind]) - (self._ending == kind)
        if waiting <= 0:
            return  # whoever ends a step takes the next
        if self._idle[kind]:
            self._wake[kind].notify()
        elif self._workers[kind] < self._most[kind]:
            try:
                threading.Thread(target=self._work, args=(kind,), name=f"motet-{kind}", daemon=True).start()
                self._workers[kind] += 1
            except RuntimeError as error:  # the system has no more of them: those that there are take it
                if sys.is_finalizing():
                    raise
                self.session.say_once(f"{error}: the run goes on with fewer")
                if not self._workers[kind]:
                    self._ready[kind].remove(place)
                    heapq.heappush(self._later, (time.monotonic() + _FLUSH_S, place))
                    self._over.notify_all()

    def _work(self, kind: str) -> None:
        queue = self._ready[kind]
        while True:
            with self._lock:
                self._idle[kind] += 1
                while not queue and self._left:
                    self._wake[kind].wait()
                self._idle[kind] -= 1
                if not self._left:
                    return
                place = queue.popleft()
                self._fresh.discard(place)
                state = self.states[place]
                if state.state != "waiting":
                    continue
                state.state = "running"
                self._dirty.add(place)
            self._one(state, kind)

    def _one(self, state: StepState, kind: str) -> None:
        """Run one step, and note what came of it."""
        began = time.perf_counter()
        after_s = None
        value: StepValue | None = None
        try:
            verdict = self._judge(state)
            if verdict is None:
                if not state.started:
                    state.started = time.time()
                self._tell(state)
                value = self.executor.run(state)
                verdict = state.outcome
        except Again as again:
            after_s, verdict = again.after_s, "waiting"
        except Cancelled:
            verdict = "cancelled"
        except BaseException as error:  # noqa: BLE001  a user's function may raise anything
            state.cause, state.error = error, _told(error, state.node)
            verdict = "failed"
        state.seconds += time.perf_counter() - began
        with self._lock:
            self._queued.discard(state.node.place)
            self._telling.add(threading.get_ident())
            if self._left and state.state not in ("cancelled", "failed"):
                self._ending = kind
                self._end(state, verdict, value, after_s)
                self._ending = ""
        self._tell(state)
        with self._lock:
            self._telling.discard(threading.get_ident())
            if not self._left:
                self._over.notify_all()

    def _end(self, state: StepState, verdict: Any, value: StepValue | None, after_s: float | None) -> None:
        place = state.node.place
        if after_s is not None:
            self._set(state, "waiting")
            heapq.heappush(self._later, (time.monotonic() + after_s, place))
            self._over.notify_all()
            return
        if value is not None:
            state.value = value
            state.runs += 1
            for each in self._followers[place]:
                self._fresh.add(each)
        soft = self._soft.get(place)
        if value is not None and soft is not None and (place in self._fresh or self._is_to_come(soft)):
            self._set(state, "waiting")
            self._enqueue(place)
            for each in self._followers[place]:
                self._enqueue(each)
            return
        self._set(state, verdict)
        self._left -= 1
        if verdict == "failed" and self.fail_fast:
            self.session.cancel.set()
        for each in self._dependants[place]:
            self._hard[each] -= 1
            if not self._hard[each]:
                self._enqueue(each)
        for each in self._followers[place]:
            self._enqueue(each)
        if not self._left or self.session.cancel.is_set():
            self._over.notify_all()

    def _is_to_come(self, soft: set[int]) -> bool:
        return any(self.states[each].state not in ENDED for each in soft)

    def _set(self, state: StepState, verdict: Any) -> None:
        state.state = verdict
        self._dirty.add(state.node.place)

    def _tell(self, state: StepState) -> None:
        if self.progress is None:
            return
        try:
            self.progress(state)
        except Exception:
            _logger.exception("step %s: progress raised; the run goes on", state.id)

    def _judge(self, state: StepState) -> Any:
        """Whether a step runs: None, or the state that it ends in. Notes why, and the results that it takes as they come."""
        node = state.node
        for branch in node.branches:
            if lacking := list(self.session.lacking(branch.condition)):
                return self._because(state, lacking)
            if bool(self.session.resolve(branch.condition)) != branch.wanted:
                state.why = f"{branch.condition!s} is {'false' if branch.wanted else 'true'}"
                return "left out"
        lacking = [other for each in node.after if (other := self.states[each.place]).state not in (*GOOD, "left out")]
        for value in node.arguments.values():
            if isinstance(value, AsReady):
                state.items = [item for item in value.items if not any(self.session.lacking(item))]
                if len(state.items) < value.at_least:
                    state.why = f"{len(state.items)} of the results that it waits for came"
                    return "skipped"
            else:
                lacking += self.session.lacking(value)
        return self._because(state, lacking) if lacking else None

    def _because(self, state: StepState, lacking: Sequence[StepState]) -> str:
        """The state that a step ends in which needs others that have no result: left out where all were. Notes why."""
        other = min(lacking, key=lambda each: each.state == "left out")
        state.why = f"step {other.id} {_PAST.get(other.state, other.state)}"
        return "left out" if other.state == "left out" else "skipped"


def _told(error: BaseException, node: PlannedStep) -> str:
    if isinstance(error, MotetError):
        return in_unicode(str(error))
    return in_unicode(f"{place_of_error(error, node.step.function)}: {type(error).__name__}: {error}".rstrip(": "))


def _row(run: str, state: StepState, needs: str) -> tuple[Any, ...]:
    node = state.node
    return (
        run, state.id, node.place, node.step.place, state.state, state.why, state.started, state.seconds,
        state.made_s, state.attempts, state.runs, state.error, state.key, orjson.dumps(state.formats),
        state.size_bytes, needs, orjson.dumps(state.changes),
    )  # fmt: skip
