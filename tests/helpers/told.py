"""A function for graphs that tells what values they were given."""

import numpy as np


def told(column):
    """Python's repr of every value, numpy's scalars as Python has them."""
    return [repr(value.item() if isinstance(value, np.generic) else value) for value in column]
