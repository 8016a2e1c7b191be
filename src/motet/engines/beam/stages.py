"""One of several stages that a graph is cut into: what rows leave it with travels beside them, many together, as Arrow.

Rows keep their times, panes and windows on the way, and come to the next stage as they came to the first, so that what is kept of
them, and what is said of those that fail, is what it would be in one stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import randrange
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.coders import BytesCoder, Coder, TupleCoder, WindowedValueCoder
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.trigger import AccumulationMode, Always
from apache_beam.transforms.window import GlobalWindows, TimestampCombiner
from apache_beam.typehints import typehints
from apache_beam.utils.windowed_value import WindowedValue

from motet.batch import Indices
from motet.engines.beam.play import HeldElements, PlayRows, in_own_windows, kind_of, num_rows
from motet.engines.beam.rows import Kept, PlayedElements, bind_values, leave_values, play_values, telling
from motet.engines.beam.tables import leave_tables, own_columns, play_tables, rows_of
from motet.engines.job import Job
from motet.engines.splits.shuffle import ROW
from motet.engines.splits.staged import grouping_of
from motet.engines.stages import LEFT, Stage, stages_of
from motet.engines.tables import TableWorkers
from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.graph.graph import GraphSpec
from motet.io.memory import as_record_batch
from motet.io.stream import join
from motet.io.take import take_batch

__all__ = ["TRAVELLING", "BringTogether", "PlayStage", "StagePlace", "table_jobs"]

TRAVELLING = typehints.Tuple[int, typehints.Tuple[bytes, bytes]]
"""What goes from stage to stage: what rows are brought together by; rows, windowed; and what was left of them."""


APART = 1 << 30
"""Tables that are not brought together are told apart by as many numbers, so that they go to many workers."""


@dataclass(frozen=True)
class StagePlace:
    """Where a stage stands.

    Attributes:
        number: from 0 on.
        count: how many there are.
        stage: the stage.
        after: the next one; None behind the last.
        coder: of lists of windowed elements, as they came.
    """

    number: int
    count: int
    stage: Stage
    after: Stage | None
    coder: Coder

    @cached_property
    def keys(self) -> CheckedGraph | None:
        """The next stage, as if the key that brings its rows together were all that it takes; None where nothing does."""
        by = None if self.after is None else grouping_of(self.after)
        if by is None or self.after is None:
            return None
        checked = self.after.checked
        name = checked.canonical[by.route.key or ""]
        return replace(checked, graph=checked.graph.changed(inputs={name: by.key}))

    def over(self, job: Job, schema: pa.Schema, kept: Kept) -> Job:
        """What plays tables of a schema, those of the stage before."""
        own = own_columns(schema)
        if not self.number and len(own) < len(schema):
            what = f"a column is called {LEFT}..., as those between stages are"
            raise InputError(what, where=f"graph {job.checked.graph.name!r}", hint="rename it, or set one_stage=True")
        if self.after is None:
            return job.over(schema, keep=kept.of(own, job.checked))
        if not self.number:
            kept.check(own, "the tables")
        return job.over(schema, keep=(), row_ids=ROW)


def table_jobs(job: Job, stages: Sequence[Stage]) -> Iterator[Job]:
    """What each stage plays, of tables.

    Args:
        job: the whole graph over the schema of those that come.
        stages: of the graph.
    """
    own, left = job.layout.source, list[pa.Field]()
    for stage in stages[:-1]:
        made = job.stage(stage.checked, pa.schema([*own, *left]), (), ROW)
        left = [field for field in made.answers_schema if field.name != ROW]
        yield made
    yield job.stage(stages[-1].checked, pa.schema([*own, *left]), job.layout.kept)


class PlayStage(PlayRows):
    """Plays a stage; see `PlayRows`.

    Args:
        job: what is played.
        kept: which columns are written beside the outputs of the graph.
        run, typed, graph: as for `PlayRows`.
        place: where it stands.
    """

    def __init__(
        self, job: Job, kept: Kept, run: str, *, typed: bool, graph: GraphSpec | None, place: StagePlace
    ) -> None:
        super().__init__(job, kept, run, typed=typed, graph=graph)
        self._place = place
        namespace = f"motet.{job.checked.graph.name}"
        self._loads, self._apart = (Metrics.counter(namespace, name) for name in ("loads", "loads_apart"))

    def process(
        self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam, told: Sequence[Any] = ()
    ) -> Iterable[Any]:
        """Hold what came, as `PlayRows` does; behind the first stage these are elements that have come together."""
        if not self._place.number:
            return super().process(element, windowed, told)
        call, (values, left) = element
        held = [
            WindowedValue(each.value, each.timestamp, windowed.windows, each.pane_info)
            for each in _decoded(self._place.coder, values)
        ]
        kind = kind_of(held[0].value)._replace(call=call)
        if kind.tables:
            tables = [each.value[1] if kind.keyed else each.value for each in held]
            return self._turned(kind, held, sum(map(num_rows, tables)), told)
        return self._turned(kind, held, len(held), told, _read(left) if left else None)

    def _part(self, checked: CheckedGraph) -> CheckedGraph:
        stages = stages_of(checked)
        if len(stages) != self._place.count:
            what = f"with its models of now it is cut into {len(stages)} stages; there were {self._place.count}"
            raise InputError(what, where=f"graph {checked.graph.name!r}", hint="make the pipeline anew")
        return stages[self._place.number].checked

    def _table_workers(self) -> TableWorkers:
        return _StageWorkers(self._place, self._job, self._kept, self._run, typed=self._typed)

    def _count_rows(self, rows: int) -> None:
        if not self._place.number:
            super()._count_rows(rows)

    @telling()
    def _play(self, values: Sequence[Any], held: HeldElements) -> PlayedElements:
        last, left = self._place.after is None, join(held.left) if held.left else None
        if held.kind.tables:
            played = play_tables(self._tables, values, staged=True) if last else leave_tables(self._tables, values)
        elif last:
            played = play_values(self._worker, self._kept, values, left)
        else:
            played = leave_values(self._worker, values, left)
        if self._place.stage.grouped:
            workers = {self._tables.of(each.schema) for each in values} if held.kind.tables else {self._worker}
            self._loads.inc(sum(each.new_loads() for each in workers))
        return played

    def _given(self, held: HeldElements, played: PlayedElements) -> Iterator[Any]:
        found = super()._given(held, played)
        if self._place.after is None:
            yield from found
            return
        elements, calls = self._called(held, list(found), played.left)
        met = np.unique(calls[calls >= 0])
        self._apart.inc(len(met) if self._place.keys is not None else 0)
        together: dict[tuple[Any, int], list[int]] = {}
        for number, (each, call) in enumerate(zip(elements, calls.tolist(), strict=True)):
            together.setdefault((tuple(each.windows), call), []).append(number)
        for (_, call), numbers in together.items():
            yield self._packed(call, [elements[number] for number in numbers], numbers, played.left)

    def _called(
        self, held: HeldElements, elements: list[WindowedValue], left: pa.RecordBatch | None
    ) -> tuple[list[WindowedValue], Indices]:
        """Elements, and for each the call of a model that its rows are brought together for; a number below 0, or 0, for none.

        Tables are cut up, but for those behind keys, which tell them from each other.
        """
        keys = self._place.keys
        if keys is None or self._place.after is None or not elements:
            return elements, np.zeros(len(elements), np.int64)
        keyed = held.kind.keyed
        values = [each.value[1] if keyed else each.value for each in elements]
        if not held.kind.tables:
            (column,) = bind_values(values, keys, left).columns.values()
            assert isinstance(column, np.ndarray)
            return elements, self._place.after.route.calls_of(column)
        if keyed:
            return elements, np.array([-1 - randrange(APART) for _ in elements], np.int64)
        by, pieces, calls = grouping_of(self._place.after), list[WindowedValue](), list[int]()
        assert by is not None
        for each, value in zip(elements, values, strict=True):
            of = by.of(as_record_batch(value))
            for call in np.unique(of).tolist():
                pieces.append(each.with_value(rows_of(value, np.flatnonzero(of == call))))
                calls.append(call)
        return pieces, np.array(calls, np.int64)

    def _packed(
        self, call: int, elements: Sequence[WindowedValue], numbers: Sequence[int], left: pa.RecordBatch | None
    ) -> WindowedValue:
        """Elements of the same windows as one, whose time is that of the first of them."""
        content = b""
        if left is not None:
            content = _written(left if len(numbers) == len(left) else take_batch(left, np.array(numbers)))
        first = min(elements, key=lambda each: each.timestamp)
        return in_own_windows(first.with_value((call, (self._place.coder.encode(list(elements)), content))))


class BringTogether(beam.PTransform):  # type: ignore[misc]
    """Brings what goes from stage to stage together by its key: of rows with bounds all that is there, in a stream what waits.

    As `ReshufflePerKey`, times and windows stay; but what Prism cannot decode, windowed values, is no part of what is sent.
    """

    def expand(self, rows: beam.PCollection[Any]) -> beam.PCollection[Any]:
        """The same rows."""
        sent = rows | "Hold" >> beam.ParDo(_Hold()).with_output_types(typehints.Tuple[int, bytes])
        sent._windowing = Windowing(
            GlobalWindows(), Always(), AccumulationMode.DISCARDING, TimestampCombiner.OUTPUT_AT_EARLIEST
        )
        found = sent | beam.GroupByKey() | "Let go" >> beam.FlatMap(_let_go).with_output_types(TRAVELLING)
        found._windowing = rows.windowing
        return found


class _Hold(beam.DoFn):  # type: ignore[misc]
    """Puts the time, windows and pane of an element into it."""

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterator[Any]:
        held = element[0], _WINDOWED.encode(windowed.with_value(element[1]))
        yield in_own_windows(GlobalWindows.windowed_value(held, windowed.timestamp))


_WINDOWED = WindowedValueCoder(TupleCoder((BytesCoder(), BytesCoder())))


def _let_go(element: tuple[int, Iterable[bytes]]) -> Iterator[WindowedValue]:
    call, held = element
    for each in held:
        found = _WINDOWED.decode(each)
        yield found.with_value((call, found.value))


class _StageWorkers(TableWorkers):
    """What plays tables in a stage, by their schemas."""

    def __init__(self, place: StagePlace, job: Job, kept: Kept, run: str, *, typed: bool) -> None:
        super().__init__(job, None, (), run, typed=typed)
        self._place, self._kept = place, kept

    def _job_over(self, schema: pa.Schema) -> Job:
        return self._place.over(self._job, schema, self._kept)


def _decoded(coder: Coder, values: bytes) -> list[WindowedValue]:
    found: list[WindowedValue] = coder.decode(values)
    return found


def _written(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


def _read(content: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(content) as stream:
        return stream.read_next_batch()
