"""Requests a period, counted for all processes of a machine by `limits`, in SQLite; `redis_rates.py` counts for several machines.

`limits` has stores for one process, and takes others: `sqlite.py` is one for all processes of a machine. The other library that
was looked at, pyrate-limiter 4.5, has such a store, with a table for each caller and a scan of the window for each check. One
check of 100 an hour, on two cores that had other work too: 0.1 ms here, 0.5 ms there; with four processes at it 0.4 ms here and
1.6 ms there, or 0.8 ms there without its file lock, where 101 requests were let in. Redis on the same machine takes 0.5 to 2 ms,
most of it waiting.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from motet.errors import GraphError, MissingExtraError, OverloadedError
from motet.serving.config.admission import Rate
from motet.system.incidents import Outage

__all__ = ["AskedRates", "Busy", "Rates", "SqliteRates", "Wanted"]

_LOG = logging.getLogger("motet.serving")
Wanted = Sequence[tuple[bytes, Rate]]
"""Whose requests are counted, and the rate that holds for them; several must all hold."""
BUSY_S = 2.0
"""How long a request waits for other processes that count; far longer than they ever need."""


class Busy(Exception):
    """Another process counts just now."""


class Rates(Protocol):
    """What counts. A request counts for all of its rates or for none."""

    def take_now(self, wanted: Wanted) -> float:
        """Count a request without waiting; gives 0, or the seconds after which it has a chance.

        Raises:
            Busy: when that would have to wait; `take` does.
            OverloadedError: when nothing can be counted, which lets nobody in.
        """

    async def take(self, wanted: Wanted) -> float:
        """Count a request; gives 0, or the seconds after which it has a chance.

        Raises:
            OverloadedError: when nothing can be counted, which lets nobody in.
        """

    async def look(self, wanted: Wanted) -> float:
        """What `take` would give now, without counting."""

    async def close(self) -> None:
        """Give back what it holds."""


class AskedRates(ABC):
    """Rates that something else counts, and that are always waited for."""

    def take_now(self, wanted: Wanted) -> float:
        """Raises Busy: it is always waited for."""
        raise Busy

    async def take(self, wanted: Wanted) -> float:
        """See `Rates`."""
        return await self._ask("take", wanted)

    async def look(self, wanted: Wanted) -> float:
        """See `Rates`."""
        return await self._ask("look", wanted)

    @abstractmethod
    async def _ask(self, how: Literal["take", "look"], wanted: Wanted) -> float: ...


class SqliteRates:
    """Rates of one machine, exact, and kept when the server ends.

    A request is counted in the event loop, in one transaction that never waits for another process nor for the disk;
    where another process is at it, it is tried again after a millisecond or two.

    Args:
        path: the file.
        ticks: seconds since the machine's start.
        clock: seconds since 1970, of which only the first one counts.

    Raises:
        MissingExtraError: when `limits` is not installed.
        GraphError: when the file cannot be used.
    """

    def __init__(
        self, path: Path, *, ticks: Callable[[], float] = time.monotonic, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            import limits
        except ImportError as error:
            raise MissingExtraError("limits", "auth", "admission by rates") from error
        from motet.serving.admission.sqlite import SqliteStorage

        self._item = limits.RateLimitItemPerSecond
        try:
            self._storage = SqliteStorage(path, busy_s=0.0, ticks=ticks, clock=clock)
        except sqlite3.Error as error:
            raise GraphError(f"{str(path)!r} cannot keep rates: {error}", where="admission.folder") from None
        self._limiter = limits.strategies.MovingWindowRateLimiter(self._storage)
        self._outage = Outage(_LOG, "rates", "this machine")

    def take_now(self, wanted: Wanted) -> float:
        """See `Rates`."""
        try:
            with self._storage.together():
                for key, rate in wanted:
                    if not self._limiter.hit(self._item(rate.amount, rate.period_s), key.hex()):
                        raise _Full
        except _Full:
            return max(self._left(wanted), 0.001)
        except sqlite3.Error as error:
            raise self._trouble(error) from None
        self._outage.back("requests are counted again")
        return 0.0

    async def take(self, wanted: Wanted) -> float:
        """See `Rates`."""
        until = time.monotonic() + BUSY_S
        while True:
            try:
                return self.take_now(wanted)
            except Busy:
                if time.monotonic() > until:
                    raise self._out("another process holds the file of rates") from None
            await asyncio.sleep(random.uniform(0.0005, 0.002))

    async def look(self, wanted: Wanted) -> float:
        """See `Rates`."""
        try:
            return max(self._left(wanted), 0.0)
        except Busy:
            return 0.0  # counting it will tell

    def _left(self, wanted: Wanted) -> float:
        try:
            items = [(self._item(rate.amount, rate.period_s), key, rate) for key, rate in wanted]
            free = (self._storage.free_at(i.key_for(key.hex()), rate.amount, rate.period_s) for i, key, rate in items)
            return max(free) - self._storage.now()
        except sqlite3.Error as error:
            raise self._trouble(error) from None

    def _trouble(self, error: sqlite3.Error) -> Exception:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Busy()
        return self._out(str(error))

    def _out(self, why: str) -> OverloadedError:
        self._outage.out("requests cannot be counted, and are refused: %s", why)
        return OverloadedError(f"requests cannot be counted now: {why}", retry_after_s=1.0)

    async def close(self) -> None:
        """Close the file."""
        self._storage.close()


class _Full(Exception):
    """A rate is used up: undoes what was counted for others."""
