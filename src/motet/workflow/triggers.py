"""When a workflow runs again: every so often, at times as cron has them, or when files change."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from motet.system.folders import files_below
from motet.workflow.cron import Cron

__all__ = ["At", "Every", "FileWatch", "Trigger", "fingerprint", "repeat"]

POLL_S = 1.0
SET_BACK_S, _MOMENT_S = 3 * 3600.0, 60.0


def steady_s() -> float:
    """Seconds of a clock that is never set, and counts while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass
class Every:
    """A run every so many seconds, counted from beginning to beginning; what a long run misses is left out.

    Attributes:
        seconds: how often.
    """

    seconds: float
    _next: float | None = None

    def wait_s(self, now: float) -> float:
        """Seconds until it is time."""
        return 0.0 if self._next is None else max(self._next - now, 0.0)

    def ran(self, now: float) -> None:
        """A run begins now."""
        self._next = (self._next if self._next is not None else now) + self.seconds
        self.over(now)

    def over(self, now: float) -> None:
        """A run has ended now: times that it has missed are left out."""
        assert self._next is not None, "a run has begun"
        self._next += max(math.ceil((now - self._next) / self.seconds), 0) * self.seconds


@dataclass
class At:
    """A run at times as cron has them, in local time; what a long run misses is left out.

    A clock that is put forward over such times makes one run. Where it is put back by less than three hours, times that there
    have been do not come again, but for those that come often; by more, all do. So Debian's cron has it.

    Attributes:
        cron: the times.
        clock: gives the time, in seconds since 1970.
    """

    cron: Cron
    clock: Callable[[], float] = time.time
    _next: float = -math.inf
    _seen: float = math.inf
    _past: float = -math.inf

    def wait_s(self, now: float) -> float:
        """Seconds until it is time."""
        shown = self.clock()
        if shown < self._seen:
            repeats = _MOMENT_S if self.cron.often else SET_BACK_S
            self._next = self.cron.after(self._past if 0 <= self._past - shown < repeats else shown)
        self._seen = shown
        return max(self._next - shown, 0.0)

    def ran(self, now: float) -> None:
        """A run begins now."""
        self.over(now)

    def over(self, now: float) -> None:
        """A run has ended now: times that it has missed are left out."""
        self._seen = self._past = self.clock()
        self._next = self.cron.after(self._past)


@dataclass
class FileWatch:
    """A run when files have changed, and have then stayed the same for a moment; and one at the beginning.

    Attributes:
        paths: files and folders; folders count with all that is in them, and need not be there yet.
        settle_s: how long they must stay the same.
    """

    paths: Sequence[str]
    settle_s: float = POLL_S
    _ran: str = ""
    _seen: str = ""
    _since: float = field(default=0.0)

    def wait_s(self, now: float) -> float:
        """Seconds until it is time, or until it looks again."""
        found = fingerprint(self.paths)
        if found == self._ran:
            self._seen = found
            return POLL_S
        if not self._ran:
            self._seen = found
            return 0.0
        if found != self._seen:
            self._seen, self._since = found, now
        return max(self._since + self.settle_s - now, 0.0)

    def ran(self, now: float) -> None:
        """A run begins now, with the files as they are."""
        self._ran = self._seen or fingerprint(self.paths)

    def over(self, now: float) -> None:
        """A run has ended now; what has changed meanwhile makes another one."""


Trigger: TypeAlias = Every | At | FileWatch
"""Says when to run next. `now` is in seconds of a clock that is never set, and counts while the machine sleeps."""


def fingerprint(paths: Sequence[str]) -> str:
    """What tells whether files have changed: their names, sizes and times of change."""
    whole = hashlib.sha256()
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):  # what is not there yet, or any more
            for name, at in files_below(path, once=True).items() if os.path.isdir(path) else [(path, path)]:
                with suppress(OSError):
                    found = os.stat(at)
                    told = "" if name.endswith("/") else f"{found.st_size}\0{found.st_mtime_ns}"
                    whole.update(f"{at}\0{told}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def repeat(
    triggers: Sequence[Trigger],
    run: Callable[[], None],
    stop: threading.Event,
    clock: Callable[[], float] = steady_s,
    wait: Callable[[float], bool] | None = None,
) -> None:
    """Run whenever a trigger says so, until `stop` is set.

    Args:
        triggers: any of them is enough.
        run: what to do; its errors end the repetition.
        stop: ends it.
        clock: gives the `now` of triggers.
        wait: waits so many seconds, and says whether to stop; by default `stop.wait`.
    """
    waits = wait or stop.wait
    while not stop.is_set():
        left_s = min(each.wait_s(clock()) for each in triggers)
        if left_s > 0:
            if waits(min(left_s, POLL_S)):
                return
            continue
        now = clock()
        for each in triggers:
            if each.wait_s(now) <= 0:
                each.ran(now)
        run()
        for each in triggers:
            each.over(clock())
