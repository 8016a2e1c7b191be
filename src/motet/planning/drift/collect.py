"""A reference, made of rows as they come, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from motet.batch import Indices
from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.planning.drift.bins import bins_for
from motet.planning.drift.features import DriftSample, Feature, Values, are_probabilities, features_of
from motet.planning.drift.reference import DriftReference, ReferenceColumn

__all__ = ["Collector"]

MOST_ROWS = 100_000
"""Rows that are kept of each feature, drawn evenly from all."""


@dataclass
class _Kept:
    """Values of one feature; those whose rows have the smallest draws, of more than there is room for."""

    most: int
    parts: list[Values] = field(default_factory=list)
    draws: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    rows: int = 0

    def add(self, values: Values, draws: npt.NDArray[np.uint64]) -> None:
        self.parts.append(values)
        self.draws.append(draws)
        self.rows += len(values)
        if self.rows > 2 * self.most:
            self.values()

    def values(self) -> Values:
        values, draws = np.concatenate(self.parts), np.concatenate(self.draws)
        if len(values) > self.most:
            kept = np.sort(np.argpartition(draws, self.most)[: self.most])
            values, draws = values[kept], draws[kept]
        self.parts, self.draws, self.rows = [values], [draws], len(values)
        return values


class Collector:
    """Keeps what features of a graph say of rows, and makes bins and counts of it.

    Args:
        checked: the graph.
        of: where the rows are from.
        most: rows that are kept of each feature.
        clock: seconds since 1970.
    """

    def __init__(
        self, checked: CheckedGraph, of: str, most: int = MOST_ROWS, clock: Callable[[], float] = time.time
    ) -> None:
        self._checked, self._of, self._most, self._clock = checked, of, most, clock
        self._features = {each.name: each for each in features_of(checked)}
        self._kept: dict[str, _Kept] = {}
        self._scores = {each.of: True for each in self._features.values() if each.view == "confidence"}
        self._rows = 0

    def add(self, sample: DriftSample) -> None:
        """Take rows."""
        for name in list(self._scores):
            if sample.outputs is not None and name in sample.outputs.columns:
                self._scores[name] &= are_probabilities(sample.outputs.columns[name])
        first, self._rows = self._rows, self._rows + sample.answered + sample.failed
        for feature in self._features.values():
            found = feature.values(sample)
            if found is not None:
                values, ids = found
                more = first if feature.side == "rows" else 0
                self._kept.setdefault(feature.name, _Kept(self._most)).add(values, _draws(ids + more))

    def finish(self) -> DriftReference:
        """The reference.

        Raises:
            InputError: when there were no rows.
        """
        if not self._rows:
            raise InputError("there are no rows to make a reference of", where=self._of)
        columns: list[ReferenceColumn] = []
        by_value: set[tuple[str, str]] = set()
        for feature in self._features.values():
            if feature.name in self._kept and self._wanted(feature, by_value):
                values = self._kept[feature.name].values()
                bins = bins_for(values)
                if bins is not None and len(values):
                    columns.append(ReferenceColumn(feature, bins, tuple(bins.count(values).tolist())))
                    if feature.view == "value":
                        by_value.add((feature.side, feature.of))
        inputs = {name: str(each.type) for name, each in self._checked.graph.inputs.items()}
        outputs = {name: str(kind) for name, kind in self._checked.signature.outputs.items()}
        name = self._checked.graph.name
        return DriftReference(name, self._of, self._clock(), self._rows, tuple(columns), inputs, outputs)

    def _wanted(self, feature: Feature, by_value: set[tuple[str, str]]) -> bool:
        """Whether a feature says something that no other one says better."""
        if feature.side == "output" and feature.of in self._scores:
            return self._scores[feature.of] == (feature.view in ("class", "confidence"))
        if feature.view == "length":
            return (feature.side, feature.of) not in by_value  # categories say more
        return True


def _draws(ids: Indices) -> npt.NDArray[np.uint64]:
    """A number by chance for each row, the same for the same row: splitmix64, Steele, Lea and Flood, OOPSLA 2014."""
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
