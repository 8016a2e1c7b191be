"""How many calls of a remote replica are under way at the same time: found while calling, not configured.

As TCP Vegas finds its window (Brakmo and Peterson 1995; Netflix's concurrency-limits): the shortest time that a call took
is what it costs when nobody waits; how much longer calls take now says how many of those under way wait in a queue at the
other end. Few waiting: one more at a time. Many: one fewer. A refusal or a call that came too late cuts the limit.
"""

from __future__ import annotations

__all__ = ["ConcurrencyLimit"]

LEAST, MOST = 1, 64
FEW, MANY = 2.0, 5.0
"""Calls that wait at the other end: fewer let the limit grow, more let it shrink."""
CUT = 0.7
FORGET_CALLS = 1024
"""Calls after which the shortest time is measured anew, since servers change."""
PROBE, PROBE_CALLS = 4, 8
"""For that no more than so many are under way, until so many were answered (BBR's ProbeRTT, Cardwell and others 2016)."""


class ConcurrencyLimit:
    """A limit that follows the times of calls. It has no lock: one thread at a time.

    Args:
        first: the limit to begin with.
    """

    __slots__ = ("_best", "_calls", "_probing", "_value")

    def __init__(self, first: int = LEAST) -> None:
        self._value = float(first)
        self._best: dict[int, float] = {}
        self._calls = self._probing = 0

    @property
    def value(self) -> int:
        """Calls that may be under way, 1 to 64."""
        return min(PROBE, int(self._value)) if self._probing else int(self._value)

    def answered(self, rows: int, seconds: float, in_flight: int) -> None:
        """Learn from a call that was answered.

        Args:
            rows: how many it had; times are compared for about equal numbers of rows.
            seconds: how long it took.
            in_flight: how many were under way when it was over, itself included.
        """
        place = rows.bit_length()
        if self._probing:
            if in_flight <= PROBE:
                self._probing -= 1
                self._best[place] = min(seconds, self._best.get(place, seconds))
            return
        best = self._best[place] = min(seconds, self._best.get(place, seconds))
        if in_flight * 2 < self._value:
            return  # the limit is not what bounds the calls, so nothing is learned of it
        queued = in_flight * (1 - best / seconds) if seconds > 0 else 0.0
        step = 1 / max(1.0, self._value / 4)
        if queued < FEW:
            self._value = min(float(MOST), self._value + step)
        elif queued > MANY:
            self._value = max(float(LEAST), self._value - step)
        self._calls += 1
        if self._calls >= FORGET_CALLS and self._value > PROBE:
            self._calls, self._probing = 0, PROBE_CALLS
            self._best.clear()

    def refused(self) -> None:
        """Learn from a call that was refused or came too late."""
        self._value = max(float(LEAST), self._value * CUT)
