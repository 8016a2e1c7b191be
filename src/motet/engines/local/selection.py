"""Which rows of a source a run is for: one choice, by the rows' ids alone.

The id of a row is its position in the source, from 0, whatever is chosen. What is chosen, in this order:

    skip ──► sample ──► shard ──► only_failed ──► limit

So the shards of a sample are together the sample, and the same whatever batches and workers there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from motet.errors import InputError

__all__ = ["Chosen", "RowShard", "Sample", "Selection", "count_or_part"]

Ids = npt.NDArray[np.int64]
CHUNK = 1 << 16
"""Ids that are looked at together."""
_ALL = 1 << 64


def count_or_part(text: object) -> int | float | None:
    """Read `N` as a number of rows below 10^18, `P%` as a part of them, 0.0 to 1.0; None for what is neither."""
    match = re.fullmatch(r"\s*(\d{1,18})(\.\d+)?\s*(%?)\s*", str(text))
    if match is None or (match[2] and not match[3]):
        return None
    if not match[3]:
        return int(match[1])
    part = float(match[1] + (match[2] or "")) / 100
    return part if part <= 1 else None


@dataclass(frozen=True)
class RowShard:
    """One of so many equal stretches of rows.

    Attributes:
        index: which, from 0.
        count: how many there are.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> RowShard:
        """Read `i/n`.

        Raises:
            InputError: when it is none.
        """
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text) if isinstance(text, str) else None
        if match is None or int(match[1]) >= int(match[2]):
            raise InputError(
                f"{text!r} is no shard",
                where="shard",
                hint="write which one, from 0, and of how many: 0/4, 1/4, 2/4, 3/4",
            )
        return cls(int(match[1]), int(match[2]))

    def of(self, start: int, stop: int) -> tuple[int, int]:
        """Its stretch of one of rows."""
        rows = stop - start
        return start + rows * self.index // self.count, start + rows * (self.index + 1) // self.count

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class Sample(NamedTuple):
    """Some of all rows, by chance, which a seed and the row's id decide.

    Attributes:
        rows: how many; None where a part is given.
        part: that part of all rows, 0 to 1: each row is in it or not by itself, so how many are is not exact.
        seed: of the chance.
    """

    rows: int | None = None
    part: float = 1.0
    seed: int = 0

    @classmethod
    def parse(cls, text: str | int, seed: int) -> Sample:
        """Read `N` or `P%`.

        Raises:
            InputError: when it is neither.
        """
        found = count_or_part(text)
        if not found:
            raise InputError(
                f"{text!r} is no sample", where="sample", hint="write a number of rows, or a part of them such as 1%"
            )
        return cls(rows=found, seed=seed) if isinstance(found, int) else cls(part=found, seed=seed)

    def hashes(self, ids: Ids) -> npt.NDArray[np.uint64]:
        """A number for each row: equally likely ones, and no two alike (Steele, Lea and Flood 2014, SplitMix64)."""
        key = np.uint64(_mixed(np.array([self.seed & (_ALL - 1)], np.uint64))[0])
        return _mixed(ids.astype(np.uint64) ^ key)

    def has(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which rows are in a sample that is a part."""
        if self.part >= 1:
            return np.ones(len(ids), bool)
        return self.hashes(ids) < np.uint64(int(self.part * _ALL))

    def best(self, start: int, stop: int) -> Ids:
        """The rows of a stretch that are in a sample of so many: those of the smallest numbers, in the order of their ids."""
        assert self.rows is not None
        found, chunk = np.empty(0, np.int64), max(CHUNK, self.rows)
        for first in range(start, stop, chunk):
            found = np.concatenate([found, np.arange(first, min(stop, first + chunk))])
            if len(found) > self.rows:
                found = found[np.argpartition(self.hashes(found), self.rows - 1)[: self.rows]]
        return np.sort(found)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


class Selection(NamedTuple):
    """What is asked for.

    Attributes:
        skip: rows left out at the start.
        sample: rows taken by chance.
        shard: which part of them.
        limit: the most.
    """

    skip: int = 0
    sample: Sample | None = None
    shard: RowShard | None = None
    limit: int | None = None

    @property
    def needs_count(self) -> bool:
        """Whether it must be known how many rows there are."""
        return self.shard is not None or (self.sample is not None and self.sample.rows is not None)

    def said(self) -> dict[str, Any]:
        """What tells it from others, by the names of the options."""
        sample = self.sample
        return {
            "skip": self.skip,
            "sample": None if sample is None else sample.rows if sample.rows is not None else repr(sample.part),
            "seed": None if sample is None else sample.seed,
            "shard": None if self.shard is None else str(self.shard),
            "limit": self.limit,
        }

    def of(self, rows: int | None, positions: Ids | None = None) -> Chosen:
        """The rows that it means.

        Args:
            rows: how many there are; None where that is not known, which is enough unless it `needs_count`.
            positions: those of them that are wanted at all, in order; None for all.
        """
        stop, part = rows, self.sample
        start = self.skip if rows is None else min(self.skip, rows)
        if part is not None and part.rows is not None:
            assert rows is not None
            best = part.best(start, rows)
            positions = best if positions is None else np.intersect1d(best, positions)
            part = None
        if self.shard is not None:
            assert rows is not None
            start, stop = self.shard.of(start, rows)
        if positions is not None:
            positions = positions[slice(*np.searchsorted(positions, [start, _ALL >> 1 if stop is None else stop]))]
            positions = positions if part is None else positions[part.has(positions)]
            positions = positions[: self.limit]
        return Chosen(start, stop, part if positions is None else None, positions, self.limit)


@dataclass(frozen=True)
class Chosen:
    """Rows of a source.

    Attributes:
        start: the first one that may be.
        stop: the one behind the last that may be; None where it is not known.
        part: those of them that are in this sample; None for all.
        positions: the rows, one by one; None where the others tell.
        limit: the most.
    """

    start: int
    stop: int | None
    part: Sample | None
    positions: Ids | None
    limit: int | None

    @cached_property
    def total(self) -> int | None:
        """How many there are, None where that is not known."""
        if self.positions is not None:
            return len(self.positions)
        if self.stop is None:
            return None
        rows = self.stop - self.start if self.part is None else sum(map(len, self._stretches()))
        return rows if self.limit is None else min(rows, self.limit)

    def _stretches(self) -> Iterator[Ids]:
        """The ids of a sample, chunk after chunk, without an end where that is not known."""
        assert self.part is not None
        first = self.start
        while self.stop is None or first < self.stop:
            end = first + CHUNK if self.stop is None else min(self.stop, first + CHUNK)
            ids = np.arange(first, end)
            yield ids[self.part.has(ids)]
            first = end

    def at(self, ranks: Ids) -> Ids:
        """The ids of the first, second, ... row, whose ranks are given in ascending order, from 0."""
        if self.positions is not None:
            return self.positions[ranks]
        if self.part is None:
            return self.start + ranks
        found, seen = [np.empty(0, np.int64)], 0
        for ids in self._stretches():
            low, high = np.searchsorted(ranks, [seen, seen + len(ids)])
            found.append(ids[ranks[low:high] - seen])
            seen += len(ids)
            if high == len(ranks):
                break
        return np.concatenate(found)

    def ranks(self, ids: Ids) -> Ids:
        """How many of its rows come before each of these of them, which are in ascending order: the inverse of `at`."""
        if self.positions is not None:
            return np.searchsorted(self.positions, ids)
        if self.part is None or not len(ids):
            return ids - self.start
        found, seen = [np.empty(0, np.int64)], 0
        for chunk in self._stretches():
            inside = ids[slice(*np.searchsorted(ids, [chunk[0], chunk[-1] + 1]))] if len(chunk) else ids[:0]
            found.append(seen + np.searchsorted(chunk, inside))
            seen += len(chunk)
            if len(chunk) and chunk[-1] >= ids[-1]:
                break
        return np.concatenate(found)

    def has(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which ids are those of its rows, but for the limit."""
        if self.positions is not None:
            return np.isin(ids, self.positions)
        inside = ids >= self.start if self.stop is None else (ids >= self.start) & (ids < self.stop)
        return inside if self.part is None else inside & self.part.has(ids)
