"""Metrics of the graph and its members on the same rows, with intervals from the same draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from motet.batch import Array, Indices
from motet.planning.calibration import Calibration, calibration
from motet.planning.classes import AnswerReader, Judged
from motet.planning.intervals import Interval, bootstrapped, percentiles, wilson
from motet.planning.metrics import QualityMetric, f1_for

__all__ = ["Assessor", "Marked"]


@dataclass(frozen=True)
class Marked:
    """Answers of the graph or a member beside the right ones.

    Attributes:
        judged: its answers.
        places: for each labelled row the place of its answer, -1 where it has none.
    """

    judged: Judged
    places: Indices

    @property
    def answered(self) -> int:
        """Labelled rows that it answered."""
        return int((self.places >= 0).sum())


@dataclass(frozen=True)
class Assessor:
    """Compares answers with labels.

    Attributes:
        reader: knows the labels.
        labels: the labels themselves, of all rows.
        metrics: the metrics; the first one is the one that is compared.
        units: for each row its unit, from 0; None where rows are drawn.
    """

    reader: AnswerReader
    labels: Sequence[Any]
    metrics: Sequence[QualityMetric]
    units: Indices | None = None

    @cached_property
    def labelled(self) -> Indices:
        """The ids of the rows that have labels."""
        truth = self.reader.truth
        if self.reader.kind == "numbers":
            return np.flatnonzero(~np.isnan(truth))
        return np.flatnonzero(truth if self.reader.kind == "values" else truth >= 0)

    @cached_property
    def _truth(self) -> Mapping[str, Any]:
        """Labels of the labelled rows, by what metrics take."""
        found = self.reader.truth[self.labelled]
        values = np.empty(len(self.labels), dtype=object)
        values[:] = self.labels
        return {"classes": found, "scores": found, "numbers": found, "values": values[self.labelled]}

    def mark(self, judged: Judged) -> Marked:
        """Put answers beside labels."""
        places = np.searchsorted(judged.ids, self.labelled)
        there = places < len(judged.ids)
        there[there] = judged.ids[places[there]] == self.labelled[there]
        return Marked(judged, np.where(there, places, -1))

    def value(self, metric: QualityMetric, marked: Marked, rows: Indices) -> float:
        """A metric of some labelled rows; NaN where none of them was answered."""
        places = marked.places[rows]
        there = places >= 0
        if not there.any():
            return float("nan")
        answers = _taken(metric, marked.judged)
        whole = f1_for(len(self.reader.names)) if metric.name == "f1" else metric
        return whole.compute(self._truth[metric.takes][rows[there]], answers[places[there]])

    def measure(
        self, marked: Sequence[Marked], rows: Indices | None = None
    ) -> list[tuple[dict[str, Interval], Interval]]:
        """For each of several the metrics, and the first one's first metric less its own.

        Args:
            marked: what is measured.
            rows: places among the labelled rows; None for all.
        """
        rows = np.arange(len(self.labelled)) if rows is None else rows
        units = None if self.units is None else np.unique(self.units[self.labelled][rows], return_inverse=True)[1]

        def compute(some: Indices) -> list[float]:
            return [self.value(metric, each, rows[some]) for each in marked for metric in self.metrics]

        values, drawn = compute(np.arange(len(rows))), bootstrapped(compute, len(rows), units)
        width, found = len(self.metrics), []
        for place, each in enumerate(marked):
            own = slice(place * width, (place + 1) * width)
            pairs = zip(self.metrics, values[own], drawn[own], strict=True)
            metrics = {m.name: self._interval(m, each, rows, value, some) for m, value, some in pairs}
            less = np.array(drawn[0]) - np.array(drawn[place * width])
            found.append((metrics, percentiles(values[0] - values[place * width], less)))
        return found

    def _interval(
        self, metric: QualityMetric, marked: Marked, rows: Indices, value: float, drawn: list[float]
    ) -> Interval:
        if metric.name != "accuracy" or self.units is not None:
            return percentiles(value, drawn)
        count = int((marked.places[rows] >= 0).sum())
        return replace(wilson(round(value * count), count), value=value) if count else percentiles(value, [])

    def calibration(self, marked: Marked) -> Calibration | None:
        """How far the confidence of answers can be trusted; None where it is not known."""
        confidence, classes = marked.judged.confidence, marked.judged.classes
        there = marked.places >= 0
        if confidence is None or classes is None or not there.any():
            return None
        places = marked.places[there]
        sure = confidence[places]
        if not ((sure >= -1e-3) & (sure <= 1 + 1e-3)).all():
            return None  # no probabilities
        return calibration(sure, classes[places] == self._truth["classes"][there])


def _taken(metric: QualityMetric, judged: Judged) -> Array:
    """What a metric is given of answers."""
    if metric.takes == "classes":
        assert judged.classes is not None
        return judged.classes
    if metric.takes == "scores":
        assert judged.scores is not None
        return judged.scores
    values: Array = judged.values
    return values.reshape(len(values)).astype(np.float64) if metric.takes == "numbers" else values
