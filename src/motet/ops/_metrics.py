"""Distances and kernels between vectors, and how they come of what is worked for all pairs at once.

squared    |x - y|^2, by a product of matrices: fast, and no difference of near vectors
product    x . y, by a product of matrices
sum, most  of |x - y| over the values, by differences
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Metric(NamedTuple):
    """What is done with pairs of vectors.

    Attributes:
        base: what is worked for all pairs: `squared`, `product`, `sum` or `most`.
        finish: what the answer is of it: `finish(xp, values, settings)`, with numpy, which may fill the values' own memory, or
            JAX's numpy; None for `base` itself.
        unit: whether vectors are brought to length 1 first.
        settings: the names of what else it takes.
        falls: whether the answer is the less the farther vectors are.
    """

    base: str
    finish: Callable[[Any, Any, Mapping[str, float]], Any] | None = None
    unit: bool = False
    settings: tuple[str, ...] = ()
    falls: bool = False


def root(xp: Any, found: Any, by: Mapping[str, float]) -> Any:
    return np.sqrt(found, out=found) if xp is np else xp.sqrt(found)


def _decay(xp: Any, found: Any, by: Mapping[str, float]) -> Any:
    if xp is not np:
        return xp.exp(found * -by["gamma"])
    found *= -by["gamma"]
    return np.exp(found, out=found)


DISTANCES = {
    "euclidean": Metric("squared", root),
    "sqeuclidean": Metric("squared"),
    "cosine": Metric("squared", lambda xp, found, _: found * 0.5, unit=True),
    "manhattan": Metric("sum"),
    "chebyshev": Metric("most"),
}

KERNELS = {
    "linear": Metric("product"),
    "polynomial": Metric(
        "product",
        lambda xp, found, by: (found * by["gamma"] + by["coef0"]) ** by["degree"],
        settings=("gamma", "coef0", "degree"),
    ),
    "sigmoid": Metric(
        "product", lambda xp, found, by: xp.tanh(found * by["gamma"] + by["coef0"]), settings=("gamma", "coef0")
    ),
    "cosine": Metric("product", unit=True),
    "rbf": Metric("squared", _decay, settings=("gamma",), falls=True),
    "laplacian": Metric("sum", _decay, settings=("gamma",), falls=True),
}
