"""The replicas of one model: chooses which answers, takes out those that are lost or wrong, and replaces them."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from motet.batch import Array
from motet.errors import (
    DeadlyRowsError,
    InputError,
    ModelFailedError,
    ModelUnavailableError,
    MotetError,
    ReplicaLostError,
)
from motet.runtime.replicas.balancer import BALANCERS, Balancer
from motet.runtime.replicas.clockwork import CLOCKWORK, Clockwork
from motet.runtime.replicas.keeper import Keeper, Keeping
from motet.runtime.replicas.life import UNBOUNDED, Life, ReplicaState, ReplicaStatus, Slot
from motet.runtime.replicas.limits import ConcurrencyLimit
from motet.runtime.replicas.replica import Replica

__all__ = ["MOST_REPLICAS", "ReplicaSet"]

MOST_REPLICAS = 256
"""Replicas that a model may have."""
TRIES = 3
"""Times that a batch is played, each time by another replica or another life of one."""
FIRST_TRIES = 3
"""Times that a replica is started at first, when somebody waits to hear whether the model can be loaded."""
WAIT_S = 30.0
"""How long a call waits for a replica to be ready; longer where loading one takes longer than a third of it."""
BUSY_S = 600.0
"""How long a call waits for a free replica while no call at all is finished, where calls have no timeout."""
NONE_READY = -2
DRAIN_S = 60.0
"""When an in-process copy that is not wanted any more gives its memory back: calls under way are not counted for it."""
BLAMED, BLAMED_S = 32, 600.0
"""Replicas lost within so many seconds for which rows may be blamed; beyond it the model is."""
Make = Callable[[], Replica]
Check = Callable[[Mapping[str, Any], int], Any]


class ReplicaSet:
    """Several loaded copies of a model that answer as one. Everything may be called from any thread.

    A batch whose replica is lost is played again by another one, at most `TRIES` times. A replica whose answer does not
    fit the signature is taken out when another one answers the same batch rightly.

    Args:
        name: of the model, for messages.
        make: makes one more local replica, not started.
        count: how many local ones there are at first.
        addresses: what makes the remote ones, by their addresses; these are there in any case.
        check: turns an answer for so many rows into what `call` returns, and raises `ModelFailedError` when it is wrong.
            None gives answers as they are.
        warm_up: is called with each replica when it is loaded; what it raises means that it is not ready. None does nothing.
        balancer: chooses; None is `least_loaded`.
        timeout_s: how long a call may take; None sets no bound.
        keeping: how replicas are replaced.
        clockwork: the time, and who starts replicas.
        chance: a number from 0 to 1, for the jitter of pauses; None is the usual one.

    Attributes:
        direct: calls the only copy, where there is one copy and it is in this process; else None. What it answers is not
            checked, and its calls are not counted here.
        changed: called, in any thread, when what can be called changed.
    """

    def __init__(
        self,
        name: str,
        make: Make,
        count: int = 1,
        *,
        addresses: Mapping[str, Make] | None = None,
        check: Check | None = None,
        warm_up: Callable[[Replica], None] | None = None,
        balancer: Balancer | None = None,
        timeout_s: float | None = None,
        keeping: Keeping | None = None,
        clockwork: Clockwork = CLOCKWORK,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self.name, self.timeout_s = name, timeout_s
        self._make, self._check, self._warm_up = make, check or _as_it_is, warm_up
        self._balancer = balancer or BALANCERS["least_loaded"]()
        self._keeping, self._clockwork, self._chance = keeping or Keeping(), clockwork, chance
        self._condition = threading.Condition()
        self._turn = self._finished = self._waiting = 0
        self._blamed: deque[float] = deque(maxlen=BLAMED)
        self._answered = self._closed = self._first = self._looking = False
        self.direct: Callable[[Mapping[str, Array]], Mapping[str, Any]] | None = None
        self.changed: Callable[[], None] = lambda: None
        self._slots: list[Slot] = []
        for _ in range(count):
            self._slots.append(self._slot(make))
        patient = replace(self._keeping, tries=0)
        self._slots += [self._slot(each, address, patient) for address, each in (addresses or {}).items()]

    def _slot(self, make: Make, address: str = "", keeping: Keeping | None = None) -> Slot:
        keeper = Keeper(keeping or self._keeping, **({} if self._chance is None else {"chance": self._chance}))
        taken = {slot.name for slot in self._slots}
        number = next(str(number) for number in range(MOST_REPLICAS + 1) if str(number) not in taken)
        return Slot(address or number, make, keeper, address)

    def start(self) -> None:
        """Start all replicas; returns when they are ready. One that dies while it starts is tried again, within bounds.

        Raises:
            ModelLoadError: when one cannot be started; with addresses, when none can. Then all are closed.
            Exception: what the warm-up raised.
        """
        self._first = True
        try:
            for slot in self._slots[1:]:
                self._clockwork.beside(partial(self._begin, slot))
            if self._slots:
                self._begin(self._slots[0])
            with self._condition:
                while any(slot.state in (ReplicaState.STARTING, ReplicaState.BACKOFF) for slot in self._slots):
                    self._clockwork.wait(self._condition, WAIT_S)
            errors = [slot.error for slot in self._slots if slot.error is not None]
            if errors and (len(errors) == len(self._slots) or not any(slot.address for slot in self._slots)):
                raise errors[0]
        except BaseException:
            self.close()
            raise
        self._first = False

    def call(self, columns: Mapping[str, Array], rows: int, name: str = "") -> Any:
        """Answer a batch.

        Args:
            columns: arrays `[rows, ...]` by the names of the signature's inputs.
            rows: how many.
            name: of the replica that is to answer where it can; empty lets the balancer choose.

        Returns:
            What `check` makes of the answer.

        Raises:
            ModelUnavailableError: when no replica is ready in time, or none answers.
            DeadlyRowsError: when one replica after another dies of these rows, and others were answered.
            ModelFailedError: when the answer is wrong, whoever gives it.
            Exception: what the framework raises.
        """
        lost: list[ReplicaLostError] = []
        wrong: list[tuple[Slot, Life, str]] = []
        avoid: list[Life] = []
        first: MotetError | None = None
        while True:
            slot, life = self._borrow(name, avoid, first)
            begun = self._clockwork.now()
            try:
                result = self._check(life.replica.call(columns, self.timeout_s), rows)
            except ReplicaLostError as error:
                stuck = self.timeout_s is not None and self._clockwork.now() - begun >= self.timeout_s
                self._lost(slot, life, error.what, again=bool(lost))
                lost.append(error)
                if len(lost) >= (TRIES if rows == 1 or not self._answered else TRIES - 1):
                    raise self._given_up(lost, rows, stuck) from error
            except ModelUnavailableError as error:
                self._unavailable(slot, life, error.what)
                avoid.append(life)
                first = first or error
            except ModelFailedError as error:
                self._give_back(slot, life)
                if life.replica.kind == "thread":
                    raise
                wrong.append((slot, life, error.what))
                avoid.append(life)
                first = first or error
            except BaseException:
                self._give_back(slot, life, answered=True)
                raise
            else:
                self._give_back(slot, life, answered=True, rows=rows, seconds=self._clockwork.now() - begun)
                for at_fault, its_life, what in wrong:
                    self._take_out(at_fault, its_life, f"its answer was wrong: {what}")
                return result
            if len(avoid) >= TRIES:
                assert first is not None
                raise first

    def _given_up(self, lost: Sequence[ReplicaLostError], rows: int, stuck: bool) -> MotetError:
        where = f"model {self.name!r}"
        what = f"{len(lost)} replicas were lost on the same {rows} rows; the last one: {lost[-1].what}"
        if stuck:
            return ModelUnavailableError(what, where=where, hint="allow more time with timeout_s")
        with self._condition:
            blamed = self._answered and len(self._blamed) < BLAMED
        return DeadlyRowsError(what, where=where) if blamed else ModelUnavailableError(what, where=where)

    def _borrow(self, name: str, avoid: Sequence[Life], first: MotetError | None) -> tuple[Slot, Life]:
        """A replica that is free, and not one of those to avoid; waits for it, within bounds."""
        clock, begun, progress = self._clockwork, 0.0, -1
        with self._condition:
            while True:
                standing = [slot for slot in self._slots if slot.callable and slot.life not in avoid]
                if not standing and first is not None:
                    raise first
                found = self._free(standing, name)
                if found is not None and found.life is not None:
                    self._turn += 1
                    found.turn = self._turn
                    found.life.in_flight += 1
                    return found, found.life
                now = clock.now()
                seen = self._finished if standing else NONE_READY
                if progress != seen:
                    begun, progress = now, seen
                left = begun + self._patience(bool(standing)) - now
                if left <= 0 or not self._hope():
                    raise self._none_ready(bool(standing))
                self._waiting += 1
                try:
                    clock.wait(self._condition, left)
                finally:
                    self._waiting -= 1

    def _free(self, standing: Sequence[Slot], name: str) -> Slot | None:
        if name:
            named = next((slot for slot in standing if slot.name == name), None)
            if named is not None:
                return named if named.in_flight < named.at_once else None
        free = [slot for slot in standing if slot.in_flight < slot.at_once]
        if not free:
            return None
        return free[0] if len(free) == 1 else self._balancer.choose(free)

    def _patience(self, standing: bool) -> float:
        if standing:
            return 2 * (self.timeout_s or BUSY_S)
        return max([WAIT_S, *(3 * slot.loading_s for slot in self._slots)])

    def _hope(self) -> bool:
        """Whether a replica can become ready; where none is wanted one is begun."""
        if self._closed:
            return False
        if not self._slots:
            self._more(1)
        return any(slot.state is not ReplicaState.FAILED for slot in self._slots)

    def _none_ready(self, standing: bool) -> ModelUnavailableError:
        where = f"model {self.name!r}"
        if self._closed:
            return ModelUnavailableError("it was closed", where=where)
        if standing:
            return ModelUnavailableError("its replicas are busy, and none has finished a call in time", where=where)
        states = "; ".join(f"{slot.name} {slot.state}{slot.reason and ': '}{slot.reason}" for slot in self._slots)
        hint = "mend what ends them, then load the model again"
        failed = all(slot.state is ReplicaState.FAILED for slot in self._slots)
        return ModelUnavailableError(f"no replica is ready: {states}", where=where, hint=hint if failed else "")

    def _give_back(
        self, slot: Slot, life: Life, *, answered: bool = False, rows: int = 0, seconds: float = 0.0
    ) -> None:
        with self._condition:
            if answered:
                life.answered += 1
                self._answered = True
                if life.limit is not None and rows:
                    life.limit.answered(rows, seconds, life.in_flight)
                if slot.state is ReplicaState.SUSPECT and slot.life is life:
                    slot.keeper.forget()
                    self._set(slot, ReplicaState.READY)
            self._over(slot, life)

    def _over(self, slot: Slot, life: Life) -> None:
        """A call is over, however it ended; the lock is held."""
        life.in_flight -= 1
        self._finished += 1
        if slot.state is ReplicaState.STOPPED and not life.in_flight:
            self._clockwork.beside(life.replica.close)
        if self._waiting:
            self._condition.notify_all()

    def _lost(self, slot: Slot, life: Life, reason: str, *, again: bool) -> None:
        """A replica was lost in a call; `again` where the same rows had lost one before."""
        with self._condition:
            now = self._clockwork.now()
            while self._blamed and self._blamed[0] <= now - BLAMED_S:
                self._blamed.popleft()
            excused = bool(self._answered and (again or self._blamed) and len(self._blamed) < BLAMED)
            if again and self._answered:
                self._blamed.append(now)
            self._end(slot, life, reason, useful=excused or life.answered > 0)
            self._over(slot, life)

    def _take_out(self, slot: Slot, life: Life, reason: str) -> None:
        """A replica must not be called any more: another takes its place."""
        with self._condition:
            self._end(slot, life, reason, useful=False)

    def _end(self, slot: Slot, life: Life, reason: str, *, useful: bool) -> None:
        """A life has ended; does nothing where that is known. The lock is held."""
        if slot.life is not life or slot.state is ReplicaState.STOPPED:
            return
        slot.life = None
        self._clockwork.beside(life.replica.close)
        self._next_life(slot, reason, useful=useful)

    def _next_life(self, slot: Slot, reason: str, *, useful: bool) -> None:
        slot.reason = reason
        pause = slot.keeper.ended(self._clockwork.now(), useful=useful)
        if pause is None:
            slot.reason = f"given up after {slot.keeper.num_useless} starts of no use; the last one: {reason}"
            self._set(slot, ReplicaState.FAILED)
            return
        self._set(slot, ReplicaState.BACKOFF)
        if pause:
            self._clockwork.later(lambda: self._clockwork.beside(partial(self._again, slot)), pause)
        else:
            self._clockwork.beside(partial(self._again, slot))

    def _unavailable(self, slot: Slot, life: Life, reason: str) -> None:
        """An address did not answer a call: nobody calls it for a while where another can be called."""
        with self._condition:
            if life.limit is not None:
                life.limit.refused()
            if slot.life is life and slot.callable:
                slot.reason = reason
                others = any(other.callable for other in self._slots if other is not slot)
                pause = slot.keeper.ended(self._clockwork.now(), useful=False) if others else None
                self._set(slot, ReplicaState.SUSPECT if pause is None else ReplicaState.BACKOFF)
                if pause is not None:
                    self._clockwork.later(partial(self._try_again, slot, life), pause)
            self._over(slot, life)

    def _try_again(self, slot: Slot, life: Life) -> None:
        with self._condition:
            if slot.life is life and slot.state is ReplicaState.BACKOFF:
                self._set(slot, ReplicaState.SUSPECT)

    def _again(self, slot: Slot) -> None:
        with self._condition:
            if slot.state is not ReplicaState.BACKOFF:
                return
            slot.restarts += 1
            self._set(slot, ReplicaState.STARTING)
        self._begin(slot)

    def _begin(self, slot: Slot) -> None:
        """Start a replica, and let it answer the warm-up batch; may take long."""
        begun = self._clockwork.now()
        replica: Replica | None = None
        try:
            replica = slot.make()
            with self._condition:
                if slot.state is not ReplicaState.STARTING:
                    return
                slot.starting = replica
            replica.start()
            if self._warm_up is not None:
                self._warm_up(replica)
        except Exception as error:  # noqa: BLE001 (said in its state, and raised by `start`)
            if replica is not None:
                replica.close()
            self._not_started(slot, error)
            return
        limit = ConcurrencyLimit(FIRST_LIMIT) if replica.kind == "remote" else None
        now = self._clockwork.now()
        with self._condition:
            slot.starting = None
            wanted = slot.state is ReplicaState.STARTING
            if wanted:
                slot.loading_s = now - begun
                slot.life, slot.error = Life(replica, limit, since=now), None
                self._set(slot, ReplicaState.READY)
                self._watch(replica)
        if not wanted:
            replica.close()

    def _not_started(self, slot: Slot, error: Exception) -> None:
        reason = error.what if isinstance(error, MotetError) else f"{type(error).__name__}: {error}"
        with self._condition:
            slot.starting, slot.error = None, error
            if slot.state is not ReplicaState.STARTING:
                return
            again = isinstance(error, ReplicaLostError) and slot.keeper.num_useless + 1 < FIRST_TRIES
            if self._first and not again:
                slot.reason = reason
                self._set(slot, ReplicaState.FAILED)
            else:
                self._next_life(slot, reason, useful=False)

    def _set(self, slot: Slot, state: ReplicaState) -> None:
        """Change a state, and what follows from it; the lock is held."""
        slot.state = state
        only = self._slots[0] if len(self._slots) == 1 else None
        life = only.life if only is not None and only.callable else None
        self.direct = getattr(life.replica, "loaded", None) if life and life.replica.kind == "thread" else None
        self._condition.notify_all()
        self.changed()

    def _watch(self, replica: Replica) -> None:
        if replica.kind == "process" and not self._looking:
            self._looking = True
            self._clockwork.later(partial(_look, weakref.ref(self)), self._keeping.look_s)

    def _look(self) -> bool:
        """Find replicas that ended while nobody called them; whether to look again."""
        with self._condition:
            for slot in self._slots:
                life = slot.life
                if life is not None and not life.replica.alive() and not life.in_flight:
                    self._end(slot, life, "its process ended", useful=life.answered > 0)
            self._looking = not self._closed and any(not slot.address for slot in self._slots)
            return self._looking

    def scale(self, count: int) -> None:
        """Have so many local replicas: more are started, without waiting for them; those that go finish their calls first.

        Replicas that were given up are tried again.

        Raises:
            InputError: when the number is not one from 0 to `MOST_REPLICAS`.
        """
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_REPLICAS:
            raise InputError(
                f"a model may have 0 to {MOST_REPLICAS} replicas; got {count!r}", where=f"model {self.name!r}"
            )
        with self._condition:
            local = [slot for slot in self._slots if not slot.address]
            for slot in local[count:]:
                self._stop(slot)
            self._more(count - len(local))
        self.revive()

    def revive(self) -> None:
        """Try those again that were given up."""
        with self._condition:
            for slot in self._slots:
                if slot.state is ReplicaState.FAILED:
                    slot.keeper.forget()
                    self._set(slot, ReplicaState.BACKOFF)
                    self._clockwork.beside(partial(self._again, slot))

    def _more(self, count: int) -> None:
        for _ in range(count):
            slot = self._slot(self._make)
            self._slots.append(slot)
            self._set(slot, ReplicaState.STARTING)
            self._clockwork.beside(partial(self._begin, slot))

    def _stop(self, slot: Slot) -> None:
        """Let a replica go when its calls are over; the lock is held."""
        self._slots.remove(slot)
        life = slot.life
        self._set(slot, ReplicaState.STOPPED)
        if slot.starting is not None:
            self._clockwork.beside(slot.starting.close)
        if life is not None and life.replica.kind == "thread":
            self._clockwork.later(life.replica.close, DRAIN_S)
        elif life is not None and not life.in_flight:
            self._clockwork.beside(life.replica.close)

    def status(self) -> tuple[ReplicaStatus, ...]:
        """What each replica is doing."""
        with self._condition:
            slots = list(self._slots)
        return tuple(slot.status() for slot in slots)

    def says(self, name: str) -> Any:
        """What a loaded copy says of itself under the name of an attribute; None where it says nothing, or none is ready."""
        with self._condition:
            lives = [slot.life for slot in self._slots if slot.life is not None and not slot.address]
        return getattr(getattr(lives[0].replica, "loaded", lives[0].replica), name, None) if lives else None

    @property
    def names(self) -> list[str]:
        """Of the replicas that can be called."""
        with self._condition:
            return [slot.name for slot in self._slots if slot.callable]

    @property
    def at_once(self) -> int:
        """How many calls can be under way at the same time; at least 1, and a very large number for in-process copies."""
        with self._condition:
            return max(1, min(UNBOUNDED, sum(slot.at_once for slot in self._slots)))

    @property
    def count(self) -> int:
        """How many local replicas are wanted."""
        with self._condition:
            return sum(not slot.address for slot in self._slots)

    def close(self) -> None:
        """End all replicas now, and give their memory back; calls that wait or are under way fail."""
        with self._condition:
            self._closed = True
            slots, self._slots = self._slots, []
            going = [each for slot in slots for each in (slot.starting, slot.life and slot.life.replica) if each]
            for slot in slots:
                self._set(slot, ReplicaState.STOPPED)
            self._check, self._warm_up = _as_it_is, None  # they hold the model, which holds this set
        if len(going) < 2 or self._first:
            for replica in going:
                replica.close()
        else:  # processes may take a moment to end
            with ThreadPoolExecutor(min(len(going), 16), thread_name_prefix="motet-close") as pool:
                list(pool.map(lambda replica: replica.close(), going))


FIRST_LIMIT = 8
"""Calls of a remote replica that may be under way at first."""


def _as_it_is(answer: Mapping[str, Any], rows: int) -> Any:
    return answer


def _look(held: weakref.ref[ReplicaSet]) -> None:
    """A set that nobody holds any more is not looked at."""
    found = held()
    if found is not None and found._look():
        found._clockwork.later(partial(_look, held), found._keeping.look_s)
