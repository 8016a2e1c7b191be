"""Datasets: a source of rows, what is done to them, and how an epoch is cut into batches.

reader ──► maps before the cache ──► cache ──► rows(first, stop) ──► shuffle ──► shard ──► maps ──► batches
           once, on blocks                     order.py                                    on each batch
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np

from motet.errors import InputError
from motet.training.data.cache import RowCache, cache_at, entry_key
from motet.training.data.digest import function_digest
from motet.training.data.order import Cut, Shuffle, cut_blocks, cut_ids, shuffled_blocks
from motet.training.data.readers import Columns, RandomReader, Reader, check_block

__all__ = ["Dataset", "Transformation"]


@dataclass(frozen=True)
class Transformation:
    """One function that is applied to batches.

    Attributes:
        function: takes columns, and a `numpy.random.Generator` where `random`; gives columns of the same rows.
        keywords: what else it is called with.
        random: whether it makes choices.
    """

    function: Callable[..., Mapping[str, Any]]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False

    def __call__(self, columns: Columns, seed: list[int]) -> Columns:
        """Apply it; `seed` fixes its choices."""
        rows = len(next(iter(columns.values())))
        more = (np.random.default_rng(seed),) if self.random else ()
        name = str(getattr(self.function, "__qualname__", self.function))
        return check_block(self.function(columns, *more, **self.keywords), name, rows)


@dataclass(frozen=True)
class Dataset:
    """Rows that are given in batches, epoch after epoch.

    A dataset is a description: each method gives a new one, and nothing is read before the first batch. Memory is
    bounded by a block, a window of the shuffle and a batch, except for a cache in memory. The same seed and epoch give
    the same batches, in every process and after every restart.
    """

    reader: Reader
    before: tuple[Transformation, ...] = ()
    kept: RowCache | None = None
    key: str | None = None
    after: tuple[Transformation, ...] = ()
    first: int = 0
    stop: int | None = None
    order: Shuffle | None = None
    rank: int = 0
    num_workers: int = 1

    def map(self, function: Callable[..., Mapping[str, Any]], *, random: bool = False, **keywords: Any) -> Dataset:
        """Apply a function to each batch.

        Before `cache` it is applied once, to blocks of the source; afterwards to every batch of every epoch.

        Args:
            function: takes a dict of arrays whose first axis is the row, and gives such a dict of the same rows in the
                same order; it must not write into what it is given.
            random: whether it also takes a `numpy.random.Generator`, seeded by the shuffle's seed, the epoch, the batch
                and the worker.
            keywords: given to the function.
        """
        return replace(self, after=(*self.after, Transformation(function, keywords, random)))

    def cache(
        self,
        where: str | PathLike[str] = "memory",
        *,
        key: str | None = None,
        max_bytes: int | None = None,
        max_entries: int = 8,
    ) -> Dataset:
        """Keep the rows, as they are here, when they are first read.

        Args:
            where: `memory`, or a folder, where they are memory-mapped and shared by all processes.
            key: names the rows, source and functions together, when you know better than a digest of the source and
                of the functions of `map` (see `function_digest`), which is the default.
            max_bytes: the most the rows may take; None is half of the memory, or nine tenths of the free disk.
            max_entries: in a folder, how many datasets are kept; those not used for longest go.

        Raises:
            InputError: when it has a cache already, is cut into rows, or one of its functions makes random choices.
        """
        if self.kept is not None:
            raise InputError("has a cache already", where=self.reader.description, hint="call cache once")
        if self.first or self.stop is not None:
            raise InputError(
                "is only a part of its source", where=self.reader.description, hint="call cache before rows(...)"
            )
        if any(each.random for each in self.after):
            raise InputError(
                "random choices would be made once and kept for all epochs",
                where=self.reader.description,
                hint="call cache before map(..., random=True)",
            )
        return replace(self, before=self.after, after=(), kept=cache_at(where, max_bytes, max_entries), key=key)

    def rows(self, first: int = 0, stop: int | None = None) -> Dataset:
        """Only the rows from `first` up to, and without, `stop`, counted in this dataset; None is to the end."""
        if first < 0 or (stop is not None and stop < first):
            raise InputError(f"there are no rows from {first} to {stop}", hint="count from 0, and end after the first")
        ends = [end for end in (self.stop, None if stop is None else self.first + stop) if end is not None]
        return replace(self, first=self.first + first, stop=min(ends, default=None))

    def shuffle(self, seed: int = 0, *, window_rows: int | None = None) -> Dataset:
        """Give the rows in another order each epoch.

        Args:
            seed: with the epoch it fixes the order.
            window_rows: rows that are mixed at a time; None mixes all of them where any row can be had at once (cached
                rows, arrays, functions), and about 64 MiB of a stream.
        """
        if window_rows is not None and window_rows < 1:
            raise InputError(f"a window of {window_rows} rows mixes nothing", hint="give 1 row or more")
        return replace(self, order=Shuffle(seed, window_rows))

    def shard(self, rank: int, num_workers: int) -> Dataset:
        """Give one worker's part of every global batch: see `motet.training.data.order`.

        Args:
            rank: the worker's number, from 0.
            num_workers: how many workers there are.
        """
        Cut(1, rank, num_workers)
        return replace(self, rank=rank, num_workers=num_workers)

    @property
    def num_rows(self) -> int | None:
        """Rows of an epoch over all workers; None for a stream that has not said so."""
        total = self._table.num_rows if self._table is not None else self.reader.num_rows
        if total is None:
            return None
        return max((total if self.stop is None else min(self.stop, total)) - self.first, 0)

    def num_batches(self, rows: int, *, drop_last: bool = True) -> int | None:
        """Batches of an epoch for each worker, None where only reading tells."""
        cut = Cut(rows, self.rank, self.num_workers, drop_last)
        return None if self.num_rows is None else cut.num_batches(self.num_rows)

    def batches(self, rows: int, *, epoch: int = 0, skip: int = 0, drop_last: bool = True) -> Iterator[Columns]:
        """This worker's batches of one epoch: dicts of arrays `[rows, ...]`.

        Every worker has the same number of batches.

        Args:
            rows: rows of one batch of one worker.
            epoch: which epoch, from 0; with the seed it fixes the order.
            skip: batches at the start that were had already; they are neither cut nor transformed.
            drop_last: whether rows that do not fill a batch of every worker are left out. Otherwise the last batch is
                smaller, and for some workers it may have no rows.

        Raises:
            InputError: when the source or a function gives something else than columns of equal length.
        """
        cut = Cut(rows, self.rank, self.num_workers, drop_last)
        for number, batch in enumerate(self._cut(cut, epoch, skip), start=skip):
            seed = [self.order.seed if self.order else 0, epoch, number, self.rank]
            columns = dict(batch)
            for place, function in enumerate(self.after):
                columns = function(columns, [*seed, place])
            yield columns

    def prepare(self) -> Dataset:
        """Fill the cache now, where it is not filled yet; gives this dataset back."""
        _ = self._table
        return self

    @cached_property
    def _table(self) -> RandomReader | None:
        """What gives any rows at once: the cache, or the reader itself; None where rows come as a stream."""
        if self.kept is not None:
            return self.kept.rows(self._key, self._blocks)
        return self.reader if isinstance(self.reader, RandomReader) else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_table"}

    def _cut(self, cut: Cut, epoch: int, skip: int) -> Iterator[Columns]:
        table = self._table
        if table is None:
            blocks = _part(self.reader.blocks(), self.first, self.stop)
            return cut_blocks(shuffled_blocks(blocks, self.order, epoch) if self.order else blocks, cut, skip)
        num_rows = self.num_rows or 0
        ids = self.order.ids(num_rows, epoch) if self.order else np.arange(num_rows)
        return (table.take(batch + self.first) for batch in cut_ids(ids, cut, skip))

    def _blocks(self) -> Iterator[Columns]:
        for block in self.reader.blocks():
            columns = block
            for function in self.before:
                columns = function(columns, [0])
            yield columns

    def _key(self) -> str:
        if self.key is not None:
            return entry_key([self.key])
        done = [function_digest(each.function, each.keywords) for each in self.before]
        return entry_key([self.reader.fingerprint(), *done])


def _part(blocks: Iterator[Columns], first: int, stop: int | None) -> Iterator[Columns]:
    """The rows of a stream from `first` to `stop`; reads no further."""
    at = 0
    for block in blocks:
        size = len(next(iter(block.values())))
        low, high = max(first - at, 0), size if stop is None else min(stop - at, size)
        at += size
        if high > low:
            yield block if (low, high) == (0, size) else {name: column[low:high] for name, column in block.items()}
        if stop is not None and at >= stop:
            return
