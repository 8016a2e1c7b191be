"""Functions that tests' graphs name."""

from collections import namedtuple
from typing import Any

import numpy as np

from motet.batch import objects
from motet.types import returns

Top = namedtuple("Top", "index score")


@returns(lambda x, by=1.0: x)
def scale(x: Any, by: float = 1.0) -> Any:
    return x * x.dtype.type(by)


@returns(lambda x, y: x)
def add(x: Any, y: Any) -> Any:
    return x + y


@returns({"index": "int64", "score": "float32"})
def top(scores: Any) -> Any:
    index = scores.argmax(axis=1)
    return Top(index, scores[np.arange(len(scores)), index])


def undeclared(x: Any) -> Any:
    return x * 2


def undeclared_dict(x: Any) -> Any:
    return {"low": x, "high": x + 1}


@returns("float32")
def refuse_negative(x: Any) -> Any:
    if (x < 0).any():
        raise ValueError(f"negative: {x[x < 0][0]:g}")
    return x


@returns("int64")
def sizes(value: Any) -> Any:
    return [len(each) for each in value]


@returns("float32")
def too_few(x: Any) -> Any:
    return x[:-1]


@returns("float32[2]")
def says_two(x: Any) -> Any:
    return x


@returns("float32")
def in_place(x: Any) -> Any:
    x *= 2
    return x


def single(x: Any) -> Any:
    return 7


def one_length(value: Any) -> Any:
    return len(value)


def lengths(rows: Any) -> Any:
    assert isinstance(rows, list), type(rows)
    return np.array([len(row) for row in rows], dtype=np.int64)


@returns("float32[?]")
def repeat(counts: Any) -> Any:
    return [np.arange(count, dtype=np.float32) for count in counts]


@returns("float32")
def mean_of_rows(rows: Any) -> Any:
    return np.array([row.mean() if row.size else 0 for row in rows], dtype=np.float32)


# shards


def digits(numbers: Any) -> Any:
    """A row's decimal digits as pieces; -1 has none."""
    pieces = [[int(digit) for digit in str(number)] if number >= 0 else [] for number in numbers.tolist()]
    flat = [digit for row in pieces for digit in row]
    return np.array(flat, dtype=np.float32), np.array([len(row) for row in pieces])


@returns("float32")
def piece_type(x: Any) -> Any:
    return x


digits_typed = returns("float32")(lambda numbers: digits(numbers))
digits_typed.__qualname__ = digits_typed.__name__ = "digits_typed"


@returns("float64")
def total(values: Any, counts: Any) -> Any:
    ends = np.concatenate([[0], np.cumsum(counts)])
    return np.array([values[ends[i] : ends[i + 1]].astype(np.float64).sum() for i in range(len(counts))])


def bad_counts(numbers: Any) -> Any:
    return np.zeros(3, dtype=np.float32), np.zeros(len(numbers) + 1, dtype=np.int64)


def not_a_pair(numbers: Any) -> Any:
    return numbers


# combiners


@returns("float32")
def smallest(*columns: Any) -> Any:
    return np.min(np.stack(columns), axis=0)


def short_combiner(*columns: Any) -> Any:
    return columns[0][:-1]


NUMBER = 3


@returns("float32")
def keywords(x: Any, **given: Any) -> Any:
    return x


@returns({"low": "float32", "high": "float32"})
def top_of_scalar(x: Any) -> Any:
    return {"low": x, "high": x + 1}


@returns("float32")
def one_piece(x: Any) -> Any:
    return x, np.ones(len(x), dtype=np.int64)


@returns({"x": "float32[4]"})
def both_signs(x: Any) -> Any:
    return {"x": np.stack([x, -x], axis=1).reshape(-1, 4)}, np.full(len(x), 2)


@returns("float64[3]")
def mean_of_pieces(scores: Any, counts: Any) -> Any:
    return scores.reshape(-1, 2, 3).mean(axis=1, dtype=np.float64)


@returns("float32[4]")
def halve(x: Any) -> Any:
    return x / np.float32(2)


@returns(lambda x: x.with_dtype("float32"))
def to_float32(x: Any) -> Any:
    return x.astype(np.float32)


@returns("float32")
def refuse_two(x: Any) -> Any:
    if (x == 2).any():
        raise ValueError("two")
    return x


def minus(first: Any, second: Any) -> Any:
    return first - second


def double(x: Any) -> Any:
    return x * 2


def hundreds(a: Any, b: Any, c: Any) -> Any:
    return a + 10 * b + 100 * c


def share(a: Any, b: Any) -> Any:
    return np.stack([a, b], axis=1) / (a + b)[:, None]


def tell(x: Any, value: Any) -> Any:
    return objects([str(value)] * len(x))
