"""A function for graphs that tells what values they were given."""

from typing import Any

import numpy as np


def told(column: Any) -> Any:
    """Python's repr of every value, numpy's scalars as Python has them."""
    return [repr(value.item() if isinstance(value, np.generic) else value) for value in column]
