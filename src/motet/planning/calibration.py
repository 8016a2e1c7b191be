"""Whether a model that says 90 % is right nine times in ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bin", "Calibration", "calibration"]

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence is in one of equal stretches of 0 to 1.

    Attributes:
        low, high: the stretch, without its lower end (but for 0).
        rows: how many.
        confidence: their mean confidence.
        accuracy: the share that is right.
    """

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """A reliability table.

    Attributes:
        ece: the expected calibration error: the mean distance of confidence and accuracy, over the rows.
        bins: stretches that have rows.
    """

    ece: float
    bins: Sequence[Bin]


def calibration(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> Calibration:
    """A reliability table of 15 bins: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, ICML 2017.

    Args:
        confidence: of each row's answer, 0 to 1.
        right: whether it is right.
    """
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = []
    for each in np.unique(place):
        some = place == each
        mean, share = float(confidence[some].mean()), float(right[some].mean())
        bins.append(Bin(each / BINS, (each + 1) / BINS, int(some.sum()), mean, share))
    ece = sum(each.rows * abs(each.accuracy - each.confidence) for each in bins) / max(1, len(confidence))
    return Calibration(float(ece), bins)
