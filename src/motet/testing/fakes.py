"""Models for tests: small Python classes to name in a graph, as `python:motet.testing.fakes:Affine`.

    Affine    scale * x + offset
    Scores    probabilities that depend on nothing but the row
    Failing   raises on the rows that hold given values
    Hungry    runs out of memory beyond a number of rows
    Counting  counts calls and rows, in `calls`

`fake` makes the `Model` for one of them; `constant` a function that gives every row the same answer.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Array
from motet.graph.model import Model

__all__ = ["Affine", "Counting", "Failing", "Hungry", "Scores", "calls", "constant", "fake"]

calls: dict[str, list[int]] = {}
"""The rows of each call of a `Counting` or `Failing` model, by its `log`; tests clear it."""


def _log(log: str, rows: int) -> None:
    if log:  # looked up at each call: graphs of several tests may share a model
        calls.setdefault(log, []).append(rows)


class Affine:
    """`scale * x + offset`, in the dtype of x.

    Args:
        scale, offset: numbers.
    """

    def __init__(self, scale: float = 1.0, offset: float = 0.0) -> None:
        self.scale, self.offset = scale, offset

    def __call__(self, x: Array) -> Array:
        """Answer a batch."""
        return np.asarray(x * x.dtype.type(self.scale) + x.dtype.type(self.offset), dtype=x.dtype)


class Scores:
    """Probabilities of `classes` classes: a softmax of the sums of each row's values, weighed at random but fixed.

    Args:
        classes: how many.
        seed: of the weights.
        sharpness: how far apart the classes are; 0 makes them equal.
    """

    def __init__(self, classes: int = 3, seed: int = 0, sharpness: float = 1.0) -> None:
        self.weights = np.random.default_rng(seed).normal(size=classes) * sharpness

    def __call__(self, x: Array) -> Array:
        """Answer a batch."""
        sums = np.array([np.float64(row.sum()) for row in x.reshape(len(x), -1)]).reshape(len(x), 1)
        raised = np.exp(np.clip(sums, -20, 20) * self.weights)
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


class Counting(Affine):
    """`Affine`, and the rows of each call are kept in `calls[log]`."""

    def __init__(self, log: str, scale: float = 1.0, offset: float = 0.0) -> None:
        super().__init__(scale, offset)
        self.log = log

    def __call__(self, x: Array) -> Array:
        """Answer a batch."""
        _log(self.log, len(x))
        return super().__call__(x)


class Failing(Affine):
    """`Affine`, but raises when any row holds one of some values in its first place.

    Args:
        bad: the values; None fails on everything.
        error: the name of the exception, a built-in one.
        log: where calls are kept; empty keeps none.
        scale, offset: as for `Affine`.
    """

    def __init__(
        self,
        bad: Sequence[float] | None = None,
        error: str = "ValueError",
        log: str = "",
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> None:
        super().__init__(scale, offset)
        self.bad, self.error = bad, getattr(builtins, error)
        self.log = log

    def __call__(self, x: Array) -> Array:
        """Answer a batch."""
        _log(self.log, len(x))
        first = x.reshape(len(x), -1)[:, 0]
        found = first if self.bad is None else first[np.isin(first, np.asarray(self.bad, dtype=first.dtype))]
        if len(found):
            raise self.error(f"cannot take {found[0]:g}")
        return super().__call__(x)


class Hungry(Affine):
    """`Affine`, but raises `MemoryError`, or another error, for more than `most` rows at once."""

    def __init__(self, most: int, log: str = "", scale: float = 1.0, error: str = "MemoryError") -> None:
        super().__init__(scale)
        self.most, self.error = most, getattr(builtins, error)
        self.log = log

    def __call__(self, x: Array) -> Array:
        """Answer a batch."""
        _log(self.log, len(x))
        if len(x) > self.most:
            raise self.error(f"no room for {len(x)} rows")
        return super().__call__(x)


def constant(answer: Any) -> Callable[..., Any]:
    """A function for `Graph.with_models` that gives every row the same answer.

    Args:
        answer: of one row: a number, a text, an array; or a mapping of these by output.
    """

    def answered(*columns: Any) -> Any:
        count = len(columns[0])
        if isinstance(answer, Mapping):
            return {name: [value] * count for name, value in answer.items()}
        return [answer] * count

    return answered


def fake(
    cls: type,
    name: str,
    takes: str = "float32",
    gives: str | None = None,
    *,
    output: str = "output",
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Model:
    """A model of one of these classes, or of another class that can be imported.

    Args:
        cls: the class; it takes one column.
        name: the model's name.
        takes: the type of the column `x` that it takes.
        gives: the type of what it gives; the same when not given.
        output: the name of what it gives.
        settings: other arguments of `Model`, for example `{"batch": Batching(8)}`.
        options: arguments of the class.
    """
    return Model(
        f"python:{cls.__module__}:{cls.__qualname__}",
        name,
        inputs={"x": takes},
        outputs={output: gives or takes},
        options=options,
        **(settings or {}),
    )
