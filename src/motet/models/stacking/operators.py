"""Operators over rows of many models at once: rows of one model stand together, and each model has weights of its own.

A value is either rows, `[rows, ...]`, or a weight of every model, `[models, ...]`. Products are one call a model; all else is one
call for all rows, with the weights of each row's model beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from motet.batch import Array, Indices
from motet.models.stacking.program import Operator, Program, Unstackable, input_value

__all__ = ["OPERATORS", "Groups", "Value", "check_program"]

ONE_THREAD_MULTIPLICATIONS, LEAST_ROWS = 1 << 18, 32
"""Up to so many multiplications OpenBLAS does a product in the thread that asks for it, so products are made of parts of this size,
though not of fewer rows. Beyond it threads of its own take part, which on cores that others use, too, wait for each other: the
200 small networks of benchmarks/stacked.py took two to four times as long."""
FEW_ROWS: Final = 2
"""With fewer rows a model, the weights are copied for each row, which is quicker than one call a model."""
FEW_BYTES: Final = 1 << 23
"""Most memory that these copies take."""


class Value(NamedTuple):
    """Rows, or the weights of every model.

    Attributes:
        array: `[rows, ...]` or `[models, ...]`.
        is_weight: whether it is the latter.
    """

    array: Array
    is_weight: bool = False


class Groups:
    """Which rows are whose: those of one model stand together.

    Args:
        models: the place of each model that has rows.
        counts: how many rows each of them has.
    """

    def __init__(self, models: Indices, counts: Indices) -> None:
        self.models, self.counts = models, counts
        self.rows = int(counts.sum())

    @cached_property
    def spans(self) -> list[tuple[int, int, int]]:
        """Of each model its place, its first row, and the row behind its last one."""
        ends = np.cumsum(self.counts)
        return list(zip(self.models.tolist(), (ends - self.counts).tolist(), ends.tolist(), strict=True))

    @cached_property
    def each(self) -> Indices:
        """The place of each row's model."""
        return np.repeat(self.models, self.counts)

    def beside(self, value: Value) -> Array:
        """A value with one entry a row: weights are those of its model, as long as a row's last axis."""
        if not value.is_weight:
            return value.array
        flat = value.array.reshape(len(value.array), -1)
        return np.repeat(flat[self.models], self.counts, axis=0)


Play: TypeAlias = Callable[[Operator, list[Value], Groups], Array]


def _product(x: Array, weights: Array, groups: Groups) -> Array:
    """`[rows, features]` times each row's own `[features, columns]`."""
    if groups.rows < FEW_ROWS * len(groups.models) and groups.rows * weights[0].nbytes <= FEW_BYTES:
        found: Array = np.matmul(x[:, None, :], weights[groups.each])[:, 0]
        return found
    answer = np.empty((groups.rows, weights.shape[2]), np.result_type(x, weights))
    matmul, step = np.matmul, max(LEAST_ROWS, ONE_THREAD_MULTIPLICATIONS // max(1, weights[0].size))
    for model, first, end in groups.spans:
        for low in range(first, end, step):
            high = min(low + step, end)
            matmul(x[low:high], weights[model], out=answer[low:high])
    return answer


def _matmul(operator: Operator, values: list[Value], groups: Groups) -> Array:
    return _product(values[0].array, values[1].array, groups)


def _gemm(operator: Operator, values: list[Value], groups: Groups) -> Array:
    """Its factors and the turning of its weights were applied to the weights when they were read."""
    found = _product(values[0].array, values[1].array, groups)
    return found + groups.beside(values[2]) if len(values) > 2 else found


def _pairwise(function: Callable[[Array, Array], Array]) -> Play:
    def play(operator: Operator, values: list[Value], groups: Groups) -> Array:
        one, other = (groups.beside(value) for value in values)
        if one.ndim == 1 and other.ndim == 2:  # a weight of one value beside rows of one value
            other = other[:, 0]
        elif other.ndim == 1 and one.ndim == 2:
            one = one[:, 0]
        return function(one, other)

    return play


def _single(function: Callable[[Array], Array]) -> Play:
    return lambda operator, values, groups: function(values[0].array)


def _relu(x: Array) -> Array:
    found: Array = np.maximum(x, x.dtype.type(0))
    return found


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softmax(x: Array) -> Array:
    powers: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def _leaky_relu(operator: Operator, values: list[Value], groups: Groups) -> Array:
    x = values[0].array
    found: Array = np.where(x < 0, x * x.dtype.type(operator.attribute("alpha", 0.01)), x)
    return found


def _cast(operator: Operator, values: list[Value], groups: Groups) -> Array:
    return values[0].array.astype(str(operator.attribute("to", "float32")), copy=False)


def _argmax(operator: Operator, values: list[Value], groups: Groups) -> Array:
    found: Array = np.argmax(values[0].array, axis=-1)
    return found[:, None] if operator.attribute("keepdims", 1) else found


def _take(operator: Operator, values: list[Value], groups: Groups) -> Array:
    """The entry of the table of each row's model."""
    found: Array = values[1].array[groups.each, values[0].array]
    return found


def _columns(operator: Operator, values: list[Value], groups: Groups) -> Array:
    return np.stack([value.array for value in values], axis=-1)


def _concat(operator: Operator, values: list[Value], groups: Groups) -> Array:
    return np.concatenate([value.array for value in values], axis=-1)


def _same(x: Array) -> Array:
    return x


def _first(x: Array) -> Array:
    return x[:, 0]


def _single_value(x: Array) -> Array:
    if x.shape[1:] != (1,):
        raise ValueError(f"rows of one value are wanted; they have the shape {x.shape[1:]}")
    return x


def _shares(x: Array) -> Array:
    total = np.abs(x).sum(axis=-1, keepdims=True)
    return x / np.where(total == 0, 1, total)


def _positive(x: Array) -> Array:
    found: Array = (x[:, 0] > 0).astype(np.int64)
    return found


def _rows(x: Array) -> Array:
    return x.reshape(len(x), -1)


_UNARY: Final[Mapping[str, Callable[[Array], Array]]] = {
    "Relu": _relu, "Sigmoid": _sigmoid, "Tanh": np.tanh, "Softmax": _softmax, "Identity": _same, "Dropout": _same,
    "Exp": np.exp, "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Flatten": _rows,
    "First": _first, "Single": _single_value, "Shares": _shares, "IsPositive": _positive,
}  # fmt: skip
_BINARY: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide,
}  # fmt: skip
OPERATORS: Final[Mapping[str, Play]] = {
    **{name: _single(function) for name, function in _UNARY.items()},
    **{name: _pairwise(function) for name, function in _BINARY.items()},
    "MatMul": _matmul, "Gemm": _gemm, "LeakyRelu": _leaky_relu, "Cast": _cast, "ArgMax": _argmax, "Take": _take,
    "Concat": _concat, "Columns": _columns,
}  # fmt: skip
"""What plays an operator, by its name. Some are ours: `Take` looks a place up in a table, `First` makes single values of rows of
one, `Single` takes rows of one value alone, `Columns` puts single values side by side, `Shares` divides by the sum, and `IsPositive`
is 1 for rows whose first value is above 0, else 0."""
_SETTINGS: Final[Mapping[str, frozenset[str]]] = {
    "LeakyRelu": frozenset({"alpha"}), "Softmax": frozenset({"axis"}), "Cast": frozenset({"to"}), "Flatten": frozenset({"axis"}),
    "ArgMax": frozenset({"axis", "keepdims"}), "Concat": frozenset({"axis"}), "Dropout": frozenset({"ratio", "seed"}),
}  # fmt: skip
_ALONG: Final = ("Softmax", "ArgMax", "Concat", "Flatten")
_AXES: Final = {"Softmax": -1, "ArgMax": 0, "Concat": 0, "Flatten": 1}
_RANKS: Final = {"First": (2, 1), "IsPositive": (2, 1), "Single": (2, 2), "Columns": (1, 2), "Shares": (2, 2)}
"""How many axes the rows have that these take, and those that they give."""
_FLOATS: Final = ("float32", "float64")


def check_program(program: Program) -> None:
    """Follow the number of axes of rows through a program, and see that every operator can be played for many models.

    Raises:
        Unstackable: when one cannot.
    """
    ranks = {}
    for name, (dtype, axes) in program.inputs.items():
        if dtype not in _FLOATS:
            raise Unstackable(f"takes {name} as {dtype}")
        ranks[input_value(name)] = axes
    for operator in program.operators:
        ranks[operator.output] = _rank(operator, ranks, program.weights)
    for name, value in program.outputs.items():
        if value not in ranks:
            raise Unstackable(f"gives a weight as {name}")


def _rank(operator: Operator, ranks: Mapping[str, int], weights: Mapping[str, Array]) -> int:
    """How many axes an operator's rows have.

    Raises:
        Unstackable: when it cannot be played for many models.
    """
    name = operator.name
    if name not in OPERATORS:
        raise Unstackable(f"has the operator {name}")
    if unknown := dict(operator.attributes).keys() - _SETTINGS.get(name, frozenset()):
        raise Unstackable(f"has a {name} with {min(unknown)}")
    with_rows = [each in ranks for each in operator.inputs]
    rank = ranks.get(operator.inputs[0], 0) if operator.inputs else 0
    unusual = Unstackable(f"has a {name} of another form than that of layers")
    if name in ("MatMul", "Gemm", "Take"):
        wanted = 1 if name == "Take" else 2
        if (
            rank != wanted
            or with_rows[1:] != [False] * (len(with_rows) - 1)
            or weights[operator.inputs[1]].ndim != wanted
        ):
            raise unusual
        if name == "Gemm" and not all(_fits(weights[each], rank) for each in operator.inputs[2:]):
            raise unusual
        return rank
    if name in _BINARY:
        return _rank_of_two(operator, ranks, weights, unusual)
    if not all(with_rows) or not with_rows or any(ranks[each] != rank for each in operator.inputs):
        raise unusual
    if name in _ALONG and (rank != 2 or operator.attribute("axis", _AXES[name]) not in (1, -1)):
        raise unusual
    if name in _RANKS:
        wanted, given = _RANKS[name]
        if rank != wanted:
            raise unusual
        return given
    return rank if name != "ArgMax" or operator.attribute("keepdims", 1) else 1


def _rank_of_two(
    operator: Operator, ranks: Mapping[str, int], weights: Mapping[str, Array], unusual: Unstackable
) -> int:
    known = [ranks[each] for each in operator.inputs if each in ranks]
    others = [weights[each] for each in operator.inputs if each not in ranks]
    if not known or len(set(known)) > 1 or known[0] > 2 or not all(_fits(each, known[0]) for each in others):
        raise unusual
    return known[0]


def _fits(weight: Array, rank: int) -> bool:
    """Whether a weight is the same for every row: it has one row where it has as many axes as rows have."""
    return weight.ndim < rank or (weight.ndim == rank and weight.shape[0] == 1)
