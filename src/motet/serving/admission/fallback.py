"""Rates that Redis counts, and what holds while it does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

from motet.errors import OverloadedError
from motet.serving.admission.rates import AskedRates, Rates, Wanted
from motet.system.incidents import Outage

__all__ = ["Fallback"]

_LOG = logging.getLogger("motet.serving")
TRY_S = 1.0
"""Between two requests that try Redis while it does not answer; the others do not wait for it."""
SAID = {
    "closed": "requests that it has to count are refused",
    "open": "requests are let in without being counted",
    "local": "requests are counted on this machine alone",
}
"""What is done by the name that a configuration has for it."""


class Fallback(AskedRates):
    """Counts by Redis as long as it answers.

    Args:
        redis: counts there.
        local: counts on this machine; None where nothing does, and requests are let in (`open`) or refused (`closed`).
        fail: what is done while Redis does not answer: `closed`, `open` or `local`.
        uncounted: is called for each request that Redis could not count.
        ticks: seconds that only go up.
    """

    def __init__(
        self,
        redis: Rates,
        local: Rates | None,
        fail: str,
        uncounted: Callable[[], None],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis, self._local, self._fail, self._uncounted, self._ticks = redis, local, fail, uncounted, ticks
        self._away: OverloadedError | None = None
        self._outage = Outage(_LOG, "rates", "Redis", ticks=ticks)
        self._try_at = 0.0

    async def _ask(self, how: Literal["take", "look"], wanted: Wanted) -> float:
        if self._away is not None and self._ticks() < self._try_at:
            return await self._without(how, wanted, self._away)
        self._try_at = self._ticks() + TRY_S
        try:
            left = await (self._redis.take(wanted) if how == "take" else self._redis.look(wanted))
        except OverloadedError as error:
            self._outage.out("%s; until it does, %s", error.what, SAID[self._fail])
            self._away, self._try_at = error, self._ticks() + TRY_S
            return await self._without(how, wanted, error)
        if self._away is not None:
            self._away = None
            self._outage.back("Redis answers again, and counts requests")
        return left

    async def _without(self, how: str, wanted: Wanted, error: OverloadedError) -> float:
        if how == "take":
            self._uncounted()
        if self._local is not None:
            return await (self._local.take(wanted) if how == "take" else self._local.look(wanted))
        if self._fail == "open":
            return 0.0
        raise OverloadedError(error.what, retry_after_s=error.retry_after_s)

    async def close(self) -> None:
        """Give back what both hold."""
        await self._redis.close()
        if self._local is not None:
            await self._local.close()
