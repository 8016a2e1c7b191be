"""Calling users' functions: rows in, as many rows out, and the rows at fault found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Column, take_rows
from motet.errors import AnswerError, GraphError
from motet.graph.function import Function
from motet.graph.node import Answer, Fault
from motet.nodes.contract import as_given, conform
from motet.nodes.gate import gate_of
from motet.nodes.merge import merge
from motet.nodes.owned import own_result
from motet.runtime.deadline import go_on
from motet.runtime.isolate import CallHealth, is_of_rows, isolate
from motet.types import Outputs

__all__ = ["FunctionRunner", "chain"]


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
        self._gate = gate_of(self._call)
        self.name = str(function)
        self.health = CallHealth(self.name)

    def __call__(self, columns: Sequence[Column], rows: int) -> Answer:
        """Call the function on whole columns; a single array it returns is the column `""`."""
        try:
            answer = self._run(columns, rows)
        except BaseException as error:  # (a function may raise anything)
            if not is_of_rows(error):
                raise
            return self._isolated(columns, rows, error)
        self.health.succeeded = True
        return answer

    def _isolated(self, columns: Sequence[Column], rows: int, error: BaseException) -> Answer:
        """The rows that can be answered of a call that raised."""

        def run(first: int, end: int) -> Answer:
            return self._run([take_rows(column, slice(first, end)) for column in columns], end - first)

        segments, faults = isolate(run, rows, self.health, known=error)
        names = segments[0][2].columns if segments else {}
        for _, _, found in segments:
            if set(found.columns) != set(names):
                raise GraphError(
                    f"{self.name} returned {', '.join(names)} for some rows and {', '.join(found.columns)} for others",
                    hint="return the same columns for every row",
                )
        return merge([(np.arange(first, end), found) for first, end, found in segments], rows, faults)

    def _run(self, columns: Sequence[Column], rows: int) -> Answer:
        given = [as_given(column) for column in columns]
        if self._each:
            result = self._gate(self._by_row, (given, rows), {}, rows=rows)
        else:
            result = self._gate(self._call, given, self._keywords, rows=rows)
        return conform(result, rows, self._outputs, self.name)

    def _by_row(self, columns: Sequence[Any], rows: int) -> Any:
        results = [self._call_one([column[row] for column in columns]) for row in range(rows)]
        named = [result._asdict() if hasattr(result, "_asdict") else result for result in results]
        given = [each for each in named if isinstance(each, Mapping)]
        wanted = self._outputs if isinstance(self._outputs, Mapping) else next(iter(given), None)
        if wanted is None:
            return named
        if all(each.keys() == wanted.keys() for each in given) and all(
            isinstance(each, (Mapping, BaseException)) for each in named
        ):
            return {name: [each[name] if isinstance(each, Mapping) else each for each in named] for name in wanted}
        if rows > 1:
            raise AnswerError(f"{self.name} gave other columns for some rows")
        return {name: [value] for name, value in given[0].items()} if given else named

    def _call_one(self, values: Sequence[Any]) -> Any:
        """What it returns for one row, which is ours."""
        go_on()
        held = [self._call(*values, **self._keywords)]
        if own_result(held):
            self._gate.keep_apart()
        return held[0]


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
