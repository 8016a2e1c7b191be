"""Functions of graphs that tests serve in another process."""

from typing import Any

import numpy as np


def same(x: Any) -> Any:
    return x


def strict(x: Any) -> Any:
    if (np.asarray(x) == 13).any():
        raise ValueError("13 is unlucky")
    return x * 2


def halves(x: Any) -> Any:
    """Rows of differing shape."""
    return [row[: len(row) // 2] for row in x]
