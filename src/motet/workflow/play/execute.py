"""One step: its key, what is kept under it, and, where that does not hold, a call and what is kept of it."""

from __future__ import annotations

import inspect
import logging
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from motet.errors import InputError, WorkflowError, told_file
from motet.metrics_log import MetricsDestination, destination, metrics_file
from motet.workflow.deferred import deferreds_in
from motet.workflow.files import File
from motet.workflow.functions import place_of
from motet.workflow.memo.cache import KeptResult
from motet.workflow.memo.checkout import Checkout
from motet.workflow.memo.key import Argument, Key, differences
from motet.workflow.play.budget import Budget
from motet.workflow.play.durations import apart, told_s
from motet.workflow.play.process import NotApart, is_of_a_module, run_in_process
from motet.workflow.play.rules import Rules
from motet.workflow.play.session import Session
from motet.workflow.play.state import Cancelled, FinalStepError, StepState, StepValue
from motet.workflow.play.step_process import StepPlace, ThisMachine
from motet.workflow.play.turns import Turns, beside_others, put_back
from motet.workflow.policies import CachePolicy, WhenChanged
from motet.workflow.step import StepContext, _running

__all__ = ["Again", "StepExecutor", "place_of_error"]

_logger = logging.getLogger("motet.workflow")
MOST_BACKOFF_S = 600.0
MOST_KEYS = 1_000
"""Keys of steps without cache that are kept of a run; more steps than these nobody compares one by one."""
MOST_SYNC_S = 1.0
"""Seconds that are spent on finding earlier results, to say what has changed."""


class Again(Exception):
    """A step is to be tried again after some seconds."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        super().__init__(after_s)


@dataclass(eq=False)
class StepExecutor:
    """Runs the steps of a session, each when it is told to."""

    session: Session
    budget: Budget
    place: StepPlace

    def __post_init__(self) -> None:
        self._metrics = metrics_file(self.session.record.folder(self.session.run))
        self.keys: dict[str, Key] = {}
        self._former: dict[str, tuple[list[KeptResult], set[str]]] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self._kept_codes: set[str] = set()
        self._lock = threading.Lock()
        self.rules = Rules(self.session)
        self._turns = Turns(self.session.cancel.is_set)

    def run(self, state: StepState) -> StepValue:
        """Get the result of a step: kept, from before the run was killed, or by calling it.

        Args:
            state: the step; what happens is noted in it.

        Raises:
            Again: when it failed, and is to be tried again.
            Cancelled: when the run was cancelled meanwhile.
            Exception: the step's own.
        """
        key = self._key(state)
        state.key = key.digest
        policy = state.node.step.policy
        if state.id in self.session.again:
            state.why = "it was to run again"
            return self._made(state, key)
        if policy is None:
            if len(self.keys) < MOST_KEYS:
                self.keys[state.id] = key
            return self._resumed(state) or self._made(state, key)
        found, why = self._find(state, key, policy)
        if found is not None:
            return found
        with self.session.alone(state.key) as held:
            if not held:
                raise Cancelled
            if os.path.exists(self.session.cache.path(state.key)):
                found, why = self._find(state, key, policy)
                if found is not None:
                    return found
            state.why = why
            return self._made(state, key)

    def _key(self, state: StepState) -> Key:
        node, policy = state.node, state.node.step.policy
        free = policy.data() if policy is not None else frozenset()
        by_result = policy is not None and policy.by_result
        arguments = {}
        for name, value in state.arguments.items():
            from_steps = isinstance(value, File) or next(deferreds_in(value), None) is not None
            ruled = name in free or (by_result and from_steps)
            try:
                arguments[name] = Argument("", "by a rule") if ruled else self.session.argument(value)
            except OSError as error:
                raise InputError(f"what it takes as {name} cannot be read: {error}", where=node.step.place) from error
        return Key(self.session.name(node.step.function), self.session.code(node.step.function).digest, arguments)

    def _resumed(self, state: StepState) -> StepValue | None:
        found = self.session.resumed.get((state.id, state.key))
        if found is None or self.session.cache.artifacts.fault(found.kept):
            return None
        value = self.session.held(found.kept, {})
        self.session.lay_files(state, found.kept)
        age_s = max(time.time() - found.created, 0.0)
        state.outcome, state.made_s = "resumed", found.seconds
        state.why = f"finished {told_s(age_s)} ago, before the run was gone on with"
        _note(state, value)
        return value

    def _find(self, state: StepState, key: Key, policy: CachePolicy) -> tuple[StepValue | None, str]:
        """The result that is kept, where it holds, or why not."""
        cache = self.session.cache
        entry = cache.get(state.key)
        if entry is None:
            damaged = os.path.exists(cache.path(state.key))
            return None, "what is kept cannot be taken: its entry is damaged" if damaged else self._why_new(state, key)
        age_s = cache.clock() - entry.created
        if policy.max_age_s is not None and age_s < 0:
            return None, f"kept {told_s(-age_s)} after now, by the clock of this machine, so that its age is not known"
        if policy.max_age_s is not None and age_s > policy.max_age_s:
            age, most = apart(age_s, policy.max_age_s, told_s)
            return None, f"kept {age} ago, and may be {most} old at most"
        fault = cache.artifacts.fault(entry.kept)
        if fault:
            return None, f"what is kept cannot be taken: {fault}"
        value = self.session.held(entry.kept, {})
        reasons = []
        for place, rule in enumerate(policy.rules):
            holds, told = self.rules.holds(state, place, rule, entry, value)
            if not holds:
                return None, told
            reasons.append(told)
        self.session.lay_files(state, entry.kept)
        state.outcome, state.made_s = "hit", entry.seconds
        state.why = "; ".join([f"kept {told_s(age_s)} ago by run {entry.run}", *reasons])
        _note(state, value)
        return value, ""

    def _why_new(self, state: StepState, key: Key) -> str:
        """Why nothing is kept under a key: what differs from the most alike of the last results of the step."""
        former, gone = self._last(key.step)
        if key.digest in gone:
            return "what was kept is not in the cache any more: removed by motet cache gc, or by hand"
        if not former:
            return "nothing is kept of this step yet"
        code = self.session.code(state.node.step.function)
        if code.digest not in self._codes:
            self._codes[code.digest] = code.named()
        told = [tuple(differences(each.key, key, self._code)) for each in former]
        state.changes = min(told, key=len) or ("an earlier result is gone",)
        return "; ".join(state.changes[:3]) + (f"; and {len(state.changes) - 3} more" if len(state.changes) > 3 else "")

    def _last(self, step: str) -> tuple[list[KeptResult], set[str]]:
        """The last results of a step, and the keys of those that are gone, as they were when the run began to ask."""
        with self._lock:
            if step not in self._former:
                from motet.workflow.memo.index import Index

                self._former[step] = [], set()
                with (
                    suppress(WorkflowError, sqlite3.Error, OSError),
                    Index.of(self.session.cache) as index,
                ):  # only to tell
                    index.sync(MOST_SYNC_S)
                    self._former[step] = index.last(step), index.gone(step)
            return self._former[step]

    def _code(self, digest: str) -> dict[str, str]:
        if digest not in self._codes:
            self._codes[digest] = self.session.cache.code(digest)
        return self._codes[digest]

    def _made(self, state: StepState, key: Key) -> StepValue:
        """Call a step, and keep what it gives."""
        session, node = self.session, state.node
        policy = node.step.policy
        numbers = {}
        if policy is not None:
            for place, rule in enumerate(policy.rules):
                if isinstance(rule, WhenChanged):
                    numbers[self.rules.place(place, rule)] = self.rules.number(state, rule, None)
        created = session.cache.clock()
        began = time.perf_counter()
        value, fault = self._called(state, key)
        seconds = time.perf_counter() - began
        state.outcome = "done"
        _note(state, value)
        if value.kept is not None and not fault:
            fault = self._note_made(
                state, KeptResult(state.key, key, value.kept, created, seconds, session.run, numbers)
            )
        if fault:
            state.why = f"{state.why}; {fault}" if state.why else fault
            if policy is not None and fault not in session.said:
                session.say_once(f"step {state.id}: {fault}")
        return value

    def _note_made(self, state: StepState, entry: KeptResult) -> str:
        """Keep what a step has given, for later runs. Returns why it is not kept, where that is so."""
        session = self.session
        if not session.cache.artifacts.holds(entry.kept):
            return session.not_kept(session.cache.artifacts.refused)
        try:
            if state.node.step.policy is None:
                session.journal.add(state.id, state.key, entry.kept, entry.seconds)
            else:
                self._put_code(state.node.step.function)
                session.cache.put(entry)
        except OSError as error:
            where = session.journal.path.parent if state.node.step.policy is None else None
            return session.not_kept(error.strerror or str(error), where)
        finally:
            session.forget_refused(state)
        return ""

    def keep_keys(self) -> None:
        """Keep the keys of steps without cache, with what they stand on, to compare runs by."""
        if self.keys:
            for state in self.session.states:
                if state.id in self.keys:
                    self._put_code(state.node.step.function)
            self.session.record.keep_keys(self.session.run, self.keys)

    def _put_code(self, function: Callable[..., Any]) -> None:
        """Keep the parts of a function's code, once a run."""
        code = self.session.code(function)
        if code.digest not in self._kept_codes:
            self.session.cache.put_code(code.digest, code.named())
            self._kept_codes.add(code.digest)

    def _called(self, state: StepState, key: Key) -> tuple[StepValue, str]:
        session, node = self.session, state.node
        options = node.step.options
        own = node.step.own_process
        lease = self.budget.borrow(options.resources, session.cancel.is_set) if own else nullcontext(True)
        with lease as held:
            if not held or session.cancel.is_set():
                raise Cancelled
            state.attempts += 1
            try:
                return self._tried(state, key)
            except (Cancelled, FinalStepError, KeyboardInterrupt):
                raise
            except BaseException as error:
                if session.cancel.is_set() and own:
                    raise Cancelled from None
                if state.attempts > options.retries:
                    raise
                after_s = min(options.backoff_s * 2 ** (state.attempts - 1), MOST_BACKOFF_S)
                _logger.warning("step %s failed, trying again in %g s: %s", state.id, after_s, error)
                raise Again(after_s) from error

    def _tried(self, state: StepState, key: Key) -> tuple[StepValue, str]:
        """Call a step; once more, with copies of files, where another has written them meanwhile."""
        checkout = self.session.files.checkout(state.id)
        try:
            found = self._tried_with(state, key, checkout)
        except (Cancelled, FinalStepError):
            raise
        except Exception:
            if not self._taken_away(state, checkout):
                raise
        else:
            if not self._taken_away(state, checkout):
                return found
        return self._tried_with(state, key, self.session.files.checkout(state.id, all_apart=True))

    def _taken_away(self, state: StepState, checkout: Checkout) -> bool:
        """Whether another step has written what a step took, while it ran."""
        changed = checkout.changed()
        if not changed:
            return False
        running = [each for each in self.session.states if each is not state and each.state == "running"]
        return any(self.session.files.is_contested(path, running) for path in changed)

    def _tried_with(self, state: StepState, key: Key, checkout: Checkout) -> tuple[StepValue, str]:
        began = time.time()
        if state.node.step.own_process:
            value, fault = run_in_process(self.session, state, checkout, self.place)
        else:
            value, fault = self._beside(state, key, checkout)
        if value.kept is not None:
            self.session.claim_files(state, value.kept, began, time.time(), checkout)
        code = self.session.code(state.node.step.function)
        seen = [*code.files, *(each for argument in key.arguments.values() for each in argument.files)]
        changed = [*checkout.changed(), *(each.path for each in seen if each.changed)]
        return value, fault or (f"{changed[0]} was changed while it ran, so its result is not kept" if changed else "")

    def _beside(self, state: StepState, key: Key, checkout: Checkout) -> tuple[StepValue, str]:
        """Call a step that may run beside others: what it sets of its process is not theirs."""
        step = state.node.step
        shared = self.session.shared(state, key) if step.options.process is None else ()
        if not shared or state.node.place not in self._beside_others:
            with self._turns.beside() as held:
                return self._here(state, checkout, held)
        why = "its function is found in no module"
        if is_of_a_module(step.function):
            try:
                return run_in_process(self.session, state, checkout, ThisMachine())
            except NotApart as error:
                why = str(error)
        _logger.info("step %s runs while no other does, as it sets %s: %s", state.id, ", ".join(sorted(shared)), why)
        with self._turns.alone() as held, put_back(shared):
            return self._here(state, checkout, held)

    @cached_property
    def _beside_others(self) -> frozenset[int]:
        return beside_others([each.node for each in self.session.states])

    def _here(self, state: StepState, checkout: Checkout, held: bool) -> tuple[StepValue, str]:
        if not held:
            raise Cancelled
        session, node = self.session, state.node
        step = node.step
        values = {name: session.resolve(value, checkout) for name, value in state.arguments.items()}
        context = StepContext(session.run, state.id, state.attempts - 1, step.options.resources, session.cancel)
        token, logs = _running.set(context), destination.set(MetricsDestination(self._metrics, state.id))
        try:
            result = step.call(values)
        finally:
            destination.reset(logs)
            _running.reset(token)
        refuse_result(result)
        return session.keep(result, checkout)


def refuse_result(result: Any) -> None:
    """Refuse results that only one could read, once."""
    if hasattr(result, "__next__") or hasattr(result, "__await__"):
        raise TypeError(f"a step returned {type(result).__name__}, which can be gone through only once; return a list")


def place_of_error(error: BaseException, function: Any) -> str:
    """Where a step's own code failed: the last line of the traceback that is in its file, or the function itself."""
    frames = traceback.extract_tb(error.__traceback__)
    codes = [getattr(each, "__code__", None) for each in (function, inspect.unwrap(function))]
    files = {code.co_filename for code in codes if code is not None}
    inside = [frame for frame in frames if frame.filename in files]
    return f"{inside[-1].name} ({told_file(inside[-1].filename)}:{inside[-1].lineno})" if inside else place_of(function)


def _note(state: StepState, value: StepValue) -> None:
    if value.kept is not None:
        state.formats, state.size_bytes = value.kept.formats, value.kept.size_bytes
