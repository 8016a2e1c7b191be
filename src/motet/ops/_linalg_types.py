"""What the functions of `motet.ops.linalg` over matrices give for columns of which types, and what they refuse."""

from __future__ import annotations

from typing import Any

from motet.ops._kinds import NUMBERS, exact_float_of, is_any, refuse
from motet.ops._metrics import DISTANCES, KERNELS, Metric
from motet.ops._pairs import checked_backend, checked_metric, refuse_settings
from motet.types import ANY, ColumnType


def _matrix(function: str, kind: ColumnType) -> tuple[int | None, int | None]:
    """The axes of a type of matrices."""
    if kind.dtype not in NUMBERS | {"bool"} or len(kind.shape) != 2 or kind.shape[1] == 0:
        refuse(function, "vectors of numbers, for example float32[?,64]", kind)
    return kind.shape[0], kind.shape[1]


def _pairs_type(function: str, first: ColumnType, second: ColumnType | None) -> ColumnType:
    given = [first] if second is None else [first, second]
    axes = [_matrix(function, kind) for kind in given if kind.dtype != "any"]
    widths = {width for _, width in axes} - {None}
    if len(widths) > 1:
        refuse(function, "vectors of one length", *given)
    return ANY if is_any(*given) else ColumnType(exact_float_of(*given), (axes[0][0], axes[-1][0]))


def distances_type(
    first: ColumnType, second: ColumnType | None = None, metric: str = "euclidean", backend: str = "auto"
) -> ColumnType:
    checked_metric("pairwise_distances", metric, DISTANCES)
    checked_backend("pairwise_distances", backend)
    return _pairs_type("pairwise_distances", first, second)


def kernel_settings(
    metric: str, gamma: float | None, coef0: float | None, degree: float | None
) -> tuple[Metric, dict[str, Any]]:
    """The kernel of that name, and what it takes; what it does not take must not be given."""
    kind = checked_metric("pairwise_kernels", metric, KERNELS)
    refuse_settings("pairwise_kernels", metric, kind, {"gamma": gamma, "coef0": coef0, "degree": degree})
    if gamma is not None and not gamma > 0:
        raise ValueError(f"pairwise_kernels needs gamma above 0, got {gamma}")
    given = {"gamma": gamma, "coef0": 1 if coef0 is None else coef0, "degree": 3 if degree is None else degree}
    return kind, {name: given[name] for name in kind.settings}


def kernels_type(
    first: ColumnType,
    second: ColumnType | None = None,
    metric: str = "rbf",
    gamma: float | None = None,
    coef0: float | None = None,
    degree: float | None = None,
    backend: str = "auto",
) -> ColumnType:
    kernel_settings(metric, gamma, coef0, degree)
    checked_backend("pairwise_kernels", backend)
    return _pairs_type("pairwise_kernels", first, second)


def nearest_type(
    first: ColumnType, second: ColumnType | None = None, k: int = 1, metric: str = "euclidean", backend: str = "auto"
) -> dict[str, ColumnType]:
    checked_metric("nearest_neighbours", metric, DISTANCES)
    checked_backend("nearest_neighbours", backend)
    if k < 1:
        raise ValueError(f"nearest_neighbours needs k of at least 1, got {k}")
    pairs = _pairs_type("nearest_neighbours", first, second)
    if pairs == ANY:
        return {"indices": ANY, "distances": ANY}
    others = None if pairs.shape[1] is None else max(0, pairs.shape[1] - (second is None))
    shape = (pairs.shape[0], None if others is None else min(k, others))
    return {"indices": ColumnType("int64", shape), "distances": ColumnType(pairs.dtype, shape)}


def matmul_type(first: ColumnType, second: ColumnType) -> ColumnType:
    known = [_matrix("matmul", kind) for kind in (first, second) if kind.dtype != "any"]
    if is_any(first, second):
        return ANY
    (rows, inner), (also_inner, columns) = known
    if None not in (inner, also_inner) and inner != also_inner:
        refuse("matmul", "matrices [n, d] and [d, m]", first, second)
    return ColumnType(exact_float_of(first, second), (rows, columns))


def pca_type(vectors: ColumnType, components: int = 0) -> dict[str, ColumnType]:
    if components < 1:
        raise ValueError(f"pca needs components of at least 1, got {components}")
    if is_any(vectors):
        return dict.fromkeys(("transformed", "components", "mean", "variances"), ANY)
    count, width = _matrix("pca", vectors)
    if components > min(each for each in (count, width, components) if each is not None):
        raise ValueError(f"pca with components={components} needs as many vectors and values, got {vectors}")
    shapes = {"transformed": (count, components), "components": (components, width), "mean": (width,)}
    dtype = exact_float_of(vectors)
    return {name: ColumnType(dtype, shape) for name, shape in shapes.items()} | {
        "variances": ColumnType(dtype, (components,))
    }


def transform_type(vectors: ColumnType, mean: ColumnType, components: ColumnType) -> ColumnType:
    if is_any(vectors, mean, components):
        return ANY
    _, width = _matrix("pca_transform", vectors)
    count, also_width = _matrix("pca_transform", components)
    widths = {width, also_width, *mean.shape} - {None}
    if len(mean.shape) != 1 or len(widths) > 1:
        refuse("pca_transform", "vectors [n, d], a mean [d] and components [k, d]", vectors, mean, components)
    return ColumnType(exact_float_of(vectors, mean, components), (vectors.shape[0], count))
