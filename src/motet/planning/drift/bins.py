"""Bins: where the values of a feature are counted: between quantiles, or at the values that there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Indices
from motet.planning.drift.features import Values
from motet.types import label_text

__all__ = ["Bins", "bins_for"]

MOST_BINS = 100
"""Bins of numbers: distances of spreads are exact to a hundredth."""
FEW_VALUES = 20
"""Numbers that have no more values than that are told apart by value."""
MOST_CATEGORIES = 50
ENOUGH = 0.8
"""The share of rows that the most frequent texts must have to be categories."""
COARSE = 10
"""Groups of bins that the population stability index is computed of, as is usual."""


@dataclass(frozen=True)
class Bins:
    """Where values are counted. Behind those given here is one cell for missing values.

    Attributes:
        edges: of numbers: bin i holds what is above edge i - 1 and at most edge i; ascending.
        categories: of texts, or of few numbers; a further cell holds whatever is none of them.
    """

    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether bins are of numbers, in their order."""
        return not self.categories

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.categories) + 2 if self.categories else len(self.edges) + 2

    def count(self, values: Values) -> npt.NDArray[np.float64]:
        """How many values lie in each cell, shape `[size]`."""
        return np.bincount(self.places(values), minlength=self.size).astype(np.float64)

    def places(self, values: Values) -> Indices:
        """The cell of each value."""
        if self.categories:
            index = {each: place for place, each in enumerate(self.categories)}
            index_of, other, missing = index.get, self.size - 2, self.size - 1
            texts = as_texts(values)
            return np.array([missing if each is None else index_of(each, other) for each in texts], dtype=np.int64)
        numbers = np.asarray(values, dtype=np.float64)
        places = np.searchsorted(np.asarray(self.edges), numbers, side="left")
        return np.where(np.isnan(numbers), self.size - 1, places)

    def groups(self, counts: npt.NDArray[np.float64]) -> Indices:
        """For each cell its group of about a tenth of these counts, where bins are of numbers; else each by itself."""
        if self.categories:
            return np.arange(self.size)
        inner = counts[:-1]
        middle = np.cumsum(inner) - inner / 2
        tenth = np.minimum(COARSE - 1, (COARSE * middle / max(1.0, inner.sum())).astype(np.int64))
        return np.append(np.unique(tenth, return_inverse=True)[1], tenth.max() + 1 if len(tenth) else 0)

    def name(self, cell: int) -> str:
        """What a cell holds, in words."""
        if cell == self.size - 1:
            return "missing"
        if self.categories:
            return self.categories[cell] if cell < len(self.categories) else "anything else"
        low = f"over {self.edges[cell - 1]:.6g}" if cell else ""
        high = f"up to {self.edges[cell]:.6g}" if cell < len(self.edges) else ""
        return f"{low} {high}".strip() or "any"


def bins_for(values: Values) -> Bins | None:
    """Bins for values like these; None of texts of which no few are frequent."""
    if values.dtype == object:
        return _categories([each for each in values if each is not None])
    numbers = values[~np.isnan(values)]
    distinct = np.unique(numbers)
    if 0 < len(distinct) <= FEW_VALUES and len(numbers) >= 2 * len(distinct):
        return _categories([each for each in as_texts(numbers) if each is not None])
    parts = np.linspace(0, 1, MOST_BINS + 1)[1:-1]
    edges = np.unique(np.quantile(numbers, parts, method="inverted_cdf")) if len(numbers) else np.empty(0)
    return Bins(edges=tuple(edges[np.isfinite(edges)].tolist()))  # a file has no infinity


def as_texts(values: Values) -> list[str | None]:
    """Values as categories are written; None for missing ones."""
    if values.dtype == object:
        return list(values)
    return [None if each != each else label_text(each) for each in values.tolist()]


def _categories(texts: list[Any]) -> Bins | None:
    counted = Counter(texts)
    frequent = sorted(counted.most_common(MOST_CATEGORIES), key=lambda each: (-each[1], each[0]))
    many = len(counted) > MOST_CATEGORIES or 2 * len(counted) > len(texts)
    if not frequent or (many and sum(count for _, count in frequent if count > 1) < ENOUGH * len(texts)):
        return None
    return Bins(categories=tuple(text for text, _ in frequent))
