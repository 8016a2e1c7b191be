"""Wrong credentials, counted by the network that they come from, so that nobody tries one after the other without a bound.

A credential is looked at all the same beyond the bound: behind one address there may be many callers, and those whose
credential holds are let in. That costs next to nothing, and there is nothing to guess: a key has 256 random bits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from motet.errors import TooManyRequestsError
from motet.system.incidents import INCIDENTS
from motet.system.recent import LruCache

__all__ = ["WrongCredentials", "WrongCredentialsError"]

_LOG = logging.getLogger("motet.serving")
MOST = 10
"""Wrong credentials of one network in a period that are answered with what is wrong about them."""
PERIOD_S = 60.0
MOST_NETWORKS = 65_536
"""Networks that are counted at the same time; the one that sent its last longest ago is forgotten for a further one."""


class WrongCredentialsError(TooManyRequestsError):
    """More wrong credentials came from one network than are answered."""


class WrongCredentials:
    """Those of the last minute, of one process.

    Args:
        ticks: seconds that only go up.
    """

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._counts: LruCache[str, tuple[float, int]] = LruCache(MOST_NETWORKS)
        """When the period of a network began, and how many came since."""

    def add(self, network: str) -> None:
        """A wrong credential came from a network; that is an incident where it is one too many.

        Raises:
            WrongCredentialsError: when too many have come; says nothing about this one, but when to try again.
        """
        now = self._ticks()
        since, count = self._counts.get(network) or (now, 0)
        if now - since >= PERIOD_S:
            since, count = now, 0
        self._counts.put(network, (since, count + 1))
        if count == MOST:
            text = "more than %d wrong credentials came from %s within a minute; further ones are refused with 429"
            INCIDENTS.say(_LOG, "wrong_credentials", text, MOST, network, network=network)
        if count >= MOST:
            raise WrongCredentialsError(
                f"more than {MOST} wrong credentials came from this address within a minute",
                hint="send one that holds",
                retry_after_s=max(since + PERIOD_S - now, 0.001),
            )
