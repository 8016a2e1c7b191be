"""What a table of a database does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.databases.filters import Filter
from motet.databases.layout import TableLayout

__all__ = ["Hits", "Search", "Table"]


@dataclass(frozen=True)
class Search:
    """What is looked for by one row.

    Attributes:
        vector: the column of the table that is compared.
        query: shape `[length]`.
        k: how many rows are wanted at most, the nearest.
        filters: conditions on the payload, all of which hold.
        columns: of the payload, which are given back.
        exact: whether every row is compared, also where there is an index that finds most of the nearest sooner.
    """

    vector: str
    query: npt.NDArray[np.float32]
    k: int
    filters: Sequence[Filter]
    columns: Sequence[str]
    exact: bool = False


@dataclass(frozen=True)
class Hits:
    """What a search has found, the nearest first.

    Attributes:
        ids: of the rows.
        scores: the cosine of the angle, the product, or the negative distance: more is nearer.
        payload: the values of each column asked for; None is no value.
    """

    ids: list[Any]
    scores: list[float]
    payload: dict[str, list[Any]] = field(default_factory=dict)


class Table(Protocol):
    """A table of a database. One thread at a time may write; several may search.

    Attributes:
        database: what people call it.
        keeps_text: whether it takes every text; false where none may have the character of number 0.
    """

    database: ClassVar[str]
    keeps_text: ClassVar[bool]

    def layout(self) -> TableLayout | None:
        """The columns that are there, None where there is no such table. Vectors have a metric.

        Raises:
            InputError: when what is there cannot be written by ids, or there is no such database.
        """
        ...

    def check(self, layout: TableLayout) -> None:
        """See that rows of a layout can be written, into what is there or anew; nothing is made.

        Raises:
            InputError: when they cannot.
        """
        ...

    def prepare(self, layout: TableLayout) -> None:
        """Make the table where it is not there; errors are those of `check`."""
        ...

    def upsert(self, batch: pa.RecordBatch) -> None:
        """Write rows, each in the place of the one with its id; when it returns they stay, whatever happens.

        Args:
            batch: rows of the layout that was prepared, each id once.

        Raises:
            RunError: when the database cannot be reached, after bounded tries.
        """
        ...

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """What each search finds. They agree in all but query and filters.

        Raises:
            Exception: what the client raises.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
