"""Loads and drops models as rows need them, and hands loaded ones to calls. The order is that of `policy.py`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from copy import copy
from functools import partial
from typing import Any, Generic, TypeVar

from motet import threads
from motet.errors import ModelLoadError, ModelUnavailableError
from motet.locks import QuietLock
from motet.runtime.residency.policy import ResidencyGroup, ResidencyPolicy, ResidentModel, Swap, Waiter
from motet.runtime.resources.memory import resident_bytes, trim

__all__ = ["ResidencyCache"]

M = TypeVar("M")
T = TypeVar("T")
Key = Hashable
LONGEST_WAIT_S = 600.0
"""How long a call waits for its model at most; requests with a deadline are answered earlier."""
TRIM_EVERY_S, TRIM_BYTES = 1.0, 16 << 20
"""Freed memory goes back to the system when this much was freed, or so long after the last time."""
Work = Callable[[], None]


class ResidencyCache(Generic[M]):
    """Models that share a few places. May be used from any thread.

    Args:
        load: loads a model; may take long, and is called in a thread of its own.
        drop: gives a model's memory back.
        loads_at_once: how many models may be loaded at the same time.
        clock: seconds that only go up.
        beside: does something that takes long, in another thread; None is threads of its own.
        memory: what a loaded model takes, in bytes, if it says so; 0 measures how much this process grew.
    """

    def __init__(
        self,
        load: Callable[[Any], M],
        drop: Callable[[M], None],
        *,
        loads_at_once: int = 1,
        clock: Callable[[], float] = time.monotonic,
        beside: Callable[[Work], object] | None = None,
        memory: Callable[[M], int] | None = None,
    ) -> None:
        self._load, self._drop, self._clock, self._memory = load, drop, clock, memory
        self._beside = beside or partial(threads.beside, name="motet-swap")
        self._policy = ResidencyPolicy(loads_at_once)
        self._lock = QuietLock()
        self._models: dict[Key, M] = {}
        self._swapping = 0
        self._freed_bytes, self._trimmed_at = 0, float("-inf")

    def add(self, key: Key, group: ResidencyGroup, *, resident: bool = False, memory_bytes: int = 0) -> None:
        """Make a model known by what `load` is given for it; see `ResidencyPolicy.add`."""
        with self._lock:
            self._policy.add(key, group, resident=resident, memory_bytes=memory_bytes)

    def __contains__(self, key: Key) -> bool:
        return key in self._policy.entries

    def is_in(self, key: Key) -> bool:
        """Whether a model is loaded, and takes rows, at this moment."""
        entry = self._policy.entries.get(key)
        return entry is not None and entry.state == "in" and not entry.closing

    def has(self, model: M) -> bool:
        """Whether a loaded model is one of these."""
        with self._lock:
            return any(each is model for each in self._models.values())

    def borrow(self, key: Key, rows: int) -> M:
        """A model for one call, loaded if it is not; waits for its place. To be given back with `give_back`.

        Raises:
            Exception: why it cannot be loaded.
        """
        asked = self._ask(key, rows)
        if not isinstance(asked, Future):
            return asked
        try:
            return asked.result(LONGEST_WAIT_S)
        except BaseException as error:
            self._not_needed(key, asked)
            if isinstance(error, FutureTimeoutError):
                raise _too_long(key) from None
            raise

    async def borrow_async(self, key: Key, rows: int) -> M:
        """As `borrow`, on an event loop."""
        import asyncio

        asked = self._ask(key, rows)
        if not isinstance(asked, Future):
            return asked
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                return await asyncio.wrap_future(asked)
        except BaseException as error:
            self._not_needed(key, asked)
            if isinstance(error, TimeoutError):
                raise _too_long(key) from None
            raise

    def give_back(self, key: Key) -> None:
        """A call that had a model is over."""
        with self._lock:
            self._policy.give_back(key)
            look = self._policy.wanted and not self._policy.entries[key].users
        if look:
            self._next()

    def in_turn(self, wanted: Mapping[T, tuple[Key, int]]) -> Iterator[tuple[T, M | Exception]]:
        """Several calls, in the order in which their models can be had: those of loaded ones first.

        The model of a call is its own until the next one is asked for. All others may be loaded in the meantime.

        Args:
            wanted: the key and the rows of each call.

        Yields:
            a call, and its model or why it cannot be loaded.
        """
        now: list[tuple[T, M]] = []
        later: dict[Future[M], T] = {}
        for call, (key, rows) in wanted.items():
            found = self._ask(key, rows, look=False)
            if isinstance(found, Future):
                later[found] = call
            else:
                now.append((call, found))
        self._next()
        try:
            while now:
                call, model = now[0]
                yield call, model
                del now[0]
                self.give_back(wanted[call][0])
            for future in as_completed(later, LONGEST_WAIT_S):
                call = later[future]
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield call, error or future.result()
                del later[future]
                if error is None:
                    self.give_back(wanted[call][0])
        except FutureTimeoutError:
            raise _too_long(wanted[next(iter(later.values()))][0]) from None
        finally:
            for call, _ in now:
                self.give_back(wanted[call][0])
            for future, call in later.items():
                self._not_needed(wanted[call][0], future)

    def load(self, key: Key) -> None:
        """Load a model before it is needed.

        Raises:
            ModelLoadError: when it cannot be loaded.
        """
        self.borrow(key, 0)
        self.give_back(key)

    def retain(self, keys: Iterable[Key]) -> None:
        """Forget all models but these; calls that have one keep it until they are over."""
        kept = set(keys)
        with self._lock:
            going = [key for key in self._policy.entries if key not in kept]
            swap = self._policy.drop(going)
        if swap is not None:
            self._do(swap)
        with self._lock:
            for key in going:
                entry = self._policy.entries[key]
                if entry.state == "out" and not entry.waiting:
                    self._policy.forget(key)

    def held(self) -> list[ResidentModel]:
        """What is loaded, and what is not, as it is now."""
        with self._lock:
            return [copy(entry) for entry in self._policy.entries.values()]

    @property
    def groups(self) -> list[ResidencyGroup]:
        """The places, each once."""
        with self._lock:
            return list({id(g): g for entry in self._policy.entries.values() for g in entry.groups}.values())

    @property
    def swapping(self) -> bool:
        """Whether a model is being loaded."""
        return self._swapping > 0

    def close(self) -> None:
        """Drop all models that no call has; it may be used again."""
        with self._lock:
            swap = self._policy.drop(list(self._policy.entries))
        if swap is not None:
            self._do(swap)

    def _ask(self, key: Key, rows: int, *, look: bool = True) -> M | Future[M]:
        """The model, the caller's until it gives it back; or a future of it."""
        with self._lock:
            now = self._clock()
            found = self._policy.ask(key, rows, now)
            if found is True:
                return self._models[key]
            future: Future[M] = Future()
            if found is not False:
                future.set_exception(found)
                return future
            self._policy.wait(Waiter(key, rows, now, future))
        if look:
            self._next()
        return future

    def _not_needed(self, key: Key, future: Future[M]) -> None:
        """Nobody waits any more; what was granted in the meantime is given back."""
        if not future.cancel() and future.exception() is None:
            self.give_back(key)
        else:
            self._next()

    def _next(self) -> None:
        while True:
            with self._lock:
                swap = self._policy.next(self._clock(), self._models)
            if swap is None:
                return
            self._beside(lambda swap=swap: self._do(swap))  # type: ignore[misc]

    def _do(self, swap: Swap) -> None:
        """Drop, then load; those who wait are told."""
        for key in swap.drop:
            with self._lock:
                model, freed = self._models.pop(key), self._policy.entries[key].memory_bytes
            with contextlib.suppress(Exception):  # its memory is gone or not; there is nothing else to be done
                self._drop(model)
            del model
            self._trim(freed)
        with self._lock:
            self._policy.dropped(swap.drop)
            self._swapping += 1
            alone = self._swapping == 1
        try:
            if swap.load is not None:
                self._load_one(swap.load, alone)
            else:
                with self._lock:
                    self._policy.done(None)
        finally:
            with self._lock:
                self._swapping -= 1
        self._next()

    def _load_one(self, key: Key, alone: bool) -> None:
        entry = self._policy.entries[key]
        before = resident_bytes()
        try:
            self._check_room(entry)
            model = self._load(key)
        except BaseException as error:  # noqa: BLE001 (handed to those who wait)
            with self._lock:
                waiters = self._policy.failed(key, error, self._clock())
            for waiter in waiters:
                if waiter.told.set_running_or_notify_cancel():
                    waiter.told.set_exception(error)
            return
        said = self._memory(model) if self._memory is not None else 0
        grown = resident_bytes() - before if alone else 0
        with self._lock:
            self._models[key] = model
            for waiter in self._policy.done(key, said or max(grown, entry.memory_bytes)):
                waiter.told.set_result(model)

    def _check_room(self, entry: ResidentModel) -> None:
        for group in entry.groups:
            if group.memory_bytes and entry.memory_bytes > group.memory_bytes:
                raise ModelLoadError(
                    f"it takes {entry.memory_bytes / 2**20:,.0f} MiB; the models of {group.name} may take "
                    f"{group.memory_bytes / 2**20:,.0f} MiB together",
                    hint="give the pool more memory",
                )

    def _trim(self, freed_bytes: int) -> None:
        self._freed_bytes += freed_bytes
        now = self._clock()
        if self._freed_bytes >= TRIM_BYTES or now - self._trimmed_at >= TRIM_EVERY_S:
            self._freed_bytes, self._trimmed_at = 0, now
            trim()


def _too_long(key: Key) -> ModelUnavailableError:
    return ModelUnavailableError(f"model {key!r} had no place within {LONGEST_WAIT_S:g} s")
