"""Functions of graphs that tests serve in another process."""

import numpy as np


def same(x):
    return x


def strict(x):
    if (np.asarray(x) == 13).any():
        raise ValueError("13 is unlucky")
    return x * 2


def halves(x):
    """Rows of differing shape."""
    return [row[: len(row) // 2] for row in x]
