"""Progress where no terminal is: a line of its own every ten seconds, as logs of containers are read; in notebooks one that changes."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from motet.threads import begun

__all__ = ["ProgressCell", "ProgressLog", "Ticker"]

EVERY_S, CELL_S = 10.0, 0.5
WINDOW = 3
"""Speed is that since so many lines ago."""


class Ticker:
    """Says something to standard error every ten seconds, from a thread of its own, while it is entered.

    Args:
        line: what to say now; nothing where it is empty.
    """

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="motet-progress", daemon=True)

    def __enter__(self) -> Self:
        self._begun = begun(self._thread)
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._begun:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s()):
            if line := self._line():
                self._say(line)

    def _every_s(self) -> float:
        return EVERY_S

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", file=sys.stderr, flush=True)


class ProgressLog(Ticker):
    """Lines that follow a run; called with the rows done, the rows there are, and the rows failed.

    What a run that goes on had done before counts as done, but not for its speed.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(self.line)
        self._clock, self._began = clock, clock()
        self._told: tuple[int, int | None, int] | None = None
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def __call__(self, done: int, total: int | None, failed: int) -> None:
        """Note where the run is."""
        if self._told is None:
            self._seen.append((self._clock(), done))
        self._told = done, total, failed

    def line(self) -> str:
        """Where the run is now: rows, rows a second, failures, time left; or what it does while no row comes."""
        now = self._clock()
        if self._told is None:
            return f"no row is done yet after {_time(now - self._began)}: reading the input, loading models"
        done, total, failed = self._told
        rows = f"{done:,} rows" if total is None else f"{done:,} of {total:,} rows"
        if done == total:
            return f"{rows}, {failed:,} failed; writing the output"
        since, before = self._seen[0]
        self._seen.append((now, done))
        speed = (done - before) / (now - since) if now > since else 0.0
        left = f", {_time((total - done) / speed)} left" if total is not None and speed else ""
        return f"{rows}, {speed:,.{0 if speed >= 10 else 1}f} rows/s, {failed:,} failed{left}"


class ProgressCell(ProgressLog):
    """The same below a cell of a notebook: one line that changes, and is gone at the end."""

    def _every_s(self) -> float:
        return CELL_S

    def _say(self, line: str) -> None:
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    """A time as people say it, in its two largest units."""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1:
        return f"{int(seconds)} s"
    if hours < 1:
        return f"{int(minutes)} min {int(seconds % 60)} s"
    return f"{int(hours)} h {int(minutes) % 60} min"
