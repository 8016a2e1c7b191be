"""What batches cost: a moving average of seconds for each power of two of rows."""

from __future__ import annotations

import time

__all__ = ["INLINE_S", "LONG_S", "BatchLatency"]

INLINE_S = 0.002
"""A batch that is expected to take longer than this does not hold the event loop; it goes to a thread."""

LONG_S = 0.02
"""What has held the loop for longer than this was taken for quick by mistake."""
AWAY = 100.0
"""It stays away from the loop for that many times as long."""
_WEIGHT = 0.2
_OUTLIER = 4.0
_PLACES = 64


class BatchLatency:
    """Seconds that a batch takes, by its number of rows. A single measurement far above what is known counts as an outlier.

    Several threads may learn and ask at the same time.
    """

    __slots__ = ("_away_until", "_seconds")

    def __init__(self) -> None:
        self._seconds: list[float | None] = [None] * _PLACES
        self._away_until = 0.0

    def took(self, rows: int, seconds: float) -> None:
        """Learn how long a batch took."""
        place = rows.bit_length()
        known = self._seconds[place]
        if known is None:
            self._seconds[place] = seconds
        else:
            self._seconds[place] = known + _WEIGHT * (min(seconds, known * _OUTLIER) - known)

    def held(self, seconds: float) -> None:
        """A batch has held the event loop for that long. If too long, what is rarely slow, too, goes elsewhere for a while, so
        that it takes about a hundredth of the loop's time at most."""
        if seconds > LONG_S:
            self._away_until = time.monotonic() + AWAY * seconds

    def __contains__(self, rows: int) -> bool:
        """Whether batches of about this many rows were timed."""
        return self._seconds[rows.bit_length()] is not None

    def expect(self, rows: int) -> float:
        """How long a batch will take, from the nearest number of rows that is known; infinite where none is, or where one
        has held the loop for long lately."""
        if self._away_until:
            if time.monotonic() < self._away_until:
                return float("inf")
            self._away_until = 0.0
        place = rows.bit_length()
        known = self._seconds[place]
        if known is not None:
            return known
        for away in range(1, _PLACES):
            for nearest in (place - away, place + away):
                seconds = self._seconds[nearest] if 0 <= nearest < _PLACES else None
                if seconds is not None:
                    return seconds * 2.0 ** max(0, place - nearest)
        return float("inf")
