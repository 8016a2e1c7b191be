"""How the batches of a run are played: bound, played and unbound, in worker threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from motet.batch import Batch, take_rows
from motet.engines.local.answer_bound import AnswerBound
from motet.engines.local.head import Cost, Head
from motet.engines.local.rows import ReadItem
from motet.engines.local.selection import Ids
from motet.engines.local.sizing import Sizing
from motet.engines.local.turns import BulkTurns
from motet.engines.player import BatchPlayer
from motet.engines.undeclared import BatchAnswers
from motet.errors import Failure
from motet.runtime.executor import Played
from motet.runtime.sizes import CallTime

__all__ = ["BatchResult", "Batches", "answered_bytes"]


@dataclass
class BatchResult:
    """A batch as it was answered; whether it is the last of those that were played together."""

    index: int
    rows: int
    answers: BatchAnswers | None
    failures: list[Failure]
    last: bool


def answered_bytes(results: Sequence[BatchResult]) -> int:
    """Bytes of answers."""
    return sum(each.answers.num_bytes() for each in results if each.answers is not None)


class Batches:
    """Plays batches of a run; in any thread.

    Args:
        player: plays them.
        sizing: learns how long batches take.
        turns: taken with what else works on this machine.
        bound: bounds them by their answers.
    """

    def __init__(self, player: BatchPlayer, sizing: Sizing, turns: BulkTurns, bound: AnswerBound) -> None:
        self._bound = bound
        self._player, self._layout, self._sizing, self._turns = player, player.layout, sizing, turns
        self._head = Head(self._play_rows, player.executor.num_keyed)

    def play_first(
        self, read: pa.RecordBatch, ids: Ids, batch_rows: int, known: Cost | None
    ) -> tuple[Cost | None, int]:
        """Play some of the first rows, which are a part of the first batch; what rows cost, and how many were played."""
        cost = self._head.play(read, ids, batch_rows, known)
        return cost, self._head.rows

    @property
    def answered_row_bytes(self) -> float:
        """Bytes of the answers of a row, by the first rows; 0 where these were not played."""
        return self._head.row_bytes

    @property
    def answers_vary(self) -> bool:
        """Whether later answers may be larger than those of the first rows, as far as these were played."""
        return not self._head.is_fixed

    def play(self, batch_rows: int, item: ReadItem) -> list[BatchResult]:
        """Play what was read, one batch or several together, and give the answers batch by batch."""
        results = self._played(batch_rows, item)
        if self._bound.applies:
            self._bound.took(len(item.ids), answered_bytes(results))
        return results

    def cut(self, batch_rows: int, items: Iterator[ReadItem]) -> Iterator[ReadItem]:
        """What was read, in pieces whose answers are thought to be small enough; in the thread that hands on results."""
        if not self._bound.applies:
            yield from items
            return
        more = 0
        for item in items:
            start, stop = 0, len(item.ids)
            while start < stop:
                least = 0 if item.index or start else self._head.rows
                rows = min(stop - start, max(least, self._bound.rows()))
                yield item.part(item.index + more, slice(start, start + rows))
                start += rows
                more += -(-rows // batch_rows)
            more -= -(-stop // batch_rows)

    def expected_bytes(self, item: ReadItem) -> int:
        """Bytes of what was read, and of its answers, as far as they are known."""
        return item.num_bytes() + self._bound.expected_bytes(len(item.ids))

    def _played(self, batch_rows: int, item: ReadItem) -> list[BatchResult]:
        batch, failures, _ = self._layout.bind(item.read, item.ids)
        with self._turns.take():
            played = self._head.join(batch, self._play_bound) if item.index == 0 else self._play_bound(batch)
        failures = sorted([*failures, *played.failures], key=lambda failure: failure.row)
        starts = range(0, len(item.ids), batch_rows)
        return [
            self._result(
                item.index + place, item, slice(start, min(len(item.ids), start + batch_rows)), played, failures
            )
            for place, start in enumerate(starts)
        ]

    def _result(self, index: int, item: ReadItem, rows: slice, played: Played, failures: list[Failure]) -> BatchResult:
        """The part of what was played that is of one batch."""
        ids = item.ids[rows]
        last = rows.stop == len(item.ids)
        outputs = played.outputs
        if len(ids) < len(item.ids):
            chosen = slice(*np.searchsorted(outputs.ids, [ids[0], ids[-1] + 1]))
            outputs = Batch(
                {name: take_rows(column, chosen) for name, column in outputs.columns.items()}, outputs.ids[chosen]
            )
            failures = [failure for failure in failures if ids[0] <= failure.row <= ids[-1]]
        read = item.read.slice(rows.start, len(ids))
        answers = self._layout.unbind(Played(outputs, []), read, ids) if len(outputs) else None
        return BatchResult(index, len(ids), answers, failures, last)

    def play_for_estimate(self, read: pa.RecordBatch, ids: Ids) -> tuple[list[Failure], int]:
        """Play a few rows; the failures, and the bytes of the answers."""
        batch, failures, _ = self._layout.bind(read, ids)
        played = self._play_bound(batch)
        written = self._layout.unbind(played, read, ids).table.nbytes if len(played.outputs) else 0
        return sorted([*failures, *played.failures], key=lambda failure: failure.row), written

    def _play_rows(self, read: pa.RecordBatch, ids: Ids) -> Played:
        batch, _, _ = self._layout.bind(read, ids)
        with self._turns.take():
            return self._play_bound(batch)

    def _play_bound(self, batch: Batch) -> Played:
        begun = CallTime()
        played = self._player.play(batch)
        self._sizing.took(len(batch), begun.seconds())
        return played
