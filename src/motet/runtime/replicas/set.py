"""The replicas of one model: chooses which answers, plays batches again, and takes out those that are lost or wrong."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from motet.batch import Array
from motet.errors import (
    AnswerError,
    DeadlyRowsError,
    ModelFailedError,
    ModelUnavailableError,
    MotetError,
    ReplicaLostError,
)
from motet.runtime.replicas.balancer import Balancer, least_loaded
from motet.runtime.replicas.clockwork import CLOCKWORK, Clockwork
from motet.runtime.replicas.lifecycle import WAIT_S, Lifecycle, Make
from motet.runtime.replicas.replica import Replica
from motet.runtime.replicas.restart_policy import RestartPolicy
from motet.runtime.replicas.slot import Life, ReplicaState, Slot
from motet.system.incidents import INCIDENTS

__all__ = ["ReplicaSet"]

_LOG = logging.getLogger("motet.runtime")

TRIES = 3
"""Times that a batch is played, each time by another replica or another life of one."""
BUSY_S = 600.0
"""How long a call waits for a free replica while no call at all is finished, where calls have no timeout."""
BLAMED, BLAMED_S = 32, 600.0
"""Replicas lost within so many seconds for which rows may be blamed; beyond it the model is."""
NONE_READY = -2
Check = Callable[[Mapping[str, Any], int], Any]


class ReplicaSet(Lifecycle):
    """Several loaded copies of a model that answer as one. Everything may be called from any thread.

    A batch whose replica is lost is played again by another one, at most `TRIES` times. A replica whose answer does not
    fit the signature is taken out when another one answers the same batch rightly.

    Args:
        name, make, count, addresses, unchanged, warm_up, restart_policy, clockwork, chance: see `Lifecycle`.
        check: turns an answer for so many rows into what `call` returns, and raises `AnswerError` when it is wrong.
            None gives answers as they are.
        balancer: chooses.
        timeout_s: how long a call may take; None sets no bound.
    """

    def __init__(
        self,
        name: str,
        make: Make,
        count: int = 1,
        *,
        addresses: Mapping[str, Make] | None = None,
        unchanged: Callable[[], None] = lambda: None,
        check: Check | None = None,
        warm_up: Callable[[Replica], bool] | None = None,
        balancer: Balancer = least_loaded,
        timeout_s: float | None = None,
        restart_policy: RestartPolicy | None = None,
        clockwork: Clockwork = CLOCKWORK,
        chance: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(
            name,
            make,
            count,
            addresses=addresses or {},
            unchanged=unchanged,
            warm_up=warm_up,
            restart_policy=restart_policy or RestartPolicy(),
            clockwork=clockwork,
            chance=chance,
        )
        self.timeout_s, self._check = timeout_s, check or _as_it_is
        self._balancer = balancer
        self._turn = self._finished = self._waiting = 0
        self._blamed: deque[float] = deque(maxlen=BLAMED)

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
            AnswerError, ModelFailedError: when the answer is wrong, whoever gives it.
            Exception: what the framework raises.
        """
        lost: list[ReplicaLostError] = []
        wrong: list[tuple[Slot, Life, str]] = []
        avoid: list[Life] = []
        first: MotetError | None = None
        while True:
            slot, life = self._borrow(name, avoid, first, rows)
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
            except (AnswerError, ModelFailedError) as error:
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
        if blamed:
            text = "model %s: %d replicas were lost on the same %d rows, which are refused"
            INCIDENTS.say(
                _LOG, "deadly_rows", text, self.name, len(lost), rows, of=self.name, model=self.name, rows=rows
            )
        return DeadlyRowsError(what, where=where) if blamed else ModelUnavailableError(what, where=where)

    def _borrow(self, name: str, avoid: Sequence[Life], first: MotetError | None, rows: int) -> tuple[Slot, Life]:
        """A replica that is free, and not one of those to avoid; waits for it, within bounds."""
        clock, begun, progress = self._clockwork, 0.0, -1
        with self._condition:
            while True:
                standing = [slot for slot in self._slots if slot.callable and slot.life not in avoid]
                if not standing and first is not None and not self._coming():
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
                    raise first or self._none_ready(bool(standing))
                self._waiting += 1
                self.waiting_rows += rows
                try:
                    clock.wait(self._condition, left)
                finally:
                    self._waiting -= 1
                    self.waiting_rows -= rows

    def _free(self, standing: Sequence[Slot], name: str) -> Slot | None:
        if name:
            named = next((slot for slot in standing if slot.name == name), None)
            if named is not None:
                return named if named.in_flight < named.at_once else None
        free = [slot for slot in standing if slot.in_flight < slot.at_once]
        if not free:
            return None
        return free[0] if len(free) == 1 else self._balancer(free)

    def _patience(self, standing: bool) -> float:
        if standing:
            return 2 * (self.timeout_s or BUSY_S)
        return max([WAIT_S, 3 * self.loading_s, *(3 * slot.loading_s for slot in self._slots)])

    def _coming(self) -> bool:
        """Whether a local replica is about to be ready; an address that does not answer is not waited for."""
        coming = (ReplicaState.STARTING, ReplicaState.BACKOFF)
        return any(not slot.address and slot.state in coming for slot in self._slots)

    def _hope(self) -> bool:
        """Whether a replica can become ready; where none is wanted one is begun, or asked for."""
        if self._closed:
            return False
        if not self._slots:
            if self.asks is not None:
                self.asks()
                return True
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
        if not states:
            states, hint = "the pool had no place for one in time", "try again later, or give the pool more"
            return ModelUnavailableError(f"no replica is ready: {states}", where=where, hint=hint)
        failed = all(slot.state is ReplicaState.FAILED for slot in self._slots)
        return ModelUnavailableError(f"no replica is ready: {states}", where=where, hint=hint if failed else "")

    def _give_back(
        self, slot: Slot, life: Life, *, answered: bool = False, rows: int = 0, seconds: float = 0.0
    ) -> None:
        with self._condition:
            if answered:
                life.answered += 1
                self.busy_rows += rows
                self.busy_s += seconds
                self._answered = True
                if life.limit is not None and rows:
                    life.limit.answered(rows, seconds, life.in_flight)
                if slot.life is life and slot.callable:
                    if slot.state is ReplicaState.SUSPECT:
                        slot.restart_counter.forget()
                        self._set(slot, ReplicaState.READY)
                    self._is_back(slot)
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
            self._end(slot, life, reason, useful=False, said="its answer was wrong, and another's was right")

    def _unavailable(self, slot: Slot, life: Life, reason: str) -> None:
        """An address did not answer a call: nobody calls it for a while where another can be called."""
        with self._condition:
            if life.limit is not None:
                life.limit.refused()
            if slot.life is life and slot.callable:
                slot.reason = reason
                others = any(other.callable for other in self._slots if other is not slot)
                pause = slot.restart_counter.ended(self._clockwork.now(), useful=False) if others else None
                self._is_lost(slot, reason)
                self._set(slot, ReplicaState.SUSPECT if pause is None else ReplicaState.BACKOFF)
                if pause is not None:
                    self._clockwork.later(partial(self._try_again, slot, life), pause)
            self._over(slot, life)

    def _try_again(self, slot: Slot, life: Life) -> None:
        with self._condition:
            if slot.life is life and slot.state is ReplicaState.BACKOFF:
                self._set(slot, ReplicaState.SUSPECT)

    def close(self) -> None:
        """End all replicas now, and give their memory back; calls that wait or are under way fail."""
        super().close()
        self._check = _as_it_is  # which may have held the model, which holds this


def _as_it_is(answer: Mapping[str, Any], rows: int) -> Any:
    return answer
