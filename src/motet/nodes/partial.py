"""Rows that some members of an ensemble answered and others did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from motet.batch import Array, Column, Indices, Ragged, concat_columns, empty_column, take_rows
from motet.graph.node import Answer, Fault, Member
from motet.nodes.combine import missing
from motet.nodes.members import all_reasons
from motet.nodes.merge import kept_rows
from motet.types import ColumnType

__all__ = ["joined", "spread", "too_few", "without_rows"]


def joined(segments: Sequence[tuple[int, int, dict[str, Column]]], faults: Sequence[Fault], rows: int) -> Answer:
    """The stretches of rows that were combined, as one answer."""
    if len(segments) == 1 and not faults:
        return Answer(segments[0][2])
    names = segments[0][2] if segments else {}
    columns = {name: concat_columns([found[name] for _, _, found in segments]) for name in names}
    return Answer(columns, tuple(faults), kept_rows(faults, rows))


def too_few(
    members: Sequence[Member], answers: Sequence[Answer], counting: Sequence[int], rows: Indices, *, every: bool
) -> list[Fault]:
    """Why rows are not answered: what the members that count and failed on them said.

    Args:
        members: of the node.
        answers: what each of them gave.
        counting: the places of those that count.
        rows: the places of the rows, on each of which one of these failed.
        every: whether all that failed are named, or the first one.
    """
    by_row: dict[int, list[tuple[Member, Fault]]] = {int(row): [] for row in rows}
    for place in counting:
        for fault in answers[place].faults:
            if fault.position in by_row:
                by_row[fault.position].append((members[place], fault))
    return [all_reasons(found if every else found[:1]) for found in by_row.values()]


def without_rows(reached: Mapping[str, Column], types: Mapping[str, ColumnType]) -> dict[str, Column]:
    """The columns of a member that could not be called: of its types, or like another's where these leave it open."""
    return {
        name: take_rows(column, slice(0, 0)) if kind.varies or kind.dtype == "any" else empty_column(kind)
        for (name, column), kind in zip(reached.items(), types.values(), strict=True)
    }


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
