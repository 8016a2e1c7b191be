"""What stages leave each other: files of Arrow in the run's folder, in which rows lie by the task that reads them next.

Tasks of a window shuffle their rows. Where rows are brought together by key a window has many tasks, and each reads from all of
them; elsewhere it has one, which reads what it left itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.engines.splits.folder import SplitFolder
from motet.engines.stages import LEFT
from motet.graph.input import Input
from motet.io.sink import CountingWriter
from motet.io.splits import runs
from motet.io.stream import join
from motet.io.take import take_batch
from motet.nodes.route import Route
from motet.runtime.bind import read_stored

__all__ = ["ROW", "Grouping", "SlotWriter", "StageShuffle", "Window", "windows"]

ROW = f"{LEFT}:row"
"""The column of the ids of rows."""
HELD_BYTES = 64 << 20
"""What a task that leaves rows holds of them before it writes some."""
TOGETHER_BYTES, TOGETHER_TASKS = 512 << 20, 64
"""What is brought together by key at most: a task holds its share of that in memory, or all of it where all have one key."""


@dataclass(frozen=True)
class Window:
    """Tasks that shuffle their rows.

    Attributes:
        first: the number of the first.
        starts: the id of the first row that each has read from the source.
    """

    first: int
    starts: tuple[int, ...]


def windows(first_rows: Sequence[int], sizes: Sequence[int], *, together: bool) -> list[Window]:
    """The windows of tasks, by the id of the first row and the bytes of each; of one task each unless rows are brought together."""
    if not together:
        return [Window(number, (row,)) for number, row in enumerate(first_rows)]
    near = [(each.start, each.stop) for each in runs(sizes, TOGETHER_BYTES)]
    return [
        Window(first, tuple(first_rows[first : min(stop, first + TOGETHER_TASKS)]))
        for start, stop in near
        for first in range(start, stop, TOGETHER_TASKS)
    ]


@dataclass(frozen=True)
class Grouping:
    """Tells rows by the calls that a route by key makes for them.

    Attributes:
        route: the route.
        key: its key, as an input.
        column: where that is stored.
    """

    route: Route
    key: Input
    column: str

    def of(self, rows: pa.RecordBatch) -> Indices:
        """For each row its call; 0 for all where the key is not there, which has a default then."""
        if self.column not in rows.schema.names:
            return np.zeros(len(rows), np.int64)
        keys, bad = read_stored(rows.column(self.column), rows.schema.field(self.column), self.key)
        assert not bad, f"rows without a key that fits have failed before: {bad}"
        assert isinstance(keys, np.ndarray)
        return self.route.calls_of(keys)


@dataclass(frozen=True)
class StageShuffle:
    """Where a stage's rows come from, and where they go.

    Attributes:
        by: what its rows are brought together by; None where they come in the order of the source.
        after: the same of the next stage.
        last: whether there is none.
    """

    by: Grouping | None
    after: Grouping | None
    last: bool

    def read(
        self, folder: SplitFolder, parts: Sequence[str], place: int, of: int, rows: int, columns: Sequence[str]
    ) -> Iterator[tuple[Indices, pa.RecordBatch]]:
        """What the stage before left in these parts for one of so many tasks, with the ids of the rows, ascending in each batch."""
        read = [each for part in parts for each in _slot(folder, part, place, of) if len(each)]
        if not read:
            return
        ids = np.concatenate([each[ROW].to_numpy() for each in read])
        order = np.argsort(ids, kind="stable")
        calls = None
        if self.by is not None:
            calls = np.concatenate([self.by.of(each) for each in read])[order]
            grouped = np.argsort(calls, kind="stable")
            order, calls = order[grouped], calls[grouped]
        wanted = [each.select(list(columns)) for each in read]
        for part in _cut(len(ids), rows, calls):
            chosen = order[part]
            chosen = chosen[np.argsort(ids[chosen], kind="stable")]
            yield ids[chosen], _taken(wanted, chosen)

    def slots(self, rows: pa.RecordBatch, window: Window) -> tuple[Indices, Indices]:
        """For rows which task of a window reads them next; and the calls of models for which they are brought together then."""
        if self.after is None:
            return np.searchsorted(window.starts, rows[ROW].to_numpy(), side="right") - 1, np.empty(0, np.int64)
        calls = self.after.of(rows)
        return np.maximum(calls, 0) % len(window.starts), np.unique(calls[calls >= 0])


def _cut(total: int, rows: int, calls: Indices | None) -> Iterator[slice]:
    """Batches of so many rows; where rows are brought together one ends where another call's rows begin, if any do in it."""
    start = 0
    while start < total:
        end = min(start + rows, total)
        if calls is not None and end < total and calls[end - 1] == calls[end] != calls[start]:
            end = int(np.searchsorted(calls, calls[end]))
        yield slice(start, end)
        start = end


def _slot(folder: SplitFolder, part: str, place: int, of: int) -> Iterator[pa.RecordBatch]:
    """What a task left for one of so many, as `SlotWriter` writes it."""
    with folder.read(part) as file, pa.ipc.open_file(file) as left:
        for number in range(place, left.num_record_batches, of):
            yield left.get_batch(number)


def _taken(parts: Sequence[pa.RecordBatch], chosen: Indices) -> pa.RecordBatch:
    """Rows by their places in all parts: what is put together are these rows alone, so that parts may be of any size."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    which = np.searchsorted(starts, chosen, side="right") - 1
    met, places = np.unique(which), np.argsort(which, kind="stable")
    found = join([take_batch(parts[each], chosen[which == each] - starts[each]) for each in met])
    return found if len(met) == 1 else take_batch(found, np.argsort(places, kind="stable"))


class SlotWriter:
    """Writes rows by who reads them; see `CountingWriter`. It holds some of them until it is closed.

    Args:
        out: writes record batches one by one: for each task of the window one, in their order, and then again.
        shuffle: tells where rows go.
        window: the tasks that read them.
    """

    def __init__(self, out: CountingWriter, shuffle: StageShuffle, window: Window) -> None:
        self._out, self._shuffle, self._window = out, shuffle, window
        self._batches: list[pa.RecordBatch] = []
        self._bytes, self.rows = 0, 0
        self._met = np.empty(0, np.int64)

    @property
    def keyed(self) -> int:
        """How many models the rows lead to that are brought together next."""
        return len(self._met)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        self.rows += len(batch)
        if self._bytes + batch.nbytes > HELD_BYTES:
            self._flush()
        self._batches.append(batch)
        self._bytes += batch.nbytes

    def close(self) -> None:
        """Let the file appear."""
        self._flush()
        self._out.close()

    def abort(self) -> None:
        """Leave no file."""
        self._out.abort()

    def _flush(self) -> None:
        if not self._batches:
            return
        held = join(self._batches)
        self._batches, self._bytes = [], 0
        slots, met = self._shuffle.slots(held, self._window)
        self._met = np.union1d(self._met, met)
        for place in range(len(self._window.starts)):
            self._out.write(take_batch(held, np.flatnonzero(slots == place)))
