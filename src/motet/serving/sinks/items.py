"""What waits in a sink's buffer: references to arrays, turned into records in the writer's thread.

What an item is given must not be changed afterwards: it is read later, by another thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Column
from motet.runtime.executor import Call
from motet.serving.batching.request import Reply
from motet.serving.sinks.layout import RecordLayout
from motet.serving.sinks.records import Records

__all__ = ["AnswerItem", "AnsweredRequest", "Item", "Marker", "MemberAnswered", "RecordsItem", "loose_bytes", "owned"]


@dataclass(slots=True, eq=False)
class AnsweredRequest:
    """A request that was answered.

    Attributes:
        request: the caller's name for it; may be empty.
        identity: who asked.
        time: when it came, in seconds since 1970.
        columns: its inputs.
        num_rows: how many rows it had.
        reply: the answer.
        key: what makes the records' ids: no two requests may have the same, or the second is taken for a repetition of the
            first and not kept. Empty is the caller's name, and something new where that is empty.
        calls: the calls of models that its batch made; None where nobody looked.
        late: those that end later, as far as they have; others may be added until it is read.
        call_first: the id that its first row has in them.
    """

    request: str
    identity: str
    time: float
    columns: Mapping[str, Column]
    num_rows: int
    reply: Reply
    key: str = ""
    calls: Sequence[Call] | None = None
    late: Sequence[Call] = ()
    call_first: int = 0


@dataclass(slots=True, eq=False)
class AnswerItem:
    """What one sink keeps of a request that was answered.

    Attributes:
        layout: what that is.
        answered: the request, with the columns that are kept alone, and a key that tells it apart from all others.
        num_rows: how many rows it had.
        num_bytes: what it holds, about.
    """

    layout: RecordLayout
    answered: AnsweredRequest
    num_rows: int
    num_bytes: int


@dataclass(slots=True, eq=False)
class MemberAnswered:
    """A member that answered some rows of a batch.

    Attributes:
        layout: where records of it go.
        keys: of the batch's requests; empty for one that is not kept.
        requests: their callers' names for them.
        row_counts: their rows.
        call: who answered, and what.
        time: when, in seconds since 1970.
        num_rows: rows that it answered.
        num_bytes: what it holds, about.
    """

    layout: RecordLayout
    keys: Sequence[str]
    requests: Sequence[str]
    row_counts: Sequence[int]
    call: Call
    time: float
    num_rows: int
    num_bytes: int


@dataclass(slots=True, eq=False)
class RecordsItem:
    """Records that are made already.

    Attributes:
        records: as they are written.
        num_rows: how many.
        num_bytes: what they hold, about.
    """

    records: Records
    num_rows: int
    num_bytes: int


@dataclass(slots=True, eq=False)
class Marker:
    """Nothing: stands in the buffer behind what somebody waits for."""

    num_rows: int = 0
    num_bytes: int = 0


Item = AnswerItem | MemberAnswered | RecordsItem | Marker


def owned(column: Column) -> Any:
    """A column, copied where it would keep something much bigger in memory."""
    base = getattr(column, "base", None)
    return column if base is None or _size(base) <= 4 * column.nbytes else column.copy()  # type: ignore[union-attr]


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
