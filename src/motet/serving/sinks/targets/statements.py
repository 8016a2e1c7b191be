"""Statements that insert many records at once, and leave those that are there as they are, or replace them by later ones.

Many rows go into one statement, so that the interpreter's lock is let go of and taken again for each statement, and not for
each row: a busy event loop would make every taking wait.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from motet.serving.sinks.convert import json_bytes
from motet.serving.sinks.records import ID, JSON, Records
from motet.types import ColumnType

__all__ = ["Statement", "by_json", "by_values", "is_json", "without_earlier"]

Statement = tuple[str, tuple[Any, ...]]
"""The text, and the values for its marks."""
_VALUES = 16_000
"""Values in one statement: SQLite takes 32,766."""
_ROWS = 250
_JSON_ROWS = 2000


def is_json(kind: str) -> bool:
    """Whether a database holds values of a kind as JSON text."""
    return kind == JSON or bool(ColumnType.parse(kind).shape)


def by_values(table: str, names: Sequence[str], records: Records) -> Iterator[Statement]:
    """For SQLite: lists of values.

    Args:
        table: quoted.
        names: of the columns, quoted, in the order of the records' kinds.
        records: what is inserted.
    """
    columns = [_stored(records.columns[name], kind) for name, kind in records.kinds.items()]
    row = "(" + ", ".join(["?"] * len(columns)) + ")"
    head = f"INSERT INTO {table} ({', '.join(names)}) VALUES "
    end = _conflict(table, names, records)
    at_once = max(1, min(_ROWS, _VALUES // len(columns)))
    for first in range(0, len(records), at_once):
        rows = list(zip(*(column[first : first + at_once] for column in columns), strict=True))
        yield head + ", ".join([row] * len(rows)) + end, tuple(chain.from_iterable(rows))


def by_json(table: str, names: Sequence[str], records: Records, native: Collection[str]) -> Iterator[Statement]:
    """For Postgres: all rows as one JSON array, which its own functions turn into rows of the table. A value for each mark
    costs the client ten times as much.

    Args:
        table: quoted.
        names: of the columns, quoted, in the order of the records' kinds.
        records: what is inserted.
        native: columns of the table whose type is JSON, and not text.
    """
    columns = []
    for name, kind in records.kinds.items():
        values = records.columns[name]
        columns.append(values if name in native and is_json(kind) else _wired(_stored(values, kind), kind))
    listed = ", ".join(names)
    text = (
        f"INSERT INTO {table} ({listed}) SELECT {listed} FROM json_populate_recordset(NULL::{table}, %s::json)"
    ) + _conflict(table, names, records)
    for first in range(0, len(records), _JSON_ROWS):
        rows = zip(*(column[first : first + _JSON_ROWS] for column in columns), strict=True)
        yield text, (json_bytes([dict(zip(records.kinds, row, strict=True)) for row in rows]).decode(),)


def without_earlier(records: Records) -> Records:
    """Records of which the latest one counts, with the last of each id alone: a statement may not write a row twice."""
    last: dict[Any, int] = {}
    times = records.columns["time"]
    for place, each in enumerate(records.columns[ID]):
        if each not in last or times[place] >= times[last[each]]:
            last[each] = place
    if len(last) == len(records):
        return records
    columns = {name: [values[place] for place in last.values()] for name, values in records.columns.items()}
    return replace(records, columns=columns)


def _conflict(table: str, names: Sequence[str], records: Records) -> str:
    """What becomes of a record whose id is there."""
    if not records.latest:
        return " ON CONFLICT DO NOTHING"
    by_kind = dict(zip(records.kinds, names, strict=True))
    key, time = by_kind[ID], by_kind["time"]
    values = ", ".join(f"{name} = excluded.{name}" for name in names if name != key)
    return f" ON CONFLICT ({key}) DO UPDATE SET {values} WHERE excluded.{time} >= {table}.{time}"


def _stored(values: Sequence[Any], kind: str) -> Sequence[Any]:
    if is_json(kind):
        return [None if value is None else json_bytes(value).decode() for value in values]
    if kind == "uint64":
        return [None if value is None else str(value) for value in values]
    return values


def _wired(values: Sequence[Any], kind: str) -> Sequence[Any]:
    """Values as JSON from which Postgres reads them: bytes by their digits, numbers that are not finite by their names."""
    if kind == "bytes":
        return [None if value is None else "\\x" + value.hex() for value in values]
    if kind.startswith("float") and not is_json(kind):
        return [str(value) if value is not None and not math.isfinite(value) else value for value in values]
    return values
