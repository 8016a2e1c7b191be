"""What stands for the four kinds of work of the graph: each row takes the time that it is told, and is numbers in the end.

A real model would compute, or wait for an accelerator; whoever plans sees the same of it: seconds and memory.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


class Wait:
    """Takes so long for each row.

    Args:
        ms: milliseconds of a row.
        columns: how many numbers it gives for each.
    """

    def __init__(self, ms: float, columns: int) -> None:
        self._seconds, self._columns = ms / 1000, columns

    def __call__(self, numbers: Numbers) -> Numbers:
        """The mean of each row's numbers, so many times.

        Args:
            numbers: float32 `[rows, n]`.

        Returns:
            float32 `[rows, columns]`.
        """
        time.sleep(self._seconds * len(numbers))
        return np.repeat(numbers.mean(axis=1, keepdims=True), self._columns, axis=1).astype(np.float32)
