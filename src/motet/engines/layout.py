"""Which columns go in and out of a run: from record batches to batches and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Batch, Column, Indices
from motet.engines.undeclared import BatchAnswers
from motet.errors import Failure, InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.input import Input
from motet.io import arrow_type, check_fits, from_column, is_image, open_source, split_faults
from motet.io.arrow.layout import LABELS
from motet.io.fitted import UNREADABLE, check_readable
from motet.io.memory import as_record_batch
from motet.io.take import take_batch
from motet.runtime.bind import read_stored
from motet.runtime.executor import Played
from motet.runtime.given import fill_defaults
from motet.types import ColumnType

__all__ = [
    "FAILED", "FAILURES", "RunLayout", "bind_frame", "check_names", "choose_batch_rows", "choose_window_rows", "failures_table", "is_bulky",
]  # fmt: skip

FAILED = ("node", "model", "version", "error", "message")
"""What is said of a row that failed, beside which row it is."""
FAILURES = pa.schema([("row", pa.int64(), False), *((name, pa.string(), False) for name in FAILED)])
"""What is written for each row that failed; `row` is its position in the source, from 0."""

BATCH_BYTES = 2 << 20
HELD_BYTES = 16 << 20
"""The most that a batch holds of all columns that are read and of the answers, as far as that is known before it is read."""
MIN_ROWS, MAX_ROWS, MAX_ROWS_OF_MODELS = 16, 65_536, 8_192
SMALL_RUN_BATCHES = 8
"""A small source is played in no more batches; each costs the overhead of calls."""
WINDOW_BYTES, MAX_ROWS_OF_A_WINDOW = 16 << 20, 131_072
"""What is played together where keys choose among many models: each may be loaded, and is called, once a time."""


@dataclass(frozen=True)
class RunLayout:
    """Which columns of a source a graph takes, which are kept beside its outputs, and what is written.

    Attributes:
        inputs: the graph's inputs.
        stored: for each of them what its column is called in the source.
        outputs: the types of its outputs.
        taken: the inputs that the source has; the others have defaults.
        kept: the source's columns that are written, in the source's order.
        read: every column that is read.
        source: the source's schema.
        left_out: the source's columns that are not written though nobody asked for that.
        row_ids: the column that says which row of the source an answer is of; None writes none.
    """

    inputs: dict[str, Input]
    stored: dict[str, str]
    outputs: dict[str, ColumnType]
    taken: tuple[str, ...]
    kept: tuple[str, ...]
    read: tuple[str, ...]
    source: pa.Schema
    left_out: tuple[str, ...] = ()
    row_ids: str | None = None

    @classmethod
    def of(
        cls,
        checked: CheckedGraph,
        source: pa.Schema,
        keep: Sequence[str] | None,
        drop: Sequence[str],
        where: str,
        holds: Callable[[pa.Field], bool] = lambda field: True,
        row_ids: str | None = None,
    ) -> RunLayout:
        """Choose the columns.

        Args:
            checked: the graph.
            source: the source's schema.
            keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes, and lists,
                structs and maps that the output does not hold.
            drop: columns not to write.
            where: the source, for messages.
            holds: whether the output holds a column.
            row_ids: see `RunLayout`.

        Raises:
            InputError: when the source lacks a column, or two columns that are written have one name.
            TypeMismatchError: when a column cannot be what the graph takes.
        """
        inputs, stored = dict(checked.graph.inputs), checked.graph.stored
        taken = tuple(name for name in inputs if stored[name] in source.names)
        for name, each in inputs.items():
            column = stored[name]
            if name not in taken and not each.has_default:
                hint = f"graph {checked.graph.name!r} takes {name}: {each.type}"
                raise UnknownNameError("column", column, source.names, where=where, hint=hint)
            if name in taken:
                check_readable(source, column, where)
                check_fits(source.field(column).type, each.type, column, image=is_image(source.field(column)))
        kept = _kept(checked, source, keep, drop, where, holds)
        if row_ids is not None and (row_ids in kept or row_ids in checked.graph.outputs):
            what = "column of the source that is kept" if row_ids in kept else "output of the graph"
            raise InputError(f"there is a {what} called {row_ids!r} too", where="row_ids", hint="give another name")
        wanted = {*kept, *(stored[name] for name in taken)}
        read = tuple(name for name in source.names if name in wanted)
        for name in read:
            check_readable(source, name, where)
        read = read or _any_column(source, where)  # the rows must be counted
        left_out = () if keep is not None else tuple(name for name in source.names if name not in {*kept, *drop})
        return cls(inputs, stored, dict(checked.signature.outputs), taken, kept, read, source, left_out, row_ids)

    def known(self, unknown: pa.DataType | None = None, kinds: Mapping[str, Any] | None = None) -> pa.Schema:
        """What is written; outputs whose types are only known when rows flow are left out, or of the type given.

        Args:
            unknown: the type of those that are in no `kinds`.
            kinds: what was found out about their types.
        """
        outputs = []
        for name, kind in (self.outputs | dict(kinds or {})).items():
            made = (arrow_type(kind) or unknown) if isinstance(kind, ColumnType) else kind
            if made is not None:
                outputs.append(pa.field(name, made, metadata=_labels(self.outputs[name])))
        return pa.schema([*self._ids, *(self.source.field(name) for name in self.kept), *outputs])

    @property
    def _ids(self) -> list[pa.Field]:
        """The column of the ids of rows, where it is written."""
        return [] if self.row_ids is None else [pa.field(self.row_ids, pa.int64())]

    def schema(self) -> pa.Schema | None:
        """What is written, None where an output's type is only known when rows flow."""
        known = self.known()
        return known if len(known) == len(self._ids) + len(self.kept) + len(self.outputs) else None

    def bind(self, read: pa.RecordBatch, ids: Indices) -> tuple[Batch, list[Failure], Indices | None]:
        """The batch that the graph is given, the rows that do not fit, and the places of those that do (None for all)."""
        read, unread = split_faults(read)
        columns, bad = self._columns(read)
        bad |= unread
        if not bad:
            return Batch(columns, ids), [], None
        failures = [
            Failure(int(ids[row]), "input", "", "", "InputError", message) for row, message in sorted(bad.items())
        ]
        good = np.setdiff1d(np.arange(read.num_rows), list(bad))
        columns, more = self._columns(take_batch(read, good))
        if more:
            raise AssertionError(f"rows that fitted do not fit any more: {more}")
        return Batch(columns, ids[good]), failures, good

    def _columns(self, read: pa.RecordBatch) -> tuple[dict[str, Column], dict[int, str]]:
        columns: dict[str, Column] = {}
        bad: dict[int, str] = {}
        for name, each in self.inputs.items():
            if name in self.taken:
                stored = self.stored[name]
                columns[name], wrong = read_stored(read.column(stored), self.source.field(stored), each)
                for row, message in wrong.items():
                    bad.setdefault(row, f"column {stored!r} {message}")
        fill_defaults(columns, [name for name in self.inputs if name not in self.taken], self.inputs, read.num_rows)
        return columns, bad

    @property
    def undeclared(self) -> tuple[str, ...]:
        """The outputs whose types nobody declared."""
        return tuple(name for name, kind in self.outputs.items() if kind.dtype == "any")

    def unbind(self, played: Played, read: pa.RecordBatch, ids: Indices) -> BatchAnswers:
        """What is written for a batch: the source's columns of the rows that were answered, and the answers."""
        if len(played.outputs) != read.num_rows:
            places = np.searchsorted(ids, played.outputs.ids)
            read = take_batch(read, places)
        arrays = [pa.array(played.outputs.ids, pa.int64()) for _ in self._ids]
        arrays += [read.column(name) for name in self.kept]
        fields = [*self._ids, *(self.source.field(name) for name in self.kept)]
        for name, kind in self.outputs.items():
            column = played.outputs.columns[name]
            array = pa.nulls(len(column)) if kind.dtype == "any" else from_column(column, kind, name=name)
            arrays.append(array)
            fields.append(pa.field(name, array.type))
        loose = {name: played.outputs.columns[name] for name in self.undeclared}
        return BatchAnswers(pa.record_batch(arrays, schema=pa.schema(fields)), loose, played.outputs.ids)


def _labels(kind: ColumnType) -> dict[bytes, bytes] | None:
    return {LABELS: json.dumps(kind.labels).encode()} if kind.labels else None


def _any_column(source: pa.Schema, where: str) -> tuple[str, ...]:
    """One column that can be read."""
    readable = [field.name for field in source if UNREADABLE not in (field.metadata or {})]
    if not readable:
        check_readable(source, source.names[0], where)
    return tuple(readable[:1])


def bind_frame(frame: Any, checked: CheckedGraph) -> tuple[Batch, list[Failure]]:
    """The batch of a frame's rows that a graph is given, and the rows that do not fit.

    Raises:
        InputError: when a column is missing.
        TypeMismatchError: when one cannot be what the graph takes.
    """
    source = open_source(frame, wanted=checked.graph.stored_types)
    layout = RunLayout.of(checked, source.schema, (), (), source.description)
    rows = source.num_rows or 0
    none = source.schema.empty_table().select(list(layout.read))
    read = next(source.batches(rows, layout.read)) if rows else as_record_batch(none)
    batch, failures, _ = layout.bind(read, np.arange(rows))
    return batch, failures


def _kept(
    checked: CheckedGraph,
    source: pa.Schema,
    keep: Sequence[str] | None,
    drop: Sequence[str],
    where: str,
    holds: Callable[[pa.Field], bool],
) -> tuple[str, ...]:
    for option, names in (("keep", keep or ()), ("drop", drop)):
        for name in names:
            if name not in source.names:
                raise UnknownNameError("column", name, source.names, where=f"{where}: {option}")
    inputs = {stored: checked.graph.inputs[name] for name, stored in checked.graph.stored.items()}
    if keep is None:
        chosen = [
            field.name
            for field in source
            if not (field.name in inputs and is_bulky(inputs[field.name].type))
            and (not _is_nested(field.type) or holds(field))
        ]
    else:
        chosen = [name for name in source.names if name in keep]
    chosen = [name for name in chosen if name not in drop]
    check_names(chosen, checked, where)
    return tuple(chosen)


def check_names(kept: Sequence[str], checked: CheckedGraph, where: str) -> None:
    """See that no column that is kept is called as an output is.

    Raises:
        InputError: naming one that is.
    """
    for name in checked.graph.outputs:
        if name in kept:
            raise InputError(
                f"both the source and the graph have a column {name!r}, and both would be written",
                where=where,
                hint=f"leave the source's out with --drop {name} (drop=[{name!r}]), or rename the graph's output",
            )


def _is_nested(kind: Any) -> bool:
    return bool(pa.types.is_nested(kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind))


def is_bulky(kind: ColumnType) -> bool:
    """Whether an input of this type is not kept unless somebody asks for it."""
    return bool(kind.shape) or kind.dtype == "bytes"


def failures_table(failures: Sequence[Failure]) -> pa.RecordBatch:
    """Failures as they are written."""
    columns = {name: [getattr(failure, name) for failure in failures] for name in FAILURES.names}
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in FAILURES], schema=FAILURES)


def choose_batch_rows(
    inputs: Sequence[ColumnType],
    num_rows: int | None,
    workers: int,
    *,
    models: bool,
    played: float = 0.0,
    held: float = 0.0,
) -> int:
    """Rows of a batch: about 2 MiB of input, no great number where models play, and of a small source two for each worker.

    Args:
        inputs: the types of what is played.
        num_rows: rows there are; None where that is not known.
        workers: threads that play.
        models: whether models play.
        played: bytes of a row of what is played, 0 where that is not known.
        held: bytes of a row with all that is read and answered, 0 where that is not known.
    """
    rows = 1 << max(0, int(BATCH_BYTES / max(_bytes_of(inputs), played)).bit_length() - 1)
    rows = min(MAX_ROWS_OF_MODELS if models else MAX_ROWS, max(MIN_ROWS, rows), held_rows(held))
    return rows if num_rows is None else min(rows, max(64, -(-num_rows // min(SMALL_RUN_BATCHES, 2 * workers))))


def held_rows(row_bytes: float) -> int:
    """The most rows of so many bytes that a batch may hold, a power of two; 1 of rows that are larger than a batch may be."""
    return 1 << (max(1, int(HELD_BYTES / max(row_bytes, 1.0))).bit_length() - 1)


def choose_window_rows(inputs: Sequence[ColumnType], num_rows: int | None, workers: int, held: float = 0.0) -> int:
    """Rows that are played together where keys choose among many models: about 16 MiB of input, in as many equal parts as
    keep all workers busy. The more rows are played together, the more have the same model."""
    most = min(MAX_ROWS_OF_A_WINDOW, max(MIN_ROWS, WINDOW_BYTES // _bytes_of(inputs)), held_rows(held))
    if num_rows is None:
        return most
    rounds = max(1, -(-num_rows // (most * workers)))
    return min(most, max(64, -(-num_rows // (rounds * workers))))


def _bytes_of(inputs: Sequence[ColumnType]) -> int:
    return sum(_row_bytes(kind) for kind in inputs) or 8


def _row_bytes(kind: ColumnType) -> int:
    """Bytes of a row, guessed where they vary."""
    if kind.row_bytes is not None:
        return kind.row_bytes
    if kind.dtype == "bytes":
        return 32_768
    if kind.dtype in ("string", "any"):
        return 64
    axes = [256 if axis is None else axis for axis in kind.shape]
    return int(np.prod(axes)) * kind.numpy_dtype.itemsize
