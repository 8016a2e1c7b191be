"""Functions and models that say which rows they did not answer, in every way in which that can be said."""

from typing import Any

import numpy as np

import motet as mt

calls: list[int] = []
"""The rows of each call in this process."""


def by_reasons(x: Any) -> Any:
    """Reasons by row."""
    calls.append(len(x))
    odd = {row: f"{x[row]:g} is odd" for row in range(len(x)) if x[row] % 2}
    return mt.failing({"half": x / 2, "pair": np.stack([x, x], axis=1)}, odd)


def by_mask(x: Any) -> Any:
    """A mask, and one reason."""
    calls.append(len(x))
    return mt.failing((x / 2, np.stack([x, x], axis=1)), x % 2 == 1, ArithmeticError("odd"))


def in_place(x: Any) -> Any:
    """Exceptions in the places of values."""
    calls.append(len(x))
    halves = [LookupError("odd") if value % 2 else value / 2 for value in x]
    return {"half": halves, "pair": np.stack([x, x], axis=1)}
