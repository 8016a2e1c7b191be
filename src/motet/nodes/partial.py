"""Rows that some members of an ensemble answered and others did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from motet.batch import Array, Column, Indices, Ragged, concat_columns, empty_column, objects, take_rows
from motet.graph.node import Answer, Fault, Member
from motet.nodes.members import all_reasons
from motet.nodes.merge import kept_rows
from motet.types import ColumnType

__all__ = ["joined", "may_be_missing", "spread", "too_few", "without_rows"]


def joined(segments: Sequence[tuple[int, int, dict[str, Column]]], faults: Sequence[Fault], rows: int) -> Answer:
    """The stretches of rows that were combined, as one answer."""
    if len(segments) == 1 and not faults:
        return Answer(segments[0][2])
    names = segments[0][2] if segments else {}
    columns = {name: concat_columns([found[name] for _, _, found in segments]) for name in names}
    return Answer(columns, tuple(faults), kept_rows(faults, rows))


def too_few(
    members: Sequence[Member],
    answers: Sequence[Answer],
    counting: Sequence[int],
    rows: Indices,
    *,
    every: bool,
    of: Mapping[int, str] | None = None,
) -> list[Fault]:
    """Why rows are not answered: what the members that count and failed on them said.

    Args:
        members: of the node.
        answers: what each of them gave.
        counting: the places of those that count.
        rows: the places of the rows, on each of which one of these failed.
        every: whether all that failed are named, or the first one.
        of: what of a member at a place cannot be missing; None where too few have answered.
    """
    by_row: dict[int, list[tuple[Member, Fault]]] = {int(row): [] for row in rows}
    for place in counting:
        for fault in answers[place].faults:
            if fault.position in by_row:
                why = "" if of is None else f"; {of[place]}, which cannot be missing"
                by_row[fault.position].append((members[place], replace(fault, message=f"{fault.message}{why}")))
    return [all_reasons(found if every else found[:1]) for found in by_row.values()]


def without_rows(reached: Mapping[str, Column], types: Mapping[str, ColumnType]) -> dict[str, Column]:
    """The columns of a member that could not be called: of its types, or like another's where these leave it open."""
    return {
        name: take_rows(column, slice(0, 0)) if kind.varies or kind.dtype == "any" else empty_column(kind)
        for (name, column), kind in zip(reached.items(), types.values(), strict=True)
    }


def may_be_missing(kind: ColumnType) -> bool:
    """Whether a column of a type can say that there is no answer: whole numbers, bools, and rows of any shape cannot."""
    return kind.dtype == "any" or (not kind.varies and (kind.is_object or kind.dtype.startswith("float")))


def spread(
    outputs: Mapping[str, Column], answer: Answer, rows: int, kinds: Mapping[str, ColumnType]
) -> dict[str, Column]:
    """A member's columns over all rows, with what is missing where it failed."""
    if answer.kept is None:
        return dict(outputs)
    return {name: _spread_column(column, answer.kept, rows, kinds[name]) for name, column in outputs.items()}


def _spread_column(column: Column, kept: Array, rows: int, kind: ColumnType) -> Column:
    """With None or NaN for rows that have no answer; 0 or nothing where that cannot be, which nobody looks at then."""
    if kind.dtype == "any" and (isinstance(column, Ragged) or column.dtype.kind not in "fO"):
        column = objects([*column] if isinstance(column, Ragged) or column.ndim > 1 else column.tolist())
    if isinstance(column, Ragged):
        every = [np.zeros((0,) * column.shapes.shape[1], dtype=column.dtype)] * rows
        for place, row in zip(kept, column, strict=True):
            every[place] = row
        return Ragged.from_rows(every, column.dtype, column.shapes.shape[1])
    absent = {"O": None, "f": np.nan}.get(column.dtype.kind, 0)
    whole: Array = np.full((rows, *column.shape[1:]), absent, dtype=column.dtype)
    whole[kept] = column
    return whole
