"""Measuring what the rows of a graph take: as a run plays them, in bounded time, and nothing is written that stays.

A run is prepared as every run is, so reading, sizes of batches and of calls, and what comes and goes of models by key are those of
`motet run`. Times are those of a thread without what it waited for a processor, so that what else the machine does counts little.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from motet.batch import column_bytes
from motet.engines.layout import held_rows
from motet.engines.local.engine import LocalEngine
from motet.engines.local.head import Cost
from motet.engines.local.prepared import PreparedRun, prepared
from motet.engines.local.rows import ReadItem
from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.planning.capacity.memory import MemoryWatch, load_models
from motet.planning.capacity.profile import GraphProfile, ModelProfile, NodeProfile
from motet.planning.capacity.timing import (
    BatchTimes,
    Spent,
    handover_seconds,
    play_batches,
    play_sizes,
    undisturbed,
    undisturbed_beside,
)
from motet.runtime.executor import drive
from motet.runtime.host import ModelRuntime
from motet.runtime.resources.need import machine as this_machine
from motet.runtime.sizes import CallTime, machine, queued_seconds
from motet.system.limits import num_cores
from motet.system.places import temporary_folder

__all__ = ["profiled"]

MOST_BYTES = 128 << 20
"""Of rows that are read and kept to be played."""
LOOKED_AT = 256
"""Rows whose columns' bytes are counted."""
READ_PART = 0.1
"""Of the time, for reading more rows than are played."""
SETTLE_PART = 0.5
"""So much more of the time, at most, for models to find the rows of their calls, where no run has found them yet."""
PILOT_S = 1.0
"""What the run takes by which writing is timed."""


def profiled(checked: CheckedGraph, source: Any, seconds: float, reading: Mapping[str, Any]) -> GraphProfile:
    """Measure what rows take.

    Args:
        checked: the graph.
        source: what `motet.io.open_source` takes: the data, or a sample of it.
        seconds: how long it may take, beside loading models and playing a batch or two.
        reading: how the source is read.

    Raises:
        InputError: when a model is paid, there are no rows, or the source cannot be read again.
    """
    with tempfile.TemporaryDirectory(prefix="motet-plan-", dir=temporary_folder()) as folder:
        output = str(Path(folder) / "planned.parquet")
        with prepared(checked, source, output, {"pool": "", **reading}) as run:
            _check(run)
            found = _Profiling(run, seconds, folder).profile()
            run.sizing.remember()
        limit = max(found.batch_rows, int(PILOT_S * found.rows_per_second()))
        computed, queued = time.thread_time(), queued_seconds()
        done = LocalEngine().run(checked, source, output, limit=limit, pool="", **reading)
        computed, queued = time.thread_time() - computed, queued_seconds() - queued
        # this thread has written, and waited for a processor while it did as often as at all
        part = computed / (computed + queued) if computed > 0 else 1.0
        return replace(found, write_seconds=part * done.seconds_writing / max(1, done.rows))


def _check(run: PreparedRun) -> None:
    if run.executor.paid:
        hint = "give a profile that was saved: profile=FILE, --profile FILE"
        raise InputError("a model is paid, and no row of it is played to see what it takes", where="plan", hint=hint)
    if not run.source.reads_again:
        hint = "write it to a file first"
        raise InputError(
            "must be read again to be measured, and can be read once", where=run.source.description, hint=hint
        )


class _Profiling:
    """One measuring of a run that is prepared."""

    def __init__(self, run: PreparedRun, seconds: float, folder: str) -> None:
        self._run, self._seconds, self._folder = run, seconds, folder
        self._checked, self._executor = run.checked, run.executor

    def profile(self) -> GraphProfile:
        """Measure all but writing."""
        run = self._run
        watch = MemoryWatch()
        loaded = load_models(self._checked, run.host)
        self._executor.load()
        rows = self._batch_rows()
        items, read_seconds = self._read(rows)
        self._settle(rows, items)
        alone = play_batches(self._play(rows), items, self._counts, 1, 0.4 * self._seconds)
        sizes = play_sizes(self._play_part, items[0], self._counts, 0.25 * self._seconds)
        beside, grown = self._side_by_side(rows, items, alone.typical(undisturbed), watch)
        columns, kept = self._bytes(items[0])
        models = self._models(loaded)
        seconds = min(alone.seconds_of_row, beside)  # nobody is slower alone
        nodes = self._nodes(alone, seconds, sizes)
        return GraphProfile(
            graph=self._checked.graph.name, source=run.source.description, rows=run.total, played=alone.rows,
            machine=machine(), cores=num_cores(), nodes=nodes, models=models, read_seconds=read_seconds,
            convert_seconds=_left(seconds, sum(node.seconds for node in nodes)),
            contention=max(1.0, beside / seconds), column_bytes=columns, kept_bytes=kept,
            handover_seconds=handover_seconds(items[0].read, self._folder), base_bytes=watch.base,
            batch_bytes=grown // num_cores(), batch_rows=rows, load_seconds=sum(each.load_seconds for each in models),
            accelerated=this_machine().accelerator > 0, failed=alone.failed,
        )  # fmt: skip

    def _batch_rows(self) -> int:
        """Rows of a batch as runs have them that know what rows cost: of a first run the first calls, slower than any other, say it."""
        run = self._run
        rows, most = run.choose_batch_rows(), run.sizes.by_size()
        if run.options.batch_rows or self._executor.lazy_keys:
            return rows
        most = min(most, held_rows(run.measured.held + run.batches.answered_row_bytes))
        while rows < most:
            item = next(run.input.read(rows), None)
            if item is None:
                break
            cost = Cost(0.0, max(1e-9, min(self._timed(rows, item), self._timed(rows, item)) / len(item.ids)))
            more = cost.bound(most)
            if more <= rows or len(item.ids) < rows:
                break
            rows = more
        return rows

    def _timed(self, rows: int, item: ReadItem) -> float:
        begun = CallTime()
        self._play(rows)(item)
        return begun.seconds()

    def _settle(self, rows: int, items: Sequence[ReadItem]) -> None:
        """Play until models have found the rows of their calls: while they try others, calls take longer than they will."""
        end = time.perf_counter() + SETTLE_PART * self._seconds
        for item in cycle(items):
            sizes = [each.size for each in self._run.host.known]
            if all(size.settled or size.rows > rows for size in sizes) or time.perf_counter() > end:
                break
            self._play(rows)(item)

    def _read(self, rows: int) -> tuple[list[ReadItem], float]:
        """Batches for every thread, and what reading a row takes: in all threads, since libraries read in several, and of many rows,
        since files are read in large pieces. A small source is read again and again, since opening the first file takes long."""
        kept, passes, end = list[ReadItem](), list[float](), time.perf_counter() + READ_PART * self._seconds
        while not passes or time.perf_counter() < end:
            size = read = 0
            begun = time.process_time()
            for item in self._run.input.read(rows, self._run.sizes.together(rows)):
                read += len(item.ids)
                if not passes and len(kept) <= self._run.workers and size <= MOST_BYTES:
                    kept.append(item)
                    size += item.num_bytes()
                elif time.perf_counter() > end:
                    break
            if not kept:
                raise InputError("there are no rows", where=self._run.source.description)
            passes.append((time.process_time() - begun) / max(1, read))
        return kept, statistics.median(passes[1:-1] or passes[:1])

    def _play(self, rows: int) -> Any:
        return lambda item: sum(len(each.failures) for each in self._run.batches.play(rows, item))

    def _play_part(self, item: ReadItem, rows: int) -> None:
        batch, _, _ = self._run.layout.bind(item.read.slice(0, rows), item.ids[:rows])
        drive(self._executor.play(batch))

    def _counts(self) -> dict[str, float]:
        """Seconds of nodes and, as `model:NAME`, of calls of models, since they were made."""
        names = self._checked.graph.nodes
        found = {name: stats.seconds for name, stats in self._executor.stats.items() if name in names}
        for each in self._run.host.known:
            key = f"model:{each.model.name}"
            found[key] = found.get(key, 0.0) + each.stats.seconds
        return found

    def _side_by_side(
        self, rows: int, items: Sequence[ReadItem], alone: Spent, watch: MemoryWatch
    ) -> tuple[float, int]:
        """Seconds of a row with a thread on every core, and by how much memory grew."""
        watch.begin()
        found = play_batches(self._play(rows), items, self._counts, num_cores(), 0.35 * self._seconds)
        return undisturbed_beside(found.typical(lambda each: undisturbed_beside(each, alone)), alone), watch.grown()

    def _nodes(
        self, alone: BatchTimes, seconds: float, sizes: Mapping[str, Mapping[int, float]]
    ) -> tuple[NodeProfile, ...]:
        graph, uses = self._checked.graph, self._users()
        spent = {name: alone.counts.get(name, 0.0) / alone.rows for name in self._checked.order}
        # what nodes counted goes by the clock; all of it together is no more than what the thread took
        scale = min(1.0, seconds / max(1e-12, sum(spent.values())))
        found = []
        for name in self._checked.order:
            calls = {
                model: alone.counts.get(f"model:{model}", 0.0) / alone.rows / max(1, len(uses[model]))
                for model in uses
                if name in uses[model]
            }
            whole = sum(calls.values())
            part = min(1.0, spent[name] / whole) * scale if whole else 0.0
            wanted = sum(each for model, each in calls.items() if self._wants(model))
            node = graph.nodes[name]
            found.append(
                NodeProfile(
                    name, node.kind, scale * spent[name], dict(sizes.get(name, {})), part * whole, part * wanted
                )
            )
        return tuple(found)

    def _users(self) -> dict[str, set[str]]:
        """For each model the nodes that call it, themselves or through a graph inside."""
        found: dict[str, set[str]] = {}
        for name in self._checked.order:
            for model in _models_below(self._checked, name):
                found.setdefault(model, set()).add(name)
        return found

    def _wants(self, name: str) -> bool:
        model = self._checked.graph.models.get(name)
        return model is not None and (model.resources.accelerator > 0 or model.device != "cpu")

    def _models(self, loaded: Mapping[str, ModelProfile]) -> tuple[ModelProfile, ...]:
        known: dict[str, ModelRuntime] = {each.model.name: each for each in self._run.host.known}
        return tuple(
            replace(each, call_rows=known[name].size.best if name in known and known[name].size.settled else 0)
            for name, each in loaded.items()
        )

    def _bytes(self, item: ReadItem) -> tuple[dict[str, float], float]:
        """Bytes of a row of every column, and of those that are written as they are read."""
        part = item.part(0, slice(0, LOOKED_AT))
        batch, _, _ = self._run.layout.bind(part.read, part.ids)
        columns: dict[str, Any] = {}
        if len(batch):
            drive(self._executor.looking_on().play(batch, [], columns))
        count = max(1, len(next(iter(columns.values()), ())))
        kept = [part.read.column(name) for name in self._run.layout.kept if name in part.read.schema.names]
        return (
            {name: column_bytes(column) / count for name, column in columns.items()},
            sum(each.nbytes for each in kept) / max(1, len(part.ids)),
        )


def _left(seconds: float, spent: float) -> float:
    """What is left of a time; nothing where that is a rounding."""
    return seconds - spent if seconds - spent > 1e-6 * seconds else 0.0


def _models_below(checked: CheckedGraph, name: str) -> set[str]:
    found: set[str] = set()
    for member in checked.graph.nodes[name].members:
        inner = checked.graphs.get(member.uses)
        found |= {member.uses} if inner is None else {m for node in inner.order for m in _models_below(inner, node)}
    return found
