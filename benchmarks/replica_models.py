"""Models of `benchmarks.replicas`; processes of replicas import this file and nothing beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["echo", "fresh", "letters"]


def echo(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What it was given."""
    return x


def fresh(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A copy of it."""
    return x.copy()


def letters(text: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
    """How often each letter comes in each text, counted by Python itself, which holds its lock all the while."""
    counts = np.zeros((len(text), 26), np.float32)
    for row, each in enumerate(text):
        found = [0] * 26
        for letter in each:
            place = ord(letter) - 97
            if 0 <= place < 26:
                found[place] += 1
        counts[row] = found
    return counts
