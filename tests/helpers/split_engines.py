"""Engines over splits that need no cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from motet.engines.splits.engine import SplitEngine

T = TypeVar("T")
R = TypeVar("R")


class Here(SplitEngine):
    """Plays tasks in this process, the last one first."""

    name = "here"
    split_bytes = 600

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        yield from map(function, reversed(items))


class Silent(Here):
    """Brings no results back."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        for item in items:
            function(item)
        yield from ()


class Threads(Here):
    """Plays tasks at the same time."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        with ThreadPoolExecutor(4) as pool:
            for each in as_completed([pool.submit(function, item) for item in items]):
                yield each.result()
