"""Rows of a file as samples: played through the graph, or answered already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Batch, Column
from motet.engines.layout import choose_batch_rows
from motet.errors import InputError, TypeMismatchError
from motet.graph.check import CheckedGraph
from motet.graph.input import Input
from motet.io import Source, open_source, split_faults
from motet.io.take import take_batch
from motet.nodes.cascade import Cascade
from motet.nodes.ensemble import Ensemble
from motet.planning.drift.features import DriftSample, MemberRows
from motet.planning.labelled import LabelledRows
from motet.runtime.bind import read_stored
from motet.runtime.executor import Executor, drive
from motet.runtime.host import Host
from motet.runtime.resolve import ModelResolver
from motet.runtime.turns import Call

__all__ = ["AnsweredRows", "CallsOfBatch", "members_of", "played_rows"]

SHADOWS_S = 60.0
"""How long a batch waits for members that do not count."""


class CallsOfBatch(list[Call]):
    """The calls of a batch, those of members that do not count among them."""

    @property
    def afterwards(self) -> CallsOfBatch:
        """What takes calls that end when the batch has been answered."""
        return self


def played_rows(
    checked: CheckedGraph, resolver: ModelResolver, source: Any, limit: int | None, reading: Mapping[str, Any]
) -> tuple[str, Iterator[DriftSample]]:
    """What the source is, and its rows, each played once.

    Raises:
        InputError: when the source lacks a column, or has no rows.
    """
    rows = LabelledRows.open(checked, source, (), (), limit, reading)
    return rows.description, _played(checked, resolver, rows)


def _played(checked: CheckedGraph, resolver: ModelResolver, rows: LabelledRows) -> Iterator[DriftSample]:
    executor = Executor(checked, Host(resolver))
    try:
        for batch, failures, _ in rows.batches():
            calls = CallsOfBatch()
            if not len(batch):
                yield DriftSample(failed=len(failures))
                continue
            played = drive(executor.play(batch, calls))
            executor.settle_shadows(SHADOWS_S)
            failed = {each.row for each in (*failures, *played.failures)}
            yield DriftSample(batch, played.outputs, members_of(checked, calls), len(played.outputs), len(failed))
    finally:
        executor.close()


def members_of(checked: CheckedGraph, calls: Sequence[Call]) -> dict[tuple[str, str], MemberRows]:
    """What members of cascades and ensembles answered in these calls, of one batch."""
    found: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        if call.outputs and isinstance(checked.graph.nodes.get(call.node), Cascade | Ensemble):
            found.setdefault((call.node, call.member), []).append(call)
    return {key: MemberRows.of_calls([(call.answered, call.outputs) for call in each]) for key, each in found.items()}


class AnsweredRows:
    """Rows that were answered already, with whatever inputs stand beside their answers.

    Columns are called as the graph calls them, or `input_NAME` and `output_NAME`, as sinks of servers keep them.

    Args:
        checked: the graph.
        source: what `motet.io.open_source` takes.
        limit: rows that are read; None for all.
        reading: how it is read.

    Attributes:
        has_outputs: whether the source has any output of the graph.
        has_any: whether it has any column of the graph.
        notes: columns that are left out, and why.
    """

    def __init__(self, checked: CheckedGraph, source: Any, limit: int | None, reading: Mapping[str, Any]) -> None:
        self._source: Source = open_source(source, wanted=checked.graph.stored_types, **reading)
        self._limit, self.notes = limit, list[str]()
        names = self._source.schema.names
        signature = checked.signature
        outputs = {name: Input(kind) for name, kind in signature.outputs.items() if kind.dtype != "any"}
        inputs = {name: each for name, each in checked.graph.inputs.items() if each.type.dtype != "any"}
        self._outputs = self._found(names, outputs, "output", {})
        self._inputs = self._found(names, inputs, "input", checked.graph.stored)
        self.has_outputs = bool(self._outputs)
        self.has_any = bool(self._outputs or self._inputs)
        self.description = self._source.description

    def _found(
        self, names: Sequence[str], wanted: Mapping[str, Input], side: str, stored: Mapping[str, str]
    ) -> dict[str, tuple[str, Input]]:
        found: dict[str, tuple[str, Input]] = {}
        for name, each in wanted.items():
            column = next((c for c in (f"{side}_{name}", stored.get(name, name)) if c in names), None)
            if column is not None:
                found[name] = column, each
        return found

    def samples(self) -> Iterator[DriftSample]:
        """The rows, as samples."""
        wanted = [column for column, _ in (*self._inputs.values(), *self._outputs.values())]
        types = [each.type for _, each in (*self._inputs.values(), *self._outputs.values())]
        rows, done = choose_batch_rows(types, self._source.num_rows, 1, models=False), 0
        for found in self._source.batches(rows, list(dict.fromkeys(wanted))):
            read = found if self._limit is None else found.slice(0, self._limit - done)
            done += read.num_rows
            yield self._sample(read, np.arange(done - read.num_rows, done))
            if done == self._limit:
                break
        if not done:
            raise InputError("there are no rows", where=self.description)

    def _sample(self, read: pa.RecordBatch, ids: Any) -> DriftSample:
        read, unread = split_faults(read)
        inputs, outputs = (self._side(read, ids, side, unread) for side in (self._inputs, self._outputs))
        answered = len(ids) - len(unread) if outputs is None else len(outputs)
        return DriftSample(inputs, outputs, {}, answered, len(ids) - answered if self._outputs else 0)

    def _side(
        self, read: pa.RecordBatch, ids: Any, wanted: dict[str, tuple[str, Input]], unread: Mapping[int, str]
    ) -> Batch | None:
        """The columns of one side of those rows that have all of them; a column of another type is left out, and noted."""
        columns, bad = self._columns(read, wanted)
        bad |= set(unread)
        if bad and columns:
            good = np.setdiff1d(np.arange(read.num_rows), list(bad))
            columns, _ = self._columns(take_batch(read, good), wanted)
            ids = ids[good]
        return Batch.of(columns, ids) if columns else None

    def _columns(
        self, read: pa.RecordBatch, wanted: dict[str, tuple[str, Input]]
    ) -> tuple[dict[str, Column], set[int]]:
        columns: dict[str, Column] = {}
        bad: set[int] = set()
        for name, (column, each) in list(wanted.items()):
            try:
                columns[name], wrong = read_stored(read.column(column), read.schema.field(column), each)
            except TypeMismatchError as error:
                self.notes.append(f"column {column!r} is left out: {error.what}")
                del wanted[name]
                continue
            bad |= set(wrong)
        return columns, bad
