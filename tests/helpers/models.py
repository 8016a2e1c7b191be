"""Models that tests' graphs name."""

import numpy as np


def echo(x):
    return x


class Lengths:
    """The length of each row of a varying column."""

    def __call__(self, x):
        return np.full(len(x), x.shape[1], dtype=np.int64)


class OneRowLess:
    def __call__(self, x):
        return x[:-1]


class OtherType:
    def __call__(self, x):
        return x.astype(np.float64)


class WrongShapeFor:
    """Gives rows of two values, but one too many where any is bad."""

    def __call__(self, x):
        return np.zeros((len(x), 3 if (x == 7).any() else 2), dtype=np.float32)


def minus(a, b):
    return a - b


class Closing:
    closed = 0

    def __call__(self, x):
        return x

    def close(self):
        type(self).closed += 1


class Strict:
    def __call__(self, x):
        return self.check(x)

    def check(self, x):
        if (x < 0).any():
            raise ValueError("negative")
        return x


def pair(x):
    return {"p": x, "q": x * 2}


def sums_of_two(a, b):
    return np.stack([a.sum(axis=1), b.sum(axis=1)], axis=1).astype(np.float32)


def doubled(x):
    return x * 2


def pairwise(x):
    return x[:, :, None] * x[:, None, :]


def with_ends(x):
    return np.pad(x, ((0, 0), (1, 1)))


def halved(x):
    return x[:, ::2]


def constant(x):
    return np.repeat(x.sum(axis=1, keepdims=True), 4, axis=1)


def of_both(x):
    return x[:, : x.shape[1]] + 1


def summed(x):
    return x.sum(axis=1)
