"""Timing batches: alone, in several sizes, and with a thread on every core."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from motet.engines.local.rows import ReadItem
from motet.runtime.sizes import CallTime, queued_seconds
from motet.threads import ThreadPool

__all__ = ["BatchTimes", "Spent", "handover_seconds", "play_batches", "play_sizes", "undisturbed", "undisturbed_beside"]

SIZES = (1, 8, 64, 512, 4096)
FEWEST, MOST = 3, 50
"""Plays of what is timed."""
HANDOVER_BYTES = 16 << 20
STRETCH_S = 0.3
LOOK_S = 0.02
Counts = Callable[[], Mapping[str, float]]


class Spent(NamedTuple):
    """What a stretch of time took of a process.

    Attributes:
        rows: that were played in it.
        wall: seconds of the threads that play, added up.
        own: that they computed.
        own_queued: that they waited for a processor which others had.
        others: that other threads computed: those that members of a node are called in, of libraries, and of processes of models.
        others_queued: that these waited for a processor.
    """

    rows: int
    wall: float
    own: float
    own_queued: float
    others: float
    others_queued: float

    @property
    def computed(self) -> float:
        """Seconds of processors that a row takes, in all threads."""
        return (self.own + self.others) / self.rows

    @property
    def disturbed(self) -> float:
        """How many times as long computing took as it would have on processors of its own."""
        computed = self.own + self.others
        return 1 + (self.own_queued + self.others_queued) / computed if computed > 0 else 1.0

    @property
    def _waited(self) -> float:
        """What playing threads waited for something else than a processor."""
        return max(0.0, self.wall - self.own - self.own_queued)

    @property
    def _for_others(self) -> float:
        """What of that they waited for other threads of the process, at most."""
        return min(self._waited, self.others + self.others_queued)

    @property
    def idle(self) -> float:
        """Seconds of a row in which a playing thread waited for what no thread of the process computed: a lock, a disk, other processes."""
        return (self._waited - self._for_others) / self.rows

    @property
    def busy(self) -> float:
        """Seconds of a row in which a playing thread computed, or waited for others of the process that do, had all a processor."""
        whole = self.others + self.others_queued
        share = self.others / whole if whole else 0.0
        return (self.own + self._for_others * share) / self.rows


def undisturbed(alone: Spent) -> float:
    """Seconds of a row where one thread plays, with a processor for each thread; what all threads compute where that is more."""
    return max(alone.busy + alone.idle, alone.computed, 1e-9)


def undisturbed_beside(beside: Spent, alone: Spent) -> float:
    """Seconds of a row where a thread on every core plays.

    What a thread waits for beside others and not alone is a lock that one of them holds; and who holds it was disturbed as all are.
    """
    locked = max(0.0, beside.idle - alone.idle) / beside.disturbed
    return max(beside.busy + alone.idle + locked, beside.computed)


@dataclass
class BatchTimes:
    """Batches that were played, in stretches of time one after another.

    Attributes:
        each: of every stretch.
        failed: rows of them that failed.
        counts: by how much what was counted grew.
    """

    each: list[Spent] = field(default_factory=list)
    failed: int = 0
    counts: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """In all of them."""
        return sum(each.rows for each in self.each)

    @property
    def seconds_of_row(self) -> float:
        """Of a thread that plays alone: what else the machine does makes stretches slower, and none faster."""
        return undisturbed(self.typical(undisturbed))

    def typical(self, key: Callable[[Spent], float]) -> Spent:
        """The stretch of the lower quartile."""
        return sorted(self.each, key=key)[len(self.each) // 4]


class _Threads(threading.Thread):
    """Looks at what all threads of this process and of those below it have computed, and waited for a processor, those that end meanwhile
    too. Linux says it; elsewhere only what this process has computed is known."""

    def __init__(self) -> None:
        super().__init__(name="motet-plan-threads", daemon=True)
        self._seen: dict[str, tuple[int, int]] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> _Threads:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(LOOK_S):
            self.seconds()

    def seconds(self) -> tuple[float, float]:
        """What all together have computed so far, and waited for a processor."""
        with self._lock:
            for pid in _tree(os.getpid()):
                for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                    with contextlib.suppress(OSError, ValueError):  # it has ended
                        computed, queued = path.read_text().split()[:2]
                        self._seen[f"{pid}/{path.parent.name}"] = int(computed), int(queued)
            if not self._seen:
                return time.process_time(), 0.0
            computed_ns, queued_ns = (sum(each) for each in zip(*self._seen.values(), strict=True))
            return computed_ns / 1e9, queued_ns / 1e9


def _tree(pid: int) -> Iterator[int]:
    """A process and those below it."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                yield from _tree(int(child))


def play_batches(
    play: Callable[[ReadItem], int], items: Sequence[ReadItem], counts: Counts, threads: int, seconds: float
) -> BatchTimes:
    """Play batches again and again, each thread a stretch of them, as far as there is time; the first stretch warms up, and is not counted.

    Args:
        play: plays one; gives how many rows failed.
        items: the batches.
        counts: what nodes and models have counted.
        threads: that play at the same time.
        seconds: how long, but for two batches of each thread at least.
    """
    found, end = BatchTimes(), time.perf_counter() + seconds
    pool = ThreadPool(threads, "motet-plan")
    try:
        with _Threads() as all_threads:
            _stretch(play, items, pool, threads, 0.15 * seconds, all_threads)
            before = dict(counts())
            while not found.each or time.perf_counter() < end:
                spent, failed = _stretch(play, items, pool, threads, min(STRETCH_S, 0.2 * seconds), all_threads)
                found.each.append(spent)
                found.failed += failed
            found.counts = {name: value - before.get(name, 0.0) for name, value in counts().items()}
    finally:
        pool.close()
    return found


def _stretch(
    play: Callable[[ReadItem], int],
    items: Sequence[ReadItem],
    pool: ThreadPool,
    threads: int,
    seconds: float,
    all_threads: _Threads,
) -> tuple[Spent, int]:
    """What playing took until the first thread has played for so long; and how many rows failed."""
    end, over = time.perf_counter() + seconds, threading.Event()

    def work(first: int) -> tuple[int, int, list[float]]:
        rows = failed = 0
        begun = time.perf_counter(), time.thread_time(), queued_seconds()
        for item in islice(cycle(items), first, None):
            failed += play(item)
            rows += len(item.ids)
            if over.is_set() or time.perf_counter() > end:
                break
        over.set()
        return rows, failed, _less((time.perf_counter(), time.thread_time(), queued_seconds()), begun)

    before = all_threads.seconds()
    done = [future.result() for future in [pool.submit(work, first) for first in range(threads)]]
    process = _less(all_threads.seconds(), before)
    wall, computed, queued = (sum(each) for each in zip(*(own for _, _, own in done), strict=True))
    rows = sum(count for count, _, _ in done)
    others = max(0.0, process[0] - computed), max(0.0, process[1] - queued)
    return Spent(rows, wall, computed, queued, *others), sum(count for _, count, _ in done)


def _less(now: Sequence[float], before: Sequence[float]) -> list[float]:
    return [max(0.0, one - other) for one, other in zip(now, before, strict=True)]


def play_sizes(
    play: Callable[[ReadItem, int], None], item: ReadItem, counts: Counts, seconds: float
) -> dict[str, dict[int, float]]:
    """By node, and by rows of a batch, seconds of a row, of the fastest of warm plays: what else the machine does
    makes them slower, and none faster.

    Args:
        play: plays the first rows of a batch.
        item: the batch.
        counts: what nodes have counted.
        seconds: how long all sizes may take; each has one play at least, unless those before took twice as long.
    """
    sizes = [size for size in SIZES if size <= len(item.ids)]
    found: dict[str, dict[int, float]] = {}
    last = time.perf_counter() + seconds
    for place, size in enumerate(sizes):
        left = last - time.perf_counter()
        if place and left <= -seconds:
            break
        for name, each in _one_size(play, item, size, counts, max(0.0, left) / (len(sizes) - place)).items():
            found.setdefault(name, {})[size] = each
    return found


def _one_size(
    play: Callable[[ReadItem, int], None], item: ReadItem, size: int, counts: Counts, seconds: float
) -> dict[str, float]:
    end, taken = time.perf_counter() + seconds, dict[str, list[float]]()
    play(item, size)  # warms up
    for count in range(MOST):
        before = dict(counts())
        play(item, size)
        for name, value in counts().items():
            taken.setdefault(name, []).append((value - before.get(name, 0.0)) / size)
        if (time.perf_counter() > end and count + 1 >= FEWEST) or time.perf_counter() > end + seconds:
            break
    return {name: min(each) for name, each in taken.items() if not name.startswith("model:")}


def handover_seconds(rows: pa.RecordBatch, folder: str) -> float:
    """Seconds for each byte that is written to an Arrow file and read again, on the disk of temporary files."""
    table = pa.Table.from_batches([rows] * max(1, min(64, HANDOVER_BYTES // max(1, rows.nbytes))))
    path, begun = Path(folder) / "left.arrow", CallTime()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(path)) as file:
        pa.ipc.open_file(file).read_all()
    path.unlink()
    return begun.seconds() / max(1, int(table.nbytes))
