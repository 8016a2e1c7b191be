"""Distances, kernels, neighbours and principal components of the vectors of a row, beside scikit-learn and float64."""

import itertools
import math
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.metrics import pairwise as sk

import motet as mt
from motet.batch import Ragged
from motet.errors import InputError
from motet.ops import _compiled, _flat_pairs, linalg
from motet.types import ColumnType, declared_outputs

rng = np.random.default_rng(3)
BACKENDS = ["numpy", pytest.param("jax", marks=pytest.mark.skipif(not _compiled.installed(), reason="no JAX"))]
AVAILABLE = [each for each in ("numpy", "jax") if each == "numpy" or _compiled.installed()]
DISTANCES = ["euclidean", "sqeuclidean", "cosine", "manhattan", "chebyshev"]
KERNELS: list[tuple[str, dict[str, Any]]] = [
    ("rbf", {}),
    ("rbf", {"gamma": 0.3}),
    ("laplacian", {"gamma": 0.2}),
    ("linear", {}),
    ("polynomial", {"degree": 2, "coef0": 0.5}),
    ("sigmoid", {"gamma": 0.01}),
    ("cosine", {}),
]


def exact(x: Any, y: Any, metric: str) -> Any:
    """Distances by differences, in the widest floats that there are."""
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)
    if metric == "cosine":
        lengths = [np.sqrt((each * each).sum(axis=1, keepdims=True)) for each in (x, y)]
        x, y = (each / np.where(length == 0, 1, length) for each, length in zip((x, y), lengths, strict=True))
    away = x[:, None] - y[None]
    if metric in ("manhattan", "chebyshev"):
        return abs(away).sum(axis=2) if metric == "manhattan" else abs(away).max(axis=2)
    squared = (away * away).sum(axis=2)
    return {"euclidean": np.sqrt(squared), "sqeuclidean": squared, "cosine": squared / 2}[metric]


def groups(*sizes: int, width: int = 6, dtype: Any = np.float32) -> list[Any]:
    return [rng.standard_normal((size, width)).astype(dtype) for size in sizes]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", DISTANCES)
def test_distances_are_scikit_learns(metric: str, backend: str, dtype: Any) -> None:
    if backend == "jax" and dtype == np.float64 and metric not in ("euclidean", "manhattan"):
        return  # takes long to compile, and differs from these in nothing that the precision matters to
    sizes = ((5, 1, 0, 30), (4, 9, 3, 31)) if backend == "numpy" else ((5, 0, 8), (4, 3, 1))  # few to compile
    first, second = (groups(*each, dtype=dtype) for each in sizes)
    found = linalg.pairwise_distances(first, second, metric=metric, backend=backend)
    for x, y, each in zip(first, second, found, strict=True):
        assert each.shape == (len(x), len(y))
        assert each.dtype == dtype
        if len(x):
            right = sk.pairwise_distances(x.astype(float), y.astype(float), metric=metric)
            np.testing.assert_allclose(each, right, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize(("metric", "keywords"), KERNELS)
def test_kernels_are_scikit_learns(metric: str, keywords: Any) -> None:
    first, second = groups(5, 1, 30), groups(4, 9, 31)
    found = linalg.pairwise_kernels(first, second, metric=metric, **keywords)
    alone = linalg.pairwise_kernels(first, metric=metric, **keywords)
    for x, y, each, own in zip(first, second, found, alone, strict=True):
        for got, others in ((each, y), (own, x)):
            right = sk.pairwise_kernels(x.astype(float), others.astype(float), metric=metric, **keywords)
            np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not _compiled.installed(), reason="no JAX")
@pytest.mark.parametrize(("metric", "keywords"), [KERNELS[1], KERNELS[4]])
def test_compiled_kernels_are_scikit_learns(metric: str, keywords: Any) -> None:
    x = groups(7)
    found = linalg.pairwise_kernels(x, metric=metric, backend="jax", **keywords)[0]
    right = sk.pairwise_kernels(x[0].astype(float), metric=metric, **keywords)
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


near_vectors = st.tuples(
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 70),
    st.sampled_from([0.0, 1.0, 100.0, 1e4]),
    st.sampled_from([1.0, 1e-1, 1e-3, 1e-6]),
    st.integers(0, 2**32 - 1),
)


def near(dtype: Any, n: int, m: int, d: int, away: float, apart: float, seed: int) -> tuple[Any, Any]:
    """Vectors around one that is far from the origin, some of them twice, and others anywhere."""
    random = np.random.default_rng(seed)
    middle = random.standard_normal(d) * away
    x, y = (middle + random.standard_normal((each, d)) * apart for each in (n, m))
    x[0] = y[0]
    y[-1] = random.standard_normal(d)
    return x.astype(dtype), y.astype(dtype)


@given(near_vectors, st.sampled_from(["euclidean", "sqeuclidean", "manhattan", "chebyshev"]))
def test_near_vectors_do_not_lose_their_distance(case: Any, metric: str) -> None:
    x, y = near(*case)
    within = {np.float32: 2e-5, np.float64: 1e-10}[case[0]]
    for second in (y, None):
        given_ = ([x],) if second is None else ([x], [second])
        found = linalg.pairwise_distances(*given_, metric=metric, backend="numpy")[0]
        right = exact(x, x if second is None else second, metric)
        np.testing.assert_array_less(abs(found - right), within * right + np.finfo(case[0]).tiny)


@given(near_vectors)
def test_near_directions_do_not_lose_their_angle(case: Any) -> None:
    x, y = near(*case)
    found = linalg.pairwise_distances([x], [y], metric="cosine", backend="numpy")[0]
    right = exact(x, y, "cosine")
    within = {np.float32: 2e-5, np.float64: 1e-10}[case[0]]
    # A direction is known to a rounding of 1 in what is worked, so an angle below that is lost with it.
    assert (abs(found - right) <= within * right + 1e-30 + (1e-15 * np.sqrt(right.astype(float)))).all()


@pytest.mark.skipif(not _compiled.installed(), reason="no JAX")
@settings(max_examples=10)
@given(near_vectors, st.sampled_from(DISTANCES))
def test_compiled_programs_answer_as_numpy_does(case: Any, metric: str) -> None:
    _, n, m, _, away, apart, seed = case
    dtype = np.float32
    x, y = near(dtype, min(n, 8), min(m, 8), 6, away, apart, seed)
    one, other = (
        linalg.pairwise_distances([x, y, x], [y, x, x], metric=metric, backend=backend) for backend in ("numpy", "jax")
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-30)


def test_what_is_not_finite_says_so_and_harms_no_neighbour() -> None:
    x = groups(6)[0]
    x[2, 3], x[4, 0] = np.nan, np.inf
    right = sk.pairwise_distances(x[[0, 1, 3, 5]].astype(float))
    for backend in AVAILABLE:
        found = linalg.pairwise_distances([x], backend=backend)[0]
        assert np.isnan(found[2]).all()
        assert np.isnan(found[:, 2]).all()
        assert np.isnan(found[4, 4])
        np.testing.assert_allclose(found[np.ix_([0, 1, 3, 5], [0, 1, 3, 5])], right, rtol=1e-5)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("size", [1e-30, 1e-20, 3e-22, 1e20, 1e30])
def test_vectors_that_are_tiny_or_huge_keep_their_distance(size: float, metric: str) -> None:
    """Their squares are none that float32 can hold; those of another row stay as they are."""
    x, other = groups(5, 5)
    x = (x * size).astype(np.float32)
    right = exact(x, x, metric).astype(float)
    for backend in AVAILABLE:
        found = linalg.pairwise_distances([x, other], metric=metric, backend=backend)
        np.testing.assert_allclose(found[0], right, rtol=2e-5)
        np.testing.assert_allclose(found[1], exact(other, other, metric).astype(float), rtol=2e-5)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-154, 1e154, 1e200, 1e300])
@pytest.mark.parametrize("sizes", [(5, 5), (40, 7), (1, 2)])
def test_vectors_whose_squares_float64_does_not_hold_keep_their_distance(size: float, sizes: tuple[int, int]) -> None:
    plain, other = (each.astype(float) for each in groups(*sizes))
    x = np.concatenate([plain * size, other, [[np.inf, *other[0, 1:]]]])
    finite = x[:-1]
    right = np.array([[math.dist(one, two) for two in finite] for one in finite])  # which scales by itself
    with np.errstate(over="ignore", under="ignore"):
        squares = right * right
    columns: list[Any] = [[x], [x, other], np.array([x])]
    for backend, given_ in itertools.product(AVAILABLE, columns):
        found = linalg.pairwise_distances(given_, backend=backend)[0]
        np.testing.assert_allclose(found[:-1, :-1], right, rtol=1e-10)
        assert np.isnan(found[-1]).all()
        assert np.isnan(found[:, -1]).all()
        found = linalg.pairwise_distances(given_, metric="sqeuclidean", backend=backend)[0]
        np.testing.assert_allclose(found[:-1, :-1], squares, rtol=1e-10, atol=np.finfo(float).tiny)
        found = linalg.pairwise_kernels(given_, gamma=1.0, backend=backend)[0]
        np.testing.assert_allclose(found[:-1, :-1], np.exp(-squares), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_cosine_kernel_of_vectors_that_are_tiny_or_huge(size: float) -> None:
    x = groups(5)[0]
    right = 1 - exact(x, x, "cosine").astype(float)
    for backend in AVAILABLE:
        scaled = (x * size).astype(np.float32)
        found = linalg.pairwise_kernels([scaled], metric="cosine", backend=backend)[0]
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 5), (600, 120)])
@pytest.mark.parametrize("size", [1e-30, 1e15])
def test_components_of_vectors_that_are_tiny_or_huge(size: float, shape: tuple[int, int]) -> None:
    x = rng.standard_normal(shape).astype(np.float32) * np.linspace(9, 1, shape[1], dtype=np.float32)
    found, plain = linalg.pca([x * np.float32(size), x], components=2), linalg.pca([x], components=2)
    np.testing.assert_allclose(found.components, plain.components[[0, 0]], atol=1e-3)
    np.testing.assert_allclose(found.transformed[0], plain.transformed[0] * size, rtol=1e-2, atol=1e-2 * size)
    np.testing.assert_allclose(found.variances[0], np.float32(plain.variances[0].astype(float) * size**2), rtol=1e-5)


@pytest.mark.parametrize("rows", [[np.array([["a"]])], [np.ones((2, 2), complex)], np.ones((1, 2, 2), complex)])
def test_what_is_no_number_is_refused(rows: Any) -> None:
    with pytest.raises(InputError, match="pairwise_distances: vectors are real numbers; row 0 is of "):
        linalg.pairwise_distances(rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rows_of_one_vector_have_the_same_bits_whatever_stands_beside_them(metric: str, dtype: Any) -> None:
    sizes = list(itertools.product((1, 2, 3, 9), repeat=2)) * 8
    x, y = (groups(*each, dtype=dtype) for each in zip(*sizes, strict=True))
    for one, other, found in zip(x, y, linalg.pairwise_distances(x, y, metric=metric), strict=True):
        np.testing.assert_array_equal(found, linalg.pairwise_distances([one], [other], metric=metric)[0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rows_that_differ_in_shape_have_the_same_bits_whatever_stands_beside_them(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of two widths, some without vectors, with near vectors, with zeros and NaN, and some large."""
    monkeypatch.setattr(_flat_pairs, "_MOST_PAIRS", 100)
    monkeypatch.setattr(_compiled, "FROM_PAIRS", 400)
    x = [*groups(3, 0, 7, 30, 9, 1, 12), *groups(5, 2, width=3), *groups(0, 4, 8, 6)]
    y = [*groups(4, 5, 2, 20, 9, 1, 12), *groups(3, 9, width=3), *groups(2, 0, 8, 6)]
    x[4][2], x[6][3], x[7][0], x[11][5] = y[4][8] + np.float32(1e-5), np.nan, 0, 1e25
    for second in (y, None):
        given_ = (x,) if second is None else (x, second)
        found = linalg.pairwise_distances(*given_, metric=metric)
        for row, (one, each) in enumerate(zip(x, found, strict=True)):
            other = one if second is None else second[row]
            alone = linalg.pairwise_distances(*([column[row]] for column in given_), metric=metric)[0]
            assert each.shape == (len(one), len(other))
            np.testing.assert_array_equal(each, alone)
            ok, there = np.isfinite(one).all(axis=1), np.isfinite(other).all(axis=1)
            assert np.isnan(each[~ok]).all()
            right = exact(one[ok], other[there], metric).astype(float)
            if metric == "cosine":  # of what has no direction
                right[(one[ok] == 0).all(axis=1)] = 1
                right[:, (other[there] == 0).all(axis=1)] = 1
                if second is None:
                    np.fill_diagonal(right, 0)
            np.testing.assert_allclose(each[ok][:, there], right, rtol=2e-5, atol=1e-30)


@pytest.mark.parametrize("backend", AVAILABLE)
def test_an_endless_vector_is_at_no_distance_from_any(backend: str) -> None:
    x, y = groups(4, 5)
    x[1, 2], y[3, 0] = np.inf, -np.inf
    found = linalg.pairwise_distances([x], [y], backend=backend)[0]
    told = np.ones((4, 5), bool)
    told[1], told[:, 3] = False, False
    assert (np.isfinite(found) == told).all()
    np.testing.assert_allclose(found[told], exact(x, y, "euclidean")[told].astype(float), rtol=1e-5)


@pytest.mark.parametrize("gamma", [1e-3, 0.25, 1e9])
@pytest.mark.parametrize("backend", AVAILABLE)
def test_kernels_of_many_vectors_few_of_which_are_near(backend: str, gamma: float) -> None:
    """Matrices of a size that is compiled by itself: near pairs are worked again alone, vectors on both sides of the middle."""
    x = groups(40, width=5)[0] + np.float32(100)
    x[7], x[33] = x[21] + np.float32(1e-5), x[2]
    right = np.exp(-gamma * exact(x, x, "sqeuclidean")).astype(float)
    found = linalg.pairwise_kernels([x], gamma=gamma, backend=backend)[0]
    assert found[33, 2] == found[2, 33] == 1
    np.testing.assert_allclose(found, right, rtol=1e-4 * max(1, min(gamma, 20)), atol=1e-30)


@pytest.mark.skipif(not _compiled.installed(), reason="no JAX")
def test_large_matrices_of_a_column_are_worked_one_by_one_with_their_near_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_compiled, "FROM_PAIRS", 64)
    x = np.stack(groups(9, 9, 9))
    x[1, 4] = x[1, 2] + np.float32(1e-5)
    x[2] *= 1e25
    found = linalg.pairwise_distances(x)
    for each, matrix in zip(found, x, strict=True):
        np.testing.assert_allclose(each, exact(matrix, matrix, "euclidean").astype(float), rtol=1e-5)


def test_vectors_without_a_direction() -> None:
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    for backend in AVAILABLE:
        found = linalg.pairwise_distances([x], metric="cosine", backend=backend)[0]
        assert found.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_arrays_give_arrays_and_rows_that_differ_a_ragged_column() -> None:
    dense = np.stack(groups(4, 4, 4))
    found = linalg.pairwise_distances(dense)
    assert isinstance(found, np.ndarray)
    assert found.shape == (3, 4, 4)
    ragged = linalg.pairwise_distances(list(dense))
    assert isinstance(ragged, Ragged)
    np.testing.assert_allclose(np.stack(list(ragged)), found, rtol=1e-5, atol=1e-7)
    assert linalg.pairwise_distances(dense[:0]).shape == (0, 4, 4)
    assert linalg.pairwise_distances(dense, np.empty((3, 0, 6), np.float32)).shape == (3, 4, 0)


def test_large_matrices_are_worked_in_blocks() -> None:
    x, y = groups(700, 900, width=3, dtype=np.float64)
    for metric in ("euclidean", "manhattan", "cosine"):
        right = sk.pairwise_distances(x, y, metric=metric)
        np.testing.assert_allclose(
            linalg.pairwise_distances([x], [y], metric=metric, backend="numpy")[0], right, rtol=1e-9, atol=1e-13
        )
    own = linalg.pairwise_distances([y], backend="numpy")[0]
    assert (np.diag(own) == 0).all()
    np.testing.assert_allclose(own, exact(y, y, "euclidean").astype(float), rtol=1e-9)


neighbours = st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(1, 12), st.integers(0, 1000))


@given(neighbours, st.booleans())
def test_neighbours_are_those_of_a_stable_sort(case: Any, alone: bool) -> None:
    n, m, k, seed = case
    random = np.random.default_rng(seed)
    x, y = (random.integers(0, 4, (each, 2)).astype(float) for each in (n, m))  # many as far as others
    found = linalg.nearest_neighbours([x], k=k) if alone else linalg.nearest_neighbours([x], [y], k=k)
    others = x if alone else y
    distances = np.sqrt(((x[:, None] - others[None]) ** 2).sum(axis=2))
    if alone:
        np.fill_diagonal(distances, np.inf)
    right = np.argsort(distances, axis=1, kind="stable")[:, : min(k, len(others) - alone)]
    assert found.indices[0].tolist() == right.tolist()
    np.testing.assert_allclose(found.distances[0], np.take_along_axis(distances, right, axis=1))


def test_neighbours_of_rows_of_all_lengths() -> None:
    first, second = groups(3, 40, 1, 0, 5), groups(2, 50, 7, 3, 0)
    found = linalg.nearest_neighbours(first, second, k=3, metric="cosine")
    assert [each.shape for each in found.indices] == [(3, 2), (40, 3), (1, 3), (0, 3), (5, 0)]
    for x, y, each in zip(first, second, found.distances, strict=True):
        if len(x) and len(y):
            right = np.sort(sk.cosine_distances(x.astype(float), y.astype(float)), axis=1)[:, :3]
            np.testing.assert_allclose(each, right, rtol=1e-5)
    alone = linalg.nearest_neighbours(groups(1, 2, 0), k=2)
    assert [each.tolist() for each in alone.indices] == [[[]], [[1], [0]], []]


def test_infinite_distances_come_last_and_never_the_vector_itself() -> None:
    x = np.array([[0.0], [np.inf], [np.nan], [1.0]])
    assert linalg.nearest_neighbours([x], k=3).indices[0].tolist() == [[3, 1, 2], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((40, 5), np.float64), ((5, 40), np.float64), ((30, 30), np.float32), ((2300, 64), np.float64)],
)
def test_principal_components_are_scikit_learns(shape: tuple[int, int], dtype: Any) -> None:
    vectors = (rng.standard_normal(shape) * np.linspace(3, 0.5, shape[1]) + 7).astype(dtype)
    found = linalg.pca([vectors, vectors[::-1].copy()], components=4)
    fitted = SklearnPCA(4, svd_solver="full").fit(vectors.astype(float))
    within = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(found.mean[0], fitted.mean_, rtol=1e-6)
    np.testing.assert_allclose(found.variances[0], fitted.explained_variance_, rtol=within)
    np.testing.assert_allclose(found.components[0], fitted.components_, atol=within)
    np.testing.assert_allclose(found.transformed[0], fitted.transform(vectors.astype(float)), atol=within * 10)
    others = rng.standard_normal((3, shape[1])).astype(dtype)
    transformed = linalg.pca_transform([others], found.mean[:1], found.components[:1])
    np.testing.assert_allclose(transformed[0], fitted.transform(others.astype(float)), atol=within * 10)


def test_components_beyond_the_rank_are_zeros() -> None:
    line = np.outer(np.arange(6.0), [3.0, 4.0, 0.0])
    for vectors in (line, np.ascontiguousarray(line[:2])):
        found = linalg.pca([vectors], components=2)
        assert np.allclose(found.components[0], [[0.6, 0.8, 0.0], [0.0, 0.0, 0.0]], atol=1e-12)
        assert found.variances[0][1] < 1e-12


def test_matrices_are_multiplied_row_by_row() -> None:
    first, second = groups(2, 0, 5), [np.ones((6, each), np.float32) for each in (3, 2, 1)]
    found = linalg.matmul(first, second)
    assert [each.shape for each in found] == [(2, 3), (0, 2), (5, 1)]
    assert np.allclose(found[0], first[0] @ second[0])


def test_rows_go_apart_by_key_and_together_again() -> None:
    keys, vectors = np.array(["b", "a", "b", "c", "b"]), rng.standard_normal((5, 3))
    keyed = linalg.Keyed(keys)
    assert keyed.keys.tolist() == ["a", "b", "c"]
    parted = keyed.apart(vectors)
    assert [len(each) for each in parted] == [1, 3, 1]
    assert np.array_equal(keyed.together(parted), vectors)
    kernels = keyed.together(linalg.pairwise_kernels(parted))
    np.testing.assert_allclose(np.asarray(kernels[2]), sk.rbf_kernel(vectors[[2]], vectors[[0, 2, 4]])[0], rtol=1e-5)
    with pytest.raises(InputError, match=r"Keyed\.apart: there are 6 values for 5 rows"):
        keyed.apart(np.zeros((6, 2)))
    with pytest.raises(InputError, match=r"Keyed\.together: there are 1 values for 5 rows"):
        keyed.together([np.ones(1)])  # type: ignore[arg-type]
    assert len(linalg.Keyed(np.array([], dtype=object)).apart(np.empty((0, 2)))) == 0


def test_keys_without_an_order_or_not_one_a_row_are_refused() -> None:
    with pytest.raises(InputError, match="Keyed: keys are all texts or all whole numbers; got NoneType, str"):
        linalg.Keyed(np.array(["a", None, "b"], dtype=object))
    with pytest.raises(InputError, match=r"Keyed: there is one key a row, shape \[rows\]; got shape \[2, 2\]"):
        linalg.Keyed(np.zeros((2, 2), int))


def test_what_does_not_fit_is_refused_with_its_row() -> None:
    wide = np.ones((2, 7), np.float32)
    with pytest.raises(InputError, match=r"vectors of row 1 have no values, or differ .* are \[5, 6\] and \[2, 7\]"):
        linalg.pairwise_distances(groups(4, 5), [np.ones((2, 6), np.float32), wide])
    with pytest.raises(InputError, match=r"a row is vectors, shape \[n, d\]; got one of shape \[2\]"):
        linalg.pairwise_distances(np.ones((3, 2)))
    with pytest.raises(InputError, match="the columns differ in their number of rows: 1 and 2"):
        linalg.pairwise_distances(groups(1), groups(1, 1))
    with pytest.raises(InputError, match=r"pca: row 1 has 1 vectors of 6 values, too few for 2 components"):
        linalg.pca(groups(3, 1), components=2)
    with pytest.raises(InputError, match="pca: row 0 has a vector that is not finite"):
        linalg.pca([np.array([[1.0, np.nan], [1, 2]])], components=1)
    with pytest.raises(InputError, match=r"the matrices of row 0 do not fit: \[2, 6\] and \[5, 6\]"):
        linalg.matmul(groups(2), groups(5))
    with pytest.raises(InputError, match="the kernel 'rbf' takes gamma; got degree=2"):
        linalg.pairwise_kernels(groups(2), degree=2)


kind = ColumnType.parse


@pytest.mark.parametrize(
    ("function", "inputs", "keywords", "message"),
    [
        (linalg.pairwise_distances, ["float32[3]"], {}, r"takes vectors of numbers, .* got float32\[3\]"),
        (linalg.pairwise_distances, ["float32[?,3]", "float32[?,4]"], {}, "takes vectors of one length"),
        (linalg.pairwise_distances, ["any"], {"metric": "angle"}, "knows no metric 'angle'; known: euclidean, sq"),
        (linalg.pairwise_distances, ["any"], {"backend": "cuda"}, "no backend 'cuda'; known: auto, numpy, jax"),
        (linalg.pairwise_kernels, ["any"], {"gamma": -1}, "needs gamma above 0, got -1"),
        (linalg.pairwise_kernels, ["any"], {"metric": "linear", "gamma": 1}, "'linear' takes nothing else"),
        (linalg.nearest_neighbours, ["any"], {"k": 0}, "needs k of at least 1, got 0"),
        (linalg.pca, ["float32[3,8]"], {"components": 4}, r"needs as many vectors and values, got float32\[3,8\]"),
        (linalg.matmul, ["float32[2,3]", "float32[4,2]"], {}, r"takes matrices \[n, d\] and \[d, m\]"),
        (linalg.pca_transform, ["float32[?,3]", "float32[4]", "float32[2,3]"], {}, r"takes vectors \[n, d\], a mean"),
    ],
)
def test_a_graph_refuses_what_does_not_fit(function: Any, inputs: Any, keywords: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declared_outputs(function, tuple(map(kind, inputs)), keywords)


def test_types_follow_the_inputs() -> None:
    def shown(function: Any, *inputs: str, **keywords: Any) -> Any:
        found = declared_outputs(function, tuple(map(kind, inputs)), keywords)
        return (
            str(found) if isinstance(found, ColumnType) else {name: str(each) for name, each in (found or {}).items()}
        )

    assert shown(linalg.pairwise_distances, "float32[?,8]") == "float32[?,?]"
    assert shown(linalg.pairwise_kernels, "int8[3,8]", "float64[?,8]") == "float64[3,?]"
    near_ = shown(linalg.nearest_neighbours, "float32[3,8]", k=5)
    assert near_ == {"indices": "int64[3,2]", "distances": "float32[3,2]"}
    assert shown(linalg.pca, "float32[?,8]", components=2) == {
        "transformed": "float32[?,2]", "components": "float32[2,8]", "mean": "float32[8]", "variances": "float32[2]",
    }  # fmt: skip
    assert shown(linalg.matmul, "float32[?,8]", "float32[8,2]") == "float32[?,2]"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = _compiled._Programs()
    monkeypatch.setattr(_compiled, "_programs", found)
    return found


@pytest.mark.skipif(not _compiled.installed(), reason="no JAX")
def test_programs_are_compiled_once_a_bucket_by_all_threads_and_the_newest_kept(
    programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jax

    compiled: list[Any] = []
    real = jax.jit
    monkeypatch.setattr(
        jax, "jit", lambda function: real(lambda *given: compiled.append(given[0].shape) or function(*given))
    )
    before = jax.config.jax_enable_x64
    x = groups(*range(9, 17), dtype=np.float64)
    answers: list[Any] = []

    def work() -> None:
        answers.append(linalg.pairwise_distances(x, metric="manhattan", backend="jax"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiled == [(8, 16, 6)]
    assert len(programs) == 1
    assert all(np.array_equal(each.values, answers[0].values) for each in answers)
    assert answers[0].dtype == np.float64
    assert jax.config.jax_enable_x64 == before
    monkeypatch.setattr(_compiled, "MOST_PROGRAMS", 2)
    for width in (1, 2, 3):
        linalg.pairwise_distances(groups(3, width=width), metric="manhattan", backend="jax")
    assert len(programs) == 2


def test_numpy_answers_where_there_is_no_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compiled, "installed", lambda: False)
    x = groups(60, width=64)
    np.testing.assert_allclose(
        linalg.pairwise_distances(x, metric="manhattan")[0], sk.manhattan_distances(x[0].astype(float)), rtol=1e-5
    )
    with pytest.raises(ValueError, match="has backend: jax, which is not installed; install it, or say auto"):
        linalg.pairwise_distances(x, backend="jax")


FORKS = """
import os
import jax
import numpy as np
from motet.ops import linalg
x = np.arange(900, dtype=np.float32).reshape(1, 300, 3)
told = linalg.pairwise_distances(x, metric="manhattan")
if os.fork() == 0:
    np.testing.assert_allclose(linalg.pairwise_distances(x, metric="manhattan"), told, rtol=1e-5)
    try:
        linalg.pairwise_distances(x, backend="jax")
    except ValueError as error:
        print(error, flush=True)
    os._exit(0)
print(os.wait()[1])
"""


@pytest.mark.skipif(not _compiled.installed(), reason="no JAX")
def test_a_process_that_is_forked_from_one_that_has_jax_answers_without_it() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=240)
    assert done.stdout.splitlines() == [
        "pairwise_distances has backend: jax, in a process forked from one that had imported it; say auto",
        "0",
    ], done.stderr


def test_a_graph_finds_what_is_said_twice_of_a_product(tmp_path: Any) -> None:
    """Embeddings of reviews, grouped by product: called, and in bulk from a file of reviews."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = np.array([[1, 0], [5, 5], [1, 1e-3], [0, 1], [5, 5]], np.float32)
    near_ = mt.map(linalg.nearest_neighbours, mt.input("embedding", "float32[?,2]"), k=1)
    graph = mt.Graph("twice", {"other": near_.indices, "away": near_.distances})
    called = graph({"embedding": [vectors[[0, 2, 3]], vectors[[1, 4]]]})
    assert [each.tolist() for each in called["other"]] == [[[1], [0], [1]], [[1], [0]]]
    np.testing.assert_allclose(called["away"][0][0], 1e-3, rtol=1e-5)
    assert called["away"][1].tolist() == [[0], [0]]
    column = pa.array(vectors.tolist(), pa.list_(pa.float32()))
    table = pa.table({"product": ["p", "q", "p", "p", "q"], "embedding": column})
    pq.write_table(table, os.path.join(tmp_path, "reviews.parquet"))
    out = tmp_path / "near.parquet"
    assert graph.run(tmp_path / "reviews.parquet", out, group_by="product").rows == 2
    written = {row["product"]: row["away"] for row in pq.read_table(out).to_pylist()}
    np.testing.assert_allclose(written["p"], called["away"][0])
    assert written["q"] == [[0], [0]]
