"""Rows whose right answers are known: read once, with what else is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Batch
from motet.engines.layout import RunLayout, choose_batch_rows
from motet.errors import Failure, InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.io import open_source

__all__ = ["LabelledRows"]


@dataclass
class LabelledRows:
    """Rows of a source with the columns of it that say what is right.

    Attributes:
        description: the source.
        columns: by name the values of the label and others, in the order of the rows, as far as they were read.
    """

    description: str
    columns: Mapping[str, list[Any]]
    _source: Any
    _layout: RunLayout
    _limit: int | None
    _rows: int = field(default=0)

    @classmethod
    def open(
        cls,
        checked: CheckedGraph,
        source: Any,
        names: Sequence[str],
        optional: Sequence[str],
        limit: int | None,
        reading: Mapping[str, Any],
    ) -> LabelledRows:
        """Open a source.

        Args:
            checked: the graph that its rows go through.
            source: what `motet.io.open_source` takes.
            names: the columns that are read beside those that the graph takes.
            optional: columns that are read if the source has them.
            limit: rows that are read; None for all.
            reading: how it is read: `format`, `types`, ...

        Raises:
            InputError: when the limit is below 1.
            UnknownNameError: when it has no such column.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit must be at least 1; got {limit}", where="limit")
        opened = open_source(source, wanted=checked.graph.stored_types, **reading)
        for name in names:
            if name not in opened.schema.names:
                raise UnknownNameError("column", name, opened.schema.names, where=opened.description)
        names = [*names, *(name for name in optional if name in opened.schema.names)]
        layout = RunLayout.of(checked, opened.schema, (), (), opened.description)
        return cls(opened.description, {name: [] for name in dict.fromkeys(names)}, opened, layout, limit)

    def batches(self) -> Iterator[tuple[Batch, list[Failure], int]]:
        """Rows in batches: those that fit, why the others do not, and how many there are together."""
        types = [each.type for each in self._layout.inputs.values()]
        rows = choose_batch_rows(types, self._source.num_rows, 1, models=True)
        read = list(dict.fromkeys([*self._layout.read, *self.columns]))
        for found in self._source.batches(rows, read):
            part = found if self._limit is None else found.slice(0, self._limit - self._rows)
            for name, values in self.columns.items():
                values.extend(_plain(part.column(name), name, self.description))
            ids = np.arange(self._rows, self._rows + part.num_rows)
            batch, failures, _ = self._layout.bind(part, ids)
            self._rows += part.num_rows
            yield batch, failures, part.num_rows
            if self._rows == self._limit:
                break
        if not self._rows:
            raise InputError("there are no rows", where=self.description)


def _plain(column: pa.Array, name: str, where: str) -> list[Any]:
    if pa.types.is_nested(column.type):
        raise InputError(f"column {name!r} is {column.type}, no single value a row", where=where)
    return [None if each != each else each for each in column.to_pylist()]
