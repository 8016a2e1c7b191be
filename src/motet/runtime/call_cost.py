"""What rows cost, and which of them share a call: those that cost about as much, up to the most that a call may cost.

Where rows are padded, by the runtime or inside a model of texts, a call costs as many times its dearest row as it has rows. So rows
are sorted by what they cost, and a call ends before more than a fifth of it would be padding. Else a call costs the sum of its rows,
and they stay in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from motet.batch import Column, Indices, Ragged
from motet.errors import GraphError, known_names
from motet.graph.capacity import LENGTH
from motet.graph.function import Function
from motet.graph.model import Model
from motet.graph.node import Fault
from motet.nodes.contract import conform
from motet.runtime.functions import FunctionRunner
from motet.types import ColumnType, Signature

__all__ = ["MOST_CELLS", "CallCost", "Costs", "call_cost", "check_cost"]

Costs = npt.NDArray[np.float64]
"""What rows cost, `[rows]`."""
MIN_ROWS, MOST_CELLS = 4, 1.2
"""Rows that are padded together whatever they cost, and of more rows how many cells there may be for one that is no padding."""
_NUMBER = ColumnType("float64")


def call_cost(model: Model, signature: Signature, *, remote: bool) -> CallCost | None:
    """What the rows of a model cost; None where the graph does not say that this matters.

    Args:
        model: what the graph says of it.
        signature: what it takes itself.
        remote: whether it is on another machine, which pads nothing that is sent to it.
    """
    if model.batch.cost is None and model.batch.max_cost is None:
        return None
    texts = any(kind.is_object and kind.dtype != "any" for kind in signature.inputs.values())
    padded = model.batch.pad is not None or (texts and not remote)
    return CallCost(model, signature, padded=padded)


def check_cost(model: Model, signature: Signature) -> None:
    """See that a model has what its `batch.cost` names.

    Raises:
        GraphError: when it has no such input, or one of no numbers, or the function does not take its inputs.
    """
    cost, where = model.batch.cost, f"model {model.name!r}: batch.cost"
    if isinstance(cost, Function):
        _parameters(cost, signature, where)
    elif cost is not None and cost not in signature.inputs:
        if cost != LENGTH:
            known = known_names(cost, [*signature.inputs, LENGTH])
            hint = "name an input of the model that holds numbers, a function as package.module.name, or length"
            raise GraphError(f"the model has no input {cost!r}; {known}", where=where, hint=hint)
    elif cost is not None and not _is_number(kind := signature.inputs[cost]):
        hint = "name an input that holds a number a row, or a function that gives one"
        raise GraphError(f"{cost!r} is {kind}, and a cost is a number", where=where, hint=hint)


def _is_number(kind: ColumnType) -> bool:
    return not kind.shape and (kind.dtype == "any" or kind.numpy_dtype.kind in "iuf")


def _parameters(function: Function, signature: Signature, where: str) -> list[str]:
    """The inputs that a function is given: those that its parameters are named after, else all in order."""
    function.resolve(where)
    try:
        names = function.parameters()
    except (TypeError, ValueError):  # of what is not written in Python
        names = []
    if names and set(names) <= set(signature.inputs):
        return names
    given = list(signature.inputs)
    if names and len(names) != len(given):
        takes = f"{function} takes {', '.join(names)}; the model has {', '.join(given)}"
        raise GraphError(takes, where=where, hint="name its parameters after inputs of the model")
    return given


class CallCost:
    """What the rows of a model cost, and how they are cut into calls.

    Args:
        model: what the graph says of it.
        signature: what it takes itself.
        padded: whether rows of a call are padded to the longest.

    Attributes:
        most_cost: the most that a call may cost; infinite where the graph sets no bound.
        is_quick: whether no function of a user is asked what rows cost.
        may_be_unknown: whether there may be rows of which it cannot be told, which fail.
    """

    def __init__(self, model: Model, signature: Signature, *, padded: bool) -> None:
        self._name, self._padded = model.name, padded
        cost = model.batch.cost or LENGTH
        self._column = cost if isinstance(cost, str) and cost in signature.inputs else None
        self._runner, self._given = None, list[str]()
        self.most_cost, self.is_quick = model.batch.max_cost or float("inf"), not isinstance(cost, Function)
        self.may_be_unknown = self._column is not None or not self.is_quick
        if isinstance(cost, Function):
            self._runner = FunctionRunner(cost, _NUMBER)
            self._given = _parameters(cost, signature, f"model {model.name!r}: batch.cost")

    def of(self, columns: Mapping[str, Column], rows: int) -> tuple[Costs, list[Fault]]:
        """What rows cost, and why some cannot be told; their cost is 0.

        Args:
            columns: by the names of the model's inputs.
            rows: how many.
        """
        if self._runner is None and self._column is None:
            return lengths(columns, rows), []
        if self._runner is not None:
            answer = self._runner([columns[name] for name in self._given], rows)
        else:
            answer = conform(columns[str(self._column)], rows, _NUMBER, f"batch.cost {self._column}")
        costs, faults = np.zeros(rows), list(answer.faults)
        if answer.kept is None or len(answer.kept):
            costs[slice(None) if answer.kept is None else answer.kept] = np.asarray(answer.columns[""])
        if (bad := ~((costs >= 0) & (costs < np.inf))).any():
            said = "batch.cost is {}; it must be a number from 0"
            faults += [
                Fault(row, "AnswerError", said.format(costs[row]), self._name) for row in np.flatnonzero(bad).tolist()
            ]
            costs = np.where(bad, 0.0, costs)
        return costs, sorted(faults, key=lambda fault: fault.position)

    def calls(self, costs: Costs, most_rows: int) -> list[Indices]:
        """The rows of each call, in order; all rows are in one call or another.

        Args:
            costs: of all rows.
            most_rows: the most that a call may have.
        """
        order = np.argsort(costs, kind="stable") if self._padded else np.arange(len(costs))
        ends = self._ends(costs[order].tolist(), most_rows)
        return [np.sort(order[first:end]) for first, end in zip([0, *ends], ends, strict=False)]

    def _ends(self, costs: Sequence[float], most_rows: int) -> list[int]:
        ends, first, real = list[int](), 0, 0.0
        for place, cost in enumerate(costs):
            rows = place - first + 1
            total = rows * cost if self._padded else real + cost
            scarce = self._padded and rows > MIN_ROWS and total > MOST_CELLS * (real + cost)
            if rows > 1 and (rows > most_rows or total > self.most_cost or scarce):
                ends.append(place)
                first, real = place, 0.0
            real += cost
        return [*ends, len(costs)]

    def alike(self, costs: Sequence[float], rows: Sequence[int], most_rows: int) -> list[bool]:
        """Which of several groups of rows that wait are called together with the first one: those that cost about as much as its rows.

        Args:
            costs: of the dearest row of each group.
            rows: how many rows each group has.
            most_rows: the most that a call may have.
        """
        chosen = [True] + [False] * (len(rows) - 1)
        nearest = sorted(range(1, len(rows)), key=lambda place: abs(costs[place] - costs[0]))
        count, dearest, real = rows[0], costs[0], rows[0] * costs[0]
        for place in nearest:
            more, top, sum_ = count + rows[place], max(dearest, costs[place]), real + rows[place] * costs[place]
            total = more * top if self._padded else sum_
            if more > most_rows or total > self.most_cost:
                continue
            if self._padded and more > MIN_ROWS and total > MOST_CELLS * sum_:
                continue
            chosen[place], count, dearest, real = True, more, top, sum_
        return chosen


def lengths(columns: Mapping[str, Column], rows: int) -> Costs:
    """The letters of each row's texts, and the elements of the largest of its arrays that vary; where nothing varies, all elements.

    Inputs that vary together, such as the tokens of a text and their mask, count once.

    Args:
        columns: by name.
        rows: how many.
    """
    found, varies = np.zeros(rows), False
    arrays = np.zeros(rows)
    for column in columns.values():
        if isinstance(column, Ragged):
            arrays, varies = np.maximum(arrays, np.diff(column.offsets)), True
        elif column.dtype == object and column.ndim == 1:
            found += [len(value) if isinstance(value, (str, bytes)) else np.size(value) for value in column.tolist()]
            varies = True
    if varies:
        return found + arrays
    return found + sum(int(np.prod(column.shape[1:])) for column in columns.values() if isinstance(column, np.ndarray))
