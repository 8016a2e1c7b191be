"""Calling users' functions: rows in, as many rows out, and the rows at fault found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Column, Ragged, as_column, column_type, concat_columns
from motet.errors import GraphError
from motet.graph.function import Function
from motet.graph.node import Answer, Fault
from motet.nodes.merge import kept_rows
from motet.runtime.isolate import Health, isolate
from motet.types import ColumnType, Outputs

__all__ = ["FunctionRunner", "conform"]


class FunctionRunner:
    """One use of a function in a graph.

    Args:
        function: the function and its keywords.
        outputs: what it declared for its inputs' types; None where it does not say.
        each: whether it is called row by row.
    """

    def __init__(self, function: Function, outputs: Outputs | None, *, each: bool = False) -> None:
        self._call: Callable[..., Any] = function.resolve()
        self._keywords = dict(function.keywords)
        self._each, self._outputs = each, outputs
        self.name = str(function)
        self.health = Health(self.name)

    def __call__(self, columns: Sequence[Column], rows: int) -> Answer:
        """Call the function on whole columns; a single array it returns is the column `""`."""
        given = [column.rows() if isinstance(column, Ragged) else column for column in columns]

        def run(first: int, end: int) -> dict[str, Column]:
            taken = given if end - first == rows else [column[first:end] for column in given]
            return self._run(taken, end - first)

        segments, faults = isolate(run, rows, self.health)
        if len(segments) == 1 and not faults:
            return Answer(segments[0][2])
        names = segments[0][2] if segments else {}
        merged = {name: concat_columns([found[name] for _, _, found in segments]) for name in names}
        return Answer(merged, tuple(faults), kept_rows(faults, rows) if faults else None)

    def _run(self, columns: Sequence[Any], rows: int) -> dict[str, Column]:
        result = self._by_row(columns, rows) if self._each else self._call(*columns, **self._keywords)
        return conform(result, rows, self._outputs, self.name)

    def _by_row(self, columns: Sequence[Any], rows: int) -> Any:
        results = [self._call(*(column[row] for column in columns), **self._keywords) for row in range(rows)]
        named = [result._asdict() if hasattr(result, "_asdict") else result for result in results]
        if named and isinstance(named[0], Mapping):
            return {name: _column_of_rows([each[name] for each in named]) for name in named[0]}
        return _column_of_rows(named)


def _column_of_rows(values: list[Any]) -> Any:
    """Rows' values as a column: arrays of one shape side by side, or a list of arrays."""
    shapes = {value.shape for value in values if isinstance(value, np.ndarray)}
    if len(shapes) == 1 and all(isinstance(value, np.ndarray) for value in values):
        return np.stack(values)
    return values


def conform(result: Any, rows: int, outputs: Outputs | None, name: str) -> dict[str, Column]:
    """What a function returned as columns by name, checked against what it declared.

    Raises:
        GraphError: when there are not as many rows, or columns, or the types are not those declared.
    """
    if hasattr(result, "_asdict"):
        result = result._asdict()
    columns = {
        str(key): as_column(value) for key, value in (result if isinstance(result, Mapping) else {"": result}).items()
    }
    declared = _declared(outputs)
    if declared is not None and set(declared) != set(columns):
        raise GraphError(f"{name} declares {_listed(declared)} and returned {_listed(columns)}")
    for key, column in columns.items():
        if getattr(column, "ndim", 1) == 0 or len(column) != rows:
            got = "a single value" if getattr(column, "ndim", 1) == 0 else f"{len(column)} rows"
            raise GraphError(
                f"{name} returned {got}{f' of {key!r}' if key else ''} for {rows} rows",
                hint="return one value for each row, in order",
            )
        if declared is not None:
            columns[key] = _typed(column, declared[key], key, name)
    return columns


def _declared(outputs: Outputs | None) -> dict[str, ColumnType] | None:
    if outputs is None or (isinstance(outputs, ColumnType) and outputs.dtype == "any"):
        return None
    return {"": outputs} if isinstance(outputs, ColumnType) else dict(outputs)


def _typed(column: Column, kind: ColumnType, key: str, name: str) -> Column:
    """A column of the declared type: held as ragged where rows may differ in shape."""
    if kind.varies and isinstance(column, np.ndarray) and column.dtype != object:
        column = Ragged.from_dense(column)
    if not kind.varies and isinstance(column, Ragged) and len(column) and (column.shapes == column.shapes[0]).all():
        column = column.dense()
    got = column_type(column)
    if kind.is_object and isinstance(column, np.ndarray) and column.dtype == object:
        return column
    if len(column) and not kind.accepts(got):
        raise GraphError(f"{name} declares {kind}{f' for {key!r}' if key else ''} and returned {got}")
    return column


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) if name else "one array" for name in names)


def chain(runners: Sequence[FunctionRunner], columns: Sequence[Column], rows: int) -> Answer:
    """Functions in a row, each on what the one before it gave."""
    kept, faults = np.arange(rows), list[Fault]()
    answer = Answer({str(place): column for place, column in enumerate(columns)})
    for runner in runners:
        answer = runner(list(answer.columns.values()), len(kept))
        faults += [fault.at(int(kept[fault.position])) for fault in answer.faults]
        kept = kept if answer.kept is None else kept[answer.kept]
        if not len(kept):
            break
    return Answer(answer.columns, tuple(faults), kept if faults else None)
