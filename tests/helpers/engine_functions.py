"""Functions of the graphs that every engine plays."""

from itertools import pairwise
from typing import Any

import numpy as np

import motet as mt


@mt.returns("float64")
def doubled(x: Any) -> Any:
    return x * 2.0


@mt.returns("float64")
def refuse_one(x: Any) -> Any:
    if (x == 1).any():
        raise ValueError("one")
    return x


def none_for_eight(x: Any) -> Any:
    """None is no whole number."""
    return np.array([None if value == 8 else int(value) for value in x.tolist()], object)


@mt.returns("string")
def told(x: Any) -> Any:
    return np.array([repr(value) for value in x.tolist()], object)


@mt.returns("float64")
def digits(x: Any) -> Any:
    """The digits of each number, and how many there are."""
    texts = [str(int(value)) for value in x.tolist()]
    return np.array([float(digit) for text in texts for digit in text]), np.array([len(text) for text in texts])


@mt.returns("float64")
def sums(values: Any, counts: Any) -> Any:
    ends = np.concatenate([[0], np.cumsum(counts)])
    return np.array([values[first:end].sum() for first, end in pairwise(ends)])


@mt.returns("int64")
def size(pictures: Any) -> Any:
    """How many pixels each picture is across."""
    return np.array([picture.shape[1] for picture in pictures], np.int64)
