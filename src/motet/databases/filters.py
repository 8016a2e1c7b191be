"""Which rows of a table a search may find: conditions on columns of its payload, all of which hold.

    price: {">=": 10, "<": $most}     within bounds
    language: $language               equal
    genre: [rock, pop]                any of these; {in: $genres} takes them from the row

A text that begins with `$` is a column of the row that asks; `$$` begins one that begins with a dollar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from motet.errors import GraphError, InputError, UnknownNameError

__all__ = ["Filter", "FromRow", "read_filters"]

OPERATORS = ("==", "<", "<=", ">", ">=", "in")


@dataclass(frozen=True)
class FromRow:
    """A value that each row has in a column."""

    name: str


@dataclass(frozen=True)
class Filter:
    """One condition.

    Attributes:
        column: of the table's payload.
        operator: one of `OPERATORS`.
        value: what it is compared with; a list for `in`; or where it comes from.
    """

    column: str
    operator: str
    value: Any

    def of_row(self, columns: Mapping[str, Any], row: int, where: str) -> Filter:
        """The condition of one row.

        Raises:
            InputError: when the row has no value.
        """
        if not isinstance(self.value, FromRow):
            return self
        value = columns[self.value.name][row]
        plain = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
        if plain is None or (isinstance(plain, float) and plain != plain):
            raise InputError(f"{self.value.name!r} has no value, which the search is to compare with", where=where)
        return replace(self, value=plain)


def read_filters(given: Any, where: str) -> tuple[Filter, ...]:
    """Read conditions as graphs have them.

    Raises:
        GraphError: when they are none.
        UnknownNameError: when an operator is none.
    """
    if not isinstance(given, Mapping):
        raise GraphError(f"{given!r} are no conditions by column", where=where, hint='write {price: {"<": 20}}')
    found: list[Filter] = []
    for column, value in given.items():
        conditions = (
            value if isinstance(value, Mapping) else {"in" if isinstance(value, (list, tuple)) else "==": value}
        )
        for operator, each in conditions.items():
            if operator not in OPERATORS:
                raise UnknownNameError("operator", str(operator), OPERATORS, where=f"{where}: {column}")
            found.append(Filter(str(column), operator, _value(operator, each, f"{where}: {column}")))
    return tuple(found)


def _value(operator: str, value: Any, where: str) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return value[1:] if value.startswith("$$") else FromRow(value[1:])
    if (operator == "in") is not isinstance(value, (list, tuple)):
        wanted = "a list" if operator == "in" else "one value"
        raise GraphError(f"{operator!r} is followed by {wanted}; got {value!r}", where=where)
    for each in value if operator == "in" else [value]:
        if not isinstance(each, (str, bool, int, float)):
            raise GraphError(f"cannot compare with {each!r}", where=where, hint="numbers, texts and truth values")
    return list(value) if operator == "in" else value
