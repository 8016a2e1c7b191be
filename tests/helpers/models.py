"""Models that tests' graphs name."""

from typing import Any

import numpy as np


def echo(x: Any) -> Any:
    return x


class Lengths:
    """The length of each row of a varying column."""

    def __call__(self, x: Any) -> Any:
        return np.full(len(x), x.shape[1], dtype=np.int64)


class OneRowLess:
    def __call__(self, x: Any) -> Any:
        return x[:-1]


class OtherType:
    def __call__(self, x: Any) -> Any:
        return x.astype(np.float64)


class WrongShapeFor:
    """Gives rows of two values, but one too many where any is bad."""

    def __call__(self, x: Any) -> Any:
        return np.zeros((len(x), 3 if (x == 7).any() else 2), dtype=np.float32)


def minus(a: Any, b: Any) -> Any:
    return a - b


class Closing:
    closed = 0

    def __call__(self, x: Any) -> Any:
        return x

    def close(self) -> None:
        type(self).closed += 1


class Strict:
    def __call__(self, x: Any) -> Any:
        return self.check(x)

    def check(self, x: Any) -> Any:
        if (x < 0).any():
            raise ValueError("negative")
        return x


def pair(x: Any) -> Any:
    return {"p": x, "q": x * 2}


def sums_of_two(a: Any, b: Any) -> Any:
    return np.stack([a.sum(axis=1), b.sum(axis=1)], axis=1).astype(np.float32)


def doubled(x: Any) -> Any:
    return x * 2


def pairwise(x: Any) -> Any:
    return x[:, :, None] * x[:, None, :]


def with_ends(x: Any) -> Any:
    return np.pad(x, ((0, 0), (1, 1)))


def halved(x: Any) -> Any:
    return x[:, ::2]


def constant(x: Any) -> Any:
    return np.repeat(x.sum(axis=1, keepdims=True), 4, axis=1)


def of_both(x: Any) -> Any:
    return x[:, : x.shape[1]] + 1


def summed(x: Any) -> Any:
    return x.sum(axis=1)
