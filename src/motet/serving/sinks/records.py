"""Records: what a sink writes, held by column.

A record is what is kept of one row (`join`), or of one row and one member (`stack`). Values are Python's own: texts,
numbers, bytes, lists and mappings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["ID", "JSON", "Records", "join_records"]

ID = "id"
"""The column that tells records apart: the same record has the same id whenever and wherever it is written."""
JSON = "json"
"""The kind of a column that holds lists, mappings, or values of any kind."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one table.

    Attributes:
        table: the table, or what `{graph}` stands for in a path.
        kinds: what each column holds: a `ColumnType` as it is written (`float32`, `string`, `float32[10]`), or `json`.
        columns: a list of values for each of `kinds`; None is a value that is not there.
        latest: whether a record replaces one of the same id whose `time` is not later; else the first one stays.
    """

    table: str
    kinds: Mapping[str, str]
    columns: Mapping[str, Sequence[Any]]
    latest: bool = False

    def __len__(self) -> int:
        return len(self.columns[ID])

    def slice(self, first: int, end: int) -> Records:
        """Some of the records."""
        return replace(self, columns={name: values[first:end] for name, values in self.columns.items()})


def join_records(parts: Sequence[Records]) -> list[Records]:
    """The same records in as few pieces as there are changes of table or kinds, in order."""
    joined: list[Records] = []
    run: list[Records] = []
    for part in [*parts, None]:
        if part is not None and (not run or _sort(part) == _sort(run[0])):
            run.append(part)
            continue
        if len(run) == 1:
            joined.append(run[0])
        elif run:
            names = run[0].columns
            columns = {name: [value for each in run for value in each.columns[name]] for name in names}
            joined.append(replace(run[0], columns=columns))
        run = [part] if part is not None else []
    return joined


def _sort(records: Records) -> tuple[str, Mapping[str, str], bool]:
    return records.table, records.kinds, records.latest
