"""Rows by key: what belongs together as one row, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from motet.batch import Array, Column, Indices, Ragged
from motet.errors import InputError


class Keyed:
    """Rows by key: apart into one row a key, with all its values, and what comes of these back to the rows.

    Args:
        keys: what says which rows belong together, texts or whole numbers, shape `[rows]`.

    Raises:
        InputError: when keys are not one a row, or of kinds that have no order, as None among texts has none.

    Attributes:
        keys: the keys, each once, sorted, shape `[keys]`.

    >>> from motet.ops.linalg import nearest_neighbours
    >>> by_user = Keyed(np.array(["ann", "bob", "ann"]))
    >>> groups = by_user.apart(np.array([[0.0], [9.0], [2.0]]))
    >>> by_user.keys.tolist(), by_user.together(nearest_neighbours(groups, k=1).distances)
    (['ann', 'bob'], [array([2.]), array([], dtype=float64), array([2.])])
    """

    keys: Array

    def __init__(self, keys: Array) -> None:
        self.keys, of, counts = _unique(np.asarray(keys))
        self._order: Indices = np.argsort(of, kind="stable")
        self._ends: Indices = np.cumsum(counts)

    def apart(self, column: Column) -> Ragged:
        """One row a key: the values of its rows, in their order; shape `[keys, n, ...]`, `n` as many as the key has rows.

        Args:
            column: one value or array a row, all of one shape, shape `[rows, ...]`.
        """
        if len(column) != len(self._order):
            raise InputError(f"there are {len(column)} values for {len(self._order)} rows", where="Keyed.apart")
        values = np.asarray(column)[self._order]
        return Ragged.from_rows(np.split(values, self._ends[:-1]) if len(self._ends) else [], values.dtype, values.ndim)

    def together(self, groups: Column) -> list[Array]:
        """The inverse: of what each key has a value for each of its rows, one a row, in the order of the rows.

        Args:
            groups: shape `[keys, n, ...]`, `n` as many as the key has rows.
        """
        values = [value for group in groups for value in group]
        if len(values) != len(self._order):
            raise InputError(f"there are {len(values)} values for {len(self._order)} rows", where="Keyed.together")
        found: list[Any] = [None] * len(values)
        for row, value in zip(self._order.tolist(), values, strict=True):
            found[row] = value
        return found


def _unique(keys: Array) -> tuple[Array, Indices, Indices]:
    """The keys, each once; which of them each row has; and how many rows each has."""
    if keys.ndim != 1:
        raise InputError(f"there is one key a row, shape [rows]; got shape {list(keys.shape)}", where="Keyed")
    try:
        return np.unique(keys, return_inverse=True, return_counts=True)
    except TypeError:
        kinds = ", ".join(sorted({type(key).__name__ for key in keys}))
        raise InputError(
            f"keys are all texts or all whole numbers; got {kinds}",
            where="Keyed",
            hint="give rows without a key one of their own, or leave them out",
        ) from None
