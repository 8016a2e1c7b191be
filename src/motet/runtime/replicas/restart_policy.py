"""How one replica is followed by another: when another takes its place after it ended, and when that is given up.

A life is useful when it answered a call. After a useful life the next one begins at once. Lives that were of no use are
a crash loop: the pauses between them double, with jitter, and after some of them within some minutes it is over.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["RestartCounter", "RestartPolicy"]


class RestartPolicy(NamedTuple):
    """The rules by which a replica that ended is followed by another.

    Attributes:
        first_pause_s: before the second useless life in a row; it doubles with each further one.
        longest_pause_s: the longest pause.
        jitter: by which part a pause may be shorter.
        tries: useless lives within `within_s` after which it is given up; 0 never gives up.
        within_s: how long a useless life counts.
        look_s: how often replicas are looked at that nobody calls.
    """

    first_pause_s: float = 0.25
    longest_pause_s: float = 30.0
    jitter: float = 0.5
    tries: int = 6
    within_s: float = 600.0
    look_s: float = 0.25


class RestartCounter:
    """Counts the lives of one replica. It has no lock: one thread at a time.

    Args:
        policy: the rules.
        chance: a number from 0 to 1.
    """

    def __init__(self, policy: RestartPolicy, chance: Callable[[], float] = random.random) -> None:
        self._policy, self._chance = policy, chance
        self._useless: deque[float] = deque(maxlen=64)

    def ended(self, now: float, *, useful: bool) -> float | None:
        """A life has ended.

        Args:
            now: seconds that only go up.
            useful: whether it answered a call.

        Returns:
            The pause before the next life, in seconds; None when it is given up.
        """
        rules = self._policy
        if useful:
            self._useless.clear()
            return 0.0
        while self._useless and self._useless[0] <= now - rules.within_s:
            self._useless.popleft()
        self._useless.append(now)
        count = len(self._useless)
        if rules.tries and count >= rules.tries:
            return None
        pause = min(rules.longest_pause_s, rules.first_pause_s * 2.0 ** (count - 1))
        return pause * (1 - rules.jitter * self._chance())

    @property
    def num_useless(self) -> int:
        """Useless lives that count."""
        return len(self._useless)

    def forget(self) -> None:
        """Begin anew: somebody asks for another try."""
        self._useless.clear()
