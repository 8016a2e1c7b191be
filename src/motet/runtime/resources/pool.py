"""The pool: what replicas, bulk runs and workflow steps borrow and give back, in one process or in all of a machine.

Who serves people (`live`) goes before who works through data (`bulk`), and who could serve nobody at all otherwise (`urgent`)
before both. Whoever waits stands in a line of its priority, in the order they came; nobody overtakes, so that a large need does
not starve. Who holds something is asked for it when work that goes before it waits (`Lease.wanted`): bulk work gives it back
between two batches or steps (`Lease.breathe`), live work where it has more of the same.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from motet.errors import InputError, OverloadedError
from motet.runtime.resources.holders import Holder, holders_of
from motet.runtime.resources.lease import RANKS, Claim, Lease, Priority, Waiting
from motet.runtime.resources.ledger import Ledger
from motet.runtime.resources.need import Need, machine

if TYPE_CHECKING:
    import asyncio

__all__ = ["Claim", "Holder", "Lease", "Need", "Pool", "Priority", "machine"]

POLL_S = 0.05
"""How often those that wait look at what other processes have given back."""


class Pool:
    """Resources that are borrowed and given back. Any thread may use it.

    Args:
        capacity: what there is; None is what the machine has.
        folder: where the processes of a machine that share it write what they hold; None shares with nobody. All must say the
            same capacity.
        name: what those who borrow from it are called, for people.
        clock: seconds that only go up, the same for all processes of the machine.
    """

    def __init__(
        self,
        capacity: Need | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = machine() if capacity is None else capacity
        self._clock, self._name = clock, name
        self._ledger = None if folder is None else Ledger.of(folder)
        self._part = os.urandom(8).hex()
        self._changed = threading.Condition()
        self._leases: list[Lease] = []
        self._own: Need | None = None
        self._waiting: list[Waiting] = []
        self._others: Sequence[Any] = ()
        self._page: dict[str, Any] = {}

    def borrow(
        self,
        need: Need,
        *,
        priority: Priority = "live",
        timeout_s: float | None = None,
        stopped: Callable[[], bool] = lambda: False,
        who: str = "",
    ) -> Lease:
        """Wait for resources, and hold them until they are given back.

        Args:
            need: how much.
            priority: `urgent` goes before `live`, and that before `bulk`.
            timeout_s: how long to wait; None waits for ever, 0 not at all.
            stopped: ends the wait when it says so.
            who: what borrows it, for people; empty is the pool's name.

        Raises:
            InputError: when there will never be so much.
            OverloadedError: when there was not enough in time, or `stopped`.
        """
        lease = self._asked(need, priority, who)
        if not self._take(lease, timeout_s, stopped):
            held = (self.used() + need).beyond(self.capacity)
            raise OverloadedError(f"the pool did not have in time: {held or 'what others wait for'}", retry_after_s=1)
        return lease

    def claim(self, need: Need, *, priority: Priority = "live", who: str = "") -> Claim:
        """Stand in the line for resources without waiting there; whoever does must look now and then, or leave.

        Args:
            need: how much.
            priority: `urgent` goes before `live`, and that before `bulk`.
            who: what asks for it, for people; empty is the pool's name.

        Raises:
            InputError: when there will never be so much.
        """
        return Claim(self, self._asked(need, priority, who))

    def _asked(self, need: Need, priority: Priority, who: str) -> Lease:
        if priority not in RANKS:
            raise InputError(f"a priority is one of {', '.join(RANKS)}; got {priority!r}", where="pool")
        self.check(need)
        return Lease(self, need, priority, who or self._name)

    async def borrow_async(self, need: Need, *, priority: Priority = "live", timeout_s: float | None = None) -> Lease:
        """As `borrow`, without holding up an event loop."""
        import asyncio

        gone = threading.Event()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(
            None, lambda: self.borrow(need, priority=priority, timeout_s=timeout_s, stopped=gone.is_set)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            gone.set()
            work.add_done_callback(_give_back)
            raise

    def check(self, need: Need, where: str = "pool") -> None:
        """See that there may be so much at some time.

        Raises:
            InputError: when there never is.
        """
        if not need.within(self.capacity):
            raise InputError(
                f"there will never be {need.beyond(self.capacity)}",
                where=where,
                hint="ask for less, or give the pool more",
            )

    def used(self) -> Need:
        """What is lent now, to all processes."""
        with self._alone():
            return self._used()

    def within_reach(self, priority: Priority = "live") -> Need:
        """What is left now, with what work of lower priorities holds, which gives way."""
        with self._alone():
            return self.capacity - self._used(RANKS[priority])

    def waiting(self) -> int:
        """How many wait, in all processes."""
        with self._alone():
            return len(self._waiting) + len(list(self._waiting_elsewhere()))

    def holders(self) -> list[Holder]:
        """Who has borrowed what, and waits for what, in all processes; live work first."""
        with self._alone():
            return holders_of([*self._others, self._written()])

    def _take(self, lease: Lease, timeout_s: float | None, stopped: Callable[[], bool]) -> bool:
        begun = self._clock()
        waiting = Waiting(lease.need, RANKS[lease.priority], begun, lease.who)
        with self._changed:
            self._waiting.append(waiting)
            try:
                while not self._lent(lease, waiting):
                    left = None if timeout_s is None else begun + timeout_s - self._clock()
                    if stopped() or (left is not None and left <= 0):
                        return False
                    self._changed.wait(POLL_S if left is None else min(POLL_S, left))
                return True
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
                    with self._book():
                        self._changed.notify_all()

    def _lent(self, lease: Lease, waiting: Waiting) -> bool:
        with self._book():
            return self._lend(lease, waiting)

    def _lend(self, lease: Lease, waiting: Waiting) -> bool:
        """Lend what somebody waits for, where it is their turn and there is enough; with lock and book."""
        if not self._in_front(waiting) or not (self._used() + lease.need).within(self.capacity):
            return False
        lease._held = True
        self._leases.append(lease)
        self._own = None
        self._waiting.remove(waiting)
        self._changed.notify_all()
        return True

    def _stand(self, lease: Lease) -> Waiting:
        waiting = Waiting(lease.need, RANKS[lease.priority], self._clock(), lease.who)
        with self._alone():
            self._waiting.append(waiting)
        return waiting

    def _took(self, lease: Lease, waiting: Waiting) -> bool:
        with self._alone():
            return waiting in self._waiting and self._lend(lease, waiting)

    def _leave(self, waiting: Waiting) -> None:
        with self._alone():
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._changed.notify_all()

    def _release(self, lease: Lease) -> None:
        with self._alone():
            if lease._held:
                lease._held = False
                self._leases.remove(lease)
                self._own = None
                self._changed.notify_all()

    def _resize(self, lease: Lease, need: Need) -> bool:
        with self._alone():
            if not lease._held:
                return False
            more = not need.within(lease.need)
            first = not more or not (self._waiting or any(self._waiting_elsewhere()))
            if not first or not (self._used() - lease.need + need).within(self.capacity):
                return False
            lease.need = need
            self._own = None
            self._changed.notify_all()
            return True

    def _join(self, lease: Lease, other: Lease) -> None:
        with self._alone():
            if lease._held and other._held:
                lease.need += other.need
                other._held = False
                self._leases.remove(other)
                self._own = None

    def _wanted(self, lease: Lease) -> bool:
        rank = RANKS[lease.priority]
        with self._alone():
            needs = [each.need for each in self._waiting if each.rank < rank]
            needs += [each.need for each in self._waiting_elsewhere() if each.rank < rank]
            if not needs:
                return False
            return not sum(needs, Need()).within(self.capacity - self._used(rank))

    def _in_front(self, waiting: Waiting) -> bool:
        rank, since = waiting.rank, waiting.since
        here = any(each is not waiting and each.before(rank, since) for each in self._waiting)
        return not here and not any(each.before(rank, since) for each in self._waiting_elsewhere())

    def _used(self, lowest: int | None = None) -> Need:
        """What is lent now, to all processes; with `lowest` only to those of such a rank and those that go before them."""
        if lowest is not None:
            total = sum((each.need for each in self._leases if RANKS[each.priority] <= lowest), Need())
        elif self._own is None:
            self._own = total = sum((each.need for each in self._leases), Need())
        else:
            total = self._own
        for page in self._others:
            for held in page["held"]:
                if lowest is None or held["rank"] <= lowest:
                    total += Need.read(held["need"])
        return total

    def _waiting_elsewhere(self) -> Iterator[Waiting]:
        for page in self._others:
            for each in page["waiting"]:
                yield Waiting(Need.read(each["need"]), each["rank"], each["since"])

    def _written(self) -> dict[str, Any]:
        """What the other processes are shown of this one."""
        held = [{"need": each.need.amounts(), "rank": RANKS[each.priority], "who": each.who} for each in self._leases]
        waiting = [
            {"need": each.need.amounts(), "rank": each.rank, "since": each.since, "who": each.who}
            for each in self._waiting
        ]
        return {"pid": os.getpid(), "held": held, "waiting": waiting}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """With the lock, and what the other processes hold at hand."""
        with self._changed, self._book():
            yield

    @contextmanager
    def _book(self) -> Iterator[None]:
        """Read what the other processes hold, and write what this one holds afterwards; the lock is held."""
        ledger = self._ledger
        if ledger is None:
            yield
            return
        with ledger.turn():
            self._others = [*ledger.others(), *ledger.own(self._part)]
            try:
                yield
            finally:
                page = self._written() if self._leases or self._waiting else {}
                if page != self._page:
                    ledger.write(self._part, page)
                    self._page = page


def _give_back(work: asyncio.Future[Lease]) -> None:
    """What was borrowed for somebody who has gone."""
    if not work.cancelled() and work.exception() is None:
        work.result().release()
