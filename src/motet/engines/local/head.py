"""The first rows of a run, played before it is known how many rows a batch should have, to see what rows cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from motet.batch import Batch, Indices, column_bytes
from motet.engines.layout import HELD_BYTES, MIN_ROWS
from motet.errors import ModelFailedError
from motet.runtime.executor import Played, joined
from motet.runtime.sizes import CallTime

__all__ = ["BATCH_SECONDS", "Cost", "Head"]

BATCH_SECONDS = 2.0
"""A batch should not take longer, so that progress is seen, and little is lost when a run is killed."""
ENDS = (4, 16, 64, 512, 4096)
"""Where the parts of the head end. Two tell the overhead from what a row takes; more are played where they do not take long."""


class Cost(NamedTuple):
    """What a batch takes.

    Attributes:
        overhead: seconds that do not depend on its rows.
        row: seconds of a row.
    """

    overhead: float
    row: float

    def of(self, rows: int) -> float:
        """Seconds that a batch of so many rows takes."""
        return self.overhead + self.row * rows

    def bound(self, rows: int, *, at_least: int = 0) -> int:
        """At most so many rows, which take `BATCH_SECONDS` at most; a power of two where they are fewer.

        Args:
            rows: the most.
            at_least: the fewest.
        """
        if self.of(rows) <= BATCH_SECONDS:
            return rows
        most = max(MIN_ROWS, int(max(0.0, BATCH_SECONDS - self.overhead) / self.row))
        return min(rows, max(at_least, 1 << (most.bit_length() - 1)))


class Head:
    """The first rows of a run. What was played is a part of the first batch, and is not played again.

    Args:
        play: plays rows as they were read, with their ids.
        members: among how many models a key chooses. Few rows ask few of them, and many rows ask each once.

    Attributes:
        rows: how many were played.
        is_fixed: whether all answers of the first rows are of types that hold as much for each row.
    """

    def __init__(self, play: Callable[[pa.RecordBatch, Indices], Played], members: int = 1) -> None:
        self._play, self._members = play, max(1, members)
        self._parts: list[Played] = []
        self._last_id = -1
        self.rows = self._bytes = 0
        self.is_fixed = False

    @property
    def row_bytes(self) -> float:
        """Bytes of the answers of a row; 0 where none was played."""
        return self._bytes / max(1, self.rows)

    def play(self, read: pa.RecordBatch, ids: Indices, batch_rows: int, known: Cost | None = None) -> Cost | None:
        """Play the first rows, until it is known what so many rows cost.

        Args:
            read: the rows.
            ids: their ids.
            batch_rows: rows of a batch whose cost is to be known.
            known: what rows cost, where that is known; few are then played, to see how large answers are.

        Returns:
            what rows cost; None where they cannot be played, which the run finds out for itself.
        """
        found: list[tuple[int, float]] = []
        while (end := self._end(found, read.num_rows)) > self.rows:
            count = end - self.rows
            begun = CallTime()
            try:
                self._parts.append(self._play(read.slice(self.rows, count), ids[self.rows : self.rows + count]))
            except ModelFailedError:  # the first rows may be bad and others good
                self._parts, self._last_id, self.rows, self._bytes, self.is_fixed = [], -1, 0, 0, False
                return None
            found.append((count, begun.seconds()))
            self.rows += count
            answered = self._parts[-1].outputs.columns.values()
            self._bytes += sum(column_bytes(column) for column in answered)
            self.is_fixed = all(isinstance(column, np.ndarray) and column.dtype != object for column in answered)
            self._last_id = int(ids[self.rows - 1])
            if known or found[-1][1] / count * batch_rows <= BATCH_SECONDS or self._bytes > HELD_BYTES:
                break
            if len(found) > 1 and self._cost(found).of(batch_rows) <= BATCH_SECONDS:
                break
        return self._cost(found) if found else None

    def _end(self, found: list[tuple[int, float]], num_rows: int) -> int:
        """Where the next part ends: as far as it may go in `BATCH_SECONDS`, and after the first part a little further at least."""
        ends = [min(end, num_rows) for end in ENDS if end > self.rows]
        if not found or not ends:
            return ends[0] if ends else self.rows
        cost = self._cost(found)
        near = [end for end in ends if cost.of(end - self.rows) <= BATCH_SECONDS]
        return max(near, default=self.rows if len(found) > 1 else ends[0])

    def _cost(self, found: Sequence[tuple[int, float]]) -> Cost:
        """What rows cost, from the last two parts; of one alone, all of it is the rows'."""
        (large, took), *before = reversed(found)
        if not before or before[0][0] >= large:
            return Cost(0.0, took / large)
        small, took_small = before[0]
        calls, calls_small = self._calls(large), self._calls(small)
        call = max(0.0, (took_small * large - took * small) / (calls_small * large - calls * small))
        return Cost(call * self._members, max((took - call * calls) / large, 1e-9))

    def _calls(self, rows: int) -> float:
        """How many of the members so many rows ask, where keys are as likely."""
        return self._members * (1 - (1 - 1 / self._members) ** rows)

    def join(self, batch: Batch, play: Callable[[Batch], Played]) -> Played:
        """Play the first batch but for what was played of it already."""
        if not self._parts:
            return play(batch)
        left = np.flatnonzero(batch.ids > self._last_id)
        parts, self._parts = self._parts, []
        return joined([*parts, play(batch.take(left))] if len(left) else parts)
