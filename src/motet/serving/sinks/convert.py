"""From what waits in the buffer to records: column by column, in the writer's thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import msgspec
import numpy as np

from motet.batch import Column, Ragged, concat_columns, take_rows
from motet.runtime.executor import Call
from motet.serving.batching.request import Reply
from motet.serving.sinks.items import AnsweredRequest, AnswerItem, Item, MemberAnswered, RecordsItem
from motet.serving.sinks.layout import KeptColumn, RecordLayout
from motet.serving.sinks.records import ID, JSON, Records

__all__ = ["convert", "json_bytes", "values_of"]

T = TypeVar("T")
_By = dict[int, list[tuple[int, int]]]


def convert(waiting: Sequence[Item]) -> list[Records]:
    """The records of items, in order."""
    records: list[Records] = []
    for _, group in groupby(waiting, key=lambda item: (type(item), id(getattr(item, "layout", None)))):
        listed = list(group)
        if isinstance(listed[0], AnswerItem):
            items = [item.answered for item in listed if isinstance(item, AnswerItem)]
            records.append(_joined(listed[0].layout, items))
        elif isinstance(listed[0], MemberAnswered):
            records.extend(_stacked(item) for item in listed if isinstance(item, MemberAnswered))
        else:
            records.extend(item.records for item in listed if isinstance(item, RecordsItem))
    return [each for each in records if len(each)]


def _joined(layout: RecordLayout, items: Sequence[AnsweredRequest]) -> Records:
    rows = sum(item.num_rows for item in items)
    columns: dict[str, Sequence[Any]] = {
        ID: [f"{item.key}:{row}" for item in items for row in range(item.num_rows)],
        "request": _spread(items, lambda item: item.request),
        "row": [row for item in items for row in range(item.num_rows)],
        "time": _spread(items, lambda item: item.time),
        "identity": _spread(items, lambda item: item.identity),
        "graph": [layout.graph] * rows,
        "version": [layout.version] * rows,
        "queue_s": _spread(items, lambda item: item.reply.queue_s),
        "compute_s": _spread(items, lambda item: item.reply.compute_s),
        "error": _errors(items, rows),
    }
    members = _Members(items)
    columns["members"] = members.names()
    if layout.members:
        columns["member_outputs"] = members.outputs()
    for kept in layout.inputs:
        columns[kept.column] = values_of(concat_columns([item.columns[kept.name] for item in items]), kept.kind)
    places, replies = _places(items), [item.reply for item in items]
    for kept in layout.outputs:
        columns[kept.column] = _placed(_output(replies, kept), places, rows)
    return Records(layout.table, layout.kinds, {name: columns[name] for name in layout.kinds})


def _spread(items: Sequence[AnsweredRequest], value: Callable[[AnsweredRequest], T]) -> list[T]:
    spread: list[T] = []
    for item in items:
        spread += [value(item)] * item.num_rows
    return spread


def _errors(items: Sequence[AnsweredRequest], rows: int) -> list[str | None]:
    errors: list[str | None] = [None] * rows
    first = 0
    for item in items:
        for failure in item.reply.failures:
            if failure.row < item.num_rows:
                errors[first + failure.row] = str(failure)
        first += item.num_rows
    return errors


def _places(items: Sequence[AnsweredRequest]) -> Sequence[int] | None:
    """Where the answered rows are among all; None where all are."""
    if all(item.reply.kept is None and item.reply.end - item.reply.first == item.num_rows for item in items):
        return None
    places: list[int] = []
    first = 0
    for item in items:
        reply = item.reply
        answered = range(reply.end - reply.first) if reply.kept is None else reply.kept.tolist()
        places += [first + row for row in answered]
        first += item.num_rows
    return places


def _placed(values: list[Any], places: Sequence[int] | None, rows: int) -> list[Any]:
    if places is None:
        return values
    placed: list[Any] = [None] * rows
    for place, value in zip(places, values, strict=True):
        placed[place] = value
    return placed


def _output(replies: Sequence[Reply], kept: KeptColumn) -> list[Any]:
    """An output's values; neighbours that were played together are converted together."""
    values: list[Any] = []
    column, first, end = replies[0].columns[kept.name], replies[0].first, replies[0].end
    for reply in replies[1:]:
        if reply.columns[kept.name] is column and reply.first == end:
            end = reply.end
            continue
        values += values_of(take_rows(column, slice(first, end)), kept.kind)
        column, first, end = reply.columns[kept.name], reply.first, reply.end
    return values + values_of(take_rows(column, slice(first, end)), kept.kind)


class _Members:
    """Which members answered each row of some requests, and what."""

    def __init__(self, items: Sequence[AnsweredRequest]) -> None:
        self._items = items
        self._by: dict[int, tuple[Sequence[Call], _By]] = {}
        self._outputs: dict[int, list[list[dict[str, Any]]]] = {}

    def _rows(self, *, late: bool = False) -> Iterator[tuple[Sequence[Call], Sequence[tuple[int, int]]] | None]:
        """For each row the batch's calls, or those that ended late, and which of them with which of their rows."""
        for item in self._items:
            if item.calls is None:
                yield from [None] * item.num_rows
                continue
            given = item.late if late else item.calls
            found = self._by.get(id(given))
            if found is None:
                now = tuple(given)  # which may become more meanwhile
                found = self._by[id(given)] = now, _by_row(now)
            calls, by = found
            for row in range(item.num_rows):
                yield calls, by.get(item.call_first + row, ())

    def names(self) -> list[list[str] | None]:
        """`node.member` for each call, in order."""
        return [
            None if found is None else list(dict.fromkeys(_name(found[0][call]) for call, _ in found[1]))
            for found in self._rows()
        ]

    def outputs(self) -> list[dict[str, Any] | None]:
        """What each member answered, by `node.member`; a list where it was called for several pieces of a row."""
        return [
            None if found is None or late is None else self._of_row(*found) | self._of_row(*late)
            for found, late in zip(self._rows(), self._rows(late=True), strict=True)
        ]

    def _of_row(self, calls: Sequence[Call], places: Sequence[tuple[int, int]]) -> dict[str, Any]:
        answers = self._outputs.get(id(calls))
        if answers is None:
            answers = self._outputs[id(calls)] = [_row_outputs(call.outputs) for call in calls]
        found: dict[str, list[Any]] = {}
        for call, place in places:
            one = {"version": calls[call].version, "outputs": answers[call][place]}
            found.setdefault(_name(calls[call]), []).append(one)
        return {name: each[0] if len(each) == 1 else each for name, each in found.items()}


def _name(call: Call) -> str:
    return f"{call.node}.{call.member}" if call.member else call.node


def _by_row(calls: Sequence[Call]) -> _By:
    by: _By = {}
    for number, call in enumerate(calls):
        for place, row in enumerate(call.answered.tolist()):
            by.setdefault(row, []).append((number, place))
    return by


def _stacked(item: MemberAnswered) -> Records:
    layout, call = item.layout, item.call
    ends, ids = np.cumsum(item.row_counts), call.answered
    of_request = np.searchsorted(ends, ids, side="right")
    rows = (ids - np.concatenate([[0], ends])[of_request]).tolist()
    owners = of_request.tolist()
    wanted = [place for place, owner in enumerate(owners) if owner < len(item.keys) and item.keys[owner]]
    who = _name(call)
    pieces: dict[int, int] = {}
    keys = []
    for place in wanted:
        piece = pieces[int(ids[place])] = pieces.get(int(ids[place]), -1) + 1
        keys.append(f"{item.keys[owners[place]]}:{rows[place]}:{who}" + (f":{piece}" if piece else ""))
    outputs = _row_outputs(call.outputs)
    number = len(wanted)
    columns: dict[str, Sequence[Any]] = {
        ID: keys,
        "request": [item.requests[owners[place]] for place in wanted],
        "row": [rows[place] for place in wanted],
        "time": [item.time] * number,
        "graph": [layout.graph] * number,
        "node": [call.node] * number,
        "member": [call.member] * number,
        "model": [call.uses] * number,
        "version": [call.version] * number,
        "seconds": [call.seconds] * number,
        "outputs": [outputs[place] for place in wanted],
    }
    return Records(layout.table, layout.kinds, columns)


def _row_outputs(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    """The values of each row, by output."""
    values = [values_of(column, JSON) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def values_of(column: Column, kind: str) -> list[Any]:
    """The rows of a column as Python's own values of a kind; see `Records.kinds`."""
    if isinstance(column, Ragged):
        return [row.tolist() for row in column]
    if column.dtype != object:
        if kind == "bytes":
            return [row.tobytes() for row in np.ascontiguousarray(column)]
        listed: list[Any] = column.tolist()
        return [str(value) for value in listed] if kind == "string" else listed
    values: list[Any] = column.tolist()
    if kind == "string":
        return _texts(values)
    if kind == "bytes":
        return [None if value is None else bytes(value) for value in values]
    return values


def _texts(values: list[Any]) -> list[Any]:
    """Texts that can be stored: half a surrogate pair, which no encoding has, becomes a question mark."""
    try:
        "".join(values).encode()
    except (TypeError, UnicodeEncodeError):
        return [None if value is None else str(value).encode("utf-8", "replace").decode() for value in values]
    return values


def _plain(value: Any) -> Any:
    """What msgspec cannot encode by itself."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return repr(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def json_bytes(value: object) -> bytes:
    """A value as JSON; numbers that are not finite are null, bytes are base64, and what JSON has no form for is its `repr`."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(repr(value)).encode()
