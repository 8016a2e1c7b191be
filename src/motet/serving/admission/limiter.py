"""Waiting for a slot: the requests of one identity in their order, identities in turns.

A slot that a request of this process gives back goes to the next one here at once; one that comes free in another
process is found by looking every 5 ms, while somebody waits and not all slots are our own. Processes take turns too: one
that has been served 8 times while another waited lets that one go first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from motet.errors import TooManyRequestsError
from motet.serving.admission.locks import LockTable, Range
from motet.serving.config.admission import MAX_CONCURRENT, MAX_QUEUE, TotalLimits

__all__ = ["Limiter", "Limiters"]

POLL_S = 0.005
POLL_SHARE = 0.1
"""Of the loop's time that looking for slots may take, at most."""
TURNS = 8
_WAITING = MAX_CONCURRENT + MAX_QUEUE
_MARKS = 1024
"""Where the layout of a key's bytes puts the marks of processes that wait, and how many there may be."""


class Limiter:
    """The slots of one caller, or of a class.

    Args:
        pools: what it is one of.
        key: 16 bytes, the same in every process.
        limits: whose `concurrent` is not None.
        what: for messages, for example `requests of this caller at once`.
    """

    def __init__(self, pools: Limiters, key: bytes, limits: TotalLimits, what: str) -> None:
        assert limits.concurrent is not None
        self._pools, self._table, self._loop, self._key = pools, pools.table, pools.loop, key
        self._limits, self._what = limits, what
        self._size = limits.concurrent
        self._slots = Range(key, 0, self._size)
        self._places = Range(key, MAX_CONCURRENT, limits.queue)
        self._marks = Range(key, _WAITING, _MARKS)
        self._mark: int | None = None
        self._held = 0
        self._waiting: OrderedDict[bytes, deque[asyncio.Future[int]]] = OrderedDict()
        self._turns = 0
        self._back_at = 0.0

    @property
    def waits(self) -> bool:
        """Whether anybody waits here."""
        return bool(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nobody here runs or waits."""
        return not self._held and not self._waiting

    def take(self) -> int | None:
        """A slot that is free now and that nobody waits for; None where there is none."""
        slot = None if self._waiting else self._grab()
        self._pools.forget(self._key, self)
        return slot

    async def wait(self, who: bytes) -> int:
        """A slot, when it is this caller's turn.

        Args:
            who: the caller among those that take turns.

        Raises:
            TooManyRequestsError: at once when the queue is full; later when it took longer than `wait_s`.
        """
        if not self._waiting and (slot := self._grab()) is not None:
            return slot
        place = self._table.take(self._places)
        if place is None:
            self._pools.forget(self._key, self)
            raise TooManyRequestsError(
                f"{self._limits.concurrent} {self._what} run and {self._limits.queue} wait already",
                retry_after_s=1.0,
            )
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._enqueue(who, waiter)
        late = self._loop.call_later(self._limits.wait_s, self._expire, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise
        finally:
            late.cancel()
            self._dequeue(who, waiter)
            self._table.release(self._places, place)
            self._pools.forget(self._key, self)

    def release(self, slot: int) -> None:
        """Give a slot back: to the next one that waits here, else to whoever comes."""
        if self._waiting and self._is_our_turn():
            self._give(slot)
            self._count_turn()
        else:
            self._drop(slot)
        self._pools.forget(self._key, self)

    def look(self) -> None:
        """Give those that wait what has come free elsewhere."""
        while self._waiting and (slot := self._grab()) is not None:
            self._give(slot)

    def _grab(self) -> int | None:
        if self._held >= self._size or not self._is_our_turn():
            return None
        slot = self._table.take(self._slots)
        if slot is not None:
            self._held += 1
            self._count_turn()
        return slot

    def _give(self, slot: int) -> None:
        """Hand a slot that this process holds to the next one that waits."""
        while self._waiting:
            who, queue = self._waiting.popitem(last=False)
            waiter = queue.popleft()
            if queue:
                self._waiting[who] = queue
            if not waiter.done():
                waiter.set_result(slot)
                self._note()
                return
        self._note()
        self._drop(slot)

    def _drop(self, slot: int) -> None:
        self._held -= 1
        self._table.release(self._slots, slot)

    def _is_our_turn(self) -> bool:
        return self._loop.time() >= self._back_at

    def _count_turn(self) -> None:
        """After some turns that were taken while another process waited, let that one go first for two of its looks."""
        if not self._table.is_taken_elsewhere(self._marks):
            self._turns = 0
            return
        self._turns += 1
        if self._turns >= TURNS:
            self._turns, self._back_at = 0, self._loop.time() + 2 * POLL_S

    def _enqueue(self, who: bytes, waiter: asyncio.Future[int]) -> None:
        self._waiting.setdefault(who, deque()).append(waiter)
        self._note()

    def _dequeue(self, who: bytes, waiter: asyncio.Future[int]) -> None:
        queue = self._waiting.get(who)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._waiting[who]
            self._note()

    def _note(self) -> None:
        """Tell other processes, and the one who looks, whether anybody waits here."""
        if self._waiting and self._mark is None:
            self._mark = self._table.take(self._marks)
            self._pools.watch(self._key, self)
        elif not self._waiting and self._mark is not None:
            self._table.release(self._marks, self._mark)
            self._mark = None

    def _expire(self, waiter: asyncio.Future[int]) -> None:
        if not waiter.done():
            waiter.set_exception(
                TooManyRequestsError(
                    f"waited {self._limits.wait_s:g} s for one of {self._limits.concurrent} {self._what}",
                    retry_after_s=1.0,
                )
            )


class Limiters:
    """The pools that somebody runs or waits in, by their keys.

    Args:
        table: the locks.
        loop: where all of it happens.
    """

    def __init__(self, table: LockTable, loop: asyncio.AbstractEventLoop) -> None:
        self.table, self.loop = table, loop
        self._pools: dict[bytes, Limiter] = {}
        self._watched: dict[bytes, Limiter] = {}
        self._timer: asyncio.TimerHandle | None = None

    def get(self, key: bytes, limits: TotalLimits, what: str) -> Limiter:
        """The pool of a key."""
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Limiter(self, key, limits, what)
        return pool

    def forget(self, key: bytes, pool: Limiter) -> None:
        """Drop a pool that nobody uses any more."""
        if pool.idle and self._pools.get(key) is pool:
            del self._pools[key]

    def watch(self, key: bytes, pool: Limiter) -> None:
        """Look for slots that come free elsewhere, as long as somebody waits in this pool."""
        self._watched[key] = pool
        if self._timer is None:
            self._timer = self.loop.call_later(POLL_S, self._look)

    def _look(self) -> None:
        began = self.loop.time()
        for key, pool in list(self._watched.items()):
            pool.look()
            if not pool.waits:
                del self._watched[key]
        took_s = self.loop.time() - began
        self._timer = self.loop.call_later(max(POLL_S, took_s / POLL_SHARE), self._look) if self._watched else None

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __len__(self) -> int:
        return len(self._pools)
