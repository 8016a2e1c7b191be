"""Functions of the graphs that every engine plays."""

from itertools import pairwise
from typing import Any

import numpy as np

import motet as mt


class NoException(BaseException):
    """What is raised by functions that end more than a row."""


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


@mt.returns("float64")
def spread(*columns: Any) -> Any:
    """How far the largest is from the smallest."""
    return np.max(columns, axis=0) - np.min(columns, axis=0)


@mt.returns("string")
def upper(texts: Any) -> Any:
    return np.array([text.upper() if text is not None else None for text in texts], object)


@mt.returns("float64")
def odd_answers(x: Any) -> Any:
    """What fails with each of some numbers, and never alike."""
    for value in x.tolist():
        if value == 1:
            raise SystemExit("out")
        if value == 2:
            return x[:-1]
        if value == 3:
            return np.stack([x, x], axis=1)
        if value == 4:
            raise NoException("like one")
    return x


def texts_for_five(x: Any) -> Any:
    return ["five" if value == 5 else value for value in x.tolist()]


def large_for_six(x: Any) -> Any:
    return np.array([300 if value == 6 else int(value) for value in x.tolist()])


@mt.returns("float64")
def unlucky(*columns: Any) -> Any:
    """Combines members, but for a seven."""
    if (columns[0] == 7).any():
        raise ArithmeticError("seven")
    return columns[0]


@mt.returns("float64")
def too_sure(x: Any) -> Any:
    """No probability for an eight, and none at all for a nine."""
    return np.where(x == 8, 1.5, np.where(x == 9, np.nan, x / 100))


@mt.returns("float64")
def miscounted(x: Any) -> Any:
    """More pieces than there are for a ten."""
    return np.repeat(x, 2), np.where(x == 10, 3, 2)


@mt.returns("float64")
def firsts(values: Any, counts: Any) -> Any:
    ends = np.cumsum(counts) - counts
    return values[ends.astype(int)]


def one_row(x: float) -> float:
    if x == 11:
        raise LookupError("eleven")
    return x


@mt.returns("float64[?]")
def lengths(texts: Any) -> Any:
    return [np.array([len(word) for word in text.split()], float) for text in texts]


class Wide:
    """Texts and numbers of several outputs."""

    def __call__(self, x: Any, text: Any) -> Any:
        return {
            "sum": x.sum(axis=1),
            "said": [f"{t}:{row[0]:g}" for t, row in zip(text, x, strict=True)],
            "flags": x > 0,
        }
