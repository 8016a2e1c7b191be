"""The lives of a model's replicas: begun, watched, ended, and followed by others, as many as are wanted."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from motet.batch import Array
from motet.errors import InputError, MotetError, ReplicaLostError
from motet.graph.replicas import MOST_REPLICAS
from motet.runtime.replicas.clockwork import Clockwork
from motet.runtime.replicas.limits import ConcurrencyLimit
from motet.runtime.replicas.replica import Replica
from motet.runtime.replicas.restart_policy import RestartCounter, RestartPolicy
from motet.runtime.replicas.slot import UNBOUNDED, Life, ReplicaState, ReplicaStatus, Slot
from motet.system.incidents import INCIDENTS
from motet.threads import side_by_side
from motet.tracebacks import summary

__all__ = ["WAIT_S", "Lifecycle", "Make"]

_LOG = logging.getLogger("motet.runtime")

FIRST_TRIES = 3
"""Times that a replica is started at first, when somebody waits to hear whether the model can be loaded."""
WAIT_S = 30.0
"""How long a call waits for a replica to be ready; longer where loading one takes longer than a third of it."""
DRAIN_S = 60.0
"""When an in-process copy that is not wanted any more gives its memory back: calls under way are not counted for it."""
FIRST_LIMIT = 8
"""Calls of a remote replica that may be under way at first."""
Make = Callable[[], Replica]


class Lifecycle:
    """The places of a model's replicas, and the lives in them. Everything may be called from any thread.

    Args:
        name: of the model, for messages.
        make: makes one more local replica, not started.
        count: how many local ones there are at first.
        addresses: what makes the remote ones, by their addresses; these are there in any case.
        unchanged: is called before and after a local one is loaded; raises where it is another than those before.
        warm_up: is called with each replica when it is loaded; says whether it answered rows; what it raises means
            that it is not ready. None does nothing.
        restart_policy: how replicas are replaced.
        clockwork: the time, and who starts replicas.
        chance: a number from 0 to 1, for the jitter of pauses; None is the usual one.

    Attributes:
        direct: calls the only copy, where there is one copy and it is in this process; else None. What it answers is not
            checked, and its calls are not counted here.
        asks: is called when a call finds that no local replica is wanted, and has to bring one about; with the lock held.
            None begins one at once.
        waiting_rows: rows of calls that wait for a replica.
        busy_rows, busy_s: rows that replicas have answered, and seconds that it took them, without those of `direct`.
        loading_s: how long the last start took.
    """

    def __init__(
        self,
        name: str,
        make: Make,
        count: int,
        *,
        addresses: Mapping[str, Make],
        unchanged: Callable[[], None],
        warm_up: Callable[[Replica], bool] | None,
        restart_policy: RestartPolicy,
        clockwork: Clockwork,
        chance: Callable[[], float] | None,
    ) -> None:
        self.name = name
        self._make, self._unchanged, self._warm_up = make, unchanged, warm_up
        self._restart_policy, self._clockwork, self._chance = restart_policy, clockwork, chance
        self._condition = threading.Condition()
        self._closed = self._first = self._looking = self._answered = False
        self.asks: Callable[[], None] | None = None
        self.waiting_rows = self.busy_rows = 0
        self.busy_s = self.loading_s = 0.0
        self.direct: Callable[[Mapping[str, Array]], Mapping[str, Any]] | None = None
        self._slots: list[Slot] = []
        for _ in range(count):
            self._slots.append(self._slot(make))
        patient = restart_policy._replace(tries=0)
        self._slots += [self._slot(each, address, patient) for address, each in addresses.items()]

    def _slot(self, make: Make, address: str = "", restart_policy: RestartPolicy | None = None) -> Slot:
        restart_counter = RestartCounter(
            restart_policy or self._restart_policy, **({} if self._chance is None else {"chance": self._chance})
        )
        taken = {slot.name for slot in self._slots}
        number = next(str(number) for number in range(MOST_REPLICAS + 1) if str(number) not in taken)
        return Slot(address or number, make, restart_counter, address)

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
        self.revive()  # addresses that could not be reached

    def _end(self, slot: Slot, life: Life, reason: str, *, useful: bool, said: str = "") -> None:
        """A life has ended; does nothing where that is known. The lock is held.

        Args:
            slot, life: which.
            reason: why.
            useful: whether it answered a call.
            said: what the log says where the reason quotes rows.
        """
        if slot.life is not life or slot.state is ReplicaState.STOPPED:
            return
        slot.life = None
        self._clockwork.beside(life.replica.close)
        self._next_life(slot, reason, useful=useful, said=said)

    def _next_life(self, slot: Slot, reason: str, *, useful: bool, said: str = "") -> None:
        slot.reason = reason
        self._is_lost(slot, said or reason)
        pause = slot.restart_counter.ended(self._clockwork.now(), useful=useful)
        if pause is None:
            given_up = f"given up after {slot.restart_counter.num_useless} starts of no use; the last one: "
            slot.reason = given_up + reason
            self._say("replica_given_up", slot, "is not started anew: %s", given_up + (said or reason))
            self._set(slot, ReplicaState.FAILED)
            return
        self._set(slot, ReplicaState.BACKOFF)
        if pause:
            self._clockwork.later(lambda: self._clockwork.beside(partial(self._again, slot)), pause)
        else:
            self._clockwork.beside(partial(self._again, slot))

    def _is_lost(self, slot: Slot, reason: str) -> None:
        """A replica cannot be called any more, or an address does not answer, which is said once; the lock is held."""
        if not slot.address:
            self._say("replica_lost", slot, "is lost: %s", reason)
        elif slot.lost_at is None:
            self._say("address_out", slot, "does not answer: %s", reason)
        if slot.lost_at is None:
            slot.lost_at = self._clockwork.now()

    def _is_back(self, slot: Slot) -> None:
        """A replica that was lost has been followed by another, or an address answers again; the lock is held."""
        if slot.lost_at is not None:
            kind = "address_back" if slot.address else "replica_back"
            self._say(kind, slot, "answers again, after %.1f s", self._clockwork.now() - slot.lost_at)
            slot.lost_at = None

    def _say(self, kind: str, slot: Slot, text: str, *args: object) -> None:
        """Say and count what has become of a replica; the lock is held."""
        pid = slot.life.replica.pid if slot.life is not None else None
        fields = {"model": self.name, "replica": slot.name, "restarts": slot.restarts, "process": pid}
        text = f"model %s, replica %s {text}"
        INCIDENTS.say(_LOG, kind, text, self.name, slot.name, *args, of=f"{self.name} {slot.name}", **fields)

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
        unchanged = self._unchanged if not slot.address else lambda: None
        try:
            unchanged()
            replica = slot.make()
            with self._condition:
                if slot.state is not ReplicaState.STARTING:
                    return
                slot.starting = replica
                self._watch(replica)
            replica.start()
            unchanged()
            answered = self._warm_up is not None and self._warm_up(replica)
        except BaseException as error:  # noqa: BLE001 (said in its state, and raised by `start`)
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
                slot.loading_s = self.loading_s = now - begun
                slot.life, slot.error = Life(replica, limit), None
                self._answered |= answered
                self._set(slot, ReplicaState.READY)
                if not slot.address:
                    self._is_back(slot)
        if not wanted:
            replica.close()

    def _not_started(self, slot: Slot, error: BaseException) -> None:
        reason = error.what if isinstance(error, MotetError) else summary(error)
        with self._condition:
            slot.starting, slot.error = None, error
            if slot.state is not ReplicaState.STARTING:
                return
            again = isinstance(error, ReplicaLostError) and slot.restart_counter.num_useless + 1 < FIRST_TRIES
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

    def _watch(self, replica: Replica) -> None:
        if replica.kind == "process" and not self._looking:
            self._looking = True
            self._clockwork.later(partial(_look, weakref.ref(self)), self._restart_policy.look_s)

    def _look(self) -> bool:
        """Find replicas that ended while nobody called them, or that were stopped; whether to look again."""
        with self._condition:
            for slot in self._slots:
                life = slot.life
                if slot.starting is not None:
                    slot.starting.alive()  # which ends it where somebody has stopped it
                if life is not None and not life.replica.alive() and not life.in_flight:
                    self._end(slot, life, life.replica.how_ended(), useful=life.answered > 0)
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
                    slot.restart_counter.forget()
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
            self._warm_up = None  # it may hold the model, which holds this
        at_once = 1 if self._first else len(going)  # processes may take a moment to end
        side_by_side(lambda replica: replica.close(), going, at_once)


def _look(held: weakref.ref[Lifecycle]) -> None:
    """Look at replicas that nobody calls, again and again, for as long as somebody holds the set."""
    found = held()
    if found is not None and found._look():
        found._clockwork.later(partial(_look, held), found._restart_policy.look_s)
