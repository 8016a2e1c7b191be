"""Rows that some members of an ensemble answered and others did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from motet.batch import Array, Column, Ragged, concat_columns
from motet.graph.node import Answer, Fault
from motet.nodes.combine import missing
from motet.nodes.merge import kept_rows

__all__ = ["first_fault", "joined", "spread"]


def joined(segments: Sequence[tuple[int, int, dict[str, Column]]], faults: Sequence[Fault], rows: int) -> Answer:
    """The stretches of rows that were combined, as one answer."""
    if len(segments) == 1 and not faults:
        return Answer(segments[0][2])
    names = segments[0][2] if segments else {}
    columns = {name: concat_columns([found[name] for _, _, found in segments]) for name in names}
    return Answer(columns, tuple(faults), kept_rows(faults, rows))


def first_fault(answers: Sequence[Answer], counting: Sequence[int], row: int) -> Fault:
    """Why a row is not answered: what the first of the members that count said of it."""
    for place in counting:
        for fault in answers[place].faults:
            if fault.position == row:
                return fault
    raise AssertionError(f"row {row} has too few answers and no fault")


def spread(outputs: Mapping[str, Column], answer: Answer, rows: int) -> dict[str, Column]:
    """A member's columns over all rows, with stand-ins where it failed."""
    if answer.kept is None:
        return dict(outputs)
    return {name: _spread_column(column, answer.kept, rows) for name, column in outputs.items()}


def _spread_column(column: Column, kept: Array, rows: int) -> Column:
    if isinstance(column, Ragged):
        every = [np.zeros((0,) * column.shapes.shape[1], dtype=column.dtype)] * rows
        for place, row in zip(kept, column, strict=True):
            every[place] = row
        return Ragged.from_rows(every, column.dtype, column.shapes.shape[1])
    whole = missing(column, rows)
    whole[kept] = column
    return whole
