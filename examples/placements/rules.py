"""A model of plain Python, which holds the interpreter's lock while it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def shares(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The share that each of ten stretches of a picture has of its light; it stands for rules that somebody wrote.

    Args:
        image: float32 `[rows, 28, 28]`.

    Returns:
        float32 `[rows, 10]`.
    """
    return np.array([_shares(row) for row in image.reshape(len(image), -1)[:, :780].tolist()], np.float32)


def _shares(pixels: list[float]) -> list[float]:
    light = [0.0] * 10
    for place, value in enumerate(pixels):
        light[place // 78] += value
    total = sum(light) or 1.0
    return [each / total for each in light]
