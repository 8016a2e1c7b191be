"""What nodes and models have done, and what the nodes of a graph keep from batch to batch."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motet.models.handler import TokenUsage
from motet.runtime.overdue import LateCalls
from motet.runtime.shadows import Shadow

if TYPE_CHECKING:
    from motet.runtime.stacks import RouteStack

__all__ = ["GraphState", "ModelStats", "NodeStats", "Tally", "spending", "tallied"]


NO_TOKENS = TokenUsage()
"""What is used where no language model is asked."""


@dataclass
class NodeStats:
    """What a node has done: rows it was given, batches, seconds in it, and rows that failed in it."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0.0
    failed: int = 0

    def count(self, rows: int, batches: int, seconds: float, failed: int) -> None:
        """Count something; by whoever holds the lock of the counts."""
        self.rows += rows
        self.batches += batches
        self.seconds += seconds
        self.failed += failed


@dataclass(eq=False)
class ModelStats:
    """What a model has done: rows answered, calls made, seconds in them, rows that failed, how often it was loaded, and
    what was used of a language model."""

    rows: int = 0
    calls: int = 0
    seconds: float = 0.0
    failed: int = 0
    loads: int = 1
    used: TokenUsage = NO_TOKENS
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, rows: int, calls: int, seconds: float, failed: int) -> None:
        """Count what one batch did."""
        tally = _tally.get()
        with self.lock:
            for each in (self,) if tally is None else (self, tally.models[self]):
                each.rows += rows
                each.calls += calls
                each.seconds += seconds
                each.failed += failed

    def spend(self, used: TokenUsage) -> None:
        """Count what a request to a language model used."""
        tally, spent = _tally.get(), _spent.get()
        with self.lock:
            for each in (self,) if tally is None else (self, tally.models[self]):
                each.used += used
            if spent is not None:
                spent.append(used)


class Tally:
    """What nodes and models did within a `tallied`, whatever else they did before or do meanwhile.

    Attributes:
        nodes: by path.
        models: by what they did in all.
    """

    def __init__(self) -> None:
        self.nodes: defaultdict[str, NodeStats] = defaultdict(NodeStats)
        self.models: defaultdict[ModelStats, ModelStats] = defaultdict(ModelStats)


_tally: ContextVar[Tally | None] = ContextVar("motet_tally", default=None)


_spent: ContextVar[list[TokenUsage] | None] = ContextVar("motet_spent", default=None)


@contextmanager
def spending() -> Iterator[list[TokenUsage]]:
    """What language models use in this context is put into a list, too, a request at a time."""
    found: list[TokenUsage] = []
    token = _spent.set(found)
    try:
        yield found
    finally:
        _spent.reset(token)


@contextmanager
def tallied() -> Iterator[Tally]:
    """Count what is played in this context, in the threads that it begins too, in a tally of its own as well."""
    tally = Tally()
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


@dataclass
class GraphState:
    """What the nodes of a graph have done and keep from batch to batch, and those of the graphs inside it, by path.

    Attributes:
        stats: of each node.
        shadows: members that are off the way of the answers, by the path of their node and their name.
        late: the late calls of members that are waited for only for some time, by the path of their node and their name.
        stacks: the models of a route that are played together, by the path of its node.
        incomplete: how often rows were answered without a member that failed on them or was late.
    """

    stats: dict[str, NodeStats] = field(default_factory=dict)
    shadows: dict[tuple[str, str], Shadow] = field(default_factory=dict)
    late: dict[tuple[str, str], LateCalls] = field(default_factory=dict)
    stacks: dict[str, Sequence[RouteStack]] = field(default_factory=dict)
    incomplete: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str, rows: int, seconds: float, failed: int, batches: int = 1) -> None:
        """Count what a node did."""
        tally = _tally.get()
        with self.lock:
            self.stats[path].count(rows, batches, seconds, failed)
            if tally is not None:
                tally.nodes[path].count(rows, batches, seconds, failed)

    def count_incomplete(self) -> None:
        """Count that rows were answered without a member."""
        with self.lock:
            self.incomplete += 1

    def forget(self) -> None:
        """Begin to count at 0."""
        with self.lock:
            for stats in self.stats.values():
                stats.rows, stats.batches, stats.seconds, stats.failed = 0, 0, 0.0, 0
        for shadow in self.shadows.values():
            shadow.open(anew=True)
        for late in self.late.values():
            late.rows = 0
