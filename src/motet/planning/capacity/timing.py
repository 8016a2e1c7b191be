"""Timing batches: alone, in several sizes, and with a thread on every core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa

from motet.engines.local.rows import ReadItem
from motet.runtime.sizes import queued_seconds
from motet.threads import ThreadPool

__all__ = ["BatchTimes", "handover_seconds", "play_alone", "play_side_by_side", "play_sizes"]

SIZES = (1, 8, 64, 512, 4096)
FEWEST, MOST = 3, 50
"""Plays of what is timed."""
HANDOVER_BYTES = 16 << 20
Counts = Callable[[], Mapping[str, float]]


@dataclass
class BatchTimes:
    """Batches that were played, one after another.

    Attributes:
        each: seconds of a row, of every batch, without what its thread waited for a processor.
        rows: in all of them.
        failed: of these.
        counts: by how much what was counted grew.
    """

    each: list[float] = field(default_factory=list)
    rows: int = 0
    failed: int = 0
    counts: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds_of_row(self) -> float:
        """The lower quartile: what else the machine does makes batches slower, and none faster."""
        return quartile(self.each)


def quartile(values: Sequence[float]) -> float:
    """A quarter of the values are below it."""
    return sorted(values)[len(values) // 4]


class _Spent:
    """Seconds since it was made, in this thread, without those for which it waited for a processor."""

    def __init__(self) -> None:
        self._queued, self._begun = queued_seconds(), time.perf_counter()

    def seconds(self) -> float:
        wall = time.perf_counter() - self._begun
        return max(1e-9, wall - (queued_seconds() - self._queued), 0.02 * wall)


def play_alone(
    play: Callable[[ReadItem], int], items: Sequence[ReadItem], counts: Counts, seconds: float
) -> BatchTimes:
    """Play batches again and again, once all have been played to warm up, as far as there is time.

    Args:
        play: plays one; gives how many rows failed.
        items: the batches.
        counts: what nodes and models have counted.
        seconds: how long, but for two batches at least.
    """
    found, end = BatchTimes(), time.perf_counter() + seconds
    for item in items:
        play(item)
        if time.perf_counter() > end - 0.7 * seconds:
            break
    before = dict(counts())
    for item in islice(cycle(items), MOST):
        begun = _Spent()
        found.failed += play(item)
        found.each.append(begun.seconds() / len(item.ids))
        found.rows += len(item.ids)
        if time.perf_counter() > end:
            break
    found.counts = {name: value - before.get(name, 0.0) for name, value in counts().items()}
    return found


def play_side_by_side(
    play: Callable[[ReadItem], int], items: Sequence[ReadItem], threads: int, seconds: float
) -> float:
    """Seconds of a row where so many threads play batches at the same time: the lower quartile."""
    end = time.perf_counter() + seconds

    def work(first: int) -> list[float]:
        found = []
        for place in range(MOST):
            item, begun = items[(first + place) % len(items)], _Spent()
            play(item)
            found.append(begun.seconds() / len(item.ids))
            if time.perf_counter() > end:
                break
        return found

    pool = ThreadPool(threads, "motet-plan")
    try:
        futures = [pool.submit(work, first) for first in range(threads)]
        # the last batch of each thread may have been played while others had ended
        times = [found[:-1] or found for found in (future.result() for future in futures)]
    finally:
        pool.close()
    return quartile([each for found in times for each in found])


def play_sizes(
    play: Callable[[ReadItem, int], None], item: ReadItem, counts: Counts, seconds: float
) -> dict[str, dict[int, float]]:
    """By node, and by rows of a batch, seconds of a row: medians of warm plays.

    Args:
        play: plays the first rows of a batch.
        item: the batch.
        counts: what nodes have counted.
        seconds: how long all sizes may take; each has one play at least, unless the one before took too long.
    """
    sizes = [size for size in SIZES if size <= len(item.ids)]
    found: dict[str, dict[int, float]] = {}
    last = time.perf_counter() + seconds
    for place, size in enumerate(sizes):
        left = last - time.perf_counter()
        if place and left <= 0:
            break
        for name, each in _one_size(play, item, size, counts, left / (len(sizes) - place)).items():
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
    return {name: statistics.median(each) for name, each in taken.items() if not name.startswith("model:")}


def handover_seconds(rows: pa.RecordBatch, folder: str) -> float:
    """Seconds for each byte that is written to an Arrow file and read again, on the disk of temporary files."""
    table = pa.Table.from_batches([rows] * max(1, min(64, HANDOVER_BYTES // max(1, rows.nbytes))))
    path, begun = Path(folder) / "left.arrow", _Spent()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(path)) as file:
        pa.ipc.open_file(file).read_all()
    path.unlink()
    return begun.seconds() / max(1, int(table.nbytes))
