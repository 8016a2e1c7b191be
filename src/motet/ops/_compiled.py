"""Distances and kernels compiled with JAX, where it is installed: the loops over pairs are fused, and use all cores.

A program is compiled for a metric and shapes; vectors and matrices are filled up to a few sizes first, so that there are few. The
newest `MOST_PROGRAMS` are kept. No setting of JAX is changed: float64 is allowed for the call alone.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from motet.batch import Array
from motet.locks import new_lock
from motet.ops._metrics import Metric
from motet.ops._near import NEAR
from motet.ops._scaling import least_limit
from motet.ops._stacks import filled_up

MOST_PROGRAMS = 64
FROM_DIFFERENCES = 1 << 15
"""Metrics by differences are compiled for matrices with so many of them; for fewer, starting a program takes longer."""
FROM_PAIRS = 1 << 16
"""Metrics by products are compiled for matrices with so many pairs; below, numpy's products of small matrices are faster."""


@cache
def installed() -> bool:
    """Whether there is JAX."""
    return find_spec("jax") is not None and find_spec("jaxlib") is not None


_without_threads: set[int] = set()
"""This process, where it was forked from one that had JAX: its threads are not here, and a program would wait for them for ever."""


def _forked() -> None:
    if "jax" in sys.modules:
        _without_threads.add(os.getpid())


os.register_at_fork(after_in_child=_forked)


def works() -> bool:
    """Whether programs can be compiled and run in this process."""
    return installed() and not _without_threads


def is_worth_it(metric: Metric, n: int, m: int, d: int) -> bool:
    """Whether matrices of `n` and `m` vectors of `d` values are worked faster by a compiled program."""
    if metric.base in ("sum", "most"):
        return n * m * d >= FROM_DIFFERENCES
    return n * m >= FROM_PAIRS


def compiled_pairs(
    metric: Metric, x: Array, y: Array, same: bool, settings: Mapping[str, float]
) -> tuple[Array, Array | None]:
    """All pairs of vectors of stacks.

    Args:
        metric: what is worked.
        x: shape `[g, n, d]`.
        y: shape `[g, m, d]`.
        same: whether y is x.
        settings: what the metric takes else.

    Returns:
        Shape `[g, n, m]`, and for which vectors of x they must be worked again because others are near, shape `[g, n]`; None
        where that cannot be. The arrays may be such as cannot be written to.
    """
    if len(x) > 1 and metric.base not in ("sum", "most") and is_worth_it(metric, *x.shape[1:2], *y.shape[1:]):
        return _one_by_one(metric, x, y, same, settings)
    import jax

    (g, n, d), m = x.shape, y.shape[1]
    sizes = filled_up(g, 1 << 62, least=1), filled_up(n, 1 << 62), filled_up(m, 1 << 62)
    given = _fill(x, sizes[0], sizes[1]), None if same else _fill(y, sizes[0], sizes[2])
    program = _programs.get((metric, same, sizes, d, x.dtype.name), lambda: _program(jax, metric, same))
    with _precision(jax, x.dtype):
        found, near = program(*given, {name: x.dtype.type(value) for name, value in settings.items()})
        answer = np.asarray(found)[:g, :n, :m]
        return answer, None if near is None else np.asarray(near)[:g, :n]


def _one_by_one(
    metric: Metric, x: Array, y: Array, same: bool, settings: Mapping[str, float]
) -> tuple[Array, Array | None]:
    """A product of large matrices is faster than one of stacks of them."""
    (g, n, _), m = x.shape, y.shape[1]
    answer, near = np.empty((g, n, m), x.dtype), np.zeros((g, n), bool) if metric.base == "squared" else None
    for place in range(g):
        some = slice(place, place + 1)
        found, also = compiled_pairs(metric, x[some], y[some], same, settings)
        answer[place] = found[0]
        if near is not None and also is not None:
            near[place] = also[0]
    return answer, near


def _fill(stack: Array, g: int, n: int) -> Array:
    if stack.shape[:2] == (g, n):
        return stack
    filled = np.full((g, n, stack.shape[2]), np.nan, stack.dtype)
    filled[: len(stack), : stack.shape[1]] = stack
    return filled


def _precision(jax: Any, dtype: np.dtype[Any]) -> AbstractContextManager[Any]:
    if dtype != np.float64:
        return nullcontext()
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)  # type: ignore[no-any-return]
    from jax.experimental import enable_x64  # as older ones have it

    return enable_x64()  # type: ignore[no-any-return]


def _program(jax: Any, metric: Metric, same: bool) -> Callable[..., Any]:
    xp = jax.numpy

    def run(x: Any, y: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
        y = x if same else y
        near = None
        if metric.base in ("sum", "most"):
            found = _differences(jax, metric.base, x, y)
        else:
            is_one = len(x) == 1
            x, y = (
                each[0] if is_one else each for each in (x, y)
            )  # whose product is faster than that of a stack of one
            if metric.unit:
                x, y = _unit(xp, x), _unit(xp, y)
            found = xp.einsum("...nd,...md->...nm", x, y, precision=jax.lax.Precision.HIGHEST)
            if metric.base == "squared":
                found, near = _squared(jax, found, x, y, same, metric.unit)
            found, near = (each[None] if is_one and each is not None else each for each in (found, near))
        return (found if metric.finish is None else metric.finish(xp, found, settings)), near

    return jax.jit(run)  # type: ignore[no-any-return]


def _differences(jax: Any, base: str, x: Any, y: Any) -> Any:
    """Value by value over all pairs, so that these stay in the cache of a core."""
    xp = jax.numpy
    by_value = xp.moveaxis(x, -1, 0), xp.moveaxis(y, -1, 0)

    def add(so_far: Any, values: tuple[Any, Any]) -> tuple[Any, None]:
        away = xp.abs(values[0][:, :, None] - values[1][:, None, :])
        return (so_far + away if base == "sum" else xp.maximum(so_far, away)), None

    nothing = xp.zeros((x.shape[0], x.shape[1], y.shape[1]), x.dtype)
    return jax.lax.scan(add, nothing, by_value)[0]


def _unit(xp: Any, vectors: Any) -> Any:
    """As `motet.ops._near.unit`."""
    largest = xp.abs(vectors).max(axis=-1, keepdims=True)
    vectors = vectors / xp.where((largest == 0) | ~xp.isfinite(largest), 1, largest)
    lengths = xp.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return vectors / xp.where(lengths == 0, 1, lengths)


def _squared(jax: Any, products: Any, x: Any, y: Any, same: bool, unit: bool) -> tuple[Any, Any]:
    """As `motet.ops._near.squared`, but only which vectors have others near them."""
    xp = jax.numpy
    of_x, of_y = (x * x).sum(axis=-1), (y * y).sum(axis=-1)
    is_long = xp.isinf(of_x) | xp.isinf(of_y).any(axis=-1, keepdims=True)
    of_x, of_y = (xp.where(xp.isinf(each), xp.nan, each) for each in (of_x, of_y))
    found = xp.maximum(of_x[..., None] + of_y[..., None, :] - 2 * products, 0)
    diagonal = xp.eye(x.shape[-2], dtype=bool) if same else None
    if diagonal is not None:
        found = xp.where(diagonal, xp.where(xp.isnan(of_x), xp.nan, xp.inf)[..., None], found)
    found = jax.lax.optimization_barrier(found)  # what follows reads it once, instead of working it again
    least = xp.where(xp.isnan(found), xp.inf, found).min(axis=-1)
    most = xp.where(xp.isnan(of_y), 0, of_y).max(axis=-1, keepdims=True)
    near = is_long | (least <= xp.maximum((of_x + most) * NEAR, least_limit(x.dtype)))
    if unit:
        found = xp.where((of_x == 0)[..., None] | (of_y == 0)[..., None, :], 2, found)
    if diagonal is not None:
        found = xp.where(diagonal, (of_x * 0)[..., None], found)
    return found, near


def is_worth_pca(n: int, d: int) -> bool:
    """Whether the components of so many vectors are found faster by a compiled program; of values that are no more than these."""
    return d <= n and n * d * d >= FROM_PRODUCTS and works()


FROM_PRODUCTS = 1 << 23
"""The covariance of so many products is compiled; a smaller one is found as fast with numpy."""


def compiled_principal(vectors: Array, k: int) -> tuple[Array, Array, Array, Array]:
    """The first `k` principal components of vectors `[n, d]` by one program: as `motet.ops._pca.principal`, of one matrix.

    Returns:
        Mean, shape `[d]`; components, `[k, d]`; variances, `[k]`; and the vectors in them, `[n, k]`.
    """
    import jax

    n, d = vectors.shape
    size = filled_up(n, 1 << 62)
    given = vectors
    if size != n:
        given = np.zeros((size, d), vectors.dtype)  # which adds nothing to the products
        given[:n] = vectors
    program = _programs.get(("pca", size, d, k, vectors.dtype.name), lambda: jax.jit(_principal(jax, k)))
    with _precision(jax, vectors.dtype):
        mean, components, variances, transformed = (np.asarray(each) for each in program(given, np.int32(n)))
        return mean, components, variances, transformed[:n]


def _principal(jax: Any, k: int) -> Callable[[Any, Any], tuple[Any, Any, Any, Any]]:
    xp = jax.numpy

    def product(x: Any, y: Any) -> Any:
        return xp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)

    def run(x: Any, n: Any) -> tuple[Any, Any, Any, Any]:
        first = x.sum(axis=0) / n
        centred = xp.where((xp.arange(len(x)) < n)[:, None], x - first, 0)
        rest = centred.sum(axis=0) / n  # what rounding left of the mean
        values, vectors = xp.linalg.eigh(product(centred.T, centred) - n * xp.outer(rest, rest))
        values, found = values[: -k - 1 : -1], vectors[:, : -k - 1 : -1].T
        is_real = values > values[0] * x.shape[1] * xp.finfo(x.dtype).eps
        largest = xp.take_along_axis(found, xp.abs(found).argmax(axis=1)[:, None], axis=1)
        components = xp.where(is_real[:, None], found * xp.sign(largest), 0)
        transformed = product(centred, components.T) - product(components, rest)
        return first + rest, components, xp.maximum(values, 0) / (n - 1), transformed

    return run


class _Programs:
    """What is compiled, by metric and shapes; may be asked by several threads, and each is compiled once."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._kept: OrderedDict[Any, _Once] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
        with self._lock:
            program = self._kept.get(key)
            if program is None:
                program = self._kept[key] = _Once(make())
            self._kept.move_to_end(key)
            if len(self._kept) > MOST_PROGRAMS:
                self._kept.popitem(last=False)
        return program

    def __len__(self) -> int:
        return len(self._kept)


class _Once:
    """A program whose first call, which compiles it, is made alone."""

    def __init__(self, program: Callable[..., Any]) -> None:
        self._program, self._lock, self._is_compiled = program, new_lock(), False

    def __call__(self, *arguments: Any) -> Any:
        if self._is_compiled:
            return self._program(*arguments)
        with self._lock:
            answer = self._program(*arguments)
            self._is_compiled = True
            return answer


_programs = _Programs()
