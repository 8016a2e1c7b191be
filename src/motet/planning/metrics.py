"""Metrics of answers beside labels, in numpy; scikit-learn's are the oracle of the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from motet.batch import Array, Indices
from motet.errors import InputError
from motet.graph.function import Function

__all__ = ["METRICS", "QualityMetric", "confusion", "metric_named"]

SLACK = 1e-3
"""How far from 1 the scores of a row may add up to, for rounding."""

Floats = npt.NDArray[np.float64]
Takes = Literal["classes", "scores", "numbers", "values"]
"""What of an answer a metric is given: places of classes, scores of all classes, numbers, or what the graph gave itself."""


@dataclass(frozen=True)
class QualityMetric:
    """A metric.

    Attributes:
        name: its name.
        takes: what of an answer it is given.
        compute: from labels and answers of the same rows, at least one, a number.
        lower_is_better: whether less is better.
    """

    name: str
    takes: Takes
    compute: Callable[[Any, Any], float]
    lower_is_better: bool = False

    def is_better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one < other if self.lower_is_better else one > other


def confusion(truth: Indices, answer: Indices, num_classes: int) -> Indices:
    """Counts `[truth, answer]`."""
    flat = np.bincount(truth * num_classes + answer, minlength=num_classes * num_classes)
    return flat.reshape(num_classes, num_classes)


def _accuracy(truth: Indices, answer: Indices) -> float:
    return float((truth == answer).mean())


def _f1(truth: Indices, answer: Indices) -> float:
    """Of two classes F1 of the second; of more the mean over the classes that are among labels or answers."""
    counts = confusion(truth, answer, int(max(truth.max(), answer.max())) + 1)
    right, total = np.diag(counts).astype(np.float64), (counts.sum(axis=0) + counts.sum(axis=1)).astype(np.float64)
    scores = np.divide(2 * right, total, out=np.zeros(len(right)), where=total > 0)
    return float(scores[total > 0].mean())


def _f1_of_two(truth: Indices, answer: Indices) -> float:
    right, total = ((truth == 1) & (answer == 1)).sum(), (truth == 1).sum() + (answer == 1).sum()
    return float(2 * right / total) if total else 0.0


def _auc_of(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """The probability that a positive row has more than a negative one, ties counting half: Hanley and McNeil, Radiology 143 (1982)."""
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def _auc(truth: Indices, scores: Floats) -> float:
    """Of two classes that of the second; of more the mean over the classes, each against the rest."""
    if scores.shape[1] == 2:
        return _auc_of(truth == 1, scores[:, 1])
    each = [_auc_of(truth == place, scores[:, place]) for place in range(scores.shape[1])]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _log_loss(truth: Indices, scores: Array) -> float:
    """The mean negative log of the right class's score; NaN where scores are no probabilities of which a row has 1 in all."""
    if np.abs(scores.sum(axis=1, dtype=np.float64) - 1).max() > SLACK or scores.min() < -SLACK:
        return float("nan")
    eps = float(np.finfo(scores.dtype).eps)
    right = np.clip(scores[np.arange(len(truth)), truth].astype(np.float64), eps, 1 - eps)
    return float(-np.log(right).mean())


def _rmse(truth: Floats, answer: Floats) -> float:
    return float(np.sqrt(np.square(truth - answer).mean()))


def _mae(truth: Floats, answer: Floats) -> float:
    return float(np.abs(truth - answer).mean())


def f1_for(num_classes: int) -> QualityMetric:
    """F1 of the second of two classes, or the mean of those of more."""
    return METRICS["f1"] if num_classes != 2 else QualityMetric("f1", "classes", _f1_of_two)


METRICS = {
    each.name: each
    for each in (
        QualityMetric("accuracy", "classes", _accuracy),
        QualityMetric("f1", "classes", _f1),
        QualityMetric("auc", "scores", _auc),
        QualityMetric("log_loss", "scores", _log_loss, lower_is_better=True),
        QualityMetric("rmse", "numbers", _rmse, lower_is_better=True),
        QualityMetric("mae", "numbers", _mae, lower_is_better=True),
    )
}
"""The metrics that have names."""


def metric_named(name: str) -> QualityMetric:
    """A metric by its name, or a function of labels and answers (`package.function`) that returns a number; more is better,
    unless it has an attribute `lower_is_better` that is true.

    Raises:
        InputError: when there is none.
    """
    if name in METRICS:
        return METRICS[name]
    if "." not in name:
        raise InputError(
            f"no metric {name!r}; there are {', '.join(METRICS)}", where="metric", hint="or package.function"
        )
    function = Function(name).resolve()
    return QualityMetric(name, "values", _checked(function, name), bool(getattr(function, "lower_is_better", False)))


def _checked(function: Callable[..., Any], name: str) -> Callable[[Any, Any], float]:
    def compute(truth: Sequence[Any], answer: Any) -> float:
        found = function(truth, answer)
        try:
            return float(found)
        except (TypeError, ValueError):
            what = f"{name} must return a number; got {type(found).__name__}"
            raise InputError(what, where="metric") from None

    return compute
