"""All pairs of vectors, row by row: stacks through numpy or compiled programs, and near vectors worked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from motet.batch import Array, Indices, Ragged
from motet.errors import InputError
from motet.ops import _compiled
from motet.ops._arrays import Rows
from motet.ops._flat_pairs import flat_pairs
from motet.ops._metrics import Metric, root
from motet.ops._near import (
    Near,
    crowded,
    finite_lengths,
    lengths_of_pairs,
    near_limits,
    pairs_below,
    squared,
    squared_again,
    squared_of_pairs,
    unit,
)
from motet.ops._scaling import are_far
from motet.ops._stacks import Matrices, Results, StackedRows, matrices, stacks

BACKENDS = ("auto", "numpy", "jax")
_BLOCK = 1 << 17
"""Pairs of larger matrices are worked in blocks of rows of so many, which stay in the cache of a core."""
_DIFFERENCES = 1 << 16
"""How many differences numpy holds at once."""


def checked_backend(function: str, backend: str) -> str:
    """`auto`, `numpy` or `jax`, if that is installed."""
    if backend not in BACKENDS:
        raise ValueError(f"{function} knows no backend {backend!r}; known: {', '.join(BACKENDS)}")
    if backend == "jax" and not _compiled.works():
        if _compiled.installed():
            raise ValueError(
                f"{function} has backend: jax, in a process forked from one that had imported it; say auto"
            )
        raise ValueError(f"{function} has backend: jax, which is not installed; install it, or say auto")
    return backend


def all_pairs(
    function: str, metric: Metric, columns: tuple[Rows, ...], settings: Mapping[str, float], backend: str
) -> Array | Ragged:
    """Each vector of a row's first matrix with each of its second, or of the first again where there is one column.

    Args:
        function: for messages.
        metric: what is worked of a pair.
        columns: one or two, of matrices `[n, d]` and `[m, d]`.
        settings: what the metric takes else; `gamma` of None is `1 / d`.
        backend: `auto`, `numpy` or `jax`.

    Returns:
        Shape `[rows, n, m]`; a `Ragged` where a column is none of one shape.
    """
    given = matrices(function, *columns)
    first, second = given[0], given[-1]
    shapes = np.array([(len(x), len(y)) for x, y in zip(first, second, strict=True)], np.int64).reshape(-1, 2)
    dense = all(isinstance(column, np.ndarray) for column in given)
    results = Results(shapes, dtype_of(given), dense)
    rest: Sequence[int] | None = None
    if not dense and metric.base == "squared" and backend != "jax":
        rest = _without_padding(metric, given, shapes, results, settings)
    for stack in stacks(*given, rows=rest):
        results.put(stack.rows, stack_pairs(metric, stack, settings, backend))
    return results.column((first.shape[1], second.shape[1]) if dense else (0, 0))  # type: ignore[union-attr]


def _without_padding(
    metric: Metric, given: tuple[Matrices, ...], shapes: Indices, results: Results, settings: Mapping[str, Any]
) -> list[int]:
    """Work small matrices one behind the other; what is left are the rows that must be worked as stacks."""
    pairs = shapes.prod(axis=1)
    small = np.flatnonzero((pairs > 0) & (pairs < _compiled.FROM_PAIRS))
    again = []
    with np.errstate(all="ignore"):
        for found in flat_pairs(metric, given[0], given[-1], small, len(given) == 1, settings):
            results.put_flat(found.rows, found.values)
            again.append(found.again)
    return np.concatenate([*again, np.flatnonzero(pairs >= _compiled.FROM_PAIRS)]).tolist()  # type: ignore[no-any-return]


def dtype_of(given: tuple[Matrices, ...]) -> np.dtype[Any]:
    """The precision of columns of matrices; float32 where there are none."""
    for column in given:
        if isinstance(column, np.ndarray):
            return column.dtype
        if len(column):
            return column[0].dtype
    return np.dtype(np.float32)


def stack_pairs(metric: Metric, stack: StackedRows, settings: Mapping[str, Any], backend: str) -> Array:
    """All pairs of a stack, shape `[g, n, m]`; what is said of padding means nothing."""
    blocks = list(stack_blocks(metric, stack, settings, backend, _BLOCK))
    return blocks[0][1] if len(blocks) == 1 else np.concatenate([block for _, block in blocks], axis=1)


def stack_blocks(
    metric: Metric, stack: StackedRows, settings: Mapping[str, Any], backend: str, most: int
) -> Iterator[tuple[int, Array]]:
    """All pairs of a stack, by blocks of the first matrices' vectors.

    Args:
        metric: what is worked of a pair.
        stack: of one column or two.
        settings: what the metric takes else.
        backend: `auto`, `numpy` or `jax`.
        most: how many pairs of a matrix a block has, where a vector has not more.

    Yields:
        The first vector of the block, and its pairs, shape `[g, n of the block, m]`.
    """
    x, y = stack.arrays[0], stack.arrays[-1]
    same = len(stack.arrays) == 1
    (_, n, d), m = x.shape, y.shape[1]
    by = {name: 1 / d if value is None else value for name, value in settings.items()}
    compiled = backend == "jax" or (backend == "auto" and _compiled.works() and _compiled.is_worth_it(metric, n, m, d))
    if compiled and n * m <= _MOST_COMPILED:
        yield 0, _compiled_with_near(metric, x, y, same, by)
        return
    step = max(1, most // m)
    with np.errstate(all="ignore"):  # of rows that are not finite, of padding, and of what is too large or too small
        for start in range(0, n, step):
            yield start, _block(metric, x[:, start : start + step], y, start if same else None, by)


_MOST_COMPILED = 1 << 26
"""A compiled program holds all pairs at once; of more, numpy holds some."""


def _compiled_with_near(metric: Metric, x: Array, y: Array, same: bool, by: Mapping[str, float]) -> Array:
    answer, near = _compiled.compiled_pairs(metric, x, y, same, by)
    if near is not None and near.any():
        answer = answer.copy() if not answer.flags.writeable else answer
        with np.errstate(all="ignore"):
            found = _near_answers(metric, answer, near, x, y, same, by)
            _again(metric, answer, found, x, y, 0 if same else None, by)
    return answer


def _near_answers(
    metric: Metric, answer: Array, near: Array, x: Array, y: Array, same: bool, by: Mapping[str, float]
) -> Near:
    """Which pairs are near, by what was answered of them and which vectors have others near them, shape `[g, n]`."""
    chosen = np.flatnonzero(near.any(axis=1))
    x, y = (unit(each[chosen]) if metric.unit else each[chosen] for each in (x, y))
    of_x, long_x = finite_lengths(x)
    of_y, long_y = finite_lengths(y)
    limits = near_limits(of_x, of_y) * x.dtype.type(1 + 2.0**-10)  # which makes up for what programs round otherwise
    if metric.finish is not None:
        limits = np.asarray(metric.finish(np, limits, by))
    if metric.falls:
        limits[limits < np.finfo(limits.dtype).tiny] = 0
    of, rows = np.nonzero(near[chosen])
    places, rows, others = pairs_below(answer[chosen], (of, rows), limits, falls=metric.falls)
    apart = rows != others if same else np.ones(len(rows), bool)
    return Near((chosen[places[apart]], rows[apart], others[apart]), chosen[np.union1d(long_x, long_y)])


def _block(metric: Metric, x: Array, y: Array, at: int | None, by: Mapping[str, float]) -> Array:
    """Pairs of some vectors with all others; `at` is the place of the first in the others, where it is one of them."""
    if metric.base != "squared":
        found = _BASES[metric.base](x, y, metric)
        return found if metric.finish is None else np.asarray(metric.finish(np, found, by))
    found, near = squared(x, y, at, metric.unit)
    answer = found if metric.finish is None else np.asarray(metric.finish(np, found, by))
    if near:
        _again(metric, answer, near, x, y, at, by)
    return answer


def _again(
    metric: Metric, answer: Array, near: Near, x: Array, y: Array, at: int | None, by: Mapping[str, float]
) -> None:
    """Put right what is said of near pairs, also of those whose squared distance float64 does not hold."""

    def finished(found: Array, pairs: Callable[..., tuple[Indices, Indices, Indices]]) -> Array:
        if metric.unit or x.dtype != np.float64 or not (far := are_far(found)).any():
            return found if metric.finish is None else np.asarray(metric.finish(np, found, by))
        lengths = lengths_of_pairs(x, y, pairs(*np.nonzero(far)))
        found[far] = lengths * lengths
        found = found if metric.finish is None else np.asarray(metric.finish(np, found, by))
        if metric.finish is root:
            found[far] = lengths
        return found

    many, pairs = crowded(near, y.shape[1])
    places, firsts, seconds = pairs
    answer[pairs] = finished(
        squared_of_pairs(x, y, pairs, metric.unit), lambda far: (places[far], firsts[far], seconds[far])
    )
    for place, some in many:
        rows = np.arange(x.shape[1]) if some is None else some
        again = squared_again(x[place, rows], y[place], None if at is None else rows + at, metric.unit)
        answer[place, rows] = finished(again, partial(_in_matrix, place, rows))


def _in_matrix(place: int, rows: Indices, firsts: Indices, seconds: Indices) -> tuple[Indices, Indices, Indices]:
    """Pairs of some vectors of one matrix, as those of a stack."""
    return np.full(len(firsts), place), rows[firsts], seconds


def _products(x: Array, y: Array, metric: Metric) -> Array:
    x, y = (unit(x), unit(y)) if metric.unit else (x, y)
    return np.asarray(np.matmul(x, np.ascontiguousarray(y.swapaxes(1, 2))))


def _differences(x: Array, y: Array, reduce: Callable[..., Any]) -> Array:
    (g, n, d), m = x.shape, y.shape[1]
    found, step = np.empty((g, n, m), x.dtype), max(1, _DIFFERENCES // (m * d))
    for place in range(g):
        for start in range(0, n, step):
            some = slice(start, start + step)
            away = x[place, some, None] - y[place]
            np.abs(away, out=away)
            reduce(away, axis=-1, out=found[place, some])
    return found


_BASES: Mapping[str, Callable[[Array, Array, Metric], Array]] = {
    "product": _products,
    "sum": lambda x, y, _: _differences(x, y, np.add.reduce),
    "most": lambda x, y, _: _differences(x, y, np.maximum.reduce),
}


def checked_metric(function: str, metric: str, known: Mapping[str, Metric]) -> Metric:
    """The metric of that name.

    Raises:
        ValueError: when there is none; names those that there are.
    """
    if metric not in known:
        raise ValueError(f"{function} knows no metric {metric!r}; known: {', '.join(known)}")
    return known[metric]


def refuse_settings(function: str, metric: str, kind: Metric, given: Mapping[str, Any]) -> None:
    """Refuse what a metric does not take.

    Raises:
        InputError: when one is given.
    """
    for name, value in given.items():
        if value is not None and name not in kind.settings:
            takes = ", ".join(kind.settings) or "nothing else"
            raise InputError(f"the kernel {metric!r} takes {takes}; got {name}={value}", where=function)
