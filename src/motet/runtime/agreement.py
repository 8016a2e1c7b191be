"""Whether a member that does not count would have said what was answered: row by row, of the outputs that both have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from motet.batch import Array, Column
from motet.graph.node import Answer

__all__ = ["Champion"]

CLOSE = 0.01
"""By which part numbers may differ that agree."""


class Champion:
    """What a node answered, as far as others are compared with it.

    Scores and other vectors of numbers agree where the largest is at the same place, single numbers where they differ by 1 % at most
    unless both are whole, all else where it is equal.

    Args:
        node: its name.
        answer: of the node; its columns may change afterwards.
        rows: that it was asked for.
    """

    def __init__(self, node: str, answer: Answer, rows: int) -> None:
        prefix = f"{node}."
        columns = {
            name.removeprefix(prefix): column
            for name, column in answer.columns.items()
            if name.startswith(prefix) and "." not in name.removeprefix(prefix) and name != f"{prefix}member"
        }
        self._said = {name: said for name, column in columns.items() if (said := _said(column)) is not None}
        self._kept = np.arange(rows) if answer.kept is None else np.asarray(answer.kept)
        self._rows = rows

    def agreement(self, answer: Answer) -> tuple[int, int]:
        """How many rows of another answer to the same rows can be compared, and how many of those agree.

        Args:
            answer: its columns are called as the member calls them.
        """
        theirs = {name: said for name, column in answer.columns.items() if (said := _said(column)) is not None}
        pairs = _pairs(self._said, theirs)
        if not pairs:
            return 0, 0
        kept = np.arange(self._rows) if answer.kept is None else np.asarray(answer.kept)
        both, mine, other = np.intersect1d(self._kept, kept, assume_unique=True, return_indices=True)
        same = np.ones(len(both), dtype=bool)
        for one, another in pairs:
            same &= _agree(one[mine], another[other])
        return len(both), int(same.sum())


def _pairs(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> list[tuple[Array, Array]]:
    """Outputs of one name; where each has one alone, those."""
    shared = [(ours[name], theirs[name]) for name in ours if name in theirs]
    if not shared and len(ours) == len(theirs) == 1:
        return [(next(iter(ours.values())), next(iter(theirs.values())))]
    return shared


def _said(column: Column) -> Array | None:
    """What a column says of each row, as little as is compared; None for what is not."""
    if not isinstance(column, np.ndarray):
        return None
    if column.ndim == 1:
        return column.copy()
    if column.ndim == 2 and column.dtype.kind in "fiu" and column.shape[1]:
        return np.asarray(column.argmax(axis=1))
    return None


def _agree(one: Array, other: Array) -> Array:
    kinds = one.dtype.kind + other.dtype.kind
    if kinds.strip("fiu") == "" and "f" in kinds:
        return np.isclose(other, one, rtol=CLOSE, atol=1e-9, equal_nan=True)
    if kinds.strip("biu") == "":
        return np.asarray(one == other)
    return np.fromiter((bool(a == b) for a, b in zip(one.tolist(), other.tolist(), strict=True)), bool, len(one))
