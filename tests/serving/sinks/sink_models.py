"""Models of these tests' graphs."""

import numpy as np


def sure(x):
    if (x < 0).any():
        raise ValueError("negative")
    return np.stack([x / 128, np.zeros_like(x)], axis=1)


def unsure(x):
    return np.where(x[:, None] >= 100, np.array([[1, 0]], np.float32), np.array([[0.5, 0.5]], np.float32)).astype(
        np.float32
    )
