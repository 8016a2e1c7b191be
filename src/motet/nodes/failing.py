"""Answers that say which of their rows failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import as_named
from motet.errors import InputError, ModelError
from motet.nodes.hold import as_rows

__all__ = ["failing"]

Reason = str | BaseException


def failing(answers: Any, failed: Mapping[int, Reason] | Sequence[bool] | Any, reason: Reason = "not answered") -> Any:
    """Say which rows of an answer failed: these fail alone, and nothing is called again to find them.

    For what functions and models return, wherever they are:

        return motet.failing(scores, {3: "too long", 7: error})
        return motet.failing({"label": labels, "score": scores}, scores.max(axis=1) < 0.1, "nothing is seen")

    Args:
        answers: what would be returned for all rows: a column (an array, a list), columns by name, or a tuple of them. What stands
            for the rows that failed does not matter.
        failed: for each row that failed, by its place from 0, why: a text or an exception; or a mask, true for each such row.
        reason: why those of a mask failed.

    Returns:
        The columns, an exception in the place of each value of these rows. A text is that of a `ModelError`.

    Raises:
        InputError: when there is no such row, or the mask has another number of rows.
    """
    named = as_named(answers)
    if named is not None:
        return {name: _with(column, failed, reason) for name, column in named.items()}
    if isinstance(answers, tuple):
        return tuple(_with(column, failed, reason) for column in answers)
    return _with(answers, failed, reason)


def _with(column: Any, failed: Any, reason: Reason) -> list[Any]:
    """The values of a column, one a row, exceptions among them."""
    rows = as_rows(column, len(column))
    nested = isinstance(rows, np.ndarray) and rows.ndim > 1
    # views of one array would be taken for memory that is filled again
    values = [np.array(row) for row in rows] if nested else list(rows)
    for row, why in _by_row(failed, reason, len(values)).items():
        values[row] = why if isinstance(why, BaseException) else ModelError(str(why))
    return values


def _by_row(failed: Any, reason: Reason, rows: int) -> Mapping[int, Reason]:
    if not isinstance(failed, Mapping):
        mask = np.asarray(failed)
        if mask.shape != (rows,) or (mask.dtype.kind != "b" and rows):
            raise InputError(
                f"failing was given {mask.dtype} {list(mask.shape)} for {rows} rows",
                hint="give a true or false for each row, or a mapping from the places of rows to reasons",
            )
        return dict.fromkeys(np.flatnonzero(mask).tolist(), reason)
    found = {int(row): why for row, why in failed.items()}
    if wrong := [row for row in found if not 0 <= row < rows]:
        raise InputError(
            f"failing was given row {wrong[0]} of {rows} rows", hint="rows are counted from 0 in each call"
        )
    return found
