"""How many rows a call should have: found while running, remembered for each model and machine.

The best number is not the biggest: small batches stay in the processor's caches. While a model runs, calls are made with
different numbers of rows, smallest first, each timed, until larger ones get slower; then two between the fastest and its
neighbours. The fastest of all stays.

What was found is kept in `batch-sizes.json` in the cache folder (`$MOTET_CACHE_DIR`, else `~/.cache/motet`), under the
model's digest and the machine's description. Delete the file to start anew.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from pathlib import Path

__all__ = ["BatchSize", "CallTime", "RememberedSizes", "cache_folder", "machine"]

CANDIDATES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
SAMPLES = 4
"""Calls that are timed with each number of rows; the fastest one counts."""
START = 32
AS_GOOD = 1.01
"""Of numbers that are this close to the fastest the largest is taken."""
WORSE = 1.10
"""Larger numbers are given up when two in a row are this much slower than the best."""


class BatchSize:
    """The number of rows of a model's calls.

    Args:
        fixed: a number found earlier or declared; None finds one.
        limit: the most rows a call may have, None for no limit.
    """

    def __init__(self, fixed: int | None = None, limit: int | None = None) -> None:
        self.limit = limit
        self.settled = fixed is not None
        self._best = min(fixed or START, limit or fixed or START)
        self._lock = threading.Lock()
        self._seconds: dict[int, float] = {}
        self._samples: dict[int, int] = {}
        self._candidates = [size for size in CANDIDATES if limit is None or size <= limit] or [limit or 1]
        self._place = 0
        self._warm = self._worse = 0
        self._between = False
        if not self.settled and len(self._candidates) == 1:
            self._best, self.settled = self._candidates[0], True

    @property
    def rows(self) -> int:
        """How many rows the next call should have, where there are enough."""
        return self._best if self.settled else self._candidates[self._place]

    def rows_of(self, waiting: int) -> int:
        """How many rows the next call should have where this many wait: too few to try a larger number use the best one."""
        rows = self.rows
        return rows if self.settled or rows <= waiting else self._best

    @property
    def best(self) -> int:
        """The best number found so far."""
        return self._best

    def took(self, rows: int, seconds: float) -> None:
        """Learn how long a call with this many rows took."""
        if self.settled:
            return
        with self._lock:
            if self.settled or rows != self._candidates[self._place]:
                return
            if self._warm < 2:
                self._warm += 1
                return
            self._seconds[rows] = min(self._seconds.get(rows, float("inf")), seconds / rows)
            self._samples[rows] = self._samples.get(rows, 0) + 1
            if self._samples[rows] >= SAMPLES:
                self._next()

    def _next(self) -> None:
        fastest = min(self._seconds.values())
        self._best = max(size for size, seconds in self._seconds.items() if seconds <= fastest * AS_GOOD)
        worse = self._seconds[self._candidates[self._place]] > fastest * WORSE
        self._worse = self._worse + 1 if worse else 0
        if self._between:
            self.settled = self._place + 1 == len(self._candidates)
        elif self._place + 1 == len(self._candidates) or (self._worse >= 2 and self._place + 1 > 3):
            self._look_between()
        if not self.settled:
            self._place += 1

    def _look_between(self) -> None:
        """Try what lies between the best number and those next to it, too."""
        best = self._best
        most = self.limit or CANDIDATES[-1]
        between = [size for size in (best * 3 // 4, best * 3 // 2) if size not in self._seconds and 1 <= size <= most]
        self._between, self.settled = True, not between
        self._candidates = [*self._candidates[: self._place + 1], *between]

    def too_big(self, rows: int) -> None:
        """Learn that this many rows do not fit into memory: no call has more than half of them from now on."""
        with self._lock:
            self.limit = max(1, min(self.limit or rows, rows // 2))
            self._best = min(self._best, self.limit)
            left = [size for size in self._candidates if size <= self.limit] or [self.limit]
            self._seconds = {size: seconds for size, seconds in self._seconds.items() if size <= self.limit}
            self._place = min(self._place, len(left) - 1)  # before the candidates: others read both without the lock
            self._candidates = left
            self.settled = self.settled or left == [self.limit]


class CallTime:
    """How long a call takes: time on the processor, so that what else the machine does in the meantime does not count.

    A call that mostly waited for something else (threads of its own, an accelerator) is timed by the clock.
    """

    MOSTLY = 0.25

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.thread_time()

    def seconds(self) -> float:
        """Seconds since it was made."""
        wall, processor = time.perf_counter() - self._wall, time.thread_time() - self._processor
        return processor if processor >= self.MOSTLY * wall else wall


def cache_folder() -> Path:
    """Where what is worth keeping is kept: `$MOTET_CACHE_DIR`, else `~/.cache/motet`."""
    return Path(os.environ.get("MOTET_CACHE_DIR") or Path.home() / ".cache" / "motet")


def machine() -> str:
    """What the machine is, as far as the best number of rows depends on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = (
        next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        or platform.processor()
        or platform.machine()
    )
    return f"{name}, {os.cpu_count()} cores"


class RememberedSizes:
    """The file of batch sizes found earlier.

    Args:
        path: the file; None is `batch-sizes.json` in the cache folder.
    """

    LIMIT = 10_000
    """Entries kept; beyond it the oldest go."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / "batch-sizes.json"
        self._machine = machine()

    def get(self, key: str) -> int | None:
        """The size remembered for a model on this machine."""
        size = self._read().get(f"{key} on {self._machine}")
        return size if type(size) is int and 1 <= size <= 1 << 20 else None

    def put(self, sizes: dict[str, int]) -> None:
        """Remember sizes by model; written by rename, so that readers never see half of it."""
        if not sizes:
            return
        known = self._read()
        for key, size in sizes.items():
            known.pop(f"{key} on {self._machine}", None)
            known[f"{key} on {self._machine}"] = size
        kept = dict(list(known.items())[-self.LIMIT :])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
        temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        temporary.replace(self.path)

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
