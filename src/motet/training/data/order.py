"""Which rows a worker's batch has: shuffled by seed and epoch, shared out by rank.

A global batch is `rows x num_workers` rows of the epoch's order; worker `rank` has its `rank`-th part. So every worker
has the same number of batches, and the rows of a global batch do not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from motet.errors import InputError
from motet.training.data.readers import Columns, same_kinds

__all__ = ["Cut", "Shuffle", "cut_blocks", "cut_ids", "shuffled_blocks"]

Ids = npt.NDArray[np.int64]
_WINDOW_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Shuffle:
    """How rows are shuffled.

    Attributes:
        seed: with the epoch it fixes the order.
        window_rows: rows that are mixed at a time. None mixes all rows where any row can be had at once, and windows of
            about 64 MiB where rows come as a stream.
    """

    seed: int = 0
    window_rows: int | None = None

    def ids(self, num_rows: int, epoch: int) -> Ids:
        """A permutation of the rows, the same for the same seed and epoch; int64 `[num_rows]`."""
        random = np.random.default_rng([self.seed, epoch])
        window = self.window_rows
        if window is None or window >= num_rows:
            return random.permutation(num_rows)
        firsts = random.permutation(np.arange(0, num_rows, window))
        return np.concatenate([first + random.permutation(min(window, num_rows - first)) for first in firsts.tolist()])


@dataclass(frozen=True, slots=True)
class Cut:
    """How an epoch's rows are cut into one worker's batches.

    Attributes:
        rows: rows of one worker's batch.
        rank: the worker's number, from 0.
        num_workers: how many workers there are.
        drop_last: whether the rows that do not fill a global batch are left out. Otherwise they are shared out as
            evenly as possible, and a worker's last batch may have no rows.
    """

    rows: int
    rank: int = 0
    num_workers: int = 1
    drop_last: bool = True

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise InputError(f"a batch of {self.rows} rows is none", hint="ask for 1 row or more")
        if not 0 <= self.rank < self.num_workers:
            raise InputError(f"there is no worker {self.rank} of {self.num_workers}", hint="ranks count from 0")

    @property
    def global_rows(self) -> int:
        """Rows of all workers' batches together."""
        return self.rows * self.num_workers

    def num_batches(self, num_rows: int) -> int:
        """Batches of each worker in an epoch of `num_rows` rows."""
        whole, rest = divmod(num_rows, self.global_rows)
        return whole + bool(rest and not self.drop_last)

    def part(self, num_rows: int) -> slice:
        """This worker's part of a global batch of `num_rows` rows."""
        size, more = divmod(num_rows, self.num_workers)
        first = self.rank * size + min(self.rank, more)
        return slice(first, first + size + (self.rank < more))


def cut_ids(ids: Ids, cut: Cut, skip: int = 0) -> Iterator[Ids]:
    """This worker's batches of an epoch's order, without the first `skip`."""
    for batch in range(skip, cut.num_batches(len(ids))):
        whole = ids[batch * cut.global_rows : (batch + 1) * cut.global_rows]
        yield whole[cut.part(len(whole))]


def cut_blocks(blocks: Iterable[Columns], cut: Cut, skip: int = 0) -> Iterator[Columns]:
    """This worker's batches of a stream, without the first `skip`; holds one global batch and one block."""
    for number, whole in enumerate(_of_size(blocks, cut.global_rows)):
        size = len(next(iter(whole.values())))
        if number >= skip and (size == cut.global_rows or not cut.drop_last):
            part = cut.part(size)
            yield {name: column[part] for name, column in whole.items()}


def shuffled_blocks(blocks: Iterable[Columns], shuffle: Shuffle, epoch: int) -> Iterator[Columns]:
    """A stream with the rows of each window mixed; holds one window and one block.

    Raises:
        InputError: when the columns' types change.
    """
    random = np.random.default_rng([shuffle.seed, epoch])
    window, filled = 0, 0
    held: Columns = {}
    for block in same_kinds(blocks, "shuffle"):
        size, at = len(next(iter(block.values()))), 0
        if not held:
            window = shuffle.window_rows or max(_WINDOW_BYTES // max(_row_bytes(block), 1), 1)
            held = {name: np.empty((window, *column.shape[1:]), column.dtype) for name, column in block.items()}
        while at < size:
            taken = min(window - filled, size - at)
            for name, column in block.items():
                held[name][filled : filled + taken] = column[at : at + taken]
            filled, at = filled + taken, at + taken
            if filled == window:
                yield from _mixed(held, random.permutation(filled))
                filled = 0
    yield from _mixed(held, random.permutation(filled))


def _mixed(held: Columns, order: Ids) -> Iterator[Columns]:
    rows = max(_PIECE_BYTES // max(_row_bytes(held), 1), 1) if held else 1
    for first in range(0, len(order), rows):
        taken = order[first : first + rows]
        yield {name: column[taken] for name, column in held.items()}


def _row_bytes(block: Columns) -> int:
    rows = max(len(next(iter(block.values()))), 1)
    return sum(column.nbytes for column in block.values()) // rows


def _of_size(blocks: Iterable[Columns], size: int) -> Iterator[Columns]:
    """The same rows in blocks of exactly `size` rows, the last one of fewer."""
    held: list[Columns] = []
    count = 0
    for block in blocks:
        rest, num_rows = dict(block), len(next(iter(block.values())))
        while count + num_rows >= size:
            taken = size - count
            held.append({name: column[:taken] for name, column in rest.items()})
            whole, held, count = _joined(held), [], 0
            yield whole
            rest, num_rows = {name: column[taken:] for name, column in rest.items()}, num_rows - taken
        if num_rows:
            held.append(rest)
            count += num_rows
    if held:
        yield _joined(held)


def _joined(blocks: list[Columns]) -> Columns:
    """The blocks one after another, in a dict of its own; what was joined is let go of."""
    if len(blocks) == 1:
        return dict(blocks[0])
    return {name: np.concatenate([block.pop(name) for block in blocks]) for name in list(blocks[0])}
