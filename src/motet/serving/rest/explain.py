"""How a row's answer came about: the calls of models and graphs that it took part in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Column, Ragged, take_rows
from motet.graph.node import Fault
from motet.models.handler import TokenUsage
from motet.runtime.executor import Call
from motet.runtime.rows import rows_of
from motet.serving.batching.parameters import without_folders
from motet.serving.batching.request import Reply

__all__ = ["calls_by_row", "described", "explained", "said_of"]

SHOWN_VALUES = 4096
"""Of one output of one row; of larger ones only the shape is given."""


def explained(reply: Reply, calls: Iterable[Call]) -> dict[str, Any]:
    """One row: its calls, and its time in queue, batch and compute.

    Args:
        reply: the answer to its request.
        calls: those that it took part in.
    """
    return {
        "calls": [described(call) for call in calls],
        "queue_s": reply.queue_s,
        "compute_s": reply.compute_s,
        "batch_rows": reply.batch_rows,
    }


def described(call: Call) -> dict[str, Any]:
    """A call: what it answered is one value an output where it was of one row, else a list."""
    about: dict[str, Any] = {"node": call.node, "uses": call.uses, "rows": call.rows, "seconds": call.seconds}
    if call.member:
        about["member"] = call.member
    if call.version:
        about["version"] = call.version
    rows = rows_of({name: _shown(column) for name, column in call.outputs.items()}, 0, _length(call.outputs))
    if call.rows == 1:
        about["outputs"] = rows[0] if rows else {}
    else:
        about["outputs"] = {name: [row[name] for row in rows] for name in call.outputs}
    if call.faults:
        about["errors"] = [said_of(fault) for fault in call.faults]
    return about


def said_of(fault: Fault) -> str:
    """What those who asked are told of a fault."""
    return without_folders(f"{fault.error}: {fault.message}")


def calls_by_row(calls: Sequence[Call], rows: int) -> list[list[Call]]:
    """The calls of a batch, parted: for each row those that it took part in, with its own outputs alone."""
    parted: list[list[Call]] = [[] for _ in range(rows)]
    for call in calls:
        ids = np.arange(call.rows) if call.ids is None else call.ids
        kept = np.arange(call.rows) if call.kept is None else call.kept
        for row in np.unique(ids).tolist():
            asked = np.flatnonzero(ids == row)
            answered = np.flatnonzero(np.isin(kept, asked))
            outputs = {name: take_rows(column, answered) for name, column in call.outputs.items()}
            faults = tuple(fault for fault in call.faults if fault.position in asked)
            parted[row].append(_of_rows(call, len(asked), outputs, faults))
    return parted


def _of_rows(call: Call, rows: int, outputs: Mapping[str, Column], faults: tuple[Any, ...]) -> Call:
    used = call.used if rows == call.rows else TokenUsage()  # of several rows, nobody knows whose it was
    return Call(call.node, call.uses, call.version, rows, call.seconds, outputs, faults, call.member, used=used)


def _length(columns: Mapping[str, Column]) -> int:
    return len(next(iter(columns.values()), ()))


def _shown(column: Column) -> Column:
    """A column, or its rows' shapes where they are large."""
    rows = len(column)
    size = len(column.values) if isinstance(column, Ragged) else column.size
    if not rows or size / rows <= SHOWN_VALUES:
        return column
    shapes = [list(row.shape) for row in column]
    short = np.empty(rows, dtype=object)
    for row, shape in enumerate(shapes):
        short[row] = {"dtype": str(column.dtype), "shape": shape}
    return short
