"""Functions over scores: probabilities, votes, distances, one row of `n` numbers for each row.

`softmax`, `sigmoid` and `normalise` make probabilities; `top1`, `topk`, `argmax`, `threshold` and `label` decide;
`entropy` and `margin` say how sure a row is. All look along the last axis. Results are float64 where the input is,
else float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from motet.batch import Array, Ragged, objects
from motet.errors import InputError
from motet.ops._arrays import Rows, elementwise, floats, short_and_many, sum_first, sum_last
from motet.ops._kinds import INTEGERS, NUMBERS, float_of, is_any, last_axis, refuse
from motet.types import ANY, ColumnType, keeps_labels, returns, takes_labels

__all__ = [
    "Top1",
    "TopK",
    "argmax",
    "entropy",
    "label",
    "margin",
    "normalise",
    "sigmoid",
    "softmax",
    "temper",
    "threshold",
    "top1",
    "topk",
]


class Top1(NamedTuple):
    """The best of each row.

    Attributes:
        index: its position on the last axis, int64.
        score: its score.
    """

    index: Array  # type: ignore[assignment]  # hides tuple.index, which no one asks of columns
    score: Array


class TopK(NamedTuple):
    """The best `k` of each row, best first.

    Attributes:
        indices: their positions on the last axis, int64, shape `[rows, ..., k]`.
        scores: their scores, same shape.
    """

    indices: Array
    scores: Array


def _same(function: str, scores: ColumnType) -> ColumnType:
    last_axis(function, scores)
    return ANY if is_any(scores) else ColumnType(float_of(scores), scores.shape)


def _reduced(function: str, scores: ColumnType, least: int = 1) -> ColumnType:
    last_axis(function, scores, least)
    return ANY if is_any(scores) else ColumnType(float_of(scores), scores.shape[:-1])


def _indices(function: str, scores: ColumnType) -> ColumnType:
    last_axis(function, scores)
    return ANY if is_any(scores) else ColumnType("int64", scores.shape[:-1])


@keeps_labels
@returns(lambda scores, temperature=1.0: _same("softmax", scores))
def softmax(scores: Rows, *, temperature: float = 1.0) -> Array:
    """Probabilities from logits: `exp(x / t) / sum(exp(x / t))` along the last axis, shifted by the largest `x`.

    Args:
        scores: logits, shape `[rows, ..., n]`.
        temperature: `t`, above 0; larger is flatter.

    Returns:
        The same shape. A row with NaN, plus infinity, or nothing above minus infinity is NaN.

    >>> softmax(np.array([[0.0, 0.0]], dtype=np.float32)).tolist()
    [[0.5, 0.5]]
    """
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, got {temperature}", where="softmax")
    values = floats(scores, "softmax")
    with np.errstate(invalid="ignore", over="ignore"):
        if temperature != 1:
            values = values / values.dtype.type(temperature)
        # Both give the same bits.
        return _softmax_by_class(values) if short_and_many(values) else _softmax_by_row(values)


def _softmax_by_class(values: Array) -> Array:
    by_class = np.array(values.reshape(-1, values.shape[-1]).T, order="C")
    by_class -= by_class.max(axis=0)
    np.exp(by_class, out=by_class)
    by_class /= sum_first(by_class)
    return np.asarray(np.ascontiguousarray(by_class.T).reshape(values.shape))


def _softmax_by_row(values: Array) -> Array:
    shifted: Array = values - values.max(axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= sum_last(shifted)[..., None]
    return shifted


@keeps_labels
@returns(lambda scores, temperature=1.0: _same("temper", scores))
def temper(scores: Rows, *, temperature: float) -> Array:
    """Probabilities that are flatter, or sharper: `p ** (1 / t) / sum(p ** (1 / t))` along the last axis; what is largest stays so.

    For probabilities of a softmax that is the softmax at a temperature `t` times its own.

    Args:
        scores: probabilities, shape `[rows, ..., n]`, at least 0.
        temperature: `t`, above 0; above 1 they become flatter.

    Returns:
        The same shape. A row with NaN, or less than 0, or nothing above 0 is NaN.

    >>> temper(np.array([[0.2, 0.8]]), temperature=2.0).round(4).tolist()
    [[0.3333, 0.6667]]
    """
    values = floats(scores, "temper")
    with np.errstate(invalid="ignore", divide="ignore"):
        return softmax(np.log(values), temperature=temperature)


def _sigmoid_type(scores: ColumnType) -> ColumnType:
    if scores.dtype not in NUMBERS | {"any"}:
        refuse("sigmoid", "numbers", scores)
    return ANY if is_any(scores) else scores.with_dtype(float_of(scores))


@keeps_labels
@returns(_sigmoid_type)
def sigmoid(scores: Rows) -> Array | Ragged:
    """Probabilities from logits, one by one: `1 / (1 + exp(-x))`.

    Args:
        scores: logits, any shape.

    >>> sigmoid(np.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """
    return elementwise(scores, _sigmoid)


def _sigmoid(values: Array) -> Array:
    with np.errstate(over="ignore"):
        result = np.negative(values, dtype=np.float64 if values.dtype == np.float64 else np.float32)
        np.exp(result, out=result)
        result += 1
        return np.asarray(np.divide(result.dtype.type(1), result))


@returns(lambda scores: _indices("argmax", scores))
def argmax(scores: Rows) -> Array:
    """The position of the largest score, int64, the lowest of equals; NaN counts as largest.

    >>> argmax(np.array([[0.1, 0.7, 0.7]])).tolist()
    [1]
    """
    return top1(scores).index


@returns(lambda scores: {"index": _indices("top1", scores), "score": _reduced("top1", scores)})
def top1(scores: Rows) -> Top1:
    """The largest score and its position, the lowest of equals; NaN counts as largest, so that it shows.

    Args:
        scores: shape `[rows, ..., n]`.

    Returns:
        `index`, int64, and `score`, both of shape `[rows, ...]`.

    >>> best = top1(np.array([[0.1, 0.7, 0.2]], dtype=np.float32))
    >>> best.index.tolist(), best.score.dtype.name
    ([1], 'float32')
    """
    values = floats(scores, "top1")
    index = values.argmax(axis=-1)
    first = np.arange(0, values.size, values.shape[-1])
    first += index.reshape(-1)
    return Top1(index, values.reshape(-1).take(first).reshape(index.shape))


def _topk_type(scores: ColumnType, k: int = 5) -> dict[str, ColumnType]:
    length = last_axis("topk", scores)
    if is_any(scores):
        return {"indices": ANY, "scores": ANY}
    if not 1 <= k <= length:
        raise ValueError(f"topk with k={k} needs 1 <= k <= the number of scores, got {scores}")
    shape = (*scores.shape[:-1], k)
    return {"indices": ColumnType("int64", shape), "scores": ColumnType(float_of(scores), shape)}


@returns(_topk_type)
def topk(scores: Rows, *, k: int = 5) -> TopK:
    """The `k` largest scores and their positions, best first, the lowest of equals first; NaN counts as largest.

    Args:
        scores: shape `[rows, ..., n]`.
        k: how many, from 1 to `n`.

    >>> best = topk(np.array([[0.2, 0.5, 0.2, 0.1]]), k=3)
    >>> best.indices.tolist(), best.scores.tolist()
    ([[1, 0, 2]], [[0.5, 0.2, 0.2]])
    """
    values = floats(scores, "topk")
    length = values.shape[-1]
    if not 1 <= k <= length:
        raise InputError(f"k must be from 1 to the number of scores, {length}, got {k}", where="topk")
    # A stable sort of the reversed row, read backwards: descending, and equals in their own order.
    rising = np.argsort(values[..., ::-1], axis=-1, kind="stable")
    indices = (length - 1) - rising[..., : -k - 1 : -1]
    return TopK(indices, np.take_along_axis(values, indices, axis=-1))


def _threshold_type(scores: ColumnType, at: float = 0.5) -> ColumnType:
    if scores.dtype not in NUMBERS | {"any"}:
        refuse("threshold", "numbers", scores)
    return ANY if is_any(scores) else scores.with_dtype("bool")


@keeps_labels
@returns(_threshold_type)
def threshold(scores: Rows, *, at: float = 0.5) -> Array | Ragged:
    """Whether scores are at least `at`, compared in the scores' own precision; NaN is not.

    >>> threshold(np.array([0.2, 0.5, 0.9])).tolist()
    [False, True, True]
    """
    return elementwise(scores, lambda values: np.asarray(values >= at))


def _label_type(index: ColumnType, scores: ColumnType | None = None, *, labels: Sequence[str] = ()) -> ColumnType:
    if index.dtype not in INTEGERS | {"any"}:
        refuse("label", "whole numbers, positions in labels", index)
    if scores is not None and not labels:
        what = f"label needs labels, and the classes of its second input, {scores}, are not known"
        raise ValueError(f"{what}: declare labels for its model, or give them here")
    if not labels or isinstance(labels, str) or not all(isinstance(name, str) for name in labels):
        raise ValueError(f"label needs labels, a list of strings, got {labels!r}")
    return ANY if is_any(index) else index.with_dtype("string")


@takes_labels("labels")
@returns(_label_type)
def label(index: Rows, scores: Rows | None = None, *, labels: Sequence[str] = ()) -> Array | Ragged:
    """Names for positions.

    Args:
        index: positions from 0, whole numbers, any shape.
        scores: what the positions are of, an answer with a score for each class, whose names a graph takes in place of
            `labels`; its values are not looked at.
        labels: the names, in order.

    Raises:
        InputError: when a position is outside the list.

    >>> label(np.array([1, 0]), labels=["cat", "dog"]).tolist()
    ['dog', 'cat']
    """
    table = _table(tuple(labels))

    def names(positions: Array) -> Array:
        outside = (positions < 0) | (positions >= len(table))
        if outside.any():
            raise InputError(
                f"position {positions[outside][0]} is outside the {len(table)} labels",
                where="label",
                hint="give one label for each class, in the model's order",
            )
        return np.asarray(table[positions])

    return elementwise(index, names)


@lru_cache(maxsize=256)
def _table(labels: tuple[str, ...]) -> Array:
    """Labels by position; nobody writes into it."""
    table = objects(labels)
    table.flags.writeable = False
    return table


@returns(lambda scores: _reduced("entropy", scores))
def entropy(scores: Rows) -> Array:
    """How unsure probabilities are: `-sum(p * ln p)` in nats, where `0 * ln 0` is 0; at most `ln n`.

    Args:
        scores: probabilities, shape `[rows, ..., n]`; a row with a negative one is NaN.

    >>> entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).round(4).tolist()
    [0.0, 0.6931]
    """
    values = floats(scores, "entropy")
    with np.errstate(invalid="ignore"):
        # 0 - x and not -x: a sure row is 0, not minus 0.
        return np.asarray(0 - sum_last(values * np.log(np.where(values == 0, values.dtype.type(1), values))))


@returns(lambda scores: _reduced("margin", scores, 2))
def margin(scores: Rows) -> Array:
    """How far the largest score is above the second largest.

    Args:
        scores: shape `[rows, ..., n]`, `n` at least 2.

    >>> margin(np.array([[0.125, 0.625, 0.25]])).tolist()
    [0.375]
    """
    values = floats(scores, "margin")
    length = values.shape[-1]
    if length < 2:
        raise InputError(f"a margin needs at least 2 scores a row, got {length}", where="margin")
    best = np.partition(values, length - 2, axis=-1)
    return np.asarray(best[..., -1] - best[..., -2])


@keeps_labels
@returns(lambda scores: _same("normalise", scores))
def normalise(scores: Rows) -> Array:
    """Divide each row by its sum, so that it sums to 1.

    Args:
        scores: shape `[rows, ..., n]`.

    Raises:
        InputError: when a row sums to 0 or to no finite number.

    >>> normalise(np.array([[1, 3]])).tolist()
    [[0.25, 0.75]]
    """
    values = floats(scores, "normalise")
    total = sum_last(values)
    useless = (total == 0) | ~np.isfinite(total)
    if useless.any():
        raise InputError(f"a row sums to {total[useless][0]}, so it cannot be divided by its sum", where="normalise")
    return np.asarray(values / total[..., None])
