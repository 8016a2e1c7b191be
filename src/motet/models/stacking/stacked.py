"""Programs of one structure, played together with their weights stacked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from motet.batch import Array, Indices
from motet.models.stacking.operators import OPERATORS, Groups, Value
from motet.models.stacking.program import Program, input_value

__all__ = ["StackedProgram"]

BLOCK_ROWS: Final = 8192
"""Rows that are computed before the next ones, so that what is between two layers stays near the processor."""


class StackedProgram:
    """What several models of one structure compute. Several threads may call it.

    Args:
        programs: of the models, which differ in the values of their weights alone.
    """

    def __init__(self, programs: Sequence[Program]) -> None:
        self._program = programs[0]
        self._weights = {
            name: Value(np.stack([each.weights[name] for each in programs]), True) for name in self._program.weights
        }

    @property
    def num_bytes(self) -> int:
        """How much memory the weights take."""
        return sum(each.array.nbytes for each in self._weights.values())

    def __call__(self, columns: Mapping[str, Array], models: Indices, counts: Indices) -> dict[str, Array]:
        """The outputs of rows.

        Args:
            columns: `[rows, ...]` by the names of the inputs; those of one model stand together.
            models: the places of the models that have rows, in the order of these.
            counts: how many rows each of them has.
        """
        parts = []
        with np.errstate(all="ignore"):
            for first, groups in _blocks(models, counts):
                parts.append(
                    self._block({name: each[first : first + groups.rows] for name, each in columns.items()}, groups)
                )
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._program.outputs}

    def _block(self, columns: Mapping[str, Array], groups: Groups) -> dict[str, Array]:
        values = {**self._weights, **{input_value(name): Value(column) for name, column in columns.items()}}
        for operator in self._program.operators:
            given = [values[name] for name in operator.inputs]
            values[operator.output] = Value(OPERATORS[operator.name](operator, given, groups))
        return {name: values[value].array for name, value in self._program.outputs.items()}


def _blocks(models: Indices, counts: Indices) -> Iterator[tuple[int, Groups]]:
    """Models that have about so many rows together, and the place of their first row."""
    if counts.sum() <= BLOCK_ROWS:
        yield 0, Groups(models, counts)
        return
    ends = np.cumsum(counts)
    first = row = 0
    while first < len(models):
        end = max(first + 1, int(np.searchsorted(ends, row + BLOCK_ROWS, side="right")))
        yield row, Groups(models[first:end], counts[first:end])
        first, row = end, int(ends[end - 1])
