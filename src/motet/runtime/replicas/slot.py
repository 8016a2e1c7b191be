"""One place of a replica set, the lives that follow each other in it, and what is shown of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from motet.runtime.replicas.limits import ConcurrencyLimit
from motet.runtime.replicas.replica import Replica
from motet.runtime.replicas.restart_policy import RestartCounter

__all__ = ["UNBOUNDED", "Life", "ReplicaState", "ReplicaStatus", "Slot"]

UNBOUNDED = 1 << 30


class ReplicaState(StrEnum):
    """What a replica is doing.

    STARTING: it loads, and answers its warm-up batch. READY: it answers. SUSPECT: it answers one call at a time, until
    one is answered. BACKOFF: it was lost, and waits before it starts anew. STOPPED: it is not wanted any more. FAILED: it
    was lost again and again, and is not started anew by itself.
    """

    STARTING = "STARTING"
    READY = "READY"
    SUSPECT = "SUSPECT"
    BACKOFF = "BACKOFF"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


CALLABLE = (ReplicaState.READY, ReplicaState.SUSPECT)


@dataclass(eq=False, slots=True)
class Life:
    """A replica from its start to its end.

    Attributes:
        replica: what is called.
        limit: finds how many calls it may have at the same time; None where that is known.
        in_flight: calls that are under way.
        answered: calls it has answered.
    """

    replica: Replica
    limit: ConcurrencyLimit | None
    in_flight: int = 0
    answered: int = 0


@dataclass(eq=False, slots=True)
class Slot:
    """A place for a replica: while it is wanted, one life follows another in it.

    Attributes:
        name: its own, for as long as it is there.
        make: makes a replica, not started.
        address: of a remote replica, else empty.
        restart_counter: counts its lives, and says when the next begins.
        state: what it is doing.
        life: the one that can be called; None while there is none.
        starting: the replica that loads; None while none does.
        turn: at which choice it was chosen last, from 1; 0 for never.
        restarts: lives that began because another had ended.
        reason: why the last life ended, empty while none has.
        error: what the last start raised.
        loading_s: how long the last start took.
        lost_at: when a life of it was lost that none has followed yet; None where it is not missed.
    """

    name: str
    make: Callable[[], Replica]
    restart_counter: RestartCounter
    address: str = ""
    state: ReplicaState = ReplicaState.STARTING
    life: Life | None = None
    starting: Replica | None = None
    turn: int = 0
    restarts: int = 0
    reason: str = ""
    error: BaseException | None = field(default=None, repr=False)
    loading_s: float = 0.0
    lost_at: float | None = None

    @property
    def in_flight(self) -> int:
        """Calls that are under way."""
        return 0 if self.life is None else self.life.in_flight

    @property
    def callable(self) -> bool:
        """Whether it can be called now, or soon when a call is over."""
        return self.life is not None and self.state in CALLABLE

    @property
    def at_once(self) -> int:
        """How many calls it may have at the same time."""
        life = self.life
        if life is None or self.state not in CALLABLE:
            return 0
        if life.limit is not None:
            return 1 if self.state is ReplicaState.SUSPECT else life.limit.value
        return UNBOUNDED if life.replica.kind == "thread" else 1

    def status(self) -> ReplicaStatus:
        """What is shown of it."""
        life = self.life
        replica = self.starting if life is None else life.replica
        return ReplicaStatus(
            self.name,
            "" if replica is None else replica.kind,
            self.state,
            self.in_flight,
            self.at_once,
            0 if life is None else life.answered,
            self.restarts,
            0 if replica is None else replica.memory_bytes,
            None if replica is None else replica.pid,
            self.reason,
            self.loading_s,
            self.address,
        )


class ReplicaStatus(NamedTuple):
    """What a replica is doing.

    Attributes:
        name: its own, for as long as it is wanted.
        kind: `thread`, `process` or `remote`; empty while there is none.
        state: a `ReplicaState`.
        in_flight: calls that are under way.
        at_once: calls that it may have at the same time now.
        calls: answered since its last start.
        restarts: how often another took its place after it was lost.
        memory_bytes: resident memory of its process; 0 where it has none of its own.
        pid: of its process; None where it has none of its own.
        reason: why it was lost the last time, or could not be started; empty while it was not.
        loading_s: how long its last start took, warm-up included.
        address: of a remote replica, else empty.
    """

    name: str
    kind: str
    state: ReplicaState
    in_flight: int
    at_once: int
    calls: int
    restarts: int
    memory_bytes: int
    pid: int | None
    reason: str
    loading_s: float
    address: str = ""
