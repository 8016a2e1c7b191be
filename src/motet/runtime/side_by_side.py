"""Calls that wait, made at the same time from one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from motet.threads import together

__all__ = ["SLOW_S", "Members", "WaitingCall"]

T = TypeVar("T")

SLOW_S = 0.005
"""Calls that together take less are not worth a thread."""
WAITED, SEEN = 0.25, 2
"""The part of its time that a call must have waited, and how many times in a row, to count as one that waits."""


MOST_MEMBERS = 64
"""Threads that the members of one node have for one batch."""


class WaitingCall:
    """Which calls wait: those that are known to, as for another machine or process, and those that were seen to.

    What waits uses no processor; the time of the whole process counts, so that a busy one changes nothing. One that was only
    seen to, and is quick again, waits no more.

    Args:
        known: the keys of calls that wait.

    Attributes:
        keys: of all calls that wait.
    """

    __slots__ = ("_known", "_seen", "keys")

    def __init__(self, known: Iterable[Hashable] = ()) -> None:
        self._known = frozenset(known)
        self.keys = set(self._known)
        self._seen: dict[Hashable, int] = {}

    def watched(self, key: Hashable, call: Callable[[], T], least_s: float = SLOW_S) -> T:
        """Make a call and see whether it waits.

        Args:
            key: what it is known by.
            call: the call.
            least_s: what must have been waited for, for the wait to count.
        """
        started, spent = time.perf_counter(), time.process_time()
        answer = call()
        self.took(key, time.perf_counter() - started, time.process_time() - spent, least_s)
        return answer

    def took(self, key: Hashable, seconds: float, spent: float, least_s: float = SLOW_S) -> None:
        """A call took these seconds, of which these on the processor."""
        waits = seconds - spent > max(least_s, WAITED * seconds)
        self._seen[key] = self._seen.get(key, 0) + 1 if waits else 0
        if self._seen[key] >= SEEN:
            self.keys.add(key)
        elif seconds < least_s and key not in self._known:
            self.keys.discard(key)


class Members:
    """Calls of a node's members: one after the other while they compute; those that wait at the same time as the others.

    Args:
        known: the keys of those that wait.
    """

    __slots__ = ("_slow", "_waiting")

    def __init__(self, known: Iterable[Hashable] = ()) -> None:
        self._waiting = WaitingCall(known)
        self._slow = False

    def __call__(self, calls: Sequence[Callable[[], T]], keys: Sequence[Hashable]) -> list[T]:
        """What each call gives, in their order.

        Args:
            calls: the calls.
            keys: what each is known by.
        """
        if not self._waiting.keys and not self._slow:
            started = time.perf_counter()
            answers = [call() for call in calls]
            self._slow = len(calls) > 1 and time.perf_counter() - started > SLOW_S
            return answers
        waiting, least_s = self._waiting, SLOW_S / max(1, len(calls))
        apart = [key in waiting.keys for key in keys]
        started = time.perf_counter()
        watched = [partial(waiting.watched, key, call, least_s) for call, key in zip(calls, keys, strict=True)]
        answers = together(watched, apart, MOST_MEMBERS)
        self._slow = time.perf_counter() - started > SLOW_S
        return answers
