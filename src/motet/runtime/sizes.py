"""How many rows a call should have: found by calls of a few different sizes, remembered for each model and machine.

What a call takes is an overhead and so much a row, and two calls of different sizes tell both. Where the overhead counts, large
calls are best, and sizes grow in large steps; where it is small beside the rows, larger calls gain nothing, and none is tried
that would take long. Neither holds for models whose rows fit into the processor's caches: the best number is then somewhere in
the middle, and is looked for between the steps. Of all sizes that were tried the fastest stays, and no other.

What was found is kept in `batch-sizes.json` in the cache folder (`$MOTET_CACHE_DIR`, else `~/.cache/motet`), under the
model's digest and the machine's description. Delete the file to start anew.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from motet.system.limits import num_cores
from motet.system.places import cache_folder, not_kept
from motet.system.whole_files import write_whole

__all__ = ["BatchSize", "CallTime", "RememberedSizes", "machine", "next_to_try", "queued_seconds"]

MOST = 8192
"""Larger calls are not tried."""
STEPS = tuple(sorted({1, *(rows for power in range(3, 14) for rows in (1 << power, 3 << (power - 1)) if rows <= MOST)}))
"""The sizes that may be tried: 1, 8, 12, 16, 24, 32, ..., 8192."""
START = 32
"""The first size that counts, where it is not slow, and the one that is used while none is known."""
SAMPLES, ENOUGH_S = 4, 0.01
"""Calls that are timed with each size, of which the fastest counts; fewer where they have taken so long together."""
AS_GOOD = 1.01
"""Of sizes that are this close to the fastest the largest is taken."""
GAIN, GAIN_OF_SLOW = 0.05, 0.25
"""Larger calls are tried where the overhead is more than this part of a call; the second where a call takes `SLOW_S`."""
CHEAP_S, SLOW_S = 0.02, 0.1
"""Of calls below the first one step that gains nothing is no reason to stop; those above the second are tried with care."""
LONG_S = 0.5
"""The next size is no large step where that might take longer."""


def next_to_try(seconds: Mapping[int, float], most: int = MOST) -> int | None:
    """The size to try next.

    Args:
        seconds: what a call took, by its number of rows, of one size at least; a single row that is tried first may have
            warmed up the model.
        most: the most rows that a call may have.

    Returns:
        a number of rows that was not tried; None where the best is among those that were.
    """
    steps = _steps(seconds)
    largest, took = steps[0], seconds[steps[0]]
    if largest >= most:
        return _beside(seconds, most)
    if largest == 1:
        return min(most, next((rows for rows in (START, 8) if rows * took <= 2 * LONG_S), 4))
    if _gained(seconds, steps) or (took < CHEAP_S and _gained(seconds, steps[1:])):
        return min(most, _larger(seconds, steps))
    return _beside(seconds, most)


def _steps(seconds: Mapping[int, float]) -> list[int]:
    """The largest size that was tried, and smaller ones in large steps; what was tried beside the best is left out."""
    found = [max(seconds)]
    while smaller := [rows for rows in seconds if rows <= found[-1] / 4]:
        found.append(max(smaller))
    return found


def _fit(seconds: Mapping[int, float], small: int, large: int) -> tuple[float, float]:
    """The overhead of a call and the seconds of a row, from two sizes."""
    row = max(0.0, (seconds[large] - seconds[small]) / (large - small))
    return seconds[large] - row * large, row


def _gained(seconds: Mapping[int, float], steps: Sequence[int]) -> bool:
    """Whether the last step was worth its while, so that the next may be; the one from a single row tells only of slow calls."""
    took = seconds[steps[0]]
    if len(steps) < 2 or (steps[1] == 1 and took < SLOW_S):
        return True
    return _fit(seconds, steps[1], steps[0])[0] > (GAIN if took < SLOW_S else GAIN_OF_SLOW) * took


def _larger(seconds: Mapping[int, float], steps: Sequence[int]) -> int:
    """The next larger size: a large step where calls are mostly overhead and the next one will not take long."""
    largest, took = steps[0], seconds[steps[0]]
    if len(steps) < 2:
        return 4 * largest
    overhead, row = _fit(seconds, steps[1], largest)
    far = 16 * largest
    expected = 16 * took if steps[1] == 1 else 1.5 * (overhead + row * far)  # the first row may not tell the truth
    return far if overhead > took / 2 and took > CHEAP_S / 10 and expected <= max(LONG_S, 2 * took) else 4 * largest


def _beside(seconds: Mapping[int, float], most: int) -> int | None:
    """A size near the best that was not tried, where it may be better than those that were."""
    best = _best(seconds)
    if best == max(seconds):
        skipped = best // 4
        return skipped if skipped >= START and not _is_straight(seconds) else None
    if seconds[best] > SLOW_S:
        return None
    place = bisect_left(STEPS, best)
    near = [*STEPS[place + 1 : place + 2], *STEPS[max(1, place - 1) : place]]
    return next((rows for rows in near if rows not in seconds and rows <= most), None)


def _is_straight(seconds: Mapping[int, float]) -> bool:
    """Whether the largest size took what smaller ones let expect, so that what was stepped over need not be tried."""
    steps = _steps(seconds)
    if len(steps) < 3 or steps[1] >= steps[0] / 4 or steps[2] == 1:
        return True
    overhead, row = _fit(seconds, steps[2], steps[1])
    return seconds[steps[0]] <= 1.1 * (overhead + row * steps[0])


def _best(seconds: Mapping[int, float]) -> int:
    """The size whose rows are fastest; the first call of one row warmed up the model, and counts only where it is alone."""
    counted = {rows: each / rows for rows, each in seconds.items() if rows > 1} or dict(seconds)
    fastest = min(counted.values())
    return max(rows for rows, each in counted.items() if each <= fastest * AS_GOOD)


class BatchSize:
    """The number of rows of a model's calls.

    Args:
        fixed: a number found earlier or declared; None finds one.
        limit: the most rows a call may have, None for no limit.
    """

    def __init__(self, fixed: int | None = None, limit: int | None = None) -> None:
        self.limit = limit
        self.settled = fixed is not None or (limit is not None and limit <= START)
        self.best = min(fixed or START, limit or fixed or START)
        """The best number found so far."""
        self.rows = self.best
        """How many rows the next call should have, where there are enough."""
        self._lock = threading.Lock()
        self._seconds: dict[int, float] = {}
        self._sampled, self._spent, self._most = 0, 0.0, MOST
        self._warm = False

    def rows_of(self, waiting: int) -> int:
        """How many rows the next call should have where this many wait: too few to try a larger number are called together
        where larger calls have always been better, else with the best number."""
        if self.settled or self.rows <= waiting:
            return self.rows
        return max(self.best, waiting) if self.best >= max(self._seconds, default=START) else self.best

    def took(self, rows: int, seconds: float) -> None:
        """Learn how long a call with this many rows took."""
        if self.settled:
            return
        with self._lock:
            if self.settled or rows != self.rows:
                return
            if not self._warm:
                self._warm = True
                return
            self._seconds[rows] = min(self._seconds.get(rows, seconds), seconds)
            self._sampled += 1
            self._spent += seconds
            if self._sampled >= SAMPLES or self._spent >= ENOUGH_S:
                self._next()

    def find(self, call: Callable[[int], float]) -> None:
        """Find the number now, from a single row on, so that a slow model is not tried with many.

        Args:
            call: makes a call with so many rows, and says how many seconds it took.
        """
        if not self.settled and not self._seconds:
            self.rows, self._warm = 1, True
        while not self.settled:
            rows = self.rows
            self.took(rows, call(rows))

    def at_most(self, rows: int) -> None:
        """Try no more than so many rows."""
        with self._lock:
            self._most = min(self._most, rows)
            if not self.settled and self.rows > self._most:
                self.rows = self._most

    def _next(self) -> None:
        self._sampled, self._spent = 0, 0.0
        following = next_to_try(self._seconds, min(self._most, self.limit or self._most))
        if following is None or max(self._seconds) > 1:
            self.best = _best(self._seconds)
        self.rows, self.settled = (self.best, True) if following is None else (following, False)

    def too_big(self, rows: int) -> None:
        """Learn that this many rows do not fit into memory: no call has more than half of them from now on."""
        with self._lock:
            self.limit = max(1, min(self.limit or rows, rows // 2))
            self.best = min(self.best, self.limit)
            self._seconds = {size: seconds for size, seconds in self._seconds.items() if size <= self.limit}
            if self.settled or self.limit <= START:
                self.rows, self.settled = self.best, True
            elif self._seconds:
                self._next()
            else:
                self.rows = START


class CallTime:
    """How long a call takes: time on the processor, so that what else the machine does in the meantime does not count.

    A call that mostly waited for something else (threads of its own, an accelerator) is timed by the clock, without the time for
    which a processor was waited for.
    """

    MOSTLY = 0.25

    def __init__(self) -> None:
        self._queued = queued_seconds()
        self._wall, self._processor = time.perf_counter(), time.thread_time()

    def seconds(self) -> float:
        """Seconds since it was made."""
        wall, processor = time.perf_counter() - self._wall, time.thread_time() - self._processor
        if processor >= self.MOSTLY * wall:
            return processor
        waited = max(processor, wall - (queued_seconds() - self._queued))
        return processor if processor >= self.MOSTLY * waited else waited


def queued_seconds() -> float:
    """Seconds for which this thread has waited for a processor so far, where the system says it (Linux)."""
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)  # each call of a model may ask
        try:
            return int(os.read(file, 128).split()[1]) / 1e9
        finally:
            os.close(file)
    except (OSError, IndexError, ValueError):
        return 0.0


def machine() -> str:
    """What the machine is, as far as the best number of rows depends on it."""
    return f"{_processor()}, {num_cores()} cores"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.processor() or platform.machine()


class RememberedSizes:
    """The file of batch sizes found earlier.

    Args:
        path: the file; None is `batch-sizes.json` in the cache folder.
    """

    LIMIT = 10_000
    """Entries kept; beyond it the oldest go."""
    VERSION = 2
    """Of the file; what another version has found does not count."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / "batch-sizes.json"
        self._machine = machine()

    def get(self, key: str) -> int | None:
        """The size remembered for a model on this machine."""
        size = self._read().get(f"{key} on {self._machine}")
        return size if type(size) is int and 1 <= size <= 1 << 20 else None

    def put(self, sizes: dict[str, int]) -> None:
        """Remember sizes by model, where that can be; written by rename, so that readers never see half of it."""
        if not sizes:
            return
        known = self._read()
        for key, size in sizes.items():
            known.pop(f"{key} on {self._machine}", None)
            known[f"{key} on {self._machine}"] = size
        kept = {"version": self.VERSION, "found": dict(list(known.items())[-self.LIMIT :])}
        try:
            write_whole(self.path, json.dumps(kept, indent=1).encode())
        except OSError as error:
            not_kept("batch sizes", error)

    def _read(self) -> dict[str, int]:
        try:
            file = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        found = file.get("found") if isinstance(file, dict) and file.get("version") == self.VERSION else None
        return found if isinstance(found, dict) else {}
