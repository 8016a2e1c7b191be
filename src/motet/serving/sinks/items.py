"""What waits in a sink's buffer: references to arrays, turned into records in the writer's thread.

What an item is given must not be changed afterwards: it is read later, by another thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Column, Indices
from motet.runtime.executor import Call
from motet.serving.batching.request import Reply
from motet.serving.sinks.layout import RecordLayout

__all__ = ["AnswerItem", "Item", "Marker", "MemberAnswered", "loose_bytes", "owned"]


@dataclass(slots=True, eq=False)
class AnswerItem:
    """A request that was answered.

    Attributes:
        layout: what is kept of it.
        key: tells the request apart from all others.
        request: the caller's name for it.
        identity: who asked.
        time: when it came, in seconds since 1970.
        num_rows: how many rows it had.
        inputs: the columns that are kept, of its rows alone.
        reply: the answer, with the columns that are kept.
        calls: the calls of models that its batch made; None where nobody looked.
        late: those that end later, as far as they have; others may be added until it is read.
        call_first: the id that its first row has in them.
        num_bytes: what it holds, about.
    """

    layout: RecordLayout
    key: str
    request: str
    identity: str
    time: float
    num_rows: int
    inputs: Mapping[str, Column]
    reply: Reply
    calls: Sequence[Call] | None
    call_first: int
    num_bytes: int
    late: Sequence[Call] = ()


@dataclass(slots=True, eq=False)
class MemberAnswered:
    """A member that answered some rows of a batch.

    Attributes:
        layout: where records of it go.
        keys: of the batch's requests; empty for one that is not kept.
        requests: their callers' names for them.
        row_counts: their rows.
        node, member, model, version: who answered.
        time: when, in seconds since 1970.
        seconds: how long the call took, for all its rows together.
        columns: what it answered.
        ids: which row of the batch each row of `columns` is for; None where they are the same.
        num_rows: rows of `columns`.
        num_bytes: what it holds, about.
    """

    layout: RecordLayout
    keys: Sequence[str]
    requests: Sequence[str]
    row_counts: Sequence[int]
    node: str
    member: str
    model: str
    version: str
    time: float
    seconds: float
    columns: Mapping[str, Column]
    ids: Indices | None
    num_rows: int
    num_bytes: int


@dataclass(slots=True, eq=False)
class Marker:
    """Nothing: stands in the buffer behind what somebody waits for."""

    num_rows: int = 0
    num_bytes: int = 0


Item = AnswerItem | MemberAnswered | Marker


def owned(column: Column, first: int, end: int) -> Any:
    """Some rows of a column, copied where they would keep something much bigger in memory."""
    if first == 0 and end == len(column):
        part: Any = column
    else:
        part = column[first:end]
    base = getattr(part, "base", None)
    if base is None:
        return part
    return part.copy() if _size(base) > 4 * part.nbytes else part


def _size(base: Any) -> int:
    size = getattr(base, "nbytes", None)
    if size is not None:
        return int(size)
    try:
        return len(base)
    except TypeError:
        return 0


def loose_bytes(column: Column, first: int, end: int) -> int:
    """What some rows of a column hold whose rows differ in size, about."""
    if isinstance(column, np.ndarray):
        if column.dtype != object:
            return column.nbytes * (end - first) // max(len(column), 1)
        return sum([len(value) + 50 for value in column[first:end].tolist() if isinstance(value, (str, bytes))])
    return int(column.offsets[end] - column.offsets[first]) * column.values.itemsize
