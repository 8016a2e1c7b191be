from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.errors import InputError
from motet.ops import scores
from motet.types import ColumnType, declared_outputs

finite = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(-50, 50, width=32)
)


@given(finite)
def test_softmax_is_the_textbook_formula(values: Any) -> None:
    exact = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.softmax(values), exact, rtol=2e-5, atol=1e-7)


def test_softmax_does_not_overflow_and_shows_what_is_not_finite() -> None:
    found = scores.softmax(np.array([[1e30, 1e30], [-np.inf, 0], [np.nan, 0], [np.inf, 0], [-np.inf, -np.inf]], "f"))
    assert found[:2].tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert np.isnan(found[2:]).all()


def test_softmax_takes_a_temperature_above_0() -> None:
    logits = np.array([[1.0, 3.0]])
    np.testing.assert_allclose(scores.softmax(logits, temperature=2), scores.softmax(logits / 2))
    with pytest.raises(InputError, match="temperature must be above 0, got 0"):
        scores.softmax(logits, temperature=0)


@given(hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(-200, 200, width=32)))
def test_sigmoid_is_the_textbook_formula(values: Any) -> None:
    np.testing.assert_allclose(
        scores.sigmoid(values),  # type: ignore[arg-type]
        1 / (1 + np.exp(-values.astype(np.float64))),
        rtol=1e-5,
        atol=1e-37,
    )


few_values = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=9),
    elements=st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, np.inf, -np.inf, np.nan]),
)


@given(few_values, st.data())
def test_topk_sorts_best_first_and_equals_by_position(values: Any, data: Any) -> None:
    k = data.draw(st.integers(1, values.shape[-1]))
    found = scores.topk(values, k=k)
    for row, indices in zip(values.reshape(-1, values.shape[-1]), found.indices.reshape(-1, k), strict=True):
        wanted = sorted(
            range(len(row)), key=lambda place: (not np.isnan(row[place]), -np.nan_to_num(row[place]), place)
        )
        assert indices.tolist() == wanted[:k]
    np.testing.assert_array_equal(found.scores, np.take_along_axis(values, found.indices, axis=-1))
    best = scores.top1(values)
    np.testing.assert_array_equal(best.index, found.indices[..., 0])
    np.testing.assert_array_equal(best.score, found.scores[..., 0])
    np.testing.assert_array_equal(scores.argmax(values), best.index)


def test_topk_needs_as_many_scores() -> None:
    with pytest.raises(InputError, match="k must be from 1 to the number of scores, 2, got 3"):
        scores.topk(np.ones((1, 2)), k=3)
    with pytest.raises(ValueError, match=r"topk with k=5 needs 1 <= k <= the number of scores, got float32\[3\]"):
        declared_outputs(scores.topk, (ColumnType("float32", (3,)),), {})


def test_top1_gives_index_and_score() -> None:
    best = scores.top1(np.array([[0.1, 0.7], [0.9, 0.3]], dtype=np.float32))
    assert best._fields == ("index", "score")
    assert (best.index.dtype, best.score.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("kind", ["string", "float32", "float32[?]", "float32[0]"])
def test_what_has_no_last_axis_of_numbers_is_refused_when_the_graph_is_built(kind: str) -> None:
    with pytest.raises(ValueError, match=f"top1 takes .*got {kind.replace('[', '.').replace('?', '.')}"):
        declared_outputs(scores.top1, (ColumnType.parse(kind),), {})


def test_one_row_alone_must_still_be_a_row() -> None:
    with pytest.raises(InputError, match=r"got an array of shape \[3\]\n.*write \[\[0.1, 0.9\]\] for one row"):
        scores.top1(np.array([0.1, 0.2, 0.7]))


def test_rows_that_differ_in_length_are_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"top1: rows differ in shape: \[2\], \[3\]\n.*columns.pad"):
        scores.top1([np.ones(2), np.ones(3)])


def test_threshold_compares_in_the_scores_precision() -> None:
    assert scores.threshold(np.array([0.9, 0.8999], dtype=np.float32), at=0.9).tolist() == [True, False]
    assert scores.threshold(np.array([np.nan])).tolist() == [False]


@pytest.mark.parametrize("position", [-1, 2])
def test_label_refuses_positions_outside(position: int) -> None:
    with pytest.raises(InputError, match=f"position {position} is outside the 2 labels"):
        scores.label(np.array([0, position]), labels=["a", "b"])


def test_label_wants_a_list_of_strings() -> None:
    for labels in ([], "abc", [1, 2]):
        with pytest.raises(ValueError, match="label needs labels, a list of strings"):
            declared_outputs(scores.label, (ColumnType("int64"),), {"labels": labels})


def test_entropy_and_margin_say_how_sure_a_row_is() -> None:
    rows = np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32)
    np.testing.assert_allclose(scores.entropy(rows), [0, np.log(4)], rtol=1e-6)
    assert scores.margin(rows).tolist() == [1, 0]
    assert str(scores.entropy(rows)[0]) == "0.0"
    with pytest.raises(ValueError, match="margin takes at least 2 values on the last axis"):
        declared_outputs(scores.margin, (ColumnType("float32", (1,)),), {})


def test_normalise_refuses_a_row_that_sums_to_nothing() -> None:
    np.testing.assert_allclose(scores.normalise(np.array([[1, 1, 2]])).sum(axis=1), 1)
    for row in ([0, 0], [1, np.nan], [1, np.inf]):
        with pytest.raises(InputError, match=r"a row sums to .*, so it cannot be divided by its sum"):
            scores.normalise(np.array([[1, 1], row], dtype=np.float64))
