from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.batch import Ragged
from motet.errors import InputError
from motet.ops import linalg
from motet.types import ColumnType, declared_outputs

pairs = st.tuples(st.integers(1, 5), st.integers(1, 70)).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float64, shape, elements=st.floats(-100, 100))] * 2)
)


@given(pairs)
def test_products_and_distances_are_numpys(pair: Any) -> None:
    first, second = pair
    np.testing.assert_allclose(
        linalg.dot(first, second), [a @ b for a, b in zip(first, second, strict=True)], atol=1e-8
    )
    np.testing.assert_allclose(linalg.norm(first), np.linalg.norm(first, axis=1), atol=1e-140)
    away = np.linalg.norm(first - second, axis=1)
    np.testing.assert_allclose(linalg.euclidean_distance(first, second), away, atol=1e-140)  # below which numpy says 0
    np.testing.assert_allclose(linalg.centre(first), first - first.mean(axis=1, keepdims=True), atol=1e-12)


@given(pairs)
def test_cosines_stay_in_range_and_unit_vectors_are_of_length_1(pair: Any) -> None:
    cosine = linalg.cosine_similarity(*pair)
    assert ((cosine >= -1) & (cosine <= 1)).all()
    lengths = np.linalg.norm(linalg.l2_normalise(pair[0]), axis=1)
    assert all(length == 0 or abs(length - 1) < 1e-6 for length in lengths[linalg.norm(pair[0]) != 0])


def test_zeros_and_what_is_not_finite() -> None:
    zeros, ones = np.zeros((1, 3)), np.ones((1, 3))
    assert linalg.cosine_similarity(zeros, ones).tolist() == [0]
    assert linalg.l2_normalise(zeros).tolist() == [[0, 0, 0]]
    assert np.isnan(linalg.cosine_similarity(ones * np.inf, ones)).all()
    assert linalg.norm(np.full((1, 2), 3e38, dtype=np.float32)).tolist() == [np.inf]


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
def test_vectors_whose_squares_are_none_that_the_precision_can_hold(size: float) -> None:
    plain = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], np.float32)
    vectors = plain * np.array([[size], [1], [1]], np.float32)
    lengths = np.array([5 * size, 1, 0])
    np.testing.assert_allclose(linalg.norm(vectors), lengths, rtol=1e-6)
    np.testing.assert_allclose(linalg.euclidean_distance(vectors, 0 * vectors), lengths, rtol=1e-6)
    np.testing.assert_allclose(linalg.l2_normalise(vectors), np.array([[0.6, 0.8], [1, 0], [0, 0]]), rtol=1e-6)
    np.testing.assert_allclose(linalg.cosine_similarity(vectors, plain[[1, 1, 1]]), [0.6, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(linalg.cosine_similarity(vectors, vectors), [1, 1, 0], rtol=1e-6)


def test_the_precision_is_the_larger_one() -> None:
    single, double = np.ones((2, 3), np.float32), np.ones((2, 3))
    assert linalg.dot(single, single).dtype == np.float32
    assert linalg.dot(single, double).dtype == np.float64
    assert linalg.norm(np.ones((2, 3), np.int8)).dtype == np.float32


def test_whole_numbers_keep_their_digits() -> None:
    far, wide = 2**40, np.array([[2**40, 0]])
    assert linalg.euclidean_distance(wide, wide + 3).tolist() == pytest.approx([3 * 2**0.5])
    assert linalg.centre(np.array([[far, far + 2]], np.uint64)).tolist() == [[-1, 1]]
    rows = [np.array([[far], [far + 3]]), np.array([[1], [2], [3]])]
    assert [row.tolist() for row in linalg.pairwise_distances(rows[:1])] == [[[0, 3], [3, 0]]]
    assert linalg.pairwise_distances(Ragged.from_rows(rows))[0].tolist() == [[0, 3], [3, 0]]
    assert linalg.pairwise_distances(np.array(rows[:1]), metric="manhattan")[0].tolist() == [[0, 3], [3, 0]]
    assert linalg.nearest_neighbours(rows, k=1).distances[0].tolist() == [[3], [3]]
    for dtype, wanted in (("int16", "float32"), ("int32", "float64"), ("uint32", "float64"), ("bool", "float32")):
        vectors = np.ones((2, 3), dtype)
        assert linalg.norm(vectors).dtype == wanted
        assert linalg.pairwise_distances(vectors[None])[0].dtype == wanted
        declared = declared_outputs(linalg.norm, (ColumnType(dtype, (3,)),), {}) or {}
        assert declared == ColumnType(wanted, ())


@pytest.mark.parametrize("function", [linalg.norm, linalg.pairwise_distances, linalg.nearest_neighbours])
@pytest.mark.parametrize("value", [2**53 + 1, -(2**63)])
def test_whole_numbers_that_no_float_holds_are_refused(function: Any, value: int) -> None:
    with pytest.raises(
        InputError, match=rf"beyond 2\*\*53 lose their last digits, and there is one of size {abs(value)}"
    ):
        function(np.full((1, 2, 2), value))


def test_columns_must_agree() -> None:
    with pytest.raises(InputError, match=r"dot: the columns differ in shape: \[1, 2\] and \[1, 3\]"):
        linalg.dot(np.ones((1, 2)), np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"dot takes two columns of one shape, got float32\[2\], float32\[3\]"):
        declared_outputs(linalg.dot, (ColumnType("float32", (2,)), ColumnType("float32", (3,))), {})


@pytest.mark.parametrize("column", [np.array([["1", "2"]]), np.array([["1", "2"]], dtype=object), np.array([[1j, 2]])])
def test_vectors_that_are_no_real_numbers_are_refused(column: Any) -> None:
    for function in (linalg.norm, linalg.l2_normalise, linalg.centre):
        with pytest.raises(InputError, match=f"{function.__name__}: vectors are real numbers; a column is of "):
            function(column)
    with pytest.raises(InputError, match="dot: vectors are real numbers; a column is of "):
        linalg.dot(np.ones((1, 2)), column)
