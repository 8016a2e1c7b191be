"""What playing splits took: by node and model, added over the workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from motet.engines.local.report import ModelReport, NodeReport

__all__ = ["NO_WORK", "SplitWork", "Stopwatch"]

T = TypeVar("T", NodeReport, ModelReport)


@dataclass(frozen=True)
class SplitWork:
    """What was done for a split, by the attempt at it that counts.

    Attributes:
        nodes: what each node did.
        models: what each model did; how often its process has loaded it so far.
        seconds_reading: seconds that its rows were read.
        seconds_writing: seconds that its part and failures were written.
        peak_memory_bytes: the most memory that its process had had by then.
    """

    nodes: tuple[NodeReport, ...] = ()
    models: tuple[ModelReport, ...] = ()
    seconds_reading: float = 0.0
    seconds_writing: float = 0.0
    peak_memory_bytes: int = 0

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> SplitWork:
        """As `dataclasses.asdict` says it."""
        nodes = tuple(NodeReport(**each) for each in said["nodes"])
        models = tuple(ModelReport(**each) for each in said["models"])
        return cls(**{**said, "nodes": nodes, "models": models})

    @classmethod
    def together(cls, works: Iterable[tuple[str, SplitWork]]) -> SplitWork:
        """That of several splits, each with the process that did it."""
        pairs = list(works)
        found = [work for _, work in pairs]
        loads = _loads(pairs)
        return cls(
            _added(node for each in found for node in each.nodes),
            tuple(replace(each, loads=loads[_key(each)]) for each in _added(m for each in found for m in each.models)),
            sum(each.seconds_reading for each in found),
            sum(each.seconds_writing for each in found),
            max((each.peak_memory_bytes for each in found), default=0),
        )


NO_WORK = SplitWork()
"""That of no split."""


class Stopwatch:
    """Adds up seconds.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds, self._started = 0.0, 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._started


def _key(report: NodeReport | ModelReport) -> tuple[str, str]:
    """What a node, or a version of a model, is known by."""
    return report.name, getattr(report, "version", "")


def _loads(works: Iterable[tuple[str, SplitWork]]) -> Counter[tuple[str, str]]:
    """How often all processes have loaded each model."""
    most: Counter[tuple[str, tuple[str, str]]] = Counter()
    for worker, work in works:
        for model in work.models:
            place = worker, _key(model)
            most[place] = max(most[place], model.loads)
    found: Counter[tuple[str, str]] = Counter()
    for (_, key), loads in most.items():
        found[key] += loads
    return found


def _added(reports: Iterable[T]) -> tuple[T, ...]:
    """One report for each node, or version of a model, in the order in which they first come."""
    found: dict[tuple[str, str], T] = {}
    for each in reports:
        key = _key(each)
        found[key] = _sum(found[key], each) if key in found else each
    return tuple(found.values())


def _sum(one: T, other: T) -> T:
    """Counts and seconds of both; of rows a call the most."""
    counted = {
        name: max(value, vars(other)[name]) if name == "batch_rows" else value + vars(other)[name]
        for name, value in vars(one).items()
        if not isinstance(value, str)
    }
    return replace(one, **counted)
