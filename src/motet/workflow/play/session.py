"""What the steps of a run share: the cache, the code they stand on, and the values that are known so far."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Lock
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from motet.errors import WorkflowError
from motet.workflow.code.follow import Follower, follow
from motet.workflow.code.parts import Code
from motet.workflow.code.summary import in_unicode, short
from motet.workflow.code.things import wrapped
from motet.workflow.deferred import Choice, Deferred, Item, Result, deferreds_in, nodes_of, resolved
from motet.workflow.files import File
from motet.workflow.memo.artifacts import KeptValue, digests_of
from motet.workflow.memo.cache import Cache
from motet.workflow.memo.checkout import Checkout
from motet.workflow.memo.encode import Encoder, part_of
from motet.workflow.memo.key import Argument, Key
from motet.workflow.memo.trees import pack, unpack
from motet.workflow.play.files import Files
from motet.workflow.play.journal import Journal, Noted
from motet.workflow.play.pack import packed, paths_in, unpacked
from motet.workflow.play.state import FinalStepError, StepState, StepValue
from motet.workflow.project import is_project, module_name
from motet.workflow.record.runs import RunRecord
from motet.workflow.steps import PlannedStep

__all__ = ["Session", "unpicklable"]

_logger = logging.getLogger("motet.workflow")
_FOLLOWED = (FunctionType, type, ModuleType, BuiltinFunctionType)


@dataclass(eq=False)
class Session:
    """What the steps of a run share. Its methods may be called from any thread.

    Attributes:
        run: the id of the run.
        cache: where results are kept.
        record: where the run is recorded.
        journal: where results of steps without cache are noted.
        states: the states of the steps, by their places.
        resumed: results of steps without cache that the run had before it was killed, by step and key.
        cancel: set when the run is to end.
        files: where the files of results are.
        again: steps that run whatever is kept of them.
        said: what was warned of once.
    """

    run: str
    cache: Cache
    record: RunRecord
    journal: Journal
    states: Sequence[StepState]
    resumed: dict[tuple[str, str], Noted]
    cancel: Event
    files: Files
    again: frozenset[str] = frozenset()
    said: set[str] = field(default_factory=set)
    _codes: dict[Any, Code] = field(default_factory=dict)
    _names: dict[Any, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def code(self, function: Callable[..., Any]) -> Code:
        """What a function stands on; found once a run."""
        with self._lock:
            if function not in self._codes:
                self._codes[function] = follow(function)
            return self._codes[function]

    def name(self, function: Callable[..., Any]) -> str:
        """What a function is called in keys: its module and name."""
        found = self._names.get(function)
        if found is None:
            name = getattr(function, "__qualname__", type(function).__qualname__)
            found = self._names[function] = f"{module_name(function.__module__)}.{name}"
        return found

    def classes(self, names: Sequence[str]) -> Code | None:
        """What the project's classes among some stand on, by `module:name`; None where there are none."""
        own = tuple(name for name in names if is_project(name.partition(":")[0]))
        if not own:
            return None
        with self._lock:
            if own not in self._codes:
                follower = Follower()
                follower.classes(own)
                self._codes[own] = follower.code()
            return self._codes[own]

    def shared(self, state: StepState, key: Key) -> frozenset[str]:
        """What a step may set that its process has once: its code, and that of the classes and functions it is given."""
        found = self.code(state.node.step.function).shared.union(*(each.shared for each in key.arguments.values()))
        for value in state.arguments.values():
            for other in nodes_of(value):
                result = self.state(other).value
                if result is not None and result.kept is not None and result.kept.classes:
                    code = self.classes(result.kept.classes)
                    found |= code.shared if code is not None else frozenset()
        return found

    def argument(self, value: Any) -> Argument:
        """What an argument that a step is called with counts by."""
        if isinstance(value, Deferred):
            return Argument(self.digest(value), str(value).removeprefix("the "))
        shared: set[str] = set()
        encoder = Encoder(hook=lambda each: self._hook(each, shared))
        packed = pack(encoder.tree(value))
        whole = hashlib.sha256(packed)
        digests, files = digests_of(encoder)
        whole.update("".join(digests).encode())
        if encoder.classes:
            code = self.classes(sorted(encoder.classes))
            if code is not None:
                whole.update(code.digest.encode())
                shared |= code.shared
        return Argument(whole.hexdigest(), _argument(value), files, frozenset(shared))

    def _hook(self, value: Any, shared: set[str]) -> Any:
        if isinstance(value, Deferred):
            return {"$input": self.digest(value)}
        if isinstance(value, _FOLLOWED) or wrapped(value) is not None:
            code = follow(value)
            shared |= code.shared
            return {"$code": code.digest}
        return None

    def state(self, node: PlannedStep) -> StepState:
        """What is known of a step."""
        return self.states[node.place]

    def known(self, value: Any) -> bool:
        """Whether all results that a promise takes are there."""
        return next(self.lacking(value), None) is None

    def lacking(self, value: Any) -> Iterator[StepState]:
        """The steps that have no result and should have one for a value; of a choice only the side that is taken counts."""
        for promise in deferreds_in(value):
            if isinstance(promise, Result):
                if self.state(promise.node).value is None:
                    yield self.state(promise.node)
            elif isinstance(promise, Choice):
                unknown = list(self.lacking(promise.condition))
                yield from unknown or self.lacking(self.chosen(promise))
            else:
                for name in promise.__slots__:
                    yield from self.lacking(getattr(promise, name))

    def chosen(self, choice: Choice) -> Any:
        """The side of a choice that is taken."""
        return choice.then if self.resolve(choice.condition) else choice.otherwise

    def digest(self, promise: Deferred) -> str:
        """What stands for a promise in keys: a digest of its value, and of the project's classes in it."""
        if isinstance(promise, Result):
            return self._value(promise).digest
        if isinstance(promise, Item):
            return self._item_digest(promise)
        if isinstance(promise, Choice):
            return self.argument(self.chosen(promise)).digest
        return self.argument(self.resolve(promise)).digest

    def _item_digest(self, promise: Item) -> str:
        keys, source = self.way(promise)
        if not isinstance(source, Result):
            return self.argument(self.resolve(promise)).digest
        value = self._value(source)
        if value.kept is None or not value.kept.tree:
            return hashlib.sha256(pack([value.digest, keys])).hexdigest()
        tree, left = part_of(unpack(value.kept.tree), keys)
        if left:
            return hashlib.sha256(pack([value.digest, keys])).hexdigest()
        used = [value.kept.leaves[number].counts for number in _leaves_in(tree)]
        classes = self.classes(value.kept.classes)
        return hashlib.sha256(pack([tree, used, "" if classes is None else classes.digest])).hexdigest()

    def way(self, promise: Deferred) -> tuple[list[str | int], Deferred]:
        """The parts that are taken of a promise, one after the other, and what they are taken of."""
        keys: list[str | int] = []
        while isinstance(promise, Item):
            keys.insert(0, promise.key)
            promise = promise.source
        return keys, promise

    def resolve(self, value: Any, checkout: Checkout | None = None) -> Any:
        """A value with every promise kept. Raises whatever taking a part or comparing raises.

        Args:
            value: the value.
            checkout: where files go; by default where those of the run's output do.
        """
        places = checkout or self.files.checkout()

        def take(each: Any) -> Any:
            if isinstance(each, Item):
                return self._part(each, places)
            return self.load(self._value(each), places) if isinstance(each, Result) else each

        return resolved(value, take)

    def _part(self, promise: Item, checkout: Checkout) -> Any:
        keys, source = self.way(promise)
        if isinstance(source, Result):
            value = self._value(source)
            if value.kept is not None:
                return self.cache.artifacts.load(value.kept, value.leaves, keys, checkout)
        return self.resolve(promise.source, checkout)[promise.key]

    def load(self, value: StepValue, checkout: Checkout) -> Any:
        """The result of a step, its own for each who asks; arrays and tables are shared and cannot be written."""
        if value.alone is not None:
            return value.alone()
        assert value.kept is not None, "a value is kept, or in memory"
        return self.cache.artifacts.load(value.kept, value.leaves, (), checkout)

    def lay_files(self, state: StepState, kept: KeptValue) -> None:
        """Put the files of a kept result where they belong, unless that of another step is there."""
        for _ in self.files.claim(state, self.cache.artifacts.contents(kept)):
            pass
        checkout = self.files.checkout()
        self.cache.artifacts.put_files_back(kept, checkout)

    def claim_files(self, state: StepState, kept: KeptValue, began: float, ended: float, checkout: Checkout) -> None:
        """Note the files of the result of a step that has run.

        Raises:
            FinalStepError: when another step has written one of them at the same time; what was kept of it is not taken again.
        """
        contents = self.cache.artifacts.contents(kept)
        same = {*checkout.names.values(), *(each.path for each in checkout.seen if not each.changed)}
        own = {path: content for path, content in contents.items() if path not in same}
        for path, other in self.files.claim(state, own, began, ended):
            self.forget_refused(other)
            raise FinalStepError(
                f"steps {other.id} and {state.id} ran at the same time and both returned {path}, so that it is not known "
                "whose content it is",
                where=state.node.step.place,
                hint="let each write a file of its own, such as one named by a parameter, or one begin .after the other",
            )

    def forget_refused(self, state: StepState) -> None:
        """Drop what is kept of a step whose files another has written; asked by both, as either may be the last."""
        if self.files.is_refused(state):
            self.cache.drop(state.key)
            self.journal.drop(state.id, state.key)

    def keep(self, result: Any, checkout: Checkout) -> tuple[StepValue, str]:
        """Keep a result as well as it can be kept. Returns it, and why it is not kept where that is so."""
        try:
            kept, leaves = self.cache.artifacts.keep(result, checkout)
        except Exception as error:  # noqa: BLE001  pickling a user's value may raise anything
            alone: Callable[[], Any] = lambda: result  # noqa: E731
            if isinstance(error, OSError):
                told = self.not_kept(error.strerror or str(error))
                with suppress(Exception):
                    alone = partial(unpacked, packed(result))
            else:
                told = unpicklable(error)
            return StepValue.in_memory(alone, paths_in(result)), told
        return self.held(kept, leaves), ""

    def not_kept(self, why: str, where: Path | None = None) -> str:
        """What is told of results that cannot be written to the cache, or another folder; in the log once a run."""
        told = f"{where or self.cache.root} cannot be written ({why}): results reach the steps of this run, and are not kept"
        self.say_once(told)
        return told

    def say_once(self, text: str) -> None:
        """Warn of something, once a run."""
        with self._lock:
            if text in self.said:
                return
            self.said.add(text)
        _logger.warning("%s", text)

    @contextmanager
    def alone(self, key: str) -> Iterator[bool]:
        """Be the only one to compute a key, as far as the cache can be written; False when the run ends first."""
        lock = self.cache.lock(key, self.cancel.is_set)
        try:
            held = lock.__enter__()
        except WorkflowError as error:
            cause = error.__cause__
            self.not_kept((isinstance(cause, OSError) and cause.strerror) or error.what)
            yield True
            return
        try:
            yield held
        finally:
            lock.__exit__(None, None, None)

    def held(self, kept: KeptValue, leaves: dict[int, Any]) -> StepValue:
        """A kept result in this run."""
        classes = self.classes(kept.classes)
        digest = hashlib.sha256(f"{kept.digest} {classes.digest}".encode()).hexdigest() if classes else kept.digest
        return StepValue(kept, digest, leaves)

    def _value(self, promise: Result) -> StepValue:
        value = self.states[promise.node.place].value
        if value is None:
            raise WorkflowError(f"{promise!s} is not there: the step is {self.states[promise.node.place].state}")
        return value


def unpicklable(error: Exception) -> str:
    """What is told of a result that cannot be written, whatever room there is."""
    return f"its result cannot be written, so it is not kept: {type(error).__name__}: {error}"


def _argument(value: Any) -> str:
    """An argument in short."""
    if isinstance(value, File):
        return in_unicode(f"file {os.fspath(value)}")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    if any(isinstance(each, Deferred) for each in items):
        return f"{type(value).__name__} of {len(value)} results"
    return short(value)


def _leaves_in(tree: Any) -> list[int]:
    if isinstance(tree, list):
        return [number for each in tree for number in _leaves_in(each)]
    if not isinstance(tree, dict):
        return []
    if "$leaf" in tree:
        return [tree["$leaf"]]
    inner = tree["files"] if "$folder" in tree else None
    return list(inner.values()) if inner else [number for each in tree.values() for number in _leaves_in(each)]
