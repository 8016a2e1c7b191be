"""What Beam's workers do: rows wait until a batch is full or their bundle ends, and are played together.

An element keeps its windows, time, pane and key, whatever shares its batch. Nothing waits longer than its bundle, so no watermark
passes what is held.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from motet.engines.batch_worker import BatchWorker
from motet.engines.beam.refresh import refreshed_once
from motet.engines.beam.rows import Kept, PlayedElements, play_values, telling
from motet.engines.beam.tables import play_tables
from motet.engines.job import Job
from motet.engines.tables import TableWorkers
from motet.graph.check import CheckedGraph
from motet.graph.graph import GraphSpec

__all__ = ["FAILURES", "ElementKind", "HeldElements", "PlayRows", "in_own_windows", "kind_of", "num_rows"]

FAILURES = "failures"
"""The tag of what is said of rows that failed."""
KINDS = 64
"""Types of rows that are remembered."""


class ElementKind(NamedTuple):
    """What is played together: whether elements are keys and rows, whether rows are tables, their type; by which model."""

    keyed: bool
    tables: bool
    type: type
    call: int = 0


class HeldElements(NamedTuple):
    """Elements of one kind, how many rows they have, and what a stage has left of them."""

    elements: list[WindowedValue]
    kind: ElementKind
    rows: int
    left: list[pa.RecordBatch]


@lru_cache(KINDS)
def _kind(row: type, *, keyed: bool) -> ElementKind:
    return ElementKind(keyed, issubclass(row, (pa.Table, pa.RecordBatch)), row)


def kind_of(element: Any) -> ElementKind:
    """Of which kind an element is."""
    keyed = type(element) is tuple and len(element) == 2
    row: Any = type(element[1] if keyed else element)
    return _kind(row, keyed=keyed)


class PlayRows(beam.DoFn):  # type: ignore[misc]
    """Plays rows: dicts, named tuples, Beam's rows, tables and record batches, each also behind a key.

    Args:
        job: what is played.
        kept: which columns are written beside the outputs.
        run: tells the pipeline from others of the same process: what has failed on everything is of one alone.
        typed: whether the job is over the schema of the tables that come.
        graph: as it was declared, where a side input tells of other models.
    """

    def __init__(self, job: Job, kept: Kept, run: str, *, typed: bool, graph: GraphSpec | None = None) -> None:
        self._job, self._kept, self._run, self._typed = job, kept, run, typed
        self._made, self._graph, self._told = job, graph, None
        self._held: list[WindowedValue] = []
        self._left: list[pa.RecordBatch] = []
        self._kind, self._rows = _kind(dict, keyed=False), 0
        namespace = f"motet.{job.checked.graph.name}"
        self._counted = {name: Metrics.counter(namespace, name) for name in ("rows", "failures", "batches")}
        self._seconds = Metrics.distribution(namespace, "batch_milliseconds")

    @telling()
    def setup(self) -> None:
        """Load the models, once a process; those of which a side input tells when it does."""
        self._begin()
        if self._graph is None:
            self._worker.load()

    def _begin(self) -> None:
        self._tables = self._table_workers()
        self._worker = BatchWorker.shared(self._job, run=self._run)

    def _table_workers(self) -> TableWorkers:
        return TableWorkers(self._job, self._kept.keep, self._kept.drop, self._run, typed=self._typed)

    def start_bundle(self) -> None:
        """Begin with nothing: what a bundle that failed has held comes again."""
        self._take()

    def process(
        self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam, told: Sequence[Any] = ()
    ) -> Iterable[Any]:
        """Hold an element, and play what is held where that fills a batch, was of another kind, or came for other models."""
        kind = kind_of(element)
        if kind is self._kind and not kind.tables and not told and self._rows + 1 < self._job.batch_rows:
            self._rows += 1
            self._held.append(windowed)
            return ()
        rows = num_rows(element[1] if kind.keyed else element) if kind.tables else 1
        return self._turned(kind, [windowed], rows, told)

    def _turned(
        self,
        kind: ElementKind,
        elements: Sequence[WindowedValue],
        rows: int,
        told: Sequence[Any],
        left: pa.RecordBatch | None = None,
    ) -> Iterable[Any]:
        """Hold elements, and play what is held where it may be time for that."""
        done: Iterable[Any] = ()
        if told and told[-1] != self._told:
            done = list(self._played(self._take()))
            self._refresh(told[-1])
        before = self._take() if self._held and kind != self._kind else None
        self._kind = kind
        self._held += elements
        self._rows += rows
        if left is not None:
            self._left.append(left)
        full = self._take() if self._rows >= self._job.batch_rows else None
        if before is None and full is None:
            return done
        return chain(done, *(self._played(held) for held in (before, full) if held is not None))

    def finish_bundle(self) -> Iterable[Any]:
        """Play what is held."""
        return self._played(self._take())

    @telling()
    def _refresh(self, told: Any) -> None:
        """Play what comes from here on with the models of which a side input tells."""
        assert self._graph is not None
        job = refreshed_once(self._run, self._made, self._graph, told, self._part)
        if job.digest != self._job.digest:
            self._job = job
            self._begin()
            self._worker.load()
            BatchWorker.forget(self._made, but=job)
        self._told = told

    def _part(self, checked: CheckedGraph) -> CheckedGraph:
        """What of a graph is played here."""
        return checked

    def _take(self) -> HeldElements:
        """What is held, and no more."""
        found = HeldElements(self._held, self._kind, self._rows, self._left)
        self._held, self._rows, self._left = [], 0, []
        return found

    def _played(self, held: HeldElements) -> Iterator[Any]:
        elements, kind = held.elements, held.kind
        if not elements:
            return
        started = time.perf_counter()
        played = self._play([each.value[1] if kind.keyed else each.value for each in elements], held)
        self._seconds.update(round(1000 * (time.perf_counter() - started)))
        self._counted["batches"].inc()
        self._count_rows(held.rows)
        yield from self._given(held, played)
        for place, failure in played.failures:
            each = elements[place]
            self._counted["failures"].inc(num_rows(failure) if kind.tables else 1)
            made = each.with_value((each.value[0], failure) if kind.keyed else failure)
            yield TaggedOutput(FAILURES, in_own_windows(made))

    def _count_rows(self, rows: int) -> None:
        self._counted["rows"].inc(rows)

    def _given(self, held: HeldElements, played: PlayedElements) -> Iterator[Any]:
        """What comes out of elements that did not fail."""
        keyed = held.kind.keyed
        for each, answer in zip(held.elements, played.answers, strict=True):
            if answer is not None:
                made = each.with_value((each.value[0], answer) if keyed else answer)
                yield in_own_windows(made)

    @telling()
    def _play(self, values: Sequence[Any], held: HeldElements) -> PlayedElements:
        if held.kind.tables:
            return play_tables(self._tables, values)
        return play_values(self._worker, self._kept, values)


def num_rows(value: Any) -> int:
    """The rows of a table or a record batch."""
    return int(value.num_rows)


class _Windows(tuple):  # type: ignore[type-arg]
    """Windows of an element that is given out while another one is processed.

    Beam takes what is given out then for that one's, and repeats its windows where that one is in several: not these.
    """

    __slots__ = ()

    def __mul__(self, times: Any) -> _Windows:
        return self


def in_own_windows(made: WindowedValue) -> WindowedValue:
    """The same in the windows that it is in, whatever is processed when it is given out."""
    made.windows = _Windows(made.windows)
    return made
